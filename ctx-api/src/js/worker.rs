//! Many runs, one thread: frames in, frames out.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use super::compiled::Compiled;
use super::image;
use super::packages::CompiledPackages;
use super::prelude::Prelude;
use super::program::Program;
use super::run::Run;
use super::shared::Sinks;
use super::time_zone::TimeZones;
use super::warm::WarmContexts;
use crate::wire::{Epoch, FromWorker, RunHeader, RunId, ScriptError, ScriptType, Start, ToWorker, TurnEnd};

/// Runs that a sweep visits at once when none of them is put to rest.
const VISITS: usize = 256;

/// Told which run's code is about to run, so that a watcher outside can see who is using up the CPU.
pub trait TurnProbe {
    /// A turn of `run` begins.
    fn begin(&mut self, run: RunId, epoch: Epoch);
    /// It has ended.
    fn end(&mut self);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl TurnProbe for NoProbe {
    fn begin(&mut self, _run: RunId, _epoch: Epoch) {}
    fn end(&mut self) {}
}

/// The worker's state: bundles and runs.
///
/// Every [`ToWorker::Start`] and [`ToWorker::Entry`] of a live run and its epoch yields exactly one [`FromWorker::TurnEnd`],
/// after the turn's log lines. Frames of other epochs and of unknown runs yield nothing.
pub struct Worker {
    prelude: Rc<Prelude>,
    programs: BTreeMap<u64, Rc<Program>>,
    packages: Rc<CompiledPackages>,
    compiled: Option<Compiled>,
    runs: BTreeMap<RunId, Run>,
    /// The run that the sweep which goes on has come to.
    swept: Option<RunId>,
    warm: WarmContexts,
    probe: Box<dyn TurnProbe>,
    sinks: Sinks,
    time_zones: Option<TimeZones>,
}

impl Worker {
    /// An empty worker.
    ///
    /// # Errors
    /// When the runtime's own prelude cannot be compiled, i.e. when memory is short.
    pub fn new() -> Result<Self, ScriptError> {
        Ok(Self {
            prelude: Prelude::new()?,
            programs: BTreeMap::new(),
            packages: Rc::default(),
            compiled: None,
            runs: BTreeMap::new(),
            swept: None,
            warm: WarmContexts::default(),
            probe: Box::new(NoProbe),
            sinks: Sinks::default(),
            time_zones: None,
        })
    }

    /// Compiles nothing that is among `compiled`, and adds what it compiles.
    #[must_use]
    pub fn with_compiled(mut self, compiled: Compiled) -> Self {
        self.compiled = Some(compiled);
        self
    }

    /// Has `probe` told of every turn.
    #[must_use]
    pub fn with_probe(mut self, probe: impl TurnProbe + 'static) -> Self {
        self.probe = Box::new(probe);
        self
    }

    /// Hands log lines to `sink` the moment they are written instead of at their turn's end.
    #[must_use]
    pub fn with_log_sink(mut self, sink: impl Fn(FromWorker) + 'static) -> Self {
        self.sinks.log = Some(Rc::new(sink));
        self
    }

    /// Tells `sink` of each mark ([`MARK`](super::MARK)) that a script passes, with the value that passed it, if any did.
    #[must_use]
    pub fn with_marks(mut self, sink: impl Fn(u32, Option<&str>) + 'static) -> Self {
        self.sinks.hits = Some(Rc::new(sink));
        self
    }

    /// Lets runs see local times in the zone of their header, which sets the zone of the whole process.
    pub(super) fn with_time_zones(mut self, zones: TimeZones) -> Self {
        self.time_zones = Some(zones);
        self
    }

    /// Handles one frame; what follows from it is appended to `out`.
    pub fn handle(&mut self, frame: ToWorker, out: &mut Vec<FromWorker>) {
        match frame {
            ToWorker::Bundle { bundle, sources } => {
                let program = Program::with_compiled(sources, self.packages.clone(), self.compiled.clone());
                self.programs.insert(bundle, program);
            }
            ToWorker::DropBundle { bundle } => {
                self.programs.remove(&bundle);
                self.warm.forget(bundle);
            }
            ToWorker::Start { run: id, epoch, header, start } => {
                if self.runs.get(&id).is_some_and(|run| run.epoch() >= epoch) {
                    return;
                }
                self.runs.remove(&id);
                // A run of a bundle that was never sent fails like one whose entry is missing.
                let program = self.programs.get(&header.bundle).cloned();
                let program = program.unwrap_or_else(|| Program::new(std::sync::Arc::default()));
                self.enter_zone(&header.time_zone);
                if start.call.is_none()
                    && let Some(warm) = self.warm.context(&header, &program, &self.prelude, &self.sinks)
                {
                    return self.serve(warm, (id, epoch), header, start, out);
                }
                self.probe.begin(id, epoch);
                let (run, end) = Run::start(id, epoch, header, start, program, &self.prelude, self.sinks.clone());
                self.probe.end();
                out.extend(run.take_lines());
                out.push(FromWorker::TurnEnd(end));
                self.runs.insert(id, run);
            }
            ToWorker::Entry { run: id, epoch, entry } => {
                let Some(run) = self.runs.get_mut(&id).filter(|run| run.epoch() == epoch) else { return };
                if let Some(zones) = &mut self.time_zones {
                    zones.enter(&run.header().time_zone);
                }
                self.probe.begin(id, epoch);
                let mut end = run.entry(entry);
                self.probe.end();
                out.extend(run.take_lines());
                if run.is_warm()
                    && let Some(context) = self.runs.remove(&id)
                {
                    self.go_on_or_give_back(context, &mut end);
                }
                out.push(FromWorker::TurnEnd(end));
            }
            ToWorker::Drop { run: id, epoch } => {
                if self.runs.get(&id).is_some_and(|run| run.epoch() <= epoch)
                    && let Some(run) = self.runs.remove(&id)
                    && run.is_warm()
                {
                    self.warm.lose(&run);
                }
            }
        }
    }

    /// Serves a run in a context that outlives it.
    fn serve(
        &mut self,
        mut context: Run,
        (id, epoch): (RunId, Epoch),
        header: Arc<RunHeader>,
        start: Arc<Start>,
        out: &mut Vec<FromWorker>,
    ) {
        let is_synchronous = header.script_type == ScriptType::Script;
        self.probe.begin(id, epoch);
        let mut end = context.serve(id, epoch, header, start);
        self.probe.end();
        out.extend(context.take_lines());
        if is_synchronous {
            end.gone = end.issued.is_empty();
            if !end.gone {
                self.runs.insert(id, context.remains(&end));
            }
            self.warm.give_back(context);
        } else {
            self.go_on_or_give_back(context, &mut end);
        }
        out.push(FromWorker::TurnEnd(end));
    }

    /// Keeps a run in the context that it was served in, or gives that back once nothing moves the run any more.
    fn go_on_or_give_back(&mut self, mut context: Run, end: &mut TurnEnd) {
        if context.is_over(end) {
            // An entry may be on its way to a run that has had a timer or an operation.
            end.gone = end.turn == 0;
            if !end.gone {
                self.runs.insert(end.run, context.remains(end));
            }
            self.warm.give_back(context);
        } else {
            context.close_if_exited();
            self.runs.insert(end.run, context);
        }
    }

    /// Goes on with a sweep over all runs, or begins one, for about as long as a short turn takes; whether it goes on afterwards.
    ///
    /// A run that has had no turn since `patience` sweeps is put to rest: what it holds is kept in less memory, until something next
    /// happens to it.
    pub fn sweep(&mut self, patience: u8) -> bool {
        let begin = self.swept.map_or(Bound::Unbounded, Bound::Excluded);
        let mut visited = 0;
        for (id, run) in self.runs.range_mut((begin, Bound::Unbounded)).take(VISITS) {
            self.swept = Some(*id);
            visited += 1;
            if run.sweep(patience) {
                return true;
            }
        }
        let goes_on = visited == VISITS;
        if !goes_on {
            self.swept = None;
            image::tidy();
        }
        goes_on
    }

    /// Calls a function of a run's global object between turns, and gives the text it returns: for debuggers, which have put
    /// it into the script. `None` when the run is over, or the function is not there or throws.
    pub fn ask(&mut self, run: RunId, function: &str) -> Option<String> {
        self.runs.get_mut(&run)?.ask(function)
    }

    /// Runs that have not been dropped.
    pub fn live_runs(&self) -> usize {
        self.runs.len()
    }

    /// Runs that have been put to [rest](Self::sweep) and not been woken since.
    pub fn resting_runs(&self) -> usize {
        self.runs.values().filter(|run| run.is_resting()).count()
    }

    fn enter_zone(&mut self, zone: &str) {
        if let Some(zones) = &mut self.time_zones {
            zones.enter(zone);
        }
    }
}
