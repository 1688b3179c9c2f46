//! Calls on a FreeSWITCH: operations become applications on a channel that its dialplan has handed to us.
//!
//! ```text
//!   FreeSWITCH                                                    FreeSwitchBackend
//!      │ ◄── sendmsg execute playback, Event-UUID: 3.0 ───────────── Op::Play, OpId 3.0
//!      │ ─── command/reply +OK ───────────────────────────────────►
//!      │ ─── CHANNEL_EXECUTE, Application-UUID: 3.0 ──────────────► it runs
//!      │ ─── CHANNEL_EXECUTE_COMPLETE, Application-UUID: 3.0 ─────► Outcome::Played
//! ```
//!
//! [`FreeSwitchBackend`] is one channel. It has no clock and no socket: what the connection brings is handed in, what it is to
//! carry is taken out. Events can get lost or come late; what is not heard of in time is asked for. Sources: the recorded
//! conversations in `tests/freeswitch`, and the documentation of `mod_event_socket` and `mod_dptools`.

pub(crate) mod argument;
mod aside;
mod bridge;
mod cause;
mod channel;
mod collect;
mod end;
mod events;
mod hunt;
mod lent;
mod map;
pub(crate) mod recover;
mod sound;
mod task;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{Headers, Op, Vars};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus};
use lockstep_ctx_api::{
    BackendOutput, CallBackend, CallState, EndedBy, ErrorCode, Event, OpClass, OpError, OpId, OpResult, Outcome,
    event::FactsChange,
};

pub use channel::{Channel, NoChannel};
pub use hunt::{RouteAnswer, RouteRequest, Way};

use aside::{Aside, Recording};
use end::Leaving;
use lent::Loans;
use task::{Doing, Executing, Finish, Next, Plan, Step, Task};
use wire::{Awaited, Wire};

use super::set_headers::SetHeaders;
use crate::config::DEFAULT_ACCOUNT;

/// What is not heard of so long after it ought to be over is asked for.
const CHECK_TIME: Duration = Duration::from_secs(5);
/// How long an application of unknown length runs before it is asked for the first time.
const UNKNOWN_LENGTH: Duration = Duration::from_secs(30);
/// How long a stopped application may take to say that it is over.
const STOP_TIME: Duration = Duration::from_secs(1);
/// A round of audio that is shorter than this is not repeated at once: it may be nothing at all.
const SHORTEST_ROUND: Duration = Duration::from_millis(100);

/// What the operator has said of the media servers.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The folder on the media server that holds `user/` and `ivr/`.
    pub files: String,
    /// Whose `user/` it is, where that is not the one in `files` itself.
    pub account: Option<Arc<str>>,
    /// Where our `[[user]]`s are called: `user/{target}`.
    pub users: String,
    /// Where all other extensions and numbers are called: `loopback/{target}/{context}`.
    pub dial: String,
    /// The SIP profile that calls `sip:` URIs; `None`: the one the call came in by.
    pub profile: Option<String>,
    /// Where `[[gateway]]`s are called: `sofia/gateway/carrier{gateway}/{target}`; `None`: at their address, by the profile.
    pub gateways: Option<String>,
    /// There are routes: numbers go through them.
    pub has_routes: bool,
    pub tts_engine: Option<String>,
    pub tts_voice: Option<String>,
    /// Names of our `[[user]]`s.
    pub known_users: Arc<BTreeSet<String>>,
}

/// One call on a FreeSWITCH.
#[derive(Debug)]
pub struct FreeSwitchBackend {
    call_id: String,
    settings: Arc<Settings>,
    channel: Channel,
    wire: Wire,
    /// One moment on both clocks; the second in milliseconds since the Unix epoch.
    clock: (Instant, u64),
    state: CallState,
    /// Its answer is not the doing of the script that has the call, which has not been told of it.
    answered_before: bool,
    task: Option<Task>,
    /// How many applications were started.
    executed: u64,
    asides: BTreeMap<OpId, Aside>,
    recordings: BTreeMap<OpId, Recording>,
    /// Header fields for the next response or outgoing leg.
    headers: SetHeaders,
    /// Keys that do not reach the script.
    blocked: String,
    /// Channel variables as the script knows them.
    vars: Vars,
    /// Those that are set for the operation under way alone.
    loans: Loans,
    /// An application that cannot be stopped runs until the call ends.
    is_stuck: bool,
    /// Variables that are being asked for in place of a completion.
    inquiry: Option<recover::Inquiry>,
    /// The connection is broken; how long another way to the channel is looked for.
    lost_until: Option<Instant>,
    leaving: Option<Leaving>,
    is_ended: bool,
    outputs: VecDeque<BackendOutput>,
    /// What the core is to be asked and told of numbers.
    route_requests: VecDeque<RouteRequest>,
    /// How many targets were asked for, and gateways tried.
    lookups: u64,
    trials: u32,
    /// FreeSWITCH hands private headers of the caller on as it did when the call came.
    copies_headers: bool,
}

impl FreeSwitchBackend {
    /// Takes a channel over. `clock` is one moment on both clocks, the second in milliseconds since the Unix epoch.
    pub fn new(call_id: String, channel: Channel, settings: Arc<Settings>, clock: (Instant, u64)) -> Self {
        let (now, _) = clock;
        let mut backend = Self {
            call_id,
            settings,
            wire: Wire::new(now, &channel),
            clock,
            state: channel.state,
            answered_before: false,
            task: None,
            executed: 0,
            asides: BTreeMap::new(),
            recordings: BTreeMap::new(),
            headers: SetHeaders::default(),
            blocked: String::new(),
            vars: channel.variables.clone(),
            loans: Loans::default(),
            channel,
            is_stuck: false,
            inquiry: None,
            lost_until: None,
            leaving: None,
            is_ended: false,
            outputs: VecDeque::new(),
            route_requests: VecDeque::new(),
            lookups: 0,
            trials: 0,
            copies_headers: true,
        };
        backend.watch(now);
        backend
    }

    /// Asks for the channel's events, also those after its end.
    fn watch(&mut self, now: Instant) {
        let mut commands = vec!["myevents plain"];
        if self.wire.is_full {
            commands = vec!["linger 5", "myevents plain", "event plain CHANNEL_HOLD CHANNEL_UNHOLD", "divert_events on"];
        }
        for command in commands {
            // None of them has a line end.
            let _ = self.wire.command(now, command.to_owned(), Awaited::Nothing);
        }
    }

    /// Where the call stands.
    pub fn state(&self) -> CallState {
        self.state
    }

    /// Another script has the call from now on.
    pub fn has_new_script(&mut self) {
        self.answered_before = self.state == CallState::Answered;
    }

    /// The call is taken from its script: what that has set for what it was about to do is no more.
    pub fn leaves_script(&mut self, now: Instant) {
        self.headers.take();
        if !std::mem::take(&mut self.blocked).is_empty() {
            // It has no line end.
            let _ = self.wire.execute(now, "unblock_dtmf", "", "unblock", Awaited::Nothing);
        }
    }

    /// The channel's id on the media server.
    pub fn uuid(&self) -> &str {
        &self.wire.uuid
    }

    /// From here on the call plays that account's audio, and records where it does.
    pub fn play_audio_of(&mut self, account: &Arc<str>) {
        let account = (**account != *DEFAULT_ACCOUNT).then(|| Arc::clone(account));
        if self.settings.account != account {
            self.settings = Arc::new(Settings { account, ..self.settings.as_ref().clone() });
        }
    }

    /// Bytes for the connection.
    pub fn take_transmit(&mut self) -> Option<Vec<u8>> {
        self.wire.take_out()
    }

    /// Sets a channel variable, or removes it, for somebody else than the script.
    pub fn set_variable(&mut self, now: Instant, name: &str, value: Option<&str>) {
        let checked = argument::variable("set", name).and_then(|name| {
            let value = value.map(|value| argument::literal("set", "value", value)).transpose()?;
            Ok((name, value))
        });
        match checked {
            Ok((name, value)) => {
                self.note_set(name, value);
                // What was checked holds no line end.
                let _ = self.wire.set(now, name, value, Awaited::Nothing);
            }
            Err(error) => tracing::warn!(call = %self.call_id, %error, "a variable stays unknown to FreeSWITCH"),
        }
    }

    fn complete(&mut self, id: OpId, result: OpResult) {
        self.outputs.push_back(BackendOutput::Completed { id, result });
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        let (instant, unix_ms) = self.clock;
        unix_ms.saturating_add(crate::call::millis(now.saturating_duration_since(instant)))
    }

    /// Variables that make header fields of what is sent next.
    fn header_variables(&self, prefix: &str, headers: &Headers) -> Result<Vec<(String, Option<String>)>, OpError> {
        headers
            .iter()
            .map(|(name, value)| {
                let name = argument::word("headers", "name of a header", name, "-_.")?;
                let value = argument::literal("headers", "value of a header", value)?;
                Ok((format!("{prefix}{name}"), Some(value.to_owned())))
            })
            .collect()
    }

    fn begin(&mut self, now: Instant, id: OpId, name: &'static str, plan: Result<Plan, OpError>) {
        match plan {
            Ok(Plan { steps, finish }) => {
                self.task = Some(Task { id, name, steps, finish, doing: Doing::Idle, stop_by: None });
                self.advance(now);
            }
            Err(error) => self.complete(id, Err(error)),
        }
    }

    /// Starts the next step of the running operation, or ends it.
    fn advance(&mut self, now: Instant) {
        loop {
            let Some(task) = &mut self.task else { return };
            if task.stop_by.is_some() {
                return self.stopped(now);
            }
            let Some(step) = task.steps.pop_front() else {
                if let Finish::Play(playing) = &mut task.finish
                    && let Some(round) = playing.again()
                {
                    let before_ms = std::mem::replace(&mut playing.before_ms, playing.played_ms);
                    let lasted = Duration::from_millis(playing.played_ms.saturating_sub(before_ms));
                    if lasted < SHORTEST_ROUND {
                        task.steps.push_back(Step::Wait(SHORTEST_ROUND));
                    }
                    task.steps.extend(round);
                    continue;
                }
                if let Finish::Routing(_) = task.finish {
                    task.doing = Doing::Idle;
                    return self.ask_for_routes(now);
                }
                return self.finish_task(now);
            };
            let sent = match step {
                Step::Set(variables) => variables
                    .iter()
                    .try_for_each(|(name, value)| self.wire.set(now, name, value.as_deref(), Awaited::Nothing))
                    .map(|()| false),
                Step::Lend(variables) => self.lend(now, variables).map(|()| false),
                Step::Execute { app, arg, lasts } => self.execute(now, app, &arg, lasts).map(|()| true),
                Step::Wait(time) => {
                    task.doing = Doing::Waiting(now + time);
                    return;
                }
            };
            match sent {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    let error = OpError::new(ErrorCode::RangeError, error.to_string());
                    return self.complete_task(now, Err(error));
                }
            }
        }
    }

    fn execute(
        &mut self,
        now: Instant,
        app: &'static str,
        arg: &str,
        lasts: Option<Duration>,
    ) -> Result<(), crate::esl::Unsendable> {
        let Some(task) = &mut self.task else { return Ok(()) };
        self.executed += 1;
        let number = self.executed;
        // The operation's id; steps of one operation are told apart by their number.
        let is_only = task.steps.is_empty() && matches!(task.doing, Doing::Idle);
        let uuid = if is_only { task.id.to_string() } else { format!("{}/{number}", task.id) };
        let check_at = now + lasts.map_or(UNKNOWN_LENGTH, |lasts| lasts.saturating_add(CHECK_TIME));
        self.wire.execute(now, app, arg, &uuid, Awaited::Step(number))?;
        task.doing = Doing::Executing(Executing { number, uuid, app, is_doubtful: false, has_begun: false, check_at });
        Ok(())
    }

    /// All steps are done.
    fn finish_task(&mut self, now: Instant) {
        let Some(task) = &self.task else { return };
        let outcome = match &task.finish {
            Finish::Play(playing) => playing.outcome(None),
            Finish::Unit | Finish::Unstoppable | Finish::Collect(_) | Finish::Routing(_) | Finish::Bridge(_) => Outcome::Unit,
        };
        self.complete_task(now, Ok(outcome));
    }

    fn complete_task(&mut self, now: Instant, result: OpResult) {
        if let Some(mut task) = self.task.take() {
            self.settle_hunt(now, &mut task);
            self.give_back(now);
            self.complete(task.id, result);
        }
    }

    /// What was to be stopped has stopped.
    fn stopped(&mut self, now: Instant) {
        if let Some(mut task) = self.task.take() {
            self.settle_hunt(now, &mut task);
            self.give_back(now);
            self.complete(task.id, Err(OpError::aborted(task.name)));
        }
    }

    /// The application that runs is over.
    fn step_over(&mut self, now: Instant, event: &crate::esl::Event) {
        let Some(task) = &mut self.task else { return };
        task.doing = Doing::Waiting(now);
        if task.stop_by.is_some() {
            return self.stopped(now);
        }
        let next = match &mut task.finish {
            Finish::Play(playing) => playing.executed(task.name, event),
            Finish::Unit | Finish::Unstoppable | Finish::Routing(_) => Next::Go,
            Finish::Collect(_) | Finish::Bridge(_) if !task.steps.is_empty() => Next::Go,
            Finish::Collect(collecting) => match collecting.outcome(event) {
                (outcome, None) => Next::Done(Ok(outcome)),
                (outcome, Some(target)) => return self.transfer_after(now, &target, outcome),
            },
            Finish::Bridge(_) => return self.bridge_over(now, event),
        };
        match next {
            Next::Go => self.advance(now),
            Next::Done(result) => self.complete_task(now, result),
        }
    }

    fn bridge_over(&mut self, now: Instant, event: &crate::esl::Event) {
        let Some(Finish::Bridge(bridging)) = self.task.as_mut().map(|task| &mut task.finish) else { return };
        if let Some(path) = &bridging.record {
            let rest = format!("stop {}", argument::quoted(path));
            // The path was checked when the bridge began.
            let _ = self.wire.api(now, "uuid_record", &rest, Awaited::Nothing);
        }
        let result = bridging.result(now, event);
        if bridging.hunt.is_some() && result.status != BridgeStatus::Completed {
            return self.turn_failed(now, result.code, &result.reason);
        }
        self.bridge_concluded(now, result, EndedBy::Callee);
    }

    /// A bridge has its result. `by` has ended a call that does not go on after it.
    fn bridge_concluded(&mut self, now: Instant, result: BridgeResult, by: EndedBy) {
        let Some(mut task) = self.task.take() else { return };
        self.settle_hunt(now, &mut task);
        let Finish::Bridge(bridging) = task.finish else { return };
        match bridging.over(result, by) {
            bridge::After::Resolve(outcome) => {
                self.give_back(now);
                self.complete(task.id, Ok(outcome));
            }
            bridge::After::End(cause) => {
                let refusal = (cause.code, cause.reason.clone());
                let bye = (cause.code != 200).then(|| refusal.clone());
                self.end(now, crate::backend::native::Ending { refusal, bye, by: cause.by });
                // It settles as everything does that is pending when the call ends.
                self.task =
                    Some(Task { doing: Doing::Idle, steps: VecDeque::new(), finish: Finish::Unit, stop_by: None, ..task });
            }
        }
    }

    /// The running application is to stop within one packet time.
    fn stop_running(&mut self, now: Instant) {
        let Some(task) = &self.task else { return };
        if let Finish::Bridge(bridging) = &task.finish {
            let legs = bridging.legs.clone();
            for leg in legs {
                // Ids of legs are ours: they hold no line end.
                let _ = if self.wire.is_full {
                    self.wire.command(now, format!("api uuid_kill {leg} ORIGINATOR_CANCEL"), Awaited::Nothing)
                } else {
                    self.wire.hang_up_other(now, &leg)
                };
            }
        } else if self.wire.is_full {
            let _ = self.wire.api(now, "uuid_break", "", Awaited::Nothing);
        } else {
            let _ = self.wire.execute(now, "break", "", "break", Awaited::Nothing);
        }
    }
}

impl CallBackend for FreeSwitchBackend {
    fn submit(&mut self, now: Instant, id: OpId, op: Op) {
        let name = op.name();
        if self.is_ended {
            return self.complete(id, Err(OpError::invalid_state(name, CallState::Ended.name())));
        }
        if op.class() == OpClass::Queued && (self.is_stuck || self.leaving.is_some()) {
            let state = if self.is_stuck { "busy with an echo that FreeSWITCH cannot stop" } else { "ending" };
            return self.complete(id, Err(OpError::invalid_state(name, state)));
        }
        if let Some(task) = &self.task
            && op.class() != OpClass::Immediate
        {
            let state = format!("busy with {}", task.name);
            return self.complete(id, Err(OpError::invalid_state(name, &state)));
        }
        self.map(now, id, op);
    }

    fn cancel(&mut self, now: Instant, id: OpId) {
        let Some(task) = self.task.as_mut().filter(|task| task.id == id) else {
            if self.asides.remove(&id).is_some() {
                self.complete(id, Err(OpError::aborted("record.stop")));
            }
            return;
        };
        if task.stop_by.is_some() {
            return;
        }
        match (&task.doing, &task.finish) {
            (Doing::Executing(_), Finish::Unstoppable) => {
                self.is_stuck = true;
                self.stopped(now);
            }
            // Without `async` the media server reads nothing while it plays: what comes next waits there.
            (Doing::Executing(_), _) if !self.wire.is_async => self.stopped(now),
            (Doing::Executing(_), _) => {
                task.stop_by = Some(now + STOP_TIME);
                self.stop_running(now);
            }
            (Doing::Idle | Doing::Waiting(_), _) => self.stopped(now),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.is_ended {
            return;
        }
        if self.lost_until.is_some_and(|until| until <= now) {
            tracing::warn!(call = %self.call_id, "the connection to FreeSWITCH broke, and there is no other way to the channel");
            return self.connection_gone(now);
        }
        self.leave_further(now);
        if self.is_ended {
            return;
        }
        if self.wire.is_dead(now) {
            tracing::warn!(call = %self.call_id, "FreeSWITCH does not answer any more");
            return self.gone(now, None);
        }
        self.wire.ask(now);
        self.ask_for_asides(now);
        let is_lost = self.is_lost();
        let Some(task) = &mut self.task else { return };
        if task.stop_by.is_some_and(|by| by <= now) {
            return self.stopped(now);
        }
        match &mut task.doing {
            Doing::Waiting(until) if *until <= now => self.advance(now),
            Doing::Executing(executing) if executing.check_at <= now => {
                executing.check_at = now + UNKNOWN_LENGTH;
                if !is_lost {
                    self.ask_for_completion(now);
                }
            }
            Doing::Idle | Doing::Waiting(_) | Doing::Executing(_) => {}
        }
    }

    fn poll_output(&mut self) -> BackendOutput {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if self.is_ended {
            return BackendOutput::Timeout(None);
        }
        let task = self.task.as_ref().and_then(|task| {
            let doing = match &task.doing {
                Doing::Idle => None,
                Doing::Waiting(until) => Some(*until),
                Doing::Executing(executing) => Some(executing.check_at),
            };
            [doing, task.stop_by].into_iter().flatten().min()
        });
        BackendOutput::Timeout(
            [task, self.lost_until, self.asides_timeout(), self.wire.poll_timeout(), self.leaving_timeout()]
                .into_iter()
                .flatten()
                .min(),
        )
    }
}

impl FreeSwitchBackend {
    /// Reports what has changed of what `ctx.call` and `ctx.get` read.
    fn tell(&mut self, now: Instant, state: CallState, vars: Vars) {
        let state = (state > self.state && !self.is_ended).then_some(state);
        if state.is_none() && vars.is_empty() {
            return;
        }
        self.state = state.unwrap_or(self.state);
        let answered_at = (state == Some(CallState::Answered)).then(|| self.unix_ms(now));
        let change = FactsChange { state, answered_at, codec: None, vars };
        self.outputs.push_back(BackendOutput::Event(Event::Facts(change)));
    }
}

/// How long an application may take that waits for people: all tries, with time for what is played.
fn answer_time(wait_ms: u64, tries: u64) -> Duration {
    Duration::from_millis(wait_ms.saturating_mul(tries).min(24 * 3_600_000)).saturating_add(UNKNOWN_LENGTH)
}

#[cfg(test)]
mod tests;
