//! Keys in both directions.

use super::*;
use crate::digit::{Digit, DigitSet};
use crate::dtmf::DtmfGenerator;

fn without_events() -> Negotiated {
    Negotiated { telephone_event: None, ..negotiated() }
}

fn tone(line: &mut Line, key: char, packets: usize) {
    let mut generator = DtmfGenerator::new(Digit::from_char(key).unwrap());
    for _ in 0..packets {
        let header = line.advance_audio();
        let payload: Vec<u8> = (0..160).map(|_| Codec::Pcmu.encode_sample(generator.next_sample())).collect();
        line.packet_from("192.0.2.1:4000", header, &payload);
        line.run(20);
    }
}

fn silence(line: &mut Line, packets: usize) {
    for _ in 0..packets {
        line.audio(SILENCE);
        line.run(20);
    }
}

#[test]
fn a_press_is_reported_at_its_first_end_packet() {
    let mut line = Line::connected();
    line.audio(SILENCE);
    line.events.clear();
    let start = line.next.timestamp;
    for step in 1..=4 {
        line.event(start, 5, step * 160, false);
        line.run(20);
    }
    assert_eq!(line.events, []);
    line.event(start, 5, 800, true);
    let digit = Digit::from_char('5').unwrap();
    let expected = MediaEvent::Digit { digit, duration: Duration::from_millis(100), method: DtmfMethod::TelephoneEvent };
    assert_eq!(line.events, [(80, expected)]);
    line.event(start, 5, 800, true);
    line.run(1000);
    assert_eq!(line.digits(), "5");
}

#[test]
fn a_recorded_press_counts_each_time_it_is_played() {
    let mut line = Line::connected();
    // One source's presses, as a tool keeps them: each begins where it did when it was recorded.
    let recorded = |key: u8| (SequenceNumber(8000 + u16::from(key) * 40), RtpTimestamp(10_000 + u32::from(key) * 8000));
    for key in [4, 4, 3, 2, 5, 1] {
        let (sequence, start) = recorded(key);
        line.next.sequence = sequence;
        for step in 0..7 {
            line.event(start, key, step * 160, false);
            line.run(20);
        }
        for _ in 0..3 {
            line.next.sequence = sequence.plus(7);
            line.event(start, key, 1120, true);
        }
        line.run(1000);
    }
    assert_eq!(line.digits(), "443251");
}

#[test]
fn a_press_whose_ends_are_lost_is_reported_in_time() {
    let mut line = Line::connected();
    let start = line.next.timestamp;
    line.event(start, 9, 160, false);
    line.run(170);
    assert_eq!(line.digits(), "");
    line.run(20);
    assert_eq!(line.digits(), "9");
}

#[test]
fn a_press_that_straddles_a_new_address_counts_once_and_is_one_press_to_the_other_leg() {
    // Its sequence goes on there, or begins anew.
    for (first, is_same) in [(None, true), (Some(SequenceNumber(40_000)), false)] {
        let mut line = Line::connected();
        line.command(Command::Join);
        let start = line.next.timestamp;
        line.event(start, 5, 160, false);
        let before = line.event(start, 5, 800, true).unwrap();
        line.command(Command::SetRemote(Box::new(Negotiated { remote: Some(address("192.0.2.1:5000")), ..negotiated() })));
        assert!(line.event(start, 5, 800, true).is_none(), "from the port before");
        let end = crate::telephone_event::TelephoneEvent { event: 5, end: true, volume: 10, duration: 800 };
        let sequence = first.unwrap_or(line.next.sequence);
        let header = RtpHeader { payload_type: EVENT, timestamp: start, sequence, ..line.next };
        let after = line.packet_from("192.0.2.1:5000", header, &end.to_bytes()).unwrap();
        line.run(1000);
        assert_eq!(line.digits(), "5");
        assert_eq!(after.packet.generation == before.packet.generation, is_same);
    }
}

#[test]
fn a_press_whose_ends_are_lost_is_reported_whatever_becomes_of_its_source() {
    let mut line = Line::connected();
    line.event(line.next.timestamp, 2, 160, false);
    line.next = RtpHeader { ssrc: Ssrc(88), sequence: SequenceNumber(7), timestamp: RtpTimestamp(5), ..line.next };
    line.press(3);
    assert_eq!(line.digits(), "23", "another source");
    line.event(line.next.timestamp, 4, 160, false);
    line.next = RtpHeader { sequence: SequenceNumber(40_000), timestamp: RtpTimestamp(80_000), ..line.next };
    line.press(5);
    assert_eq!(line.digits(), "2345", "its sequence began anew");
    line.event(line.next.timestamp, 6, 160, false);
    line.command(Command::SetRemote(Box::new(Negotiated { remote: Some(address("192.0.2.9:5000")), ..negotiated() })));
    line.run(200);
    assert_eq!(line.digits(), "23456", "the other side moved");
}

#[test]
fn blocked_keys_are_not_reported() {
    let mut line = Line::connected();
    line.command(Command::BlockDtmf(DigitSet::from_keys("123")));
    line.press(1);
    line.press(4);
    line.command(Command::BlockDtmf(DigitSet::NONE));
    line.press(1);
    assert_eq!(line.digits(), "41");
}

#[test]
fn tones_are_heard_when_telephone_events_were_not_agreed_on() {
    let mut line = Line::connected_as(without_events());
    silence(&mut line, 10);
    for key in "19*".chars() {
        tone(&mut line, key, 4);
        silence(&mut line, 4);
    }
    assert_eq!(line.digits(), "19*");
    let mut other = Line::connected();
    tone(&mut other, '1', 4);
    silence(&mut other, 4);
    assert_eq!(other.digits(), "");
}

#[test]
fn a_tone_survives_reordering_and_a_lost_packet() {
    let mut line = Line::connected_as(without_events());
    let mut generator = DtmfGenerator::new(Digit::from_char('7').unwrap());
    let packets: Vec<(RtpHeader, Vec<u8>)> = (0..6)
        .map(|_| {
            let payload = (0..160).map(|_| Codec::Pcmu.encode_sample(generator.next_sample())).collect();
            (line.advance_audio(), payload)
        })
        .collect();
    for index in [0, 2, 1, 4, 5] {
        line.packet_from("192.0.2.1:4000", packets[index].0, &packets[index].1);
        line.run(20);
    }
    silence(&mut line, 10);
    assert_eq!(line.digits(), "7");
}

#[test]
fn a_tone_ends_when_its_audio_stops_coming() {
    let mut line = Line::connected_as(without_events());
    tone(&mut line, '3', 5);
    assert_eq!(line.digits(), "");
    line.run(200);
    assert_eq!(line.digits(), "3");
}

#[test]
fn tones_are_heard_once_a_new_description_has_taken_telephone_events_away() {
    let mut line = Line::connected();
    line.press(9);
    line.command(Command::SetRemote(Box::new(without_events())));
    for key in "123".chars() {
        tone(&mut line, key, 4);
        silence(&mut line, 4);
    }
    assert_eq!(line.digits(), "9123");
}

#[test]
fn keys_are_sent_as_events_at_once_and_the_prompt_goes_on_after_them() {
    let mut line = Line::connected();
    line.play(1, &[&prompt(1, 400)]);
    line.run(107);
    line.sent.clear();
    let request = DtmfRequest {
        digits: vec![Digit::from_char('5').unwrap()],
        duration: Duration::from_millis(100),
        gap: Duration::from_millis(60),
        method: DtmfMethod::TelephoneEvent,
    };
    line.command(Command::SendDtmf { id: DtmfId(4), request });
    line.run(200);
    let events: Vec<_> = line.sent.iter().filter(|packet| packet.header.payload_type == EVENT).collect();
    assert_eq!(events.len(), 9);
    assert!(events[0].header.marker && events[1..].iter().all(|packet| !packet.header.marker));
    assert!(events.iter().all(|packet| packet.header.timestamp == events[0].header.timestamp));
    assert_eq!(events.iter().filter(|packet| packet.payload[1] & 0x80 != 0).count(), 3);
    for pair in line.sent.windows(2) {
        assert_eq!(pair[1].header.sequence.distance(pair[0].header.sequence), 1);
    }
    assert!(line.events.iter().any(|(_, event)| *event == MediaEvent::DtmfSent { id: DtmfId(4), sent: 1 }));
    let after = line.sent.iter().rev().find(|packet| packet.header.payload_type == PCMU).unwrap();
    assert_eq!(after.payload[0], 1);
    let moved = after.header.timestamp.distance(events[0].header.timestamp);
    assert!(moved >= 800, "{moved}");
}

#[test]
fn our_own_keys_are_understood_by_our_own_receiver() {
    let (mut caller, mut callee) = (Line::connected(), Line::connected_as(without_events()));
    for (line, method) in [(&mut caller, DtmfMethod::TelephoneEvent), (&mut callee, DtmfMethod::InBand)] {
        let request = DtmfRequest {
            digits: "0123456789*#ABCD".chars().filter_map(Digit::from_char).collect(),
            duration: Duration::from_millis(60),
            gap: Duration::from_millis(60),
            method,
        };
        line.command(Command::SendDtmf { id: DtmfId(1), request });
        line.run(4000);
        let agreed = if method == DtmfMethod::InBand { without_events() } else { negotiated() };
        let mut listener = Line::connected_as(agreed);
        for packet in &line.sent {
            let wait = packet.at - listener.at();
            listener.run(wait.max(0.0) as u64);
            listener.packet_from("192.0.2.1:4000", packet.header, &packet.payload);
        }
        listener.run(500);
        assert_eq!(listener.digits(), "0123456789*#ABCD");
    }
}
