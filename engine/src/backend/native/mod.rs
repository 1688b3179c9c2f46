//! Our own SIP and media: operations become steps of legs, bridges and collectors.
//!
//! [`NativeBackend`] is one call. It has no clock, socket or task: time is a parameter, and what it wants done goes to its
//! [`Switchboard`]. Queued operations come one at a time (the queue above sees to that); settings and recordings run beside.
//! One file an operation, or a family that differs only in its arguments.

mod answer;
mod bridge;
mod collect;
mod end;
mod events;
mod hold;
mod originate;
mod play;
mod record;
mod send_dtmf;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::{Op, Vars};
use lockstep_ctx_api::{
    BackendOutput, CallBackend, CallEndedCause, CallState, Event, OpError, OpId, OpResult, Outcome, event::FactsChange,
};
use lockstep_media::codec::Codec;
use lockstep_media::digit::DigitSet;
use lockstep_media::recording::RecordingId;
use lockstep_media::stream::{Command, DtmfId};

use crate::call::{Audio, AudioId, Digits, Leg, LegId, LegState, LookupId, Switchboard, millis};

pub use end::Ending;
pub(crate) use end::{contact_value, leads_elsewhere, reply_text};
pub use record::RecordingEvent;

use bridge::BridgeTask;
use collect::CollectTask;
use hold::Hold;
use originate::Calling;
use record::Recording;
use send_dtmf::SendDtmfTask;

use super::set_headers::SetHeaders;

/// What a call is set up with.
#[derive(Clone, Debug)]
pub struct NativeSetup {
    /// The call's id; legs of bridges are named after it.
    pub call_id: String,
    /// In order of preference.
    pub codecs: Vec<Codec>,
    /// One moment on both clocks; the second in milliseconds since the Unix epoch.
    pub clock: (Instant, u64),
    /// What a caller hears while the far end rings without sending audio: a play source.
    pub ringback: String,
}

/// The queued operation that runs now.
#[derive(Debug)]
enum Task {
    Answer,
    Play(AudioId),
    Collect(Box<CollectTask>),
    SendDtmf(SendDtmfTask),
    Echo,
    Bridge(Box<BridgeTask>),
    Sleep { until: Instant },
}

impl Task {
    fn name(&self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Play(_) => "play",
            Self::Collect(task) => task.name(),
            Self::SendDtmf(_) => "sendDtmf",
            Self::Echo => "echo",
            Self::Bridge(_) => "bridge",
            Self::Sleep { .. } => "sleep",
        }
    }
}

/// One call on our own SIP and media.
#[derive(Debug)]
pub struct NativeBackend<S> {
    board: S,
    setup: NativeSetup,
    a: Leg,
    /// We called the party of leg A, not they us.
    originated: bool,
    /// Its answer is not the doing of the script that has the call, which has not been told of it.
    answered_before: bool,
    /// Whom we call, until they answer.
    calling: Option<Calling>,
    /// Legs of the bridge that runs, or of the callee who has not answered.
    far: BTreeMap<LegId, Leg>,
    next_leg: LegId,
    next_lookup: LookupId,
    /// The last run of keys that the media were given to send.
    last_dtmf: DtmfId,
    audio: Audio,
    digits: Digits,
    task: Option<(OpId, Task)>,
    /// What the last bridge, which came to nothing, would have told the caller.
    refused: Option<(u16, String)>,
    recordings: BTreeMap<RecordingId, Recording>,
    hold: Hold,
    /// What is played beside the queue, to whom, and as which operation.
    asides: BTreeMap<AudioId, (LegId, OpId)>,
    /// Leg A is joined with that of another call, which keys are for.
    joined: bool,
    /// Variables the script has set.
    vars: Vars,
    /// The header fields among them, with their names as they were written last: by those in lower case, since they have no case.
    variable_headers: BTreeMap<String, (String, String)>,
    /// Header fields for the next response or outgoing leg.
    headers: SetHeaders,
    told: (CallState, Option<Codec>),
    ended: bool,
    outputs: VecDeque<BackendOutput>,
}

impl<S: Switchboard> NativeBackend<S> {
    /// A call that came in. `offer` is the INVITE's session description.
    pub fn inbound(board: S, setup: NativeSetup, offer: Option<bytes::Bytes>) -> Self {
        Self::new(board, setup, Leg::inbound(LegId::A, offer), false)
    }

    fn new(board: S, setup: NativeSetup, a: Leg, originated: bool) -> Self {
        Self {
            board,
            setup,
            a,
            originated,
            answered_before: originated,
            calling: None,
            far: BTreeMap::new(),
            next_leg: LegId(1),
            next_lookup: LookupId(0),
            last_dtmf: DtmfId(0),
            audio: Audio::default(),
            digits: Digits::default(),
            task: None,
            refused: None,
            recordings: BTreeMap::new(),
            hold: Hold::default(),
            asides: BTreeMap::new(),
            joined: false,
            vars: Vars::new(),
            variable_headers: BTreeMap::new(),
            headers: SetHeaders::default(),
            told: (CallState::New, None),
            ended: false,
            outputs: VecDeque::new(),
        }
    }

    /// Where the call stands.
    pub fn state(&self) -> CallState {
        if self.ended { CallState::Ended } else { self.a.state().call_state() }
    }

    /// Sets a variable as `set` does, or removes it.
    pub fn set_variable(&mut self, name: &str, value: Option<&str>) {
        if let Some(field) = name.strip_prefix("sip_h_") {
            let key = field.to_ascii_lowercase();
            match value {
                Some(value) => self.variable_headers.insert(key, (field.to_owned(), value.to_owned())),
                None => self.variable_headers.remove(&key),
            };
        } else {
            match value {
                Some(value) => self.vars.insert(name.to_owned(), value.to_owned()),
                None => self.vars.remove(name),
            };
        }
    }

    /// Leg A is joined with that of another call from now on, or is not any more.
    pub fn set_joined(&mut self, joined: bool) {
        self.joined = joined;
    }

    /// What the call's switchboard is.
    pub fn board(&self) -> &S {
        &self.board
    }

    fn complete(&mut self, id: OpId, result: OpResult) {
        self.outputs.push_back(BackendOutput::Completed { id, result });
    }

    /// Completes the operation that runs now.
    fn complete_task(&mut self, result: OpResult) {
        if let Some((id, _)) = self.task.take() {
            self.complete(id, result);
        }
    }

    fn begin(&mut self, id: OpId, begun: Result<Task, OpError>) {
        match begun {
            Ok(task) => self.task = Some((id, task)),
            Err(error) => self.complete(id, Err(error)),
        }
    }

    /// Tells whoever reads the call's log what went wrong without costing the script anything.
    fn warn(&mut self, text: String) {
        self.outputs.push_back(BackendOutput::Warning(text));
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        let (instant, unix_ms) = self.setup.clock;
        unix_ms.saturating_add(millis(now.saturating_duration_since(instant)))
    }

    /// Makes sure the caller can hear something: starts early media on a call that is not answered (contract, 2.1 rule 6).
    fn audio_path(&mut self, now: Instant, operation: &str) -> Result<(), OpError> {
        if self.a.state() < LegState::Early {
            let headers = self.headers.fields().clone();
            self.a.start_early_media(&mut self.board, headers).map_err(|error| prefixed(operation, error))?;
            self.headers.take();
            self.tell_facts(now);
        }
        if self.a.has_media_path() { Ok(()) } else { Err(OpError::invalid_state(operation, self.a.state().name())) }
    }

    /// Reports a change of what `ctx.call` reads.
    fn tell_facts(&mut self, now: Instant) {
        let state = self.a.state().call_state();
        let codec = self.a.negotiated().map(|negotiated| negotiated.codec);
        let (told_state, told_codec) = std::mem::replace(&mut self.told, (state, codec));
        if told_state == state && told_codec == codec {
            return;
        }
        let newly_answered = state == CallState::Answered && told_state != state;
        self.outputs.push_back(BackendOutput::Event(Event::Facts(FactsChange {
            state: (told_state != state).then_some(state),
            answered_at: newly_answered.then(|| self.unix_ms(now)),
            codec: codec.filter(|_| told_codec != codec).map(|codec| codec.name().to_owned()),
            vars: Vars::new(),
        })));
    }

    /// Carries out what audio, collectors and bridges want done until nothing is left.
    fn settle(&mut self, now: Instant) {
        loop {
            if let Some((audio, result)) = self.audio.poll_ended() {
                self.audio_ended(now, audio, result);
                continue;
            }
            let worked = match &self.task {
                Some((_, Task::Collect(_))) => self.collect_step(now),
                Some((_, Task::Bridge(_))) => self.bridge_step(now),
                Some((_, Task::Answer | Task::Play(_) | Task::SendDtmf(_) | Task::Echo | Task::Sleep { .. })) | None => false,
            };
            if !worked {
                return self.resume_hold_music();
            }
        }
    }

    fn start_sleep(&mut self, now: Instant, id: OpId, duration_ms: u64) {
        match now.checked_add(Duration::from_millis(duration_ms)) {
            Some(until) => self.task = Some((id, Task::Sleep { until })),
            None => self.complete(id, Err(OpError::new(lockstep_ctx_api::ErrorCode::RangeError, "sleep: too long"))),
        }
    }

    fn start_echo(&mut self, now: Instant, id: OpId, delay_ms: u32) {
        let begun = self.audio_path(now, "echo").map(|()| Task::Echo);
        if begun.is_ok() {
            self.board.media(LegId::A, Command::Echo(Some(Duration::from_millis(u64::from(delay_ms)))));
        }
        self.begin(id, begun);
    }

    fn block_dtmf(&mut self, id: OpId, digits: &str) {
        self.block_keys(DigitSet::from_keys(digits));
        self.complete(id, Ok(Outcome::Unit));
    }

    fn block_keys(&mut self, keys: DigitSet) {
        self.digits.block(keys);
        self.a.block(&mut self.board, keys);
    }
}

impl<S: Switchboard> CallBackend for NativeBackend<S> {
    fn submit(&mut self, now: Instant, id: OpId, op: Op) {
        if self.ended {
            return self.complete(id, Err(OpError::invalid_state(op.name(), CallState::Ended.name())));
        }
        if let Some((_, task)) = &self.task
            && !matches!(op.class(), lockstep_ctx_api::OpClass::Immediate)
        {
            let state = format!("busy with {}", task.name());
            return self.complete(id, Err(OpError::invalid_state(op.name(), &state)));
        }
        match op {
            Op::Set(args) => {
                if !args.skip_write {
                    self.set_variable(&args.key, args.value.as_deref());
                }
                self.complete(id, Ok(Outcome::Unit));
            }
            Op::SetHeader(args) => {
                let set = self.headers.set(args.name, args.value);
                self.complete(id, set);
            }
            Op::BlockDtmf(args) => self.block_dtmf(id, &args.digits),
            Op::UnblockDtmf => self.block_dtmf(id, ""),
            Op::Record(args) => self.start_record(now, id, args),
            Op::RecordControl(args) => self.control_recording(id, &args),
            Op::Answer(args) => self.start_answer(now, id, args),
            Op::Ring(args) => self.ring(now, id, args),
            Op::EarlyMedia => self.start_early_media(now, id),
            Op::Play(args) => self.start_play(now, id, args),
            Op::Tts(args) => self.start_tts(now, id, args),
            Op::Ivr(args) => self.start_ivr(now, id, args),
            Op::Gather(args) => self.start_gather(now, id, args),
            Op::SendDtmf(args) => self.start_send_dtmf(now, id, &args),
            Op::Echo(args) => self.start_echo(now, id, args.delay_ms),
            Op::Bridge(args) => self.start_bridge(now, id, args),
            Op::Sleep(args) => self.start_sleep(now, id, args.duration_ms),
            Op::Reject(args) => self.reject(id, args),
            Op::Redirect(args) => self.redirect(id, args),
            Op::Hangup(args) => self.hangup(id, args),
            Op::Fetch(_) | Op::Host(_) => {
                let message = format!("{} is not an operation of a call", op.label());
                self.complete(id, Err(OpError::new(lockstep_ctx_api::ErrorCode::Unsupported, message)));
            }
        }
        self.settle(now);
    }

    fn cancel(&mut self, now: Instant, id: OpId) {
        let Some((_, task)) = self.task.take_if(|(running, _)| *running == id) else {
            return self.cancel_recording_stop(id);
        };
        let name = task.name();
        match task {
            // The 200 is on its way and cannot be taken back; only the waiting for its ACK ends.
            Task::Answer | Task::Sleep { .. } => {}
            Task::Play(audio) => self.audio.stop(&mut self.board, audio),
            Task::Collect(task) => self.stop_collecting(&task),
            Task::SendDtmf(task) => self.stop_sending(&task),
            Task::Echo => self.board.media(LegId::A, Command::Echo(None)),
            Task::Bridge(task) => self.abandon_bridge(*task),
        }
        self.complete(id, Err(OpError::aborted(name)));
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.handle_callee_timeout(now);
        match &mut self.task {
            Some((_, Task::Sleep { until })) if *until <= now => self.complete_task(Ok(Outcome::Unit)),
            Some((_, Task::Collect(task))) => task.collector.handle_timeout(now, &mut self.digits),
            Some((_, Task::Bridge(task))) => task.bridge.handle_timeout(now),
            Some((_, Task::SendDtmf(_))) => self.send_more_dtmf(now),
            Some((_, Task::Sleep { .. } | Task::Answer | Task::Play(_) | Task::Echo)) | None => {}
        }
        self.settle(now);
    }

    fn poll_output(&mut self) -> BackendOutput {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        let task = match &self.task {
            Some((_, Task::Sleep { until })) => Some(*until),
            Some((_, Task::Collect(task))) => task.collector.poll_timeout(),
            Some((_, Task::Bridge(task))) => task.bridge.poll_timeout(),
            Some((_, Task::SendDtmf(task))) => task.wait_until(),
            Some((_, Task::Answer | Task::Play(_) | Task::Echo)) | None => None,
        };
        BackendOutput::Timeout(task.into_iter().chain(self.callee_timeout()).min())
    }
}

/// Names the operation in an error that comes from below it.
fn prefixed(operation: &str, error: OpError) -> OpError {
    OpError { message: format!("{operation}: {}", error.message), ..error }
}

/// Says once, after everything has settled, how the call ended.
impl<S: Switchboard> NativeBackend<S> {
    fn push_ended(&mut self, cause: CallEndedCause) {
        self.ended = true;
        self.outputs.push_back(BackendOutput::Ended(cause));
    }
}

#[cfg(test)]
mod tests;
