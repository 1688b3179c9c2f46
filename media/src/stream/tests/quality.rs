//! Statistics, reports, determinism, and what a bad network leaves of a stream.

use proptest::prelude::*;

use super::*;
use crate::rtcp::{RtcpPacket, packets};

#[test]
fn loss_and_order_are_counted() {
    let mut line = Line::connected();
    let headers: Vec<RtpHeader> = (0..10).map(|_| line.advance_audio()).collect();
    for index in [0, 1, 3, 2, 5, 6, 9] {
        line.packet_from("192.0.2.1:4000", headers[index], &[1; 160]);
        line.run(20);
    }
    let stats = line.stream.stats();
    assert_eq!((stats.packets_received, stats.packets_lost, stats.packets_reordered), (7, 3, 1));
    assert_eq!(stats.octets_received, 7 * 160);
}

#[test]
fn reports_go_to_the_port_above_or_to_the_shared_one() {
    let mut line = Line::connected();
    line.audio(1);
    line.run(20_000);
    assert!(line.rtcp.len() >= 3);
    assert!(line.rtcp.iter().all(|(to, channel, _)| (*to, *channel) == (address("192.0.2.1:4001"), Channel::Rtcp)));
    let remote = Some(address("192.0.2.1:4000"));
    let mut shared = Line::connected_as(Negotiated { rtcp_mux: true, remote_rtcp: remote, ..negotiated() });
    shared.run(10_000);
    assert!(shared.rtcp.iter().all(|(to, channel, _)| (Some(*to), *channel) == (remote, Channel::Rtp)));
    assert!(!shared.rtcp.is_empty());
}

#[test]
fn reports_follow_a_side_that_sits_behind_a_nat() {
    let mut line = Line::connected_as(Negotiated {
        remote: Some(address("10.0.0.5:4000")),
        remote_rtcp: Some(address("10.0.0.5:4001")),
        ..negotiated()
    });
    let header = line.advance_audio();
    line.packet_from("198.51.100.9:61000", header, &[1; 160]);
    line.run(10_000);
    assert!(!line.rtcp.is_empty());
    assert!(line.rtcp.iter().all(|(to, ..)| *to == address("198.51.100.9:61001")));
}

#[test]
fn reports_follow_a_side_that_moves_after_it_sent_some_itself() {
    let mut line = Line::connected();
    line.audio(1);
    let report = crate::rtcp::Report { ssrc: Ssrc(77), sender: None, block: None, cname: "them", bye: false };
    let mut datagram = [0; 128];
    let len = report.write(&mut datagram).unwrap();
    line.stream.handle_rtcp(line.now, address("192.0.2.1:4009"), &datagram[..len]);
    line.run(10_000);
    assert!(!line.rtcp.is_empty());
    assert!(line.rtcp.iter().all(|(to, ..)| *to == address("192.0.2.1:4009")));
    for _ in 0..2 {
        let header = line.advance_audio();
        line.packet_from("198.51.100.9:61000", header, &[1; 160]);
    }
    let before = line.rtcp.len();
    line.run(10_000);
    assert!(line.rtcp.len() > before);
    assert!(line.rtcp[before..].iter().all(|(to, ..)| *to == address("198.51.100.9:61001")));
}

#[test]
fn a_report_says_what_was_sent_and_received() {
    let mut line = Line::connected();
    for _ in 0..250 {
        line.audio(1);
        line.run(20);
    }
    let (_, _, datagram) = line.rtcp.first().unwrap();
    let Some(Ok(RtcpPacket::SenderReport { sender, blocks, .. })) = packets(datagram).next() else { panic!("an SR") };
    assert_eq!(sender.octets, sender.packets * 160);
    let block = blocks.iter().next().unwrap();
    assert_eq!((block.ssrc, block.cumulative_lost, block.jitter), (Ssrc(77), 0, 0));
}

#[test]
fn goodbye_is_reported_and_lets_another_source_in() {
    let mut line = Line::connected();
    line.audio(1);
    let report = crate::rtcp::Report { ssrc: Ssrc(77), sender: None, block: None, cname: "them", bye: true };
    let mut datagram = [0; 128];
    let len = report.write(&mut datagram).unwrap();
    line.stream.handle_rtcp(line.now, address("203.0.113.66:4001"), &datagram[..len]);
    line.drain();
    assert!(!line.events.iter().any(|(_, event)| *event == MediaEvent::RemoteBye), "from a stranger");
    line.stream.handle_rtcp(line.now, address("192.0.2.1:4001"), &datagram[..len]);
    line.drain();
    assert_eq!(line.events.last(), Some(&(0, MediaEvent::RemoteBye)));
    line.next.ssrc = Ssrc(78);
    line.audio(1);
    assert_eq!(line.stream.stats().packets_received, 2);
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let run = |seed| {
        let mut line = Line::seeded(seed);
        line.command(Command::SetRemote(Box::new(negotiated())));
        line.audio(1);
        line.run(10_000);
        let headers: Vec<RtpHeader> = line.sent.iter().map(|packet| packet.header).collect();
        (headers, line.rtcp)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn an_idle_stream_is_small() {
    assert!(size_of::<MediaStream>() < 2048, "{}", size_of::<MediaStream>());
}

#[derive(Debug, Clone)]
enum Doing {
    Play { octet: u8, length: usize },
    Stop,
    Hold,
    Resume,
    Audio,
    Press(u8),
    SendKeys,
    Wait(u64),
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        (1u8..9, 0usize..300).prop_map(|(octet, length)| Doing::Play { octet, length }),
        Just(Doing::Stop),
        Just(Doing::Hold),
        Just(Doing::Resume),
        Just(Doing::Audio),
        (0u8..16).prop_map(Doing::Press),
        Just(Doing::SendKeys),
        (0u64..400).prop_map(Doing::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_the_stream_stays_one_stream(doings in prop::collection::vec(doing(), 1..40)) {
        let mut line = Line::connected();
        let mut started = 0;
        for doing in doings {
            match doing {
                Doing::Play { octet, length } => {
                    started += 1;
                    line.play(started, &[&prompt(octet, length)]);
                }
                Doing::Stop => line.command(Command::Stop(PlayId(started))),
                Doing::Hold => {
                    let held = Negotiated { direction: Direction::RecvOnly, held: true, ..negotiated() };
                    line.command(Command::SetRemote(Box::new(held)));
                }
                Doing::Resume => line.command(Command::SetRemote(Box::new(negotiated()))),
                Doing::Audio => drop(line.audio(1)),
                Doing::Press(digit) => drop(line.press(digit)),
                Doing::SendKeys => {
                    let digits = "1#".chars().filter_map(crate::digit::Digit::from_char).collect();
                    let (duration, gap) = (Duration::from_millis(50), Duration::from_millis(50));
                    let request = DtmfRequest { digits, duration, gap, method: DtmfMethod::TelephoneEvent };
                    line.command(Command::SendDtmf { id: DtmfId(1), request });
                }
                Doing::Wait(milliseconds) => line.run(milliseconds),
            }
        }
        line.stream.close(line.now);
        line.drain();
        line.assert_continuous();
        let finished: Vec<u64> = line
            .events
            .iter()
            .filter_map(|(_, event)| match event {
                MediaEvent::PlayoutFinished { id, .. } => Some(id.0),
                _ => None,
            })
            .collect();
        prop_assert_eq!(finished, (1..=started).collect::<Vec<u64>>(), "every playout ends once and in order");
    }
}
