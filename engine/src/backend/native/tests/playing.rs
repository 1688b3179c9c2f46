use lockstep_ctx_api::op::{EchoArgs, SendDtmfArgs, SleepArgs};
use lockstep_ctx_api::outcome::{PlayReason, Played};
use lockstep_media::stream::DtmfId;

use super::*;

fn played(outputs: &[BackendOutput], id: OpId) -> Played {
    match result_of(outputs, id) {
        Some(Ok(Outcome::Played(played))) => played,
        other => panic!("expected it to have played, got {other:?}"),
    }
}

#[test]
fn play_resolves_after_the_last_packet() {
    let mut desk = Desk::answered();
    let play = desk.play("user/x.wav");
    assert_eq!(desk.asked(), ["a play 500 ms"]);
    assert_eq!(desk.outputs(), []);
    desk.audio_ends(LegId::A);
    assert_eq!(played(&desk.outputs(), play), Played { played_ms: 500, reason: PlayReason::Completed, digit: None });
}

#[test]
fn playing_to_an_unanswered_call_starts_early_media_first() {
    let mut desk = Desk::ringing();
    desk.play("user/x.wav");
    assert_eq!(desk.asked(), ["a open", "a media PCMU sendrecv", "a 183 sdp", "a play 500 ms"]);
}

#[test]
fn without_an_offer_there_is_nothing_to_play_to_before_the_answer() {
    let mut desk = Desk::with_offer(Peer::new(), None);
    let play = desk.play("user/x.wav");
    let (code, message) = error_of(&desk.outputs(), play);
    assert_eq!(code, ErrorCode::InvalidState);
    assert!(message.starts_with("play: the INVITE carried no session description"), "{message}");
}

#[test]
fn a_missing_file_is_named_and_the_call_goes_on() {
    let mut desk = Desk::answered();
    desk.board.0.borrow_mut().missing.push("user/gone.wav".into());
    let play = desk.play("user/gone.wav");
    assert_eq!(error_of(&desk.outputs(), play), (ErrorCode::NotFound, "no such audio: user/gone.wav".into()));
    desk.play("user/x.wav");
    assert_eq!(desk.asked(), ["a play 500 ms"]);
}

#[test]
fn a_digit_that_stops_the_audio_is_the_result() {
    let mut desk = Desk::answered();
    let play = desk.submit(Op::Play(PlayArgs { sources: vec!["user/x.wav".into()], stop_on: "1".into(), ..PlayArgs::default() }));
    desk.key(LegId::A, '1');
    desk.audio_stops(LegId::A, PlayoutEnd::Digit(Digit::from_char('1').unwrap()));
    let played = played(&desk.outputs(), play);
    assert_eq!((played.reason, played.digit), (PlayReason::Dtmf, Some('1')));
}

#[test]
fn a_digit_by_info_stops_the_audio_too() {
    let mut desk = Desk::answered();
    let play = desk.submit(Op::Play(PlayArgs { sources: vec!["user/x.wav".into()], stop_on: "#".into(), ..PlayArgs::default() }));
    desk.asked();
    desk.leg(LegId::A, LegEvent::Digit { digit: '1', duration_ms: 100 });
    assert_eq!(desk.asked(), Vec::<String>::new());
    desk.leg(LegId::A, LegEvent::Digit { digit: '#', duration_ms: 100 });
    assert_eq!(desk.asked(), ["a stop"]);
    desk.audio_stops(LegId::A, PlayoutEnd::Stopped);
    assert_eq!(played(&desk.outputs(), play).digit, Some('#'));
}

#[test]
fn aborting_stops_the_audio_and_rejects_once() {
    let mut desk = Desk::answered();
    let play = desk.play("user/x.wav");
    desk.asked();
    desk.cancel(play);
    assert_eq!(desk.asked(), ["a stop"]);
    assert_eq!(error_of(&desk.outputs(), play).0, ErrorCode::AbortError);
    desk.audio_stops(LegId::A, PlayoutEnd::Stopped);
    assert_eq!(desk.outputs(), []);
}

#[test]
fn aborting_while_audio_loads_never_plays_it() {
    let mut desk = Desk::answered();
    desk.board.0.borrow_mut().slow.push("https://h/x.mp3".into());
    let play = desk.play("https://h/x.mp3");
    desk.cancel(play);
    assert_eq!(error_of(&desk.outputs(), play).0, ErrorCode::AbortError);
    let load = desk.board.0.borrow().loads[0];
    desk.backend.loaded(desk.now, load, Ok(vec![audio(Codec::Pcmu)]));
    assert_eq!(desk.asked(), ["forget load"]);
    assert_eq!(desk.outputs(), []);
}

#[test]
fn the_end_of_the_call_settles_what_is_loading() {
    let mut desk = Desk::answered();
    desk.board.0.borrow_mut().slow.push("https://h/x.mp3".into());
    let play = desk.play("https://h/x.mp3");
    desk.leg(LegId::A, LegEvent::Over { code: 200, reason: "Normal Clearing".into(), by_peer: true });
    assert_eq!(error_of(&desk.outputs(), play).0, ErrorCode::CallEnded);
    let load = desk.board.0.borrow().loads[0];
    desk.backend.loaded(desk.now, load, Ok(vec![audio(Codec::Pcmu)]));
    assert_eq!(desk.outputs(), []);
}

#[test]
fn sleep_ends_on_time_and_not_before() {
    let mut desk = Desk::answered();
    let sleep = desk.submit(Op::Sleep(SleepArgs { duration_ms: 250 }));
    assert_eq!(desk.deadline(), Some(Duration::from_millis(250)));
    desk.wait(249);
    assert_eq!(desk.outputs(), []);
    desk.wait(1);
    assert!(is_done(&desk.outputs(), sleep));
}

#[test]
fn echo_lasts_until_it_is_aborted() {
    let mut desk = Desk::answered();
    let echo = desk.submit(Op::Echo(EchoArgs { delay_ms: 500 }));
    desk.wait(3_600_000);
    assert_eq!(desk.outputs(), []);
    desk.cancel(echo);
    assert_eq!(desk.asked(), ["a Echo(Some(500ms))", "a Echo(None)"]);
    assert_eq!(error_of(&desk.outputs(), echo).0, ErrorCode::AbortError);
}

#[test]
fn keys_are_sent_in_runs_with_pauses_between() {
    let mut desk = Desk::answered();
    let args = SendDtmfArgs { digits: "12w3".into(), duration_ms: 100, gap_ms: 100, method: None };
    let send = desk.submit(Op::SendDtmf(args));
    assert_eq!(desk.asked(), ["a keys 12 100 ms TelephoneEvent"]);
    desk.media(LegId::A, MediaEvent::DtmfSent { id: DtmfId(1), sent: 2 });
    assert_eq!(desk.deadline(), Some(Duration::from_millis(500)));
    desk.wait(500);
    assert_eq!(desk.asked(), ["a keys 3 100 ms TelephoneEvent"]);
    desk.media(LegId::A, MediaEvent::DtmfSent { id: DtmfId(2), sent: 1 });
    assert!(is_done(&desk.outputs(), send));
}

#[test]
fn the_end_of_keys_that_were_given_up_is_not_taken_for_that_of_the_next() {
    let mut desk = Desk::answered();
    let keys = |digits: &str| Op::SendDtmf(SendDtmfArgs { digits: digits.into(), duration_ms: 100, gap_ms: 100, method: None });
    let first = desk.submit(keys("123"));
    desk.cancel(first);
    let second = desk.submit(keys("45"));
    let sent = ["a keys 123 100 ms TelephoneEvent", "a CancelDtmf(DtmfId(1))", "a keys 45 100 ms TelephoneEvent"];
    assert_eq!(desk.asked(), sent);
    desk.media(LegId::A, MediaEvent::DtmfSent { id: DtmfId(1), sent: 1 });
    assert!(!is_done(&desk.outputs(), second));
    desk.media(LegId::A, MediaEvent::DtmfSent { id: DtmfId(2), sent: 2 });
    assert!(is_done(&desk.outputs(), second));
}
