//! Two legs joined.

use super::*;
use crate::digit::{Digit, DigitSet};

/// Two legs of one bridge on one clock.
struct Bridge {
    caller: Line,
    callee: Line,
    /// How many events of the caller have been looked at for keys.
    relayed: usize,
}

impl Bridge {
    fn new(caller: Negotiated, callee: Negotiated) -> Bridge {
        let mut bridge = Bridge { caller: Line::connected_as(caller), callee: Line::seeded(7), relayed: 0 };
        bridge.callee.start = bridge.caller.start;
        bridge.callee.now = bridge.caller.now;
        bridge.callee.next.ssrc = Ssrc(99);
        bridge.callee.command(Command::SetRemote(Box::new(callee)));
        bridge.caller.command(Command::Join);
        bridge.callee.command(Command::Join);
        bridge
    }

    fn run(&mut self, milliseconds: u64) {
        self.caller.run(milliseconds);
        self.callee.run(milliseconds);
        self.relay();
    }

    /// Gives the keys that the caller's stream has reported to the callee's.
    fn relay(&mut self) {
        for (_, event) in &self.caller.events[self.relayed..] {
            if let MediaEvent::Digit { digit, duration, method: DtmfMethod::TelephoneEvent } = *event {
                self.callee.command(Command::RelayKey { digit, held: duration });
            }
        }
        self.relayed = self.caller.events.len();
    }

    /// The caller holds a key, by telephone events with this timestamp; its end packets may be lost.
    fn hold(&mut self, digit: u8, start: RtpTimestamp, milliseconds: u16, are_ends_lost: bool) {
        let last = milliseconds / 20;
        for step in (1..=last).chain([last; 2]) {
            let end = step == last;
            if end && are_ends_lost {
                self.caller.next.sequence = self.caller.next.sequence.plus(1);
            } else if let Some(packet) = self.caller.event(start, digit, step * 160, end) {
                packet.into(&mut self.callee);
            }
            self.relay();
            self.run(20);
        }
        self.caller.next.timestamp = start.plus(u32::from(milliseconds) * 8);
    }

    /// The caller sounds a key in its audio.
    fn tone(&mut self, key: char, packets: usize) {
        let mut generator = crate::dtmf::DtmfGenerator::new(Digit::from_char(key).unwrap());
        for _ in 0..packets {
            let header = self.caller.advance_audio();
            let payload: Vec<u8> = (0..160).map(|_| Codec::Pcmu.encode_sample(generator.next_sample())).collect();
            if let Some(packet) = self.caller.packet_from("192.0.2.1:4000", header, &payload) {
                packet.into(&mut self.callee);
            }
            self.run(20);
        }
    }

    /// Keys that the callee hears as tones.
    fn tones(&self) -> String {
        let mut detector = crate::dtmf::DtmfDetector::default();
        let mut keys = String::new();
        let audio = self.callee.sent.iter().flat_map(|packet| &packet.payload).map(|&octet| Codec::Pcmu.decode_sample(octet));
        detector.push(audio, |key| keys.push(key.digit.as_char()));
        keys
    }

    /// The caller speaks, one packet, and time passes.
    fn say(&mut self, octet: u8) {
        if let Some(packet) = self.caller.audio(octet) {
            packet.into(&mut self.callee);
        }
        self.run(20);
    }

    /// The caller speaks, and the network keeps the packets.
    fn speak_unheard(&mut self, packets: usize) -> Vec<RtpHeader> {
        (0..packets).map(|_| self.caller.advance_audio()).collect()
    }

    fn hear_at_once(&mut self, held: Vec<RtpHeader>, octet: u8) {
        for header in held {
            if let Some(packet) = self.caller.packet_from("192.0.2.1:4000", header, &[octet; 160]) {
                packet.into(&mut self.callee);
            }
        }
    }

    fn press(&mut self, digit: u8) {
        for packet in self.caller.press(digit) {
            packet.into(&mut self.callee);
        }
        self.relay();
        self.callee.run((self.caller.at() - self.callee.at()) as u64);
    }
}

#[test]
fn packets_pass_on_arrival_as_part_of_one_unbroken_stream() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    bridge.run(1007);
    let before = bridge.callee.sent.len();
    for octet in 1..=100 {
        bridge.say(octet);
    }
    let passed = &bridge.callee.sent[before..];
    let octets: Vec<u8> = passed.iter().map(|packet| packet.payload[0]).collect();
    assert_eq!(octets, (1..=100).collect::<Vec<u8>>(), "nothing of our own in between");
    assert_eq!(passed[0].at, 1007.0);
    assert!(passed[0].header.marker && !passed[1].header.marker);
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn between_prompts_and_forwarding_the_stream_does_not_break() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    for round in 0..5 {
        for _ in 0..20 {
            bridge.say(1);
        }
        bridge.callee.play(round, &[&prompt(2, 130)]);
        for _ in 0..20 {
            bridge.say(1);
        }
        bridge.run(300);
    }
    bridge.callee.assert_continuous_within(40.1);
    assert_eq!(bridge.callee.sent.iter().filter(|packet| packet.payload[0] == 2).count(), 5 * 7);
    assert!(bridge.callee.longest_gap() < 240.0, "{}", bridge.callee.longest_gap());
}

#[test]
fn loss_and_reordering_pass_through_as_they_are() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    bridge.say(1);
    let headers: Vec<RtpHeader> = (0..6).map(|_| bridge.caller.advance_audio()).collect();
    let first = bridge.callee.sent.last().unwrap().header;
    for index in [0, 2, 1, 4, 5] {
        bridge.run(10);
        let packet = bridge.caller.packet_from("192.0.2.1:4000", headers[index], &[1; 160]).unwrap();
        packet.into(&mut bridge.callee);
    }
    let sent: Vec<(i16, i32)> = bridge
        .callee
        .sent
        .iter()
        .rev()
        .take(5)
        .map(|packet| {
            let header = packet.header;
            (header.sequence.distance(first.sequence), header.timestamp.distance(first.timestamp))
        })
        .collect();
    assert_eq!(sent, [(6, 960), (5, 800), (2, 320), (3, 480), (1, 160)]);
}

#[test]
fn a_new_source_or_a_leap_on_one_leg_is_not_seen_on_the_other() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    for octet in 0..10 {
        bridge.say(octet);
    }
    bridge.caller.next =
        RtpHeader { ssrc: Ssrc(5), sequence: SequenceNumber(60_000), timestamp: RtpTimestamp(9), ..bridge.caller.next };
    for octet in 0..10 {
        bridge.say(octet);
    }
    bridge.caller.next.timestamp = RtpTimestamp(0x7000_0000);
    for octet in 0..10 {
        bridge.say(octet);
    }
    bridge.caller.next.sequence = SequenceNumber(20_000);
    for octet in 0..10 {
        bridge.say(octet);
    }
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn the_wraps_of_one_leg_are_not_seen_on_the_other() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    (bridge.caller.next.sequence, bridge.caller.next.timestamp) = (SequenceNumber(0xfff0), RtpTimestamp(u32::MAX - 4000));
    let before = bridge.callee.sent.len();
    (0..40).for_each(|_| bridge.say(1));
    assert_eq!(bridge.callee.sent.len() - before, 40);
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn different_codecs_are_translated() {
    let callee = Negotiated { codec: Codec::Pcma, payload_type: PCMA, ..negotiated() };
    let mut bridge = Bridge::new(negotiated(), callee);
    bridge.say(Codec::Pcmu.encode_sample(8000));
    let sent = bridge.callee.sent.last().unwrap();
    assert_eq!(sent.header.payload_type, PCMA);
    let level = Codec::Pcma.decode_sample(sent.payload[0]);
    assert!((7500..8500).contains(&level), "{level}");
}

#[test]
fn packets_longer_than_the_other_side_takes_are_sent_as_several() {
    let callee = Negotiated { max_packet_time: Some(Duration::from_millis(20)), ..negotiated() };
    let mut bridge = Bridge::new(negotiated(), callee);
    let before = bridge.callee.sent.len();
    for _ in 0..3 {
        let header = bridge.caller.next;
        bridge.caller.next.sequence = header.sequence.plus(1);
        bridge.caller.next.timestamp = header.timestamp.plus(400);
        let packet = bridge.caller.packet_from("192.0.2.1:4000", header, &[1; 400]).unwrap();
        packet.into(&mut bridge.callee);
        bridge.run(50);
    }
    let lengths: Vec<usize> = bridge.callee.sent[before..].iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lengths, [160, 160, 80, 160, 160, 80, 160, 160, 80]);
    for pair in bridge.callee.sent[before..].windows(2) {
        assert_eq!(pair[1].header.sequence.distance(pair[0].header.sequence), 1);
        assert_eq!(pair[1].header.timestamp.distance(pair[0].header.timestamp), pair[0].payload.len() as i32);
    }
}

#[test]
fn packets_longer_than_ours_can_be_are_sent_as_several() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    let before = bridge.callee.sent.len();
    for _ in 0..3 {
        let header = bridge.caller.next;
        bridge.caller.next.sequence = header.sequence.plus(1);
        bridge.caller.next.timestamp = header.timestamp.plus(1600);
        let packet = bridge.caller.packet_from("192.0.2.1:4000", header, &[1; 1600]).unwrap();
        packet.into(&mut bridge.callee);
        bridge.run(199);
    }
    let lengths: Vec<usize> = bridge.callee.sent[before..].iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lengths, [1440, 160, 1440, 160, 1440, 160]);
}

#[test]
fn keys_pass_with_the_other_legs_payload_type() {
    let number = PayloadType::new(96).unwrap();
    let types = Some(TelephoneEventTypes { send: number, receive: EVENT });
    let mut bridge = Bridge::new(negotiated(), Negotiated { telephone_event: types, ..negotiated() });
    bridge.say(1);
    bridge.press(5);
    bridge.say(1);
    let events: Vec<_> = bridge.callee.sent.iter().filter(|packet| packet.header.payload_type == number).collect();
    assert_eq!(events.len(), 7);
    assert!(events.iter().all(|packet| packet.header.timestamp == events[0].header.timestamp));
    assert_eq!(bridge.caller.digits(), "5", "and they are reported");
    let last = bridge.callee.sent.last().unwrap();
    assert_eq!(last.header.timestamp.distance(events[0].header.timestamp), 800);
}

#[test]
fn a_key_that_lies_far_from_its_audio_or_claims_to_be_long_does_not_hold_up_what_we_send() {
    for (leap, duration) in [(1 << 29, 160), (0u32.wrapping_sub(1 << 29), 160), (0, u16::MAX), (7000, u16::MAX)] {
        let mut bridge = Bridge::new(negotiated(), negotiated());
        (0..10).for_each(|_| bridge.say(1));
        let start = bridge.caller.next.timestamp.plus(leap);
        for (duration, end) in [(duration, false), (duration, false), (duration, true), (duration, true)] {
            if let Some(packet) = bridge.caller.event(start, 5, duration, end) {
                packet.into(&mut bridge.callee);
            }
            bridge.run(20);
        }
        let events: Vec<_> = bridge.callee.sent.iter().filter(|packet| packet.header.payload_type == EVENT).collect();
        assert!(events.len() >= 3, "{leap}: {}", events.len());
        assert!(events.iter().all(|packet| packet.header.timestamp == events[0].header.timestamp), "{leap}");
        bridge.callee.play(1, &[&prompt(2, 100)]);
        assert_eq!(bridge.callee.sent.last().unwrap().payload[0], 2, "{leap}: at once");
        bridge.run(100);
        assert!(matches!(bridge.callee.events.last(), Some((_, MediaEvent::PlayoutFinished { .. }))), "{leap}");
        (0..10).for_each(|_| bridge.say(1));
        bridge.callee.assert_continuous();
    }
}

#[test]
fn a_press_that_lies_far_from_the_audio_between_its_packets_has_one_timestamp() {
    for leap in [1 << 29, 0u32.wrapping_sub(1 << 29)] {
        let mut bridge = Bridge::new(negotiated(), negotiated());
        (0..10).for_each(|_| bridge.say(1));
        let first = bridge.caller.next.timestamp.plus(leap);
        // Presses of 100 ms, more than a second apart; the third forgets to move the timestamp.
        let second = first.plus(8 * 1400);
        for start in [first, second, second] {
            for step in 1..=5 {
                if let Some(packet) = bridge.caller.event(start, 5, step * 160, step == 5) {
                    packet.into(&mut bridge.callee);
                }
                bridge.say(1);
            }
            (0..65).for_each(|_| bridge.say(1));
        }
        let events = bridge.callee.sent.iter().filter(|packet| packet.header.payload_type == EVENT);
        let mut timestamps: Vec<_> = events.map(|packet| packet.header.timestamp).collect();
        assert_eq!(timestamps.len(), 15, "{leap}");
        timestamps.dedup();
        assert_eq!(timestamps.len(), 3, "{leap}: {timestamps:?}");
        assert_eq!(timestamps[1].distance(timestamps[0]), 8 * 1400, "{leap}");
        bridge.callee.assert_continuous();
    }
}

#[test]
fn blocked_keys_do_not_pass_and_leave_no_gap() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    bridge.caller.command(Command::BlockDtmf(DigitSet::from_keys("5")));
    bridge.say(1);
    bridge.press(5);
    bridge.say(1);
    bridge.press(6);
    bridge.say(1);
    let events = bridge.callee.sent.iter().filter(|packet| packet.header.payload_type == EVENT);
    assert!(events.clone().all(|packet| packet.payload[0] == 6));
    assert_eq!(events.count(), 7);
    assert_eq!(bridge.caller.digits(), "6");
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn of_keys_that_are_tones_only_the_blocked_ones_are_withheld() {
    let tones = || Negotiated { telephone_event: None, ..negotiated() };
    let mut bridge = Bridge::new(tones(), tones());
    bridge.caller.command(Command::BlockDtmf(DigitSet::from_keys("*")));
    for key in "1*2".chars() {
        bridge.tone(key, 8);
        (0..8).for_each(|_| bridge.say(SILENCE));
    }
    assert_eq!((bridge.caller.digits(), bridge.tones()), ("12".to_owned(), "12".to_owned()));
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn comfort_noise_and_empty_packets_do_not_pass_and_leave_no_gap() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    bridge.say(1);
    for (payload_type, payload) in [(PayloadType::COMFORT_NOISE, &[60u8][..]), (PCMU, &[])] {
        let header = RtpHeader { payload_type, ..bridge.caller.advance_audio() };
        assert!(bridge.caller.packet_from("192.0.2.1:4000", header, payload).is_none());
        bridge.run(20);
        bridge.say(1);
    }
    bridge.callee.assert_continuous_within(40.1);
    assert_eq!(bridge.caller.stream.stats().dropped.wrong_payload_type, 0);
}

#[test]
fn keys_become_tones_for_a_side_without_telephone_events() {
    let mut bridge = Bridge::new(negotiated(), Negotiated { telephone_event: None, ..negotiated() });
    bridge.say(SILENCE);
    bridge.press(5);
    for _ in 0..20 {
        bridge.say(SILENCE);
    }
    assert_eq!(bridge.tones(), "5");
    assert!(!bridge.callee.events.iter().any(|(_, event)| matches!(event, MediaEvent::DtmfSent { .. })));
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn every_key_becomes_a_tone_however_soon_it_comes_and_whatever_is_lost_of_it() {
    let bridge = || {
        let mut bridge = Bridge::new(negotiated(), Negotiated { telephone_event: None, ..negotiated() });
        bridge.say(SILENCE);
        bridge
    };
    let speak = |bridge: &mut Bridge, packets| (0..packets).for_each(|_| bridge.say(SILENCE));

    let mut held = bridge();
    held.hold(5, held.caller.next.timestamp, 600, false);
    speak(&mut held, 10);
    held.hold(6, held.caller.next.timestamp, 120, false);
    speak(&mut held, 60);
    assert_eq!(held.tones(), "56", "while the tone of the one before sounds");

    let mut lost = bridge();
    lost.hold(5, lost.caller.next.timestamp, 100, true);
    lost.hold(6, lost.caller.next.timestamp.plus(800), 100, false);
    speak(&mut lost, 60);
    assert_eq!(lost.tones(), "56", "the end packets of the first are lost");

    let mut same = bridge();
    let start = same.caller.next.timestamp;
    same.hold(5, start, 100, false);
    same.hold(6, start, 100, false);
    speak(&mut same, 60);
    assert_eq!(same.tones(), "56", "both have one timestamp");
    same.callee.assert_continuous();
}

#[test]
fn silence_is_sent_while_a_key_is_held_that_the_other_side_has_no_packets_for() {
    let mut bridge = Bridge::new(negotiated(), Negotiated { telephone_event: None, ..negotiated() });
    (0..10).for_each(|_| bridge.say(1));
    bridge.hold(5, bridge.caller.next.timestamp, 3000, false);
    assert!(bridge.callee.longest_gap() < 220.0, "{}", bridge.callee.longest_gap());
}

#[test]
fn keys_that_no_hand_presses_are_not_relayed_without_end() {
    let mut bridge = Bridge::new(negotiated(), Negotiated { telephone_event: None, ..negotiated() });
    for number in 0..1000 {
        bridge.caller.event(RtpTimestamp(number * 320), (number % 10) as u8, 160, true);
    }
    bridge.relay();
    bridge.run(60_000);
    assert!((30..=40).contains(&bridge.tones().len()), "{}", bridge.tones());
}

#[test]
fn a_held_leg_gets_nothing_and_goes_on_afterwards() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    bridge.say(1);
    let held = Negotiated { direction: Direction::RecvOnly, held: true, ..negotiated() };
    bridge.callee.command(Command::SetRemote(Box::new(held)));
    let before = bridge.callee.sent.len();
    for _ in 0..50 {
        bridge.say(1);
    }
    assert_eq!(bridge.callee.sent.len(), before);
    bridge.callee.command(Command::SetRemote(Box::new(negotiated())));
    for _ in 0..10 {
        bridge.say(1);
    }
    bridge.callee.assert_continuous_within(40.1);
    assert!(bridge.callee.sent.len() >= before + 10);
}

#[test]
fn after_leaving_nothing_is_handed_out() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    bridge.say(1);
    bridge.caller.command(Command::Leave);
    assert!(bridge.caller.audio(1).is_none());
    bridge.callee.command(Command::Leave);
    bridge.run(100);
    assert_eq!(bridge.callee.sent.last().unwrap().payload[0], SILENCE);
    bridge.callee.assert_continuous_within(40.1);
}

#[test]
fn a_source_whose_clock_runs_fast_does_not_delay_our_own_prompts() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    for _ in 0..1000 {
        let header = bridge.caller.advance_audio();
        let packet = bridge.caller.packet_from("192.0.2.1:4000", header, &[1; 160]).unwrap();
        packet.into(&mut bridge.callee);
        bridge.run(19);
    }
    let before = bridge.callee.sent.len();
    bridge.callee.play(1, &[&prompt(2, 100)]);
    assert_eq!(bridge.callee.sent.len(), before + 1, "at once");
    bridge.callee.run(100);
    for pair in bridge.callee.sent.windows(2) {
        assert_eq!(pair[1].header.sequence.distance(pair[0].header.sequence), 1);
        assert!(pair[1].header.timestamp.distance(pair[0].header.timestamp) >= 160);
    }
}

#[test]
fn a_source_whose_clock_runs_slow_never_leaps() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    let before = bridge.callee.sent.len();
    for _ in 0..2000 {
        let header = bridge.caller.advance_audio();
        let packet = bridge.caller.packet_from("192.0.2.1:4000", header, &[1; 160]).unwrap();
        packet.into(&mut bridge.callee);
        bridge.run(21);
    }
    for pair in bridge.callee.sent[before..].windows(2) {
        assert_eq!(pair[1].header.timestamp.distance(pair[0].header.timestamp), 160, "at {} ms", pair[1].at);
    }
}

#[test]
fn what_the_network_held_back_does_not_delay_what_follows() {
    let mut bridge = Bridge::new(negotiated(), negotiated());
    (0..50).for_each(|_| bridge.say(1));
    let held = bridge.speak_unheard(50);
    bridge.run(1000);
    bridge.hear_at_once(held, 2);
    (0..50).for_each(|_| bridge.say(3));
    let sent = &bridge.callee.sent;
    let count = |octet| sent.iter().filter(|packet| packet.payload[0] == octet).count();
    assert!((14..18).contains(&count(2)) && count(3) >= 49, "{} and {}", count(2), count(3));
    let last = &sent[sent.len() - 1];
    let ahead = f64::from(last.header.timestamp.distance(sent[0].header.timestamp)) / 8.0 - (last.at - sent[0].at);
    assert!((-20.1..=340.1).contains(&ahead), "{ahead} ms ahead");
    bridge.callee.assert_continuous_within(340.1);
}

#[test]
fn a_network_that_delivers_in_bursts_costs_no_audio() {
    for packets in [5, 9, 12, 14] {
        let mut bridge = Bridge::new(negotiated(), negotiated());
        for octet in 0..50 {
            let held = bridge.speak_unheard(packets);
            bridge.hear_at_once(held, octet);
            bridge.run(packets as u64 * 20);
        }
        let passed: Vec<&SentPacket> = bridge.callee.sent.iter().filter(|packet| packet.payload[0] < 50).collect();
        assert_eq!(passed.len(), 50 * packets);
        for pair in passed.windows(2) {
            assert!(pair[1].header.sequence.distance(pair[0].header.sequence) > 0, "{packets} packets each");
            assert!(pair[1].header.timestamp.distance(pair[0].header.timestamp) >= 160, "{packets} packets each");
        }
    }
}
