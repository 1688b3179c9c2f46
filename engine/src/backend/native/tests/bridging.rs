use lockstep_ctx_api::EndedBy;
use lockstep_ctx_api::op::{
    BlockDtmfArgs, BridgeArgs, BridgeStrategy, BridgeTarget, ContinueOn, Headers, SetArgs, SetHeaderArgs,
};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus};

use super::*;
use crate::call::OfferId;

fn bridge(targets: &[&str]) -> BridgeArgs {
    BridgeArgs {
        targets: targets.iter().map(|uri| BridgeTarget { uri: (*uri).to_owned(), ..BridgeTarget::default() }).collect(),
        strategy: BridgeStrategy::Parallel,
        timeout_ms: 30_000,
        caller_id: None,
        from_name: None,
        headers: vec![],
        ringback: None,
        early_media: true,
        whisper: None,
        screen: None,
        hangup_on: None,
        continue_on: ContinueOn::Always,
        record: None,
        codecs: vec![],
    }
}

fn bridged(outputs: &[BackendOutput], id: OpId) -> BridgeResult {
    match result_of(outputs, id) {
        Some(Ok(Outcome::Bridged(result))) => result,
        other => panic!("expected the end of the bridge, got {other:?}"),
    }
}

fn dialling(mut desk: Desk, args: BridgeArgs) -> (Desk, OpId) {
    for target in &args.targets {
        desk.knows(&target.uri, 1, Hunt::Together);
    }
    let id = desk.submit(Op::Bridge(args));
    (desk, id)
}

#[test]
fn an_answered_caller_hears_ring_back_until_the_far_end_answers() {
    let (mut desk, id) = dialling(Desk::answered(), bridge(&["1001"]));
    assert_eq!(desk.asked(), ["1 open near a", "1 dial route 0"]);
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    assert_eq!(desk.asked(), ["a play 500 ms"]);
    desk.picks_up(1);
    assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "a stop", "join a 1"]);
    assert_eq!(events(&desk.outputs()), [Event::Bridge { bleg: "call-1".into() }]);
    desk.wait(7_000);
    desk.leg(LegId(1), LegEvent::Over { code: 200, reason: String::new(), by_peer: true });
    assert_eq!(desk.asked(), ["part a 1", "1 close"]);
    let outputs = desk.outputs();
    let result = bridged(&outputs, id);
    assert_eq!((result.status, result.duration_ms, result.bleg.as_deref()), (BridgeStatus::Completed, 7_000, Some("call-1")));
    assert_eq!(events(&outputs), [Event::Unbridge { bleg: "call-1".into() }]);
    assert_eq!(ended(&outputs), None);
}

#[test]
fn a_far_end_that_falls_silent_is_told_once_the_caller_talks_to_it() {
    let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001"]));
    let silence = || MediaEvent::MediaTimeout { silent_for: Duration::from_secs(60) };
    desk.media(LegId(1), silence());
    desk.picks_up(1);
    desk.media(LegId(1), silence());
    desk.media(LegId::A, silence());
    let told = |bleg: Option<&str>| Event::MediaTimeout { silent_ms: 60_000, bleg: bleg.map(str::to_owned) };
    assert_eq!(events(&desk.outputs()), [Event::Bridge { bleg: "call-1".into() }, told(Some("call-1")), told(None)]);
}

#[test]
fn an_unanswered_caller_is_told_to_ring_and_answered_when_the_far_end_answers() {
    let (mut desk, _) = dialling(Desk::ringing(), bridge(&["1001"]));
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    assert_eq!(desk.asked(), ["a open", "1 open near a", "1 dial route 0", "a 180"]);
    desk.picks_up(1);
    assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "a media PCMU sendrecv", "a 200", "join a 1"]);
}

/// A far end sends media before it answers.
fn speaks_early(desk: &mut Desk, leg: u32) {
    let offer = desk.board.0.borrow().offers[&LegId(leg)].clone();
    let sdp = Peer::new().answer(&offer);
    desk.leg(LegId(leg), LegEvent::Progress { code: 183, sdp: Some((BranchId(1), sdp)) });
    let source = "127.0.0.1:40000".parse().unwrap();
    desk.media(LegId(leg), MediaEvent::MediaStarted { source });
}

fn fields(given: &[(&str, &str)]) -> Headers {
    given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn sets_header(desk: &mut Desk, name: &str, value: &str) {
    desk.submit(Op::SetHeader(SetHeaderArgs { name: name.into(), value: value.into() }));
}

#[test]
fn the_far_ends_early_media_reach_an_unanswered_caller() {
    let (mut desk, _) = dialling(Desk::ringing(), bridge(&["1001"]));
    desk.asked();
    speaks_early(&mut desk, 1);
    assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "a 180", "a media PCMU sendrecv", "a 183 sdp", "join a 1"]);
    desk.picks_up(1);
    assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "a 200"]);
}

#[test]
fn an_update_of_a_branch_that_rings_costs_neither_its_answer_nor_that_of_another_branch() {
    for is_other in [false, true] {
        let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001"]));
        let offer = desk.board.0.borrow().offers[&LegId(1)].clone();
        speaks_early(&mut desk, 1);
        let sdp = Peer::new().offer();
        desk.leg(LegId(1), LegEvent::Offer { offer: OfferId(1), branch: BranchId(1), sdp: Some(sdp) });
        desk.outputs();
        desk.asked();
        let sdp = is_other.then(|| Peer::new().answer(&offer));
        let branch = BranchId(if is_other { 2 } else { 1 });
        desk.leg(LegId(1), LegEvent::Answered { branch, sdp });
        let media: &[&str] = if is_other { &["1 media PCMU sendrecv"] } else { &[] };
        assert_eq!(desk.asked(), media);
        assert_eq!(events(&desk.outputs()), [Event::Bridge { bleg: "call-1".into() }]);
    }
}

/// A call to 1001 whose INVITE was forked: branch 1 describes PCMU in its 183, then branch 2 PCMA, and both by UPDATE where asked.
fn two_branches(with_updates: bool) -> Desk {
    let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001"]));
    let offer = desk.board.0.borrow().offers[&LegId(1)].clone();
    for (number, codec) in [(1, Codec::Pcmu), (2, Codec::Pcma)] {
        let branch = BranchId(number);
        let mut peer = Peer(OfferAnswer::new(LocalMedia { rtp_port: 40_000, codecs: vec![codec], ..local_media() }));
        let sdp = peer.answer(&offer);
        desk.leg(LegId(1), LegEvent::Progress { code: 183, sdp: Some((branch, sdp)) });
        if with_updates {
            let sdp = peer.offer();
            desk.leg(LegId(1), LegEvent::Offer { offer: OfferId(number), branch, sdp: Some(sdp) });
        }
    }
    desk.asked();
    desk
}

#[test]
fn the_branch_that_answers_is_talked_to_as_it_has_described_itself() {
    for with_updates in [false, true] {
        for (branch, media) in [(1, Some("1 media PCMU sendrecv")), (2, None)] {
            let mut desk = two_branches(with_updates);
            desk.leg(LegId(1), LegEvent::Answered { branch: BranchId(branch), sdp: None });
            let asked = desk.asked();
            assert_eq!(asked.iter().map(String::as_str).find(|line| line.contains("media")), media, "branch {branch}");
            assert!(asked.contains(&"join a 1".to_owned()), "{asked:?}");
        }
    }
}

#[test]
fn a_branch_that_answers_and_has_never_described_its_media_is_a_failure() {
    let mut desk = two_branches(false);
    desk.leg(LegId(1), LegEvent::Answered { branch: BranchId(3), sdp: None });
    assert!(desk.asked()[0].starts_with("1 hang up Reason: SIP;cause=488"));
}

#[test]
fn ring_back_of_the_scripts_choice_opens_early_media() {
    let (mut desk, _) = dialling(Desk::ringing(), BridgeArgs { ringback: Some("user/wait.wav".into()), ..bridge(&["1001"]) });
    desk.asked();
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    assert_eq!(desk.asked(), ["a media PCMU sendrecv", "a 183 sdp", "a play 500 ms"]);
}

#[test]
fn a_caller_without_an_offer_is_told_to_ring_whatever_was_to_be_heard() {
    for speaks in [true, false] {
        let args = BridgeArgs { ringback: Some("user/wait.wav".into()), ..bridge(&["1001"]) };
        let (mut desk, _) = dialling(Desk::with_offer(Peer::new(), None), args);
        desk.asked();
        if speaks {
            speaks_early(&mut desk, 1);
        } else {
            desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
        }
        let told: Vec<_> = desk.asked().into_iter().filter(|asked| asked.starts_with("a ")).collect();
        assert_eq!(told, ["a 180"]);
    }
}

#[test]
fn ring_back_that_cannot_be_played_gives_way_to_the_usual_one() {
    let args = BridgeArgs { ringback: Some("user/nope.wav".into()), ..bridge(&["1001"]) };
    let (mut desk, _) = dialling(Desk::answered(), args);
    desk.board.0.borrow_mut().missing.push("user/nope.wav".into());
    desk.asked();
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    assert_eq!(desk.asked(), ["a play 500 ms"]);
    assert_eq!(desk.outputs(), [BackendOutput::Warning("bridge: no such audio: user/nope.wav".into())]);
}

#[test]
fn the_usual_ring_back_is_tried_once() {
    let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001"]));
    desk.board.0.borrow_mut().missing.push("tone:ringback".into());
    desk.asked();
    desk.leg(LegId(1), LegEvent::Progress { code: 180, sdp: None });
    assert_eq!(desk.asked(), [""; 0]);
    assert_eq!(desk.outputs(), [BackendOutput::Warning("bridge: no such audio: tone:ringback".into())]);
}

#[test]
fn early_media_that_comes_to_nothing_gives_way_to_ring_back() {
    let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001", "1002"]));
    desk.leg(LegId(2), LegEvent::Progress { code: 180, sdp: None });
    speaks_early(&mut desk, 1);
    desk.asked();
    desk.leg(LegId(1), LegEvent::Failed { code: 486, reason: "Busy Here".into(), by_peer: true });
    assert_eq!(desk.asked(), ["part a 1", "1 close", "a play 500 ms"]);
}

#[test]
fn failure_with_continue_on_false_passes_the_code_to_the_caller() {
    let (mut desk, id) = dialling(Desk::ringing(), BridgeArgs { continue_on: ContinueOn::Never, ..bridge(&["1001"]) });
    desk.asked();
    desk.leg(LegId(1), LegEvent::Failed { code: 486, reason: "Busy Here".into(), by_peer: true });
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, id).0, ErrorCode::CallEnded);
    assert_eq!(ended(&outputs).unwrap().code, 486);
    assert!(desk.asked().contains(&"a 486 Busy Here".to_owned()));
}

#[test]
fn a_script_that_is_not_to_go_on_learns_that_the_call_has_ended() {
    let (mut desk, id) = dialling(Desk::answered(), BridgeArgs { continue_on: ContinueOn::Never, ..bridge(&["1001"]) });
    desk.picks_up(1);
    desk.outputs();
    desk.leg(LegId(1), LegEvent::Over { code: 200, reason: String::new(), by_peer: true });
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, id).0, ErrorCode::CallEnded);
    assert!(matches!(outputs.last(), Some(BackendOutput::Ended(cause)) if cause.code == 200));
}

#[test]
fn the_caller_hanging_up_ends_every_leg() {
    let (mut desk, id) = dialling(Desk::answered(), bridge(&["1001", "1002"]));
    desk.asked();
    desk.leg(LegId::A, LegEvent::Over { code: 200, reason: String::new(), by_peer: true });
    let asked = desk.asked();
    for expected in ["1 hang up", "2 hang up", "a close"] {
        assert!(asked.contains(&expected.to_owned()), "{expected} in {asked:?}");
    }
    assert_eq!(error_of(&desk.outputs(), id).0, ErrorCode::CallEnded);
}

#[test]
fn losers_are_told_that_somebody_else_answered() {
    let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001", "1002"]));
    desk.asked();
    desk.picks_up(2);
    assert!(desk.asked().contains(&"1 hang up Reason: SIP;cause=200;text=\"Call completed elsewhere\"".to_owned()));
}

#[test]
fn aborting_a_bridge_hangs_up_and_rejects() {
    let (mut desk, id) = dialling(Desk::answered(), bridge(&["1001"]));
    desk.picks_up(1);
    desk.asked();
    desk.outputs();
    desk.cancel(id);
    assert_eq!(desk.asked(), ["part a 1", "1 hang up", "1 close"]);
    let outputs = desk.outputs();
    assert_eq!(error_of(&outputs, id).0, ErrorCode::AbortError);
    assert_eq!(ended(&outputs), None);
}

#[test]
fn variables_and_headers_travel_with_the_new_leg() {
    let mut desk = Desk::answered();
    for (key, value) in [("sip_h_X-Id", "7"), ("sip_h_Via", "no"), ("effective_caller_id_number", "4420")] {
        desk.submit(Op::Set(SetArgs { key: key.into(), value: Some(value.into()), skip_write: false }));
    }
    for (key, value) in [("sip_h_X-Id", "8"), ("sip_h_X-Skipped", "1"), ("effective_caller_id_number", "0")] {
        desk.submit(Op::Set(SetArgs { key: key.into(), value: Some(value.into()), skip_write: true }));
    }
    let (mut desk, _) = dialling(desk, BridgeArgs { headers: vec![("X-Own".into(), "1".into())], ..bridge(&["1001"]) });
    assert_eq!(desk.asked().last().map(String::as_str), Some("1 dial route 0 from 4420 X-Id: 7 X-Own: 1"));
}

#[test]
fn variables_that_name_one_header_field_in_several_spellings_are_one() {
    let mut desk = Desk::answered();
    for (key, value) in
        [("sip_h_X-Account", Some("12")), ("sip_h_x-account", Some("99")), ("sip_h_X-Gone", Some("1")), ("sip_h_x-gone", None)]
    {
        desk.submit(Op::Set(SetArgs { key: key.into(), value: value.map(str::to_owned), skip_write: false }));
    }
    let (mut desk, _) = dialling(desk, bridge(&["1001"]));
    assert_eq!(desk.asked().last().map(String::as_str), Some("1 dial route 0 x-account: 99"));
}

#[test]
fn the_fields_of_a_targets_uri_travel_with_its_leg() {
    let mut args = bridge(&["sip:1001@example.net?X-Id=a%20b&X-Own=uri&body=v%3D0"]);
    args.headers = fields(&[("x-id", "all"), ("X-All", "1")]);
    args.targets[0].headers = fields(&[("X-Own", "target")]);
    let (mut desk, _) = dialling(Desk::answered(), args);
    assert_eq!(desk.asked().last().map(String::as_str), Some("1 dial route 0 X-All: 1 X-Id: a b X-Own: target"));
}

#[test]
fn a_header_waits_for_the_first_leg_that_is_called() {
    let mut desk = Desk::answered();
    sets_header(&mut desk, "X-Once", "yes");
    desk.submit(Op::Bridge(bridge(&["9999"])));
    desk.asked();
    let (mut desk, _) = dialling(desk, bridge(&["1001", "1002"]));
    let dialled = |asked: Vec<String>| asked.into_iter().filter(|asked| asked.contains("dial")).collect::<Vec<_>>();
    assert_eq!(dialled(desk.asked()), ["1 dial route 0 X-Once: yes", "2 dial route 1 X-Once: yes"]);
    for leg in [1, 2] {
        desk.leg(LegId(leg), LegEvent::Failed { code: 486, reason: "Busy Here".into(), by_peer: true });
    }
    let (mut desk, _) = dialling(desk, bridge(&["1001"]));
    assert_eq!(dialled(desk.asked()), ["3 dial route 2"]);
}

#[test]
fn of_a_header_that_is_set_in_several_places_the_narrowest_goes_out() {
    let mut desk = Desk::answered();
    for (name, value) in [("X-A", "header"), ("X-B", "header")] {
        sets_header(&mut desk, name, value);
    }
    for key in ["sip_h_X-A", "sip_h_X-B", "sip_h_X-C"] {
        desk.submit(Op::Set(SetArgs { key: key.into(), value: Some("variable".into()), skip_write: false }));
    }
    desk.knows("1001", 1, Hunt::Together);
    let mut args = bridge(&["1001"]);
    args.headers = fields(&[("x-a", "options"), ("X-D", "options"), ("X-E", "options")]);
    args.targets[0].headers = fields(&[("X-E", "one"), ("x-e", "two"), ("X-A", "target")]);
    desk.submit(Op::Bridge(args));
    let expected = "1 dial route 0 X-C: variable X-B: header X-D: options X-E: one x-e: two X-A: target";
    assert_eq!(desk.asked().last().map(String::as_str), Some(expected));
}

#[test]
fn the_callers_hangup_key_ends_the_bridge_and_not_the_call() {
    let (mut desk, id) = dialling(Desk::answered(), BridgeArgs { hangup_on: Some("*".into()), ..bridge(&["1001"]) });
    desk.picks_up(1);
    desk.outputs();
    desk.key(LegId::A, '5');
    assert_eq!(result_of(&desk.outputs(), id), None);
    desk.key(LegId::A, '*');
    let outputs = desk.outputs();
    assert_eq!(bridged(&outputs, id).status, BridgeStatus::Completed);
    assert_eq!(ended(&outputs), None);
}

#[test]
fn a_call_that_ends_with_its_bridge_was_ended_by_who_ended_that() {
    let rules = || BridgeArgs { hangup_on: Some("*".into()), continue_on: ContinueOn::Never, ..bridge(&["1001"]) };
    let dialled = || dialling(Desk::answered(), rules()).0;
    let by = |mut desk: Desk| ended(&desk.outputs()).map(|cause| (cause.code, cause.by));

    let mut desk = dialled();
    desk.picks_up(1);
    desk.key(LegId::A, '*');
    assert_eq!(by(desk), Some((200, EndedBy::Caller)));

    for (by_peer, who) in [(true, EndedBy::Callee), (false, EndedBy::Engine)] {
        let mut desk = dialled();
        desk.picks_up(1);
        desk.leg(LegId(1), LegEvent::Over { code: 200, reason: String::new(), by_peer });
        assert_eq!(by(desk), Some((200, who)));

        let mut desk = dialled();
        desk.leg(LegId(1), LegEvent::Failed { code: 503, reason: String::new(), by_peer });
        assert_eq!(by(desk), Some((503, who)));
    }

    let mut desk = dialled();
    desk.wait(30_000);
    assert_eq!(by(desk), Some((408, EndedBy::Engine)));

    let mut desk = Desk::answered();
    desk.submit(Op::Bridge(rules()));
    assert_eq!(by(desk), Some((404, EndedBy::Engine)), "nobody has that number");
}

#[test]
fn keys_by_info_pass_the_bridge_as_telephone_events() {
    let (mut desk, _) = dialling(Desk::answered(), bridge(&["1001"]));
    desk.picks_up(1);
    desk.asked();
    desk.leg(LegId::A, LegEvent::Digit { digit: '7', duration_ms: 100 });
    desk.leg(LegId(1), LegEvent::Digit { digit: '8', duration_ms: 2_000 });
    assert_eq!(desk.asked(), ["1 keys 7 100 ms TelephoneEvent", "a keys 8 2000 ms TelephoneEvent"]);
}

#[test]
fn keys_that_were_blocked_before_the_bridge_do_not_pass_it() {
    let mut desk = Desk::ringing();
    desk.submit(Op::BlockDtmf(BlockDtmfArgs { digits: "0123".into() }));
    let (mut desk, _) = dialling(desk, bridge(&["1001"]));
    assert_eq!(desk.asked(), ["a open", "a BlockDtmf(DigitSet(\"0123\"))", "1 open near a", "1 dial route 0"]);
}

#[test]
fn keys_by_info_pass_in_early_media_too_and_are_kept_for_the_script() {
    let (mut desk, _) = dialling(Desk::answered(), BridgeArgs { hangup_on: Some("7".into()), ..bridge(&["1001", "1002"]) });
    speaks_early(&mut desk, 1);
    desk.asked();
    desk.leg(LegId::A, LegEvent::Digit { digit: '7', duration_ms: 160 });
    desk.leg(LegId(1), LegEvent::Digit { digit: '8', duration_ms: 160 });
    desk.leg(LegId(2), LegEvent::Digit { digit: '9', duration_ms: 160 });
    assert_eq!(desk.asked(), ["1 keys 7 160 ms TelephoneEvent", "a keys 8 160 ms TelephoneEvent"]);
    assert_eq!(desk.backend.digits.peek(), Some('7'));
}

#[test]
fn whoever_is_screened_must_press_a_key() {
    let args = BridgeArgs { screen: Some("ivr/accept.wav".into()), whisper: Some("ivr/who.wav".into()), ..bridge(&["1001"]) };
    let (mut desk, _) = dialling(Desk::answered(), args);
    desk.asked();
    desk.picks_up(1);
    assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "1 play 500 ms", "a play 500 ms"]);
    desk.key(LegId(1), '1');
    assert_eq!(desk.asked(), ["1 stop", "1 play 500 ms"]);
    desk.audio_ends(LegId(1));
    assert_eq!(desk.asked(), ["a stop", "join a 1"]);
}

#[test]
fn whoever_has_sent_early_media_is_not_heard_while_asked_to_accept() {
    for asks_for_key in [true, false] {
        let prompt = Some("ivr/accept.wav".to_owned());
        let (screen, whisper) = if asks_for_key { (prompt, None) } else { (None, prompt) };
        let (mut desk, _) = dialling(Desk::answered(), BridgeArgs { screen, whisper, ..bridge(&["1001"]) });
        speaks_early(&mut desk, 1);
        desk.asked();
        desk.picks_up(1);
        assert_eq!(desk.asked(), ["1 media PCMU sendrecv", "part a 1", "1 play 500 ms", "a play 500 ms"]);
        if asks_for_key {
            desk.key(LegId(1), '1');
            assert_eq!(desk.asked(), ["1 stop", "a stop", "join a 1"]);
        } else {
            desk.audio_ends(LegId(1));
            assert_eq!(desk.asked(), ["a stop", "join a 1"]);
        }
    }
}

#[test]
fn an_answer_without_usable_media_is_a_failure_and_not_a_bridge() {
    let (mut desk, id) = dialling(Desk::answered(), bridge(&["1001"]));
    desk.asked();
    desk.leg(LegId(1), LegEvent::Answered { branch: BranchId(1), sdp: None });
    assert!(desk.asked()[0].starts_with("1 hang up Reason: SIP;cause=488"));
    assert_eq!(bridged(&desk.outputs(), id).code, 488);
}

#[test]
fn nobody_there_is_told_with_its_code() {
    let mut desk = Desk::answered();
    let id = desk.submit(Op::Bridge(bridge(&["9999"])));
    let result = bridged(&desk.outputs(), id);
    assert_eq!((result.status, result.code), (BridgeStatus::Failed, 404));
}

#[test]
fn ringing_too_long_is_no_answer_and_the_script_goes_on() {
    let (mut desk, id) = dialling(Desk::answered(), bridge(&["1001"]));
    desk.asked();
    assert_eq!(desk.deadline(), Some(Duration::from_secs(30)));
    desk.wait(30_000);
    assert!(desk.asked().contains(&"1 hang up".to_owned()));
    assert_eq!(bridged(&desk.outputs(), id).status, BridgeStatus::NoAnswer);
    let play = desk.play("user/x.wav");
    desk.audio_ends(LegId::A);
    assert!(matches!(result_of(&desk.outputs(), play), Some(Ok(Outcome::Played(_)))));
}

#[test]
fn a_recording_of_a_bridge_ends_with_it() {
    let recorded = BridgeArgs { record: Some("talk.ogg".into()), ..bridge(&["1001"]) };
    let stop = "a StopRecording(RecordingId(0))".to_owned();
    // However it ends: the callee hangs up, or the script gives it up.
    for ends in [|desk: &mut Desk, _| desk.leg(LegId(1), over()), |desk: &mut Desk, id| desk.cancel(id)] {
        let (mut desk, id) = dialling(Desk::answered(), recorded.clone());
        desk.picks_up(1);
        let asked = desk.asked();
        assert!(asked.contains(&"a record talk.ogg in ogg as 0".to_owned()) && !asked.contains(&stop), "{asked:?}");
        ends(&mut desk, id);
        assert!(desk.asked().contains(&stop));
        assert_eq!(desk.board.0.borrow().kept.len(), 0, "the routes of the bridge");
    }
}

fn over() -> LegEvent {
    LegEvent::Over { code: 200, reason: "Normal Clearing".into(), by_peer: true }
}
