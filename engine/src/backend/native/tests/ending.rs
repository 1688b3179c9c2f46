use lockstep_ctx_api::EndedBy;
use lockstep_ctx_api::op::{HangupArgs, RedirectArgs, RejectArgs};

use super::*;
use crate::backend::native::Ending;

#[test]
fn hanging_up_before_the_answer_is_a_final_response() {
    let mut desk = Desk::ringing();
    let hangup = desk.submit(Op::Hangup(HangupArgs::default()));
    assert_eq!(desk.asked(), ["a 603"]);
    let outputs = desk.outputs();
    assert!(is_done(&outputs, hangup));
    let cause = ended(&outputs).unwrap();
    assert_eq!((cause.code, cause.reason.as_str(), cause.by), (603, "Decline", EndedBy::Script));
}

#[test]
fn hanging_up_after_the_answer_is_a_bye_with_its_reason() {
    let mut desk = Desk::answered();
    desk.submit(Op::Hangup(HangupArgs { code: Some(486), reason: Some("Busy \"now\"".into()), headers: vec![] }));
    assert_eq!(desk.asked(), ["a hang up Reason: SIP;cause=486;text=\"Busy now\"", "a close"]);
    assert_eq!(ended(&desk.outputs()).unwrap().code, 486);
}

#[test]
fn words_that_no_datagram_would_hold_are_cut() {
    let long = || Some("r".repeat(70_000));
    let mut desk = Desk::answered();
    desk.submit(Op::Hangup(HangupArgs { code: Some(486), reason: long(), headers: vec![] }));
    assert_eq!(desk.asked(), [format!("a hang up Reason: SIP;cause=486;text=\"{}\"", "r".repeat(200)), "a close".to_owned()]);
    let mut desk = Desk::ringing();
    desk.submit(Op::Reject(RejectArgs { code: 486, reason: long(), headers: vec![] }));
    assert_eq!(ended(&desk.outputs()).unwrap().reason, "r".repeat(200));
}

#[test]
fn a_plain_hangup_gives_no_reason() {
    let mut desk = Desk::answered();
    desk.submit(Op::Hangup(HangupArgs::default()));
    assert_eq!(desk.asked(), ["a hang up", "a close"]);
    assert_eq!(ended(&desk.outputs()).unwrap().code, 200);
}

#[test]
fn reject_and_redirect_need_an_unanswered_call() {
    let reject = || Op::Reject(RejectArgs { code: 486, reason: None, headers: vec![] });
    let redirect = || Op::Redirect(RedirectArgs { code: 302, contacts: vec!["sip:a@example.net".into()] });
    let mut desk = Desk::ringing();
    desk.submit(redirect());
    assert_eq!(desk.asked(), ["a 302 Contact: <sip:a@example.net>"]);
    let mut desk = Desk::ringing();
    desk.submit(reject());
    assert_eq!(desk.asked(), ["a 486"]);
    let mut desk = Desk::answered();
    for op in [reject(), redirect()] {
        let id = desk.submit(op);
        assert_eq!(error_of(&desk.outputs(), id).0, ErrorCode::InvalidState);
    }
}

#[test]
fn a_code_without_words_has_its_standard_phrase() {
    let end = |desk: &mut Desk| {
        let (now, refusal) = (desk.now, (404, " ".to_owned()));
        desk.backend.end(now, Ending { bye: Some(refusal.clone()), refusal, by: EndedBy::Script });
    };
    let mut desk = Desk::ringing();
    end(&mut desk);
    assert_eq!(desk.asked(), ["a 404"], "the endpoint knows it");
    assert_eq!(ended(&desk.outputs()).unwrap().reason, "Not Found");
    let mut desk = Desk::answered();
    end(&mut desk);
    assert_eq!(desk.asked(), ["a hang up Reason: SIP;cause=404;text=\"Not Found\"", "a close"]);
    let mut desk = Desk::ringing();
    desk.submit(Op::Reject(RejectArgs { code: 486, reason: Some(String::new()), headers: vec![] }));
    assert_eq!(desk.asked(), ["a 486"]);
    assert_eq!(ended(&desk.outputs()).unwrap().reason, "Busy Here");
}

#[test]
fn codes_out_of_range_are_refused_and_the_call_goes_on() {
    let mut desk = Desk::ringing();
    for op in [
        Op::Reject(RejectArgs { code: 200, reason: None, headers: vec![] }),
        Op::Reject(RejectArgs { code: 302, reason: None, headers: vec![] }),
        Op::Reject(RejectArgs { code: 302, reason: Some("Moved".into()), headers: vec![] }),
        Op::Hangup(HangupArgs { code: Some(302), ..HangupArgs::default() }),
        Op::Redirect(RedirectArgs { code: 404, contacts: vec!["sip:a@b".into()] }),
        Op::Redirect(RedirectArgs { code: 302, contacts: vec!["nonsense".into()] }),
        Op::Redirect(RedirectArgs { code: 302, contacts: vec![format!("sip:{}@b", "a".repeat(70_000))] }),
        Op::Hangup(HangupArgs { code: Some(16), ..HangupArgs::default() }),
    ] {
        let id = desk.submit(op);
        assert_eq!(error_of(&desk.outputs(), id).0, ErrorCode::RangeError);
    }
    assert_eq!(desk.asked(), Vec::<String>::new());
}

#[test]
fn a_refusal_with_a_3xx_sends_the_caller_where_its_reason_says() {
    let (reason, headers) = (Some("sip:a@example.net".to_owned()), vec![("X-A".to_owned(), "1".to_owned())]);
    for op in [
        Op::Reject(RejectArgs { code: 301, reason: reason.clone(), headers: headers.clone() }),
        Op::Hangup(HangupArgs { code: Some(301), reason: reason.clone(), headers: headers.clone() }),
    ] {
        let mut desk = Desk::ringing();
        desk.submit(op);
        assert_eq!(desk.asked(), ["a 301 X-A: 1 Contact: <sip:a@example.net>"]);
        assert_eq!(ended(&desk.outputs()).map(|cause| (cause.code, cause.by)), Some((301, EndedBy::Script)));
    }
    let mut desk = Desk::answered();
    desk.submit(Op::Hangup(HangupArgs { code: Some(302), reason: Some("Moved".into()), ..HangupArgs::default() }));
    assert_eq!(desk.asked(), ["a hang up Reason: SIP;cause=302;text=\"Moved\"", "a close"]);
}

#[test]
fn the_callers_bye_settles_everything_and_then_says_so_once() {
    let mut desk = Desk::answered();
    let play = desk.play("user/x.wav");
    desk.leg(LegId::A, LegEvent::Over { code: 200, reason: "Normal Clearing".into(), by_peer: true });
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, play).0, ErrorCode::CallEnded);
    assert_eq!(ended(&outputs).unwrap().by, EndedBy::Caller);
    desk.leg(LegId::A, LegEvent::Over { code: 200, reason: String::new(), by_peer: true });
    desk.media(LegId::A, MediaEvent::RemoteBye);
    assert_eq!(desk.outputs(), []);
}

#[test]
fn after_the_end_operations_name_the_state() {
    let mut desk = Desk::answered();
    desk.submit(Op::Hangup(HangupArgs::default()));
    desk.outputs();
    let play = desk.play("user/x.wav");
    let (code, message) = error_of(&desk.outputs(), play);
    assert_eq!((code, message.as_str()), (ErrorCode::InvalidState, "play: the call is ended"));
}

#[test]
fn a_script_error_is_a_response_before_the_answer_and_a_reason_after_it() {
    let ending =
        || Ending { refusal: (500, "Script Error".into()), bye: Some((500, "Script Error".into())), by: EndedBy::Script };
    let mut desk = Desk::ringing();
    desk.backend.end(desk.now, ending());
    assert_eq!(desk.asked(), ["a 500 Script Error"]);
    let mut desk = Desk::answered();
    desk.backend.end(desk.now, ending());
    assert_eq!(desk.asked(), ["a hang up Reason: SIP;cause=500;text=\"Script Error\"", "a close"]);
}

#[test]
fn a_thrown_redirect_carries_its_contact() {
    let mut desk = Desk::ringing();
    let refusal = (302, "sip:a@example.net".to_owned());
    desk.backend.end(desk.now, Ending { refusal, bye: None, by: EndedBy::Script });
    assert_eq!(desk.asked(), ["a 302 Contact: <sip:a@example.net>"]);
}
