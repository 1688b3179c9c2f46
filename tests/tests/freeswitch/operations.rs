//! Every operation, in every mode of the socket: what is executed and what comes of it.

use lockstep_ctx_api::op::*;
use lockstep_ctx_api::outcome::{BridgeStatus, CollectStatus, PlayReason};
use lockstep_ctx_api::{CallState, EndedBy, ErrorCode, Event, Outcome};
use lockstep_tests::freeswitch::{Peer, Setup};

use super::desk::Desk;

/// `async full`, `async`, `full`, and neither.
fn modes() -> [Setup; 4] {
    [(true, true), (true, false), (false, true), (false, false)].map(|(is_async, is_full)| Setup {
        is_async,
        is_full,
        ..Setup::default()
    })
}

fn play(sources: &[&str]) -> Op {
    Op::Play(PlayArgs { sources: sources.iter().map(|source| (*source).to_owned()).collect(), ..PlayArgs::default() })
}

fn bridge(targets: &[&str]) -> BridgeArgs {
    BridgeArgs {
        targets: targets.iter().map(|uri| BridgeTarget { uri: (*uri).to_owned(), ..BridgeTarget::default() }).collect(),
        strategy: BridgeStrategy::Parallel,
        timeout_ms: 20_000,
        caller_id: None,
        from_name: None,
        headers: Vec::new(),
        ringback: None,
        early_media: true,
        whisper: None,
        screen: None,
        hangup_on: None,
        continue_on: ContinueOn::Always,
        record: None,
        codecs: Vec::new(),
    }
}

fn ivr() -> IvrArgs {
    IvrArgs {
        min: 1,
        max: 4,
        terminators: "#".into(),
        tries: 1,
        timeout_ms: 3_000,
        file: Some("tone:440,2000/0".into()),
        ..Default::default()
    }
}

#[test]
fn a_call_is_answered_plays_and_hangs_up_in_every_mode() {
    for setup in modes() {
        let mode = (setup.is_async, setup.is_full);
        let mut desk = Desk::new(setup);
        assert_eq!(desk.run(Op::Answer(AnswerArgs::default())), Ok(Outcome::Unit), "{mode:?}");
        assert_eq!(desk.backend.state(), CallState::Answered);
        match desk.run(play(&["tone:440,400/0", "silence:100"])) {
            Ok(Outcome::Played(played)) => {
                assert_eq!((played.played_ms, played.reason), (500, PlayReason::Completed), "{mode:?}")
            }
            other => panic!("{mode:?}: {other:?}"),
        }
        assert_eq!(desk.run(Op::Hangup(HangupArgs { code: Some(486), ..Default::default() })), Ok(Outcome::Unit), "{mode:?}");
        let cause = desk.ended.clone().unwrap();
        assert_eq!((cause.code, cause.by), (486, EndedBy::Script), "{mode:?}");
        assert_eq!(desk.channel.hangup_cause.as_deref(), Some("USER_BUSY"), "{mode:?}");
        assert_eq!(desk.channel.incidents, [""; 0], "{mode:?}");
    }
}

#[test]
fn digits_are_collected_with_type_ahead_in_every_mode() {
    for setup in modes() {
        let mode = (setup.is_async, setup.is_full);
        let mut desk = Desk::new(setup);
        desk.run(Op::Answer(AnswerArgs::default())).unwrap();
        desk.press("12");
        let id = desk.submit(Op::Ivr(ivr()));
        desk.pass(500);
        desk.press("34");
        desk.pass(100);
        match desk.result(id) {
            Some(Ok(Outcome::Ivr(result))) => {
                assert_eq!((result.status, result.value.as_str()), (CollectStatus::Success, "1234"))
            }
            other => panic!("{mode:?}: {other:?}"),
        }
        let digits: String = desk
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Dtmf { digit, .. } => Some(*digit),
                _ => None,
            })
            .collect();
        assert_eq!(digits, "1234", "{mode:?}: every digit reaches the listeners");
        assert!(
            matches!(desk.run(Op::Ivr(ivr())), Ok(Outcome::Ivr(result)) if result.status == CollectStatus::Timeout),
            "{mode:?}"
        );
    }
}

#[test]
fn what_does_not_match_is_invalid_and_tried_again() {
    let mut desk = Desk::new(Setup::default());
    let args = IvrArgs { regexp: Some("[12]".into()), max: 1, tries: 2, invalid_file: Some("silence:300".into()), ..ivr() };
    let id = desk.submit(Op::Ivr(args.clone()));
    desk.pass(100);
    desk.press("9");
    desk.pass(1_000);
    assert_eq!(desk.result(id), None);
    desk.press("2");
    desk.pass(100);
    assert!(matches!(desk.result(id), Some(Ok(Outcome::Ivr(result))) if result.value == "2"), "{:?}", desk.result(id));
    let id = desk.submit(Op::Ivr(IvrArgs { tries: 1, ..args }));
    desk.pass(100);
    desk.press("7");
    desk.pass(1_000);
    assert!(matches!(desk.result(id), Some(Ok(Outcome::Ivr(result))) if result.status == CollectStatus::Invalid));
}

#[test]
fn an_entry_that_will_not_do_is_told_as_our_own_media_tells_it() {
    let mut desk = Desk::new(Setup::default());
    for (keys, status, value, terminator) in [
        ("12", CollectStatus::Timeout, "12", None),
        ("12#", CollectStatus::Invalid, "12", Some('#')),
        ("", CollectStatus::Timeout, "", None),
        ("#", CollectStatus::Invalid, "", Some('#')),
        ("999#", CollectStatus::Invalid, "999", Some('#')),
        ("111#", CollectStatus::Success, "111", Some('#')),
    ] {
        let id = desk.submit(Op::Gather(GatherArgs {
            prompt: None,
            invalid_prompt: None,
            min: 3,
            max: 4,
            terminators: "#".into(),
            timeout_ms: 3_000,
            inter_digit_timeout_ms: 1_000,
            regexp: Some("[1-4]+".into()),
            tries: 1,
            barge_in: true,
            flush: false,
            speech: None,
        }));
        desk.pass(100);
        desk.press(keys);
        desk.pass(4_000);
        match desk.result(id) {
            Some(Ok(Outcome::Gathered(found))) => {
                assert_eq!((found.status, found.value.as_str(), found.terminator), (status, value, terminator), "{keys}");
            }
            other => panic!("{keys}: {other:?}"),
        }
    }
}

#[test]
fn a_terminator_ends_the_entry_and_is_told() {
    let mut desk = Desk::new(Setup::default());
    let args = GatherArgs {
        prompt: Some(Prompt::Play(vec!["tone:440,1000/0".into(), "silence:100".into()])),
        invalid_prompt: None,
        min: 1,
        max: 9,
        terminators: "#".into(),
        timeout_ms: 5_000,
        inter_digit_timeout_ms: 2_000,
        regexp: None,
        tries: 1,
        barge_in: false,
        flush: true,
        speech: None,
    };
    let id = desk.submit(Op::Gather(args.clone()));
    desk.pass(1_500);
    desk.press("42#");
    desk.pass(100);
    match desk.result(id) {
        Some(Ok(Outcome::Gathered(gathered))) => {
            assert_eq!((gathered.digits.as_str(), gathered.terminator), ("42", Some('#')));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(desk.executed()[0], "playback(file_string://tone_stream://%(1000,0,440)!silence_stream://100)");
    assert_eq!(desk.executed()[1], "flush_dtmf()");
    let speech = GatherArgs { speech: Some(SpeechArgs::default()), ..args };
    assert_eq!(desk.run(Op::Gather(speech)).unwrap_err().code, ErrorCode::NotConfigured);
}

#[test]
fn a_key_stops_audio_only_where_it_may() {
    let mut desk = Desk::new(Setup::default());
    let stop_on =
        |keys: &str| Op::Play(PlayArgs { sources: vec!["tone:440,9000/0".into()], stop_on: keys.into(), ..PlayArgs::default() });
    let id = desk.submit(stop_on("5"));
    desk.pass(1_000);
    desk.press("*4");
    desk.pass(1_000);
    assert_eq!(desk.result(id), None, "`*` stops nothing unless it is said so");
    desk.press("5");
    desk.pass(20);
    match desk.result(id) {
        Some(Ok(Outcome::Played(played))) => {
            assert_eq!((played.reason, played.digit, played.played_ms / 100), (PlayReason::Dtmf, Some('5'), 19));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(desk.run(stop_on("")), Ok(Outcome::Played(played)) if played.reason == PlayReason::Completed));
}

#[test]
fn audio_is_repeated_as_often_as_wanted_and_nothing_is_not_repeated_at_speed() {
    let mut desk = Desk::new(Setup::default());
    let repeat = |source: &str, repeat| Op::Play(PlayArgs { sources: vec![source.into()], repeat, ..PlayArgs::default() });
    assert!(matches!(desk.run(repeat("silence:200", 3)), Ok(Outcome::Played(played)) if played.played_ms == 600));
    let before = desk.executed().len();
    let id = desk.submit(repeat("silence:1", 0));
    desk.pass(2_000);
    assert!(desk.executed().len() - before < 20, "{}", desk.executed().len());
    desk.cancel(id);
    desk.pass(1_100);
    assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::AbortError);
}

#[test]
fn a_missing_file_is_not_found_and_the_call_goes_on() {
    let mut desk = Desk::new(Setup { files: [("/s/user/a.wav".to_owned(), 300)].into(), ..Setup::default() });
    let error = desk.run(play(&["user/b.wav"])).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.contains("b.wav"), "{error}");
    assert!(desk.run(play(&["user/a.wav"])).is_ok());
    assert_eq!(desk.ended, None);
}

#[test]
fn speech_is_spoken_by_the_engine_that_is_named() {
    let mut desk = Desk::new(Setup::default());
    let args = TtsArgs { text: "hello | ${system(reboot)}".into(), ..TtsArgs::default() };
    assert!(desk.run(Op::Tts(args)).is_ok());
    assert_eq!(desk.executed(), ["speak(flite|slt|hello   $ {system(reboot)})"]);
    assert_eq!(desk.channel.incidents, [""; 0]);
}

#[test]
fn an_aborted_operation_stops_within_a_tick_and_the_next_one_runs() {
    for setup in [Setup::default(), Setup { is_full: false, ..Setup::default() }] {
        let mode = setup.is_full;
        let mut desk = Desk::new(setup);
        let ops = [
            play(&["tone:440,30000/0"]),
            Op::Ivr(ivr()),
            Op::Echo(EchoArgs { delay_ms: 0 }),
            Op::Sleep(SleepArgs { duration_ms: 30_000 }),
        ];
        for op in ops {
            let name = op.name();
            let id = desk.submit(op);
            desk.pass(500);
            desk.cancel(id);
            desk.pass(60);
            let error = desk.result(id).unwrap_or_else(|| panic!("{name} full={mode} goes on")).clone().unwrap_err();
            assert_eq!(error.code, ErrorCode::AbortError, "{name} full={mode}");
            assert!(desk.run(play(&["silence:40"])).is_ok(), "{name} full={mode}");
        }
    }
}

#[test]
fn an_echo_that_cannot_be_stopped_is_said_to_be() {
    let mut desk = Desk::new(Setup::default());
    let id = desk.submit(Op::Echo(EchoArgs { delay_ms: 500 }));
    desk.pass(100);
    desk.cancel(id);
    assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::AbortError);
    assert_eq!(desk.run(play(&["silence:40"])).unwrap_err().code, ErrorCode::InvalidState);
    assert!(desk.run(Op::Hangup(HangupArgs::default())).is_ok());
}

#[test]
fn a_bridge_tells_how_it_went() {
    let peers = vec![
        ("1001".to_owned(), Peer::Answers { after_ms: 500, talks_ms: 4_000 }),
        ("1002".to_owned(), Peer::Fails { after_ms: 200, cause: "USER_BUSY".into() }),
        ("1003".to_owned(), Peer::Rings),
    ];
    for setup in modes() {
        let mode = (setup.is_async, setup.is_full);
        let mut desk = Desk::new(Setup { peers: peers.clone(), ..setup });
        let dial = |desk: &mut Desk, args: BridgeArgs| match desk.run(Op::Bridge(args)) {
            Ok(Outcome::Bridged(result)) => result,
            other => panic!("{mode:?}: {other:?}"),
        };
        let result = dial(&mut desk, bridge(&["1001"]));
        assert_eq!((result.status, result.code), (BridgeStatus::Completed, 200), "{mode:?}");
        assert!(result.bleg.is_some(), "{mode:?}");
        if mode.0 {
            assert_eq!(result.duration_ms, 4_000, "{mode:?}");
            let joined =
                desk.events.iter().filter(|event| matches!(event, Event::Bridge { .. } | Event::Unbridge { .. })).count();
            assert_eq!(joined, 2, "{mode:?}");
        }
        assert_eq!(
            (dial(&mut desk, bridge(&["1002"])).status, dial(&mut desk, bridge(&["1003"])).status),
            (BridgeStatus::Busy, BridgeStatus::NoAnswer),
            "{mode:?}"
        );
        let args = BridgeArgs { strategy: BridgeStrategy::Sequential, ..bridge(&["1002", "1001"]) };
        assert_eq!(dial(&mut desk, args).status, BridgeStatus::Completed, "{mode:?}");
        assert_eq!(dial(&mut desk, bridge(&["1003", "1001"])).status, BridgeStatus::Completed, "{mode:?}");
        assert_eq!(desk.channel.incidents, [""; 0], "{mode:?}");
    }
}

#[test]
fn dial_strings_hold_what_was_asked_for() {
    let mut desk = Desk::new(Setup::default());
    let args = BridgeArgs {
        caller_id: Some("4420".into()),
        from_name: Some("A, \"B\"".into()),
        headers: vec![("X-List".into(), "a, b; c=\"d\"".into())],
        hangup_on: Some("*".into()),
        screen: Some("ivr/press.wav".into()),
        codecs: vec!["PCMU".into(), "PCMA".into()],
        ..bridge(&["sip:bob@example.net:5070", "error/NO_ANSWER"])
    };
    desk.run(Op::Bridge(args)).unwrap();
    let dialled = desk.executed().join("\n");
    assert!(
        dialled.starts_with("bridge({group_confirm_key=1,group_confirm_file=/s/ivr/press.wav}[origination_uuid="),
        "{dialled}"
    );
    assert!(
        dialled.contains("leg_timeout=20,absolute_codec_string=^^:PCMU:PCMA]sofia/internal/bob@example.net:5070,["),
        "{dialled}"
    );
    assert!(dialled.ends_with("]error/NO_ANSWER)"), "{dialled}");
    for (name, value) in [
        ("sip_h_X-List", "a, b; c=\"d\""),
        ("export_vars", "sip_h_X-List"),
        ("effective_caller_id_number", "4420"),
        ("effective_caller_id_name", "A, \"B\""),
        ("bridge_terminate_key", "*"),
        ("continue_on_fail", "true"),
    ] {
        assert_eq!(desk.channel.at_bridge(0, name), Some(value), "{name}");
    }
    for name in ["sip_h_X-List", "export_vars", "effective_caller_id_number", "effective_caller_id_name"] {
        assert_eq!(desk.channel.variable(name), None, "{name} is as it was before");
    }
}

#[test]
fn an_aborted_bridge_ends_the_legs_it_has_dialled() {
    let mut desk = Desk::new(Setup { peers: vec![("1003".to_owned(), Peer::Rings)], ..Setup::default() });
    for wait in [1_000, 0] {
        let target = if wait > 0 { "1003" } else { "1001" };
        let id = desk.submit(Op::Bridge(bridge(&[target])));
        desk.pass(200 + wait);
        desk.cancel(id);
        desk.pass(100);
        assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::AbortError, "{target}");
    }
    assert_eq!(desk.ended, None);
}

#[test]
fn a_call_ends_with_its_bridge_unless_the_script_goes_on() {
    let mut desk = Desk::new(Setup::default());
    let args = BridgeArgs { continue_on: ContinueOn::Never, ..bridge(&["error/USER_BUSY"]) };
    let error = desk.run(Op::Bridge(args)).unwrap_err();
    assert_eq!(error.code, ErrorCode::CallEnded);
    assert_eq!(desk.channel.response.as_deref(), Some("486 Busy Here"), "the caller was not answered");
    assert_eq!(desk.ended.as_ref().map(|cause| (cause.code, cause.by)), Some((486, EndedBy::Callee)));
}

#[test]
fn refusals_are_final_responses() {
    let cases = [
        (Op::Reject(RejectArgs { code: 603, reason: Some("Not ${today}".into()), headers: Vec::new() }), "603 Not $ {today}"),
        (Op::Redirect(RedirectArgs { code: 302, contacts: vec!["sip:a@example.net".into()] }), "sip:a@example.net"),
        (Op::Hangup(HangupArgs { code: Some(404), ..Default::default() }), "404 Not Found"),
        (
            Op::Hangup(HangupArgs { code: Some(302), reason: Some("sip:b@example.net".into()), headers: Vec::new() }),
            "sip:b@example.net",
        ),
    ];
    for (op, response) in cases {
        for setup in modes() {
            let mut desk = Desk::new(setup);
            assert_eq!(desk.run(op.clone()), Ok(Outcome::Unit));
            assert_eq!(desk.channel.response.as_deref(), Some(response));
            assert!(desk.ended.is_some());
        }
    }
    let mut desk = Desk::new(Setup::default());
    desk.run(Op::Answer(AnswerArgs::default())).unwrap();
    let late = Op::Reject(RejectArgs { code: 486, reason: None, headers: Vec::new() });
    assert_eq!(desk.run(late).unwrap_err().code, ErrorCode::InvalidState);
    assert_eq!(desk.run(Op::Answer(AnswerArgs::default())).unwrap_err().code, ErrorCode::InvalidState);
}

#[test]
fn recordings_start_pause_and_stop_beside_what_plays() {
    for setup in [Setup::default(), Setup { is_full: false, ..Setup::default() }] {
        let mode = setup.is_full;
        let mut desk = Desk::new(setup);
        let playing = desk.submit(play(&["tone:440,9000/0"]));
        desk.pass(100);
        let recording = desk.submit(Op::Record(RecordArgs { name: "r/a".into(), stereo: true, ..RecordArgs::default() }));
        desk.pass(60);
        assert_eq!(desk.result(recording), Some(&Ok(Outcome::Recording { file: "user/r/a.wav".into() })), "full={mode}");
        for action in [RecordAction::Pause, RecordAction::Resume] {
            assert_eq!(desk.run(Op::RecordControl(RecordControlArgs { recording, action })), Ok(Outcome::Unit), "full={mode}");
        }
        let stopped = desk.run(Op::RecordControl(RecordControlArgs { recording, action: RecordAction::Stop }));
        assert_eq!(stopped, Ok(Outcome::Recorded { file: "user/r/a.wav".into(), duration_ms: 1_060 }), "full={mode}");
        assert_eq!(desk.result(playing), None, "full={mode}: the audio goes on");
        let again = desk.run(Op::RecordControl(RecordControlArgs { recording, action: RecordAction::Stop }));
        assert_eq!(again.unwrap_err().code, ErrorCode::InvalidState);
    }
}

#[test]
fn variables_travel_both_ways() {
    for setup in modes() {
        let mut desk = Desk::new(setup);
        let set = |key: &str, value: Option<&str>| {
            Op::Set(SetArgs { key: key.into(), value: value.map(str::to_owned), skip_write: false })
        };
        assert_eq!(desk.run(set("sip_h_X-A", Some("it's \\ \"so\", ^^; {1}"))), Ok(Outcome::Unit));
        assert_eq!(desk.channel.variable("sip_h_X-A"), Some("it's \\ \"so\", ^^; {1}"));
        assert_eq!(desk.run(set("sip_h_X-A", None)), Ok(Outcome::Unit));
        assert_eq!(desk.channel.variable("sip_h_X-A"), None);
        desk.run(play(&["silence:40"])).unwrap();
        let told = desk
            .events
            .iter()
            .any(|event| matches!(event, Event::Facts(change) if change.vars.contains_key("playback_last_offset_pos")));
        assert!(told, "what the media server has set is read by ctx.get");
    }
}

#[test]
fn the_caller_ends_whatever_runs() {
    for setup in modes() {
        let mut desk = Desk::new(setup);
        desk.run(Op::Answer(AnswerArgs::default())).unwrap();
        let id = desk.submit(play(&["tone:440,9000/0"]));
        desk.pass(1_000);
        desk.channel.caller_hangs_up();
        desk.pass(100);
        assert_eq!(desk.result(id).unwrap().as_ref().unwrap_err().code, ErrorCode::CallEnded);
        assert_eq!(desk.ended.as_ref().map(|cause| cause.by), Some(EndedBy::Caller));
    }
}

#[test]
fn events_that_get_lost_leave_nothing_pending_and_run_nothing_twice() {
    for lost in ["CHANNEL_EXECUTE_COMPLETE", "CHANNEL_EXECUTE", "CHANNEL_ANSWER"] {
        let mut desk = Desk::new(Setup { lost: vec![lost.to_owned()], ..Setup::default() });
        assert_eq!(desk.run(Op::Answer(AnswerArgs::default())), Ok(Outcome::Unit), "{lost}");
        assert!(desk.run(play(&["tone:440,400/0"])).is_ok(), "{lost}");
        assert_eq!(desk.backend.state(), CallState::Answered, "{lost}");
        let played = desk.executed().iter().filter(|executed| executed.starts_with("playback")).count();
        assert_eq!(played, 1, "{lost}");
    }
}

#[test]
fn keys_are_sent_and_blocked() {
    let mut desk = Desk::new(Setup::default());
    let keys = |digits: &str| Op::SendDtmf(SendDtmfArgs { digits: digits.into(), duration_ms: 100, gap_ms: 50, method: None });
    assert_eq!(desk.run(keys("12w#")), Ok(Outcome::Unit));
    assert_eq!(desk.executed(), ["send_dtmf(12w#@100)"]);
    assert_eq!(desk.run(keys("1;2")).unwrap_err().code, ErrorCode::RangeError);
    assert_eq!(desk.run(Op::BlockDtmf(BlockDtmfArgs { digits: "0123456789".into() })), Ok(Outcome::Unit));
    desk.press("5");
    assert!(!desk.events.iter().any(|event| matches!(event, Event::Dtmf { .. })));
    assert_eq!(desk.run(Op::UnblockDtmf), Ok(Outcome::Unit));
    assert_eq!(desk.run(Op::BlockDtmf(BlockDtmfArgs { digits: "1".into() })).unwrap_err().code, ErrorCode::Unsupported);
}
