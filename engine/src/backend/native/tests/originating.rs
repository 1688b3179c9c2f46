use lockstep_ctx_api::{CallState, EndedBy};

use super::*;
use crate::backend::native::Ending;

fn calling(routes: usize, hunt: Hunt) -> Desk {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
    let now = Instant::now();
    let board = FakeBoard::default();
    board.0.borrow_mut().routes.insert("callee".to_owned(), (routes, hunt));
    let setup = NativeSetup {
        call_id: "call".to_owned(),
        codecs: Codec::ALL.to_vec(),
        clock: (now, 1_000_000),
        ringback: "tone:ringback".to_owned(),
    };
    let backend = NativeBackend::originate(now, board.clone(), setup, "callee");
    Desk { now, backend, board, caller: Peer::new(), last_op: 0 }
}

fn fails(desk: &mut Desk, leg: u32, code: u16) {
    desk.leg(LegId(leg), LegEvent::Failed { code, reason: "x".into() });
}

#[test]
fn a_gateway_that_fails_is_followed_by_the_next() {
    let mut desk = calling(3, Hunt::InTurn { ring: None });
    assert_eq!(desk.asked(), ["1 open", "1 dial route 0"]);
    fails(&mut desk, 1, 503);
    assert_eq!(desk.asked(), ["1 close", "2 open", "2 dial route 1"]);
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
