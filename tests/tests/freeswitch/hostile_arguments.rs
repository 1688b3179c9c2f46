//! Texts of scripts and callers that would like to be more than text.

use lockstep_ctx_api::op::*;
use lockstep_tests::freeswitch::Setup;
use proptest::prelude::*;

use super::desk::Desk;

/// What has meant something to a switch somewhere.
const NASTY: [&str; 20] = [
    "${system(reboot)}",
    "$${hostname}",
    "\\${x}",
    "a\nexecute-app-name: system",
    "a\r\n\r\napi system reboot\r\n\r\n",
    "^^:a=1:b=2",
    "%[api_hangup_hook=x]y",
    "{a=b}c",
    "[a=b]c",
    "<a=b>c",
    "a,sofia/gateway/x/900",
    "a|user/1",
    "a;b",
    "' x '",
    "\\' x",
    "a b c",
    "&system(ls)",
    "a\0b",
    "error/X:_:user/1",
    "lua(x.lua)",
];

/// Operations with `text` wherever one can stand.
fn operations(text: &str) -> Vec<Op> {
    let own = || text.to_owned();
    let header = || vec![(own(), own()), ("X-A".to_owned(), own())];
    let target =
        |uri: String| BridgeTarget { uri, headers: header(), caller_id: Some(own()), from_name: Some(own()), timeout_ms: None };
    let bridge = |targets: Vec<BridgeTarget>, plain: bool| {
        let given = |text: String| (!plain).then_some(text);
        Op::Bridge(BridgeArgs {
            targets,
            strategy: BridgeStrategy::Parallel,
            timeout_ms: 1_000,
            caller_id: given(own()),
            from_name: Some(own()),
            headers: vec![("X-A".to_owned(), own())],
            ringback: given(own()),
            early_media: true,
            whisper: None,
            screen: given(own()),
            hangup_on: given(own()),
            continue_on: ContinueOn::Always,
            record: given(own()),
            codecs: if plain { Vec::new() } else { vec![own()] },
        })
    };
    let plain = |uri: String| BridgeTarget { uri, ..BridgeTarget::default() };
    let sources = |text: String| vec![text.clone(), format!("user/{text}"), format!("https://h/{text}"), format!("tone:{text}")];
    let mut all: Vec<Op> =
        sources(own()).into_iter().map(|source| Op::Play(PlayArgs { sources: vec![source], ..PlayArgs::default() })).collect();
    all.extend([
        Op::Set(SetArgs { key: own(), value: Some("x".into()), skip_write: false }),
        Op::Set(SetArgs { key: "x".into(), value: Some(own()), skip_write: false }),
        Op::Play(PlayArgs { sources: vec!["silence:20".into()], stop_on: own(), ..PlayArgs::default() }),
        Op::Tts(TtsArgs { text: own(), ..TtsArgs::default() }),
        Op::Tts(TtsArgs { text: "x".into(), provider: Some(own()), voice: Some(own()), ..TtsArgs::default() }),
        Op::Ivr(IvrArgs {
            file: Some(format!("user/{text}")),
            max: 1,
            terminators: "#".into(),
            tries: 1,
            timeout_ms: 1,
            ..Default::default()
        }),
        Op::Ivr(IvrArgs { terminators: own(), max: 1, tries: 1, timeout_ms: 1, ..Default::default() }),
        Op::Ivr(IvrArgs { regexp: Some(own()), max: 1, tries: 1, timeout_ms: 1, ..Default::default() }),
        Op::SendDtmf(SendDtmfArgs { digits: own(), duration_ms: 1, gap_ms: 1, method: None }),
        Op::Record(RecordArgs { name: own(), ..RecordArgs::default() }),
        Op::Record(RecordArgs { name: format!("a{text}"), ..RecordArgs::default() }),
        Op::BlockDtmf(BlockDtmfArgs { digits: own() }),
        bridge(vec![plain(own())], true),
        bridge(vec![plain(format!("sip:{text}"))], true),
        bridge(vec![plain(format!("user/{text}"))], true),
        bridge(vec![plain("1001".into())], true),
        bridge(vec![plain("1001".into())], false),
        bridge(vec![target("1001".into()), target("1002".into())], true),
        Op::Answer(AnswerArgs { headers: header(), codecs: Vec::new() }),
        Op::Answer(AnswerArgs { headers: Vec::new(), codecs: vec![own()] }),
        Op::Hangup(HangupArgs { code: Some(480), reason: Some(own()), headers: header() }),
        Op::Redirect(RedirectArgs { code: 302, contacts: vec![own(), format!("sip:{text}")] }),
        Op::Reject(RejectArgs { code: 480, reason: Some(own()), headers: Vec::new() }),
    ]);
    all
}

/// Applications that the operations of this backend are made of.
const OURS: [&str; 17] = [
    "answer",
    "respond",
    "redirect",
    "set",
    "unset",
    "playback",
    "speak",
    "play_and_get_digits",
    "record_session",
    "bridge",
    "send_dtmf",
    "block_dtmf",
    "unblock_dtmf",
    "break",
    "flush_dtmf",
    "hangup",
    "stop_record_session",
];

fn assert_harmless(text: &str) {
    for is_full in [true, false] {
        for op in operations(text) {
            let shown = format!("{op:?}");
            let mut desk = Desk::new(Setup { is_full, ..Setup::default() });
            let id = desk.submit(op);
            desk.pass(120_000);
            assert!(desk.result(id).is_some(), "stays pending: {shown}");
            assert_eq!(desk.channel.incidents, [""; 0], "{shown}");
            assert!(!desk.channel.is_closed() || desk.ended.is_some(), "{shown}");
            for executed in desk.executed() {
                let app = executed.split('(').next().unwrap();
                assert!(OURS.contains(&app), "{executed} of {shown}");
                assert!(app != "bridge" || !executed.contains("900"), "{executed} of {shown}");
            }
            let bridges = desk.executed().iter().filter(|executed| executed.starts_with("bridge(")).count();
            assert!(bridges <= 1, "{shown}");
            let dialled = desk.channel.variable("dialled").unwrap_or_default().split(' ').count();
            assert!(dialled <= 2, "{shown}: {:?}", desk.channel.variable("dialled"));
        }
    }
}

#[test]
fn no_text_becomes_a_command() {
    for text in NASTY {
        assert_harmless(text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_mixture_of_such_texts_does(parts in proptest::collection::vec(prop_oneof![
        proptest::sample::select(&NASTY[..]).prop_map(str::to_owned),
        "[ -~]{0,6}",
        any::<String>(),
    ], 1..4)) {
        assert_harmless(&parts.concat());
    }

    #[test]
    fn a_value_arrives_as_it_is_or_not_at_all(value in "[ -~é]{1,40}", is_full in any::<bool>()) {
        let mut desk = Desk::new(Setup { is_full, ..Setup::default() });
        let set = Op::Set(SetArgs { key: "x".into(), value: Some(value.clone()), skip_write: false });
        match desk.run(set) {
            Ok(_) => prop_assert_eq!(desk.channel.variable("x"), Some(value.as_str())),
            Err(_) => {
                let expands = value.contains("${");
                prop_assert!(expands, "refused without a reason");
            }
        }
    }
}
