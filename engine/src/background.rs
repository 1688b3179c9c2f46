//! Threads that step back for those that move audio, where those cannot go ahead by themselves.
#![expect(unsafe_code, reason = "a thread's priority is the system's to set")]

use std::sync::OnceLock;

/// Niceness of threads and workers that calls wait for, where media threads are ordinary ones. It is the same for all of them, so
/// that none takes the processor from another for a single message.
pub(crate) const WAITED_FOR: i32 = 10;
/// Niceness of threads that nobody waits for, in the same case.
pub(crate) const UNHURRIED: i32 = 15;

/// Sets the niceness of the calling thread.
///
/// Where media threads go ahead of everybody, whoever is waited for stays where the operator has put the engine, and the others step
/// back by the same distance from there: a thread that steps back without need waits for every other program of the machine.
pub(crate) fn step_back(nice: i32) {
    let nice = started_at().map_or(nice, |start| start + nice - WAITED_FOR);
    if nice > niceness() {
        // SAFETY: no memory is involved; 0 is the calling thread. Failing leaves the priority as it is, which is the operator's choice then.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    }
}

/// The niceness that this process was started with, where the system lets it have threads that come before ordinary ones.
fn started_at() -> Option<i32> {
    static START: OnceLock<Option<i32>> = OnceLock::new();
    // Whoever asks first has not stepped back yet, nor has the one that started it.
    *START.get_or_init(|| lockstep_media::io::may_go_ahead().then(niceness))
}

/// That of the calling thread.
fn niceness() -> i32 {
    // SAFETY: no memory is involved; 0 is the calling thread.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}
