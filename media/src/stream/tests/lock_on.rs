//! Whose packets are taken: addresses, sources, payload types.

use super::*;

#[test]
fn packets_of_a_third_address_are_dropped_and_counted() {
    let mut line = Line::connected();
    line.audio(1);
    let intruder = RtpHeader { ssrc: Ssrc(666), ..line.next };
    for _ in 0..100 {
        line.packet_from("203.0.113.66:9000", intruder, &[2; 160]);
    }
    let stats = line.stream.stats();
    assert_eq!((stats.packets_received, stats.dropped.wrong_source), (1, 100));
    line.run(20);
    assert_eq!(line.sent.last().unwrap().to, address("192.0.2.1:4000"));
}

#[test]
fn ours_go_where_theirs_come_from() {
    let mut line = Line::connected();
    let header = line.advance_audio();
    line.packet_from("192.0.2.1:61234", header, &[1; 160]);
    assert_eq!(line.events, [(0, MediaEvent::MediaStarted { source: address("192.0.2.1:61234") })]);
    assert_eq!(line.stream.latched(), None, "the signalled port may still speak");
    line.run(20);
    assert_eq!(line.sent.last().unwrap().to, address("192.0.2.1:61234"));
    line.audio(1);
    assert_eq!(line.stream.latched(), Some(address("192.0.2.1:4000")));
    line.run(20);
    assert_eq!(line.sent.last().unwrap().to, address("192.0.2.1:4000"));
    line.run(5000);
    assert_eq!(line.stream.latched(), None, "after a silence the other side may have moved");
}

#[test]
fn a_second_source_proves_itself_with_two_packets_in_sequence() {
    let mut line = Line::connected();
    line.audio(1);
    let mut other = RtpHeader { ssrc: Ssrc(88), sequence: SequenceNumber(7), ..line.next };
    line.packet_from("192.0.2.1:4000", other, &[2; 160]);
    line.audio(1);
    other.sequence = SequenceNumber(9);
    line.packet_from("192.0.2.1:4000", other, &[2; 160]);
    assert_eq!(line.stream.stats().dropped.wrong_ssrc, 2);
    assert_eq!(line.stream.stats().packets_received, 2);
    other.sequence = SequenceNumber(10);
    line.packet_from("192.0.2.1:4000", other, &[2; 160]);
    assert_eq!(line.stream.stats().packets_received, 3);
    line.audio(1);
    assert_eq!(line.stream.stats().dropped.wrong_ssrc, 3, "now the first one is the stranger");
    assert_eq!(line.stream.stats().packets_lost, 0);
}

#[test]
fn payload_types_nobody_agreed_to_are_dropped_and_do_not_lock_on() {
    let mut line = Line::connected();
    let header = RtpHeader { payload_type: PayloadType::new(34).unwrap(), ..line.next };
    line.packet_from("192.0.2.1:61234", header, &[1; 160]);
    assert_eq!(line.stream.stats().dropped.wrong_payload_type, 1);
    assert_eq!(line.stream.latched(), None);
    assert_eq!(line.events, []);
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut line = Line::connected();
    let extension_beyond_the_end = [0x90, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0xff, 0xff];
    for datagram in [&b""[..], b"x", &[0x80; 11], &[0; 200], &extension_beyond_the_end] {
        assert!(line.stream.handle_packet(line.now, address("192.0.2.1:4000"), datagram).is_none());
    }
    assert_eq!(line.stream.stats().dropped.malformed, 5);
    line.stream.handle_rtcp(line.now, address("192.0.2.1:4001"), &[0x81, 200, 0, 1, 0, 0, 0, 0]);
    assert_eq!(line.stream.stats().dropped.malformed, 6);
}

#[test]
fn packets_before_the_session_description_are_dropped() {
    let mut line = Line::idle();
    line.audio(1);
    assert_eq!(line.stream.stats().dropped.unexpected, 1);
}

#[test]
fn a_new_address_in_a_new_description_is_locked_on_to() {
    let mut line = Line::connected();
    line.audio(1);
    line.command(Command::SetRemote(Box::new(Negotiated { remote: Some(address("198.51.100.2:6000")), ..negotiated() })));
    line.run(20);
    assert_eq!(line.sent.last().unwrap().to, address("198.51.100.2:6000"));
    let header = RtpHeader { ssrc: Ssrc(99), ..line.next };
    line.packet_from("198.51.100.2:6000", header, &[1; 160]);
    assert_eq!(line.stream.stats().packets_received, 2, "its source needs no second packet");
    let heard = line.events.iter().filter(|(_, event)| matches!(event, MediaEvent::MediaStarted { .. })).count();
    assert_eq!(heard, 2, "it is news that this address is heard");
    line.audio(1);
    assert_eq!(line.stream.stats().dropped.wrong_source, 1);
    line.assert_continuous();
}

#[test]
fn a_party_that_listens_at_its_new_port_hears_us_whatever_is_still_on_its_way_from_the_old_one() {
    let mut line = Line::connected();
    line.audio(1);
    line.command(Command::SetRemote(Box::new(Negotiated { remote: Some(address("192.0.2.1:5000")), ..negotiated() })));
    line.audio(1);
    line.run(20);
    assert_eq!(line.sent.last().unwrap().to, address("192.0.2.1:5000"));
}
