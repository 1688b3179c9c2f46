//! Every operation in its classic and its option form (contract, section 2.2).

use lockstep_ctx_api::op::*;
use lockstep_ctx_api::outcome::{Outcome, PlayReason, Played};
use lockstep_ctx_api::{Op, catalog};

use crate::harness::Setup;

/// The operation that a call issues.
fn issued(call: &str) -> Op {
    let run = Setup::call(&format!(
        "async function main(data, ctx) {{ try {{ await ctx.{call} }} catch (error) {{ ctx.log(String(error)) }} }}"
    ))
    .start();
    match run.last().issued.first() {
        Some(issued) => issued.op.clone(),
        None => panic!("ctx.{call}: {:?}", run.texts()),
    }
}

/// What a call is refused with.
fn refused(call: &str) -> String {
    let run = Setup::call(&format!(
        "async function main(data, ctx) {{ try {{ await ctx.{call} }} catch (error) {{ ctx.log(String(error)) }} }}"
    ))
    .start();
    assert_eq!(run.last().issued, [], "ctx.{call}");
    run.texts().join("\n")
}

fn headers(fields: &[(&str, &str)]) -> Headers {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn answering_and_refusing() {
    let answer = AnswerArgs { headers: headers(&[("X-A", "1"), ("X-B", "x"), ("X-B", "y")]), codecs: strings(&["pcma"]) };
    assert_eq!(issued("answer({ headers: { 'X-A': 1, 'X-B': ['x', 'y'] }, codecs: ['pcma'] })"), Op::Answer(answer));
    assert_eq!(issued("answer()"), Op::Answer(AnswerArgs::default()));
    assert_eq!(issued("ring({ headers: { A: 'b' } })"), Op::Ring(RingArgs { headers: headers(&[("A", "b")]) }));
    assert_eq!(issued("earlyMedia()"), Op::EarlyMedia);
    let busy =
        |reason: Option<&str>| Op::Reject(RejectArgs { code: 486, reason: reason.map(str::to_owned), headers: Headers::new() });
    assert_eq!(issued("reject(486)"), busy(None));
    assert_eq!(issued("reject(486, 'Busy Here')"), busy(Some("Busy Here")));
    assert_eq!(issued("reject('486 Busy Here')"), busy(Some("Busy Here")));
    assert_eq!(issued("reject({ code: 486, reason: 'Busy Here' })"), busy(Some("Busy Here")));
    assert_eq!(issued("reject()"), Op::Reject(RejectArgs { code: 603, reason: None, headers: Headers::new() }));
    let moved = RejectArgs { code: 302, reason: Some("sip:a@b".to_owned()), headers: Headers::new() };
    assert_eq!(issued("reject(302, 'sip:a@b')"), Op::Reject(moved));
    assert_eq!(issued("redirect('sip:a@b')"), Op::Redirect(RedirectArgs { code: 302, contacts: strings(&["sip:a@b"]) }));
    assert_eq!(
        issued("redirect(['sip:a@b', 'sip:c@d'], { code: 301 })"),
        Op::Redirect(RedirectArgs { code: 301, contacts: strings(&["sip:a@b", "sip:c@d"]) })
    );
    assert_eq!(issued("hangup()"), Op::Hangup(HangupArgs::default()));
    let hangup = HangupArgs { code: Some(480), reason: Some("Later".to_owned()), headers: Headers::new() };
    assert_eq!(issued("hangup({ code: 480, reason: 'Later' })"), Op::Hangup(hangup.clone()));
    assert_eq!(issued("hangup(480, 'Later')"), Op::Hangup(hangup));
}

#[test]
fn playing_and_speaking() {
    let play = PlayArgs { sources: strings(&["a.wav"]), ..PlayArgs::default() };
    assert_eq!(issued("play('a.wav')"), Op::Play(play.clone()));
    let full = PlayArgs {
        sources: strings(&["a.wav", "tone:350+440,1000/0"]),
        repeat: 3,
        start_ms: 250,
        volume_db: -3.5,
        stop_on: "12#".to_owned(),
    };
    assert_eq!(
        issued("play(['a.wav', 'tone:350+440,1000/0'], { loop: 3, start_ms: 250, volume_db: -3.5, stop_on: '12#1' })"),
        Op::Play(full)
    );
    for endless in ["true", "0", "Infinity"] {
        assert_eq!(
            issued(&format!("play('a.wav', {{ loop: {endless} }})")),
            Op::Play(PlayArgs { repeat: 0, ..play.clone() }),
            "{endless}"
        );
    }
    assert_eq!(
        issued("play('a.wav', { stop_on: true, loop: false })"),
        Op::Play(PlayArgs { stop_on: "0123456789*#ABCD".to_owned(), ..play })
    );
    let speech = TtsArgs {
        text: "Hello".to_owned(),
        voice: Some("en".to_owned()),
        play: PlayArgs { volume_db: 2.0, ..PlayArgs::default() },
        ..TtsArgs::default()
    };
    assert_eq!(issued("tts('Hello', { voice: 'en', volume_db: 2 })"), Op::Tts(speech.clone()));
    assert_eq!(issued("say('Hello', { voice: 'en', volume_db: 2 })"), Op::Tts(speech));
    let Op::Tts(ssml) = issued("say('<speak>Hi</speak>')") else { panic!("speech") };
    assert!(ssml.ssml);
}

#[test]
fn collecting_digits() {
    let ivr = IvrArgs {
        file: Some("menu.wav".to_owned()),
        timeout_ms: 7_500,
        min: 1,
        max: 4,
        terminators: "*".to_owned(),
        tries: 1,
        ..IvrArgs::default()
    };
    assert_eq!(issued("ivr('menu.wav', 7.5, 1, 4, '*')"), Op::Ivr(ivr.clone()));
    assert_eq!(issued("ivr({ file: 'menu.wav', timeout_ms: 7500, min: 1, max: 4, terminators: '*' })"), Op::Ivr(ivr.clone()));
    let Op::Ivr(swapped) = issued("ivr('menu.wav', 5, 4, 2)") else { panic!("an ivr") };
    assert_eq!((swapped.min, swapped.max, swapped.terminators.as_str()), (4, 4, "#"));
    let Op::Ivr(silent) =
        issued("ivr(null, '5', '2', '3', 'none', { tries: 3, invalid_file: 'no.wav', regexp: /^[12]+$/, flush: true })")
    else {
        panic!("an ivr")
    };
    let expected = IvrArgs {
        file: None,
        timeout_ms: 5_000,
        min: 2,
        max: 3,
        tries: 3,
        invalid_file: Some("no.wav".to_owned()),
        regexp: Some("^[12]+$".to_owned()),
        flush: true,
        ..IvrArgs::default()
    };
    assert_eq!(silent, expected);
    let Op::Gather(gather) = issued(
        "gather({ prompt: { tts: 'Your PIN?', voice: 'en' }, min: 4, max: 4, timeout_ms: 3000, tries: 2, barge_in: false, speech: { hints: ['one'] } })",
    ) else {
        panic!("a gather")
    };
    let Some(Prompt::Tts(spoken)) = &gather.prompt else { panic!("a spoken prompt") };
    assert_eq!((spoken.text.as_str(), spoken.voice.as_deref()), ("Your PIN?", Some("en")));
    assert_eq!((gather.min, gather.max, gather.timeout_ms, gather.tries, gather.barge_in), (4, 4, 3_000, 2, false));
    assert_eq!(gather.speech.map(|speech| speech.hints), Some(strings(&["one"])));
    let Op::Gather(gather) = issued("gather({ prompt: 'a.wav', invalid_prompt: ['b.wav', 'c.wav'] })") else {
        panic!("a gather")
    };
    assert_eq!(gather.prompt, Some(Prompt::Play(strings(&["a.wav"]))));
    assert_eq!(gather.invalid_prompt, Some(Prompt::Play(strings(&["b.wav", "c.wav"]))));
    assert_eq!((gather.min, gather.terminators.as_str(), gather.barge_in, gather.inter_digit_timeout_ms), (1, "#", true, 3_000));
}

#[test]
fn digits_sleep_echo_and_recording() {
    let dtmf = SendDtmfArgs { digits: "12wA#".to_owned(), duration_ms: 100, gap_ms: 100, method: None };
    assert_eq!(issued("sendDtmf('12wa#')"), Op::SendDtmf(dtmf.clone()));
    assert_eq!(issued("sendDtmf(12)"), Op::SendDtmf(SendDtmfArgs { digits: "12".to_owned(), ..dtmf.clone() }));
    assert_eq!(
        issued("sendDtmf('12wA#', { duration_ms: 80, gap_ms: 50, method: 'info' })"),
        Op::SendDtmf(SendDtmfArgs { duration_ms: 80, gap_ms: 50, method: Some(DtmfMethod::Info), ..dtmf })
    );
    assert_eq!(issued("blockDtmf()"), Op::BlockDtmf(BlockDtmfArgs { digits: "0123456789".to_owned() }));
    assert_eq!(issued("blockDtmf('*#')"), Op::BlockDtmf(BlockDtmfArgs { digits: "*#".to_owned() }));
    assert_eq!(issued("unblockDtmf()"), Op::UnblockDtmf);
    assert_eq!(issued("sleep(1500)"), Op::Sleep(SleepArgs { duration_ms: 1_500 }));
    let endless = Op::Sleep(SleepArgs { duration_ms: 10_000_000_000_000 });
    assert_eq!([issued("sleep(Infinity)"), issued("sleep(1e300)")], [endless.clone(), endless]);
    assert_eq!(issued("echo()"), Op::Echo(EchoArgs { delay_ms: 0 }));
    assert_eq!(issued("echo(200)"), Op::Echo(EchoArgs { delay_ms: 200 }));
    assert_eq!(issued("echo({ delay_ms: 200 })"), Op::Echo(EchoArgs { delay_ms: 200 }));
    let record = RecordArgs { name: "a.wav".to_owned(), format: RecordFormat::Wav, stereo: true, direction: RecordDirection::In };
    assert_eq!(issued("record('a.wav', { stereo: true, direction: 'in' })"), Op::Record(record));
    let Op::Record(ogg) = issued("record('a.ogg')") else { panic!("a recording") };
    assert_eq!(ogg.format, RecordFormat::Ogg);
    assert_eq!(
        issued("set('a', 5, true)"),
        Op::Set(SetArgs { key: "a".to_owned(), value: Some("5".to_owned()), skip_write: true })
    );
    for (value, text) in [("'b'", "b"), ("5", "5"), ("true", "true")] {
        let header = SetHeaderArgs { name: "X-A".to_owned(), value: text.to_owned() };
        assert_eq!(issued(&format!("header('X-A', {value})")), Op::SetHeader(header));
    }
}

#[test]
fn bridging() {
    let bridge = |call: &str| match issued(call) {
        Op::Bridge(bridge) => bridge,
        other => panic!("{call}: {other:?}"),
    };
    for (classic, continue_on) in [
        ("bridge('1001')", ContinueOn::Never),
        ("bridge('1001', false)", ContinueOn::Never),
        ("bridge('1001', true)", ContinueOn::Always),
        ("bridge('1001', 'fail')", ContinueOn::Fail),
        ("bridge('1001', 'completed')", ContinueOn::Completed),
        ("bridge('1001', false, true)", ContinueOn::Never),
        ("bridge(1001, { continue_on: 'fail' })", ContinueOn::Fail),
        ("bridge(['1001'], { continue_on: true })", ContinueOn::Always),
    ] {
        let bridge = bridge(classic);
        assert_eq!((bridge.continue_on, bridge.targets[0].uri.as_str()), (continue_on, "1001"), "{classic}");
        assert_eq!(
            (bridge.timeout_ms, bridge.early_media, bridge.strategy),
            (60_000, true, BridgeStrategy::Parallel),
            "{classic}"
        );
    }
    let full = bridge(
        "bridge(['1001', { uri: 'sip:a@b', headers: { 'X-A': 'b' }, caller_id: '5', timeout_ms: 1000 }], { strategy: 'sequential', timeout_ms: 20000,
            caller_id: 442, from_name: 'Desk', headers: { 'X-B': 'c' }, ringback: 'ring.wav', early_media: false, whisper: 'w.wav', screen: 's.wav',
            hangup_on: '*', record: 'r.wav', codecs: ['opus'] })",
    );
    let second = BridgeTarget {
        uri: "sip:a@b".to_owned(),
        headers: headers(&[("X-A", "b")]),
        caller_id: Some("5".to_owned()),
        from_name: None,
        timeout_ms: Some(1_000),
    };
    let expected = BridgeArgs {
        targets: vec![BridgeTarget { uri: "1001".to_owned(), ..BridgeTarget::default() }, second],
        strategy: BridgeStrategy::Sequential,
        timeout_ms: 20_000,
        caller_id: Some("442".to_owned()),
        from_name: Some("Desk".to_owned()),
        headers: headers(&[("X-B", "c")]),
        ringback: Some("ring.wav".to_owned()),
        early_media: false,
        whisper: Some("w.wav".to_owned()),
        screen: Some("s.wav".to_owned()),
        hangup_on: Some("*".to_owned()),
        continue_on: ContinueOn::Never,
        record: Some("r.wav".to_owned()),
        codecs: strings(&["opus"]),
    };
    assert_eq!(full, expected);
}

#[test]
fn an_option_that_is_an_empty_string_is_none() {
    for (empty, plain) in [
        (
            "ivr('', '', '', '', '#', { tries: '', invalid_file: '', regexp: '', transfer_on_failure: '' })",
            "ivr(null, null, null, null, '#')",
        ),
        ("ivr({ file: 'a.wav', timeout_ms: '', regexp: new RegExp('') })", "ivr({ file: 'a.wav' })"),
        ("gather({ prompt: '', invalid_prompt: '', regexp: '', speech: { language: '', hints: '' } })", "gather({ speech: true })"),
        (
            "bridge('1001', { strategy: '', timeout_ms: '', ringback: '', whisper: '', screen: '', hangup_on: '', continue_on: '',
                record: '', codecs: '' })",
            "bridge('1001')",
        ),
        ("bridge('1001', '')", "bridge('1001')"),
        ("answer({ codecs: '' })", "answer()"),
        ("play('a.wav', { loop: '', start_ms: '', volume_db: ' ', stop_on: '' })", "play('a.wav')"),
        ("say('Hello', { provider: '', voice: '', language: '' })", "say('Hello')"),
        ("record('a.ogg', { format: '', direction: '' })", "record('a.ogg')"),
        ("sendDtmf('1', { method: '', gap_ms: '' })", "sendDtmf('1')"),
    ] {
        assert_eq!(issued(empty), issued(plain), "{empty}");
    }
    let mut run =
        Setup::call("async function main(data, ctx) { ctx.log(await ctx.waitFor('12', '', '').catch(String)) }").start();
    run.keys("12");
    assert_eq!(run.texts(), ["12"]);
}

#[test]
fn refusals_say_what_was_expected_and_what_came() {
    for (call, message) in [
        ("play('')", "TypeError: ctx.play: `source` must be a non-empty string, got an empty string"),
        ("play([])", "RangeError: ctx.play: `source` must be at least one source, got none"),
        ("play('a', 5)", "TypeError: ctx.play: `options` must be an object, got a number"),
        ("play('a', { stop_on: 'x' })", "RangeError: ctx.play: `stop_on` must be digits out of 0-9 * # A-D, got 'x'"),
        ("play('a', { loop: -1 })", "RangeError: ctx.play: `loop` must be 0 to 1000000, got -1"),
        ("say({})", "TypeError: ctx.say: `text` must be a string, got an object"),
        ("say('ä'.repeat(10_001))", "RangeError: ctx.say: `text` must be at most 10000 characters long, got 10001"),
        ("ivr('a', 'soon')", "TypeError: ctx.ivr: `timeout` must be a number, got a string"),
        ("ivr('a', -1)", "RangeError: ctx.ivr: `timeout` must be a time of 0 or more, got -1"),
        (
            "gather({ prompt: {} })",
            "TypeError: ctx.gather: `prompt` must be a source, a list of sources or {tts: 'text'}, got an object",
        ),
        (
            "ivr('a', 5, 1, 9, '#', { regexp: /\\d{1001}/ })",
            "RangeError: ctx.ivr: `regexp` must be at most 1000 characters and classes with its repetitions written out, got 1001",
        ),
        ("gather({ regexp: 'x'.repeat(20000) })", "RangeError: ctx.gather: `regexp` must be at most 16384 bytes long, got 20000"),
        (
            "gather({ regexp: '(' })",
            "TypeError: ctx.gather: `regexp` \"(\": Parsing error at position 1: Opening parenthesis without closing parenthesis",
        ),
        ("sendDtmf('12x')", "RangeError: ctx.sendDtmf: `digits` must be 1 to 256 of 0-9 * # A-D, w and W, got '12x'"),
        (
            "sendDtmf('1', { method: 'smoke' })",
            "RangeError: ctx.sendDtmf: `method` must be 'rfc4733', 'info' or 'inband', got 'smoke'",
        ),
        ("sleep()", "TypeError: ctx.sleep: `ms` must be a number of milliseconds, got nothing"),
        ("echo(60000)", "RangeError: ctx.echo: `delay_ms` must be 0 to 10000, got 60000"),
        ("record()", "TypeError: ctx.record: `name` must be a non-empty string, got nothing"),
        ("bridge()", "TypeError: ctx.bridge: `destination` must be a non-empty string, got nothing"),
        ("bridge([])", "RangeError: ctx.bridge: `destination` must be 1 to 32 destinations, got 0"),
        ("bridge(Array(33).fill('1001'))", "RangeError: ctx.bridge: `destination` must be 1 to 32 destinations, got 33"),
        // As long as a list can be.
        (
            "play(Object.assign([], { length: 2 ** 32 - 1 }))",
            "RangeError: ctx.play: `source` must be a list of at most 100, got 4294967295",
        ),
        (
            "bridge(Object.assign([], { length: 2 ** 32 - 1 }))",
            "RangeError: ctx.bridge: `destination` must be 1 to 32 destinations, got 4294967295",
        ),
        (
            "answer({ headers: Object.assign([], { length: 2 ** 32 - 1 }) })",
            "RangeError: ctx.answer: `headers` must be at most 100 header fields, got 4294967295",
        ),
        (
            "answer({ headers: { 'X-A': Object.assign([], { length: 2 ** 32 - 1 }) } })",
            "RangeError: ctx.answer: `headers` must be at most 100 header fields, got 4294967295",
        ),
        ("bridge({})", "TypeError: ctx.bridge: `uri` must be a non-empty string, got nothing"),
        (
            "bridge('1', 'sometimes')",
            "TypeError: ctx.bridge: `continue_on` must be true, false, 'fail' or 'completed', got a string",
        ),
        ("reject(200)", "RangeError: ctx.reject: `code` must be 300 to 699, got 200"),
        ("redirect()", "TypeError: ctx.redirect: `uri` must be a non-empty string, got nothing"),
        ("set('a', {})", "TypeError: ctx.set: `value` must be a string, a number or a boolean, got an object"),
        ("header('X-A', 'b\\nc')", "TypeError: ctx.header: the value of 'X-A' holds a LF"),
        ("header('X-A', 'b\\u0001c')", "TypeError: ctx.header: the value of 'X-A' holds a control character"),
        ("sleep(NaN)", "TypeError: ctx.sleep: `ms` must be a number, got NaN"),
        (
            "answer({ headers: { 'X-L': 'x'.repeat(70000) } })",
            "RangeError: ctx.answer: `headers` must be at most 16384 bytes together, got 70003",
        ),
        ("set('a', 'x'.repeat(70000))", "RangeError: ctx.set: `value` must be at most 65536 bytes long, got 70000"),
        ("answer({ headers: 'X' })", "TypeError: ctx.answer: `headers` must be an object of header fields, got a string"),
        (
            "answer({ headers: { 'X-A': {} } })",
            "TypeError: ctx.answer: `headers['X-A']` must be a string or a number, got an object",
        ),
    ] {
        assert_eq!(refused(call), message, "ctx.{call}");
        let operation = call.split('(').next().and_then(catalog::find).expect("an operation");
        let code = message.split(':').next();
        assert!(operation.errors.iter().any(|known| Some(known.name()) == code), "{} is not said to reject so", operation.name);
    }
}

#[test]
fn a_signal_of_the_scripts_own_is_one_or_is_refused() {
    let mut run = Setup::call(
        "const attempt = (ctx, signal) => ctx.play('x.wav', { signal }).catch((error) => ctx.log(error.message));
        async function main(data, ctx) {
            await attempt(ctx, { aborted: false, addEventListener() {} });
            await ctx.waitFor('1', null, 5, { signal: { aborted: false, addEventListener() {} } }).catch((error) => ctx.log(error.message));
            await attempt(ctx, { aborted: false, addEventListener() { throw new Error('no') }, removeEventListener() {} });
            const listeners = new Set();
            const signal = { aborted: false, addEventListener: (_, one) => listeners.add(one), removeEventListener: (_, one) => listeners.delete(one) };
            await ctx.play('', { signal }).catch((error) => ctx.log(listeners.size));
            await ctx.play('x.wav', { signal });
            ctx.log(listeners.size);
        }",
    )
    .start();
    assert_eq!(run.pending(), ["play"]);
    run.done("play");
    assert_eq!(
        run.texts(),
        ["ctx.play: `signal` must be an AbortSignal", "ctx.waitFor: `signal` must be an AbortSignal", "no", "0", "0"]
    );
    assert_eq!(run.result(), "undefined");
}

#[test]
fn a_signal_that_throws_when_it_is_let_go_changes_nothing() {
    let signal = "signal: { aborted: false, addEventListener() {}, removeEventListener() { throw new Error('mine') } }";
    let range = "RangeError: ctx.play: `volume_db` must be -60 to 60, got 1000";
    assert_eq!(refused(&format!("play('x.wav', {{ volume_db: 1000, {signal} }})")), range);
    let source = format!("async function main(data, ctx) {{ ctx.log((await ctx.play('x.wav', {{ {signal} }})).reason) }}");
    let mut run = Setup::call(&source).start();
    run.settle("play", Ok(Outcome::Played(Played { played_ms: 50, reason: PlayReason::Completed, digit: None })));
    assert_eq!(run.texts(), ["completed"]);
}

#[test]
fn a_listener_that_is_heard_once_takes_itself_off() {
    let source = "async function main(data, ctx) {
        const heard = (event) => ctx.log(event.digit);
        ctx.once('dtmf', heard);
        ctx.on('dtmf', heard);
        await ctx.waitForHangup();
    }";
    let mut run = Setup::call(source).start();
    run.keys("123");
    assert_eq!(run.texts(), ["1", "1", "2", "3"]);
}
