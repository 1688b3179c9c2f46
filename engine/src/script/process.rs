//! Worker processes: how one is started, and what it does first.
#![expect(unsafe_code, reason = "parent-death signals and inherited descriptors have no safe interface in std")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use lockstep_ctx_api::js::{WorkerExit, run_worker};
use thiserror::Error;
use tokio::process::{Child, Command};

use super::probe::{ProbeReader, ProbeWriter};
use super::programs::local_time_zone;
use crate::background;

/// A worker process and the engine's ends of what it was given.
pub(super) struct WorkerProcess {
    pub(super) child: Child,
    pub(super) pid: u32,
    /// Non-blocking.
    pub(super) socket: UnixStream,
    pub(super) probe: ProbeReader,
}

/// How long the allocator keeps what scripts have freed before it goes back to the system.
const PURGE_DELAY_MS: &str = "1000";

/// Starts `program` as a worker: `program worker --fd 0 --probe-fd 1`.
///
/// Socket and page travel as standard input and output: nothing then runs between fork and exec, so the process is started
/// without copying the engine's page tables, however large the engine is.
pub(super) fn spawn(program: &Path) -> io::Result<WorkerProcess> {
    let (socket, theirs) = UnixStream::pair()?;
    socket.set_nonblocking(true)?;
    let (probe, page) = ProbeReader::create()?;
    let child = Command::new(program)
        .args(["worker", "--fd", "0", "--probe-fd", "1"])
        .env_clear()
        // A call's runtime is freed when the next one is about to be created: memory given back at once is faulted in again.
        .env("MIMALLOC_PURGE_DELAY", PURGE_DELAY_MS)
        .env("TZ", local_time_zone())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(page))
        .stderr(Stdio::inherit())
        // What a terminal tells the engine (Ctrl-C, that it is gone) is not for workers: live calls may end.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the worker left before it was started"))?;
    Ok(WorkerProcess { child, pid, socket, probe })
}

/// Why a worker process ends before its engine closes the socket.
#[derive(Debug, Error)]
pub enum WorkerError {
    #[error("cannot use what the engine passed: {0}")]
    Passed(#[from] io::Error),
    #[error(transparent)]
    Exit(#[from] WorkerExit),
}

/// What the `worker` command does: runs scripts for the engine at the other end of `fd` until that closes.
///
/// # Errors
/// When the descriptors are not what an engine passes, or the socket fails.
pub fn worker_main(fd: RawFd, probe_fd: RawFd) -> Result<(), WorkerError> {
    // An engine that dies takes its workers with it, even one that is stuck in a turn.
    // SAFETY: no memory is involved; the result is checked.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    // When memory runs out, scripts go before the engine that carries their calls. Where /proc is missing, the kernel decides.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    background::step_back(background::WAITED_FOR);
    let probe = ProbeWriter::open(&take_fd(probe_fd)?)?;
    let socket = UnixStream::from(take_fd(fd)?);
    Ok(run_worker(socket, probe)?)
}

/// Takes over a descriptor that the engine passed.
fn take_fd(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: a query on a number; the result is checked.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {fd} is not open")));
    }
    // SAFETY: open, and passed to this process to be owned by it; nothing else in it uses these numbers.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
