//! Operations that others than a call's script ask for: event sockets, `/v1/events`. And calls that change hands.
//!
//! They go through the same queue as a script's operations, behind what waits there, with ids of a turn of their own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::{CallBackend as _, CallState, EndedBy, OpError, OpId, OpResult, Outcome};
use tokio::sync::oneshot;

use super::channel::{Activity, Aftermath, ChannelEvent, Consequences, Execution};
use super::directory::IncomingRoute;
use super::exchange::CallKey;
use super::handle::EngineError;
use super::joining::TAKEN_BY;
use super::live_call::{OnAnswer, PLACED, ScriptState};
use super::switch::Switch;
use super::world::{ApplicationCall, LedOn};
use crate::backend::native::Ending;
use crate::config::Destination;

/// The turn of operations that others than the script ask for.
pub(super) const OUTSIDE_TURN: u32 = u32::MAX - 1;
/// Operations of others that may wait on one call.
const MAX_PENDING: usize = 256;

/// On whose behalf a call is led elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asker {
    /// A script or a key: it leads where a caller could get, and to the scripts of the call's account.
    #[default]
    Tenant,
    /// A variable of the call, which anybody may have set who has had it: it leads where a caller could get.
    Variable,
    /// Whoever is on the event socket: it may also name an application.
    Operator,
}

/// One that has not settled.
struct Pending {
    activity: Arc<Activity>,
    aftermath: Option<Aftermath>,
    done: oneshot::Sender<OpResult>,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.activity.fmt(f)
    }
}

/// The operations on one call that others have asked for.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    pending: BTreeMap<OpId, Pending>,
    /// Those that do nothing and last until the call ends or changes hands.
    parked: Vec<(Arc<Activity>, oneshot::Sender<OpResult>)>,
    issued: u32,
    /// Those that are played into a conversation, beside the queue.
    asides: BTreeSet<OpId>,
}

impl Outside {
    /// Whether an operation runs beside the queue.
    pub(super) fn is_aside(&self, id: OpId) -> bool {
        self.asides.contains(&id)
    }

    fn has_room(&self) -> Result<(), EngineError> {
        let waiting = self.pending.len() + self.parked.len();
        if waiting < MAX_PENDING { Ok(()) } else { Err(EngineError::TooManyOperations(waiting)) }
    }

    pub(super) fn activity(&self, id: OpId) -> Option<Arc<Activity>> {
        self.pending.get(&id).map(|pending| Arc::clone(&pending.activity))
    }

    /// What follows from an outcome; asked for once.
    pub(super) fn consequences(&mut self, id: OpId, result: &OpResult) -> Consequences {
        let aftermath = self.pending.get_mut(&id).and_then(|pending| pending.aftermath.take());
        aftermath.map(|aftermath| aftermath(result)).unwrap_or_default()
    }
}

/// Who wants a call led elsewhere, and what kind of call.
pub(super) struct Leading<'a> {
    asker: Asker,
    /// Whose call it is; `None`: everybody's.
    account: Option<&'a str>,
    customer: Option<i64>,
    /// The account whose Class 5 destinations it reaches; `None`: anybody's.
    reach: Option<&'a str>,
    is_native: bool,
}

impl<'a> Leading<'a> {
    /// A call that somebody places.
    pub(super) fn of_placed(account: Option<&'a str>, asker: Asker) -> Self {
        Self { asker, account, customer: None, reach: account, is_native: true }
    }

    /// Whether a script of this account can be named that nobody could dial.
    fn may_name(&self, account: &str) -> bool {
        match self.asker {
            Asker::Operator => true,
            Asker::Tenant => self.account.is_none_or(|own| own == account),
            Asker::Variable => false,
        }
    }
}

/// What a call is led to, as one would dial it; `None` for a URI and for an application.
pub(super) fn extension(target: &str) -> Option<&str> {
    match target.parse() {
        Ok(Destination::Sip(_) | Destination::Socket { .. }) => None,
        Ok(Destination::Class5(_) | Destination::User(_) | Destination::External(_)) => {
            target.split_once(':').map(|(_, name)| name)
        }
        Err(_) => Some(target),
    }
}

impl Switch {
    pub(super) fn execute(&mut self, id: &str, execution: Execution) -> Result<oneshot::Receiver<OpResult>, EngineError> {
        let key = self.live_call(id)?;
        let Some(op) = execution.op.clone() else { return self.park(key, id, execution) };
        let (op_id, result) = self.issue(key, id, &op, execution)?;
        if let Some(call) = self.calls.get_mut(&key) {
            call.queue.submit(op_id, op);
            call.queue.awaited(op_id);
        }
        self.touch(key);
        Ok(result)
    }

    /// Plays into a conversation, to the call's party or with `far` to the other one. Where there is none, the party hears it when
    /// its turn has come.
    pub(super) fn broadcast(
        &mut self,
        id: &str,
        execution: Execution,
        far: bool,
    ) -> Result<oneshot::Receiver<OpResult>, EngineError> {
        let key = self.live_call(id)?;
        let now = self.now();
        let peer = self.calls.get(&key).and_then(|call| call.joined).map(|joined| joined.peer);
        if let Some(peer) = peer.and_then(|peer| self.calls.get(&peer)).filter(|_| far) {
            let id = peer.facts.id.clone();
            return self.broadcast(&id, execution, false);
        }
        let backend = self.calls.get_mut(&key).and_then(|call| call.backend.native_mut());
        let Some(op) = execution.op.clone().filter(|_| backend.is_some_and(|backend| backend.is_bridged())) else {
            return if far { Err(EngineError::NotBridged(id.to_owned())) } else { self.execute(id, execution) };
        };
        let (op_id, result) = self.issue(key, id, &op, execution)?;
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::NoSuchCall(id.to_owned())) };
        call.outside.asides.insert(op_id);
        call.log.started(now.unix_ms, op_id);
        let running = call.channel.running.clone();
        self.operation_started(key, op_id, &op);
        if let Some(call) = self.calls.get_mut(&key) {
            call.channel.running = running;
            if let Some(backend) = call.backend.native_mut() {
                backend.play_aside(now.instant, op_id, op, far);
            }
        }
        self.touch(key);
        Ok(result)
    }

    /// Notes an operation of somebody else's, which is about to be begun or queued.
    fn issue(
        &mut self,
        key: CallKey,
        id: &str,
        op: &Op,
        execution: Execution,
    ) -> Result<(OpId, oneshot::Receiver<OpResult>), EngineError> {
        let unix_ms = self.now().unix_ms;
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::NoSuchCall(id.to_owned())) };
        call.outside.has_room()?;
        let (done, result) = oneshot::channel();
        let Execution { application, data, uuid, aftermath, .. } = execution;
        let octets = data.len();
        let activity = Arc::new(Activity { uuid, operation: op.name(), application: Some(application), data, octets });
        call.outside.issued += 1;
        let op_id = OpId { turn: OUTSIDE_TURN, ordinal: call.outside.issued };
        call.outside.pending.insert(op_id, Pending { activity, aftermath: Some(aftermath), done });
        self.counters.operations += 1;
        let entry = call.log.issued(unix_ms, op_id, op, None).cloned();
        self.publish_entry(key, entry);
        Ok((op_id, result))
    }

    fn park(&mut self, key: CallKey, id: &str, execution: Execution) -> Result<oneshot::Receiver<OpResult>, EngineError> {
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::NoSuchCall(id.to_owned())) };
        call.outside.has_room()?;
        let (done, result) = oneshot::channel();
        let Execution { application, data, uuid, .. } = execution;
        let octets = data.len();
        let activity = Arc::new(Activity { uuid, operation: "", application: Some(application), data, octets });
        call.outside.parked.push((Arc::clone(&activity), done));
        self.channel_event(key, ChannelEvent::Started(activity));
        Ok(result)
    }

    /// Tells whoever asked for an operation what came of it.
    pub(super) fn settled_outside(&mut self, key: CallKey, id: OpId, result: OpResult) {
        let outside = self.calls.get_mut(&key).map(|call| &mut call.outside);
        let pending = outside.and_then(|outside| {
            outside.asides.remove(&id);
            outside.pending.remove(&id)
        });
        if let Some(pending) = pending {
            // Whoever asked may have gone away.
            let _ = pending.done.send(result);
        }
    }

    /// What did nothing does not even do that any more.
    pub(super) fn release_outside(&mut self, key: CallKey) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        for (activity, done) in std::mem::take(&mut call.outside.parked) {
            let result: OpResult = match &call.ended {
                Some((cause, _)) => Err(OpError::call_ended(cause.clone())),
                None => Ok(Outcome::Unit),
            };
            let completed = ChannelEvent::Completed { activity, result: Arc::new(result.clone()), response: None };
            let channel = Arc::new(call.channel.clone());
            if self.events.is_watched() {
                let unix_ms = self.exchange.borrow().now.unix_ms;
                self.events.publish(
                    unix_ms,
                    Some(Arc::clone(&call.account)),
                    super::engine_event::EngineEvent::Channel { channel, what: completed },
                );
            }
            // Whoever asked may have gone away.
            let _ = done.send(result);
        }
    }

    pub(super) fn break_off(&mut self, id: &str, all: bool) -> Result<(), EngineError> {
        let key = self.live_call(id)?;
        let Some(call) = self.calls.get_mut(&key) else { return Err(EngineError::NoSuchCall(id.to_owned())) };
        // What is played into a conversation runs; the others run in the order of their ids.
        let mut ids: Vec<OpId> = call.outside.pending.keys().copied().collect();
        ids.sort_by_key(|id| !call.outside.is_aside(*id));
        for id in ids.into_iter().take(if all { usize::MAX } else { 1 }) {
            match call.backend.native_mut().filter(|_| call.outside.is_aside(id)) {
                Some(backend) => backend.cancel_aside(id),
                None => call.queue.cancel(id),
            }
        }
        self.touch(key);
        Ok(())
    }

    /// Leads the call that one is joined with elsewhere, with `both` that one, too.
    pub(super) fn transfer_other(&mut self, id: &str, target: &str, both: bool, asker: Asker) -> Result<(), EngineError> {
        let key = self.live_call(id)?;
        let peer = self.calls.get(&key).and_then(|call| call.joined).map(|joined| joined.peer);
        let other = peer.and_then(|peer| self.calls.get(&peer)).map(|call| call.facts.id.clone());
        let other = other.ok_or_else(|| EngineError::NotBridged(id.to_owned()))?;
        if both {
            for key in [Some(key), peer].into_iter().flatten() {
                self.route_of(key, target, asker)?;
            }
            // Parted first, so that neither is hung up for the other's sake.
            self.part(key);
            let first = self.transfer(id, target, asker);
            // The other one goes there also where this one has just ended.
            self.transfer(&other, target, asker)?;
            return first;
        }
        self.transfer(&other, target, asker)
    }

    /// Takes a call from whoever has it and leads it elsewhere; one of ours goes there when its callee answers.
    pub(super) fn transfer(&mut self, id: &str, target: &str, asker: Asker) -> Result<(), EngineError> {
        let key = self.live_call(id)?;
        let IncomingRoute { destinations, did, reach, .. } = self.route_of(key, target, asker)?;
        tracing::info!(call = %id, %target, "transferred");
        let is_placed = self.calls.get(&key).is_some_and(|call| call.is_just_placed());
        self.leave(key);
        self.take_away(key);
        if let Some(call) = self.calls.get_mut(&key) {
            let mut destinations = VecDeque::from(destinations);
            let when_answered = || OnAnswer::Destinations(std::mem::take(&mut destinations));
            call.plan.on_answer = call.is_ringing_out().then(when_answered);
            call.plan.destinations = destinations;
            call.plan.failure = None;
            call.facts.did = did.or(call.facts.did.take());
            if let Some(extension) = extension(target) {
                call.led_to(extension, is_placed);
            }
        }
        self.exchange.borrow_mut().set_reach(key, reach);
        // What runs has stopped before anything else begins.
        self.settle_call(key);
        // What it had asked for may have been its end.
        self.live_call(id)?;
        if self.calls.get(&key).is_some_and(|call| call.plan.on_answer.is_none()) {
            self.next_destination(key);
        }
        Ok(())
    }

    /// Where a live call goes that is led to `target`.
    pub(super) fn route_of(&self, key: CallKey, target: &str, asker: Asker) -> Result<IncomingRoute, EngineError> {
        let call = self.calls.get(&key);
        let account = call.map(|call| &*call.account);
        let is_somebodys = self.exchange.borrow().reach_of(key).is_some();
        let leading = Leading {
            asker,
            account,
            customer: call.and_then(|call| call.facts.customer_id),
            reach: account.filter(|_| is_somebodys),
            is_native: call.is_none_or(|call| call.backend.is_native()),
        };
        self.led_to(target, &leading)
    }

    /// Takes a call from whoever has it, for whom it has ended; what is under way on it is stopped.
    pub(super) fn take_away(&mut self, key: CallKey) {
        let now = self.now();
        if !self.keep_call(key)
            && let Some(journals) = &self.keeping.journals
        {
            journals.lost();
        }
        self.part_from_script(key);
        self.abandon_admission(key);
        let Some(call) = self.calls.get_mut(&key) else { return };
        if let Some(application) = call.application.take() {
            application.tell();
        }
        call.queue.go_on(TAKEN_BY);
        call.queue.cancel_all();
        if let Some(bridge) = call.plan.bridge.take() {
            call.backend.cancel(now.instant, bridge);
        }
        self.release_outside(key);
    }

    /// Where a call goes that is led to `target`: where a caller would have come who dialled it, else a number or URI.
    ///
    /// # Errors
    /// Nobody is there, or not for who asks.
    pub(super) fn led_to(&self, target: &str, leading: &Leading<'_>) -> Result<IncomingRoute, EngineError> {
        let nobody = |why: String| EngineError::NobodyThere { target: target.to_owned(), why };
        let reach = leading.reach;
        let straight = |to: Destination, reach: Option<&str>| IncomingRoute {
            destinations: vec![to],
            did: None,
            customer: None,
            reach: reach.map(Arc::from),
        };
        let exchange = self.exchange.borrow();
        let (directory, programs) = (&exchange.directory, &exchange.programs);
        let is_callable = |target: &str| self.is_callable(target, leading.customer, reach).map_err(nobody);
        match target.parse() {
            // We would connect to wherever the target says.
            Ok(Destination::Socket { .. }) if leading.asker != Asker::Operator => {
                let why = "an application is named in lockstep.toml, or on the event socket".to_owned();
                return Err(EngineError::TargetRefused { target: target.to_owned(), why });
            }
            Ok(application @ Destination::Socket { .. }) => return Ok(straight(application, reach)),
            Ok(Destination::Class5(name)) => {
                // The operator leads it also to a script that it does not reach.
                let is_others = programs.led_to(&name, reach).is_none() && programs.led_to(&name, None).is_some();
                let reach = reach.filter(|_| leading.asker != Asker::Operator || !is_others);
                let is_there = programs.dialled(&name, reach).is_some()
                    || programs.by_name(&name).is_some_and(|program| leading.may_name(&program.account))
                    || directory.application(&name).is_some();
                let why = || nobody("it is no Class 5 destination, nor a script of the account".to_owned());
                return if is_there { Ok(straight(Destination::Class5(name), reach)) } else { Err(why()) };
            }
            // On a media server of others, what we do not know is for its dialplan.
            Ok(Destination::Sip(uri)) if !leading.is_native => return Ok(straight(Destination::Sip(uri), reach)),
            Ok(Destination::Sip(uri)) => {
                // The operator dials at a gateway what the call's account could not.
                let is_operators = leading.asker == Asker::Operator && is_callable(&uri).is_err();
                let reach = reach.filter(|_| !is_operators);
                let is_there = self.is_callable(&uri, leading.customer, reach).map_err(nobody);
                return is_there.map(|()| straight(Destination::Sip(uri), reach));
            }
            Ok(Destination::User(_) | Destination::External(_)) | Err(_) => {}
        }
        let wanted = straight(Destination::External(target.to_owned()), reach);
        let leads_out = || leading.is_native && exchange.table.leads_to(target, leading.customer);
        match directory.incoming(target, reach, programs, leads_out) {
            Some(route) if !leading.is_native || route.did.as_deref().is_none_or(|did| directory.is_bare(did)) => Ok(route),
            None if !leading.is_native => Ok(wanted),
            // A DID with more to it is called, and comes in as it would from outside.
            Some(_) | None => is_callable(target).map(|()| wanted),
        }
    }

    /// Has an application take over a call; whether that is tried.
    pub(super) fn call_application(&mut self, key: CallKey, application: &Destination) -> bool {
        let Destination::Socket { addr, is_async, full } = application else { return false };
        let Some(call) = self.calls.get_mut(&key) else { return false };
        let mut exchange = self.exchange.borrow_mut();
        let is_everybodys = exchange.config.accounts.is_empty() || exchange.directory.is_operators(application);
        let led_on = LedOn::default();
        call.application = Some(led_on.clone());
        let wanted = ApplicationCall {
            call: call.facts.id.clone(),
            takeover: call.taken_over(),
            account: (!is_everybodys).then(|| Arc::clone(&call.account)),
            addr: addr.clone(),
            is_async: *is_async,
            full: *full,
            led_on,
        };
        match exchange.world.call_application(wanted) {
            Ok(()) => true,
            Err(why) => {
                tracing::warn!(call = %call.facts.id, %addr, %why, "the application of a call cannot be called");
                call.script = ScriptState::Absent;
                call.plan.failure = Some((503, "Service Unavailable".to_owned()));
                false
            }
        }
    }

    /// Whether a call still waits for whoever placed it.
    pub(super) fn is_waiting(&self, id: &str) -> bool {
        let call = self.live_call(id).ok().and_then(|key| self.calls.get(&key));
        call.is_some_and(|call| call.script == ScriptState::Application(PLACED))
    }

    /// The application of a call could not be reached, or has let go of it; `takeover`: by which it had the call, and may have lost it
    /// to another one since.
    pub(super) fn application_over(&mut self, id: &str, takeover: u64, how: Result<(), String>) {
        let Ok(key) = self.live_call(id) else { return };
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.script != ScriptState::Application(takeover) {
            return;
        }
        match how {
            // What it has left in the queue runs to its end, as with a script.
            Ok(()) => {
                let unanswered = call.facts.state != CallState::Answered && call.queue.is_idle();
                if unanswered {
                    tracing::warn!(call = %id, "the application left before it answered the call: 480");
                }
                let refusal = (480, "Temporarily Unavailable".to_owned());
                call.script = ScriptState::OverUndecided(Ending { refusal, bye: None, by: EndedBy::Script });
                self.touch(key);
            }
            Err(why) => {
                tracing::warn!(call = %id, %why, "the application of a call was not reached");
                call.script = ScriptState::Absent;
                call.plan.failure = Some((503, "Service Unavailable".to_owned()));
                self.next_destination(key);
            }
        }
    }
}
