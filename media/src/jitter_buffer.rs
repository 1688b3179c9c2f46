//! A reorder ring for whatever decodes: packets go in as they arrive and come out in sequence.
//!
//! A packet in sequence comes out at once. When one is missing, those after it wait for it, but never longer than the
//! hold time, which grows when packets are given up too early and shrinks while nothing is missing.
//!
//! ```text
//!   in    1  2     4  3     6  7            8
//!   out   1  2        3,4         6,7       8
//!                     └ 3 came within hold  └ 5 did not: 1 missing before 6
//! ```

use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::rtp::RtpTimestamp;

/// Packets that can wait; 640 ms at 20 ms a packet.
const SLOTS: usize = 32;
const SHORTEST_HOLD: Duration = Duration::from_millis(40);
const LONGEST_HOLD: Duration = Duration::from_millis(160);
const HOLD_STEP: Duration = Duration::from_millis(20);
/// Packets in sequence after which the hold time shrinks by a step: 10 s at 20 ms a packet.
const CALM: u32 = 500;

/// A packet in its turn.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What its payload is encoded with.
    pub codec: Codec,
    /// Its timestamp.
    pub timestamp: RtpTimestamp,
    /// Packets given up before it.
    pub missing: u64,
    /// Its payload.
    pub payload: &'a [u8],
}

/// What became of a packet that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// It waits for its turn.
    Stored,
    /// Its turn had passed.
    Late,
    /// It is here already.
    Duplicate,
}

/// The ring. Storage is reused: nothing is allocated once every slot has held a packet.
#[derive(Debug)]
pub struct JitterBuffer {
    slots: Box<[Slot]>,
    /// The extended sequence number whose turn it is; `None` before the first packet.
    next: Option<u64>,
    stored: usize,
    hold: Duration,
    calm: u32,
}

#[derive(Debug, Default)]
struct Slot {
    /// `None` while the slot is free.
    packet: Option<Waiting>,
    payload: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    sequence: u64,
    codec: Codec,
    timestamp: RtpTimestamp,
    arrived: Instant,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        let slots = std::iter::repeat_with(Slot::default).take(SLOTS).collect();
        JitterBuffer { slots, next: None, stored: 0, hold: SHORTEST_HOLD, calm: 0 }
    }
}

impl JitterBuffer {
    /// Forgets everything: the sequence starts anew.
    pub fn reset(&mut self) {
        for slot in &mut self.slots {
            slot.packet = None;
        }
        self.next = None;
        self.stored = 0;
    }

    /// How long a gap is waited for.
    pub fn hold(&self) -> Duration {
        self.hold
    }

    /// Puts a packet in. `sequence` is extended by its wraps, so that it only grows.
    pub fn insert(&mut self, now: Instant, sequence: u64, codec: Codec, timestamp: RtpTimestamp, payload: &[u8]) -> Insertion {
        let next = *self.next.get_or_insert(sequence);
        if sequence < next {
            // It was given up: next time wait longer. A repeated packet looks the same and does little harm.
            self.hold = (self.hold + HOLD_STEP).min(LONGEST_HOLD);
            self.calm = 0;
            return Insertion::Late;
        }
        if sequence >= next + SLOTS as u64 {
            self.make_room_for(sequence);
        }
        let Some(slot) = self.slots.get_mut((sequence % SLOTS as u64) as usize) else {
            return Insertion::Late;
        };
        if slot.packet.is_some() {
            return Insertion::Duplicate;
        }
        slot.packet = Some(Waiting { sequence, codec, timestamp, arrived: now });
        slot.payload.clear();
        slot.payload.extend_from_slice(payload);
        self.stored += 1;
        Insertion::Stored
    }

    /// The next packet whose turn has come.
    pub fn pop(&mut self, now: Instant) -> Option<Frame<'_>> {
        let next = self.next?;
        let due = self.first_waiting().filter(|first| first.sequence == next || first.arrived + self.hold <= now)?;
        let missing = due.sequence - next;
        self.next = Some(due.sequence + 1);
        self.stored -= 1;
        self.settle(missing);
        let slot = self.slots.get_mut((due.sequence % SLOTS as u64) as usize)?;
        slot.packet = None;
        Some(Frame { codec: due.codec, timestamp: due.timestamp, missing, payload: &slot.payload })
    }

    /// When a gap will have been waited for long enough.
    pub fn deadline(&self) -> Option<Instant> {
        self.first_waiting().map(|first| first.arrived + self.hold)
    }

    fn first_waiting(&self) -> Option<Waiting> {
        if self.stored == 0 {
            return None;
        }
        let next = self.next?;
        (next..next + SLOTS as u64)
            .find_map(|sequence| self.slots.get((sequence % SLOTS as u64) as usize).and_then(|slot| slot.packet))
    }

    /// Drops what is older than a ring's length before `sequence`.
    fn make_room_for(&mut self, sequence: u64) {
        let oldest = sequence - (SLOTS as u64 - 1);
        for slot in &mut self.slots {
            if slot.packet.is_some_and(|packet| packet.sequence < oldest) {
                slot.packet = None;
                self.stored -= 1;
            }
        }
        self.next = Some(oldest);
    }

    fn settle(&mut self, missing: u64) {
        self.calm = if missing == 0 { self.calm + 1 } else { 0 };
        if self.calm >= CALM {
            self.calm = 0;
            self.hold = self.hold.saturating_sub(HOLD_STEP).max(SHORTEST_HOLD);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Line {
        now: Instant,
        buffer: JitterBuffer,
    }

    impl Line {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
        fn new() -> Self {
            Line { now: Instant::now(), buffer: JitterBuffer::default() }
        }

        fn insert(&mut self, sequence: u64) -> Insertion {
            let timestamp = RtpTimestamp(sequence as u32 * 160);
            self.buffer.insert(self.now, sequence, Codec::Pcmu, timestamp, &sequence.to_be_bytes())
        }

        /// What comes out now: sequence and packets missing before it.
        fn drain(&mut self) -> Vec<(u64, u64)> {
            let mut out = Vec::new();
            while let Some(frame) = self.buffer.pop(self.now) {
                let sequence = u64::from_be_bytes(frame.payload.try_into().unwrap());
                assert_eq!(frame.timestamp, RtpTimestamp(sequence as u32 * 160));
                out.push((sequence, frame.missing));
            }
            out
        }
    }

    #[test]
    fn packets_in_sequence_come_out_at_once() {
        let mut line = Line::new();
        for sequence in 1000..1100 {
            assert_eq!(line.insert(sequence), Insertion::Stored);
            assert_eq!(line.drain(), [(sequence, 0)]);
        }
        assert_eq!(line.buffer.deadline(), None);
    }

    #[test]
    fn a_gap_is_waited_for_and_closed() {
        let mut line = Line::new();
        line.insert(10);
        line.insert(12);
        assert_eq!(line.drain(), [(10, 0)]);
        line.now += Duration::from_millis(20);
        line.insert(11);
        assert_eq!(line.drain(), [(11, 0), (12, 0)]);
    }

    #[test]
    fn a_gap_is_given_up_after_the_hold_time() {
        let mut line = Line::new();
        line.insert(10);
        line.drain();
        line.insert(13);
        let deadline = line.buffer.deadline().unwrap();
        assert_eq!(deadline, line.now + SHORTEST_HOLD);
        line.now = deadline - Duration::from_millis(1);
        assert_eq!(line.drain(), []);
        line.now = deadline;
        assert_eq!(line.drain(), [(13, 2)]);
        assert_eq!(line.insert(11), Insertion::Late);
        assert_eq!(line.buffer.hold(), SHORTEST_HOLD + HOLD_STEP);
    }

    #[test]
    fn the_hold_time_shrinks_on_a_calm_line() {
        let mut line = Line::new();
        line.insert(10);
        line.drain();
        line.insert(9);
        assert_eq!(line.buffer.hold(), SHORTEST_HOLD + HOLD_STEP);
        for sequence in 11..11 + u64::from(CALM) {
            line.insert(sequence);
            line.drain();
        }
        assert_eq!(line.buffer.hold(), SHORTEST_HOLD);
    }

    #[test]
    fn a_packet_comes_out_once_however_often_it_arrives() {
        let mut line = Line::new();
        line.insert(10);
        line.drain();
        line.insert(12);
        assert_eq!(line.insert(12), Insertion::Duplicate);
        line.insert(11);
        assert_eq!(line.drain(), [(11, 0), (12, 0)]);
        assert_eq!(line.insert(12), Insertion::Late);
        assert_eq!(line.drain(), []);
    }

    #[test]
    fn a_leap_beyond_the_ring_drops_what_is_older_than_the_ring() {
        let mut line = Line::new();
        line.insert(10);
        line.drain();
        line.insert(12);
        line.insert(2000);
        line.now += LONGEST_HOLD;
        assert_eq!(line.drain(), [(2000, 31)]);
    }

    #[test]
    fn after_a_reset_any_sequence_is_the_first() {
        let mut line = Line::new();
        line.insert(1000);
        line.insert(1002);
        line.buffer.reset();
        assert_eq!(line.buffer.deadline(), None);
        line.insert(5);
        assert_eq!(line.drain(), [(5, 0)]);
    }

    proptest! {
        #[test]
        fn whatever_the_network_does_packets_come_out_in_sequence_and_once(
            arrivals in prop::collection::vec((0u64..200, 0u64..30), 1..300),
        ) {
            let mut line = Line::new();
            let mut out = Vec::new();
            for (sequence, wait) in arrivals {
                line.now += Duration::from_millis(wait);
                line.insert(sequence);
                out.extend(line.drain());
            }
            line.now += LONGEST_HOLD;
            out.extend(line.drain());
            prop_assert_eq!(line.buffer.deadline(), None);
            for pair in out.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0, "{:?}", pair);
            }
        }
    }
}
