//! A worker process: [`Worker`] behind a socket.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use thiserror::Error;

use super::sandbox;
use super::time_zone::TimeZones;
use super::worker::{TurnProbe, Worker};
use crate::wire::{self, FromWorker, RunState, ScriptError, ScriptErrorKind, ToWorker, TurnEnd, WireError};

/// Niceness of a worker: media threads on the same core come first.
const NICE: libc::c_int = 10;
/// How much is read from the socket at once.
const READ_BYTES: usize = 64 << 10;
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
/// Takes over the process: lowers its priority and shuts it in (no files, no network, no new processes) as far as the kernel can;
/// `Ready` says which layers hold. Call it early in a process of its own that has a single thread.
///
/// # Errors
/// When the socket fails, a frame makes no sense, or the runtime cannot be set up.
pub fn run_worker(socket: UnixStream, probe: impl TurnProbe + 'static) -> Result<(), WorkerExit> {
    // SAFETY: no memory is involved. Failing leaves the priority as it is, which is the operator's choice then.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    let output = Rc::new(Output { socket: socket.try_clone()?, buffer: RefCell::default(), urgent: Cell::new(false) });
    let log = output.clone();
    let mut worker = Worker::new()?.with_probe(probe).with_time_zones(TimeZones::read()).with_log_sink(move |line| {
        // A socket that fails is found out by the next read or write of the loop.
        let _ = log.send(&line);
    });
    output.send(&FromWorker::Ready { sandbox: sandbox::enter() })?;
    serve(&socket, &mut worker, &output)
}

fn serve(mut socket: &UnixStream, worker: &mut Worker, output: &Output) -> Result<(), WorkerExit> {
    let mut inbound = Vec::new();
    let mut frames = Vec::new();
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let count = match socket.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        inbound.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let mut used = 0;
        while let Some((frame, length)) = wire::read_frame::<ToWorker>(inbound.get(used..).unwrap_or_default())? {
            used += length;
            worker.handle(frame, &mut frames);
            for frame in frames.drain(..) {
                output.queue_bounded(frame, worker)?;
            }
            // At once, as the next frame's turn may be a long one; but nobody waits for the end of a turn that asked for nothing.
            if output.is_urgent() || !wire::has_whole_frame(inbound.get(used..).unwrap_or_default()) {
                output.flush()?;
            }
        }
        inbound.drain(..used);
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
        state: RunState::Failed(error),
        cpu_us: end.cpu_us,
    }
}
