//! The Linux system calls that the standard library does not offer: epoll, eventfd, scheduling, limits.

use std::{
    fmt, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

/// What epoll reports: the token a descriptor was added with.
pub(super) type Readiness = libc::epoll_event;

/// An epoll instance that watches descriptors for input, level-triggered.
pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = Readiness { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: `event` outlives the call.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    pub(super) fn remove(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: a null event is allowed for EPOLL_CTL_DEL.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })?;
        Ok(())
    }

    /// Waits for input, at most for `timeout` (`None`: without end), and returns how many of `events` were filled.
    pub(super) fn wait(&self, events: &mut [Readiness], timeout: Option<Duration>) -> io::Result<usize> {
        let capacity = events.len().min(i32::MAX as usize) as i32;
        let time = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
        });
        let time = time.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `events` has room for `capacity` entries; `time` is null or points to a timespec that outlives the call.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                capacity,
                time,
                std::ptr::null::<libc::sigset_t>(),
                0,
            )
        };
        match check(ready as i32) {
            Ok(ready) => Ok(ready as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            // Kernels before 5.11 know whole milliseconds only.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                let millis = timeout.map_or(-1, |timeout| timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32);
                // SAFETY: as above.
                let ready = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), capacity, millis) };
                match check(ready) {
                    Ok(ready) => Ok(ready as usize),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }
}

/// A counter that wakes an epoll.
pub(super) struct EventFd(OwnedFd);

impl EventFd {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn raise(&self) {
        let one = 1u64;
        // A full counter means that the other side is awake already; there is nothing else to fail.
        // SAFETY: eight octets of `one` are read.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    pub(super) fn clear(&self) {
        let mut count = 0u64;
        // SAFETY: eight octets of `count` are written.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// How a thread is preferred over others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priority {
    /// SCHED_FIFO with this priority: ahead of everything ordinary.
    RealTime(i32),
    /// An ordinary thread with this niceness.
    Nice(i32),
    /// The system gave neither.
    Default,
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealTime(priority) => write!(f, "SCHED_FIFO {priority}"),
            Self::Nice(nice) => write!(f, "nice {nice}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Gives the calling thread the best priority the system allows: SCHED_FIFO 10, else nice −11.
pub(super) fn prefer_this_thread() -> Priority {
    const FIFO: i32 = 10;
    const NICE: i32 = -11;
    let parameters = libc::sched_param { sched_priority: FIFO };
    // SAFETY: `parameters` outlives the call; 0 names the calling thread.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) } == 0 {
        return Priority::RealTime(FIFO);
    }
    // SAFETY: no pointers.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, NICE) } == 0 {
        return Priority::Nice(NICE);
    }
    Priority::Default
}

/// Whether the system gives threads of this process a better priority than others have: tried on a thread of its own.
pub fn may_go_ahead() -> bool {
    let tried = std::thread::Builder::new().spawn(prefer_this_thread).map(std::thread::JoinHandle::join);
    tried.is_ok_and(|priority| priority.is_ok_and(|priority| priority != Priority::Default))
}

/// The cores this process may run on.
pub(super) fn allowed_cores() -> Vec<usize> {
    // SAFETY: an all-zero set is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is of the size given.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } != 0 {
        return vec![0];
    }
    // SAFETY: the index stays below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect()
}

/// Keeps the calling thread on one core.
pub(super) fn pin_this_thread(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is a valid value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if core < libc::CPU_SETSIZE as usize {
        // SAFETY: the index was checked.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is of the size given.
    check(unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(())
}

/// Raises the limit of open descriptors as far as it goes without privilege, and returns it.
pub(super) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        // SAFETY: `raised` outlives the call.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_eventfd_is_readable_until_cleared() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        epoll.add(event.as_raw_fd(), 42).unwrap();
        let mut ready = [Readiness { events: 0, u64: 0 }; 4];
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 0);
        event.raise();
        event.raise();
        assert_eq!(epoll.wait(&mut ready, None).unwrap(), 1);
        assert_eq!({ ready[0].u64 }, 42);
        event.clear();
        assert_eq!(epoll.wait(&mut ready, Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn a_thread_can_be_pinned_to_each_allowed_core() {
        let cores = allowed_cores();
        assert!(!cores.is_empty());
        std::thread::spawn(move || {
            for core in cores {
                pin_this_thread(core).unwrap();
                assert_eq!(allowed_cores(), [core]);
            }
        })
        .join()
        .unwrap();
    }
}
