//! Silence, prompts, and the first packet at once.

use super::*;
use crate::digit::{Digit, DigitSet};
use crate::playout::{PlayoutEnd, Repeat};

fn finished(id: u64, played: u64, end: PlayoutEnd) -> MediaEvent {
    MediaEvent::PlayoutFinished { id: PlayId(id), played: Duration::from_millis(played), end }
}

#[test]
fn nothing_is_sent_before_the_session_description() {
    let mut line = Line::idle();
    line.run(1000);
    assert_eq!(line.sent, []);
}

#[test]
fn a_stream_that_waits_for_nothing_has_no_deadline() {
    let mut line = Line::idle();
    assert_eq!(line.stream.poll_output(&mut [0; MAX_PACKET]), Output::Timeout(None));
    line.audio(1);
    assert_eq!(line.stream.poll_output(&mut [0; MAX_PACKET]), Output::Timeout(None));
    line.command(Command::SetRemote(Box::new(negotiated())));
    line.stream.close(line.now);
    line.drain();
    assert_eq!(line.stream.poll_output(&mut [0; MAX_PACKET]), Output::Timeout(None));
}

#[test]
fn silence_leaves_at_once_and_goes_on_forever() {
    let mut line = Line::connected();
    assert_eq!(line.sent.len(), 1);
    line.run(10_000);
    assert_eq!(line.sent.len(), 501);
    assert!(line.sent.iter().all(|packet| packet.payload == [SILENCE; 160] && packet.to == address("192.0.2.1:4000")));
    assert!(line.sent[0].header.marker && !line.sent[1].header.marker);
    line.assert_continuous();
}

#[test]
fn a_prompt_in_place_of_one_cut_short_leaves_at_once_too() {
    for delay in 0..20 {
        let mut line = Line::connected();
        line.run(1013);
        line.play(1, &[&prompt(1, 400)]);
        line.run(100 + delay);
        line.command(Command::Stop(PlayId(1)));
        let before = line.sent.len();
        line.play(2, &[&prompt(2, 100)]);
        let first = line.sent.last().unwrap();
        assert_eq!((line.sent.len(), first.payload[0], first.header.marker), (before + 1, 2, true), "after {delay} ms");
        line.run(1000);
        line.assert_continuous();
    }
}

#[test]
fn a_prompts_first_packet_leaves_at_once_and_the_rest_at_its_pace() {
    for delay in 0..20 {
        let mut line = Line::connected();
        line.run(1000 + delay);
        let before = line.sent.len();
        line.play(1, &[&prompt(1, 100)]);
        let first = line.sent.last().unwrap();
        assert_eq!((line.sent.len(), first.payload[0], first.header.marker), (before + 1, 1, true), "after {delay} ms");
        line.run(80);
        let times: Vec<f64> = line.sent[before..].iter().map(|packet| packet.at - 1000.0).collect();
        let expected: Vec<f64> = (0..5).map(|packet| (delay + packet * 20) as f64).collect();
        assert_eq!(times, expected);
        assert_eq!(line.events, [(1080 + delay, finished(1, 100, PlayoutEnd::Completed))]);
        line.run(1000);
        line.assert_continuous();
        assert!(line.longest_gap() < 40.0, "{}", line.longest_gap());
    }
}

#[test]
fn the_listener_gets_the_prompts_octets_in_one_piece() {
    let octets: Vec<u8> = (0..4000u32).map(|index| (index % 251) as u8).collect();
    let mut line = Line::connected();
    line.run(33);
    let before = line.sent.len();
    line.play(1, &[&Arc::new(EncodedPrompt::new(Codec::Pcmu, octets.clone()))]);
    line.run(1000);
    let heard: Vec<u8> = line.sent[before..before + 25].iter().flat_map(|packet| packet.payload.clone()).collect();
    assert_eq!(heard, octets);
    for pair in line.sent[before..before + 25].windows(2) {
        assert_eq!(pair[1].header.timestamp.distance(pair[0].header.timestamp), 160);
    }
}

#[test]
fn prompts_chained_without_a_pause_do_not_run_away_from_the_clock() {
    let mut line = Line::connected();
    line.run(1005);
    for id in 0..200 {
        line.play(id, &[&prompt(1, 60)]);
        while !line.events.iter().any(|(_, event)| *event == finished(id, 60, PlayoutEnd::Completed)) {
            line.run(1);
        }
    }
    line.assert_continuous();
    assert!(line.longest_gap() < 40.0);
    // The first begins ahead of its place on the clock; from then on each takes its own time and no more.
    assert!(line.at() < 1005.0 + 200.0 * 61.0, "{}", line.at());
}

#[test]
fn a_prompt_stops_within_a_packet_and_another_replaces_it() {
    let mut line = Line::connected();
    line.play(1, &[&prompt(1, 1000)]);
    line.run(50);
    line.command(Command::Stop(PlayId(9)));
    assert_eq!(line.events, []);
    line.command(Command::Stop(PlayId(1)));
    assert_eq!(line.events, [(50, finished(1, 60, PlayoutEnd::Stopped))]);
    line.run(20);
    assert_eq!(line.sent.last().unwrap().payload[0], SILENCE);
    line.play(2, &[&prompt(2, 1000)]);
    line.play(3, &[&prompt(3, 1000)]);
    assert!(matches!(line.events[1].1, MediaEvent::PlayoutFinished { id: PlayId(2), end: PlayoutEnd::Replaced, .. }));
    line.run(20);
    assert_eq!(line.sent.last().unwrap().payload[0], 3);
    line.assert_continuous();
}

#[test]
fn a_key_stops_a_prompt_that_waits_for_it() {
    let mut line = Line::connected();
    let playlist =
        Playlist { repeat: Repeat::Forever, stop_on: DigitSet::from_keys("5"), ..Playlist::once(vec![prompt(1, 100)]) };
    line.command(Command::Play { id: PlayId(1), playlist: Box::new(playlist) });
    line.run(500);
    line.press(4);
    assert!(!line.events.iter().any(|(_, event)| matches!(event, MediaEvent::PlayoutFinished { .. })));
    line.press(5);
    let five = Digit::from_char('5').unwrap();
    let order: Vec<bool> = line
        .events
        .iter()
        .filter_map(|(_, event)| match event {
            MediaEvent::Digit { digit, .. } if *digit == five => Some(true),
            MediaEvent::PlayoutFinished { end, .. } => {
                assert_eq!(*end, PlayoutEnd::Digit(five));
                Some(false)
            }
            _ => None,
        })
        .collect();
    assert_eq!(order, [true, false], "the key is reported before what it ended");
}

#[test]
fn a_prompt_that_comes_before_the_session_description_waits_for_it() {
    let mut line = Line::idle();
    line.play(1, &[&prompt(1, 40)]);
    line.run(500);
    assert_eq!((line.sent.len(), line.events.len()), (0, 0));
    line.command(Command::SetRemote(Box::new(negotiated())));
    line.run(20);
    assert_eq!(line.sent[0].payload[0], 1);
    assert_eq!(line.events, [(520, finished(1, 40, PlayoutEnd::Completed))]);
}

#[test]
fn an_empty_prompt_is_over_at_once() {
    let mut line = Line::connected();
    line.play(1, &[]);
    assert_eq!(line.events, [(0, finished(1, 0, PlayoutEnd::Completed))]);
}

#[test]
fn another_codec_in_the_middle_of_a_prompt_is_followed() {
    let mut line = Line::connected();
    line.play(1, &[&Arc::new(EncodedPrompt::silence(Codec::Pcmu, Duration::from_secs(1)))]);
    line.run(100);
    line.command(Command::SetRemote(Box::new(Negotiated {
        codec: Codec::Pcma,
        payload_type: PCMA,
        packet_time: Duration::from_millis(30),
        ..negotiated()
    })));
    line.run(100);
    let last = line.sent.last().unwrap();
    assert_eq!((last.header.payload_type, last.payload.len()), (PCMA, 240));
    assert!(last.payload.iter().all(|&octet| Codec::Pcma.decode_sample(octet).abs() <= 8));
    line.assert_continuous();
}

#[test]
fn a_thread_that_was_stalled_leaves_out_what_it_missed() {
    let mut line = Line::connected();
    // Every packet of the prompt tells its number.
    let octets: Vec<u8> = (0..50).flat_map(|number| [number; 160]).collect();
    line.play(1, &[&Arc::new(EncodedPrompt::new(Codec::Pcmu, octets))]);
    line.run(100);
    let before = line.sent.len();
    line.now += Duration::from_millis(75);
    line.stream.handle_timeout(line.now);
    line.drain();
    assert_eq!(line.sent.len() - before, 3, "a short stall is made up for");
    line.run(25);
    let before = line.sent.len();
    line.now += Duration::from_millis(500);
    line.stream.handle_timeout(line.now);
    line.drain();
    assert_eq!(line.sent.len() - before, 1, "a long one is not");
    let leap = line.sent[before].header.timestamp.distance(line.sent[before - 1].header.timestamp);
    assert!(leap >= 480 * 8, "{leap}");
    assert!(line.sent[before].header.marker && !line.sent[before - 1].header.marker, "it is time that is left out");
    line.run(2000);
    let heard = line.sent.iter().map(|packet| packet.payload[0]).filter(|octet| *octet < 50);
    assert!(heard.eq(0..50), "and nothing of the prompt");
}

#[test]
fn echo_returns_what_arrives() {
    let mut line = Line::connected();
    line.command(Command::Echo(Some(Duration::from_millis(100))));
    for octet in 1..=50 {
        line.audio(octet);
        line.run(20);
    }
    line.assert_continuous();
    let heard: Vec<u8> = line.sent.iter().map(|packet| packet.payload[0]).filter(|&octet| octet != SILENCE).collect();
    assert_eq!(heard[..40], (1..=40).collect::<Vec<u8>>());
    let first = line.sent.iter().find(|packet| packet.payload[0] == 1).unwrap().at;
    assert!((80.0..=120.0).contains(&first), "{first}");
    line.command(Command::Echo(None));
    line.audio(60);
    line.run(200);
    assert_eq!(line.sent.last().unwrap().payload[0], SILENCE);
}

#[test]
fn closing_reports_what_was_running_and_says_goodbye() {
    let mut line = Line::connected();
    line.play(1, &[&prompt(1, 1000)]);
    line.run(50);
    line.stream.close(line.now);
    line.drain();
    assert_eq!(line.events, [(50, finished(1, 60, PlayoutEnd::Stopped))]);
    let packets: Vec<_> = crate::rtcp::packets(&line.rtcp.last().unwrap().2).map(Result::unwrap).collect();
    assert!(matches!(packets.last(), Some(crate::rtcp::RtcpPacket::Bye { .. })), "{packets:?}");
    let sent = line.sent.len();
    line.run(1000);
    assert_eq!(line.sent.len(), sent);
    assert_eq!(line.rtcp.len(), 1);
}
