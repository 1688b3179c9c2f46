//! One small script an operation, run on our own media and on FreeSWITCH: what the matrix in `docs/conformance.md` says.
//!
//! `LOCKSTEP_BLESS=1` writes the matrix anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use lockstep_ctx_api::catalog::{Class, OPERATIONS};
use lockstep_tests::caller::{Caller, USERS};
use lockstep_tests::engine::Engine;
use lockstep_tests::freeswitch::{Line, Setup};

/// What is tried of each operation, after `answer` unless it says otherwise.
const CASES: [(&str, &str); 28] = [
    ("get", "return ctx.get('destination_number');"),
    ("set", "await ctx.set('x', 'y'); return ctx.get('x');"),
    ("header", "await ctx.header('X-A', 'b');"),
    ("log", "ctx.log('x');"),
    ("answer", ""),
    ("ring", "!await ctx.ring();"),
    ("earlyMedia", "!await ctx.earlyMedia();"),
    ("reject", "!await ctx.reject(486);"),
    ("redirect", "!await ctx.redirect('sip:a@example.net');"),
    ("hangup", "await ctx.hangup();"),
    ("play", "await ctx.play('tone:440,100/0');"),
    ("tts", "await ctx.tts('hi');"),
    ("say", "await ctx.say('hi');"),
    ("ivr", "const r = await ctx.ivr('silence:20', 1, 1, 1); if (r.status !== 'timeout') throw r;"),
    ("gather", "const r = await ctx.gather({ timeout_ms: 1000 }); if (r.status !== 'timeout') throw r;"),
    ("sendDtmf", "await ctx.sendDtmf('1');"),
    ("echo", "await ctx.echo(0, { signal: AbortSignal.timeout(300) }).catch((e) => { if (e.name === 'Unsupported') throw e; });"),
    ("record", "const r = await ctx.record('r'); await r.pause(); await r.resume(); await r.stop();"),
    ("bridge", "await ctx.bridge('1003', { timeout_ms: 1000, continue_on: true });"),
    ("blockDtmf", "await ctx.blockDtmf();"),
    ("unblockDtmf", "await ctx.unblockDtmf();"),
    ("sleep", "await ctx.sleep(20);"),
    ("waitFor", "await ctx.waitFor('x', undefined, 1000).catch(() => {});"),
    ("on", "ctx.on('dtmf', () => {});"),
    ("events", "ctx.events();"),
    ("once", "ctx.once('dtmf', () => {});"),
    ("off", "const f = () => {}; ctx.on('dtmf', f); ctx.off('dtmf', f);"),
    ("waitForHangup", "setTimeout(() => ctx.hangup(), 50); await ctx.waitForHangup();"),
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

fn script(number: usize, operation: &str, body: &str) -> String {
    let (before, body) = match body.strip_prefix('!') {
        Some(body) => ("", body),
        None => ("await ctx.answer();", body),
    };
    format!(
        "// @lockstep class5_destination=c{number}\nexport async function main(data, ctx) {{\n  try {{\n    {before}\n    await (async () => {{ {body} }})();\n    ctx.log('outcome {operation} yes');\n  }} catch (e) {{\n    ctx.log('outcome {operation} ' + (e.name === 'CallEnded' ? 'yes' : e.name ?? e));\n  }}\n}}\n"
    )
}

#[tokio::test]
async fn the_matrix_says_what_each_backend_does() {
    let mut setup = Engine::setup()
        .config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"\nmedia = { tts_engine = \"flite\", tts_voice = \"slt\" }")
        .config(USERS);
    for (number, (operation, body)) in CASES.iter().enumerate() {
        setup = setup.script(&format!("case{number}.js"), &script(number, operation, body));
    }
    let engine = setup.start();
    let mut found: BTreeMap<&str, [String; 2]> = BTreeMap::new();
    for (number, (operation, _)) in CASES.iter().enumerate() {
        let mut events = engine.events().await;
        let mark = format!("outcome {operation} ");
        let outcome = |entry: serde_json::Value| entry["text"].as_str().unwrap().replacen(&mark, "", 1);
        let caller = Caller::dial(&engine, &format!("c{number}")).await;
        let native = outcome(events.logged(&mark).await);
        drop(caller);
        let mut events = engine.events().await;
        let uuid = format!("00000000-0000-4000-8000-{number:012}");
        let line = Line::dial(engine.freeswitch(), Setup { uuid, destination: format!("c{number}"), ..Setup::default() }).await;
        let freeswitch = outcome(events.logged(&mark).await);
        assert_eq!(line.with(|channel| channel.incidents.clone()), [""; 0], "{operation}");
        found.insert(operation, [native, freeswitch]);
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
