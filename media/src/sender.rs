//! One continuous outgoing stream: a single SSRC, sequence numbers without gaps, timestamps that track the wall clock.
//!
//! Positions count ticks of the RTP clock since the stream began, so that nothing here has to think about wraps. The
//! timestamp on the wire is the position plus a random first value.
//!
//! ```text
//!   position     0   160   320   480                 960 …
//!   packet       s    s     s     P     P     P       s           s silence, P prompt
//!   sent at ms   0    20    40   45    65    85      110
//!                                 └ 15 ms ahead of its position; so is the rest of the prompt,
//!                                   and the silence after it falls back to its position 5 ms a packet
//! ```

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::rtp::{PayloadType, RtpHeader, RtpTimestamp, SequenceNumber, Ssrc};

/// The outgoing stream of a leg.
#[derive(Debug)]
pub(crate) struct RtpSender {
    ssrc: Ssrc,
    sequence: SequenceNumber,
    first_timestamp: RtpTimestamp,
    clock_rate: u32,
    /// The moment of position 0.
    origin: Instant,
    /// The position after the last packet, and the moment the wall clock reaches it.
    next: u64,
    due: Instant,
    packets: u64,
    octets: u64,
}

impl RtpSender {
    pub(crate) fn new(now: Instant, clock_rate: u32, rng: &mut ChaCha8Rng) -> Self {
        RtpSender {
            ssrc: Ssrc(rng.next_u32()),
            // Half the range, so that the first wrap is not among the first packets (RFC 3711 section 3.3.1).
            sequence: SequenceNumber(rng.next_u32() as u16 & 0x7fff),
            first_timestamp: RtpTimestamp(rng.next_u32()),
            clock_rate,
            origin: now,
            next: 0,
            due: now,
            packets: 0,
            octets: 0,
        }
    }

    pub(crate) fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    pub(crate) fn packets(&self) -> u64 {
        self.packets
    }

    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    /// The position after the last packet.
    pub(crate) fn next_position(&self) -> u64 {
        self.next
    }

    /// The sequence number of the next packet.
    pub(crate) fn next_sequence(&self) -> SequenceNumber {
        self.sequence
    }

    pub(crate) fn timestamp(&self, position: u64) -> RtpTimestamp {
        self.first_timestamp.plus(position as u32)
    }

    /// Where the wall clock is.
    pub(crate) fn position_at(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin);
        let rate = u64::from(self.clock_rate);
        // Seconds apart from their fraction: both products fit in 64 bits, and this runs several times a packet.
        elapsed.as_secs() * rate + u64::from(elapsed.subsec_nanos()) * rate / 1_000_000_000
    }

    /// When the wall clock reaches the next position.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The stream goes on at another position, or by another clock. Asked for far more often than it changes, and it takes
    /// divisions, so the moment is kept.
    fn settle(&mut self) {
        let rate = u64::from(self.clock_rate);
        // Rounded up, so that `position_at(due())` has reached the position.
        let fraction = (self.next % rate * 1_000_000_000).div_ceil(rate);
        self.due = self.origin + Duration::new(self.next / rate, 0) + Duration::from_nanos(fraction);
    }

    /// Leaves out time in which nothing was sent.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        self.next = self.next.max(self.position_at(now));
        self.settle();
    }

    /// Moves the clock forward so that the next position is at most `lead` ahead of it, but by `most` at most: a forwarded
    /// stream runs on the clock of whoever sent it.
    pub(crate) fn limit_lead(&mut self, now: Instant, lead: Duration, most: Duration) {
        let excess = self.due().saturating_duration_since(now).saturating_sub(lead);
        if excess > Duration::ZERO
            && let Some(origin) = self.origin.checked_sub(excess.min(most))
        {
            self.origin = origin;
            self.settle();
        }
    }

    /// Moves the clock back so that the next position is at most `lag` behind it, but by `most` at most.
    pub(crate) fn limit_lag(&mut self, now: Instant, lag: Duration, most: Duration) {
        let excess = now.saturating_duration_since(self.due()).saturating_sub(lag);
        if excess > Duration::ZERO {
            self.origin += excess.min(most);
            self.settle();
        }
    }

    /// Moves on without sending.
    pub(crate) fn skip(&mut self, ticks: u32) {
        self.next += u64::from(ticks);
        self.settle();
    }

    /// The header of the next packet at `position`, and counts it.
    pub(crate) fn header(&mut self, payload_type: PayloadType, marker: bool, position: u64, octets: usize) -> RtpHeader {
        let sequence = self.sequence;
        self.header_with(payload_type, marker, sequence, position, octets)
    }

    /// The header of a forwarded packet, whose place in the sequence the network decided.
    pub(crate) fn header_with(
        &mut self,
        payload_type: PayloadType,
        marker: bool,
        sequence: SequenceNumber,
        position: u64,
        octets: usize,
    ) -> RtpHeader {
        if sequence.distance(self.sequence) >= 0 {
            self.sequence = sequence.plus(1);
        }
        self.packets += 1;
        self.octets += octets as u64;
        RtpHeader { marker, payload_type, sequence, timestamp: self.timestamp(position), ssrc: self.ssrc }
    }

    /// The stream has reached `position`.
    pub(crate) fn advance_to(&mut self, position: u64) {
        self.next = self.next.max(position);
        self.settle();
    }

    /// Goes on with another clock rate from the position that is next.
    pub(crate) fn set_clock_rate(&mut self, now: Instant, clock_rate: u32) {
        if clock_rate != self.clock_rate {
            self.catch_up(now);
            self.first_timestamp = self.timestamp(self.next);
            self.next = 0;
            self.origin = now;
            self.clock_rate = clock_rate;
            self.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const PCMU: PayloadType = PayloadType::new(0).unwrap();

    #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
    fn sender() -> (Instant, RtpSender) {
        let now = Instant::now();
        (now, RtpSender::new(now, 8000, &mut ChaCha8Rng::seed_from_u64(7)))
    }

    #[test]
    fn positions_and_moments_lead_back_to_each_other() {
        let (now, mut sender) = sender();
        for _ in 0..1000 {
            sender.skip(77);
            assert_eq!(sender.position_at(sender.due()), sender.next_position());
        }
        assert_eq!(sender.due(), now + Duration::from_micros(77_000 * 125));
    }

    #[test]
    fn silence_is_left_out_and_the_sequence_has_no_gap() {
        let (now, mut sender) = sender();
        let first = sender.header(PCMU, true, 0, 160);
        sender.skip(160);
        sender.catch_up(now + Duration::from_secs(1));
        let second = sender.header(PCMU, true, sender.next_position(), 160);
        assert_eq!(second.sequence.distance(first.sequence), 1);
        assert_eq!(second.timestamp.distance(first.timestamp), 8000);
        assert_eq!(second.ssrc, first.ssrc);
        assert_eq!((sender.packets(), sender.octets()), (2, 320));
    }

    #[test]
    fn another_clock_rate_goes_on_from_the_same_timestamp() {
        let (now, mut sender) = sender();
        sender.skip(800);
        let before = sender.timestamp(sender.next_position());
        sender.set_clock_rate(now + Duration::from_millis(100), 48_000);
        assert_eq!(sender.timestamp(sender.next_position()), before);
        assert_eq!(sender.position_at(now + Duration::from_millis(120)), 960);
    }

    #[test]
    fn a_lead_is_limited_without_touching_the_timestamps() {
        let (now, mut sender) = sender();
        sender.skip(1600);
        let before = sender.timestamp(sender.next_position());
        sender.limit_lead(now, Duration::from_millis(20), Duration::from_millis(50));
        assert_eq!(sender.due(), now + Duration::from_millis(150), "by 50 ms at most");
        sender.limit_lead(now, Duration::from_millis(20), Duration::MAX);
        assert_eq!(sender.due(), now + Duration::from_millis(20));
        assert_eq!(sender.timestamp(sender.next_position()), before);
    }

    #[test]
    fn a_lag_is_limited_without_touching_the_timestamps() {
        let (now, mut sender) = sender();
        sender.skip(160);
        let before = sender.timestamp(sender.next_position());
        let later = now + Duration::from_millis(220);
        sender.limit_lag(later, Duration::from_millis(100), Duration::from_millis(60));
        assert_eq!(sender.due(), later - Duration::from_millis(140), "by 60 ms at most");
        sender.limit_lag(later, Duration::from_millis(100), Duration::MAX);
        assert_eq!(sender.due(), later - Duration::from_millis(100));
        assert_eq!(sender.timestamp(sender.next_position()), before);
    }
}
