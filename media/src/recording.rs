//! Recording both directions of a leg as PCM, aligned by time.
//!
//! Two rings, one per direction, hold the last second. A packet is written where its timestamp says, so that order and
//! jitter do not matter; what nobody wrote is silence. Everything older than `HOLD` is handed out in chunks.
//!
//! ```text
//!   position   …delivered │ ready: the next chunk │ HOLD: late packets still find their place │ now │ ahead
//! ```

use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::rtp::RtpTimestamp;

/// Names one recording, chosen by whoever starts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordingId(pub u64);

/// Which direction of the leg is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecordingDirection {
    /// What the other side said and what it heard.
    #[default]
    Both,
    /// What the other side said.
    Received,
    /// What the other side heard.
    Sent,
}

/// What to record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordingOptions {
    /// Two channels, received left and sent right; otherwise both are mixed into one.
    pub stereo: bool,
    /// Which direction; the other one stays silent.
    pub direction: RecordingDirection,
}

/// What a recording works with, in Hz.
const SAMPLE_RATE: u64 = 8000;
/// Samples of a ring: more than a second.
const RING: usize = 8192;
/// Samples that late packets have time for: 240 ms.
const HOLD: u64 = 1920;
/// Samples of a chunk: 160 ms.
const CHUNK: u64 = 1280;
/// A packet further ahead of the clock than this belongs to another timeline: 240 ms.
const AHEAD: u64 = 1920;
/// Packets in a row off the timeline before it is set anew.
const STRAYS: u8 = 3;

/// One running recording.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) id: RecordingId,
    options: RecordingOptions,
    /// The moment of position 0, moved by pauses.
    started: Instant,
    paused: Option<Instant>,
    stopped_at: Option<u64>,
    delivered: u64,
    received: Track,
    sent: Track,
    chunk: Vec<i16>,
}

#[derive(Debug)]
struct Track {
    ring: Box<[i16]>,
    anchor: Option<Anchor>,
    strays: u8,
}

/// Ties a timeline of RTP to positions.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    generation: u32,
    timestamp: RtpTimestamp,
    position: u64,
}

/// Audio of one packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audio<'a> {
    pub(crate) codec: Codec,
    /// Changes when timestamps start anew.
    pub(crate) generation: u32,
    pub(crate) timestamp: RtpTimestamp,
    pub(crate) payload: &'a [u8],
}

impl Recorder {
    pub(crate) fn new(now: Instant, id: RecordingId, options: RecordingOptions) -> Self {
        Recorder {
            id,
            options,
            started: now,
            paused: None,
            stopped_at: None,
            delivered: 0,
            received: Track::default(),
            sent: Track::default(),
            chunk: Vec::new(),
        }
    }

    pub(crate) fn write_received(&mut self, now: Instant, audio: Audio<'_>) {
        if self.is_running() && self.options.direction != RecordingDirection::Sent {
            let position = self.position(now);
            self.received.write(self.delivered, position, audio);
        }
    }

    pub(crate) fn write_sent(&mut self, now: Instant, audio: Audio<'_>) {
        if self.is_running() && self.options.direction != RecordingDirection::Received {
            let position = self.position(now);
            self.sent.write(self.delivered, position, audio);
        }
    }

    pub(crate) fn pause(&mut self, now: Instant) {
        self.paused.get_or_insert(now);
    }

    pub(crate) fn resume(&mut self, now: Instant) {
        if let Some(paused) = self.paused.take() {
            self.started += now.saturating_duration_since(paused);
            self.received.anchor = None;
            self.sent.anchor = None;
        }
    }

    pub(crate) fn stop(&mut self, now: Instant) {
        let position = self.position(now);
        self.stopped_at.get_or_insert(position);
    }

    /// Whether everything has been handed out.
    pub(crate) fn is_finished(&self) -> bool {
        self.stopped_at.is_some_and(|end| self.delivered >= end)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_micros(self.delivered * 1_000_000 / SAMPLE_RATE)
    }

    pub(crate) fn channels(&self) -> u8 {
        if self.options.stereo { 2 } else { 1 }
    }

    /// Prepares the next chunk, if there is one.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        let count = match self.stopped_at {
            Some(end) => end.saturating_sub(self.delivered).min(CHUNK),
            None if self.position(now) >= self.delivered + CHUNK + HOLD => CHUNK,
            None => 0,
        };
        self.chunk.clear();
        for position in self.delivered..self.delivered + count {
            let (left, right) = (self.received.take(position), self.sent.take(position));
            if self.options.stereo {
                self.chunk.extend([left, right]);
            } else {
                self.chunk.push(left.saturating_add(right));
            }
        }
        self.delivered += count;
        count > 0
    }

    /// What [`Self::poll`] prepared.
    pub(crate) fn chunk(&self) -> &[i16] {
        &self.chunk
    }

    /// When the next chunk is ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.is_running() {
            return None;
        }
        let samples = self.delivered + CHUNK + HOLD;
        Some(self.started + Duration::from_micros(samples * 1_000_000 / SAMPLE_RATE))
    }

    fn is_running(&self) -> bool {
        self.paused.is_none() && self.stopped_at.is_none()
    }

    fn position(&self, now: Instant) -> u64 {
        let elapsed = self.paused.unwrap_or(now).saturating_duration_since(self.started);
        (elapsed.as_micros() * u128::from(SAMPLE_RATE) / 1_000_000) as u64
    }
}

impl Default for Track {
    fn default() -> Self {
        Track { ring: vec![0; RING].into_boxed_slice(), anchor: None, strays: 0 }
    }
}

impl Track {
    fn write(&mut self, delivered: u64, clock: u64, audio: Audio<'_>) {
        let Some(position) = self.place(delivered, clock, audio) else { return };
        for (position, &octet) in (position..).zip(audio.payload) {
            if (delivered..delivered + RING as u64).contains(&position)
                && let Some(sample) = self.ring.get_mut((position % RING as u64) as usize)
            {
                *sample = audio.codec.decode_sample(octet);
            }
        }
    }

    /// Where a packet belongs; `None` when it is off the timeline, as single packets may be.
    fn place(&mut self, delivered: u64, clock: u64, audio: Audio<'_>) -> Option<u64> {
        let anchor = match self.anchor {
            Some(anchor) if anchor.generation == audio.generation => anchor,
            _ => Anchor { generation: audio.generation, timestamp: audio.timestamp, position: clock },
        };
        let moved = audio.timestamp.distance(anchor.timestamp);
        let on_time = anchor
            .position
            .checked_add_signed(i64::from(moved))
            .filter(|position| (delivered..=clock + AHEAD).contains(position));
        let position = match on_time {
            Some(position) => position,
            None => {
                self.strays += 1;
                if self.strays < STRAYS {
                    return None;
                }
                clock
            }
        };
        self.strays = 0;
        // Anchored to each packet anew, so that the distance never comes near half the range of timestamps.
        self.anchor = Some(Anchor { generation: audio.generation, timestamp: audio.timestamp, position });
        Some(position)
    }

    /// Reads a sample and leaves silence behind.
    fn take(&mut self, position: u64) -> i16 {
        self.ring.get_mut((position % RING as u64) as usize).map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOUD: u8 = 0x80;
    const LEVEL: i16 = 32124;

    struct Tape {
        start: Instant,
        recorder: Recorder,
        samples: Vec<i16>,
    }

    impl Tape {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
        fn new(stereo: bool, direction: RecordingDirection) -> Self {
            let start = Instant::now();
            let recorder = Recorder::new(start, RecordingId(1), RecordingOptions { stereo, direction });
            Tape { start, recorder, samples: Vec::new() }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + Duration::from_millis(milliseconds)
        }

        fn received(&mut self, at: u64, timestamp: u32) {
            self.drain(at);
            let payload = [LOUD; 160];
            let audio = Audio { codec: Codec::Pcmu, generation: 0, timestamp: RtpTimestamp(timestamp), payload: &payload };
            self.recorder.write_received(self.at(at), audio);
        }

        fn sent(&mut self, at: u64, timestamp: u32) {
            self.drain(at);
            let payload = [0; 160];
            let audio = Audio { codec: Codec::Pcmu, generation: 0, timestamp: RtpTimestamp(timestamp), payload: &payload };
            self.recorder.write_sent(self.at(at), audio);
        }

        fn drain(&mut self, at: u64) {
            while self.recorder.poll(self.at(at)) {
                self.samples.extend_from_slice(self.recorder.chunk());
            }
        }

        fn finish(mut self, at: u64) -> Vec<i16> {
            self.recorder.stop(self.at(at));
            self.drain(at);
            assert!(self.recorder.is_finished());
            self.samples
        }
    }

    /// Lengths of alternating stretches of silence and sound, in milliseconds.
    fn stretches(samples: &[i16]) -> Vec<(bool, usize)> {
        let mut out: Vec<(bool, usize)> = Vec::new();
        for &sample in samples {
            match out.last_mut() {
                Some((loud, count)) if *loud == (sample != 0) => *count += 1,
                _ => out.push((sample != 0, 1)),
            }
        }
        out.into_iter().map(|(loud, count)| (loud, count / 8)).collect()
    }

    #[test]
    fn silence_between_packets_is_filled_by_time() {
        let mut tape = Tape::new(false, RecordingDirection::Both);
        tape.received(500, 1000);
        tape.received(520, 1160);
        tape.received(2040, 1000 + 160 * 77);
        assert_eq!(stretches(&tape.finish(3000)), [(false, 500), (true, 40), (false, 1500), (true, 20), (false, 940)]);
    }

    #[test]
    fn jitter_and_order_leave_no_trace() {
        let mut tape = Tape::new(false, RecordingDirection::Both);
        for (at, packet) in [(100, 0), (150, 2), (151, 1), (152, 3), (180, 4), (290, 6), (291, 5), (292, 7)] {
            tape.received(at, packet * 160);
        }
        assert_eq!(stretches(&tape.finish(600)), [(false, 100), (true, 160), (false, 340)]);
    }

    #[test]
    fn stereo_keeps_both_directions_apart_and_aligned() {
        let mut tape = Tape::new(true, RecordingDirection::Both);
        tape.received(100, 0);
        tape.sent(110, 77);
        let samples = tape.finish(200);
        assert_eq!(samples.len(), 3200);
        let (left, right): (Vec<i16>, Vec<i16>) = samples.as_chunks::<2>().0.iter().map(|&[left, right]| (left, right)).unzip();
        assert_eq!(stretches(&left), [(false, 100), (true, 20), (false, 80)]);
        assert_eq!(stretches(&right), [(false, 110), (true, 20), (false, 70)]);
        assert_eq!((left[800], right[880]), (LEVEL, -LEVEL));
    }

    #[test]
    fn mono_mixes_and_one_direction_leaves_the_other_out() {
        let mut mixed = Tape::new(false, RecordingDirection::Both);
        mixed.received(0, 0);
        mixed.sent(0, 0);
        assert_eq!(stretches(&mixed.finish(20)), [(false, 20)], "opposite levels cancel out");
        let mut one = Tape::new(false, RecordingDirection::Received);
        one.received(0, 0);
        one.sent(0, 0);
        assert_eq!(stretches(&one.finish(20)), [(true, 20)]);
    }

    #[test]
    fn a_pause_is_left_out() {
        let mut tape = Tape::new(false, RecordingDirection::Both);
        tape.received(0, 0);
        tape.recorder.pause(tape.at(20));
        tape.received(500, 4000);
        assert_eq!(tape.recorder.deadline(), None);
        tape.recorder.resume(tape.at(1020));
        tape.received(1040, 8320);
        assert_eq!(stretches(&tape.finish(1060)), [(true, 20), (false, 20), (true, 20)]);
    }

    #[test]
    fn a_timeline_that_leaps_is_followed_after_a_few_packets() {
        let mut tape = Tape::new(false, RecordingDirection::Both);
        for packet in 0..5 {
            tape.received(u64::from(packet) * 20, packet * 160);
        }
        for packet in 5..10 {
            tape.received(u64::from(packet) * 20, 0x4000_0000 + packet * 160);
        }
        assert_eq!(stretches(&tape.finish(200)), [(true, 100), (false, 40), (true, 60)]);
    }

    #[test]
    fn the_length_is_the_time_it_ran() {
        let mut tape = Tape::new(false, RecordingDirection::Both);
        tape.recorder.stop(tape.at(12_345));
        tape.drain(99_999);
        assert_eq!(tape.recorder.duration(), Duration::from_millis(12_345));
        assert_eq!(tape.samples.len(), 12_345 * 8);
    }

    #[test]
    fn chunks_come_while_it_runs() {
        let mut tape = Tape::new(false, RecordingDirection::Both);
        let deadline = tape.recorder.deadline().unwrap();
        assert!(!tape.recorder.poll(deadline - Duration::from_millis(1)));
        assert!(tape.recorder.poll(deadline));
        assert_eq!(tape.recorder.chunk().len() as u64, CHUNK);
    }
}
