//! One call of the engine: its operations, its script, its timeline.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::op::Headers;
use lockstep_ctx_api::queue::OpQueue;
use lockstep_ctx_api::wire::RunId;
use lockstep_ctx_api::{CallEndedCause, CallFacts, CallState, ErrorCode, OpError, OpId};

use super::backend::Backend;
use super::channel::{Activity, Channel};
use super::executions::Outside;
use super::former::Former;
use super::handle::CallSummary;
use super::joining::Joined;
use super::keeping::Kept;
use super::timeline::Timeline;
use super::timeline_log::TimelineLog;
use super::world::{LedOn, Ticket};
use crate::backend::native::Ending;
use crate::call::LegId;
use crate::class4::Fields;
use crate::config::Destination;
use crate::host::Scratch;
use crate::script::Program;

/// The take-over by which whoever placed a call has it; those of applications count from 1.
pub const PLACED: u64 = 0;

/// Where the script of a call stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ScriptState {
    /// There is none: the call goes to a user or to a number, or waits to be answered.
    Absent,
    /// An application on an event socket has the call, or whoever placed it, by the take-over of this number.
    Application(u64),
    Running,
    /// `main` has refused the call; it ends like this.
    Over(Ending),
    /// `main` has returned, or failed by itself; what it left in the queue runs to its end, then the call ends like this. One that
    /// was not answered by then goes to its next destination, if there is one.
    OverUndecided(Ending),
}

/// Who takes over a call of ours when it is answered.
#[derive(Clone, Debug)]
pub(crate) enum OnAnswer {
    Script(Arc<Program>),
    /// Whoever is at the first of these destinations: an application on an event socket, or where the call was transferred to.
    Destinations(VecDeque<Destination>),
    /// Nobody: it waits for whoever placed it.
    Nobody,
}

/// What happens next to a call without a script.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Where a DID leads, in order; what was tried is gone.
    pub destinations: VecDeque<Destination>,
    /// The routing scripts of its DID are asked, by this ticket, before it goes to any of them.
    pub admission: Option<Ticket>,
    /// The bridge to the destination that is tried now.
    pub bridge: Option<OpId>,
    pub bridges: u32,
    /// Time that routing scripts took, ms.
    pub script_ms: f64,
    /// The identity that the caller asserts may be passed on.
    pub vouched: bool,
    /// What the routing scripts of its DID had every destination get; what they added stands last among the call's headers.
    pub everywhere: Arc<Fields>,
    /// What it was led to since it was dialled; its script is told so.
    pub to: Option<String>,
    /// Why the last one came to nothing.
    pub failure: Option<(u16, String)>,
    /// A call of ours: who takes over when it is answered.
    pub on_answer: Option<OnAnswer>,
    /// A call of ours is given up at this time.
    pub ring_until: Option<Instant>,
}

/// A live call, or one whose script has not finished yet.
#[derive(Debug)]
pub(crate) struct LiveCall {
    pub backend: Backend,
    pub queue: OpQueue,
    pub facts: CallFacts,
    /// Whose call it is.
    pub account: Arc<str>,
    /// Header fields of the INVITE, as scripts see them.
    pub headers: Arc<Headers>,
    /// The call's own leg as watchers see it, with the call's variables.
    pub channel: Channel,
    /// Bytes of the variables that scripts and applications have set.
    pub set_bytes: usize,
    /// The legs of its bridges.
    pub legs: BTreeMap<LegId, Channel>,
    /// Operations under way, as watchers know them.
    pub activities: BTreeMap<OpId, Arc<Activity>>,
    /// Operations that others than its script have asked for.
    pub outside: Outside,
    /// Variables of DID and customer.
    pub vars: toml::Table,
    pub program: Option<Arc<Program>>,
    pub run: Option<RunId>,
    pub script: ScriptState,
    /// How often others than scripts have taken the call over.
    pub takeovers: u64,
    /// The application that has it, or had it last.
    pub application: Option<LedOn>,
    pub plan: Plan,
    /// It is bridged, which watchers are told with its answer.
    pub bridge_untold: bool,
    /// The call it was joined with from outside.
    pub joined: Option<Joined>,
    pub log: TimelineLog,
    /// When the backend wants to be told the time.
    pub timer: Option<Instant>,
    /// What the switch's timers hold for this call.
    pub armed: Option<Instant>,
    pub ended: Option<(CallEndedCause, u64)>,
    /// Its script was told of the end.
    pub end_told: bool,
    /// The run's own files; services let go of what was the run's when this goes.
    pub scratch: Scratch,
    /// Operations that are not the call's, under way, with what messages call them.
    pub host_ops: BTreeMap<OpId, (Ticket, Cow<'static, str>)>,
    /// Scripts that the call was taken from, and that have not finished yet.
    pub former: Vec<Former>,
    /// Of the last script that the call was taken from and that has finished.
    pub journal: Option<(RunId, Journal)>,
    pub kept: Kept,
}

/// What the variables that are set on one call may take together, names included, in bytes: twice what a worker lets its script set.
const MAX_SET: usize = 2 * lockstep_ctx_api::op::MAX_SET_BYTES;

impl LiveCall {
    /// Makes room for a variable that is about to be set.
    ///
    /// # Errors
    /// When all of them would take too much. Workers refuse that themselves; applications and a worker gone wrong do not.
    pub(super) fn make_room(&mut self, name: &str, value: Option<&str>) -> Result<(), OpError> {
        let size = |value: Option<&str>| value.map_or(0, |value| name.len() + value.len());
        let known = size(self.channel.vars.get(name));
        let bytes = self.set_bytes.saturating_sub(known).saturating_add(size(value));
        if bytes > MAX_SET && value.is_some() {
            let message = format!("set: the variables of a call may take {MAX_SET} bytes together");
            return Err(OpError::new(ErrorCode::LimitError, message));
        }
        self.set_bytes = bytes;
        Ok(())
    }

    /// Whether it is one of ours that nobody has had yet.
    pub(super) fn is_just_placed(&self) -> bool {
        self.facts.direction == "outbound" && matches!(self.script, ScriptState::Absent | ScriptState::Application(PLACED))
    }

    /// Whether it is one of ours whose callee has not answered.
    pub(super) fn is_ringing_out(&self) -> bool {
        self.facts.direction == "outbound" && self.backend.is_native() && self.backend.state() < CallState::Answered
    }

    /// It is led to `extension`, for which it was placed, or transferred.
    pub(super) fn led_to(&mut self, extension: &str, is_placed: bool) {
        const VARIABLE: &str = "destination_number";
        if self.make_room(VARIABLE, Some(extension)).is_ok() {
            self.channel.set(VARIABLE, Some(extension));
        }
        // Whom it has called stays.
        if !is_placed {
            self.plan.to = Some(extension.to_owned());
        }
    }

    /// Whether it was not answered, and leads to somebody else if nobody refuses it.
    pub(super) fn has_further_destination(&self) -> bool {
        self.facts.state != CallState::Answered && !self.plan.destinations.is_empty()
    }

    /// How long the call lasts or has lasted, ms.
    pub(crate) fn duration_ms(&self, unix_ms: u64) -> u64 {
        self.ended.as_ref().map_or(unix_ms, |(_, at)| *at).saturating_sub(self.facts.started_at)
    }

    /// The name of its script.
    pub(crate) fn script_name(&self) -> Option<String> {
        self.program.as_ref().map(|program| program.name.clone())
    }

    /// The call as a line of a list.
    pub(crate) fn summary(&self, unix_ms: u64) -> CallSummary {
        CallSummary {
            facts: self.facts.clone(),
            script: self.script_name(),
            account: Arc::clone(&self.account),
            ended: self.ended.as_ref().map(|(cause, _)| cause.clone()),
            duration_ms: self.duration_ms(unix_ms),
        }
    }

    /// Its timeline so far.
    pub(crate) fn timeline(&self) -> Timeline {
        let (entries, dropped) = self.log.entries();
        Timeline {
            call: self.facts.clone(),
            script: self.script_name(),
            ended: self.ended.as_ref().map(|(cause, _)| cause.clone()),
            duration_ms: self.ended.as_ref().map(|(_, at)| at.saturating_sub(self.facts.started_at)),
            finishing: self.ended.is_some(),
            entries: entries.to_vec(),
            dropped,
        }
    }

    /// Its timeline, when the call is not needed any more.
    pub(crate) fn into_timeline(self) -> Timeline {
        let script = self.script_name();
        let (ended, ended_at) = self.ended.unzip();
        let duration_ms = ended_at.map(|at| at.saturating_sub(self.facts.started_at));
        let (entries, dropped) = self.log.into_entries();
        Timeline { call: self.facts, script, ended, duration_ms, finishing: false, entries, dropped }
    }

    /// Leaves the call to an application, or to whoever placed it; the number of this take-over.
    pub(crate) fn taken_over(&mut self) -> u64 {
        self.takeovers += 1;
        self.script = ScriptState::Application(self.takeovers);
        self.takeovers
    }

    /// How a leg is called in a timeline.
    pub(crate) fn leg_name(&self, leg: LegId) -> String {
        if leg == LegId::A { "a".to_owned() } else { format!("{}-{}", self.facts.id, leg.0) }
    }

    /// When the call next wants to be told the time.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.timer, self.plan.ring_until].into_iter().flatten().min()
    }
}
