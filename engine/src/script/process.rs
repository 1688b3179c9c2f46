//! Worker processes: how one is started, and what it does first.
#![expect(unsafe_code, reason = "priorities and parent-death signals have no safe interface in std")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::probe::{ProbeReader, ProbeWriter};

/// Media and signalling must never wait for scripts; lowering one's own priority needs no privilege.
const WORKER_NICE: libc::c_int = 10;

/// A worker process and the engine's ends of what it was given.
pub(super) struct WorkerProcess {
    pub(super) child: Child,
    pub(super) pid: u32,
    /// Non-blocking.
    pub(super) socket: UnixStream,
    pub(super) probe: ProbeReader,
}

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
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(page))
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the worker left before it was started"))?;
    Ok(WorkerProcess { child, pid, socket, probe })
}

/// What the `worker` command does: runs scripts for the engine at the other end of `fd` until that closes.
pub fn worker_main(fd: RawFd, probe_fd: RawFd) -> io::Result<()> {
    // SAFETY: plain system calls on this process; failures are reported.
    unsafe {
        // An engine that dies takes its workers with it, even one that is stuck in a turn.
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::setpriority(libc::PRIO_PROCESS, 0, WORKER_NICE) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let probe = ProbeWriter::open(&take_fd(probe_fd)?)?;
    let socket = UnixStream::from(take_fd(fd)?);
    lockstep_ctx_api::js::run_worker(socket, probe)
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
