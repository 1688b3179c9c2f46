//! Hold and resume, media time-out.

use super::*;
use crate::playout::PlayoutEnd;

fn held() -> Negotiated {
    Negotiated { direction: Direction::RecvOnly, held: true, ..negotiated() }
}

fn timed(timeout: u64) -> Line {
    let mut line = Line::configured(42, Some(Duration::from_millis(timeout)));
    line.command(Command::SetRemote(Box::new(negotiated())));
    line
}

fn timeouts(line: &Line) -> Vec<u64> {
    let is_timeout = |event: &MediaEvent| matches!(event, MediaEvent::MediaTimeout { .. });
    line.events.iter().filter(|(_, event)| is_timeout(event)).map(|(at, _)| *at).collect()
}

#[test]
fn nothing_is_sent_while_held_and_the_clock_goes_on() {
    let mut line = Line::connected();
    line.run(100);
    line.command(Command::SetRemote(Box::new(held())));
    let before = line.sent.len();
    line.run(10_000);
    assert_eq!(line.sent.len(), before);
    line.command(Command::SetRemote(Box::new(negotiated())));
    line.run(100);
    let resumed = &line.sent[before];
    assert!(resumed.header.marker);
    assert_eq!(resumed.at, 10_100.0);
    line.assert_continuous();
}

#[test]
fn a_prompt_played_to_a_held_call_ends_in_its_time() {
    let mut line = Line::connected_as(held());
    line.play(1, &[&prompt(1, 500)]);
    line.run(600);
    assert_eq!(line.sent, []);
    let played = Duration::from_millis(500);
    assert_eq!(line.events, [(480, MediaEvent::PlayoutFinished { id: PlayId(1), played, end: PlayoutEnd::Completed })]);
}

#[test]
fn a_prompt_is_resumed_where_time_has_brought_it() {
    let mut line = Line::connected();
    line.play(1, &[&prompt(1, 200), &prompt(2, 200)]);
    line.run(90);
    line.command(Command::SetRemote(Box::new(held())));
    line.run(200);
    line.command(Command::SetRemote(Box::new(negotiated())));
    line.run(20);
    assert_eq!(line.sent.last().unwrap().payload[0], 2);
    line.assert_continuous();
}

#[test]
fn an_address_of_nowhere_is_never_sent_to() {
    let mut line = Line::connected();
    line.audio(1);
    line.command(Command::SetRemote(Box::new(Negotiated { remote: None, remote_rtcp: None, ..held() })));
    let before = line.sent.len();
    line.run(20_000);
    assert_eq!(line.sent.len(), before);
    assert!(line.rtcp.is_empty(), "{:?}", line.rtcp);
}

#[test]
fn a_silent_line_is_reported_once_and_again_after_it_spoke() {
    let mut line = timed(2000);
    line.audio(1);
    line.run(5000);
    assert_eq!(timeouts(&line), [2000]);
    line.audio(1);
    assert!(matches!(line.events.last(), Some((5000, MediaEvent::MediaStarted { .. }))));
    line.run(5000);
    assert_eq!(timeouts(&line), [2000, 7000]);
}

#[test]
fn a_line_that_never_speaks_is_reported() {
    let mut line = timed(2000);
    line.run(3000);
    assert_eq!(timeouts(&line), [2000]);
}

#[test]
fn a_held_line_may_be_silent() {
    let mut line = timed(2000);
    line.audio(1);
    line.command(Command::SetRemote(Box::new(held())));
    line.run(10_000);
    assert_eq!(timeouts(&line), [] as [u64; 0]);
    line.command(Command::SetRemote(Box::new(negotiated())));
    line.run(1900);
    assert_eq!(timeouts(&line), [] as [u64; 0]);
    line.run(200);
    assert_eq!(timeouts(&line), [12_000]);
}
