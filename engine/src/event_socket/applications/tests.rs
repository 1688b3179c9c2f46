use lockstep_ctx_api::op::{ContinueOn, Op, Prompt};
use lockstep_ctx_api::outcome::{BridgeResult, BridgeStatus, CollectStatus, GatherVia, Gathered};
use lockstep_ctx_api::{CallState, OpResult, Outcome};

use super::{Call, Plan, exists, number, quoted, unquoted, words};
use crate::core::{Channel, Consequences};

fn channel(vars: &[(&str, &str)]) -> Channel {
    let mut channel = Channel { uuid: "c".to_owned(), call: "c".to_owned(), ..Channel::default() };
    for (name, value) in vars {
        channel.vars.insert(name, value);
    }
    channel
}

fn plan(vars: &[(&str, &str)], application: &str, data: &str) -> Plan {
    Call::new(application, data, 1, &channel(vars), &|name| (name == "7").then(|| "sbc".to_owned())).plan()
}

fn operation(vars: &[(&str, &str)], application: &str, data: &str) -> Op {
    match plan(vars, application, data) {
        Plan::Operation(op, _) => *op,
        _ => panic!("{application} {data} is no operation"),
    }
}

fn consequences(application: &str, data: &str, result: &OpResult) -> Consequences {
    match plan(&[], application, data) {
        Plan::Operation(_, aftermath) => aftermath(result),
        _ => panic!("{application} {data} is no operation"),
    }
}

fn var<'a>(consequences: &'a Consequences, name: &str) -> Option<&'a str> {
    consequences.vars.iter().find(|(own, _)| own == name).and_then(|(_, value)| value.as_deref())
}

#[test]
fn words_may_be_quoted() {
    assert_eq!(words("1 'a b'  c ''"), ["1", "a b", "c", ""]);
}

#[test]
fn quotation_marks_around_a_text_are_none_of_it() {
    for (written, meant) in
        [("'a b'", "a b"), ("a b", "a b"), ("it's", "it's"), ("'a' b", "'a' b"), ("'it's'", "it's"), ("''", "")]
    {
        assert_eq!(unquoted(written), meant, "{written}");
    }
    assert_eq!(quoted("'five o'clock' both"), Some(("five o'clock", " both")));
}

#[test]
fn digits_are_collected_as_the_nine_arguments_say() {
    let data = "4 4 2 4000 # tone_stream://%(3000,0,440) ivr/no.wav pin \\d+ 2000";
    let Op::Gather(args) = operation(&[], "play_and_get_digits", data) else { panic!("no gather") };
    assert_eq!((args.min, args.max, args.tries, args.timeout_ms, args.inter_digit_timeout_ms), (4, 4, 2, 4_000, 2_000));
    assert_eq!((args.prompt, args.terminators.as_str()), (Some(Prompt::Play(vec!["tone:440,3000/0".into()])), "#"));
    assert_eq!(args.regexp.as_deref(), Some(".*(?:\\d+).*"));
}

#[test]
fn collected_digits_go_into_the_variable_only_when_they_were_valid() {
    let data = "4 4 1 4000 # a.wav none pin \\d+";
    let gathered = |status| {
        let digits = "1234".to_owned();
        let value = digits.clone();
        Ok(Outcome::Gathered(Gathered { status, via: GatherVia::Dtmf, value, digits, terminator: Some('#'), speech: None }))
    };
    let good = consequences("play_and_get_digits", data, &gathered(CollectStatus::Success));
    assert_eq!((var(&good, "pin"), var(&good, "read_terminator_used")), (Some("1234"), Some("#")));
    let bad = consequences("play_and_get_digits", data, &gathered(CollectStatus::Invalid));
    assert_eq!((var(&bad, "pin"), var(&bad, "pin_invalid")), (None, Some("1234")));
    let read = consequences("read", "1 4 a.wav got 5000 #", &gathered(CollectStatus::Timeout));
    assert_eq!((var(&read, "got"), var(&read, "read_result")), (Some("1234"), Some("timeout")));
}

#[test]
fn a_bridge_goes_on_as_the_channel_says() {
    for (vars, expected) in [
        (vec![], ContinueOn::Completed),
        (vec![("continue_on_fail", "true")], ContinueOn::Always),
        (vec![("continue_on_fail", "USER_BUSY,NO_ANSWER"), ("hangup_after_bridge", "true")], ContinueOn::Fail),
        (vec![("hangup_after_bridge", "true")], ContinueOn::Never),
    ] {
        let Op::Bridge(args) = operation(&vars, "bridge", "user/1001") else { panic!("no bridge") };
        assert_eq!(args.continue_on, expected, "{vars:?}");
    }
}

#[test]
fn a_bridge_takes_its_dial_string_apart() {
    let data = "{sip_h_X-A=1,originate_timeout=7,origination_caller_id_number=44}[leg_timeout=3]user/1|sofia/gateway/7/2";
    let Op::Bridge(args) = operation(&[], "bridge", data) else { panic!("no bridge") };
    let uris: Vec<&str> = args.targets.iter().map(|target| target.uri.as_str()).collect();
    assert_eq!((uris, args.timeout_ms, args.targets[0].timeout_ms), (vec!["1", "sip:2@sbc"], 7_000, Some(3_000)));
    assert_eq!((args.headers, args.caller_id.as_deref()), (vec![("X-A".to_owned(), "1".to_owned())], Some("44")));
}

#[test]
fn what_came_of_a_bridge_is_told_in_variables() {
    let result =
        |status, code| Ok(Outcome::Bridged(BridgeResult { status, code, reason: String::new(), duration_ms: 0, bleg: None }));
    let busy = consequences("bridge", "user/1", &result(BridgeStatus::Busy, 486));
    assert_eq!((var(&busy, "DIALSTATUS"), var(&busy, "originate_disposition")), (Some("USER_BUSY"), Some("USER_BUSY")));
    let done = consequences("bridge", "user/1", &result(BridgeStatus::Completed, 200));
    assert_eq!(var(&done, "originate_disposition"), Some("SUCCESS"));
}

#[test]
fn an_endpoint_that_nobody_has_ends_the_call_or_is_told() {
    assert!(matches!(plan(&[], "bridge", "error/USER_BUSY"), Plan::End(cause) if cause.name == "USER_BUSY"));
    let Plan::Variables(vars) = plan(&[("continue_on_fail", "true")], "bridge", "error/USER_BUSY") else { panic!() };
    assert!(vars.contains(&("DIALSTATUS".to_owned(), Some("USER_BUSY".to_owned()))));
}

#[test]
fn variables_are_put_into_arguments() {
    let Op::Play(args) = operation(&[("file", "a.wav")], "playback", "ivr/${file}") else { panic!("no play") };
    assert_eq!((args.sources, args.stop_on.as_str()), (vec!["ivr/a.wav".to_owned()], "*"));
    let Op::Set(args) = operation(&[("x", "1")], "set", "y=${x}2") else { panic!("no set") };
    assert_eq!((args.key.as_str(), args.value.as_deref()), ("y", Some("12")));
}

#[test]
fn what_is_played_is_repeated_as_often_as_the_header_says() {
    let tone = "tone_stream://%(50,0,440)";
    let played =
        |application: &str, data: &str, loops: &str| match Call::new(application, data, number(loops), &channel(&[]), &|_| None)
            .plan()
        {
            Plan::Operation(op, _) => match *op {
                Op::Play(args) => Some(args.repeat),
                _ => None,
            },
            _ => None,
        };
    for (loops, repeat) in [
        ("1", Some(1)),
        (" 3", Some(3)),
        ("2x", Some(2)),
        ("-1", Some(0)),
        ("-2 ", Some(0)),
        ("0", None),
        ("abc", None),
        ("", None),
    ] {
        assert_eq!(played("playback", tone, loops), repeat, "{loops}");
    }
    assert_eq!(played("loop_playback", &format!("+0 {tone}"), "1"), None);
    assert_eq!(played("loop_playback", &format!("+2 {tone}"), "1"), Some(2));
    assert_eq!(played("loop_playback", tone, "1"), Some(0));
    assert_eq!(played("endless_playback", tone, "1"), Some(0));
    assert_eq!(
        ["%(50,0,440)", "%(50,0,440)|0", "%(50,0,440)|-1"].map(|data| played("gentones", data, "1")),
        [Some(1), Some(1), Some(0)]
    );
}

#[test]
fn hanging_up_has_a_cause() {
    let Op::Hangup(args) = operation(&[], "hangup", "USER_BUSY") else { panic!("no hangup") };
    assert_eq!((args.code, args.reason.as_deref()), (Some(486), Some("USER_BUSY")));
    let Op::Hangup(args) = operation(&[], "hangup", "") else { panic!("no hangup") };
    assert_eq!(args.code, None);
}

#[test]
fn a_response_that_sends_the_caller_nowhere_is_480() {
    let uri = "sip:a@example.net;transport=tcp";
    let too_long = format!("302 sip:{}@b", "a".repeat(70_000));
    for (data, code, reason) in [
        (format!("302 {uri}").as_str(), 302, Some(uri)),
        ("300 <sip:a@b>;q=0.5, <sip:c@d>", 300, Some("<sip:a@b>;q=0.5, <sip:c@d>")),
        ("302 Moved", 480, None),
        ("300", 480, None),
        (too_long.as_str(), 480, None),
    ] {
        let Op::Hangup(args) = operation(&[], "respond", data) else { panic!("no hangup") };
        assert_eq!((args.code, args.reason.as_deref()), (Some(code), reason));
    }
    let Op::Reject(args) = operation(&[], "respond", "404 Not here") else { panic!("no refusal") };
    assert_eq!((args.code, args.reason.as_deref()), (404, Some("Not here")));
    let mut answered = channel(&[]);
    answered.state = CallState::Answered;
    let plan = Call::new("respond", "302 Moved", 1, &answered, &|_| None).plan();
    assert!(matches!(plan, Plan::Operation(op, _) if matches!(*op, Op::Hangup(ref args) if args.code == Some(302))));
}

#[test]
fn answering_what_is_answered_does_nothing() {
    let mut answered = channel(&[]);
    answered.state = CallState::Answered;
    let plan = Call::new("answer", "", 1, &answered, &|_| None).plan();
    assert!(matches!(plan, Plan::Operation(op, _) if matches!(*op, Op::Sleep(_))));
}

#[test]
fn an_unknown_application_ends_the_call_and_a_missing_one_says_so() {
    assert!(!exists("no_such_app"));
    for application in ["bridge", "socket", "park", "playback", "conference", "sched_hangup"] {
        assert!(exists(application), "{application}");
    }
    assert!(matches!(plan(&[], "no_such_app", ""), Plan::End(cause) if cause.name == "DESTINATION_OUT_OF_ORDER"));
    let said = consequences("conference", "room", &Ok(Outcome::Unit));
    assert_eq!(said.response.as_deref(), Some("-ERR not supported by this engine"));
}

#[test]
fn a_transfer_to_an_application_is_one_to_its_socket() {
    assert!(
        matches!(plan(&[], "socket", "127.0.0.1:8085 async full"), Plan::Transfer(to) if to == "socket:127.0.0.1:8085 async full")
    );
    assert!(matches!(plan(&[], "transfer", "-bleg 1000 XML default"), Plan::Transfer(to) if to == "1000"));
}
