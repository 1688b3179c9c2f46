//! Our RTP parser and writer against the `rtp` crate, which was written by others from the same RFC.
//!
//! It only ever sees packets that ours has validated: it panics on a header extension longer than its packet.

use bytes::Bytes;
use lockstep_media::rtp::{PayloadType, RtpHeader, RtpPacket, RtpTimestamp, SequenceNumber, Ssrc};
use proptest::prelude::*;
use rtp::packet::Packet;
use webrtc_util::marshal::{Marshal, Unmarshal};

fn header() -> impl Strategy<Value = RtpHeader> {
    (any::<bool>(), 0u8..128, any::<u16>(), any::<u32>(), any::<u32>()).prop_map(
        |(marker, payload_type, sequence, timestamp, ssrc)| RtpHeader {
            marker,
            payload_type: PayloadType::new(payload_type).unwrap(),
            sequence: SequenceNumber(sequence),
            timestamp: RtpTimestamp(timestamp),
            ssrc: Ssrc(ssrc),
        },
    )
}

fn of(packet: &Packet) -> RtpHeader {
    RtpHeader {
        marker: packet.header.marker,
        payload_type: PayloadType::new(packet.header.payload_type).unwrap(),
        sequence: SequenceNumber(packet.header.sequence_number),
        timestamp: RtpTimestamp(packet.header.timestamp),
        ssrc: Ssrc(packet.header.ssrc),
    }
}

proptest! {
    #[test]
    fn what_we_write_the_other_reads(header in header(), payload in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut datagram = header.to_bytes().to_vec();
        datagram.extend_from_slice(&payload);
        let theirs = Packet::unmarshal(&mut Bytes::from(datagram)).unwrap();
        prop_assert_eq!(of(&theirs), header);
        prop_assert_eq!(&theirs.payload[..], &payload[..]);
        prop_assert_eq!(theirs.header.version, 2);
    }

    #[test]
    fn what_the_other_writes_we_read(
        header in header(),
        csrc in prop::collection::vec(any::<u32>(), 0..15),
        extension in prop::option::of(prop::collection::vec(any::<u8>(), 1..16)),
        payload in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let mut theirs = Packet { payload: Bytes::from(payload.clone()), ..Packet::default() };
        theirs.header.version = 2;
        theirs.header.marker = header.marker;
        theirs.header.payload_type = header.payload_type.value();
        theirs.header.sequence_number = header.sequence.0;
        theirs.header.timestamp = header.timestamp.0;
        theirs.header.ssrc = header.ssrc.0;
        theirs.header.csrc = csrc;
        if let Some(extension) = extension {
            theirs.header.set_extension(3, Bytes::from(extension)).unwrap();
        }
        let datagram = theirs.marshal().unwrap();
        let ours = RtpPacket::parse(&datagram).unwrap();
        prop_assert_eq!(ours.header, header);
        prop_assert_eq!(ours.payload, &payload[..]);
    }

    #[test]
    fn what_we_accept_of_random_octets_the_other_reads_alike(
        first in 0x80u8..0xc0,
        rest in prop::collection::vec(any::<u8>(), 11..120),
    ) {
        // No extension: the crate also reads what is inside, which we do not look at.
        let mut datagram = vec![first & !0x10];
        datagram.extend_from_slice(&rest);
        if let Ok(ours) = RtpPacket::parse(&datagram) {
            let theirs = Packet::unmarshal(&mut Bytes::from(datagram.clone())).unwrap();
            prop_assert_eq!(of(&theirs), ours.header);
            prop_assert_eq!(&theirs.payload[..], ours.payload);
        }
    }
}
