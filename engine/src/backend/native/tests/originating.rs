use lockstep_ctx_api::op::{BlockDtmfArgs, HangupArgs};
use lockstep_ctx_api::{CallState, EndedBy};

use super::*;
use crate::backend::native::Ending;

fn calling(routes: usize, hunt: Hunt) -> Desk {
    calling_with("callee", routes, hunt)
}

fn calling_with(target: &str, routes: usize, hunt: Hunt) -> Desk {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
    let now = Instant::now();
    let board = FakeBoard::default();
    board.0.borrow_mut().routes.insert(target.to_owned(), (routes, hunt));
    let setup = NativeSetup {
        call_id: "call".to_owned(),
        codecs: Codec::ALL.to_vec(),
        clock: (now, 1_000_000),
        ringback: "tone:ringback".to_owned(),
    };
    let headers = vec![("X-Id".to_owned(), "1".to_owned()), ("X-Other".to_owned(), "2".to_owned())];
    let backend = NativeBackend::originate(now, board.clone(), setup, target, headers);
    Desk { now, backend, board, caller: Peer::new(), last_op: 0 }
}

fn fails(desk: &mut Desk, leg: u32, code: u16) {
    desk.leg(LegId(leg), LegEvent::Failed { code, reason: "x".into(), by_peer: true });
}

#[test]
fn a_gateway_that_fails_is_followed_by_the_next() {
    let mut desk = calling(3, Hunt::InTurn { ring: None });
    assert_eq!(desk.asked(), ["1 open", "1 dial route 0 X-Id: 1 X-Other: 2"]);
    fails(&mut desk, 1, 503);
    assert_eq!(desk.asked(), ["1 close", "2 open", "2 dial route 1 X-Id: 1 X-Other: 2"]);
    fails(&mut desk, 2, 408);
    desk.asked();
    desk.picks_up(3);
    assert_eq!(desk.asked(), ["3 media PCMU sendrecv", "a is 3"]);
    assert_eq!(desk.backend.state(), CallState::Answered);
    let play = desk.play("user/x.wav");
    assert_eq!(desk.asked(), ["a play 500 ms"]);
    desk.audio_ends(LegId::A);
    assert!(result_of(&desk.outputs(), play).unwrap().is_ok());
}

#[test]
fn keys_that_were_blocked_while_it_rang_are_blocked_on_the_leg_that_answers() {
    let mut desk = calling(1, Hunt::InTurn { ring: None });
    desk.submit(Op::BlockDtmf(BlockDtmfArgs { digits: "#".into() }));
    desk.asked();
    desk.picks_up(1);
    assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "a is 1", "a BlockDtmf(DigitSet(\"#\"))"]);
}

#[test]
fn a_callee_who_declines_is_not_called_through_the_next_gateway() {
    let mut desk = calling(2, Hunt::InTurn { ring: None });
    desk.asked();
    fails(&mut desk, 1, 486);
    assert_eq!(desk.asked(), ["1 close"]);
    let cause = ended(&desk.outputs()).unwrap();
    assert_eq!((cause.code, cause.by), (486, EndedBy::Callee));
}

#[test]
fn when_every_gateway_has_failed_the_call_is_over() {
    let mut desk = calling(2, Hunt::InTurn { ring: None });
    fails(&mut desk, 1, 503);
    fails(&mut desk, 2, 500);
    assert_eq!(ended(&desk.outputs()).unwrap().code, 500);
}

#[test]
fn each_gateway_but_the_last_rings_for_its_time() {
    let mut desk = calling(2, Hunt::InTurn { ring: Some(Duration::from_secs(2)) });
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    desk.asked();
    assert_eq!(desk.deadline(), Some(Duration::from_secs(2)));
    desk.wait(2_000);
    assert_eq!(desk.asked(), ["1 hang up", "1 close", "2 open", "2 dial route 1 X-Id: 1 X-Other: 2"]);
    assert_eq!(desk.deadline(), None);
    desk.picks_up(2);
    assert_eq!(desk.backend.state(), CallState::Answered);
}

#[test]
fn what_the_uri_says_of_a_field_counts_before_the_variable() {
    let mut desk = calling_with("sip:callee@example.net?X-Id=7", 1, Hunt::InTurn { ring: None });
    assert_eq!(desk.asked(), ["1 open", "1 dial route 0 X-Other: 2 X-Id: 7"]);
}

#[test]
fn a_callee_whose_answer_cannot_be_used_is_hung_up_by_us() {
    let mut desk = calling(1, Hunt::InTurn { ring: None });
    desk.leg(LegId(1), LegEvent::Answered { branch: BranchId(1), sdp: None });
    let cause = ended(&desk.outputs()).unwrap();
    assert_eq!((cause.code, cause.by), (488, EndedBy::Engine));
}

#[test]
fn a_user_rings_at_all_bindings_and_the_first_to_answer_wins() {
    let mut desk = calling(3, Hunt::Together);
    assert_eq!(desk.asked().iter().filter(|line| line.contains("dial")).count(), 3);
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    desk.leg(LegId(2), LegEvent::Progress { code: 180, sdp: None });
    assert_eq!(events(&desk.outputs()).len(), 1, "ringing is told once");
    fails(&mut desk, 1, 486);
    desk.asked();
    desk.picks_up(2);
    let asked = desk.asked();
    assert_eq!(asked[1], "3 hang up Reason: SIP;cause=200;text=\"Call completed elsewhere\"");
    assert_eq!(asked.last().map(String::as_str), Some("a is 2"));
}

#[test]
fn a_call_of_ours_that_is_given_up_stops_ringing_everywhere() {
    let mut desk = calling(2, Hunt::Together);
    desk.asked();
    let gone = (408, "Request Timeout".to_owned());
    desk.backend.end(desk.now, Ending { refusal: gone.clone(), bye: Some(gone), by: EndedBy::Engine });
    let hung_up = desk.asked().into_iter().filter(|line| line.contains("hang up Reason: SIP;cause=408")).count();
    assert_eq!(hung_up, 2);
    assert_eq!(ended(&desk.outputs()).unwrap().code, 408);
}

#[test]
fn a_call_of_ours_that_is_hung_up_while_it_rings_stops_ringing_everywhere() {
    let mut desk = calling(2, Hunt::Together);
    desk.asked();
    desk.submit(Op::Hangup(HangupArgs { code: Some(486), ..HangupArgs::default() }));
    let hung_up = desk.asked().into_iter().filter(|line| line.contains("hang up Reason: SIP;cause=486")).count();
    assert_eq!(hung_up, 2);
    assert_eq!(ended(&desk.outputs()).unwrap().code, 486);
}
