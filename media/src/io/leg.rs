//! One leg on its media thread: the stream, its sockets, and what connects the two.

use std::{collections::VecDeque, os::fd::RawFd, sync::atomic::Ordering::Relaxed, time::Instant};

use super::{
    LegId, PoolEvent,
    outbox::Outbox,
    recorder::{Message, Recorder},
    sockets::LegSockets,
    thread::Counters,
};
use crate::{
    cache::{Step, prefetch},
    playout::PlayId,
    recording::RecordingId,
    stream::{Channel, Command, DtmfMethod, Forward, MediaEvent, MediaStream, Output},
};

/// Datagrams taken from a polled socket at one tick.
const MAX_BURST: usize = 8;
/// At one tick in so many a polled socket is read until it is empty or a burst was taken, and on while it has more than one datagram a
/// tick. At the others the one that is to be expected is taken: to find out that there is no other costs as much as a packet.
const THOROUGH: u8 = 5;
/// Samples of a recording collected before they go to the writer: half a second at 8 kHz.
const BLOCK: usize = 4000;

/// What a leg needs from its thread.
pub(super) struct Surroundings<'a> {
    pub(super) outbox: &'a mut Outbox,
    pub(super) recorder: &'a Recorder,
    pub(super) counters: &'a Counters,
    /// Where packets are built.
    pub(super) scratch: &'a mut [u8],
    /// Keys for joined legs.
    pub(super) keys: &'a mut VecDeque<PressedKey>,
}

/// A key for the leg that is joined with the one on which it was pressed.
pub(super) struct PressedKey {
    pub(super) to: LegId,
    pub(super) relay: Command,
}

/// The leg that one is joined with, on the same thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) id: LegId,
    /// Its place among the thread's legs.
    pub(super) place: u32,
}

pub(super) struct LegSlot {
    pub(super) id: LegId,
    stream: MediaStream,
    pub(super) sockets: LegSockets,
    pub(super) peer: Option<Peer>,
    /// The tick this leg is in the wheel for; entries of other ticks are out of date.
    pub(super) tick: Option<u64>,
    /// Whether the RTP socket is in the epoll set, or read at the leg's own ticks.
    pub(super) watched: bool,
    /// Ticks until the polled socket is read until it is empty.
    until_thorough: u8,
    /// The playout during which no key is acted on, so that keys may be found at the tick.
    undisturbed: Option<PlayId>,
    recordings: Vec<Block>,
    pub(super) closing: bool,
}

/// Samples of one recording on their way to the writer.
struct Block {
    id: RecordingId,
    channels: u8,
    samples: Vec<i16>,
    /// Samples of each channel that were dropped before these.
    missed: u64,
    finished: bool,
}

impl LegSlot {
    pub(super) fn new(id: LegId, stream: MediaStream, sockets: LegSockets) -> Self {
        Self {
            id,
            stream,
            sockets,
            peer: None,
            tick: None,
            watched: false,
            until_thorough: 0,
            undisturbed: None,
            recordings: Vec::new(),
            closing: false,
        }
    }

    pub(super) fn descriptor(&self, channel: Channel) -> RawFd {
        self.sockets.descriptor(channel)
    }

    pub(super) fn stream(&self) -> &MediaStream {
        &self.stream
    }

    /// Has the processor fetch what a turn touches.
    pub(super) fn fetch(&self, step: Step) {
        match step {
            Step::Itself => prefetch(self),
            Step::Parts | Step::TheirParts => self.stream.fetch_parts(step),
        }
    }

    /// Whether the thread should be woken by packets of this leg. It need not while a prompt plays that no key
    /// interrupts: then packets are read at the tick that sends the next one, which saves a wake-up each.
    pub(super) fn wants_watching(&self) -> bool {
        self.undisturbed.is_none() || self.peer.is_some()
    }

    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match &command {
            Command::Play { id, playlist } if playlist.stop_on.is_empty() => self.undisturbed = Some(*id),
            Command::Play { .. } => self.undisturbed = None,
            _ => {}
        }
        self.stream.command(now, command);
    }

    pub(super) fn open_recording(&mut self, id: RecordingId, channels: u8) {
        self.recordings.push(Block { id, channels, samples: Vec::new(), missed: 0, finished: false });
    }

    pub(super) fn join(&mut self, now: Instant, peer: Peer) {
        self.peer = Some(peer);
        self.stream.command(now, Command::Join);
    }

    pub(super) fn leave(&mut self, now: Instant) {
        if self.peer.take().is_some() {
            self.stream.command(now, Command::Leave);
        }
    }

    pub(super) fn close(&mut self, now: Instant) {
        self.closing = true;
        self.stream.close(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.stream.handle_timeout(now);
    }

    /// Reads one datagram into `buffer` and gives it to the stream. What comes back is for the joined leg.
    /// `None` when nothing was waiting.
    pub(super) fn receive<'b>(
        &mut self,
        now: Instant,
        channel: Channel,
        buffer: &'b mut [u8],
        counters: &Counters,
    ) -> Option<Option<Forward<'b>>> {
        let (length, source) = self.sockets.receive(channel, buffer)?;
        counters.received.fetch_add(1, Relaxed);
        let datagram = buffer.get(..length)?;
        Some(match channel {
            Channel::Rtp => self.stream.handle_packet(now, source, datagram),
            Channel::Rtcp => {
                self.stream.handle_rtcp(now, source, datagram);
                None
            }
        })
    }

    /// Reads what came since the last tick. Only for a leg that is not joined.
    pub(super) fn receive_waiting(&mut self, now: Instant, buffer: &mut [u8], counters: &Counters) {
        let most = if self.until_thorough == 0 { MAX_BURST } else { 1 };
        let read = (0..most).take_while(|_| self.receive(now, Channel::Rtp, buffer, counters).is_some()).count();
        self.until_thorough = match self.until_thorough {
            0 if read > 1 => 0,
            0 => THOROUGH - 1,
            ticks => ticks - 1,
        };
    }

    /// Sends a packet of the joined leg.
    pub(super) fn forward(&mut self, now: Instant, packet: Forward<'_>, around: &mut Surroundings<'_>) {
        let (sockets, counters) = (&self.sockets, around.counters);
        self.stream.forward(now, packet, around.scratch, |transmit| counters.count(sockets.send(transmit)));
    }

    /// Carries out everything the stream wants now, and returns when it wants to be called again, if it does.
    pub(super) fn flush(&mut self, now: Instant, around: &mut Surroundings<'_>) -> Option<Instant> {
        let again = loop {
            match self.stream.poll_output(around.scratch) {
                Output::Transmit(transmit) => around.counters.count(self.sockets.send(transmit)),
                Output::Event(event) => {
                    match &event {
                        MediaEvent::PlayoutFinished { id, .. } if self.undisturbed == Some(*id) => self.undisturbed = None,
                        MediaEvent::RecordingFinished { id, .. } => finish_recording(&mut self.recordings, *id),
                        MediaEvent::Digit { digit, duration, method: DtmfMethod::TelephoneEvent } => {
                            let relay = |peer: Peer| PressedKey {
                                to: peer.id,
                                relay: Command::RelayKey { digit: *digit, held: *duration },
                            };
                            around.keys.extend(self.peer.map(relay));
                        }
                        _ => {}
                    }
                    around.outbox.push(PoolEvent::Media { leg: self.id, at: now, event });
                }
                Output::Recording { id, channels, samples } => {
                    collect(&mut self.recordings, self.id, id, channels, samples, around.recorder);
                }
                Output::Timeout(at) => break at,
            }
        };
        if self.closing {
            // The stream has said everything: what it did not report as finished will never be.
            self.recordings.iter_mut().for_each(|block| block.finished = true);
        }
        self.end_recordings(around.recorder);
        self.sockets.follow(self.stream.latched());
        again
    }

    /// Hands over the last block of each finished recording.
    fn end_recordings(&mut self, recorder: &Recorder) {
        let leg = self.id;
        for mut block in self.recordings.extract_if(.., |block| block.finished) {
            block.hand_over(leg, recorder);
            recorder.send(Message::Finish { key: (leg, block.id), missed: block.missed });
        }
    }
}

impl Block {
    fn hand_over(&mut self, leg: LegId, recorder: &Recorder) {
        if self.samples.is_empty() {
            return;
        }
        let samples = std::mem::take(&mut self.samples);
        let count = (samples.len() / usize::from(self.channels.max(1))) as u64;
        let message = Message::Samples { key: (leg, self.id), missed: self.missed, samples };
        if recorder.send(message) {
            self.missed = 0;
        } else {
            self.missed += count;
            recorder.count_dropped();
        }
    }
}

fn collect(recordings: &mut [Block], leg: LegId, id: RecordingId, channels: u8, mut samples: &[i16], recorder: &Recorder) {
    let Some(block) = recordings.iter_mut().find(|block| block.id == id && !block.finished) else { return };
    block.channels = channels;
    while !samples.is_empty() {
        if block.samples.capacity() == 0 {
            block.samples = recorder.block(BLOCK);
        }
        // A whole number of frames: the channels of a block must not be torn apart.
        let room = (BLOCK - block.samples.len().min(BLOCK)) / usize::from(channels.max(1)) * usize::from(channels.max(1));
        let (now, later) = samples.split_at(room.min(samples.len()));
        block.samples.extend_from_slice(now);
        samples = later;
        if !samples.is_empty() || block.samples.len() >= BLOCK {
            block.hand_over(leg, recorder);
        }
    }
}

fn finish_recording(recordings: &mut [Block], id: RecordingId) {
    if let Some(block) = recordings.iter_mut().find(|block| block.id == id) {
        block.finished = true;
    }
}
