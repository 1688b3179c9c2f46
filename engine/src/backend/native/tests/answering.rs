use lockstep_ctx_api::CallState;
use lockstep_ctx_api::event::FactsChange;
use lockstep_ctx_api::op::{RingArgs, SetHeaderArgs};

use super::*;
use crate::call::OfferId;

fn states(outputs: &[BackendOutput]) -> Vec<CallState> {
    let changes = events(outputs).into_iter().filter_map(|event| match event {
        Event::Facts(FactsChange { state, .. }) => state,
        _ => None,
    });
    changes.collect()
}

#[test]
fn answer_resolves_with_the_ack_and_not_before() {
    let mut desk = Desk::ringing();
    let answer = desk.submit(Op::Answer(AnswerArgs::default()));
    assert_eq!(desk.asked(), ["a open", "a media PCMU sendrecv", "a 200"]);
    assert_eq!(result_of(&desk.outputs(), answer), None);
    desk.leg(LegId::A, LegEvent::Acked { sdp: None });
    let outputs = desk.outputs();
    assert!(is_done(&outputs, answer));
    assert_eq!(states(&outputs), [CallState::Answered]);
}

#[test]
fn the_moment_of_the_answer_is_told_on_the_scripts_clock() {
    let mut desk = Desk::ringing();
    desk.submit(Op::Answer(AnswerArgs::default()));
    desk.wait(40);
    desk.leg(LegId::A, LegEvent::Acked { sdp: None });
    let told = events(&desk.outputs()).into_iter().any(|event| match event {
        Event::Facts(change) => change.answered_at == Some(1_000_040),
        _ => false,
    });
    assert!(told);
}

#[test]
fn answering_twice_is_refused_with_the_state() {
    let mut desk = Desk::answered();
    let again = desk.submit(Op::Answer(AnswerArgs::default()));
    let (code, message) = error_of(&desk.outputs(), again);
    assert_eq!((code, message.as_str()), (ErrorCode::InvalidState, "answer: the call is answered"));
}

#[test]
fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let mut desk = Desk::ringing();
    let answer = desk.submit(Op::Answer(AnswerArgs::default()));
    desk.leg(LegId::A, LegEvent::Over { code: 408, reason: "No ACK".into(), by_peer: false });
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, answer).0, ErrorCode::CallEnded);
    assert_eq!(ended(&outputs).unwrap().code, 408);
    assert!(matches!(outputs.last(), Some(BackendOutput::Ended(_))), "nothing comes after the end: {outputs:?}");
}

#[test]
fn a_late_offer_is_ours_and_its_answer_comes_with_the_ack() {
    let mut desk = Desk::with_offer(Peer::new(), None);
    let answer = desk.submit(Op::Answer(AnswerArgs::default()));
    assert_eq!(desk.asked(), ["a open", "a 200"]);
    let offer = desk.board.0.borrow().offers[&LegId::A].clone();
    let sdp = desk.caller.answer(&offer);
    desk.leg(LegId::A, LegEvent::Acked { sdp: Some(sdp) });
    assert_eq!(desk.asked(), ["a media PCMU sendrecv"]);
    assert!(is_done(&desk.outputs(), answer));
}

#[test]
fn an_ack_without_the_answer_we_need_ends_the_call() {
    let mut desk = Desk::with_offer(Peer::new(), None);
    let answer = desk.submit(Op::Answer(AnswerArgs::default()));
    desk.asked();
    desk.leg(LegId::A, LegEvent::Acked { sdp: None });
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, answer).0, ErrorCode::CallEnded);
    assert_eq!(ended(&outputs).unwrap().code, 488);
    assert!(desk.asked()[0].starts_with("a hang up Reason: SIP;cause=488"));
}

#[test]
fn codecs_are_reordered_as_the_script_says() {
    let mut desk = Desk::ringing();
    desk.submit(Op::Answer(AnswerArgs { codecs: vec!["pcma".into()], ..AnswerArgs::default() }));
    assert_eq!(desk.asked(), ["a open", "a media PCMA sendrecv", "a 200"]);
}

#[test]
fn codecs_that_the_caller_lacks_cost_the_call_no_audio() {
    let mut caller = Peer(OfferAnswer::new(LocalMedia { rtp_port: 40_000, codecs: vec![Codec::Pcmu], ..local_media() }));
    let offer = caller.offer();
    let mut desk = Desk::with_offer(caller, Some(offer));
    let answer = desk.submit(Op::Answer(AnswerArgs { codecs: vec!["pcma".into()], ..AnswerArgs::default() }));
    assert_eq!(error_of(&desk.outputs(), answer).0, ErrorCode::MediaError);
    desk.play("user/x.wav");
    assert_eq!(desk.asked(), ["a open", "a media PCMU sendrecv", "a 183 sdp", "a play 500 ms"]);
}

#[test]
fn a_codec_nobody_has_is_named() {
    let mut desk = Desk::ringing();
    let answer = desk.submit(Op::Answer(AnswerArgs { codecs: vec!["evs".into()], ..AnswerArgs::default() }));
    let (code, message) = error_of(&desk.outputs(), answer);
    assert_eq!((code, message.contains("\"evs\"")), (ErrorCode::RangeError, true));
}

#[test]
fn header_fields_go_with_the_next_response_only() {
    let mut desk = Desk::ringing();
    desk.submit(Op::SetHeader(SetHeaderArgs { name: "X-Id".into(), value: "7".into() }));
    desk.submit(Op::Ring(RingArgs::default()));
    desk.submit(Op::EarlyMedia);
    let asked = desk.asked();
    assert_eq!(asked.first().map(String::as_str), Some("a 180 X-Id: 7"));
    assert_eq!(asked.last().map(String::as_str), Some("a 183 sdp"));
}

#[test]
fn more_than_a_message_can_carry_is_refused() {
    let mut desk = Desk::ringing();
    let set = desk.submit(Op::SetHeader(SetHeaderArgs { name: "X-Id".into(), value: "7".repeat(17_000) }));
    assert_eq!(error_of(&desk.outputs(), set).0, ErrorCode::LimitError);
}

#[test]
fn the_answer_repeats_the_description_of_the_183() {
    let mut desk = Desk::ringing();
    desk.submit(Op::EarlyMedia);
    desk.submit(Op::Answer(AnswerArgs::default()));
    assert_eq!(desk.asked(), ["a open", "a media PCMU sendrecv", "a 183 sdp", "a 200"]);
    assert_eq!(states(&desk.outputs()), [CallState::Early]);
}

#[test]
fn hold_and_unhold_are_events_and_the_media_follow() {
    let mut desk = Desk::answered();
    for (holds, event, media) in [(true, Event::Hold, "recvonly"), (false, Event::Unhold, "sendrecv")] {
        let sdp = desk.caller.holds(holds);
        desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: Some(sdp) });
        assert_eq!(events(&desk.outputs()), [event]);
        assert_eq!(desk.asked(), ["a accept offer".to_owned(), format!("a media PCMU {media}")]);
        let answer = desk.board.0.borrow().offers[&LegId::A].clone();
        desk.caller.0.take_answer(answer.as_bytes()).expect("our answers can be read");
    }
}

#[test]
fn a_re_invite_without_an_offer_gets_ours() {
    let mut desk = Desk::answered();
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: None });
    assert_eq!(desk.asked(), ["a accept offer"]);
    let offer = desk.board.0.borrow().offers[&LegId::A].clone();
    let sdp = desk.caller.answer(&offer);
    desk.leg(LegId::A, LegEvent::Acked { sdp: Some(sdp) });
    assert_eq!(desk.asked(), ["a media PCMU sendrecv"]);
}

#[test]
fn an_ack_without_an_answer_to_the_offer_in_between_leaves_what_was_agreed() {
    let mut desk = Desk::answered();
    for sdp in [None, Some("v=0\r\nm=audio".into())] {
        desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: None });
        assert_eq!(desk.asked(), ["a accept offer"]);
        desk.leg(LegId::A, LegEvent::Acked { sdp });
        assert_eq!((desk.asked(), desk.outputs()), (vec![], vec![]));
    }
    let sdp = desk.caller.offer();
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(2), branch: BranchId(0), sdp: Some(sdp) });
    assert_eq!(desk.asked(), ["a accept offer", "a media PCMU sendrecv"]);
}

#[test]
fn the_answer_to_a_refresh_of_the_session_counts() {
    let mut desk = Desk::answered();
    let answer = |port: u16, direction: &str| {
        let sdp = format!(
            "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na={direction}\r\n"
        );
        LegEvent::Refreshed { sdp: sdp.into() }
    };
    for (direction, media, told) in
        [("sendonly", "a media PCMU recvonly", Event::Hold), ("sendrecv", "a media PCMU sendrecv", Event::Unhold)]
    {
        desk.leg(LegId::A, answer(40_006, direction));
        assert_eq!(desk.asked(), [media]);
        assert_eq!(events(&desk.outputs()), [told]);
        desk.leg(LegId::A, answer(40_006, direction));
        assert_eq!((desk.asked(), desk.outputs()), (vec![], vec![]), "nothing new");
    }
    desk.leg(LegId::A, LegEvent::Refreshed { sdp: "v=0\r\nm=audio".into() });
    assert_eq!((desk.asked(), desk.outputs()), (vec![], vec![]));
}

#[test]
fn an_offer_that_cannot_be_read_changes_nothing() {
    let mut desk = Desk::answered();
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: Some("v=0\r\nm=audio".into()) });
    let asked = desk.asked();
    assert!(asked == ["a refuse offer 400"] || asked == ["a refuse offer 488"], "{asked:?}");
    assert_eq!(desk.outputs(), []);
}

#[test]
fn a_header_outlasts_audio_that_could_not_begin() {
    let mut desk = Desk::with_offer(Peer::new(), None);
    desk.submit(Op::SetHeader(SetHeaderArgs { name: "X-Id".into(), value: "7".into() }));
    let play = desk.play("user/x.wav");
    assert_eq!(error_of(&desk.outputs(), play).0, ErrorCode::InvalidState);
    desk.submit(Op::Answer(AnswerArgs::default()));
    assert_eq!(desk.asked().last().map(String::as_str), Some("a 200 X-Id: 7"));
}

#[test]
fn a_header_of_the_answer_itself_stands_in_for_one_set_before() {
    let mut desk = Desk::ringing();
    desk.submit(Op::SetHeader(SetHeaderArgs { name: "X-Id".into(), value: "7".into() }));
    desk.submit(Op::Answer(AnswerArgs { headers: vec![("x-id".into(), "8".into())], ..AnswerArgs::default() }));
    assert_eq!(desk.asked().last().map(String::as_str), Some("a 200 x-id: 8"));
}
