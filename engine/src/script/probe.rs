//! The page of memory in which a worker says what it is doing, readable while it is stuck and after it has died.
//!
//! One writer, one reader, two processes. The writer makes `sequence` odd, writes, makes it even; a reader that sees it odd or
//! changed knows that it read a mixture. The reader trusts nothing in the page: a worker runs tenants' code.
#![expect(unsafe_code, reason = "shared memory and process clocks have no safe interface in std")]

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::Duration;

use lockstep_ctx_api::js::TurnProbe;
use lockstep_ctx_api::wire::{Epoch, RunId};

use super::supervisor::TurnReading;

/// Times a reader tries again when it meets a writer: more than enough for a writer that is alive.
const READ_TRIES: usize = 4;

#[repr(C)]
struct Page {
    sequence: AtomicU64,
    /// 0: between turns.
    run: AtomicU64,
    /// CPU time the process had used when the turn began, nanoseconds.
    cpu_at_start: AtomicU64,
    epoch: AtomicU32,
}

/// A mapping of the page, for as long as it lives.
struct Mapping {
    page: NonNull<Page>,
}

impl Mapping {
    fn new(fd: RawFd) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping at an address the kernel chooses; the file is at least as long as a page of memory.
        let address = unsafe {
            libc::mmap(std::ptr::null_mut(), size_of::<Page>(), libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast()).map(|page| Self { page }).ok_or_else(|| io::Error::other("mapped at address 0"))
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped, aligned to a page, large enough, and only ever accessed through atomics, which any bytes are valid for.
        unsafe { self.page.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and nothing borrows from a mapping that is dropped. Failure leaves it mapped.
        unsafe { libc::munmap(self.page.as_ptr().cast(), size_of::<Page>()) };
    }
}

/// The engine's side.
pub(super) struct ProbeReader {
    mapping: Mapping,
}

impl ProbeReader {
    /// Creates the page; the descriptor is for the worker.
    pub(super) fn create() -> io::Result<(Self, OwnedFd)> {
        // SAFETY: the name is a terminated string; the result is checked.
        let fd = unsafe { libc::memfd_create(c"lockstep-probe".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just created, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = File::from(fd);
        file.set_len(size_of::<Page>() as u64)?;
        // A worker that cut the file short would have the engine killed at its next look.
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: a descriptor we own; the result is checked.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((Self { mapping: Mapping::new(file.as_raw_fd())? }, file.into()))
    }

    /// The run whose turn is under way, or was when the worker died.
    pub(super) fn executing(&self) -> Option<(RunId, Epoch)> {
        self.read().map(|(run, epoch, _)| (run, epoch))
    }

    /// The turn under way in process `pid` and the CPU time it has taken.
    pub(super) fn reading(&self, pid: u32) -> Option<TurnReading> {
        let (run, epoch, started) = self.read()?;
        let cpu = process_cpu(pid)?.saturating_sub(started);
        Some(TurnReading { run, epoch, cpu })
    }

    fn read(&self) -> Option<(RunId, Epoch, Duration)> {
        let page = self.mapping.page();
        for _ in 0..READ_TRIES {
            let before = page.sequence.load(Ordering::Acquire);
            let run = page.run.load(Ordering::Relaxed);
            let epoch = page.epoch.load(Ordering::Relaxed);
            let started = page.cpu_at_start.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && before == page.sequence.load(Ordering::Relaxed) {
                return (run != 0).then_some((RunId(run), epoch, Duration::from_nanos(started)));
            }
            std::hint::spin_loop();
        }
        None
    }
}

/// The worker's side.
pub(super) struct ProbeWriter {
    mapping: Mapping,
}

impl ProbeWriter {
    /// Maps the page behind the descriptor the engine passed.
    pub(super) fn open(fd: &OwnedFd) -> io::Result<Self> {
        let file = File::from(fd.try_clone()?);
        if file.metadata()?.len() < size_of::<Page>() as u64 {
            return Err(io::Error::other("the probe page is too short"));
        }
        Ok(Self { mapping: Mapping::new(fd.as_raw_fd())? })
    }

    fn publish(&self, run: u64, epoch: Epoch, cpu: Duration) {
        let page = self.mapping.page();
        let sequence = page.sequence.load(Ordering::Relaxed) & !1;
        page.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        page.run.store(run, Ordering::Relaxed);
        page.epoch.store(epoch, Ordering::Relaxed);
        page.cpu_at_start.store(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        page.sequence.store(sequence.wrapping_add(2), Ordering::Release);
    }
}

impl TurnProbe for ProbeWriter {
    fn begin(&mut self, run: RunId, epoch: Epoch) {
        self.publish(run.0, epoch, own_cpu());
    }

    fn end(&mut self) {
        self.publish(0, 0, Duration::ZERO);
    }
}

/// CPU time of this process.
fn own_cpu() -> Duration {
    cpu_of(libc::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default()
}

/// CPU time of process `pid`; `None` when there is none such.
fn process_cpu(pid: u32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is a valid place for the result.
    let error = unsafe { libc::clock_getcpuclockid(libc::pid_t::try_from(pid).ok()?, &mut clock) };
    if error == 0 { cpu_of(clock) } else { None }
}

fn cpu_of(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_sees_the_turn_while_it_lasts() {
        let (reader, fd) = ProbeReader::create().unwrap();
        let mut writer = ProbeWriter::open(&fd).unwrap();
        assert_eq!(reader.executing(), None);
        writer.begin(RunId(7), 3);
        assert_eq!(reader.executing(), Some((RunId(7), 3)));
        let reading = reader.reading(std::process::id()).unwrap();
        assert_eq!((reading.run, reading.epoch), (RunId(7), 3));
        writer.end();
        assert_eq!(reader.reading(std::process::id()), None);
    }

    #[test]
    fn cpu_time_of_the_turn_grows_while_it_works() {
        let (reader, fd) = ProbeReader::create().unwrap();
        let mut writer = ProbeWriter::open(&fd).unwrap();
        writer.begin(RunId(1), 1);
        let before = reader.reading(std::process::id()).unwrap().cpu;
        let mut sum = 0u64;
        while reader.reading(std::process::id()).unwrap().cpu < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    }

    #[test]
    fn a_write_that_was_cut_off_shows_nothing() {
        let (reader, fd) = ProbeReader::create().unwrap();
        let mut writer = ProbeWriter::open(&fd).unwrap();
        writer.begin(RunId(7), 3);
        writer.mapping.page().sequence.fetch_add(1, Ordering::SeqCst);
        assert_eq!(reader.executing(), None);
        writer.end();
        writer.begin(RunId(8), 1);
        assert_eq!(reader.executing(), Some((RunId(8), 1)));
    }

    #[test]
    fn the_worker_cannot_cut_the_page_short() {
        let (_reader, fd) = ProbeReader::create().unwrap();
        assert!(File::from(fd).set_len(0).is_err());
    }
}
