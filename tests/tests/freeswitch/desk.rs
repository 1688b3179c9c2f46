//! One backend and one channel of the stand-in, with a clock that only the test moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::{BackendOutput, CallBackend, CallEndedCause, Event, OpId, OpResult};
use lockstep_engine::backend::freeswitch::{Channel as Handed, FreeSwitchBackend, Settings};
use lockstep_engine::esl::{FrameReader, Kind, Limits, Message};
use lockstep_tests::freeswitch::{Channel, Setup};

/// See the module.
pub(crate) struct Desk {
    began: Instant,
    ms: u64,
    pub(crate) channel: Channel,
    pub(crate) backend: FreeSwitchBackend,
    reader: FrameReader,
    ops: u32,
    pub(crate) done: Vec<(OpId, OpResult)>,
    pub(crate) events: Vec<Event>,
    pub(crate) ended: Option<CallEndedCause>,
    /// What goes wrong with one of the channel's events, counted from 0.
    pub(crate) fault: Option<(usize, Fault)>,
    heard: usize,
    late: Option<Message>,
}

/// What goes wrong with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Lost,
    /// It comes behind the next one.
    Late,
}

impl Desk {
    #[expect(clippy::disallowed_methods, reason = "a test needs one moment to count from")]
    pub(crate) fn new(setup: Setup) -> Self {
        let began = Instant::now();
        let mut channel = Channel::new(setup);
        channel.receive(b"connect\n\n");
        let mut reader = FrameReader::of_messages(Limits::FROM_SERVER);
        reader.push(&channel.take_out());
        let greeting = Message::parse(reader.poll_frame().unwrap().expect("the channel answers"));
        let handed = Handed::of(&greeting.connected()).unwrap();
        let settings = Settings {
            files: "/s".into(),
            users: "user/{target}".into(),
            dial: "loopback/{target}/{context}".into(),
            tts_engine: Some("flite".into()),
            tts_voice: Some("slt".into()),
            ..Settings::default()
        };
        let backend = FreeSwitchBackend::new("call-1".into(), handed, Arc::new(settings), (began, 0));
        let (done, events) = (Vec::new(), Vec::new());
        let mut desk =
            Self { began, ms: 0, channel, backend, reader, ops: 0, done, events, ended: None, fault: None, heard: 0, late: None };
        desk.exchange();
        desk
    }

    pub(crate) fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.ms)
    }

    /// Carries bytes both ways until neither side has any; the next moment something happens, in milliseconds.
    fn exchange(&mut self) -> Option<u64> {
        loop {
            let timeout = loop {
                match self.backend.poll_output() {
                    BackendOutput::Completed { id, result } => self.done.push((id, result)),
                    BackendOutput::Event(event) => self.events.push(event),
                    BackendOutput::Warning(_) => {}
                    BackendOutput::Ended(cause) => self.ended = Some(cause),
                    BackendOutput::Timeout(at) => break at,
                }
            };
            let sent = self.backend.take_transmit();
            if let Some(bytes) = &sent {
                self.channel.receive(bytes);
            }
            let said = self.channel.take_out();
            self.reader.push(&said);
            let mut heard = false;
            while let Some(frame) = self.reader.poll_frame().expect("the stand-in speaks the language") {
                heard = true;
                let message = Message::parse(frame);
                let is_event = matches!(message.kind(), Kind::EventPlain | Kind::EventJson);
                let number = self.heard;
                self.heard += usize::from(is_event);
                match self.fault {
                    Some((at, Fault::Lost)) if is_event && at == number => continue,
                    Some((at, Fault::Late)) if is_event && at == number => {
                        self.late = Some(message);
                        continue;
                    }
                    _ => self.backend.handle_message(self.now(), &message),
                }
                if is_event && let Some(late) = self.late.take() {
                    self.backend.handle_message(self.now(), &late);
                }
            }
            if sent.is_none() && !heard {
                let timeout =
                    timeout.map(|at| u64::try_from(at.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX));
                return [timeout, self.channel.next_due()].into_iter().flatten().min();
            }
        }
    }

    /// Milliseconds since the call began.
    pub(crate) fn ms(&self) -> u64 {
        self.ms
    }

    /// How many events there were.
    pub(crate) fn heard(&self) -> usize {
        self.heard
    }

    /// The connection breaks.
    pub(crate) fn lose(&mut self) {
        self.channel.lose_connection();
        self.reader = FrameReader::of_messages(Limits::FROM_SERVER);
        let now = self.now();
        self.backend.connection_lost(now, true);
        self.exchange();
    }

    /// There is another connection.
    pub(crate) fn back(&mut self) {
        self.channel.connect_inbound();
        let now = self.now();
        self.backend.connection_back(now);
        self.exchange();
    }

    /// Lets `ms` pass.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.ms + ms;
        while let Some(due) = self.exchange().filter(|due| *due <= end) {
            self.ms = self.ms.max(due).max(self.ms + u64::from(due <= self.ms));
            self.channel.advance(self.ms);
            self.backend.handle_timeout(self.now());
        }
        self.ms = end;
        self.channel.advance(end);
        self.backend.handle_timeout(self.now());
        self.exchange();
    }

    pub(crate) fn submit(&mut self, op: Op) -> OpId {
        self.ops += 1;
        let id = OpId { turn: self.ops, ordinal: 0 };
        let now = self.now();
        self.backend.submit(now, id, op);
        self.exchange();
        id
    }

    pub(crate) fn cancel(&mut self, id: OpId) {
        let now = self.now();
        self.backend.cancel(now, id);
        self.exchange();
    }

    pub(crate) fn result(&self, id: OpId) -> Option<&OpResult> {
        self.done.iter().find(|(own, _)| *own == id).map(|(_, result)| result)
    }

    /// Runs one operation to its end, for at most an hour.
    pub(crate) fn run(&mut self, op: Op) -> OpResult {
        let name = op.name();
        let id = self.submit(op);
        for _ in 0..36_000 {
            if let Some(result) = self.result(id) {
                return result.clone();
            }
            self.pass(100);
        }
        panic!("{name} stays pending: {:?}", self.channel);
    }

    pub(crate) fn press(&mut self, digits: &str) {
        for digit in digits.chars() {
            self.channel.press(digit);
            self.exchange();
        }
    }

    /// What was executed since the call began, without the settings.
    pub(crate) fn executed(&self) -> Vec<&str> {
        self.channel.executed.iter().map(String::as_str).collect()
    }
}
