//! Media: session descriptions, RTP and RTCP packets.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use lockstep_media::{
    codec::Codec,
    rtcp,
    rtp::{HEADER_LEN, RtpPacket, is_rtcp},
    sdp::{LocalMedia, OfferAnswer, SessionDescription},
    telephone_event::{TelephoneEvent, TelephoneEventReceiver},
};

/// A description reads the same after it was written; as an offer and as an answer it is taken or refused.
pub fn sdp(data: &[u8]) {
    if let Ok(description) = SessionDescription::parse(data) {
        let written = description.to_string();
        let again = SessionDescription::parse(written.as_bytes())
            .unwrap_or_else(|error| panic!("cannot read what we wrote: {error}: {written:?}"));
        assert_eq!(again.to_string(), written);
        assert_eq!(again.media.len(), description.media.len());
    }
    let mut answerer = OfferAnswer::new(local());
    if let Ok((answer, _)) = answerer.answer(data) {
        let answer = SessionDescription::parse(answer.as_bytes()).expect("an answer of ours can be read");
        let offer = SessionDescription::parse(data).expect("what was answered was read");
        assert_eq!(answer.media.len(), offer.media.len(), "a section for each section (RFC 3264 section 6)");
        // The same again: a session refresh.
        answerer.answer(data).expect("the same offer is taken again");
    }
    let mut offerer = OfferAnswer::new(local());
    offerer.offer();
    if offerer.take_answer(data).is_err() {
        offerer.withdraw_offer();
    }
    offerer.offer();
}

fn local() -> LocalMedia {
    LocalMedia {
        address: "192.0.2.1".parse().expect("an address"),
        rtp_port: 20_000,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        packet_time: Duration::from_millis(20),
        offer_rtcp_mux: true,
        session_id: 1,
    }
}

/// One packet, and what it carries read as a telephone event and as audio.
pub fn rtp(data: &[u8]) {
    let _ = is_rtcp(data);
    let Ok(packet) = RtpPacket::parse(data) else { return };
    assert!(packet.payload.len() + HEADER_LEN <= data.len());
    let mut rewritten = packet.header.to_bytes().to_vec();
    rewritten.extend_from_slice(packet.payload);
    assert_eq!(RtpPacket::parse(&rewritten), Ok(packet));
    let mut samples = Vec::new();
    Codec::Pcmu.decode(packet.payload, &mut samples);
    assert_eq!(samples.len(), packet.payload.len());

    let mut receiver = TelephoneEventReceiver::default();
    let mut now = origin();
    for (sequence, event) in (1..).zip(packet.payload.as_chunks::<4>().0) {
        let Some(event) = TelephoneEvent::parse(event) else { continue };
        let ended = receiver.handle_packet(now, sequence, packet.header.marker, packet.header.timestamp, 8_000, event);
        assert!(ended.count() <= 2);
        now += Duration::from_millis(20);
    }
    if let Some(deadline) = receiver.deadline() {
        receiver.handle_timeout(deadline);
        assert_eq!(receiver.deadline(), None);
    }
}

/// A compound datagram; its packets come to an end.
pub fn rtcp(data: &[u8]) {
    for (count, packet) in rtcp::packets(data).enumerate() {
        assert!(count <= data.len() / 4);
        match packet {
            Ok(rtcp::RtcpPacket::SenderReport { blocks, .. } | rtcp::RtcpPacket::ReceiverReport { blocks, .. }) => {
                assert!(blocks.iter().count() <= 31);
            }
            Ok(rtcp::RtcpPacket::Bye { sources }) => assert!(sources.iter().count() <= 31),
            Ok(rtcp::RtcpPacket::Other { .. }) | Err(_) => {}
        }
    }
}

/// The clock is moved by hand from here.
#[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}
