//! Threads that step back for those that move audio.
#![expect(unsafe_code, reason = "a thread's priority is the system's to set")]

/// Niceness of threads that scripts wait for, the core's among them: that of the workers, so that none takes the processor from
/// another for a single message.
pub(crate) const WAITED_FOR: i32 = 10;
/// Niceness of threads that nobody waits for.
pub(crate) const UNHURRIED: i32 = 15;

/// Sets the niceness of the calling thread.
pub(crate) fn step_back(nice: i32) {
    // SAFETY: no memory is involved; 0 is the calling thread. Failing leaves the priority as it is, which is the operator's choice then.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}
