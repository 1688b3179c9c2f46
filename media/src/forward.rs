//! Splicing another leg's packets into our stream: whatever its SSRC, sequence and timestamps, the receiver of ours sees
//! one stream that never breaks.
//!
//! ```text
//!   other leg   seq 7000 7001 ── 7003 (7002 lost)          ts 90000 90160 ── 90480
//!   ours        seq   51   52 ──   54 (53 lost as well)    ts  8160  8320 ──  8640
//!               └ the splice: 7000 → 51, the next one; 90000 → where the wall clock is
//! ```
//!
//! Loss and reordering pass through as they are, for the receiver's jitter buffer to deal with. Packets of before the
//! splice are dropped: their numbers belong to what was sent before it.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::rtp::{RtpTimestamp, SequenceNumber, Ssrc};
use crate::sender::RtpSender;
use crate::stream::Forward;
use crate::telephone_event::TelephoneEvent;

/// A timestamp that leads further away from the wall clock than this has leapt.
const LEAP: Duration = Duration::from_secs(1);

/// Where another leg's stream joins ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splice {
    ssrc: Ssrc,
    generation: u32,
    first_sequence: u64,
    our_first: SequenceNumber,
    timestamp: RtpTimestamp,
    position: u64,
}

/// Where a press of another leg lies on our clock. All of its telephone events carry one timestamp, whatever audio comes
/// between them and however far from it they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Press {
    ssrc: Ssrc,
    generation: u32,
    timestamp: RtpTimestamp,
    position: u64,
    event: u8,
    is_ended: bool,
}

impl Splice {
    /// Joins with `packet` as the next one of ours.
    pub(crate) fn new(now: Instant, packet: &Forward<'_>, sender: &mut RtpSender) -> Self {
        sender.catch_up(now);
        Splice {
            ssrc: packet.ssrc,
            generation: packet.generation,
            first_sequence: packet.sequence,
            our_first: sender.next_sequence(),
            timestamp: packet.timestamp,
            position: sender.next_position(),
        }
    }

    /// Goes on behind `packet`, which is not sent, with what is next on our clock.
    pub(crate) fn leave_out(&mut self, now: Instant, packet: &Forward<'_>, sender: &RtpSender) {
        self.renumber(packet, sender);
        self.timestamp = packet.timestamp.plus(packet.payload.len() as u32);
        self.position = sender.next_position().max(sender.position_at(now));
    }

    /// Whether `packet` belongs to the stream that was spliced in.
    pub(crate) fn covers(&self, packet: &Forward<'_>) -> bool {
        self.ssrc == packet.ssrc && self.generation == packet.generation
    }

    /// The packet's place in our sequence; `None` when it is older than the splice.
    pub(crate) fn sequence(&self, packet: &Forward<'_>) -> Option<SequenceNumber> {
        let offset = packet.sequence.checked_sub(self.first_sequence)?;
        Some(self.our_first.plus(offset as u16))
    }

    /// The packet's place on our clock; `None` when it lies before the beginning of our stream.
    pub(crate) fn position(&self, packet: &Forward<'_>) -> Option<u64> {
        self.position.checked_add_signed(i64::from(packet.timestamp.distance(self.timestamp)))
    }

    /// Whether all of what lies at `positions` has lost touch with the wall clock.
    pub(crate) fn has_leapt(now: Instant, positions: RangeInclusive<u64>, clock_rate: u32, sender: &RtpSender) -> bool {
        let clock = sender.position_at(now);
        let nearest = clock.clamp(*positions.start(), *positions.end());
        nearest.abs_diff(clock) > LEAP.as_secs() * u64::from(clock_rate)
    }

    /// Whether a packet that follows `packet` has been sent already, or it is older than the splice.
    pub(crate) fn is_late(&self, packet: &Forward<'_>, sender: &RtpSender) -> bool {
        self.sequence(packet).is_none_or(|sequence| sequence.distance(sender.next_sequence()) < 0)
    }

    /// Measures the next packets from this one, so that distances stay small.
    pub(crate) fn follow(&mut self, packet: &Forward<'_>, position: u64) {
        if position > self.position {
            self.position = position;
            self.timestamp = packet.timestamp;
        }
    }

    /// Continues the sequence after a packet that was sent as several, or not at all.
    pub(crate) fn renumber(&mut self, packet: &Forward<'_>, sender: &RtpSender) {
        self.first_sequence = packet.sequence + 1;
        self.our_first = sender.next_sequence();
    }
}

impl Press {
    /// The press that `packet` with `event` tells of, at `position`.
    pub(crate) fn new(packet: &Forward<'_>, event: TelephoneEvent, position: u64) -> Self {
        Press {
            ssrc: packet.ssrc,
            generation: packet.generation,
            timestamp: packet.timestamp,
            position,
            event: event.event,
            is_ended: event.end,
        }
    }

    /// Where the whole press lies, if `packet` belongs to it. A sender may forget to move the timestamp for the next one.
    pub(crate) fn holds(&mut self, packet: &Forward<'_>, event: TelephoneEvent, is_late: bool) -> Option<u64> {
        let is_same = self.covers(packet) && self.timestamp == packet.timestamp && self.event == event.event;
        let is_another = self.is_ended && !event.end && !is_late;
        if !is_same || is_another {
            return None;
        }
        self.is_ended |= event.end;
        Some(self.position)
    }

    /// Where `packet` lies as measured from this press.
    pub(crate) fn position(&self, packet: &Forward<'_>) -> Option<u64> {
        let distance = i64::from(packet.timestamp.distance(self.timestamp));
        self.position.checked_add_signed(distance).filter(|_| self.covers(packet))
    }

    fn covers(&self, packet: &Forward<'_>) -> bool {
        self.ssrc == packet.ssrc && self.generation == packet.generation
    }
}
