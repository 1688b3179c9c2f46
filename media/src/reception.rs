//! What was received from one source: sequence, loss and jitter as RFC 3550 appendices A.1, A.3 and A.8 count them.

use std::time::{Duration, Instant};

use crate::rtp::{RtpTimestamp, SequenceNumber, Ssrc};

/// A forward leap of this many packets is a sender that started anew (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;
/// A packet this far behind is still a reordered one (RFC 3550 appendix A.1, MAX_MISORDER).
const MAX_MISORDER: u16 = 100;
/// What comes this long after the packet before it was not overtaken by that on the way.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// What a packet's sequence number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The highest so far.
    Newest,
    /// Behind one that came earlier, or a repetition.
    Reordered,
    /// The sender started anew: what was known about sequence and timestamp is void.
    Restarted,
    /// A leap that one packet alone does not prove.
    Implausible,
}

/// Statistics of one source.
#[derive(Debug, Clone)]
pub(crate) struct Reception {
    clock_rate: u32,
    /// Extended by its wraps; starts at 65536 so that packets reordered before the first have a number.
    base: u64,
    highest: u64,
    /// The sequence number that would confirm a leap.
    after_leap: Option<SequenceNumber>,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Arrival time less timestamp of the last packet, in ticks.
    transit: Option<u32>,
    /// Sixteen times the jitter in ticks, as in RFC 3550 appendix A.8.
    jitter: u32,
}

/// The figures of a report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceptionReport {
    /// Of the packets expected since the last report, in 1/256.
    pub(crate) fraction_lost: u8,
    /// Since the beginning, 24 bits.
    pub(crate) cumulative_lost: i32,
    pub(crate) highest_sequence: u32,
    pub(crate) jitter: u32,
}

impl Reception {
    pub(crate) fn new(first: SequenceNumber, clock_rate: u32) -> Self {
        let base = (1 << 16) | u64::from(first.0);
        Reception {
            clock_rate: clock_rate.max(1),
            base,
            highest: base - 1,
            after_leap: None,
            received: 0,
            expected_before: 0,
            received_before: 0,
            transit: None,
            jitter: 0,
        }
    }

    /// Whether a packet of this number would be the newest, without a leap.
    pub(crate) fn is_followed_by(&self, sequence: SequenceNumber) -> bool {
        (1..MAX_DROPOUT).contains(&sequence.0.wrapping_sub(self.highest as u16))
    }

    /// Counts a packet, which may come after a [`PAUSE`], and returns its extended sequence number with what it means.
    pub(crate) fn count(&mut self, sequence: SequenceNumber, after_pause: bool) -> (u64, Arrival) {
        let ahead = sequence.0.wrapping_sub(self.highest as u16);
        if !after_pause && (ahead == 0 || ahead > u16::MAX - MAX_MISORDER) {
            self.received += 1;
            let behind = u64::from(ahead.wrapping_neg());
            return (self.highest.saturating_sub(behind), Arrival::Reordered);
        }
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.highest += u64::from(ahead);
            self.received += 1;
            self.after_leap = None;
            return (self.highest, Arrival::Newest);
        }
        if self.after_leap != Some(sequence) {
            self.after_leap = Some(sequence.plus(1));
            return (self.highest, Arrival::Implausible);
        }
        // Two in sequence: the sender has started anew without telling. Extended numbers keep growing.
        let wraps = (self.highest >> 16) + 1;
        let lost = self.lost();
        self.highest = (wraps << 16) | u64::from(sequence.0);
        self.received += 1;
        // Loss so far stays what it was; the leap itself lost nothing.
        self.base = (self.highest + 1).saturating_sub(self.received.saturating_add_signed(lost));
        self.after_leap = None;
        self.transit = None;
        (self.highest, Arrival::Restarted)
    }

    /// Takes the arrival of an audio packet into the jitter. `elapsed` is counted from any fixed moment.
    pub(crate) fn time(&mut self, elapsed: Duration, timestamp: RtpTimestamp) {
        let rate = u64::from(self.clock_rate);
        // Seconds apart from their fraction: no product needs more than 64 bits, and this runs for every packet.
        let arrival = (elapsed.as_secs() * rate + u64::from(elapsed.subsec_micros()) * rate / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp.0);
        if let Some(last) = self.transit.replace(transit) {
            let difference = (transit.wrapping_sub(last) as i32).unsigned_abs();
            // A leap of seconds is a new timeline, not jitter.
            if difference < self.clock_rate * 2 {
                self.jitter = (self.jitter + difference).saturating_sub((self.jitter + 8) >> 4);
            }
        }
    }

    pub(crate) fn expected(&self) -> u64 {
        (self.highest + 1).saturating_sub(self.base)
    }

    pub(crate) fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    pub(crate) fn jitter(&self) -> Duration {
        Duration::from_micros(u64::from(self.jitter >> 4) * 1_000_000 / u64::from(self.clock_rate))
    }

    /// The report block's figures; the next fraction counts from here.
    pub(crate) fn report(&mut self) -> ReceptionReport {
        let expected = self.expected();
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.received.saturating_sub(self.received_before);
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        ReceptionReport {
            fraction_lost: fraction_lost.min(255) as u8,
            cumulative_lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: (self.highest - (1 << 16)) as u32,
            jitter: self.jitter >> 4,
        }
    }
}

/// When the last sender report came, for the answer to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastSenderReport {
    /// Whose it was.
    pub(crate) ssrc: Ssrc,
    /// The middle 32 bits of its NTP time.
    pub(crate) ntp_middle: u32,
    pub(crate) arrived: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_all(reception: &mut Reception, sequences: impl IntoIterator<Item = u16>) -> Vec<Arrival> {
        sequences.into_iter().map(|sequence| reception.count(SequenceNumber(sequence), false).1).collect()
    }

    #[test]
    fn sequence_numbers_are_extended_over_their_wrap() {
        let mut reception = Reception::new(SequenceNumber(0xfffe), 8000);
        let extended: Vec<u64> =
            [0xfffe, 0xffff, 0, 1].into_iter().map(|sequence| reception.count(SequenceNumber(sequence), false).0).collect();
        assert_eq!(extended, [0x1_fffe, 0x1_ffff, 0x2_0000, 0x2_0001]);
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn loss_is_what_was_expected_less_what_came() {
        let mut reception = Reception::new(SequenceNumber(10), 8000);
        count_all(&mut reception, [10, 11, 14, 15]);
        assert_eq!(reception.lost(), 2);
        let report = reception.report();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (85, 2));
        assert_eq!(report.highest_sequence, 15);
        assert_eq!(count_all(&mut reception, [12]), [Arrival::Reordered]);
        assert_eq!(reception.lost(), 1);
        assert_eq!(reception.report().fraction_lost, 0);
    }

    #[test]
    fn a_packet_before_the_first_is_reordered_and_not_a_wrap() {
        let mut reception = Reception::new(SequenceNumber(3), 8000);
        count_all(&mut reception, [3]);
        assert_eq!(reception.count(SequenceNumber(0xffff), false), (0xffff, Arrival::Reordered));
    }

    #[test]
    fn a_leap_needs_two_packets_in_sequence() {
        let mut reception = Reception::new(SequenceNumber(10), 8000);
        count_all(&mut reception, [10, 11]);
        assert_eq!(count_all(&mut reception, [40_000]), [Arrival::Implausible]);
        assert_eq!(count_all(&mut reception, [12]), [Arrival::Newest]);
        assert_eq!(
            count_all(&mut reception, [50_000, 50_001, 50_002]),
            [Arrival::Implausible, Arrival::Restarted, Arrival::Newest]
        );
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn a_step_back_after_a_pause_is_a_leap() {
        let mut reception = Reception::new(SequenceNumber(10), 8000);
        count_all(&mut reception, [10, 11, 12]);
        let mut count = |sequence| reception.count(SequenceNumber(sequence), true).1;
        assert_eq!(count(12), Arrival::Implausible, "nor is it a copy");
        assert_eq!(count(13), Arrival::Newest);
        assert_eq!([count(10), count(11)], [Arrival::Implausible, Arrival::Restarted]);
        assert_eq!(reception.lost(), 0);
    }

    #[test]
    fn steady_arrivals_have_no_jitter_and_unsteady_ones_do() {
        let mut reception = Reception::new(SequenceNumber(0), 8000);
        for packet in 0..50u32 {
            reception.time(Duration::from_millis(u64::from(packet) * 20), RtpTimestamp(packet * 160));
        }
        assert_eq!(reception.jitter(), Duration::ZERO);
        for packet in 50..500u32 {
            let late = if packet % 2 == 0 { 10 } else { 0 };
            reception.time(Duration::from_millis(u64::from(packet) * 20 + late), RtpTimestamp(packet * 160));
        }
        let jitter = reception.jitter().as_millis();
        assert!((9..=10).contains(&jitter), "{jitter}");
    }

    #[test]
    fn a_leap_of_the_timestamp_is_not_jitter() {
        let mut reception = Reception::new(SequenceNumber(0), 8000);
        reception.time(Duration::ZERO, RtpTimestamp(0));
        reception.time(Duration::from_millis(20), RtpTimestamp(0x8000_0000));
        assert_eq!(reception.jitter(), Duration::ZERO);
    }
}
