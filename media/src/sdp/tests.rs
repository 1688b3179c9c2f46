//! Offers as they come from phones and carriers, and what we make of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::codec::Codec;

fn local() -> LocalMedia {
    LocalMedia {
        address: "203.0.113.5".parse().unwrap(),
        rtp_port: 20_000,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        packet_time: Duration::from_millis(20),
        offer_rtcp_mux: false,
        session_id: 4711,
    }
}

/// An offer from 192.0.2.1 with these lines from the first `m=` on.
fn offer(sections: &str) -> Vec<u8> {
    let head = "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\n";
    format!("{head}{sections}").replace('\n', "\r\n").into_bytes()
}

fn answer(sections: &str) -> (String, Negotiated) {
    OfferAnswer::new(local()).answer(&offer(sections)).unwrap()
}

fn refusal(sections: &str) -> SdpError {
    OfferAnswer::new(local()).answer(&offer(sections)).unwrap_err()
}

/// The lines of ours from the first `m=` on.
fn sections(sdp: &str) -> Vec<&str> {
    sdp.lines().skip_while(|line| !line.starts_with("m=")).collect()
}

fn version(sdp: &str) -> &str {
    sdp.lines().nth(1).and_then(|origin| origin.split(' ').nth(2)).unwrap()
}

#[test]
fn a_whole_answer() {
    let (sdp, negotiated) = answer(
        "m=audio 49170 RTP/AVP 8 0 101\na=rtpmap:8 PCMA/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\n",
    );
    let expected = "v=0\no=- 4711 1 IN IP4 203.0.113.5\ns=-\nc=IN IP4 203.0.113.5\nt=0 0\n\
        m=audio 20000 RTP/AVP 8 0 101\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\n\
        a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=ptime:20\na=sendrecv\n";
    assert_eq!(sdp, expected.replace('\n', "\r\n"));
    assert_eq!((negotiated.codec, negotiated.payload_type.value()), (Codec::Pcma, 8));
    assert_eq!(negotiated.remote, Some("192.0.2.1:49170".parse().unwrap()));
    assert_eq!(negotiated.remote_rtcp, Some("192.0.2.1:49171".parse().unwrap()));
    assert_eq!(negotiated.telephone_event.map(|types| (types.send.value(), types.receive.value())), Some((101, 101)));
    assert!(!negotiated.in_band_dtmf() && !negotiated.held && !negotiated.rtcp_mux);
}

#[test]
fn the_answer_is_for_the_time_of_the_offer() {
    for (theirs, ours) in [("t=0 0", "t=0 0"), ("t=5 6", "t=5 6"), ("t=5 6\nt=7 8", "t=5 6"), ("t=x", "t=0 0"), ("t=5", "t=0 0")]
    {
        let offer = String::from_utf8(offer("m=audio 4000 RTP/AVP 0\n")).unwrap().replace("t=0 0", theirs);
        let (sdp, _) = OfferAnswer::new(local()).answer(offer.as_bytes()).unwrap();
        assert_eq!(sdp.lines().find(|line| line.starts_with("t=")), Some(ours), "{theirs}");
    }
}

#[test]
fn the_offerers_order_and_payload_types_are_kept_and_unknown_codecs_left_out() {
    let (sdp, negotiated) = answer(
        "m=audio 4000 RTP/AVP 9 111 97 96 18\na=rtpmap:111 opus/48000/2\na=rtpmap:97 pcma/8000/1\na=rtpmap:96 telephone-event/8000\n",
    );
    assert_eq!(sections(&sdp)[0], "m=audio 20000 RTP/AVP 97 96");
    assert_eq!((negotiated.codec, negotiated.payload_type.value()), (Codec::Pcma, 97));
    assert_eq!(negotiated.telephone_event.map(|types| types.send.value()), Some(96));
}

#[test]
fn static_payload_types_need_no_rtpmap() {
    let (_, negotiated) = answer("m=audio 4000 RTP/AVP 0\n");
    assert_eq!(negotiated.codec, Codec::Pcmu);
    assert!(negotiated.in_band_dtmf(), "no telephone-event was offered");
}

#[test]
fn a_dynamic_payload_type_without_rtpmap_means_nothing() {
    assert!(matches!(refusal("m=audio 4000 RTP/AVP 96\n"), SdpError::NoCommonCodec { .. }));
}

#[test]
fn an_rtpmap_overrides_what_a_static_number_stands_for() {
    assert!(matches!(refusal("m=audio 4000 RTP/AVP 0\na=rtpmap:0 G729/8000\n"), SdpError::NoCommonCodec { .. }));
}

#[test]
fn telephone_events_must_run_on_the_clock_of_the_codec() {
    let (sdp, negotiated) =
        answer("m=audio 4000 RTP/AVP 0 100 101\na=rtpmap:100 telephone-event/48000\na=rtpmap:101 telephone-event/8000\n");
    assert_eq!(sections(&sdp)[0], "m=audio 20000 RTP/AVP 0 101");
    assert_eq!(negotiated.telephone_event.map(|types| types.send.value()), Some(101));
    let (_, other) = answer("m=audio 4000 RTP/AVP 0 100\na=rtpmap:100 telephone-event/48000\n");
    assert!(other.in_band_dtmf());
}

#[test]
fn further_sections_are_refused_in_their_place() {
    let (sdp, _) = answer(
        "m=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\nm=audio 4000 RTP/AVP 0\nm=audio 4002 RTP/AVP 8\nm=image 4004 udptl t38\n",
    );
    let media: Vec<&str> = sections(&sdp).into_iter().filter(|line| line.starts_with("m=")).collect();
    let expected = ["m=video 0 RTP/AVP 96", "m=audio 20000 RTP/AVP 0", "m=audio 0 RTP/AVP 8", "m=image 0 udptl t38"];
    assert_eq!(media, expected);
}

#[test]
fn secure_profiles_alone_are_refused_and_skipped_where_there_is_a_plain_one() {
    for profile in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"] {
        let error = refusal(&format!("m=audio 4000 {profile} 0\n"));
        assert_eq!(error, SdpError::UnsupportedProfile { got: profile.to_owned() });
        assert!(!error.is_malformed());
        let (sdp, _) = answer(&format!("m=audio 4000 {profile} 0\nm=audio 4002 RTP/AVP 0\n"));
        assert_eq!(sections(&sdp)[..2], [&format!("m=audio 0 {profile} 0"), "m=audio 20000 RTP/AVP 0"]);
    }
    let (sdp, _) = answer("m=audio 4000 RTP/AVPF 0\n");
    assert_eq!(sections(&sdp)[0], "m=audio 20000 RTP/AVPF 0");
}

#[test]
fn what_is_not_acceptable_says_why() {
    assert_eq!(
        refusal("m=audio 4000 RTP/AVP 18 96\na=rtpmap:96 opus/48000/2\n").to_string(),
        "no common codec: they have 18, opus/48000, we have PCMU, PCMA"
    );
    assert_eq!(refusal("m=video 4000 RTP/AVP 31\n"), SdpError::NoAudio);
    assert_eq!(refusal("m=audio 0 RTP/AVP 0\n"), SdpError::NoAudio);
    assert_eq!(refusal(""), SdpError::NoAudio);
}

#[test]
fn the_connection_of_the_section_wins_over_that_of_the_session() {
    let (_, negotiated) = answer("m=audio 4000 RTP/AVP 0\nc=IN IP4 192.0.2.9\n");
    assert_eq!(negotiated.remote, Some("192.0.2.9:4000".parse().unwrap()));
    let (_, named) = answer("m=audio 4000 RTP/AVP 0\nc=IN IP4 media.example.net\n");
    assert_eq!((named.remote, named.direction), (None, Direction::SendRecv));
}

#[test]
fn an_answer_over_ipv6_says_so() {
    let mut leg = OfferAnswer::new(LocalMedia { address: "2001:db8::5".parse().unwrap(), ..local() });
    let (sdp, _) = leg.answer(&offer("m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::9\n")).unwrap();
    assert!(sdp.contains("o=- 4711 1 IN IP6 2001:db8::5\r\n") && sdp.contains("\r\nc=IN IP6 2001:db8::5\r\n"), "{sdp}");
}

#[test]
fn media_over_the_other_version_of_ip_are_refused_both_ways() {
    let other = "m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::9\n";
    let expected = SdpError::AddressFamily { got: "IPv6", expected: "IPv4" };
    assert_eq!(refusal(other), expected);
    let mut leg = OfferAnswer::new(local());
    leg.offer();
    assert_eq!(leg.take_answer(&offer(other)), Err(expected));
    // A section that can be reached is taken in its place.
    let (sdp, _) = answer(&format!("{other}m=audio 4002 RTP/AVP 0\n"));
    assert_eq!(sections(&sdp)[..2], ["m=audio 0 RTP/AVP 0", "m=audio 20000 RTP/AVP 0"]);
}

#[test]
fn media_at_a_multicast_or_broadcast_address_are_refused_both_ways() {
    for address in ["224.2.1.1/127", "239.255.0.1", "255.255.255.255"] {
        let group = format!("m=audio 4000 RTP/AVP 0\nc=IN IP4 {address}\n");
        let error = refusal(&group);
        assert!(matches!(error, SdpError::NotUnicast { .. }) && !error.is_malformed(), "{error}");
        let mut leg = OfferAnswer::new(local());
        leg.offer();
        assert_eq!(leg.take_answer(&offer(&group)), Err(error));
    }
    let mut leg = OfferAnswer::new(LocalMedia { address: "2001:db8::5".parse().unwrap(), ..local() });
    let error = leg.answer(&offer("m=audio 4000 RTP/AVP 0\nc=IN IP6 ff0e::101\n")).unwrap_err();
    assert_eq!(error.to_string(), "sdp has audio at ff0e::101, expected the address of one host");
    let (_, negotiated) = answer("m=audio 4000 RTP/AVP 0\na=rtcp:4009 IN IP4 224.2.1.1\n");
    assert_eq!(negotiated.remote_rtcp, Some("192.0.2.1:4009".parse().unwrap()));
}

#[test]
fn packet_times_are_followed_within_reason() {
    for (attributes, milliseconds) in [
        ("", 20),
        ("a=ptime:30\n", 30),
        ("a=ptime:30.0\n", 30),
        ("a=ptime:5\n", 10),
        ("a=ptime:200\n", 60),
        ("a=ptime:0\n", 20),
        ("a=ptime:soon\n", 20),
        ("a=maxptime:10\n", 10),
        ("a=ptime:40\na=maxptime:20\n", 20),
    ] {
        let (sdp, negotiated) = answer(&format!("m=audio 4000 RTP/AVP 0\n{attributes}"));
        assert_eq!(negotiated.packet_time, Duration::from_millis(milliseconds), "{attributes}");
        assert!(sdp.contains(&format!("\r\na=ptime:{milliseconds}\r\n")), "{sdp}");
    }
    let (_, limited) = answer("m=audio 4000 RTP/AVP 0\na=maxptime:40\n");
    assert_eq!(limited.max_packet_time, Some(Duration::from_millis(40)));
}

#[test]
fn rtcp_goes_where_it_is_wanted() {
    let rtcp = |attributes: &str| answer(&format!("m=audio 4000 RTP/AVP 0\n{attributes}")).1.remote_rtcp.unwrap().to_string();
    assert_eq!(rtcp(""), "192.0.2.1:4001");
    assert_eq!(rtcp("a=rtcp:5005\n"), "192.0.2.1:5005");
    assert_eq!(rtcp("a=rtcp:5005 IN IP4 192.0.2.77\n"), "192.0.2.77:5005");
    assert_eq!(rtcp("a=rtcp:many\n"), "192.0.2.1:4001");
    let (sdp, negotiated) = answer("m=audio 4000 RTP/AVP 0\na=rtcp-mux\n");
    assert!(negotiated.rtcp_mux && sdp.contains("\r\na=rtcp-mux\r\n"));
    assert_eq!(negotiated.remote_rtcp, negotiated.remote);
    assert!(!answer("m=audio 4000 RTP/AVP 0\n").0.contains("rtcp-mux"));
}

#[test]
fn hold_is_understood_in_every_spelling() {
    for (attributes, ours, held) in [
        ("", Direction::SendRecv, false),
        ("a=sendrecv\n", Direction::SendRecv, false),
        ("a=recvonly\n", Direction::SendOnly, false),
        ("a=sendonly\n", Direction::RecvOnly, true),
        ("a=inactive\n", Direction::Inactive, true),
        ("c=IN IP4 0.0.0.0\n", Direction::RecvOnly, true),
        ("c=IN IP6 ::\n", Direction::RecvOnly, true),
        ("c=IN IP4 0.0.0.0\na=sendonly\n", Direction::RecvOnly, true),
        ("c=IN IP4 0.0.0.0\na=inactive\n", Direction::Inactive, true),
    ] {
        let (sdp, negotiated) = answer(&format!("m=audio 4000 RTP/AVP 0\n{attributes}"));
        assert_eq!((negotiated.direction, negotiated.held), (ours, held), "{attributes}");
        assert!(sdp.ends_with(&format!("a={ours}\r\n")), "{sdp}");
        assert!(sdp.contains("\r\nm=audio 20000 "), "the port is kept: {sdp}");
        assert_eq!(negotiated.remote.is_none(), attributes.starts_with("c="));
    }
    let head = "v=0\r\nc=IN IP4 192.0.2.1\r\na=sendonly\r\n";
    let whole_session = OfferAnswer::new(local()).answer(format!("{head}m=audio 4000 RTP/AVP 0\r\n").as_bytes());
    assert_eq!(whole_session.unwrap().1.direction, Direction::RecvOnly);
    let overridden = format!("{head}m=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n");
    assert_eq!(OfferAnswer::new(local()).answer(overridden.as_bytes()).unwrap().1.direction, Direction::SendRecv);
}

#[test]
fn the_version_moves_on_only_when_something_changes() {
    let mut leg = OfferAnswer::new(local());
    let versions: Vec<String> = ["", "", "a=sendonly\n", "a=sendonly\n", "", "a=ptime:30\n"]
        .into_iter()
        .map(|attributes| {
            let (sdp, _) = leg.answer(&offer(&format!("m=audio 4000 RTP/AVP 0\n{attributes}"))).unwrap();
            version(&sdp).to_owned()
        })
        .collect();
    assert_eq!(versions, ["1", "1", "2", "2", "3", "4"]);
}

#[test]
fn a_refused_offer_changes_nothing() {
    let mut leg = OfferAnswer::new(local());
    let (first, negotiated) = leg.answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    leg.answer(&offer("m=audio 4000 RTP/AVP 18\n")).unwrap_err();
    leg.answer(b"v=0\r\nm=audio\r\n").unwrap_err();
    assert_eq!(leg.current(), Some(&negotiated));
    assert_eq!(leg.answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap().0, first);
}

#[test]
fn a_new_codec_and_address_in_a_later_offer_are_taken() {
    let mut leg = OfferAnswer::new(local());
    leg.answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    let (_, negotiated) = leg.answer(&offer("m=audio 5000 RTP/AVP 8\nc=IN IP4 198.51.100.7\n")).unwrap();
    assert_eq!(negotiated.codec, Codec::Pcma);
    assert_eq!(negotiated.remote, Some("198.51.100.7:5000".parse().unwrap()));
}

#[test]
fn a_stream_that_is_taken_away_is_refused_in_its_place_and_can_come_back() {
    let mut leg = OfferAnswer::new(local());
    leg.answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    let (sdp, negotiated) = leg.answer(&offer("m=audio 0 RTP/AVP 0\n")).unwrap();
    assert_eq!(sections(&sdp), ["m=audio 0 RTP/AVP 0"]);
    assert_eq!((negotiated.remote, negotiated.direction, negotiated.held), (None, Direction::Inactive, true));
    let (_, back) = leg.answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    assert_eq!(back.direction, Direction::SendRecv);
}

#[test]
fn audio_that_gives_way_to_fax_is_not_taken_away() {
    let mut leg = OfferAnswer::new(local());
    leg.answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    let fax = offer("m=audio 0 RTP/AVP 0\nm=image 4000 udptl t38\n");
    assert_eq!(leg.answer(&fax).unwrap_err(), SdpError::NoAudio);
    assert_eq!(leg.current().map(|current| current.direction), Some(Direction::SendRecv));
}

#[test]
fn a_late_offer_is_ours_and_its_answer_is_taken() {
    let mut leg = OfferAnswer::new(local());
    let sdp = leg.offer();
    assert_eq!(sections(&sdp)[0], "m=audio 20000 RTP/AVP 0 8 101");
    assert!(sdp.contains("a=sendrecv"));
    let negotiated = leg.take_answer(&offer("m=audio 4000 RTP/AVP 8 97\na=rtpmap:97 telephone-event/8000\n")).unwrap();
    assert_eq!((negotiated.codec, negotiated.payload_type.value()), (Codec::Pcma, 8));
    let types = negotiated.telephone_event.unwrap();
    assert_eq!((types.send.value(), types.receive.value()), (97, 101));
    assert_eq!(negotiated.receive.len(), 2, "whatever we offered may arrive");
}

#[test]
fn answers_of_two_branches_may_differ() {
    let mut leg = OfferAnswer::new(local());
    leg.offer();
    leg.take_answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    let second = leg.take_answer(&offer("m=audio 6000 RTP/AVP 8\n")).unwrap();
    assert_eq!(second.codec, Codec::Pcma);
}

#[test]
fn the_answer_of_a_branch_counts_though_another_has_made_an_offer_meanwhile() {
    let mut leg = OfferAnswer::new(local());
    leg.offer();
    leg.take_answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap();
    leg.answer(&offer("m=audio 4000 RTP/AVP 0\na=sendonly\n")).unwrap();
    let other = leg.take_answer(&offer("m=audio 6000 RTP/AVP 8\n")).unwrap();
    assert_eq!(other.remote, Some("192.0.2.1:6000".parse().unwrap()));
    assert_eq!((other.codec, other.direction), (Codec::Pcma, Direction::SendRecv));
}

#[test]
fn an_answer_without_an_offer_or_without_audio_is_refused() {
    let mut leg = OfferAnswer::new(local());
    let plain = offer("m=audio 4000 RTP/AVP 0\n");
    assert_eq!(leg.take_answer(&plain), Err(SdpError::UnexpectedAnswer));
    leg.offer();
    assert_eq!(leg.take_answer(&offer("m=audio 0 RTP/AVP 0\n")), Err(SdpError::NoAudio));
    assert!(matches!(leg.take_answer(&offer("m=audio 4000 RTP/AVP 18\n")), Err(SdpError::NoCommonCodec { .. })));
    assert!(matches!(leg.take_answer(&offer("m=audio 4000 RTP/SAVP 0\n")), Err(SdpError::UnsupportedProfile { .. })));
    leg.withdraw_offer();
    assert_eq!(leg.take_answer(&plain), Err(SdpError::UnexpectedAnswer));
}

#[test]
fn the_answer_to_a_refresh_may_bring_something_new() {
    let plain = offer("m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n");
    let (mut called, mut calling) = (OfferAnswer::new(local()), OfferAnswer::new(local()));
    assert_eq!(called.take_refresh(&plain), Err(SdpError::UnexpectedAnswer));
    called.answer(&plain).unwrap();
    calling.offer();
    calling.take_answer(&plain).unwrap();
    for leg in [&mut called, &mut calling] {
        assert_eq!(leg.take_refresh(&plain), Ok(None), "nothing new");
        // An offer of ours that was refused is not what is repeated.
        leg.want(Direction::Inactive);
        leg.offer();
        leg.withdraw_offer();
        let moved = leg.take_refresh(&offer("m=audio 6000 RTP/AVP 0\na=sendonly\n")).unwrap().unwrap();
        assert_eq!(moved.remote, Some("192.0.2.1:6000".parse().unwrap()));
        assert_eq!((moved.direction, moved.held), (Direction::RecvOnly, true));
        assert_eq!(leg.current(), Some(&moved));
        assert!(leg.take_refresh(&offer("m=audio 0 RTP/AVP 0\n")).is_err());
        assert_eq!(leg.current(), Some(&moved));
    }
}

#[test]
fn holding_the_other_side_and_taking_it_back() {
    let mut leg = OfferAnswer::new(local());
    leg.answer(&offer("m=audio 4000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n")).unwrap();
    leg.want(Direction::SendOnly);
    let hold = leg.offer();
    assert!(hold.ends_with("a=sendonly\r\n") && version(&hold) == "2", "{hold}");
    let held = leg.take_answer(&offer("m=audio 4000 RTP/AVP 0\na=recvonly\n")).unwrap();
    assert_eq!((held.direction, held.held), (Direction::SendOnly, false));
    leg.want(Direction::SendRecv);
    assert!(leg.offer().ends_with("a=sendrecv\r\n"));
    assert_eq!(leg.take_answer(&offer("m=audio 4000 RTP/AVP 0\n")).unwrap().direction, Direction::SendRecv);
}

#[test]
fn port_0_in_answer_to_a_later_offer_takes_the_stream_away_until_the_next() {
    let plain = offer("m=audio 4000 RTP/AVP 0\n");
    let mut leg = OfferAnswer::new(local());
    leg.answer(&plain).unwrap();
    leg.want(Direction::SendOnly);
    leg.offer();
    let away = leg.take_answer(&offer("m=audio 0 RTP/AVP 0\n")).unwrap();
    assert_eq!((away.remote, away.direction, away.held), (None, Direction::Inactive, true));
    assert_eq!(leg.current(), Some(&away));
    leg.want(Direction::SendRecv);
    assert_eq!(sections(&leg.offer())[0], "m=audio 20000 RTP/AVP 0 8 101");
    let back = leg.take_answer(&plain).unwrap();
    assert_eq!((back.remote, back.direction), (Some("192.0.2.1:4000".parse().unwrap()), Direction::SendRecv));

    // What is answered by a branch after its 183 is the INVITE still.
    let mut leg = OfferAnswer::new(local());
    leg.offer();
    leg.take_answer(&plain).unwrap();
    assert_eq!(leg.take_answer(&offer("m=audio 0 RTP/AVP 0\n")), Err(SdpError::NoAudio));
}

#[test]
fn an_offer_of_ours_keeps_every_section_and_every_number_of_before() {
    let mut leg = OfferAnswer::new(local());
    let first = "m=video 5000 RTP/AVP 31\nm=audio 4000 RTP/AVP 97 96\na=rtpmap:97 PCMA/8000\na=rtpmap:96 telephone-event/8000\n";
    leg.answer(&offer(first)).unwrap();
    let sdp = leg.offer();
    let lines = sections(&sdp);
    assert_eq!(lines[..2], ["m=video 0 RTP/AVP 31", "m=audio 20000 RTP/AVP 0 97 96"]);
    let negotiated = leg.take_answer(&offer("m=video 0 RTP/AVP 31\nm=audio 4000 RTP/AVP 97\na=rtpmap:97 PCMA/8000\n")).unwrap();
    assert_eq!(negotiated.payload_type.value(), 97);
}

#[test]
fn rtcp_mux_is_agreed_only_when_both_want_it() {
    for (offered, accepted) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut leg = OfferAnswer::new(LocalMedia { offer_rtcp_mux: offered, ..local() });
        assert_eq!(leg.offer().contains("a=rtcp-mux"), offered);
        let attribute = if accepted { "a=rtcp-mux\n" } else { "" };
        let negotiated = leg.take_answer(&offer(&format!("m=audio 4000 RTP/AVP 0\n{attribute}"))).unwrap();
        assert_eq!(negotiated.rtcp_mux, offered && accepted);
        let port = if offered && accepted { 4000 } else { 4001 };
        assert_eq!(negotiated.remote_rtcp.unwrap().port(), port);
    }
}

#[test]
fn our_codecs_limit_what_is_answered() {
    let mut leg = OfferAnswer::new(local());
    leg.set_codecs(vec![Codec::Pcma]);
    let (sdp, _) = leg.answer(&offer("m=audio 4000 RTP/AVP 0 8\n")).unwrap();
    assert_eq!(sections(&sdp)[0], "m=audio 20000 RTP/AVP 8");
    leg.set_codecs(Vec::new());
    assert!(leg.offer().contains("RTP/AVP 8 101"));
}

#[test]
fn attributes_of_ice_dtls_and_bundle_are_read_over() {
    let (_, negotiated) = answer(
        "a=group:BUNDLE 0\na=ice-ufrag:x\nm=audio 4000 RTP/AVP 0\na=mid:0\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\n\
         a=fingerprint:sha-256 AA\na=setup:actpass\n",
    );
    assert_eq!(negotiated.codec, Codec::Pcmu);
}

#[test]
fn two_of_us_agree_with_each_other() {
    let mut caller = OfferAnswer::new(local());
    let mut callee = OfferAnswer::new(LocalMedia { rtp_port: 30_000, codecs: vec![Codec::Pcma], ..local() });
    let (answer, theirs) = callee.answer(caller.offer().as_bytes()).unwrap();
    let ours = caller.take_answer(answer.as_bytes()).unwrap();
    assert_eq!((ours.codec, theirs.codec), (Codec::Pcma, Codec::Pcma));
    assert_eq!(ours.telephone_event, theirs.telephone_event);
    assert_eq!((ours.remote.unwrap().port(), theirs.remote.unwrap().port()), (30_000, 20_000));
}

proptest! {
    #[test]
    fn no_text_whatever_makes_us_fail(body in "(v=0|[a-z]=[ -~]{0,40}|m=(audio|video) [0-9]{1,6} RTP/S?AVP( [0-9]{1,3}){0,4}|a=rtpmap:[0-9]{1,3} [a-zA-Z/0-9]{0,20}|c=IN IP[46] [0-9.:/]{0,15}|\r\n){0,30}") {
        let mut leg = OfferAnswer::new(local());
        if let Ok((sdp, negotiated)) = leg.answer(body.as_bytes()) {
            let again = SessionDescription::parse(sdp.as_bytes()).unwrap();
            let theirs = SessionDescription::parse(body.as_bytes()).unwrap();
            prop_assert_eq!(again.media.len(), theirs.media.len());
            prop_assert!(negotiated.packet_time >= Duration::from_millis(10));
        }
        leg.offer();
        let _ = leg.take_answer(body.as_bytes());
    }

    #[test]
    fn no_octets_whatever_make_the_reader_fail(body in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = SessionDescription::parse(&body);
    }
}
