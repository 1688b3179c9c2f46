//! Whatever arrives, a stream with everything switched on stays up, and its own packets stay in order.

use proptest::prelude::*;

use super::*;
use crate::digit::DigitSet;
use crate::recording::{RecordingDirection, RecordingOptions};

#[derive(Debug, Clone)]
enum Arriving {
    Octets(Vec<u8>),
    Rtcp(Vec<u8>),
    Packet { payload_type: u8, sequence: u16, timestamp: u32, ssrc: u32, marker: bool, length: usize, from: u8 },
    Wait(u64),
}

fn arriving() -> impl Strategy<Value = Arriving> {
    let payload_type = prop_oneof![Just(0u8), Just(8), Just(13), Just(101), any::<u8>().prop_map(|value| value & 0x7f)];
    let sequence = prop_oneof![0u16..50, any::<u16>()];
    let timestamp = prop_oneof![0u32..8000, any::<u32>()];
    let length = prop_oneof![Just(160usize), 0usize..10, 0usize..1500];
    let packet = (payload_type, sequence, timestamp, 0u32..3, any::<bool>(), length, 0u8..3).prop_map(
        |(payload_type, sequence, timestamp, ssrc, marker, length, from)| Arriving::Packet {
            payload_type,
            sequence,
            timestamp,
            ssrc,
            marker,
            length,
            from,
        },
    );
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Arriving::Octets),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Arriving::Rtcp),
        8 => packet,
        3 => (0u64..300).prop_map(Arriving::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_that_arrives_does_harm(
        arrivals in prop::collection::vec(arriving(), 1..200),
        echoes in any::<bool>(),
        has_events in any::<bool>(),
    ) {
        let timeout = Some(Duration::from_millis(500));
        let mut line = Line::configured(42, timeout);
        let agreed = negotiated();
        line.command(Command::SetRemote(Box::new(Negotiated {
            telephone_event: agreed.telephone_event.filter(|_| has_events),
            ..agreed
        })));
        let mut peer = Line::configured(9, timeout);
        (peer.start, peer.now) = (line.start, line.now);
        let short = Negotiated { max_packet_time: Some(Duration::from_millis(10)), codec: Codec::Pcma, ..negotiated() };
        peer.command(Command::SetRemote(Box::new(short)));
        for side in [&mut line, &mut peer] {
            side.command(Command::Join);
            side.command(Command::BlockDtmf(DigitSet::from_keys("1")));
            let options = RecordingOptions { stereo: true, direction: RecordingDirection::Both };
            side.command(Command::Record { id: RecordingId(1), options });
        }
        if echoes {
            line.command(Command::Echo(Some(Duration::from_millis(50))));
        }
        let sources = ["192.0.2.1:4000", "192.0.2.1:4444", "203.0.113.66:9000"];
        let mut arrived = 0;
        for arrival in arrivals {
            match arrival {
                Arriving::Octets(octets) => {
                    let _ = line.stream.handle_packet(line.now, address(sources[0]), &octets);
                    arrived += 1;
                }
                Arriving::Rtcp(octets) => line.stream.handle_rtcp(line.now, address("192.0.2.1:4001"), &octets),
                Arriving::Packet { payload_type, sequence, timestamp, ssrc, marker, length, from } => {
                    let header = RtpHeader {
                        marker,
                        payload_type: PayloadType::new(payload_type).unwrap(),
                        sequence: SequenceNumber(sequence),
                        timestamp: RtpTimestamp(timestamp),
                        ssrc: Ssrc(ssrc),
                    };
                    let payload: Vec<u8> = (0..length).map(|index| (index as u8).wrapping_mul(sequence as u8)).collect();
                    let handed = line.packet_from(sources[usize::from(from)], header, &payload);
                    arrived += u64::from(!crate::rtp::is_rtcp(&header.to_bytes()));
                    if let Some(packet) = handed {
                        packet.into(&mut peer);
                    }
                }
                Arriving::Wait(milliseconds) => {
                    line.run(milliseconds);
                    peer.run(milliseconds);
                }
            }
        }
        for side in [&mut line, &mut peer] {
            side.stream.close(side.now);
            side.drain();
            let recorded: usize = side.recorded.iter().map(|(_, samples)| samples.len()).sum();
            prop_assert_eq!(recorded, (side.at() * 8.0) as usize * 2, "a recording is as long as it ran");
        }
        line.assert_continuous();
        let stats = line.stream.stats();
        let dropped = stats.dropped;
        let counted = stats.packets_received + dropped.malformed + dropped.wrong_source + dropped.wrong_ssrc;
        prop_assert!(counted + dropped.wrong_payload_type + dropped.unexpected >= arrived, "every packet is accounted for");
    }
}
