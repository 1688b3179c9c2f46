//! One run: its runtime, and its turns.

mod turn;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rquickjs::{Context, Ctx, Function, Object, Persistent, Runtime, Value, qjs};

use super::boot::{Intrinsics, Prepared};
use super::deadline::{Deadline, Stop, thread_cpu};
use super::heap::{Heap, HeapAllocator};
use super::image::Copied;
use super::memory::Meter;
use super::modules::{ModuleLoader, Modules, dispatched};
use super::prelude::Prelude;
use super::program::Program;
use super::shared::{Pending, Shared, Sinks, Verdict};
use super::{errors, globals, json};
use crate::error::OpError;
use crate::op::OpClass;
use crate::wire::{
    Entry, EntryKind, Epoch, FromWorker, RunHeader, RunId, RunState, ScriptError, ScriptErrorKind, ScriptType, Start, TurnEnd,
};
use turn::Turn;

/// Stack of a script, in bytes: within the 2 MiB that threads have, and deep enough for packages that recurse a row at a time.
const STACK_BYTES: usize = 1 << 20;

/// A run, until it is dropped.
pub(super) struct Run {
    /// Gone once no line of the script may run any more.
    live: Option<Live>,
    shared: Rc<Shared>,
    meter: Rc<Meter>,
    deadline: Rc<Deadline>,
    state: RunState,
    next_turn: u32,
    /// The context serves other runs after this one, if nothing is left of it.
    is_warm: bool,
    /// Sweeps since the last turn.
    sweeps: u8,
}

/// Memory that a warm context may keep of its runs, in bytes, before it is looked at closely.
const KEPT_BYTES: usize = 8 << 20;

/// Promises that were rejected without anyone listening, in order: whether that stays so shows at the end of the turn.
type Rejections = Rc<RefCell<Vec<Rejection>>>;

struct Rejection {
    /// Identity of the promise.
    address: usize,
    promise: Persistent<Value<'static>>,
    reason: Persistent<Value<'static>>,
}

/// The JavaScript part of a run. Fields that hold values come before the runtime that owns them.
struct Live {
    dispatch: Persistent<Object<'static>>,
    rejections: Rejections,
    modules: Rc<Modules>,
    /// Of a context that runs share: what it is like when nothing of a run is left in it.
    clean: Option<Clean>,
    home: Home,
}

/// What a shared context is like between runs.
struct Clean {
    globals: globals::Shape,
    /// How many parts of the prelude have been loaded.
    loads: u32,
    /// Whether runs can change what neither of these shows.
    is_watched: bool,
}

/// Where a run's context lives.
enum Home {
    /// A copy of one that was booted before.
    Copied(Copied),
    /// One that was booted for this run.
    Booted { context: Context, _runtime: Runtime },
}

impl Home {
    fn context(&self) -> &Context {
        match self {
            Self::Copied(copied) => copied.context(),
            Self::Booted { context, .. } => context,
        }
    }

    /// Gives back memory until the context is used again; whether it did.
    fn rest(&mut self) -> bool {
        match self {
            Self::Copied(copied) => copied.rest(),
            Self::Booted { .. } => false,
        }
    }

    /// Values of the context may be let go of.
    fn wake(&self) {
        if let Self::Copied(copied) = self {
            copied.wake();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.home.wake();
        self.rejections.borrow_mut().clear();
        self.modules.clear();
    }
}

impl Run {
    /// Creates the runtime and takes the first turn.
    pub(super) fn start(
        id: RunId,
        epoch: Epoch,
        header: Arc<RunHeader>,
        start: Arc<Start>,
        program: Rc<Program>,
        prelude: &Rc<Prelude>,
        sinks: Sinks,
    ) -> (Self, TurnEnd) {
        let meter = Meter::new(header.limits.memory_bytes);
        let deadline = Deadline::new();
        let at = start.at;
        let compiled = program.unit(program.entry());
        let shared = Rc::new(Shared::new(id, epoch, header, start, program, sinks));
        let (live, state) = match compiled {
            Err(error) => (None, RunState::Failed(error)),
            Ok(_) => match Live::new(&shared, prelude, &meter, &deadline, true) {
                Ok(live) => (Some(live), RunState::Running),
                Err(error) => (None, RunState::Failed(error)),
            },
        };
        let mut run = Self { live, shared, meter, deadline, state, next_turn: 0, is_warm: false, sweeps: 0 };
        let end = run.turn(at, |turn| turn.call("start", ()));
        (run, end)
    }

    /// Creates a context that can serve one run of a script after another: see [`serve`](Self::serve).
    ///
    /// # Errors
    /// When the script cannot be compiled, or memory is short.
    pub(super) fn warm(
        header: Arc<RunHeader>,
        program: Rc<Program>,
        prelude: &Rc<Prelude>,
        sinks: Sinks,
    ) -> Result<Self, ScriptError> {
        program.unit(program.entry())?;
        let meter = Meter::new(u64::MAX);
        let deadline = Deadline::new();
        let start = Arc::new(Start { at: 0, data: "null".to_owned(), call: None });
        let shared = Rc::new(Shared::new(RunId(0), 0, header, start, program, sinks));
        let mut live = Live::new(&shared, prelude, &meter, &deadline, false)?;
        live.clean = Some(live.freeze(&shared)?);
        Ok(Self { live: Some(live), shared, meter, deadline, state: RunState::Running, next_turn: 0, is_warm: true, sweeps: 0 })
    }

    /// Runs the script of a warm context once: a synchronous one from beginning to end, any other as far as its first turn goes.
    pub(super) fn serve(&mut self, id: RunId, epoch: Epoch, header: Arc<RunHeader>, start: Arc<Start>) -> TurnEnd {
        let at = start.at;
        self.meter.allow(header.limits.memory_bytes);
        let is_synchronous = header.script_type == ScriptType::Script;
        self.shared.renew(id, epoch, header, start);
        self.state = RunState::Running;
        self.next_turn = 0;
        self.turn(at, |turn| if is_synchronous { turn.serve() } else { turn.begin() })
    }

    /// The run is one of those that a context serves.
    pub(super) fn is_warm(&self) -> bool {
        self.is_warm
    }

    /// Nothing moves the run any more: its function is over, and it waits neither for an operation nor for a timer.
    pub(super) fn is_over(&self, end: &TurnEnd) -> bool {
        end.state != RunState::Running && end.wake_at.is_none() && self.shared.pending.borrow().is_empty()
    }

    /// Notes a sweep; puts the run to rest if `patience` sweeps have found it waiting before, and tells whether it did.
    pub(super) fn sweep(&mut self, patience: u8) -> bool {
        let seen = self.sweeps;
        self.sweeps = seen.saturating_add(1);
        // What does not pay is not tried again before the next turn.
        seen == patience && self.live.as_mut().is_some_and(|live| live.home.rest())
    }

    pub(super) fn is_resting(&self) -> bool {
        self.live.as_ref().is_some_and(|live| matches!(&live.home, Home::Copied(copied) if copied.is_resting()))
    }

    /// Frees the runtime of a run that has exited and still has to take in outcomes.
    pub(super) fn close_if_exited(&mut self) {
        if self.shared.exited.get() {
            self.live = None;
        }
    }

    /// Whether nothing is left of the last run, so that the context may serve the next one.
    pub(super) fn is_clean(&self) -> bool {
        let Some(live) = &self.live else { return false };
        self.deadline.stopped().is_none() && !self.meter.exceeded() && live.sweep(&self.shared, &self.meter)
    }

    /// What is left of this run once its context serves others: it takes in what is still on its way to it.
    pub(super) fn remains(&self, end: &TurnEnd) -> Self {
        let (header, start, program) = (self.shared.header(), self.shared.start(), Rc::clone(&self.shared.program));
        let shared = Rc::new(Shared::new(end.run, end.epoch, header, start, program, Sinks::default()));
        let (meter, deadline, state) = (Meter::new(0), Deadline::new(), end.state.clone());
        Self { live: None, shared, meter, deadline, state, next_turn: self.next_turn, is_warm: false, sweeps: 0 }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    /// What the runtime holds now.
    pub(super) fn memory_bytes(&self) -> usize {
        self.meter.used()
    }

    /// What pins the run.
    pub(super) fn header(&self) -> Arc<RunHeader> {
        self.shared.header()
    }

    /// Takes one turn.
    pub(super) fn entry(&mut self, entry: Entry) -> TurnEnd {
        let Entry { at, kind } = entry;
        match kind {
            EntryKind::Outcome { op, result } => {
                let pending = self.shared.pending.borrow_mut().remove(&op);
                self.warn_of_what_it_left(at, &pending, result.as_ref().err());
                self.turn(at, |turn| match pending {
                    Some(pending) => turn.settle(op, &pending, result),
                    None => Ok(()),
                })
            }
            EntryKind::Event(event) => self.turn(at, |turn| turn.event(event)),
            EntryKind::Wake => self.turn(at, |turn| turn.wake()),
            EntryKind::ClockSet { by_ms } => self.turn(at, |turn| turn.clock_set(by_ms)),
            EntryKind::CallEnded(cause) => {
                if self.live.is_none() {
                    let all = self.shared.pending.take();
                    let (over, host): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, pending)| pending.class != OpClass::Host);
                    self.shared.pending.borrow_mut().extend(host);
                    self.warn_of_what_it_left(at, over.iter().map(|(_, pending)| pending), None);
                }
                self.turn(at, |turn| turn.ended(&cause))
            }
        }
    }

    /// Operations that a script did not await before it exited are spoken of when they settle, like any others.
    fn warn_of_what_it_left<'a>(&self, at: u64, left: impl IntoIterator<Item = &'a Pending>, error: Option<&OpError>) {
        if self.live.is_none() && self.shared.exited.get() {
            self.shared.begin_turn(self.next_turn, at);
            for pending in left {
                self.shared.warn_unless_awaited(pending, error);
            }
        }
    }

    /// Calls a global function between turns.
    pub(super) fn ask(&mut self, function: &str) -> Option<String> {
        let live = self.live.as_ref()?;
        self.sweeps = 0;
        self.deadline.arm(thread_cpu(), Duration::from_millis(self.shared.header().limits.turn_ms.into()));
        let told = live.home.context().with(|ctx| {
            let function: Function<'_> = ctx.globals().get(function).ok()?;
            let told = function.call::<_, String>(());
            told.inspect_err(|_| drop(ctx.catch())).ok()
        });
        self.deadline.disarm();
        told
    }

    /// Log lines written in the turn just taken, when no sink took them.
    pub(super) fn take_lines(&self) -> Vec<FromWorker> {
        self.shared.take_lines()
    }

    fn turn(&mut self, at: u64, deliver: impl FnOnce(&Turn<'_, '_>) -> rquickjs::Result<()>) -> TurnEnd {
        let number = self.next_turn;
        self.next_turn += 1;
        self.sweeps = 0;
        self.shared.begin_turn(number, at);
        let started = thread_cpu();
        let mut wake_at = None;
        if let Some(live) = &self.live {
            self.deadline.arm(started, Duration::from_millis(self.shared.header().limits.turn_ms.into()));
            let has_timers = self.shared.header().script_type != ScriptType::Script || !self.is_warm;
            wake_at = live.turn(&self.shared, &self.deadline, &self.meter, has_timers, deliver);
            self.deadline.disarm();
            self.conclude();
        }
        let output = self.shared.output.take();
        self.shared.asked_bytes.take();
        TurnEnd {
            run: self.shared.run(),
            epoch: self.shared.epoch(),
            turn: number,
            issued: output.issued,
            awaited: output.awaited,
            cancels: output.cancels,
            wake_at: wake_at.filter(|_| self.live.is_some()),
            lingers: output.lingers && self.live.is_some(),
            state: self.state.clone(),
            cpu_us: u32::try_from((thread_cpu() - started).as_micros()).unwrap_or(u32::MAX),
            gone: false,
        }
    }

    /// Draws the conclusion of a turn, and frees the runtime when nothing may run any more.
    fn conclude(&mut self) {
        if self.deadline.stopped().is_some() || self.meter.exceeded() {
            self.live = None;
        }
        if self.shared.exited.get() && !self.is_warm {
            self.live = None;
        }
        if self.state == RunState::Running
            && let Some(verdict) = self.shared.verdict.borrow().as_ref()
        {
            self.state = match verdict {
                Verdict::Finished(result) => RunState::Finished { result: result.clone() },
                Verdict::Failed(error) => RunState::Failed(error.clone()),
            };
        }
    }
}

impl Live {
    fn new(
        shared: &Rc<Shared>,
        prelude: &Rc<Prelude>,
        meter: &Rc<Meter>,
        deadline: &Rc<Deadline>,
        may_copy: bool,
    ) -> Result<Self, ScriptError> {
        let refused = |error: rquickjs::Error| limit_error(shared, Stop::Memory, Some(&error.to_string()));
        // Who counts marks is rarely in a hurry, and warm contexts are made once.
        let copied = if may_copy && shared.hit_sink().is_none() { Copied::new(prelude, meter) } else { None };
        let (home, owned) = match copied {
            Some(copied) => {
                let owned = Rc::clone(copied.owned());
                (Home::Copied(copied), owned)
            }
            None => {
                let runtime = Runtime::new_with_alloc(HeapAllocator(Heap::new(meter.clone()))).map_err(refused)?;
                runtime.set_loader(ModuleLoader, ModuleLoader);
                let context = Context::custom::<Intrinsics>(&runtime).map_err(refused)?;
                (Home::Booted { context, _runtime: runtime }, Rc::default())
            }
        };
        let runtime = home.context().runtime();
        runtime.set_max_stack_size(STACK_BYTES);
        let (interrupt, memory) = (deadline.clone(), meter.clone());
        runtime.set_interrupt_handler(Some(Box::new(move || {
            let stop = interrupt.poll(memory.exceeded());
            if stop {
                memory.lift();
            }
            stop
        })));
        let rejections = Rejections::default();
        let tracked = rejections.clone();
        runtime.set_host_promise_rejection_tracker(Some(Box::new(move |ctx, promise, reason, handled| {
            track(&ctx, &tracked, promise, reason, handled);
        })));
        let modules = Modules::new(shared.program.clone());
        let dispatch = home.context().with(|ctx| {
            let prepared = match &home {
                Home::Copied(copied) => copied.prepared(&ctx),
                Home::Booted { .. } => Prepared::new(&ctx, prelude),
            };
            let dispatch = prepared.and_then(|prepared| prepared.belong_to(&ctx, shared, prelude, &modules, owned));
            dispatch.map_err(|_| errors::caught(&ctx, ScriptErrorKind::Load))
        });
        // What holds values goes before the runtime in this case, too.
        let dispatch = dispatch.inspect_err(|_| {
            rejections.borrow_mut().clear();
            modules.clear();
        })?;
        Ok(Self { dispatch, rejections, modules, clean: None, home })
    }

    /// Freezes what runs share.
    fn freeze(&self, shared: &Shared) -> Result<Clean, ScriptError> {
        self.home.context().with(|ctx| {
            let part = json::install(&ctx).and_then(|()| dispatched(&ctx, "load", ("warm",)));
            let watched = part.and_then(|part| Object::from_value(part)?.get("isWatched"));
            let frozen =
                watched.map(|is_watched| Clean { globals: globals::Shape::of(&ctx), loads: shared.loads.get(), is_watched });
            frozen.map_err(|_| errors::caught(&ctx, ScriptErrorKind::Load))
        })
    }

    /// Removes what a run has left behind; whether all of it is gone.
    fn sweep(&self, shared: &Shared, meter: &Meter) -> bool {
        let Some(clean) = &self.clean else { return false };
        self.rejections.borrow_mut().clear();
        self.home.context().with(|ctx| {
            // SAFETY: the runtime of a live context.
            let runtime = unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) };
            // SAFETY: as above. Jobs are left where the script exited before they came to their turn.
            if unsafe { qjs::JS_IsJobPending(runtime) } {
                return false;
            }
            let before = meter.used();
            let found = globals::Shape::of(&ctx);
            if clean.is_watched || clean.globals != found || clean.loads != shared.loads.get() {
                let swept = dispatched(&ctx, "sweep", (found.own,)).is_ok_and(|swept| swept.as_bool() == Some(true));
                if !swept {
                    ctx.catch();
                    return false;
                }
                shared.loads.set(clean.loads);
            }
            if before > KEPT_BYTES {
                // SAFETY: as above; nothing of this runtime is being evaluated.
                unsafe { qjs::JS_RunGC(runtime) };
            }
            meter.used() <= KEPT_BYTES
        })
    }

    /// Delivers one entry and runs what follows from it; the deadline of the next timer.
    fn turn(
        &self,
        shared: &Rc<Shared>,
        deadline: &Deadline,
        meter: &Meter,
        has_timers: bool,
        deliver: impl FnOnce(&Turn<'_, '_>) -> rquickjs::Result<()>,
    ) -> Option<u64> {
        self.home.context().with(|ctx| {
            let dispatch = self.dispatch.clone().restore(&ctx).ok()?;
            let concluded = shared.verdict.borrow().is_some();
            let turn = Turn { ctx: &ctx, dispatch, shared };
            let outcome = deliver(&turn).and_then(|()| turn.drain()).and_then(|()| {
                turn.report_unhandled(&self.rejections, concluded)?;
                // A synchronous script in a context that it shares is over when it returns.
                if has_timers { turn.end() } else { Ok(None) }
            });
            let stop = deadline.stopped().or(meter.exceeded().then_some(Stop::Memory));
            match (outcome, stop) {
                (Ok(wake_at), None) => return wake_at.map(|at| at.max(0.0) as u64),
                (Ok(_), Some(stop)) => shared.stop(limit_error(shared, stop, None), concluded),
                (Err(_), stop) => {
                    let thrown = errors::caught(&ctx, ScriptErrorKind::Thrown);
                    match stop {
                        Some(stop) => {
                            let limit = limit_error(shared, stop, None);
                            shared.stop(ScriptError { at: thrown.at, stack: thrown.stack, ..limit }, concluded);
                        }
                        // What unwound the script is `exit` itself.
                        None if shared.exited.get() => {}
                        None => shared.decide(Verdict::Failed(thrown)),
                    }
                }
            }
            None
        })
    }
}

fn track<'js>(ctx: &Ctx<'js>, rejections: &Rejections, promise: Value<'js>, reason: Value<'js>, handled: bool) {
    // SAFETY: only the address is used; a promise is an object.
    let address = unsafe { qjs::JS_VALUE_GET_PTR(promise.as_raw()) } as usize;
    let mut rejections = rejections.borrow_mut();
    if handled {
        rejections.retain(|rejection| rejection.address != address);
    } else {
        let (promise, reason) = (Persistent::save(ctx, promise), Persistent::save(ctx, reason));
        rejections.push(Rejection { address, promise, reason });
    }
}

fn limit_error(shared: &Shared, stop: Stop, detail: Option<&str>) -> ScriptError {
    let header = shared.header();
    let limits = &header.limits;
    let (kind, message) = match stop {
        Stop::Turn => {
            (ScriptErrorKind::TurnLimit, format!("a turn of the script used more than {} ms of CPU time", limits.turn_ms))
        }
        Stop::Memory => {
            let megabytes = limits.memory_bytes.div_ceil(1 << 20);
            (ScriptErrorKind::MemoryLimit, format!("the script used more than its {megabytes} MB of memory"))
        }
    };
    let message = match detail {
        Some(detail) => format!("{message}: {detail}"),
        None => message,
    };
    ScriptError { sip: None, kind, message, at: None, stack: Vec::new() }
}
