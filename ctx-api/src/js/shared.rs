//! What a run's host functions and its owner both touch.
//!
//! QuickJS calls the host functions while the owner is inside `Context::with`, hence cells. Nothing here holds a JavaScript value.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::program::Program;
use crate::error::{CallEndedCause, ErrorCode, OpError};
use crate::event::{CallFacts, FactsChange};
use crate::op::{Headers, MAX_SET_BYTES, Op, OpClass, OpId, Vars};
use crate::wire::{
    Epoch, FromWorker, Issued, Location, LogLevel, LogLine, RunHeader, RunId, ScriptError, ScriptErrorKind, Start,
};

/// Lines one turn may log; the rest are counted and dropped.
const MAX_LINES_PER_TURN: u32 = 1_000;
/// Longest line, in bytes.
const MAX_LINE: usize = 16 << 10;

/// What a worker is told by its runs while a turn lasts.
#[derive(Clone, Default)]
pub(super) struct Sinks {
    /// Where console lines go the moment they are written, ahead of their turn's end.
    pub(super) log: Option<Rc<dyn Fn(FromWorker)>>,
    /// Who counts the marks that instrumented sources pass: a mark's number, and the value that passed it, if any did.
    pub(super) hits: Option<Rc<HitSink>>,
}

/// See [`Sinks::hits`].
pub(super) type HitSink = dyn Fn(u32, Option<&str>);

/// An operation whose promise has not settled.
#[derive(Debug)]
pub(super) struct Pending {
    /// As messages name it.
    pub(super) operation: Cow<'static, str>,
    pub(super) class: OpClass,
    pub(super) at: Option<Location>,
    /// `then` was called on its promise.
    pub(super) listened: bool,
    /// Once it succeeds, the script knows that the call is over.
    pub(super) hangs_up: bool,
    /// The script knew that when it asked for this.
    pub(super) after_hangup: bool,
}

/// What the script asked for in the turn that runs now.
#[derive(Debug, Default)]
pub(super) struct TurnOutput {
    pub(super) issued: Vec<Issued>,
    pub(super) awaited: Vec<OpId>,
    pub(super) cancels: Vec<OpId>,
    pub(super) lingers: bool,
}

/// What a script reads synchronously; only entries and its own `set` change it.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    /// What the script has set takes this many bytes.
    set_bytes: usize,
    pub(super) facts: CallFacts,
    pub(super) vars: Arc<Vars>,
    pub(super) headers: Arc<Headers>,
}

impl Mirror {
    /// A call variable. Header names keep whatever case the caller's device used, so theirs is ignored.
    pub(super) fn var(&self, key: &str) -> Option<&str> {
        if let Some(value) = self.vars.get(key) {
            return Some(value);
        }
        let header = key.strip_prefix("sip_h_")?;
        self.header_var(header).map(|(_, value)| value.as_str()).or_else(|| self.header(header))
    }

    /// The variable of a header field, however its name is written there.
    fn header_var(&self, header: &str) -> Option<(&String, &String)> {
        let is_same = |name: &str| name.strip_prefix("sip_h_").is_some_and(|name| name.eq_ignore_ascii_case(header));
        self.vars.iter().find(|(name, _)| is_same(name))
    }

    /// How a variable that is there is written, if `key` names it in another way.
    pub(super) fn spelling(&self, key: &str) -> Option<String> {
        let header = key.strip_prefix("sip_h_").filter(|_| !self.vars.contains_key(key))?;
        self.header_var(header).map(|(name, _)| name.clone())
    }

    /// Sets a variable or removes it, as the script asks.
    ///
    /// # Errors
    /// When the variables of the call would take too much: everyone who watches the call holds them too.
    pub(super) fn set(&mut self, key: &str, value: Option<&str>) -> Result<(), OpError> {
        let size = |value: Option<&str>| value.map_or(0, |value| key.len() + value.len());
        let set_bytes = self.set_bytes.saturating_sub(size(self.vars.get(key).map(String::as_str))) + size(value);
        if set_bytes > MAX_SET_BYTES && value.is_some() {
            let message = format!("set: the variables of a call may take {MAX_SET_BYTES} bytes together");
            return Err(OpError::new(ErrorCode::LimitError, message));
        }
        self.set_bytes = set_bytes;
        let vars = Arc::make_mut(&mut self.vars);
        match value {
            Some(value) => vars.insert(key.to_owned(), value.to_owned()),
            None => vars.remove(key),
        };
        Ok(())
    }

    /// The first header field of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn apply(&mut self, change: FactsChange) {
        let FactsChange { state, answered_at, codec, vars } = change;
        if let Some(state) = state {
            self.facts.state = state;
        }
        self.facts.answered_at = answered_at.or(self.facts.answered_at);
        if codec.is_some() {
            self.facts.codec = codec;
        }
        if !vars.is_empty() {
            Arc::make_mut(&mut self.vars).extend(vars);
        }
    }
}

/// How `main` came to its end.
#[derive(Debug)]
pub(super) enum Verdict {
    /// JSON, `None` for nothing.
    Finished(Option<String>),
    Failed(ScriptError),
}

/// What chance comes from.
struct Randoms {
    math: ChaCha12Rng,
    secure: ChaCha12Rng,
}

impl Randoms {
    fn new(seed: [u8; 32]) -> Self {
        let mut secure = ChaCha12Rng::from_seed(seed);
        // One seed, two streams that say nothing about each other: a script may print what `Math.random` gave.
        let mut second_seed = [0; 32];
        secure.fill_bytes(&mut second_seed);
        Self { math: ChaCha12Rng::from_seed(second_seed), secure }
    }
}

/// See the module.
pub(super) struct Shared {
    run: Cell<RunId>,
    epoch: Cell<Epoch>,
    header: RefCell<Arc<RunHeader>>,
    start: RefCell<Arc<Start>>,
    pub(super) program: Rc<Program>,
    pub(super) turn: Cell<u32>,
    /// The script's clock, ms since the Unix epoch.
    pub(super) now: Cell<u64>,
    /// What it showed when the run began, as it goes now.
    pub(super) began: Cell<u64>,
    pub(super) output: RefCell<TurnOutput>,
    /// What the arguments of its operations take, in bytes.
    pub(super) asked_bytes: Cell<usize>,
    pub(super) pending: RefCell<BTreeMap<OpId, Pending>>,
    pub(super) mirror: RefCell<Mirror>,
    pub(super) verdict: RefCell<Option<Verdict>>,
    /// `exit` or `err` was called: no line of the script runs any more.
    pub(super) exited: Cell<bool>,
    /// How the call ended, once it has.
    pub(super) end: RefCell<Option<CallEndedCause>>,
    /// The script has ended the call itself and been told so.
    pub(super) hung_up: Cell<bool>,
    /// Parts of the prelude that have been loaded since the context was frozen.
    pub(super) loads: Cell<u32>,
    /// Made when first asked for.
    random: RefCell<Option<Randoms>>,
    lines: RefCell<Vec<FromWorker>>,
    line_count: Cell<u32>,
    sinks: Sinks,
}

impl Shared {
    pub(super) fn new(
        run: RunId,
        epoch: Epoch,
        header: Arc<RunHeader>,
        start: Arc<Start>,
        program: Rc<Program>,
        sinks: Sinks,
    ) -> Self {
        let call = start.call.clone().unwrap_or_default();
        Self {
            run: Cell::new(run),
            epoch: Cell::new(epoch),
            program,
            turn: Cell::new(0),
            now: Cell::new(start.at),
            began: Cell::new(start.at),
            output: RefCell::default(),
            asked_bytes: Cell::default(),
            pending: RefCell::default(),
            mirror: RefCell::new(Mirror { facts: call.facts, vars: call.vars, headers: call.headers, set_bytes: 0 }),
            verdict: RefCell::default(),
            exited: Cell::new(false),
            end: RefCell::default(),
            hung_up: Cell::new(false),
            loads: Cell::new(0),
            random: RefCell::default(),
            lines: RefCell::default(),
            line_count: Cell::new(0),
            sinks,
            header: RefCell::new(header),
            start: RefCell::new(start),
        }
    }

    /// Turns to another run of the same program. It owns no call, nor did the last one.
    pub(super) fn renew(&self, run: RunId, epoch: Epoch, header: Arc<RunHeader>, start: Arc<Start>) {
        self.run.set(run);
        self.epoch.set(epoch);
        self.turn.set(0);
        self.now.set(start.at);
        self.began.set(start.at);
        self.header.replace(header);
        self.start.replace(start);
        self.output.take();
        self.asked_bytes.take();
        self.pending.borrow_mut().clear();
        self.verdict.take();
        self.exited.set(false);
        self.random.take();
    }

    pub(super) fn run(&self) -> RunId {
        self.run.get()
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch.get()
    }

    pub(super) fn header(&self) -> Arc<RunHeader> {
        Arc::clone(&self.header.borrow())
    }

    pub(super) fn start(&self) -> Arc<Start> {
        Arc::clone(&self.start.borrow())
    }

    /// Moves to the next entry's turn.
    pub(super) fn begin_turn(&self, turn: u32, at: u64) {
        self.turn.set(turn);
        self.now.set(self.now.get().max(at));
        self.line_count.set(0);
    }

    pub(super) fn set_clock(&self, by_ms: i64) {
        for time in [&self.now, &self.began] {
            time.set(time.get().saturating_add_signed(by_ms));
        }
    }

    /// Notes an operation of this turn; the number its promise is kept under.
    pub(super) fn issue(&self, op: Op, at: Option<Location>) -> f64 {
        let mut output = self.output.borrow_mut();
        let id = OpId { turn: self.turn.get(), ordinal: output.issued.len() as u32 };
        let hangs_up = matches!(op, Op::Hangup(_) | Op::Reject(_) | Op::Redirect(_));
        let after_hangup = self.hung_up.get();
        let pending =
            Pending { operation: op.label(), class: op.class(), at: at.clone(), listened: false, hangs_up, after_hangup };
        self.pending.borrow_mut().insert(id, pending);
        output.issued.push(Issued { op, at });
        op_key(id)
    }

    /// `then` was called on the promise of an operation.
    pub(super) fn awaited(&self, id: OpId) {
        if let Some(pending) = self.pending.borrow_mut().get_mut(&id)
            && !pending.listened
        {
            pending.listened = true;
            self.output.borrow_mut().awaited.push(id);
        }
    }

    /// The signal of an operation was aborted.
    pub(super) fn cancel(&self, id: OpId) {
        if self.pending.borrow().contains_key(&id) {
            self.output.borrow_mut().cancels.push(id);
        }
    }

    /// A number in [0, 1) with 53 random bits.
    pub(super) fn random(&self) -> f64 {
        let bits = self.randoms(|randoms| randoms.math.next_u64()) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }

    pub(super) fn random_bytes(&self, bytes: &mut [u8]) {
        self.randoms(|randoms| randoms.secure.fill_bytes(bytes));
    }

    fn randoms<T>(&self, draw: impl FnOnce(&mut Randoms) -> T) -> T {
        let mut randoms = self.random.borrow_mut();
        draw(randoms.get_or_insert_with(|| Randoms::new(self.header.borrow().seed)))
    }

    /// The verdict that came first stands; a later failure is only logged, and that the call has ended since is none.
    pub(super) fn decide(&self, verdict: Verdict) {
        let mut slot = self.verdict.borrow_mut();
        if slot.is_none() {
            *slot = Some(verdict);
        } else if let Verdict::Failed(error) = verdict
            && error.kind != ScriptErrorKind::CallEnded
        {
            self.log(LogLevel::Error, format!("Uncaught {}", error.message), error.at);
        }
    }

    /// Fails the run, unless it has failed already: what it returned in the same turn does not count.
    pub(super) fn overrule(&self, error: ScriptError) {
        drop(self.verdict.borrow_mut().take_if(|verdict| matches!(verdict, Verdict::Finished(_))));
        self.decide(Verdict::Failed(error));
    }

    /// Ends the run at a limit. What the script made of that in this turn (it sees an ordinary error) does not count.
    pub(super) fn stop(&self, mut error: ScriptError, concluded: bool) {
        if !concluded && let Some(Verdict::Failed(seen)) = self.verdict.take() {
            error.at = error.at.or(seen.at);
            if error.stack.is_empty() {
                error.stack = seen.stack;
            }
        }
        self.decide(Verdict::Failed(error));
    }

    /// Says that nobody waited for an operation. Settings take effect at once and are not waited for by anyone.
    pub(super) fn warn_unless_awaited(&self, pending: &Pending, error: Option<&OpError>) {
        let Pending { operation, class, at, listened, .. } = pending;
        if *listened {
            return;
        }
        let error = error.filter(|error| error.code != ErrorCode::CallEnded);
        if error.is_none() && matches!(class, OpClass::Immediate | OpClass::Host) {
            return;
        }
        let call = if *class == OpClass::Host { format!("{operation}()") } else { format!("ctx.{operation}()") };
        self.warn_unawaited(&call, at.clone(), error.map(ToString::to_string).as_deref());
    }

    /// Says that nobody waited for what has settled.
    pub(super) fn warn_unawaited(&self, call: &str, at: Option<Location>, error: Option<&str>) {
        let place = at.as_ref().map(|at| format!("{}:{}: ", at.file, at.line)).unwrap_or_default();
        let text = match error {
            Some(error) => format!("{place}{call} was not awaited and failed: {error}"),
            None => format!("{place}{call} was not awaited"),
        };
        self.log(LogLevel::Warn, text, at);
    }

    /// Writes a line of the call's log.
    pub(super) fn log(&self, level: LogLevel, mut text: String, at: Option<Location>) {
        let seq = self.line_count.get();
        if seq > MAX_LINES_PER_TURN {
            return;
        }
        self.line_count.set(seq + 1);
        let (level, at) = if seq == MAX_LINES_PER_TURN {
            text = format!("more than {MAX_LINES_PER_TURN} lines in one turn: the rest is dropped");
            (LogLevel::Warn, None)
        } else {
            (level, at)
        };
        if text.len() > MAX_LINE {
            let mut end = MAX_LINE;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        let line = FromWorker::Log {
            run: self.run.get(),
            epoch: self.epoch.get(),
            turn: self.turn.get(),
            seq,
            line: LogLine { level, text, at },
        };
        match &self.sinks.log {
            Some(sink) => sink(line),
            None => self.lines.borrow_mut().push(line),
        }
    }

    /// Who counts marks, if anybody does.
    pub(super) fn hit_sink(&self) -> Option<&Rc<HitSink>> {
        self.sinks.hits.as_ref()
    }

    /// Lines that no sink took.
    pub(super) fn take_lines(&self) -> Vec<FromWorker> {
        self.lines.take()
    }
}

/// An operation's id as one JavaScript number.
pub(super) fn op_key(id: OpId) -> f64 {
    f64::from(id.turn) * 65_536.0 + f64::from(id.ordinal)
}

/// Back from [`op_key`]; `None` for a number that is none.
pub(super) fn op_id(key: f64) -> Option<OpId> {
    if key.fract() != 0.0 || !(0.0..f64::from(u32::MAX) * 65_536.0).contains(&key) {
        return None;
    }
    let key = key as u64;
    Some(OpId { turn: (key >> 16) as u32, ordinal: (key & 0xffff) as u32 })
}
