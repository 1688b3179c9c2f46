//! A run driven by hand: frames in, turns out, with a clock that moves only when the test says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_ctx_api::event::{CallFacts, Event};
use lockstep_ctx_api::js::{PRELUDE_VERSION, Worker};
use lockstep_ctx_api::op::DtmfMethod;
use lockstep_ctx_api::outcome::{OpResult, Outcome};
use lockstep_ctx_api::wire::{
    Bundle, CallStart, Entry, EntryKind, FromWorker, Issued, Limits, LogLine, RunHeader, RunId, RunState, ScriptError,
    ScriptType, Start, ToWorker, TurnEnd,
};
use lockstep_ctx_api::{CallEndedCause, EndedBy, Op, OpId};

/// 14 November 2023, 22:13:20 UTC.
pub(crate) const EPOCH_MS: u64 = 1_700_000_000_000;

/// What a run is made of before it starts.
pub(crate) struct Setup {
    files: BTreeMap<String, Arc<str>>,
    pub(crate) entry: String,
    pub(crate) header: RunHeader,
    pub(crate) data: String,
    pub(crate) call: Option<CallStart>,
}

impl Setup {
    /// A script that owns a call.
    pub(crate) fn call(source: &str) -> Self {
        let facts = CallFacts {
            id: "call-1".to_owned(),
            direction: "inbound".to_owned(),
            from: "441234567890".to_owned(),
            to: "1000".to_owned(),
            ..CallFacts::default()
        };
        let vars = [("sip_from_user", "441234567890"), ("sip_h_X-Customer", "12")];
        let call = CallStart {
            facts,
            vars: Arc::new(vars.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            headers: Arc::new(vec![("Subject".to_owned(), "Hello".to_owned())]),
            data_vars: None,
        };
        Self { call: Some(call), ..Self::app(source) }
    }

    /// A run outside any call.
    pub(crate) fn app(source: &str) -> Self {
        let header = RunHeader {
            bundle: 1,
            script_type: ScriptType::App,
            function: None,
            env: [("CORRELATION_ID".to_owned(), "call-1".to_owned())].into(),
            limits: Limits { memory_bytes: 32 << 20, turn_ms: 20_000, after_end_ms: 10_000 },
            seed: [7; 32],
            time_zone: "UTC".to_owned(),
            prelude: PRELUDE_VERSION,
            is_awaited: true,
        };
        Self {
            files: [("main.js".to_owned(), source.into())].into(),
            entry: "main.js".to_owned(),
            header,
            data: r#"{"n":1}"#.to_owned(),
            call: None,
        }
    }

    pub(crate) fn file(mut self, name: &str, source: &str) -> Self {
        self.files.insert(name.to_owned(), source.into());
        self
    }

    pub(crate) fn script_type(mut self, script_type: ScriptType) -> Self {
        self.header.script_type = script_type;
        self
    }

    pub(crate) fn function(mut self, name: &str) -> Self {
        self.header.function = Some(name.to_owned());
        self
    }

    pub(crate) fn start(self) -> Run {
        let mut run = Run {
            worker: Worker::new().expect("the prelude compiles"),
            now: EPOCH_MS,
            turns: Vec::new(),
            lines: Vec::new(),
            issued: BTreeMap::new(),
            fed: Vec::new(),
        };
        let sources = Arc::new(Bundle { entry: self.entry, files: self.files, ..Bundle::default() });
        run.feed(ToWorker::Bundle { bundle: 1, sources });
        let start = Arc::new(Start { at: EPOCH_MS, data: self.data, call: self.call });
        run.feed(ToWorker::Start { run: RunId(1), epoch: 0, header: Arc::new(self.header), start });
        run
    }
}

/// A started run.
pub(crate) struct Run {
    worker: Worker,
    pub(crate) now: u64,
    pub(crate) turns: Vec<TurnEnd>,
    pub(crate) lines: Vec<LogLine>,
    /// Operations that have no outcome yet.
    issued: BTreeMap<OpId, Op>,
    fed: Vec<ToWorker>,
}

impl Run {
    fn feed(&mut self, frame: ToWorker) {
        self.fed.push(frame.clone());
        let mut out = Vec::new();
        self.worker.handle(frame, &mut out);
        for frame in out {
            match frame {
                FromWorker::Log { line, .. } => self.lines.push(line),
                FromWorker::TurnEnd(end) => {
                    for (ordinal, Issued { op, .. }) in end.issued.iter().enumerate() {
                        self.issued.insert(OpId { turn: end.turn, ordinal: ordinal as u32 }, op.clone());
                    }
                    self.turns.push(end);
                }
                FromWorker::Ready { .. } => unreachable!("only a process says that it is ready"),
            }
        }
    }

    pub(crate) fn entry(&mut self, kind: EntryKind) -> &TurnEnd {
        let entry = Entry { at: self.now, kind };
        self.feed(ToWorker::Entry { run: RunId(1), epoch: 0, entry });
        self.turns.last().expect("every entry has a turn")
    }

    /// Settles the oldest operation of that name.
    pub(crate) fn settle(&mut self, name: &str, result: OpResult) -> &TurnEnd {
        let op = self.issued.iter().find(|(_, op)| op.name() == name).map(|(id, _)| *id);
        let op = op.unwrap_or_else(|| panic!("no '{name}' is pending: {:?}", self.pending()));
        self.issued.remove(&op);
        self.entry(EntryKind::Outcome { op, result })
    }

    pub(crate) fn done(&mut self, name: &str) -> &TurnEnd {
        self.settle(name, Ok(Outcome::Unit))
    }

    pub(crate) fn key(&mut self, digit: char) -> &TurnEnd {
        self.entry(EntryKind::Event(Event::Dtmf { digit, duration_ms: 100, method: DtmfMethod::Rfc4733 }))
    }

    pub(crate) fn keys(&mut self, digits: &str) {
        for digit in digits.chars() {
            self.key(digit);
        }
    }

    pub(crate) fn hangup(&mut self) -> &TurnEnd {
        self.issued.clear();
        self.entry(EntryKind::CallEnded(cause()))
    }

    /// Moves the clock to the next timer and wakes the run.
    pub(crate) fn wake(&mut self) -> &TurnEnd {
        self.now = self.last().wake_at.expect("a timer is set");
        self.entry(EntryKind::Wake)
    }

    pub(crate) fn last(&self) -> &TurnEnd {
        self.turns.last().expect("the start is a turn")
    }

    /// Names of the operations that have no outcome, oldest first.
    pub(crate) fn pending(&self) -> Vec<&'static str> {
        self.issued.values().map(Op::name).collect()
    }

    /// The operation of that name that is pending.
    pub(crate) fn op(&self, name: &str) -> &Op {
        self.issued.values().find(|op| op.name() == name).unwrap_or_else(|| panic!("no '{name}' in {:?}", self.pending()))
    }

    pub(crate) fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// JSON of the result.
    pub(crate) fn result(&self) -> &str {
        match &self.last().state {
            RunState::Finished { result } => result.as_deref().unwrap_or("undefined"),
            other => panic!("expected a result, got {other:?}, log {:?}", self.texts()),
        }
    }

    pub(crate) fn error(&self) -> &ScriptError {
        match &self.last().state {
            RunState::Failed(error) => error,
            other => panic!("expected an error, got {other:?}, log {:?}", self.texts()),
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.last().state == RunState::Running
    }

    /// The same entries in a fresh worker give the same turns, which is what a rebuild after a worker's death stands on; and so
    /// they do when the run is put to rest between every two turns, and in a worker that has run the script often enough to have it
    /// share a context, if it does.
    pub(crate) fn assert_replays(&self) {
        let mut worker = Worker::new().expect("the prelude compiles");
        let recorded: Vec<TurnEnd> = self.turns.iter().map(|end| TurnEnd { cpu_us: 0, gone: false, ..end.clone() }).collect();
        let owns_no_call = self.fed.iter().any(|frame| matches!(frame, ToWorker::Start { start, .. } if start.call.is_none()));
        for run in 1..=if owns_no_call { 14 } else { 2 } {
            let mut out = Vec::new();
            for frame in &self.fed {
                let frame = match frame.clone() {
                    ToWorker::Start { epoch, header, start, .. } => ToWorker::Start { run: RunId(run), epoch, header, start },
                    ToWorker::Entry { epoch, entry, .. } => ToWorker::Entry { run: RunId(run), epoch, entry },
                    other => other,
                };
                worker.handle(frame, &mut out);
                while run % 2 == 0 && worker.sweep(0) {}
            }
            let replayed = out.into_iter().filter_map(|frame| match frame {
                FromWorker::TurnEnd(end) => Some(TurnEnd { cpu_us: 0, gone: false, run: RunId(1), ..end }),
                FromWorker::Log { .. } | FromWorker::Ready { .. } => None,
            });
            assert_eq!(replayed.collect::<Vec<_>>(), recorded, "run {run}");
        }
    }
}

pub(crate) fn cause() -> CallEndedCause {
    CallEndedCause { code: 200, reason: "Normal Clearing".to_owned(), by: EndedBy::Caller }
}
