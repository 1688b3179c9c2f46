//! Recordings on disk: one thread writes them all, so that no disk ever holds up a media thread.

mod mark;
mod ogg_opus;
mod room;
mod wav;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

pub use self::mark::{mark_recording, recording_mark};
use self::{ogg_opus::OggOpusWriter, wav::WavWriter};
use super::{LegId, PoolEvent, outbox::Outbox};
use crate::{beneath, recording::RecordingId};

/// Blocks and new recordings that may wait for the disk: at half a second a block, four seconds of 500 recordings.
const QUEUE: usize = 4096;
/// Blocks kept for reuse.
const SPARE_BLOCKS: usize = 1024;
/// How much of a recording is written before the room on the disk is looked at again, in seconds.
const LOOK_S: u64 = 5;
/// How soon an event that the core had no room for is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Where a recording goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    /// The folder that it must lie in, whatever links are on the way.
    pub within: PathBuf,
    /// Created or overwritten, with its folder; begins with `within`. Nothing else may be writing it.
    pub path: PathBuf,
    /// How it is written.
    pub format: RecordingFormat,
    /// Whose it is: the file is marked so, where its file system can.
    pub mark: String,
}

/// How a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecordingFormat {
    /// 16-bit PCM.
    #[default]
    Wav,
    /// Opus in Ogg (RFC 7845).
    Ogg,
}

/// Why a recording could not be written to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot record to {}: {error}", path.display())]
pub struct RecordingError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// One recording of one leg.
pub(super) type Key = (LegId, RecordingId);

/// What the writer thread is told.
pub(super) enum Message {
    Open {
        key: Key,
        file: RecordingFile,
        channels: u8,
        rate: u32,
    },
    /// `missed` samples of each channel were lost before these: the writer puts silence in their place.
    Samples {
        key: Key,
        missed: u64,
        samples: Vec<i16>,
    },
    /// `missed` samples of each channel were lost before the end.
    Finish {
        key: Key,
        missed: u64,
    },
    Stop,
}

impl Message {
    /// Whether a full queue refuses it. There is one end for each beginning.
    fn is_bounded(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Samples { .. } => true,
            Self::Finish { .. } | Self::Stop => false,
        }
    }
}

/// The writer thread, and the way to it.
pub(super) struct RecorderThread {
    recorder: Recorder,
    handle: Option<JoinHandle<()>>,
}

impl RecorderThread {
    pub(super) fn start(events: Outbox, keep_free: u64) -> io::Result<Self> {
        let (recorder, messages) = Recorder::new();
        let (spare, waiting) = (Arc::clone(&recorder.spare), Arc::clone(&recorder.waiting));
        let writer = Writer { events, spare, waiting, keep_free, open: BTreeMap::new() };
        let handle = thread::Builder::new().name("recorder".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { recorder, handle: Some(handle) })
    }

    pub(super) fn handle(&self) -> &Recorder {
        &self.recorder
    }

    /// Writes what is queued, completes every file, and ends.
    pub(super) fn stop(&mut self) {
        if self.recorder.queue.send(Message::Stop).is_ok()
            && let Some(handle) = self.handle.take()
        {
            let _ = handle.join();
        }
    }
}

/// The way to the writer thread.
#[derive(Clone)]
pub(super) struct Recorder {
    queue: Sender<Message>,
    /// Messages in the queue that a bound is for.
    waiting: Arc<AtomicUsize>,
    spare: Arc<Mutex<Vec<Vec<i16>>>>,
    pub(super) blocks_dropped: Arc<AtomicU64>,
}

impl Recorder {
    pub(super) fn new() -> (Self, Receiver<Message>) {
        let (queue, messages) = channel();
        let recorder = Self { queue, waiting: Arc::default(), spare: Arc::default(), blocks_dropped: Arc::default() };
        (recorder, messages)
    }

    /// Queues a message, never blocks; says whether it was taken. There is always room for the end of a recording: a disk that
    /// hangs must not keep legs from being closed.
    pub(super) fn send(&self, message: Message) -> bool {
        if message.is_bounded() && self.waiting.fetch_add(1, Relaxed) >= QUEUE {
            self.waiting.fetch_sub(1, Relaxed);
            return false;
        }
        self.queue.send(message).is_ok()
    }

    /// An empty block; a used one where that costs no waiting.
    pub(super) fn block(&self, capacity: usize) -> Vec<i16> {
        let used = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        used.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    pub(super) fn count_dropped(&self) {
        self.blocks_dropped.fetch_add(1, Relaxed);
    }
}

struct Writer {
    events: Outbox,
    waiting: Arc<AtomicUsize>,
    spare: Arc<Mutex<Vec<Vec<i16>>>>,
    /// Octets of the disk that recordings leave to others.
    keep_free: u64,
    open: BTreeMap<Key, Open>,
}

struct Open {
    within: PathBuf,
    path: PathBuf,
    channels: u8,
    rate: u32,
    /// Samples of one channel.
    length: u64,
    /// Where `length` is when the room on the disk is looked at next.
    looks_at: u64,
    sink: Sink,
}

enum Sink {
    /// Whole blocks are written: what was recorded is in the file at once.
    Wav(WavWriter<File>),
    Ogg(Box<OggOpusWriter<BufWriter<File>>>),
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            // An event that the core had no room for is tried again soon.
            let message = if self.events.is_waiting() {
                messages.recv_timeout(RETRY)
            } else {
                messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            self.events.flush();
            if message.as_ref().is_ok_and(Message::is_bounded) {
                self.waiting.fetch_sub(1, Relaxed);
            }
            match message {
                Ok(Message::Open { key, file, channels, rate }) => self.open(key, file, channels, rate),
                Ok(Message::Samples { key, missed, samples }) => self.samples(key, missed, samples),
                Ok(Message::Finish { key, missed }) => self.finish(key, missed),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The engine is going down: what was recorded so far becomes a whole file.
        for key in self.open.keys().copied().collect::<Vec<_>>() {
            self.finish(key, 0);
        }
    }

    fn open(&mut self, key: Key, file: RecordingFile, channels: u8, rate: u32) {
        let RecordingFile { within, path, format, mark } = file;
        match self.sink(key, (&within, &path, &mark), format, (channels, rate)) {
            Ok(sink) => {
                let looks_at = LOOK_S * u64::from(rate);
                self.open.insert(key, Open { within, path, channels, rate, length: 0, looks_at, sink });
                self.events.push(PoolEvent::RecordingStarted { leg: key.0, id: key.1 });
            }
            Err(error) => self.fail(key, path, error),
        }
    }

    fn sink(
        &self,
        key: Key,
        (within, path, mark): (&Path, &Path, &str),
        format: RecordingFormat,
        (channels, rate): (u8, u32),
    ) -> io::Result<Sink> {
        if self.open.values().any(|open| open.path == path) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another recording is being written there"));
        }
        room::check(within, self.keep_free)?;
        let file = beneath::create(within, path.strip_prefix(within).map_err(io::Error::other)?)?;
        if let Err(error) = mark_recording(file.as_fd(), mark) {
            tracing::debug!(path = %path.display(), %error, "a recording does not say whose it is");
        }
        Ok(match format {
            RecordingFormat::Wav => Sink::Wav(WavWriter::new(file, channels, rate)?),
            RecordingFormat::Ogg => Sink::Ogg(Box::new(OggOpusWriter::new(BufWriter::new(file), channels, rate, serial(key))?)),
        })
    }

    fn samples(&mut self, key: Key, missed: u64, mut samples: Vec<i16>) {
        // A recording that failed still receives blocks until the engine stops it.
        if let Some(open) = self.open.get_mut(&key)
            && let Err(error) = open.write(missed, &samples).and_then(|()| open.look(self.keep_free))
        {
            self.break_off(key, error);
        }
        samples.clear();
        if let Ok(mut spare) = self.spare.lock()
            && spare.len() < SPARE_BLOCKS
        {
            spare.push(samples);
        }
    }

    /// Ends a recording before its time. What was written so far is a whole file, where that can still be.
    fn break_off(&mut self, key: Key, error: io::Error) {
        let Some(open) = self.open.remove(&key) else { return };
        if let Err(further) = open.sink.finish() {
            tracing::debug!(path = %open.path.display(), error = %further, "a recording that was broken off has no end");
        }
        self.fail(key, open.path, error);
    }

    fn finish(&mut self, key: Key, missed: u64) {
        let Some(mut open) = self.open.remove(&key) else { return };
        let filled = open.write(missed, &[]);
        let duration = Duration::from_micros(open.length * 1_000_000 / u64::from(open.rate.max(1)));
        match filled.and_then(|()| open.sink.finish()) {
            Ok(()) => {
                self.events.push(PoolEvent::RecordingSaved { leg: key.0, id: key.1, path: open.path, duration });
            }
            Err(error) => self.fail(key, open.path, error),
        }
    }

    fn fail(&mut self, key: Key, path: PathBuf, error: io::Error) {
        self.events.push(PoolEvent::RecordingFailed { leg: key.0, id: key.1, error: RecordingError { path, error } });
    }
}

impl Open {
    fn write(&mut self, missed: u64, samples: &[i16]) -> io::Result<()> {
        const SILENCE: [i16; 1600] = [0; 1600];
        let mut silent = missed * u64::from(self.channels);
        while silent > 0 {
            let now = silent.min(SILENCE.len() as u64);
            self.sink.write(SILENCE.get(..now as usize).unwrap_or_default())?;
            silent -= now;
        }
        self.sink.write(samples)?;
        self.length += missed + samples.len() as u64 / u64::from(self.channels.max(1));
        Ok(())
    }

    /// Looks from time to time whether there is room to go on.
    fn look(&mut self, keep_free: u64) -> io::Result<()> {
        if self.length < self.looks_at {
            return Ok(());
        }
        self.looks_at = self.length + LOOK_S * u64::from(self.rate);
        room::check(&self.within, keep_free)
    }
}

impl Sink {
    fn finish(self) -> io::Result<()> {
        match self {
            Self::Wav(writer) => writer.finish(),
            Self::Ogg(writer) => writer.finish(),
        }
    }

    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        match self {
            Self::Wav(writer) => writer.write(samples),
            Self::Ogg(writer) => writer.write(samples),
        }
    }
}

/// An Ogg stream number, different for each recording of a run.
fn serial((leg, id): Key) -> u32 {
    (leg.0.wrapping_mul(0x9E37_79B9) ^ id.0) as u32
}

impl PoolEvent {
    /// A recording that could not even be queued.
    pub(super) fn recorder_busy(leg: LegId, id: RecordingId, path: PathBuf) -> Self {
        let error = io::Error::new(io::ErrorKind::WouldBlock, "the disk is too far behind");
        Self::RecordingFailed { leg, id, error: RecordingError { path, error } }
    }
}

#[cfg(test)]
mod tests {
    use std::os::{fd::OwnedFd, unix::net::UnixStream};

    use tokio::sync::mpsc;

    use super::*;

    fn writer() -> (Writer, mpsc::Receiver<PoolEvent>) {
        let (to_core, events) = mpsc::channel(16);
        let events_out = Outbox::new(to_core);
        let (waiting, spare) = (Arc::default(), Arc::default());
        (Writer { events: events_out, waiting, spare, keep_free: 0, open: BTreeMap::new() }, events)
    }

    fn wav(name: &str) -> (PathBuf, RecordingFile) {
        let within = std::env::temp_dir();
        let path = within.join(format!("lockstep-recorder-{name}-{}.wav", std::process::id()));
        (path.clone(), RecordingFile { within, path, format: RecordingFormat::Wav, mark: String::new() })
    }

    #[test]
    fn a_recording_that_breaks_off_is_told_once_and_goes_on_into_nothing() {
        let (mut writer, mut events) = writer();
        let (file, disk) = UnixStream::pair().unwrap();
        let sink = Sink::Wav(WavWriter::new(File::from(OwnedFd::from(file)), 1, 8000).unwrap());
        let key = (LegId(1), RecordingId(1));
        let (within, path) = (PathBuf::new(), "x.wav".into());
        writer.open.insert(key, Open { within, path, channels: 1, rate: 8000, length: 0, looks_at: u64::MAX, sink });
        drop(disk);
        writer.samples(key, 0, vec![1; 4000]);
        writer.samples(key, 0, vec![1; 4000]);
        writer.finish(key, 0);
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        assert!(matches!(told.as_slice(), [PoolEvent::RecordingFailed { .. }]), "{told:?}");
    }

    #[test]
    fn recordings_leave_some_of_the_disk_to_others() {
        let (mut writer, mut events) = writer();
        let keys = [1, 2].map(|id| (LegId(1), RecordingId(id)));
        let (path, file) = wav("room");
        let (refused, other) = wav("no-room");
        writer.open(keys[0], file, 1, 8000);
        writer.keep_free = u64::MAX;
        writer.open(keys[1], other, 1, 8000);
        assert!(!refused.exists(), "nothing is begun");
        writer.samples(keys[0], 0, vec![1; 39_999]);
        writer.samples(keys[0], 0, vec![1; 1]);
        writer.samples(keys[0], 0, vec![1; 4000]);
        writer.finish(keys[0], 0);
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((written.len(), &written[40..44]), (44 + 2 * 40_000, &80_000_u32.to_le_bytes()[..]), "it is whole");
        writer.events.flush();
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        let failed = |event: &PoolEvent| match event {
            PoolEvent::RecordingFailed { id, error, .. } => Some((*id, error.error.kind())),
            _ => None,
        };
        let full = |id| (RecordingId(id), io::ErrorKind::StorageFull);
        assert_eq!(told.iter().filter_map(failed).collect::<Vec<_>>(), [full(2), full(1)], "{told:?}");
    }

    #[test]
    fn what_a_slow_disk_cost_at_the_end_is_silence_as_elsewhere() {
        let (mut writer, mut events) = writer();
        let (path, file) = wav("end");
        let key = (LegId(1), RecordingId(1));
        writer.open(key, file, 1, 8000);
        writer.samples(key, 800, vec![1; 4000]);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 44 + 2 * 4800, "what was recorded so far");
        writer.finish(key, 3200);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 44 + 2 * 8000);
        std::fs::remove_file(&path).unwrap();
        let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
        let Some(PoolEvent::RecordingSaved { duration, .. }) = told.last() else { panic!("{told:?}") };
        assert_eq!(*duration, Duration::from_secs(1));
    }

    #[test]
    fn a_full_queue_takes_no_samples_and_every_end() {
        let (recorder, messages) = Recorder::new();
        let key = |id| (LegId(1), RecordingId(id));
        let samples = || Message::Samples { key: key(1), missed: 0, samples: Vec::new() };
        assert_eq!((0..QUEUE + 10).filter(|_| recorder.send(samples())).count(), QUEUE);
        assert!((0..10).all(|id| recorder.send(Message::Finish { key: key(id), missed: 0 })));
        assert!(!recorder.send(samples()));
        assert_eq!(messages.try_iter().count(), QUEUE + 10, "what was refused is not there");
    }
}
