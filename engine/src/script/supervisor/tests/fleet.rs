//! Workers without processes: what is sent to them is kept, and answered when a test says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::op::{Op, OpId, PlayArgs, Vars};
use lockstep_ctx_api::outcome::Outcome;
use lockstep_ctx_api::wire::{
    Bundle, EntryKind, Epoch, FromWorker, Issued, Location, RunId, RunState, ScriptErrorKind, ScriptType, ToWorker, TurnEnd,
    read_frame,
};

use super::super::{Action, RunBounds, Settings, Supervisor, TurnReading, WorkerKey};
use crate::config::ScriptEntry;
use crate::script::host::{Moment, ScriptOutput, StartRun, TurnOutput};
use crate::script::programs::{Program, ProgramLimits};

/// What a pretended script does: every turn plays a file that is named after it, and awaits it.
pub(super) fn issue(turn: u32) -> Vec<Issued> {
    let op = Op::Play(PlayArgs { sources: vec![format!("user/{turn}.wav")], ..PlayArgs::default() });
    vec![Issued { op, at: Some(Location { file: "menu.js".into(), line: turn + 1, column: 1 }) }]
}

pub(super) fn program() -> Arc<Program> {
    let bundle = Bundle {
        entry: "menu.js".into(),
        files: [("menu.js".to_owned(), "function main() {}".into())].into(),
        ..Bundle::default()
    };
    Arc::new(Program {
        name: "menu".into(),
        file: "menu.js".into(),
        uuid: "00000000-0000-8000-8000-000000000000".into(),
        id: 1,
        script_type: ScriptType::App,
        account: "default".to_owned(),
        settings: ScriptEntry::new("menu.js"),
        limits: ProgramLimits { memory_bytes: 16 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".into(),
        env: Vars::new(),
        environment: Default::default(),
        bundle_id: 1,
        bundle: Arc::new(bundle),
        version: "0123456789abcdef".into(),
        sources: BTreeMap::new(),
    })
}

/// A program whose sources fill a worker's buffer.
pub(super) fn large_program() -> Arc<Program> {
    let source = format!("function main() {{}} // {}", "x".repeat(1 << 20));
    let bundle = Bundle { entry: "menu.js".into(), files: [("menu.js".to_owned(), source.into())].into(), ..Bundle::default() };
    Arc::new(Program { bundle: Arc::new(bundle), ..(*program()).clone() })
}

/// A pretended worker process.
#[derive(Default)]
pub(super) struct FakeWorker {
    /// Sent and not looked at.
    pub(super) inbox: VecDeque<ToWorker>,
    /// Per live runtime: its epoch and the turn that is next.
    runtimes: BTreeMap<RunId, (Epoch, u32)>,
}

pub(super) struct Fleet {
    pub(super) supervisor: Supervisor,
    pub(super) now: Moment,
    pub(super) workers: BTreeMap<WorkerKey, FakeWorker>,
    pub(super) spawned: Vec<WorkerKey>,
    pub(super) killed: Vec<WorkerKey>,
    pub(super) stopped: Vec<WorkerKey>,
    pub(super) observed: Vec<WorkerKey>,
    /// No worker reads what it is sent.
    pub(super) is_deaf: bool,
}

impl Fleet {
    /// `workers` workers and a spare, all ready.
    pub(super) fn new(workers: usize) -> Self {
        Self::with_bounds(workers, RunBounds::default())
    }

    pub(super) fn with_bounds(workers: usize, bounds: RunBounds) -> Self {
        let now = Moment { unix_ms: 1_700_000_000_000, ..Moment::now() };
        let mut fleet = Self {
            supervisor: Supervisor::new(now, Settings { workers, spare: true, back_off: Duration::from_millis(100), bounds }),
            now,
            workers: BTreeMap::new(),
            spawned: Vec::new(),
            killed: Vec::new(),
            stopped: Vec::new(),
            observed: Vec::new(),
            is_deaf: false,
        };
        fleet.carry_out();
        fleet.all_ready();
        fleet
    }

    pub(super) fn carry_out(&mut self) {
        while let Some(action) = self.supervisor.poll_action() {
            match action {
                Action::Spawn(key) => {
                    self.spawned.push(key);
                    self.workers.insert(key, FakeWorker::default());
                }
                Action::Flush(key) if !self.is_deaf => self.flush(key),
                Action::Flush(_) => {}
                Action::Observe(key) => self.observed.push(key),
                Action::Kill(key) => self.killed.push(key),
                Action::Stop(key) => self.stopped.push(key),
            }
        }
    }

    fn flush(&mut self, key: WorkerKey) {
        while let Some((frame, taken)) = read_frame(self.supervisor.outbound(key)).expect("own frames are whole") {
            self.supervisor.written(key, taken);
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.inbox.push_back(frame);
            }
        }
    }

    /// Every worker that has been asked for comes up.
    pub(super) fn all_ready(&mut self) {
        for key in std::mem::take(&mut self.spawned) {
            self.send(key, FromWorker::Ready { sandbox: Vec::new() });
        }
    }

    pub(super) fn send(&mut self, key: WorkerKey, frame: FromWorker) {
        // A broken protocol is a test's business only where it looks at `killed`.
        let _ = self.supervisor.frame(self.now, key, frame, 100);
        self.carry_out();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).unwrap();
        self.supervisor.handle_timeout(self.now);
        self.carry_out();
    }

    pub(super) fn start(&mut self) -> RunId {
        self.start_with(program())
    }

    pub(super) fn start_with(&mut self, program: Arc<Program>) -> RunId {
        let start = StartRun {
            program,
            function: None,
            data: "{}".into(),
            call: None,
            env: Vars::new(),
            seed: [7; 32],
            is_awaited: true,
        };
        let run = self.supervisor.start(self.now, start);
        self.carry_out();
        run
    }

    pub(super) fn entry(&mut self, run: RunId, kind: EntryKind) {
        self.supervisor.entry(self.now, run, kind);
        self.carry_out();
    }

    /// The operation of `turn` completes.
    pub(super) fn complete(&mut self, run: RunId, turn: u32) {
        self.entry(run, EntryKind::Outcome { op: OpId { turn, ordinal: 0 }, result: Ok(Outcome::Unit) });
    }

    /// The worker that holds a live runtime of `run`, or has it in its inbox.
    pub(super) fn home(&self, run: RunId) -> Option<WorkerKey> {
        let newest = self.workers.iter().filter_map(|(key, worker)| {
            let epoch = worker.runtimes.get(&run).map(|(epoch, _)| *epoch);
            let waiting = worker.inbox.iter().filter_map(|frame| match frame {
                ToWorker::Start { run: started, epoch, .. } if *started == run => Some(*epoch),
                _ => None,
            });
            epoch.into_iter().chain(waiting).max().map(|epoch| (epoch, *key))
        });
        newest.max().map(|(_, key)| key)
    }

    /// The next frame in a worker's inbox that makes a turn: the end of that turn as the pretended script gives it.
    pub(super) fn turn(&mut self, key: WorkerKey) -> Option<TurnEnd> {
        let worker = self.workers.get_mut(&key)?;
        loop {
            let (run, epoch) = match worker.inbox.pop_front()? {
                ToWorker::Bundle { .. } | ToWorker::DropBundle { .. } => continue,
                ToWorker::Start { run, epoch, .. } => {
                    worker.runtimes.insert(run, (epoch, 0));
                    (run, epoch)
                }
                ToWorker::Entry { run, epoch, .. } => match worker.runtimes.get(&run) {
                    Some((live, _)) if *live == epoch => (run, epoch),
                    Some(_) | None => continue,
                },
                ToWorker::Drop { run, .. } => {
                    worker.runtimes.remove(&run);
                    continue;
                }
            };
            let (_, next) = worker.runtimes.get_mut(&run)?;
            let turn = *next;
            *next += 1;
            return Some(TurnEnd {
                run,
                epoch,
                turn,
                issued: issue(turn),
                awaited: vec![OpId { turn, ordinal: 0 }],
                cancels: Vec::new(),
                wake_at: None,
                lingers: false,
                state: RunState::Running,
                cpu_us: 10,
                gone: false,
            });
        }
    }

    /// The worker does one turn and says so.
    pub(super) fn work_once(&mut self, key: WorkerKey) -> bool {
        let Some(end) = self.turn(key) else { return false };
        self.send(key, FromWorker::TurnEnd(end));
        true
    }

    /// The worker does one turn, which takes it so much CPU time.
    pub(super) fn work_for(&mut self, key: WorkerKey, cpu: Duration) {
        let mut end = self.turn(key).expect("something to do");
        end.cpu_us = u32::try_from(cpu.as_micros()).unwrap();
        self.send(key, FromWorker::TurnEnd(end));
    }

    /// Every worker does all that it has been sent.
    pub(super) fn work(&mut self) {
        loop {
            let keys: Vec<WorkerKey> = self.workers.keys().copied().collect();
            let worked = keys.into_iter().filter(|key| self.work_once(*key)).count();
            if worked == 0 {
                return;
            }
        }
    }

    /// A worker is gone; `executing` is what its probe shows.
    pub(super) fn die(&mut self, key: WorkerKey, executing: Option<(RunId, Epoch)>) {
        self.workers.remove(&key);
        self.supervisor.died(self.now, key, executing);
        self.carry_out();
    }

    /// Dies in the middle of the turn that `run` owes.
    pub(super) fn die_under(&mut self, run: RunId) {
        let key = self.home(run).expect("the run has a home");
        let epoch = self.epoch(run);
        self.die(key, Some((run, epoch)));
    }

    pub(super) fn epoch(&self, run: RunId) -> Epoch {
        self.supervisor.runs[&run].epoch
    }

    pub(super) fn observe(&mut self, key: WorkerKey, reading: Option<(RunId, u64)>) {
        let reading = reading.map(|(run, cpu_ms)| TurnReading {
            run,
            epoch: self.supervisor.runs.get(&run).map_or(1, |run| run.epoch),
            cpu: Duration::from_millis(cpu_ms),
        });
        self.supervisor.observe(self.now, key, reading);
        self.carry_out();
    }

    pub(super) fn outputs(&mut self) -> Vec<ScriptOutput> {
        std::iter::from_fn(|| self.supervisor.poll_output()).collect()
    }

    /// The turns reported since the last look, as (run, turn).
    pub(super) fn turns(&mut self) -> Vec<(RunId, u32)> {
        let turn = |output| match output {
            ScriptOutput::Turn(run, TurnOutput { turn, .. }) => Some((run, turn)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(turn).collect()
    }

    /// How runs failed since the last look.
    pub(super) fn failures(&mut self) -> Vec<(RunId, ScriptErrorKind)> {
        let failure = |output| match output {
            ScriptOutput::Failed { run, error } => Some((run, error.kind)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(failure).collect()
    }
}
