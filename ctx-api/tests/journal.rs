//! Recording, repeating and reading journals.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_ctx_api::error::{CallEndedCause, EndedBy, OpError};
use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::host::{HostCall, HostReply};
use lockstep_ctx_api::journal::{
    Bounds, DivergenceCode, FORMAT, Journal, JournalHeader, Progress, Recorder, Redactor, ReplayError, Replayer, SecretNames,
    SourceDigest, Tail, TurnRecord, lines, secrets_of,
};
use lockstep_ctx_api::op::{DtmfMethod, FetchArgs, FetchRedirect, Op, OpId, PlayArgs, SetArgs, SetHeaderArgs, Vars};
use lockstep_ctx_api::outcome::{FetchResponse, Outcome};
use lockstep_ctx_api::wire::{
    Bundle, CallStart, Entry, EntryKind, Issued, Limits, Location, RunHeader, RunId, RunState, ScriptType, Start, TurnEnd,
};

fn journal() -> Journal {
    let limits = Limits { memory_bytes: 1 << 20, turn_ms: 2_000, after_end_ms: 10_000 };
    let run = RunHeader {
        bundle: 1,
        script_type: ScriptType::App,
        function: None,
        env: Vars::from([("API_URL".into(), "https://a.example".into())]),
        limits,
        seed: [3; 32],
        time_zone: "Europe/London".into(),
        prelude: 1,
        is_awaited: false,
    };
    let header = JournalHeader {
        format: FORMAT,
        script: "menu.js".into(),
        version: "0123456789abcdef".into(),
        sources: BTreeMap::from([("menu.js".into(), SourceDigest { bytes: 10, sha256: "00".into() })]),
        run: Arc::new(run),
    };
    let start = Start { at: 1_700_000_000_000, data: r#"{"pin":1,"token":"abc"}"#.into(), call: Some(CallStart::default()) };
    Journal::new(header, Arc::new(start))
}

#[test]
fn seeds_of_older_journals_are_read() {
    let RunHeader { bundle, script_type, function, env, limits, seed, time_zone, prelude, is_awaited: _ } =
        RunHeader::clone(&journal().header.run);
    // As numbers one by one, which is how tuples are written.
    let old =
        rmp_serde::to_vec(&(bundle, script_type, function, env, limits, seed, time_zone, prelude)).expect("it can be written");
    assert_eq!(rmp_serde::from_slice::<RunHeader>(&old).expect("it can be read"), *journal().header.run);
    let new = rmp_serde::to_vec(&journal().header.run).expect("it can be written");
    assert_eq!(rmp_serde::from_slice::<RunHeader>(&new).expect("it can be read"), *journal().header.run);
    assert_ne!(old, new);
    let text = serde_json::to_string(&journal().header.run).expect("it can be written");
    assert_eq!(serde_json::from_str::<RunHeader>(&text).expect("it can be read"), *journal().header.run);
}

#[test]
fn silences_of_older_journals_are_the_callers() {
    let old = rmp_serde::to_vec(&BTreeMap::from([("MediaTimeout", (5_u64,))])).expect("it can be written");
    let read = rmp_serde::from_slice::<Event>(&old).expect("it can be read");
    assert_eq!(read, Event::MediaTimeout { silent_ms: 5, bleg: None });
}

fn play(file: &str, line: u32) -> Issued {
    let op = Op::Play(PlayArgs { sources: vec![file.into()], ..PlayArgs::default() });
    Issued { op, at: Some(Location { file: "menu.js".into(), line, column: 9 }) }
}

fn end(turn: u32, issued: Vec<Issued>) -> TurnEnd {
    TurnEnd {
        run: RunId(1),
        epoch: 1,
        turn,
        awaited: (0..).zip(&issued).map(|(ordinal, _)| OpId { turn, ordinal }).collect(),
        issued,
        cancels: Vec::new(),
        wake_at: None,
        lingers: false,
        state: RunState::Running,
        cpu_us: turn,
        gone: false,
    }
}

fn entry(at: u64, kind: EntryKind) -> Entry {
    Entry { at: 1_700_000_000_000 + at, kind }
}

/// Three turns: a play each, then the call ends.
fn recorded() -> Journal {
    let mut recorder = Recorder::new(journal(), Bounds::default());
    recorder.turn(end(0, vec![play("user/a.wav", 2)]).into(), 10);
    let digit = Event::Dtmf { digit: '1', duration_ms: 80, method: DtmfMethod::Rfc4733 };
    recorder.entry(entry(10, EntryKind::Event(digit)), 10).unwrap();
    recorder.turn(end(1, vec![play("user/b.wav", 3)]).into(), 10);
    let ended = CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller };
    recorder.entry(entry(20, EntryKind::CallEnded(ended)), 10).unwrap();
    let mut last = end(2, Vec::new());
    last.state = RunState::Finished { result: Some("1".into()) };
    recorder.turn(last.into(), 10);
    recorder.into_journal()
}

#[test]
fn recorded_turns_are_repeated_and_later_ones_are_new() {
    let mut journal = recorded();
    journal.turns.truncate(2);
    let mut replayer = Replayer::new(&journal);
    assert!(replayer.is_replaying());
    assert_eq!(replayer.turn_end(&journal, &end(0, vec![play("user/a.wav", 2)])), Ok(Progress::Repeated));
    assert_eq!(replayer.turn_end(&journal, &end(1, vec![play("user/b.wav", 3)])), Ok(Progress::Repeated));
    assert!(!replayer.is_replaying());
    assert_eq!(replayer.turn_end(&journal, &end(2, vec![play("user/c.wav", 4)])), Ok(Progress::New));
    assert_eq!(replayer.next_turn(), Some(3));
}

#[test]
fn cpu_time_and_epoch_may_differ() {
    let journal = recorded();
    let mut replayer = Replayer::new(&journal);
    let mut again = end(0, vec![play("user/a.wav", 2)]);
    (again.cpu_us, again.epoch) = (99, 7);
    assert_eq!(replayer.turn_end(&journal, &again), Ok(Progress::Repeated));
}

#[test]
fn turns_come_in_order() {
    let journal = recorded();
    let mut replayer = Replayer::new(&journal);
    let error = replayer.turn_end(&journal, &end(1, Vec::new())).unwrap_err();
    assert_eq!(error, ReplayError::OutOfTurn { expected: 0, got: 1 });
    let error = replayer.turn_end(&journal, &end(0, vec![play("user/a.wav", 2)])).unwrap_err();
    assert_eq!(error, ReplayError::Closed { got: 0 });
}

#[test]
fn each_kind_of_difference_has_its_code() {
    let journal = recorded();
    let same = || end(0, vec![play("user/a.wav", 2)]);
    let cases: [(DivergenceCode, TurnEnd); 7] = [
        (DivergenceCode::Operation, end(0, vec![play("user/x.wav", 2)])),
        (DivergenceCode::MissingOperation, end(0, Vec::new())),
        (DivergenceCode::ExtraOperation, end(0, vec![play("user/a.wav", 2), play("user/b.wav", 3)])),
        (DivergenceCode::Awaited, TurnEnd { awaited: Vec::new(), ..same() }),
        (DivergenceCode::Cancels, TurnEnd { cancels: vec![OpId { turn: 0, ordinal: 0 }], ..same() }),
        (DivergenceCode::Timer, TurnEnd { wake_at: Some(1), ..same() }),
        (DivergenceCode::State, TurnEnd { state: RunState::Finished { result: None }, ..same() }),
    ];
    for (code, attempt) in cases {
        match Replayer::new(&journal).turn_end(&journal, &attempt) {
            Err(ReplayError::Diverged(divergence)) => assert_eq!(divergence.code, code),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[test]
fn a_divergence_says_what_was_recorded_what_came_and_where() {
    let journal = recorded();
    let attempt = end(0, vec![play("user/x.wav", 5)]);
    let error = Replayer::new(&journal).turn_end(&journal, &attempt).unwrap_err();
    let ReplayError::Diverged(divergence) = error else { panic!("{error:?}") };
    assert!(divergence.recorded.contains("user/a.wav") && divergence.recorded.ends_with("at menu.js:2:9"), "{divergence}");
    assert!(divergence.attempted.contains("user/x.wav"), "{divergence}");
    assert_eq!(divergence.at.unwrap().line, 5);
}

#[test]
fn past_its_bounds_a_journal_keeps_what_it_has_and_rebuilds_nothing() {
    let mut recorder = Recorder::new(journal(), Bounds { entries: 2, bytes: 1 << 20 });
    for n in 0..2 {
        recorder.turn(end(n, Vec::new()).into(), 10);
        recorder.entry(entry(1, EntryKind::Wake), 10).unwrap();
    }
    recorder.turn(end(2, Vec::new()).into(), 10);
    assert!(recorder.is_rebuildable());
    assert_eq!(recorder.entry(entry(9, EntryKind::Wake), 10), Err(entry(9, EntryKind::Wake)));
    assert!(!recorder.is_rebuildable());
    recorder.turn(end(3, Vec::new()).into(), 10);
    assert_eq!(recorder.journal().truncated_at, Some(3));
    assert_eq!((recorder.journal().entries.len(), recorder.journal().turns.len()), (2, 3));
}

#[test]
fn a_turn_that_does_not_fit_ends_recording() {
    let mut recorder = Recorder::new(journal(), Bounds { entries: 10, bytes: 100 });
    recorder.turn(end(0, Vec::new()).into(), 101);
    assert_eq!(recorder.journal().truncated_at, Some(0));
    assert!(recorder.entry(entry(1, EntryKind::Wake), 1).is_err());
}

#[test]
fn the_header_fields_and_variables_a_call_began_with_count_against_the_bound() {
    let Journal { header, bytes, .. } = journal();
    let headers = vec![("X-Id".to_owned(), "7".repeat(60)), ("X-Id".to_owned(), String::new())];
    let call = CallStart { headers: headers.into(), data_vars: Some("{}".to_owned()), ..CallStart::default() };
    let start = Start { call: Some(call), ..Start::clone(&journal().start) };
    let mut recorder = Recorder::new(Journal::new(header, start.into()), Bounds { entries: 10, bytes: bytes + 80 });
    assert_eq!(recorder.journal().bytes, bytes + 4 + 60 + 4 + 2);
    recorder.turn(end(0, Vec::new()).into(), 11);
    assert_eq!(recorder.journal().truncated_at, Some(0));
}

#[test]
fn a_journal_written_as_lines_is_read_back_the_same() {
    let mut journal = recorded();
    let response = FetchResponse {
        status: 200,
        status_text: "OK".into(),
        url: "https://a.example/".into(),
        redirected: false,
        headers: vec![("content-type".into(), "text/plain".into())],
        body: vec![0, 255, 10],
    };
    let op = OpId { turn: 1, ordinal: 0 };
    journal.entries.push(entry(30, EntryKind::Outcome { op, result: Ok(Outcome::Fetched(response)) }));
    journal.entries.push(entry(31, EntryKind::Outcome { op, result: Err(OpError::aborted("play")) }));
    let text = lines::render(&journal, None);
    journal.bytes = text.len();
    assert_eq!(lines::parse(&text).unwrap(), journal);
    assert_eq!(lines::render(&lines::parse(&text).unwrap(), None), text);

    journal.truncated_at = Some(5);
    assert_eq!(lines::parse(&lines::render(&journal, None)).unwrap().truncated_at, Some(5));
}

#[test]
fn every_turn_is_readable_in_its_place() {
    let text = lines::render(&recorded(), None);
    let heads: Vec<&str> = text.lines().map(|line| line.split([':', '{', '"']).nth(2).unwrap_or("")).collect();
    assert_eq!(heads, ["journal", "turn", "turn", "turn", "turn", "turn", "turn"]);
    let turns: Vec<&str> = text.lines().skip(1).map(|line| if line.contains("\"end\"") { "end" } else { "in" }).collect();
    assert_eq!(turns, ["in", "end", "in", "end", "in", "end"]);
}

#[test]
fn what_is_no_journal_says_at_which_line() {
    assert_eq!(lines::parse("").unwrap_err().to_string(), "no journal: the text is empty");
    assert!(lines::parse("{}").unwrap_err().to_string().starts_with("line 1: "));
    let text = lines::render(&recorded(), None);
    let mut broken: Vec<&str> = text.lines().collect();
    broken.swap(3, 5);
    let error = lines::parse(&broken.join("\n")).unwrap_err();
    assert_eq!(error.to_string(), "line 4: expected the entry of turn 1 or the end of turn 1");
    let newer = text.replace("\"format\":1", "\"format\":2");
    assert_eq!(lines::parse(&newer).unwrap_err().to_string(), "journal format 2, expected 1");
}

#[test]
fn secrets_are_hidden_from_readers_and_kept_for_replay() {
    let mut journal = recorded();
    let fetch = FetchArgs {
        method: "GET".into(),
        url: "https://user:hunter2@a.example/x?y=1".into(),
        headers: vec![("Authorization".into(), "Bearer s3cret".into()), ("Accept".into(), "*/*".into())],
        body: None,
        redirect: FetchRedirect::Follow,
        timeout_ms: None,
    };
    let set = SetArgs { key: "k".into(), value: Some("v".into()), skip_write: false };
    let issued = vec![Issued { op: Op::Fetch(fetch), at: None }, Issued { op: Op::Set(set), at: None }];
    journal.turns.push(TurnRecord::from(end(3, issued)));
    journal.entries.push(entry(30, EntryKind::Wake));
    let shown = lines::render(&journal, Some(&SecretNames));
    for secret in ["hunter2", "s3cret", "abc\\\"", "https://a.example\""] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    for harmless in ["*/*", "https://[redacted]@a.example/x?y=1", "user/a.wav", "\\\"pin\\\":1"] {
        assert!(shown.contains(harmless), "{harmless} not in {shown}");
    }
    assert!(lines::render(&journal, None).contains("hunter2"));
}

#[test]
fn what_is_secret_by_a_name_beside_it_is_hidden() {
    let set = |key: &str, value: &str| Op::Set(SetArgs { key: key.into(), value: Some(value.into()), skip_write: false });
    let header = |name: &str, value: &str| Op::SetHeader(SetHeaderArgs { name: name.into(), value: value.into() });
    let kept = |args: &str| {
        let (service, function) = ("kv".to_owned(), "set".to_owned());
        Op::Host(HostCall { service, function, args: args.to_owned(), body: None, listens: false })
    };
    let posted = |url: &str, body: &str| {
        Op::Fetch(FetchArgs {
            method: "POST".into(),
            url: url.into(),
            headers: Vec::new(),
            body: Some(body.into()),
            redirect: FetchRedirect::Follow,
            timeout_ms: None,
        })
    };
    let ops = [
        set("password", "hush-1"),
        header("X-Auth-Token", "hush-2"),
        kept(r#"["user:token","hush-3",60]"#),
        kept(r#"["user:token",{"a":["hush-4"]},60]"#),
        posted("https://h/x?page=2&token=hush-5&api_key=hush-6#end", "user=ann&client_secret=hush-7"),
        kept(r#"[{"name":"password","value":"hush-8"}]"#),
        set("colour", "plain-1"),
        header("X-Name", "plain-2"),
        kept(r#"["user:name","plain-3",60]"#),
        posted("https://h/plain-4?a=b=c", "plain-5=1"),
    ];
    let mut journal = recorded();
    journal.turns.push(TurnRecord::from(end(3, ops.into_iter().map(|op| Issued { op, at: None }).collect())));
    journal.entries.push(entry(30, EntryKind::Wake));
    let shown = lines::render(&journal, Some(&SecretNames));
    assert!(!shown.contains("hush"), "{shown}");
    for plain in ["plain-1", "plain-2", "plain-3", "plain-4?a=b=c", "plain-5=1", "page=2&token=[redacted]&api_key=[redacted]#end"]
    {
        assert!(shown.contains(plain), "{plain} not in {shown}");
    }
    let read = lines::parse(&shown).unwrap();
    assert_eq!(lines::render(&read, Some(&SecretNames)), shown, "what is hidden stays as it is");
}

#[test]
fn what_services_are_given_and_give_back_under_secret_names_is_hidden() {
    let calls = [
        ("kv", "get", r#"["user:token"]"#, r#""hush-1""#),
        ("ko", "get", r#"["user:password"]"#, r#"{"a":["hush-2"],"b":3}"#),
        ("cxUserspace", "get", r#"["passwords","ann"]"#, r#""hush-3""#),
        ("cxUserspace", "create", r#"["users","token","\"hush-4\""]"#, r#""hush-4""#),
        ("rest", "request", r#"[null,"PUT","/kv/user:token",null,"{\"value\":\"hush-5\"}"]"#, ""),
        ("env", "set", r#"["DOOR","hush-6"]"#, ""),
        ("env", "list", "[]", r#"{"DOOR":"hush-6","LANG2":"en","KEY":null}"#),
        ("kv", "get", r#"["session:token"]"#, r#""{\"a\":[\"hush-7\"],\"n\":4567}""#),
        (
            "cxUserspace",
            "list",
            r#"["users",{}]"#,
            r#"[{"key":"user:token","data":"hush-8"},{"key":"ann:password","data":{"a":"hush-9","b":2345}},{"key":"ann","data":"plain-8"}]"#,
        ),
        ("kv", "get", r#"["max_tokens"]"#, r#""8901""#),
        ("kv", "get", r#"["token_url"]"#, r#""https://plain-6.example/""#),
        ("kv", "get", r#"["secretary"]"#, r#""plain-7""#),
        ("kv", "get", r#"["user:name"]"#, r#""plain-1""#),
        ("cxUserspace", "update", r#"["users","ann","\"plain-2\""]"#, r#""plain-2""#),
        ("kv", "keys", r#"["token:"]"#, r#"["token:plain-3"]"#),
        ("env", "set", r#"["LANG2","en-5"]"#, ""),
    ];
    let mut journal = recorded();
    let turn = journal.turns.len();
    let issued = calls.iter().map(|(service, function, args, _)| {
        let (service, function, args) = ((*service).to_owned(), (*function).to_owned(), (*args).to_owned());
        Issued { op: Op::Host(HostCall { service, function, args, body: None, listens: false }), at: None }
    });
    journal.turns.push(TurnRecord::from(end(turn as u32, issued.collect())));
    journal.entries.push(entry(30, EntryKind::Wake));
    for (ordinal, (.., value)) in (0..).zip(&calls) {
        let reply = HostReply { value: (*value).to_owned(), body: None };
        let op = OpId { turn: turn as u32, ordinal };
        journal.entries.push(entry(30, EntryKind::Outcome { op, result: Ok(Outcome::Host(reply)) }));
    }
    let shown = lines::render(&journal, Some(&SecretNames));
    assert!(!shown.contains("hush"), "{shown}");
    for plain in ["2345", "4567", "8901", "https://plain-6.example/", "plain-7", "plain-8"] {
        assert!(shown.contains(plain), "{plain} not in {shown}");
    }
    for plain in ["\\\"plain-1\\\"", "plain-2", "token:plain-3", "en-5", "\\\"LANG2\\\":\\\"en\\\"", "\\\"b\\\":3"] {
        assert!(shown.contains(plain), "{plain} not in {shown}");
    }
    let read = lines::parse(&shown).unwrap();
    assert_eq!(lines::render(&read, Some(&SecretNames)), shown, "what is hidden stays as it is");
    let found = secrets_of(&journal);
    assert_eq!(found, BTreeSet::from(["abc", "hush-1", "hush-3", "hush-4", "hush-6"].map(str::to_owned)));
    assert_eq!(secrets_of(&read), BTreeSet::new());
}

#[test]
fn secrets_are_what_came_in_under_the_names_of_credentials() {
    let mut journal = recorded();
    let data = serde_json::json!({
        "env": "plain-1",
        "secretary": "plain-2",
        "token_file": "plain-3.js",
        "callback": "https://h/?access_token=hush-1&tokens=plain-4",
        "headers": { "Authorization": "Bearer hush-2", "cookie_policy": "plain-5" },
        "api_key": "hush-3",
    });
    journal.start = Arc::new(Start { data: data.to_string(), ..Start::clone(&journal.start) });
    let set = SetArgs { key: "password".into(), value: Some("made-1".into()), skip_write: false };
    journal.turns.push(TurnRecord::from(end(3, vec![Issued { op: Op::Set(set), at: None }])));
    journal.entries.push(entry(30, EntryKind::Wake));
    let expected = BTreeSet::from(["Bearer hush-2", "hush-1", "hush-2", "hush-3"].map(str::to_owned));
    assert_eq!(secrets_of(&journal), expected);
    let shown = lines::render(&journal, Some(&SecretNames));
    assert!(!shown.contains("hush") && !shown.contains("made"), "what the run made is hidden in its place: {shown}");
}

#[test]
fn names_of_files_tell_of_no_secrets() {
    let source = "const answer = 42;";
    let bundle = Bundle { entry: "token.js".into(), files: [("token.js".into(), source.into())].into(), ..Bundle::default() };
    let shown = lines::render_with(&recorded(), Some(&bundle), Some(&SecretNames));
    let (_, read) = lines::parse_with(&shown).unwrap();
    assert_eq!(&*read.unwrap().files["token.js"], source);
    let bundle = Bundle { files: [("token.js".into(), "https://ann:hush@h/".into())].into(), ..bundle };
    assert!(!lines::render_with(&recorded(), Some(&bundle), Some(&SecretNames)).contains("hush"));
}

#[test]
fn a_redactor_of_ones_own_sees_every_string_with_its_name() {
    struct Files;
    impl Redactor for Files {
        fn redact(&self, name: &str, value: &str) -> Option<String> {
            (name == "sources" && value.starts_with("user/")).then(|| "user/…".to_owned())
        }
    }
    let shown = lines::render(&recorded(), Some(&Files));
    assert!(shown.contains("user/…") && !shown.contains("user/a.wav"));
}

#[test]
fn a_journal_written_piece_by_piece_is_the_same_as_one_written_at_once() {
    let mut whole = recorded();
    whole.entries.push(entry(30, EntryKind::Wake));
    whole.truncated_at = Some(4);
    let mut so_far = Journal::new(whole.header.clone(), Arc::clone(&whole.start));
    let (mut text, mut mark) = (lines::render_head(&whole.header, &whole.start), so_far.mark());
    let mut flush = |journal: &Journal| {
        let tail = journal.since(mark);
        text.push_str(&lines::render_tail(&tail));
        mark = tail.to();
        assert_eq!(mark, journal.mark());
        assert_eq!(journal.since(mark), Tail { from: mark, entries: Vec::new(), turns: Vec::new(), truncated_at: None });
    };
    // Entries run ahead of the turns they make.
    so_far.entries.push(whole.entries[0].clone());
    flush(&so_far);
    so_far.turns.extend(whole.turns[..2].iter().cloned());
    so_far.entries.push(whole.entries[1].clone());
    flush(&so_far);
    whole.bytes = so_far.bytes;
    so_far = whole.clone();
    flush(&so_far);
    let read = lines::parse(&text).unwrap();
    assert_eq!(Journal { bytes: 0, ..read }, Journal { bytes: 0, ..whole });
}

#[test]
fn sources_travel_with_a_journal_where_they_are_asked_for() {
    let journal = recorded();
    let bundle = Bundle { entry: "menu.js".into(), files: [("menu.js".into(), "exit(1)".into())].into(), ..Bundle::default() };
    let text = lines::render_with(&journal, Some(&bundle), None);
    let (read, sources) = lines::parse_with(&text).unwrap();
    assert_eq!((read.turns, sources), (journal.turns, Some(bundle)));
    assert_eq!(lines::parse_with(&lines::render(&recorded(), None)).unwrap().1, None);
    let twice = text.lines().take(2).chain(text.lines().skip(1)).collect::<Vec<_>>().join("\n");
    assert_eq!(lines::parse_with(&twice).unwrap_err().to_string(), "line 3: expected the start of turn 0");
}

#[test]
fn bodies_are_shown_as_text_where_they_are_text() {
    let reply = |body: &[u8]| Outcome::Host(HostReply { value: String::new(), body: Some(body.to_vec()) });
    for (body, shown) in [(&b"caf\xc3\xa9"[..], "\"caf\u{e9}\""), (&[0xff, 0][..], r#"{"base64":"/wA="}"#)] {
        let text = serde_json::to_string(&reply(body)).unwrap();
        assert!(text.contains(&format!("\"body\":{shown}")), "{text}");
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), reply(body));
    }
    assert!(serde_json::from_str::<Outcome>(r#"{"Host":{"value":"","body":{"base64":"%"}}}"#).is_err());
}

#[test]
fn what_the_engine_puts_into_the_environment_is_shown() {
    let mut journal = recorded();
    let mut run = (*journal.header.run).clone();
    run.env = [("CORRELATION_ID".into(), "the-call".into()), ("DB".into(), "pg://hush".into())].into();
    journal.header.run = Arc::new(run);
    let shown = lines::render(&journal, Some(&SecretNames));
    assert!(shown.contains("the-call") && !shown.contains("pg://hush"), "{shown}");
}
