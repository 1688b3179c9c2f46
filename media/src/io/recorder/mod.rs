//! Recordings on disk: one thread writes them all, so that no disk ever holds up a media thread.

mod ogg_opus;
mod wav;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, BufWriter},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use self::{ogg_opus::OggOpusWriter, wav::WavWriter};
use super::{LegId, PoolEvent, outbox::Outbox};
use crate::recording::RecordingId;

/// Blocks that may wait for the disk: at half a second a block, minutes of all recordings together.
const QUEUE: usize = 4096;
/// Blocks kept for reuse.
const SPARE_BLOCKS: usize = 1024;
/// How soon an event that the core had no room for is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Where a recording goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    /// Created or overwritten; its folder must exist.
    pub path: PathBuf,
    /// How it is written.
    pub format: RecordingFormat,
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
    Finish {
        key: Key,
    },
    Stop,
}

/// The writer thread, and the way to it.
pub(super) struct RecorderThread {
    recorder: Recorder,
    handle: Option<JoinHandle<()>>,
}

impl RecorderThread {
    pub(super) fn start(events: Outbox) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let spare = Arc::new(Mutex::new(Vec::new()));
        let writer = Writer { events, spare: Arc::clone(&spare), open: BTreeMap::new() };
        let handle = thread::Builder::new().name("recorder".into()).spawn(move || writer.run(&messages))?;
        Ok(Self { recorder: Recorder { queue, spare, blocks_dropped: Arc::default() }, handle: Some(handle) })
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
    queue: SyncSender<Message>,
    spare: Arc<Mutex<Vec<Vec<i16>>>>,
    pub(super) blocks_dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Queues a message, never blocks. A full queue gives it back.
    pub(super) fn send(&self, message: Message) -> Result<(), Message> {
        self.queue.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
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
    spare: Arc<Mutex<Vec<Vec<i16>>>>,
    open: BTreeMap<Key, Open>,
}

struct Open {
    path: PathBuf,
    channels: u8,
    rate: u32,
    /// Samples of one channel.
    length: u64,
    sink: Sink,
}

enum Sink {
    Wav(WavWriter<BufWriter<File>>),
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
            match message {
                Ok(Message::Open { key, file, channels, rate }) => self.open(key, file, channels, rate),
                Ok(Message::Samples { key, missed, samples }) => self.samples(key, missed, samples),
                Ok(Message::Finish { key }) => self.finish(key),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The engine is going down: what was recorded so far becomes a whole file.
        for key in self.open.keys().copied().collect::<Vec<_>>() {
            self.finish(key);
        }
    }

    fn open(&mut self, key: Key, file: RecordingFile, channels: u8, rate: u32) {
        let RecordingFile { path, format } = file;
        let sink = OpenOptions::new().write(true).create(true).truncate(true).open(&path).and_then(|file| {
            let file = BufWriter::new(file);
            Ok(match format {
                RecordingFormat::Wav => Sink::Wav(WavWriter::new(file, channels, rate)?),
                RecordingFormat::Ogg => Sink::Ogg(Box::new(OggOpusWriter::new(file, channels, rate, serial(key))?)),
            })
        });
        match sink {
            Ok(sink) => {
                self.open.insert(key, Open { path, channels, rate, length: 0, sink });
                self.events.push(PoolEvent::RecordingStarted { leg: key.0, id: key.1 });
            }
            Err(error) => self.fail(key, path, error),
        }
    }

    fn samples(&mut self, key: Key, missed: u64, mut samples: Vec<i16>) {
        // A recording that failed still receives blocks until the engine stops it.
        if let Some(open) = self.open.get_mut(&key)
            && let Err(error) = open.write(missed, &samples)
        {
            let path = std::mem::take(&mut open.path);
            self.open.remove(&key);
            self.fail(key, path, error);
        }
        samples.clear();
        if let Ok(mut spare) = self.spare.lock()
            && spare.len() < SPARE_BLOCKS
        {
            spare.push(samples);
        }
    }

    fn finish(&mut self, key: Key) {
        let Some(open) = self.open.remove(&key) else { return };
        let duration = Duration::from_micros(open.length * 1_000_000 / u64::from(open.rate.max(1)));
        let written = match open.sink {
            Sink::Wav(writer) => writer.finish(),
            Sink::Ogg(writer) => writer.finish(),
        };
        match written {
            Ok(()) => {
                self.events.push(PoolEvent::RecordingSaved { leg: key.0, id: key.1, path: open.path, duration });
            }
            Err(error) => self.fail(key, open.path, error),
        }
    }

    fn fail(&mut self, key: Key, path: PathBuf, error: io::Error) {
        tracing::warn!(path = %path.display(), %error, "recording failed");
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
}

impl Sink {
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
