//! One small script an operation, run on our own media and on FreeSWITCH: what the matrix in `docs/conformance.md` says. What it
//! returns is the same on both.
//!
//! `LOCKSTEP_BLESS=1` writes the matrix anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use lockstep_ctx_api::catalog::{Class, OPERATIONS};
use lockstep_tests::caller::{Caller, USERS, incoming, registered};
use lockstep_tests::engine::{Engine, Events, within};
use lockstep_tests::freeswitch::{Line, Setup};

/// What is tried of an operation.
struct Case {
    operation: &'static str,
    /// After `answer`, unless it begins with `!`. `keys()` asks for the keys.
    body: &'static str,
    keys: &'static str,
    /// What it returns wherever it is known, as JSON.
    gives: &'static str,
}

const fn case(operation: &'static str, body: &'static str) -> Case {
    Case { operation, body, keys: "", gives: "null" }
}

const CASES: [Case; 28] = [
    Case { gives: "true", ..case("get", "return ctx.get('destination_number').startsWith('c');") },
    Case { gives: "\"y\"", ..case("set", "await ctx.set('x', 'y'); return ctx.get('x');") },
    case("header", "await ctx.header('X-A', 'b');"),
    case("log", "ctx.log('x');"),
    Case { gives: "\"answered\"", ..case("answer", "return ctx.call.state;") },
    case("ring", "!await ctx.ring();"),
    case("earlyMedia", "!await ctx.earlyMedia();"),
    case("reject", "!await ctx.reject(486);"),
    case("redirect", "!await ctx.redirect('sip:a@example.net');"),
    case("hangup", "await ctx.hangup();"),
    Case { gives: "\"completed\"", ..case("play", "return (await ctx.play('tone:440,100/0')).reason;") },
    case("tts", "await ctx.tts('hi');"),
    case("say", "await ctx.say('hi');"),
    Case {
        keys: "12#",
        gives: r#"{"status":"invalid","value":"12"}"#,
        ..case("ivr", "const entry = ctx.ivr('silence:20', 20, 3, 4); keys(); return entry;")
    },
    Case {
        keys: "1",
        gives: r#"{"status":"timeout","via":"dtmf","value":"1","digits":"1"}"#,
        ..case(
            "gather",
            "const entry = ctx.gather({ min: 2, timeout_ms: 20000, inter_digit_timeout_ms: 1000 }); keys(); return entry;",
        )
    },
    case("sendDtmf", "await ctx.sendDtmf('1');"),
    Case {
        gives: "\"AbortError\"",
        ..case(
            "echo",
            "return ctx.echo(0, { signal: AbortSignal.timeout(300) }).catch((e) => { if (e.name === 'Unsupported') throw e; return e.name; });",
        )
    },
    case("record", "const r = await ctx.record('r'); await r.pause(); await r.resume(); await r.stop();"),
    Case {
        gives: "\"completed\"",
        ..case("bridge", "return (await ctx.bridge('1003', { timeout_ms: 20000, continue_on: true })).status;")
    },
    Case {
        keys: "7",
        gives: "[]",
        ..case(
            "blockDtmf",
            "const heard = []; ctx.on('dtmf', (e) => heard.push(e.digit)); await ctx.blockDtmf(); keys(); await ctx.sleep(1000); return heard;",
        )
    },
    Case {
        keys: "7",
        gives: "\"7\"",
        ..case("unblockDtmf", "await ctx.blockDtmf(); await ctx.unblockDtmf(); const key = ctx.waitFor('7'); keys(); return key;")
    },
    case("sleep", "await ctx.sleep(20);"),
    Case { keys: "57", gives: "\"57\"", ..case("waitFor", "const key = ctx.waitFor(/.7/); keys(); return key;") },
    Case {
        keys: "57",
        gives: "\"7\"",
        ..case(
            "on",
            "return new Promise((resolve) => { ctx.on('dtmf', (e) => { if (e.digit === '7') resolve(e.digit); }); keys(); });",
        )
    },
    Case {
        keys: "7",
        gives: "\"7\"",
        ..case(
            "events",
            "const events = ctx.events(); keys(); for await (const e of events) if (e.type === 'dtmf') return e.digit;",
        )
    },
    Case {
        keys: "57",
        gives: "[\"5\"]",
        ..case(
            "once",
            "const heard = []; ctx.once('dtmf', (e) => heard.push(e.digit)); const all = ctx.waitFor('57'); keys(); await all; return heard;",
        )
    },
    Case {
        keys: "7",
        gives: "[]",
        ..case(
            "off",
            "const heard = []; const f = (e) => heard.push(e.digit); ctx.on('dtmf', f); ctx.off('dtmf', f); const key = ctx.waitFor('7'); keys(); await key; return heard;",
        )
    },
    case("waitForHangup", "setTimeout(() => ctx.hangup(), 50); await ctx.waitForHangup();"),
];

/// Operations that other media servers carry out under another name.
const APPLICATIONS: [(&str, &str); 18] = [
    ("set", "uuid_setvar, set"),
    ("header", "sip_rh_…, sip_ph_…, sip_h_…"),
    ("answer", "answer"),
    ("ring", "ring_ready"),
    ("earlyMedia", "pre_answer"),
    ("reject", "respond"),
    ("redirect", "redirect (302 only)"),
    ("hangup", "uuid_kill, hangup, respond"),
    ("play", "playback"),
    ("tts", "speak"),
    ("say", "speak"),
    ("ivr", "play_and_get_digits"),
    ("gather", "play_and_get_digits"),
    ("sendDtmf", "send_dtmf"),
    ("echo", "echo, delay_echo"),
    ("record", "uuid_record, record_session"),
    ("bridge", "bridge"),
    ("blockDtmf", "block_dtmf (all keys)"),
];

fn script(number: usize, Case { operation, body, .. }: &Case) -> String {
    let (before, body) = match body.strip_prefix('!') {
        Some(body) => ("", body),
        None => ("await ctx.answer();", *body),
    };
    format!(
        "// @lockstep class5_destination=c{number}
export async function main(data, ctx) {{
  const keys = () => ctx.log('keys {operation}');
  try {{
    {before}
    const result = await (async () => {{ {body} }})();
    ctx.log('outcome {operation} yes ' + JSON.stringify(result ?? null));
  }} catch (e) {{
    ctx.log('outcome {operation} ' + (e.name === 'CallEnded' ? 'yes null' : e.name ?? e));
  }}
}}
"
    )
}

/// What became of a case, once its keys have been pressed: `yes`, or the name of an error.
async fn outcome(events: &mut Events, case: &Case, press: impl AsyncFnOnce(&str)) -> String {
    if !case.keys.is_empty() {
        events.logged(&format!("keys {}", case.operation)).await;
        press(case.keys).await;
    }
    let mark = format!("outcome {} ", case.operation);
    let said = events.logged(&mark).await["text"].as_str().unwrap().replacen(&mark, "", 1);
    match said.split_once(' ') {
        Some(("yes", gives)) => {
            assert_eq!(gives, case.gives, "{}", case.operation);
            "yes".to_owned()
        }
        _ => said,
    }
}

#[tokio::test]
async fn the_matrix_says_what_each_backend_does() {
    let mut setup = Engine::setup()
        .config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"\nmedia = { tts_engine = \"flite\", tts_voice = \"slt\" }")
        .config(USERS);
    for (number, case) in CASES.iter().enumerate() {
        setup = setup.script(&format!("case{number}.js"), &script(number, case));
    }
    let engine = setup.start();
    let mut callee = registered(&engine, "1003").await;
    let mut found: BTreeMap<&str, [String; 2]> = BTreeMap::new();
    for (number, case) in CASES.iter().enumerate() {
        let mut events = engine.events().await;
        let caller = Caller::dial(&engine, &format!("c{number}")).await;
        let called = async {
            if case.operation == "bridge" {
                let mut call = incoming(&mut callee).await;
                call.answer();
                within("an ACK", call.answered()).await.unwrap();
                call.hangup();
            }
        };
        let (native, ()) = tokio::join!(outcome(&mut events, case, async |keys| caller.call.press(keys)), called);
        drop(caller);
        let mut events = engine.events().await;
        let uuid = format!("00000000-0000-4000-8000-{number:012}");
        let line = Line::dial(engine.freeswitch(), Setup { uuid, destination: format!("c{number}"), ..Setup::default() }).await;
        let press = async |keys: &str| {
            if ["ivr", "gather"].contains(&case.operation) {
                line.executes("play_and_get_digits").await;
            }
            line.with(|channel| keys.chars().for_each(|key| channel.press(key)));
        };
        let freeswitch = outcome(&mut events, case, press).await;
        assert_eq!(line.with(|channel| channel.incidents.clone()), [""; 0], "{}", case.operation);
        found.insert(case.operation, [native, freeswitch]);
    }
    let text = render(&found);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    if std::env::var_os("LOCKSTEP_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, text, "docs/conformance.md is not what the backends do; bless it with LOCKSTEP_BLESS=1");
}

fn render(found: &BTreeMap<&str, [String; 2]>) -> String {
    let mut text = String::from(
        "# Operations and backends\n\nWhat each backend does with the operations of `ctx`, as the tests found it: every row is a script that was run on both\n(`tests/tests/freeswitch/conformance.rs`). Operations without a mark were not tried.\n\n| operation | native | FreeSWITCH | there |\n|---|---|---|---|\n",
    );
    for operation in OPERATIONS {
        let mark = |outcome: &str| match outcome {
            "yes" => "yes".to_owned(),
            other => format!("`{other}`"),
        };
        let (native, freeswitch) = match found.get(operation.name) {
            Some([native, freeswitch]) => (mark(native), mark(freeswitch)),
            None => ("–".to_owned(), "–".to_owned()),
        };
        let known =
            APPLICATIONS.iter().find(|(name, _)| *name == operation.name).map(|(_, application)| format!("`{application}`"));
        let there =
            known.unwrap_or_else(|| if operation.class == Class::Local { "in the script".to_owned() } else { String::new() });
        writeln!(text, "| `{}` | {native} | {freeswitch} | {there} |", operation.name).unwrap();
    }
    text.push_str("\nOn FreeSWITCH an operation may still refuse an option it has nothing for; [freeswitch.md](freeswitch.md) lists them.\n");
    text
}
