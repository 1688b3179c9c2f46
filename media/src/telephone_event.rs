//! Telephone events, RFC 4733: one key press in many packets, counted once.
//!
//! All packets of one press carry the timestamp of its start; the duration grows; the end bit is set in the last three.
//!
//! ```text
//!   seq  100   101   102   103   104   105   106   107        timestamp 8000 in all of them
//!        M 160 160   160   320   480   640E  640E  640E       duration, M marker, E end
//!        └─ at once ──┘     │     │     │
//!                           every packet time      reported here, at the first E
//!
//!   lost ends      100 ──── 103 104 ─ ─ ─ ─ ─ ─ ─ ─           reported LOST_END after the last packet,
//!                                          200 (ts 9600)      or when the next press begins
//!   lost marker        101 102 ...                            a new timestamp is a new press
//!   late packets   100 105E 103 106E                          103 was sent before 105, which says more: ignored
//!   long press     ts 8000 dur 65535, ts 73535 dur 160 ...    no marker, starts where the last segment ended: same press
//! ```
//!
//! Some senders move the timestamp with every packet of a press. Their duration grows by as much, and no packet but the
//! first has a marker, which tells their presses apart. Others forget to move it between two presses: then the key does, or
//! after an end a duration that starts over, or after an end packet a marker: some senders set it in every packet of a press,
//! which may go on after a burst of loss. A sender that changes its source may step back with the timestamp: which packets are
//! late, only their sequence numbers say.

use std::time::{Duration, Instant};

use crate::rtp::RtpTimestamp;

/// How long after its last packet a press counts as ended. Updates come every 20–60 ms, so this is three lost ones.
const LOST_END: Duration = Duration::from_millis(180);

/// End packets of a sender that moves timestamps come within this time.
const REPEATED_END: Duration = Duration::from_millis(70);

/// The payload of one telephone-event packet (RFC 4733 section 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TelephoneEvent {
    /// 0–15 are keys, 16 is flash, the rest tones.
    pub event: u8,
    /// The press is over.
    pub end: bool,
    /// Power below 0 dBm0, 0–63 in decibels.
    pub volume: u8,
    /// Since the timestamp, in ticks of the RTP clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload; `None` when it is too short. What follows the first event is ignored.
    pub fn parse(payload: &[u8]) -> Option<TelephoneEvent> {
        let (&[event, flags, high, low], _) = payload.split_first_chunk()?;
        Some(TelephoneEvent { event, end: flags & 0x80 != 0, volume: flags & 0x3f, duration: u16::from_be_bytes([high, low]) })
    }

    /// The payload.
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        [self.event, self.volume & 0x3f | if self.end { 0x80 } else { 0 }, high, low]
    }
}

/// A press that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FinishedEvent {
    /// The event code.
    pub event: u8,
    /// How long it was held, as far as its packets arrived.
    pub duration: Duration,
}

/// Counts presses in a stream of telephone-event packets.
#[derive(Debug, Clone, Default)]
pub struct TelephoneEventReceiver {
    current: Option<Press>,
}

#[derive(Debug, Clone)]
struct Press {
    event: u8,
    /// Of its last packet.
    sequence: u64,
    timestamp: RtpTimestamp,
    duration: u16,
    /// Ticks of earlier segments of the same press.
    earlier: u32,
    clock_rate: u32,
    last_packet: Instant,
    is_reported: bool,
    /// By its sender: an end packet came.
    is_ended: bool,
}

impl TelephoneEventReceiver {
    /// Takes a packet. Yields the press before it, if its end was lost, and its own if it is an end packet not seen yet. `sequence`
    /// is extended by its wraps.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        sequence: u64,
        marker: bool,
        timestamp: RtpTimestamp,
        clock_rate: u32,
        packet: TelephoneEvent,
    ) -> impl Iterator<Item = FinishedEvent> + use<> {
        let mut lost_end = None;
        match &mut self.current {
            Some(press) if sequence < press.sequence => return [None, None].into_iter().flatten(),
            Some(press) if press.is_repeated_by(sequence, marker, timestamp, packet) => {
                press.sequence = sequence;
                press.duration = press.duration.max(packet.duration);
                press.last_packet = now;
            }
            Some(press) if press.is_continued_by(now, marker, timestamp, packet) => {
                press.go_on(now, sequence, timestamp, packet);
            }
            previous => {
                lost_end = previous.as_mut().and_then(Press::report);
                *previous = Some(Press {
                    event: packet.event,
                    sequence,
                    timestamp,
                    duration: packet.duration,
                    earlier: 0,
                    clock_rate: clock_rate.max(1),
                    last_packet: now,
                    is_reported: false,
                    is_ended: false,
                });
            }
        }
        let ended = if packet.end { self.current.as_mut().and_then(Press::end) } else { None };
        [lost_end, ended].into_iter().flatten()
    }

    /// Sequence numbers begin anew: with another source, or the same one at another address. The press goes on, or its end is lost.
    pub fn forget_sequence(&mut self) {
        if let Some(press) = &mut self.current {
            press.sequence = 0;
        }
    }

    /// When a press whose end is missing counts as ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().filter(|press| !press.is_reported).map(|press| press.last_packet + LOST_END)
    }

    /// Yields the press whose end has been missing for too long.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<FinishedEvent> {
        self.deadline().filter(|&deadline| deadline <= now)?;
        self.current.as_mut().and_then(Press::report)
    }
}

impl Press {
    fn end(&mut self) -> Option<FinishedEvent> {
        self.is_ended = true;
        self.report()
    }

    fn report(&mut self) -> Option<FinishedEvent> {
        if self.is_reported {
            return None;
        }
        self.is_reported = true;
        let ticks = u64::from(self.earlier) + u64::from(self.duration);
        let duration = Duration::from_micros(ticks * 1_000_000 / u64::from(self.clock_rate));
        Some(FinishedEvent { event: self.event, duration })
    }

    fn is_repeated_by(&self, sequence: u64, marker: bool, timestamp: RtpTimestamp, packet: TelephoneEvent) -> bool {
        let starts_over = (marker && self.is_ended) || packet.duration < self.duration;
        let is_another = self.is_reported && sequence > self.sequence && !packet.end && starts_over;
        timestamp == self.timestamp && packet.event == self.event && !is_another
    }

    fn is_continued_by(&self, now: Instant, marker: bool, timestamp: RtpTimestamp, packet: TelephoneEvent) -> bool {
        if marker || packet.event != self.event {
            return false;
        }
        let moved = timestamp.distance(self.timestamp);
        if self.is_reported {
            let is_soon = now.saturating_duration_since(self.last_packet) < REPEATED_END;
            return packet.end && packet.duration >= self.duration && is_soon;
        }
        let segment = moved == i32::from(self.duration) && packet.duration <= self.duration;
        let full_segment = (0xf000..=0x1_1000).contains(&moved) && self.duration >= 0x8000;
        let grown = i32::from(packet.duration) - i32::from(self.duration);
        let moving_timestamp = grown > 0 && grown == moved;
        segment || full_segment || moving_timestamp
    }

    fn go_on(&mut self, now: Instant, sequence: u64, timestamp: RtpTimestamp, packet: TelephoneEvent) {
        // A duration that grew counts from the start of the press already; one that starts over is a new segment.
        if packet.duration < self.duration {
            self.earlier = self.earlier.saturating_add(timestamp.distance(self.timestamp).unsigned_abs());
        }
        self.sequence = sequence;
        self.timestamp = timestamp;
        self.duration = packet.duration;
        self.last_packet = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Line {
        now: Instant,
        /// Of the next packet.
        sequence: u64,
        receiver: TelephoneEventReceiver,
        heard: Vec<(u8, u64)>,
    }

    impl Line {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
        fn new() -> Self {
            Line { now: Instant::now(), sequence: 100, receiver: TelephoneEventReceiver::default(), heard: Vec::new() }
        }

        fn packet(&mut self, marker: bool, timestamp: u32, event: u8, duration: u16, end: bool) {
            let packet = TelephoneEvent { event, end, volume: 10, duration };
            let sequence = self.sequence;
            self.sequence += 1;
            let finished = self.receiver.handle_packet(self.now, sequence, marker, RtpTimestamp(timestamp), 8000, packet);
            self.heard.extend(finished.map(|press| (press.event, press.duration.as_millis() as u64)));
        }

        fn pass(&mut self, milliseconds: u64) {
            self.now += Duration::from_millis(milliseconds);
            let finished = self.receiver.handle_timeout(self.now);
            self.heard.extend(finished.map(|press| (press.event, press.duration.as_millis() as u64)));
        }
    }

    /// A press of 60 ms.
    fn press(line: &mut Line, timestamp: u32, event: u8) {
        line.packet(true, timestamp, event, 160, false);
        line.packet(false, timestamp, event, 320, false);
        for _ in 0..3 {
            line.packet(false, timestamp, event, 480, true);
        }
    }

    #[test]
    fn a_press_is_reported_once_at_its_first_end_packet() {
        let mut line = Line::new();
        line.packet(true, 8000, 5, 160, false);
        line.packet(false, 8000, 5, 320, false);
        assert_eq!(line.heard, []);
        line.packet(false, 8000, 5, 480, true);
        assert_eq!(line.heard, [(5, 60)]);
        line.packet(false, 8000, 5, 480, true);
        line.packet(false, 8000, 5, 480, true);
        line.pass(1000);
        assert_eq!(line.heard, [(5, 60)]);
    }

    #[test]
    fn a_press_whose_ends_are_lost_is_reported_after_a_while() {
        let mut line = Line::new();
        line.packet(true, 8000, 5, 160, false);
        line.pass(100);
        line.packet(false, 8000, 5, 960, false);
        line.pass(179);
        assert_eq!(line.heard, []);
        line.pass(1);
        assert_eq!(line.heard, [(5, 120)]);
        line.packet(false, 8000, 5, 1600, true);
        assert_eq!(line.heard.len(), 1);
    }

    #[test]
    fn a_press_whose_ends_are_lost_is_reported_when_the_next_one_begins() {
        let mut line = Line::new();
        line.packet(true, 8000, 5, 160, false);
        line.packet(true, 9600, 5, 160, false);
        line.packet(false, 9600, 5, 640, true);
        assert_eq!(line.heard, [(5, 20), (5, 80)]);
    }

    #[test]
    fn a_lost_marker_does_not_hide_a_press() {
        let mut line = Line::new();
        line.packet(false, 8000, 5, 800, true);
        line.pass(60);
        line.packet(false, 9600, 5, 320, false);
        line.packet(false, 9600, 5, 800, true);
        assert_eq!(line.heard, [(5, 100), (5, 100)]);
    }

    #[test]
    fn one_end_packet_is_enough() {
        let mut line = Line::new();
        line.packet(false, 8000, 11, 800, true);
        assert_eq!(line.heard, [(11, 100)]);
    }

    #[test]
    fn packets_that_took_a_detour_change_nothing() {
        let mut line = Line::new();
        for (sequence, (marker, timestamp, event, duration, end)) in [
            (100, (true, 8000, 1, 160, false)),
            (102, (false, 8000, 1, 640, true)),
            (101, (false, 8000, 1, 320, false)),
            (104, (true, 16000, 2, 160, false)),
            (103, (false, 8000, 1, 640, true)),
            (105, (false, 16000, 2, 640, true)),
        ] {
            line.sequence = sequence;
            line.packet(marker, timestamp, event, duration, end);
        }
        assert_eq!(line.heard, [(1, 80), (2, 80)]);
    }

    #[test]
    fn a_press_longer_than_the_duration_field_is_one_press() {
        let mut line = Line::new();
        line.packet(true, 8000, 3, 0xffff, false);
        line.packet(false, 8000 + 0xffff, 3, 160, false);
        line.packet(false, 8000 + 0xffff, 3, 1600, true);
        line.packet(false, 8000 + 0xffff, 3, 1600, true);
        assert_eq!(line.heard, [(3, 8391)]);
    }

    #[test]
    fn the_last_packets_of_a_segment_may_be_lost() {
        let mut line = Line::new();
        line.packet(true, 8000, 3, 0xff00, false);
        line.packet(false, 8000 + 0xffff, 3, 160, false);
        line.packet(false, 8000 + 0xffff, 3, 1600, true);
        assert_eq!(line.heard.len(), 1);
    }

    #[test]
    fn timestamps_that_move_with_every_packet_are_one_press() {
        let mut line = Line::new();
        for step in 1..=5u16 {
            line.packet(step == 1, 8000 + u32::from(step) * 160, 7, step * 160, step == 5);
            line.pass(20);
        }
        line.packet(false, 8960, 7, 800, true);
        line.packet(false, 9120, 7, 800, true);
        line.pass(500);
        assert_eq!(line.heard, [(7, 100)]);
    }

    #[test]
    fn the_same_key_twice_is_two_presses_however_much_of_both_is_lost() {
        let mut line = Line::new();
        line.packet(true, 8000, 5, 160, false);
        line.pass(60);
        line.packet(false, 9600, 5, 640, false);
        line.packet(false, 9600, 5, 800, true);
        assert_eq!(line.heard, [(5, 20), (5, 100)]);
    }

    #[test]
    fn another_key_with_the_same_timestamp_is_another_press() {
        let mut line = Line::new();
        line.packet(true, 8000, 1, 800, true);
        line.packet(true, 8000, 2, 160, false);
        line.packet(false, 8000, 2, 800, true);
        assert_eq!(line.heard, [(1, 100), (2, 100)]);
    }

    #[test]
    fn a_sender_that_starts_its_clock_anew_is_heard() {
        for (before, after) in [(0x7000_0000, 100), (16_000, 8_000), (1 << 30, 0), (0, 1 << 31), (100, 0x7fff_ff00)] {
            for pause in [40, 3000] {
                let mut line = Line::new();
                press(&mut line, before, 2);
                line.pass(pause);
                press(&mut line, after, 3);
                press(&mut line, after.wrapping_add(1600), 4);
                assert_eq!(line.heard, [(2, 60), (3, 60), (4, 60)]);
            }
        }
    }

    #[test]
    fn one_key_twice_with_one_timestamp_is_two_presses() {
        let mut line = Line::new();
        for _ in 0..2 {
            press(&mut line, 8000, 3);
            line.pass(400);
        }
        line.packet(false, 8000, 3, 320, false);
        line.packet(false, 8000, 3, 480, true);
        assert_eq!(line.heard, [(3, 60), (3, 60), (3, 60)], "the last lost its marker");
    }

    #[test]
    fn a_marker_in_every_packet_makes_no_presses() {
        let mut line = Line::new();
        for (duration, end) in [(160, false), (320, false), (480, true), (480, true), (480, true)] {
            line.packet(true, 8000, 3, duration, end);
        }
        assert_eq!(line.heard, [(3, 60)]);
    }

    #[test]
    fn a_press_with_a_marker_in_every_packet_goes_on_after_a_burst_of_loss() {
        let mut line = Line::new();
        line.packet(true, 8000, 1, 160, false);
        line.pass(200);
        assert_eq!(line.heard, [(1, 20)]);
        for (duration, end) in [(1760, false), (1920, false), (2080, true), (2080, true), (2080, true)] {
            line.packet(true, 8000, 1, duration, end);
        }
        line.pass(200);
        assert_eq!(line.heard, [(1, 20)]);
        line.packet(true, 8000, 1, 2240, false);
        line.pass(200);
        assert_eq!(line.heard, [(1, 20), (1, 280)], "a marker after an end packet is another press");
        line.packet(true, 8000, 1, 160, false);
        line.packet(true, 8000, 1, 480, true);
        assert_eq!(line.heard, [(1, 20), (1, 280), (1, 60)], "as is a duration that starts over");
    }

    #[test]
    fn timestamps_may_wrap() {
        let mut line = Line::new();
        line.packet(true, 0xffff_ff00, 1, 800, true);
        line.packet(true, 0x0000_0500, 2, 800, true);
        assert_eq!(line.heard, [(1, 100), (2, 100)]);
    }

    #[test]
    fn a_short_payload_is_no_event() {
        assert_eq!(TelephoneEvent::parse(&[5, 0x8a, 3]), None);
        let event = TelephoneEvent { event: 5, end: true, volume: 10, duration: 800 };
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
        assert_eq!(event.to_bytes(), [5, 0x8a, 3, 0x20]);
    }

    /// The packets of presses of 100 ms every 200 ms, with the time each arrives at.
    fn presses(events: &[u8]) -> Vec<(u64, bool, u32, u8, u16, bool)> {
        let mut packets = Vec::new();
        for (index, &event) in events.iter().enumerate() {
            let (at, timestamp) = (index as u64 * 200, 8000 + index as u32 * 1600);
            packets.extend((0..3).map(|copy| (at, copy == 0, timestamp, event, 160, false)));
            packets.extend((1..5).map(|step| (at + step * 20, false, timestamp, event, (step as u16 + 1) * 160, false)));
            packets.extend((0..3).map(|copy| (at + 100 + copy * 20, false, timestamp, event, 800, true)));
        }
        packets
    }

    proptest! {
        #[test]
        fn loss_repetition_and_reordering_never_double_or_swap_a_press(
            events in prop::collection::vec(0u8..16, 1..12),
            seed in any::<u64>(),
        ) {
            let mut state = seed | 1;
            let mut random = move || { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state };
            let mut survivors = Vec::new();
            let mut arrivals = Vec::new();
            for (sequence, packet) in (100..).zip(presses(&events)) {
                if random() % 3 != 0 {
                    survivors.push(packet.2);
                    for _ in 0..1 + random() % 2 {
                        arrivals.push((packet.0 + random() % 70, sequence, packet));
                    }
                }
            }
            arrivals.sort_by_key(|arrival| arrival.0);
            survivors.dedup();
            let mut line = Line::new();
            let mut clock = 0;
            for (at, sequence, (_, marker, timestamp, event, duration, end)) in arrivals {
                line.pass(at - clock);
                clock = at;
                line.sequence = sequence;
                line.packet(marker, timestamp, event, duration, end);
            }
            line.pass(1000);
            let expected: Vec<u8> =
                survivors.iter().map(|timestamp| events[(*timestamp as usize - 8000) / 1600]).collect();
            let heard: Vec<u8> = line.heard.iter().map(|press| press.0).collect();
            prop_assert_eq!(heard, expected);
        }
    }
}
