//! A worker process: [`Worker`] behind a socket.

use std::cell::RefCell;
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
    let output = Rc::new(Output { socket: socket.try_clone()?, buffer: RefCell::default() });
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
            // At once: the next frame's turn may be a long one.
            for frame in frames.drain(..) {
                output.send_bounded(frame, worker)?;
            }
        }
        inbound.drain(..used);
    }
}

struct Output {
    socket: UnixStream,
    buffer: RefCell<Vec<u8>>,
}

impl Output {
    fn send(&self, frame: &FromWorker) -> Result<(), WorkerExit> {
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        wire::write_frame(frame, &mut buffer)?;
        (&self.socket).write_all(&buffer)?;
        Ok(())
    }

    /// Sends a frame; a turn that is too large for one ends its run instead.
    fn send_bounded(&self, frame: FromWorker, worker: &mut Worker) -> Result<(), WorkerExit> {
        match (self.send(&frame), frame) {
            (Err(WorkerExit::Wire(WireError::TooLarge { got })), FromWorker::TurnEnd(end)) => {
                worker.handle(ToWorker::Drop { run: end.run, epoch: end.epoch }, &mut Vec::new());
                self.send(&FromWorker::TurnEnd(too_large(&end, got)))
            }
            (sent, _) => sent,
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
