use lockstep_ctx_api::op::{BlockDtmfArgs, GatherArgs, IvrArgs, Prompt, SpeechArgs};
use lockstep_ctx_api::outcome::{CollectStatus, IvrResult};

use super::*;

fn ivr(min: u32, max: u32) -> IvrArgs {
    IvrArgs {
        file: Some("ivr/menu.wav".into()),
        timeout_ms: 5_000,
        min,
        max,
        terminators: "#".into(),
        tries: 1,
        ..IvrArgs::default()
    }
}

fn collected(outputs: &[BackendOutput], id: OpId) -> (CollectStatus, String) {
    match result_of(outputs, id) {
        Some(Ok(Outcome::Ivr(IvrResult { status, value }))) => (status, value),
        other => panic!("expected digits, got {other:?}"),
    }
}

#[test]
fn a_digit_stops_the_menu_and_is_the_result() {
    let mut desk = Desk::answered();
    let menu = desk.submit(Op::Ivr(ivr(1, 1)));
    desk.key(LegId::A, '2');
    assert_eq!(desk.asked(), ["a play 500 ms", "a stop"]);
    assert_eq!(collected(&desk.outputs(), menu), (CollectStatus::Success, "2".into()));
}

#[test]
fn the_time_out_starts_when_the_audio_has_ended() {
    let mut desk = Desk::answered();
    let menu = desk.submit(Op::Ivr(ivr(1, 1)));
    desk.wait(60_000);
    assert_eq!(desk.deadline(), None);
    desk.audio_ends(LegId::A);
    assert_eq!(desk.deadline(), Some(Duration::from_secs(5)));
    desk.wait(5_000);
    assert_eq!(collected(&desk.outputs(), menu), (CollectStatus::Timeout, String::new()));
}

#[test]
fn digits_keyed_before_are_used_first_and_flushed_on_demand() {
    let mut desk = Desk::answered();
    "12".chars().for_each(|key| desk.key(LegId::A, key));
    let first = desk.submit(Op::Ivr(ivr(1, 1)));
    assert_eq!(collected(&desk.outputs(), first), (CollectStatus::Success, "1".into()));
    assert_eq!(desk.asked(), Vec::<String>::new());
    let second = desk.submit(Op::Ivr(IvrArgs { flush: true, ..ivr(1, 1) }));
    assert_eq!(desk.asked(), ["a play 500 ms"]);
    assert_eq!(result_of(&desk.outputs(), second), None);
}

#[test]
fn every_digit_is_an_event_whether_it_is_collected_or_not() {
    let mut desk = Desk::answered();
    desk.key(LegId::A, '1');
    desk.submit(Op::Ivr(ivr(2, 2)));
    desk.key(LegId::A, '2');
    let digits = events(&desk.outputs()).into_iter().filter(|event| matches!(event, Event::Dtmf { .. })).count();
    assert_eq!(digits, 2);
}

#[test]
fn blocked_digits_reach_nobody() {
    let mut desk = Desk::answered();
    desk.submit(Op::BlockDtmf(BlockDtmfArgs { digits: "0123456789".into() }));
    desk.outputs();
    desk.leg(LegId::A, LegEvent::Digit { digit: '4', duration_ms: 100 });
    assert_eq!(desk.outputs(), []);
    desk.submit(Op::UnblockDtmf);
    desk.outputs();
    desk.key(LegId::A, '4');
    assert_eq!(events(&desk.outputs()).len(), 1);
}

#[test]
fn keys_that_were_blocked_before_there_were_media_are_blocked_in_them() {
    for (opens, then) in [(Op::Answer(AnswerArgs::default()), "a 200"), (Op::EarlyMedia, "a 183 sdp")] {
        let mut desk = Desk::ringing();
        desk.submit(Op::BlockDtmf(BlockDtmfArgs { digits: "0123".into() }));
        assert_eq!(desk.asked(), [""; 0]);
        desk.submit(opens);
        assert_eq!(desk.asked(), ["a open", "a BlockDtmf(DigitSet(\"0123\"))", "a media PCMU sendrecv", then]);
        desk.submit(Op::UnblockDtmf);
        assert_eq!(desk.asked(), ["a BlockDtmf(DigitSet(\"\"))"]);
    }
}

#[test]
fn keys_that_a_script_has_blocked_are_the_next_ones_again() {
    let mut desk = Desk::answered();
    desk.submit(Op::BlockDtmf(BlockDtmfArgs { digits: "0123".into() }));
    desk.asked();
    desk.backend.leaves_script();
    assert_eq!(desk.asked(), ["a BlockDtmf(DigitSet(\"\"))"]);
    let menu = desk.submit(Op::Ivr(ivr(1, 1)));
    desk.key(LegId::A, '2');
    assert_eq!(collected(&desk.outputs(), menu), (CollectStatus::Success, "2".into()));
}

#[test]
fn a_missing_prompt_rejects_and_names_it() {
    let mut desk = Desk::answered();
    desk.board.0.borrow_mut().missing.push("ivr/menu.wav".into());
    let menu = desk.submit(Op::Ivr(ivr(1, 1)));
    assert_eq!(error_of(&desk.outputs(), menu).0, ErrorCode::NotFound);
}

#[test]
fn speech_without_a_recogniser_says_what_is_missing() {
    let mut desk = Desk::answered();
    let gather = desk.submit(Op::Gather(GatherArgs {
        prompt: Some(Prompt::Play(vec!["ivr/menu.wav".into()])),
        invalid_prompt: None,
        min: 1,
        max: 1,
        terminators: "#".into(),
        timeout_ms: 1_000,
        inter_digit_timeout_ms: 1_000,
        regexp: None,
        tries: 1,
        barge_in: true,
        flush: false,
        speech: Some(SpeechArgs::default()),
    }));
    assert_eq!(error_of(&desk.outputs(), gather).0, ErrorCode::NotConfigured);
}

#[test]
fn failing_leads_where_the_script_says_and_then_ends_the_call() {
    let mut desk = Desk::answered();
    desk.knows("operator", 1, Hunt::Together);
    let menu = desk.submit(Op::Ivr(IvrArgs { transfer_on_failure: Some("operator".into()), ..ivr(1, 1) }));
    desk.audio_ends(LegId::A);
    desk.wait(5_000);
    assert!(desk.asked().contains(&"1 dial route 0".to_owned()));
    desk.picks_up(1);
    desk.leg(LegId(1), LegEvent::Over { code: 200, reason: String::new(), by_peer: true });
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, menu).0, ErrorCode::CallEnded);
    assert!(ended(&outputs).is_some());
}

#[test]
fn aborting_a_menu_stops_its_audio() {
    let mut desk = Desk::answered();
    let menu = desk.submit(Op::Ivr(ivr(1, 1)));
    desk.asked();
    desk.cancel(menu);
    assert_eq!(desk.asked(), ["a stop"]);
    assert_eq!(error_of(&desk.outputs(), menu).0, ErrorCode::AbortError);
    desk.key(LegId::A, '1');
    let next = desk.submit(Op::Ivr(ivr(1, 1)));
    assert_eq!(collected(&desk.outputs(), next), (CollectStatus::Success, "1".into()));
}
