//! A worker process: [`Worker`] behind a socket.
#![expect(clippy::disallowed_methods, reason = "the process has a clock: the worker is told when to look for runs that wait")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::sandbox;
use super::time_zone::TimeZones;
use super::worker::{TurnProbe, Worker};
use crate::wire::{self, Epoch, FromWorker, RunId, RunState, ScriptError, ScriptErrorKind, ToWorker, TurnEnd, WireError};

/// How much is read from the socket at once.
const READ_BYTES: usize = 64 << 10;
/// CPU time of a turn after which the engine may have moved other runs out of the way, µs: a little less than it waits.
const SLOW_US: u32 = 40_000;
/// How often runs are looked at that may have waited for long, when there is time: no frame waits.
const SWEEPS_EVERY: Duration = Duration::from_secs(1);
/// Sweeps that find a run waiting before the next one puts it to rest: waking it takes as long as a short turn.
const PATIENCE: u8 = 5;
/// Buffer kept for frames that go out, in bytes.
const KEPT_CAPACITY: usize = 64 << 10;

/// Why a worker process ends before its engine closes the socket.
#[derive(Debug, Error)]
pub enum WorkerExit {
    #[error("the engine's socket failed: {0}")]
    Io(#[from] io::Error),
    #[error("the engine sent what is no frame: {0}")]
    Wire(#[from] WireError),
    #[error("the runtime could not be started: {0}")]
    Start(#[from] ScriptError),
}

/// Serves runs over `socket` until the engine closes it.
///
/// Takes over the process: shuts it in (no files, no network, no new processes) as far as the kernel can; `Ready` says which layers
/// hold. Call it early in a process of its own that has a single thread.
///
/// # Errors
/// When the socket fails, a frame makes no sense, or the runtime cannot be set up.
pub fn run_worker(socket: UnixStream, probe: impl TurnProbe + 'static) -> Result<(), WorkerExit> {
    let output = Rc::new(Output { socket: socket.try_clone()?, buffer: RefCell::default(), urgent: Cell::new(false) });
    socket.set_read_timeout(Some(SWEEPS_EVERY))?;
    let log = output.clone();
    let mut worker = Worker::new()?.with_probe(probe).with_time_zones(TimeZones::read()).with_log_sink(move |line| {
        // A socket that fails is found out by the next read or write of the loop.
        let _ = log.send(&line);
    });
    output.send(&FromWorker::Ready { sandbox: sandbox::enter() })?;
    serve(&socket, &mut worker, &output)
}

fn serve(socket: &UnixStream, worker: &mut Worker, output: &Output) -> Result<(), WorkerExit> {
    let mut inbound = Vec::new();
    let mut frames = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    let mut sweeps = Sweeps { next_at: Instant::now() + SWEEPS_EVERY };
    loop {
        let flags = if sweeps.are_due(Instant::now()) { libc::MSG_DONTWAIT } else { 0 };
        let count = match receive(socket, &mut chunk, flags)? {
            Some(0) => return Ok(()),
            Some(count) => count,
            None => {
                sweeps.go_on(worker, Instant::now());
                continue;
            }
        };
        inbound.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let mut used = 0;
        let mut withdrawn = Withdrawn::default();
        while let Some((frame, length)) = wire::read_frame::<ToWorker>(inbound.get(used..).unwrap_or_default())? {
            used += length;
            if withdrawn.has(&frame) {
                continue;
            }
            worker.handle(frame, &mut frames);
            let is_slow = |frame: &FromWorker| matches!(frame, FromWorker::TurnEnd(end) if end.cpu_us >= SLOW_US);
            let was_slow = frames.iter().any(is_slow);
            for frame in frames.drain(..) {
                output.queue_bounded(frame, worker)?;
            }
            // At once, as the next frame's turn may be a long one; but nobody waits for the end of a turn that asked for nothing.
            if output.is_urgent() || !wire::has_whole_frame(inbound.get(used..).unwrap_or_default()) {
                output.flush()?;
            }
            if was_slow {
                take_in(socket, &mut chunk, &mut inbound)?;
                withdrawn = Withdrawn::among(inbound.get(used..).unwrap_or_default())?;
            }
        }
        inbound.drain(..used);
    }
}

/// When a worker looks for runs that have waited for long.
struct Sweeps {
    /// When the next one begins, or one that goes on has begun.
    next_at: Instant,
}

impl Sweeps {
    fn are_due(&self, now: Instant) -> bool {
        now >= self.next_at
    }

    /// No frame waits: there is time for a part of one.
    fn go_on(&mut self, worker: &mut Worker, now: Instant) {
        if !worker.sweep(PATIENCE) {
            self.next_at = now + SWEEPS_EVERY;
        }
    }
}

/// Reads once, with `flags` of `recv`: 0 for the socket's end, `None` when nothing has come in the time that one waits.
fn receive(socket: &UnixStream, chunk: &mut [u8], flags: libc::c_int) -> io::Result<Option<usize>> {
    loop {
        // SAFETY: the buffer is valid for its length while the call lasts.
        let count = unsafe { libc::recv(socket.as_raw_fd(), chunk.as_mut_ptr().cast(), chunk.len(), flags) };
        if let Ok(count) = usize::try_from(count) {
            return Ok(Some(count));
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Reads what has come, and does not wait for more.
fn take_in(socket: &UnixStream, chunk: &mut [u8], inbound: &mut Vec<u8>) -> io::Result<()> {
    // The end is found again by whoever waits.
    while let Some(count @ 1..) = receive(socket, chunk, libc::MSG_DONTWAIT)? {
        inbound.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    Ok(())
}

/// Runs that have been moved elsewhere while a slow turn went on: what is ahead of their `Drop` need not be done any more.
#[derive(Default)]
struct Withdrawn(BTreeMap<RunId, Epoch>);

impl Withdrawn {
    /// Those among frames that wait.
    fn among(mut frames: &[u8]) -> Result<Self, WireError> {
        let mut withdrawn = Self::default();
        while let Some((frame, length)) = wire::read_frame::<ToWorker>(frames)? {
            frames = frames.get(length..).unwrap_or_default();
            if let ToWorker::Drop { run, epoch } = frame {
                withdrawn.0.insert(run, epoch);
            }
        }
        Ok(withdrawn)
    }

    fn has(&self, frame: &ToWorker) -> bool {
        match frame {
            ToWorker::Start { run, epoch, .. } | ToWorker::Entry { run, epoch, .. } => {
                self.0.get(run).is_some_and(|dropped| epoch <= dropped)
            }
            ToWorker::Bundle { .. } | ToWorker::DropBundle { .. } | ToWorker::Drop { .. } => false,
        }
    }
}

struct Output {
    socket: UnixStream,
    /// Frames that have not been written.
    buffer: RefCell<Vec<u8>>,
    urgent: Cell<bool>,
}

impl Output {
    fn send(&self, frame: &FromWorker) -> Result<(), WorkerExit> {
        self.queue(frame)?;
        self.flush()
    }

    fn queue(&self, frame: &FromWorker) -> Result<(), WorkerExit> {
        wire::write_frame(frame, &mut self.buffer.borrow_mut())?;
        if !matches!(frame, FromWorker::TurnEnd(end) if end.asks_for_nothing()) {
            self.urgent.set(true);
        }
        Ok(())
    }

    fn is_urgent(&self) -> bool {
        self.urgent.get()
    }

    fn flush(&self) -> Result<(), WorkerExit> {
        let mut buffer = self.buffer.borrow_mut();
        (&self.socket).write_all(&buffer)?;
        buffer.clear();
        buffer.shrink_to(KEPT_CAPACITY);
        self.urgent.set(false);
        Ok(())
    }

    /// Queues a frame; a turn that is too large for one ends its run instead.
    fn queue_bounded(&self, frame: FromWorker, worker: &mut Worker) -> Result<(), WorkerExit> {
        match (self.queue(&frame), frame) {
            (Err(WorkerExit::Wire(WireError::TooLarge { got })), FromWorker::TurnEnd(end)) => {
                worker.handle(ToWorker::Drop { run: end.run, epoch: end.epoch }, &mut Vec::new());
                self.queue(&FromWorker::TurnEnd(too_large(&end, got)))
            }
            (queued, _) => queued,
        }
    }
}

fn too_large(end: &TurnEnd, got: usize) -> TurnEnd {
    let message = format!("what the script asked for in one turn takes {got} bytes, at most {} fit", wire::MAX_FRAME);
    let error = ScriptError { sip: None, kind: ScriptErrorKind::Limit, message, at: None, stack: Vec::new() };
    TurnEnd {
        run: end.run,
        epoch: end.epoch,
        turn: end.turn,
        issued: Vec::new(),
        awaited: Vec::new(),
        cancels: Vec::new(),
        wake_at: None,
        lingers: false,
        state: RunState::Failed(error),
        cpu_us: end.cpu_us,
        gone: true,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::Shutdown;
    use std::sync::Arc;

    use super::*;
    use crate::js::PRELUDE_VERSION;
    use crate::wire::{Bundle, CallStart, Entry, EntryKind, Limits, RunHeader, ScriptType, Start};

    fn start(run: u64, epoch: Epoch, data: &str) -> ToWorker {
        let header = RunHeader {
            bundle: 1,
            script_type: ScriptType::App,
            function: None,
            env: Default::default(),
            limits: Limits { memory_bytes: 16 << 20, turn_ms: 60_000, after_end_ms: 10_000 },
            seed: [7; 32],
            time_zone: "UTC".to_owned(),
            prelude: PRELUDE_VERSION,
            is_awaited: true,
        };
        let start = Start { at: 0, data: data.to_owned(), call: None };
        ToWorker::Start { run: RunId(run), epoch, header: Arc::new(header), start: Arc::new(start) }
    }

    /// What a worker says to frames that are all there when it begins: whose turns have ended.
    fn turns(frames: &[ToWorker]) -> Vec<(u64, Epoch)> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let source = "module.exports = (rounds) => { let sum = 0; for (let i = 0; i < rounds; i += 1) sum += i; return sum }";
        let files = [("main.js".to_owned(), source.into())].into();
        let sources = Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() });
        let mut bytes = Vec::new();
        wire::write_frame(&ToWorker::Bundle { bundle: 1, sources }, &mut bytes).unwrap();
        for frame in frames {
            wire::write_frame(frame, &mut bytes).unwrap();
        }
        (&ours).write_all(&bytes).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let output = Output { socket: theirs.try_clone().unwrap(), buffer: RefCell::default(), urgent: Cell::new(false) };
        serve(&theirs, &mut Worker::new().unwrap(), &output).unwrap();
        drop((theirs, output));
        let mut said = Vec::new();
        (&ours).read_to_end(&mut said).unwrap();
        let (mut rest, mut turns) = (said.as_slice(), Vec::new());
        while let Some((frame, length)) = wire::read_frame::<FromWorker>(rest).unwrap() {
            rest = &rest[length..];
            if let FromWorker::TurnEnd(end) = frame {
                turns.push((end.run.0, end.epoch));
            }
        }
        turns
    }

    #[test]
    fn what_was_moved_away_behind_a_slow_turn_is_not_done() {
        // Far more rounds than fit into the time that counts as slow, on any machine.
        let slow = start(1, 1, "20000000");
        let frames = [slow, start(2, 1, "1"), start(3, 1, "1"), ToWorker::Drop { run: RunId(2), epoch: 1 }, start(2, 2, "1")];
        assert_eq!(turns(&frames), [(1, 1), (3, 1), (2, 2)]);
    }

    #[test]
    fn a_run_that_waits_for_seconds_is_put_to_rest_and_a_turn_wakes_it() {
        let mut worker = Worker::new().unwrap();
        let files = [("main.js".to_owned(), "module.exports = (data, ctx) => ctx.waitForHangup()".into())].into();
        let sources = Arc::new(Bundle { entry: "main.js".to_owned(), files, ..Bundle::default() });
        worker.handle(ToWorker::Bundle { bundle: 1, sources }, &mut Vec::new());
        let ToWorker::Start { run, epoch, header, start } = start(1, 1, "1") else { unreachable!("it is one") };
        let start = Arc::new(Start { call: Some(CallStart::default()), ..Start::clone(&start) });
        worker.handle(ToWorker::Start { run, epoch, header, start }, &mut Vec::new());
        let mut now = Instant::now();
        let mut sweeps = Sweeps { next_at: now };
        let mut waited = |worker: &mut Worker, seconds: u32| {
            for _ in 0..seconds {
                while sweeps.are_due(now) {
                    sweeps.go_on(worker, now);
                }
                now += Duration::from_secs(1);
            }
            worker.resting_runs()
        };
        assert_eq!((waited(&mut worker, 5), waited(&mut worker, 1)), (0, 1));
        let entry = Entry { at: 9_000, kind: EntryKind::Wake };
        worker.handle(ToWorker::Entry { run, epoch, entry }, &mut Vec::new());
        assert_eq!(worker.resting_runs(), 0);
        assert_eq!((waited(&mut worker, 5), waited(&mut worker, 1)), (0, 1));
    }

    #[test]
    fn behind_a_short_turn_everything_is_done_in_its_order() {
        let frames = [start(1, 1, "1"), start(2, 1, "1"), ToWorker::Drop { run: RunId(2), epoch: 1 }];
        assert_eq!(turns(&frames), [(1, 1), (2, 1)]);
    }
}
