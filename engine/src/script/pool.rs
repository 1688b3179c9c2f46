//! Scripts in worker processes: puts sockets, clocks and processes under a [`Supervisor`].
//!
//! Everything happens on the core's thread. A frame from a worker is handled in the task that read it, and the core is called
//! from there: between a script's wish and its fulfilment lies no queue and no other task.
#![expect(clippy::disallowed_methods, reason = "an IO edge: reads the clocks that the supervisor is told")]
#![expect(unsafe_code, reason = "tokio asks for a promise about the socket's descriptor")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockstep_ctx_api::journal::Journal;
use lockstep_ctx_api::wire::{EntryKind, FromWorker, RunId, WireError, read_frame};
use tokio::io::unix::AsyncFd;
use tokio::process::Child;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::host::{Moment, ScriptHost, ScriptOutput, ScriptStats, StartRun};
use super::probe::ProbeReader;
use super::process::{self, WorkerProcess};
use super::supervisor::{Action, RunBounds, Settings, Supervisor, WorkerKey};

/// Wait before a worker is started again when workers keep dying and no script is to blame.
const BACK_OFF: Duration = Duration::from_millis(100);
/// Bytes read from a worker before other tasks get their turn.
const READ_CHUNK: usize = 64 * 1024;

impl Moment {
    /// This moment, by the machine's clocks.
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// How the pool starts its workers.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// The `lockstep` binary.
    pub program: PathBuf,
    /// Workers that take runs; one more is kept ready.
    pub workers: usize,
    pub bounds: RunBounds,
}

/// A [`ScriptHost`] that keeps its own time and calls back when there is output.
///
/// Must be made and used within one `LocalSet`. Dropping it kills the workers.
pub struct WorkerPool {
    shared: Rc<Shared>,
    timer: AbortHandle,
}

struct Shared {
    inner: RefCell<Inner>,
    /// Called, with nothing borrowed, when there is output that no call of the core has caused.
    on_output: Box<dyn Fn()>,
    /// The next deadline has come nearer.
    rearm: Notify,
}

struct Inner {
    supervisor: Supervisor,
    config: PoolConfig,
    processes: BTreeMap<WorkerKey, Process>,
    /// Workers with frames that nobody has tried to write yet.
    unflushed: BTreeSet<WorkerKey>,
    /// What the timer task sleeps until.
    armed: Option<Instant>,
    /// The layers of the sandbox that were last told of.
    told_sandbox: Option<Vec<String>>,
}

struct Process {
    child: Child,
    pid: u32,
    socket: Rc<AsyncFd<UnixStream>>,
    probe: ProbeReader,
    /// The socket is full; the writer task waits for room.
    blocked: bool,
    unblock: Rc<Notify>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Drop for WorkerPool {
    fn drop(&mut self) {
        self.timer.abort();
        for process in std::mem::take(&mut self.shared.inner.borrow_mut().processes).into_values() {
            process.reader.abort();
            process.writer.abort();
        }
    }
}

impl WorkerPool {
    /// Starts the workers. `on_output` is called from the pool's tasks, never from within a method of the pool.
    pub fn new(config: PoolConfig, on_output: impl Fn() + 'static) -> Self {
        let settings = Settings { workers: config.workers.max(1), spare: true, back_off: BACK_OFF, bounds: config.bounds };
        let supervisor = Supervisor::new(Moment::now(), settings);
        let inner =
            Inner { supervisor, config, processes: BTreeMap::new(), unflushed: BTreeSet::new(), armed: None, told_sandbox: None };
        let shared = Rc::new(Shared { inner: RefCell::new(inner), on_output: Box::new(on_output), rearm: Notify::new() });
        let timer = tokio::task::spawn_local(keep_time(Rc::downgrade(&shared)));
        shared.carry_out();
        Self { shared, timer: timer.abort_handle() }
    }

    /// Process ids of the workers, for diagnostics and for tests that kill one.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.inner.borrow().processes.values().map(|process| process.pid).collect()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Supervisor) -> T) -> T {
        let result = act(&mut self.shared.inner.borrow_mut().supervisor);
        self.shared.carry_out();
        result
    }
}

impl ScriptHost for WorkerPool {
    fn start(&mut self, now: Moment, run: StartRun) -> RunId {
        self.with(|supervisor| supervisor.start(now, run))
    }

    fn entry(&mut self, now: Moment, run: RunId, kind: EntryKind) {
        self.with(|supervisor| supervisor.entry(now, run, kind));
    }

    fn drop_run(&mut self, now: Moment, run: RunId) -> Option<Journal> {
        self.with(|supervisor| supervisor.drop_run(now, run))
    }

    fn is_quiet(&self, run: RunId) -> bool {
        self.shared.inner.borrow().supervisor.is_quiet(run)
    }

    fn journal(&self, run: RunId) -> Option<Journal> {
        self.shared.inner.borrow().supervisor.journal(run).cloned()
    }

    fn read_journal(&self, run: RunId, read: &mut dyn FnMut(&Journal)) {
        if let Some(journal) = self.shared.inner.borrow().supervisor.journal(run) {
            read(journal);
        }
    }

    fn retire(&mut self, bundle: u64) {
        self.with(|supervisor| supervisor.retire(bundle));
    }

    fn poll_output(&mut self) -> Option<ScriptOutput> {
        let mut inner = self.shared.inner.borrow_mut();
        inner.supervisor.poll_output().or_else(|| {
            // What the core has fed since it last asked goes out together: one system call, and one wake-up of the worker.
            inner.flush();
            inner.supervisor.poll_output()
        })
    }

    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    fn handle_timeout(&mut self, _now: Moment) {}

    fn stats(&self) -> ScriptStats {
        self.shared.inner.borrow().supervisor.stats()
    }
}

impl Shared {
    /// Does what the supervisor wants done after it was told something.
    fn carry_out(self: &Rc<Self>) {
        let mut inner = self.inner.borrow_mut();
        while let Some(action) = inner.supervisor.poll_action() {
            match action {
                Action::Spawn(key) => self.spawn(&mut inner, key),
                Action::Flush(key) => {
                    inner.unflushed.insert(key);
                }
                Action::Observe(key) => inner.observe(key),
                Action::Kill(key) => inner.kill(key),
                Action::Stop(key) => inner.stop(key),
            }
        }
        let next = inner.supervisor.next_timeout();
        if next.is_some_and(|next| inner.armed.is_none_or(|armed| next < armed)) {
            inner.armed = next;
            self.rearm.notify_one();
        }
    }

    /// Tells the core, if there is something to tell, and sends what follows from it. Nothing may be borrowed.
    fn announce(&self) {
        if self.inner.borrow().supervisor.has_output() {
            (self.on_output)();
        }
        self.inner.borrow_mut().flush();
    }

    fn spawn(self: &Rc<Self>, inner: &mut Inner, key: WorkerKey) {
        let started = process::spawn(&inner.config.program).and_then(|process| {
            let WorkerProcess { child, pid, socket, probe } = process;
            // SAFETY: a UnixStream is one descriptor, the same for its whole life, and closes it only when dropped.
            let socket = unsafe { AsyncFd::register(socket) }?;
            Ok((child, pid, socket, probe))
        });
        let (child, pid, socket, probe) = match started {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(program = %inner.config.program.display(), %error, "a script worker cannot be started");
                inner.supervisor.died(Moment::now(), key, None);
                return;
            }
        };
        let socket = Rc::new(socket);
        let unblock = Rc::new(Notify::new());
        let reader = tokio::task::spawn_local(read_worker(Rc::downgrade(self), key, Rc::clone(&socket)));
        let writer = tokio::task::spawn_local(write_worker(Rc::downgrade(self), key, Rc::clone(&socket), Rc::clone(&unblock)));
        let (reader, writer) = (reader.abort_handle(), writer.abort_handle());
        inner.processes.insert(key, Process { child, pid, socket, probe, blocked: false, unblock, reader, writer });
    }

    /// Hands every whole frame in `buffer` to the supervisor.
    fn take_frames(&self, key: WorkerKey, buffer: &mut FrameBuffer) -> Result<(), WireError> {
        let mut inner = self.inner.borrow_mut();
        let now = Moment::now();
        while let Some((frame, bytes)) = buffer.next_frame()? {
            if let FromWorker::Ready { sandbox } = &frame {
                let pid = inner.processes.get(&key).map(|process| process.pid);
                tracing::debug!(pid, sandbox = sandbox.join(", "), "script worker is ready");
                inner.tell_sandbox(sandbox);
            }
            if let Err(error) = inner.supervisor.frame(now, key, frame, bytes) {
                tracing::error!(%error, "a script worker broke the protocol");
                return Ok(());
            }
        }
        Ok(())
    }

    /// A worker's socket was read to its end. Hands over the process, to be waited for.
    fn take_dead(&self, key: WorkerKey) -> Option<Process> {
        let mut inner = self.inner.borrow_mut();
        let process = inner.processes.remove(&key)?;
        process.writer.abort();
        inner.supervisor.died(Moment::now(), key, process.probe.executing());
        Some(process)
    }
}

/// Layers of the sandbox that a worker lacks, in part or as a whole.
fn missing_layers(layers: &[String]) -> Vec<&'static str> {
    ["landlock", "seccomp"].into_iter().filter(|layer| !layers.iter().any(|held| held == layer)).collect()
}

impl Inner {
    /// Logs which layers shut workers in, and which do not: once, and again when a later worker differs.
    fn tell_sandbox(&mut self, layers: &[String]) {
        if self.told_sandbox.as_deref() == Some(layers) {
            return;
        }
        self.told_sandbox = Some(layers.to_vec());
        tracing::info!(layers = layers.join(", "), "sandbox of script workers");
        let missing = missing_layers(layers);
        if !missing.is_empty() {
            let missing = missing.join(", ");
            tracing::warn!(missing, "this system does not give script workers the whole sandbox");
        }
    }

    fn flush(&mut self) {
        while let Some(key) = self.unflushed.pop_first() {
            self.flush_worker(key);
        }
    }

    /// Writes what the socket takes now and leaves the rest to the writer task.
    fn flush_worker(&mut self, key: WorkerKey) {
        if self.processes.get(&key).is_none_or(|process| process.blocked) || self.write_out(key) {
            return;
        }
        if let Some(process) = self.processes.get_mut(&key) {
            process.blocked = true;
            process.unblock.notify_one();
        }
    }

    /// Writes until all is written or the socket is full, which gives `false`.
    fn write_out(&mut self, key: WorkerKey) -> bool {
        let Some(process) = self.processes.get(&key) else { return true };
        loop {
            let outbound = self.supervisor.outbound(key);
            if outbound.is_empty() {
                return true;
            }
            match process.socket.get_ref().write(outbound) {
                Ok(bytes) => self.supervisor.written(key, bytes),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                // It is going or gone; the reader will find out and say so.
                Err(_) => return true,
            }
        }
    }

    fn observe(&mut self, key: WorkerKey) {
        let Some(process) = self.processes.get(&key) else { return };
        let reading = process.probe.reading(process.pid);
        self.supervisor.observe(Moment::now(), key, reading);
    }

    fn kill(&mut self, key: WorkerKey) {
        if let Some(process) = self.processes.get_mut(&key)
            && let Err(error) = process.child.start_kill()
        {
            tracing::warn!(pid = process.pid, %error, "a script worker cannot be killed");
        }
    }

    fn stop(&mut self, key: WorkerKey) {
        self.flush_worker(key);
        if let Some(process) = self.processes.get(&key) {
            // It fails only on a socket that is closed already, which is what is wanted.
            let _ = process.socket.get_ref().shutdown(Shutdown::Write);
        }
    }
}

/// Sleeps until the supervisor's next deadline, over and over.
async fn keep_time(shared: Weak<Shared>) {
    loop {
        let Some(pool) = shared.upgrade() else { return };
        let next = {
            let mut inner = pool.inner.borrow_mut();
            inner.armed = inner.supervisor.next_timeout();
            inner.armed
        };
        match next {
            Some(at) if at <= Instant::now() => {
                pool.inner.borrow_mut().supervisor.handle_timeout(Moment::now());
                pool.carry_out();
                pool.announce();
            }
            // The pool lives as long as this task: dropping it aborts the task.
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = pool.rearm.notified() => {}
                }
            }
            None => pool.rearm.notified().await,
        }
    }
}

/// Reads a worker's frames until its socket closes, and sees to what it leaves behind.
async fn read_worker(shared: Weak<Shared>, key: WorkerKey, socket: Rc<AsyncFd<UnixStream>>) {
    let mut buffer = FrameBuffer::default();
    while let Ok(mut ready) = socket.readable().await {
        match buffer.fill(socket.get_ref()) {
            Ok(Filled::Closed) => break,
            Ok(Filled::Part) => ready.clear_ready(),
            // There may be more: others first.
            Ok(Filled::Full) => tokio::task::yield_now().await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ready.clear_ready();
                continue;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        let Some(pool) = shared.upgrade() else { return };
        let whole = pool.take_frames(key, &mut buffer);
        if let Err(error) = &whole {
            tracing::error!(%error, "a script worker sent what is not a frame");
            pool.inner.borrow_mut().supervisor.malformed(key);
        }
        pool.carry_out();
        pool.announce();
        if whole.is_err() {
            break;
        }
    }
    let Some(pool) = shared.upgrade() else { return };
    let Some(mut process) = pool.take_dead(key) else { return };
    pool.carry_out();
    pool.announce();
    drop(pool);
    // It may have closed its socket without dying.
    let killed = process.child.start_kill();
    match killed.and(process.child.wait().await) {
        Ok(status) => tracing::info!(pid = process.pid, %status, "script worker is gone"),
        Err(error) => tracing::warn!(pid = process.pid, %error, "cannot tell how a script worker ended"),
    }
}

/// Writes what a full socket had no room for.
async fn write_worker(shared: Weak<Shared>, key: WorkerKey, socket: Rc<AsyncFd<UnixStream>>, unblock: Rc<Notify>) {
    loop {
        unblock.notified().await;
        loop {
            let Ok(mut ready) = socket.writable().await else { return };
            let Some(pool) = shared.upgrade() else { return };
            let done = pool.inner.borrow_mut().write_out(key);
            if done {
                if let Some(process) = pool.inner.borrow_mut().processes.get_mut(&key) {
                    process.blocked = false;
                }
                pool.carry_out();
                pool.announce();
                break;
            }
            ready.clear_ready();
        }
    }
}

/// What one read gave.
enum Filled {
    /// Less than there was room for: the socket is empty for now.
    Part,
    Full,
    Closed,
}

/// Bytes read and not yet taken as frames.
#[derive(Default)]
struct FrameBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl FrameBuffer {
    fn fill(&mut self, mut socket: &UnixStream) -> std::io::Result<Filled> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.bytes.truncate(READ_CHUNK);
            self.bytes.shrink_to(READ_CHUNK);
        } else if self.start > 0 && self.bytes.len() - self.end < READ_CHUNK {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.bytes.len() - self.end < READ_CHUNK {
            // Doubling keeps a large frame from being copied for every chunk of it.
            self.bytes.resize((self.end + READ_CHUNK).max(self.end * 2), 0);
        }
        let room = &mut self.bytes[self.end..];
        let (size, read) = (room.len(), socket.read(room)?);
        self.end += read;
        Ok(match read {
            0 => Filled::Closed,
            read if read < size => Filled::Part,
            _ => Filled::Full,
        })
    }

    fn next_frame(&mut self) -> Result<Option<(FromWorker, usize)>, WireError> {
        let frame = read_frame(&self.bytes[self.start..self.end])?;
        if let Some((_, taken)) = &frame {
            self.start += taken;
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_holds_in_part_is_missing_too() {
        let missing = |layers: &[&str]| missing_layers(&layers.iter().map(|layer| layer.to_string()).collect::<Vec<_>>());
        assert_eq!(missing(&["landlock", "seccomp"]), [""; 0]);
        assert_eq!(missing(&["landlock (partial)", "seccomp"]), ["landlock"]);
        assert_eq!(missing(&[]), ["landlock", "seccomp"]);
    }
}
