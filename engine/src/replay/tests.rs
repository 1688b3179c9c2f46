//! Replays of journals that a simulated call has written.

use std::sync::Arc;

use lockstep_ctx_api::event::Event;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::journal::{Divergence, DivergenceCode, Journal, SecretNames, lines};
use lockstep_ctx_api::op::{DtmfMethod, Vars};
use lockstep_ctx_api::outcome::{CollectStatus, GatherVia, Gathered, Outcome};
use lockstep_ctx_api::wire::{Bundle, CallStart, EntryKind, RunState, ScriptType};
use lockstep_ctx_api::{CallEndedCause, CallFacts, EndedBy};

use super::*;
use crate::config::ScriptEntry;
use crate::script::supervisor::RunBounds;
use crate::script::{InProcess, Moment, Program, ProgramLimits, ScriptHost, ScriptOutput, StartRun, digest_of, version_of};

const MENU: &str = "const greeting = 'hello';
export async function main(data, ctx) {
  await ctx.answer();
  const keys = [];
  ctx.on('dtmf', (e) => { keys.push(e.digit); });
  await fetch('https://a.example/?k=' + process.env.TOKEN, { headers: { Authorization: process.env.TOKEN } }).catch(() => {});
  const { value: choice } = await ctx.gather({ min: 1, max: 1 });
  console.log('chose', choice, Math.random() < 2);
  if (choice === '1') {
    const place = { name: 'sales', tries: [1, 2n] };
    await ctx.play('user/' + place.name + '.wav');
  }
  await ctx.waitForHangup();
}
";

const ENV: [(&str, &str); 6] = [
    ("AFTER_HOURS", "voicemail"),
    ("API_HOST", "api.example.com"),
    ("API_URL", "https://api.example.com/v1"),
    ("DEBUG", ""),
    ("LANG2", "en"),
    ("TOKEN", "hush-hush"),
];

fn bundle(source: &str) -> Bundle {
    Bundle { entry: "menu.js".into(), files: [("menu.js".into(), source.into())].into(), ..Bundle::default() }
}

/// Runs the script through a call: a key, an outcome for every operation, the end.
fn record(source: &str) -> Journal {
    let sources = BTreeMap::from([("menu.js".to_owned(), digest_of(source))]);
    let program = Arc::new(Program {
        name: "menu".into(),
        file: "menu.js".into(),
        uuid: "00000000-0000-8000-8000-000000000001".into(),
        id: 1,
        script_type: ScriptType::App,
        account: "default".to_owned(),
        settings: ScriptEntry::new("menu.js".to_owned()),
        limits: ProgramLimits { memory_bytes: 32 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".into(),
        env: ENV.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        environment: Default::default(),
        bundle_id: 1,
        version: version_of("menu.js", &sources),
        sources,
        bundle: Arc::new(bundle(source)),
    });
    let mut now = Moment { unix_ms: 1_700_000_000_000, ..Moment::now() };
    let mut host = InProcess::new(now, RunBounds::default());
    let call = CallStart { facts: CallFacts { id: "c".into(), ..CallFacts::default() }, ..CallStart::default() };
    let start = StartRun {
        program,
        function: None,
        data: "{}".into(),
        call: Some(call),
        env: Vars::new(),
        seed: [5; 32],
        is_awaited: false,
    };
    let run = host.start(now, start);
    let mut issued = Vec::new();
    loop {
        while let Some(output) = host.poll_output() {
            if let ScriptOutput::Turn(_, turn) = output {
                issued.extend(turn.issued.into_iter().map(|(id, op, _)| (id, op)));
            }
        }
        now.instant += std::time::Duration::from_millis(100);
        now.unix_ms += 100;
        if issued.is_empty() {
            break;
        }
        let (op, what) = issued.remove(0);
        if what.name() == "gather" {
            host.entry(now, run, EntryKind::Event(Event::Dtmf { digit: '1', duration_ms: 80, method: DtmfMethod::Rfc4733 }));
        }
        let outcome = match what.name() {
            "gather" => Outcome::Gathered(Gathered {
                status: CollectStatus::Success,
                via: GatherVia::Dtmf,
                value: "1".into(),
                digits: "1".into(),
                terminator: None,
                speech: None,
            }),
            "host" => Outcome::Host(HostReply { value: "\"hush-7\"".to_owned(), body: None }),
            _ => Outcome::Unit,
        };
        host.entry(now, run, EntryKind::Outcome { op, result: Ok(outcome) });
    }
    host.entry(now, run, EntryKind::CallEnded(CallEndedCause { code: 200, reason: "OK".into(), by: EndedBy::Caller }));
    host.drop_run(now, run).unwrap()
}

fn steps(journal: &Journal, source: &str) -> Vec<Step> {
    let mut replay = Replay::new(journal, &bundle(source), None).unwrap();
    std::iter::from_fn(|| replay.step()).collect()
}

fn first_difference(journal: &Journal, source: &str) -> Divergence {
    steps(journal, source).pop().unwrap().divergence.expect("it differs")
}

#[test]
fn the_same_script_repeats_its_journal() {
    let journal = record(MENU);
    let all = steps(&journal, MENU);
    assert_eq!(all.len(), journal.turns.len());
    assert!(all.iter().all(|step| step.divergence.is_none() && !step.is_new), "{all:#?}");
    let text: String = all.iter().map(|turn| step(&journal, turn)).collect();
    for part in [
        "start of menu.js",
        "operation answer()  [0.0]  menu.js:3:",
        "answer = ok  [0.0]",
        "key 1",
        "info      chose 1 true",
        "the call has ended: 200 OK by caller",
    ] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
}

#[test]
fn variables_are_shown_when_they_change() {
    let journal = record(MENU);
    let changes: Vec<String> = steps(&journal, MENU)
        .into_iter()
        .flat_map(|step| step.changed)
        .map(|(scope, name, value)| format!("{scope}: {name} = {value}"))
        .collect();
    let expected = [
        "menu.js:1: greeting = \"hello\"",
        "menu.js:2 main: data = {}",
        "menu.js:2 main: keys = []",
        "menu.js:2 main: keys = [\"1\"]",
        "menu.js:2 main: choice = \"1\"",
        "menu.js:9 main: place = { name: \"sales\", tries: [1, 2n] }",
    ];
    let found: Vec<&String> = changes.iter().filter(|change| expected.contains(&change.as_str())).collect();
    assert_eq!(found, expected, "{changes:#?}");
}

#[test]
fn another_script_differs_at_the_line_that_asks_for_something_else() {
    let journal = record(MENU);
    let other = first_difference(&journal, &MENU.replace("'user/'", "'ivr/'"));
    assert_eq!((other.code, other.at.as_ref().map(|at| at.line)), (DivergenceCode::Operation, Some(11)));
    assert!(other.recorded.contains("user/sales.wav") && other.attempted.contains("ivr/sales.wav"), "{other}");
    let more = first_difference(&journal, &MENU.replace("keys.push(e.digit);", "ctx.set('a', e.digit);"));
    assert_eq!((more.code, more.at.as_ref().map(|at| at.line)), (DivergenceCode::ExtraOperation, Some(5)));
    let none = first_difference(&journal, "export async function main() {}");
    assert_eq!((none.code, none.turn), (DivergenceCode::MissingOperation, 0));
    let broken = first_difference(&journal, "export async function main( {");
    assert_eq!(broken.turn, 0);
    let text = divergence(&other);
    assert!(
        text.starts_with("turn ") && text.contains("\n  recorded   ctx.play") && text.ends_with("\n  line       menu.js:11:42"),
        "{text}"
    );
}

#[test]
fn a_redacted_journal_is_repeated_as_its_readers_see_it() {
    let journal = record(MENU);
    let text = lines::render_with(&journal, Some(&bundle(MENU)), Some(&SecretNames));
    assert!(!text.contains("\"hush-hush\""), "{text}");
    let (journal, sources) = lines::parse_with(&text).unwrap();
    assert!(repeats(&journal, sources.as_ref().unwrap(), None).is_err(), "the URL still has the token");
    let hidden = crate::journals::Redaction::default().for_journal(&record(MENU), Some(&bundle(MENU)));
    let text = lines::render_with(&record(MENU), Some(&bundle(MENU)), Some(&hidden));
    let (journal, sources) = lines::parse_with(&text).unwrap();
    assert_eq!(repeats(&journal, sources.as_ref().unwrap(), Some(&hidden)), Ok(journal.turns.len() as u32));
}

#[test]
fn urls_made_of_the_environment_are_made_without_it() {
    let source = "export async function main(data, ctx) {
      await fetch(process.env.API_URL + '/health').catch(() => {});
      await fetch(new URL('x?y=1', `https://${process.env.API_HOST}/`)).catch(() => {});
      await ctx.waitForHangup();
    }";
    let recorded = record(source);
    let hidden = crate::journals::Redaction::default().for_journal(&recorded, Some(&bundle(source)));
    let text = lines::render(&recorded, Some(&hidden));
    assert!(text.contains("/health") && text.contains("/x?y=1") && !text.contains("api.example.com"), "{text}");
    let shown = lines::parse(&text).unwrap();
    // Who made it knows the secrets, who runs it from then on does not.
    for redaction in [hidden, crate::journals::Redaction::default().for_journal(&shown, None)] {
        assert_eq!(repeats(&shown, &bundle(source), Some(&redaction)), Ok(recorded.turns.len() as u32));
    }
}

#[test]
fn what_is_made_of_a_secret_of_the_store_is_made_without_it() {
    let source = "const { kv } = require('cxKV');
    exports.main = async (data, ctx) => {
      const token = await kv.get('user:token');
      await fetch('https://a.example/' + token).catch(() => {});
      await ctx.waitForHangup();
    }";
    let recorded = record(source);
    let hidden = crate::journals::Redaction::default().for_journal(&recorded, Some(&bundle(source)));
    let text = lines::render(&recorded, Some(&hidden));
    assert!(text.contains("https://a.example/[redacted]") && !text.contains("hush-7"), "{text}");
    let shown = lines::parse(&text).unwrap();
    for redaction in [hidden, crate::journals::Redaction::default().for_journal(&shown, None)] {
        assert_eq!(repeats(&shown, &bundle(source), Some(&redaction)), Ok(recorded.turns.len() as u32));
    }
}

#[test]
fn what_a_script_makes_itself_may_be_hidden() {
    let source = "const { kv } = require('cxKV');
    exports.main = async (data, ctx) => {
      const token = crypto.randomUUID();
      await kv.set('session:token', token);
      await fetch('https://a.example/' + token).catch(() => {});
      await ctx.waitForHangup();
    }";
    let recorded = record(source);
    let hidden = crate::journals::Redaction::default().for_journal(&recorded, Some(&bundle(source)));
    let shown = lines::parse(&lines::render(&recorded, Some(&hidden))).unwrap();
    for redaction in [hidden, crate::journals::Redaction::default().for_journal(&shown, None)] {
        assert_eq!(repeats(&shown, &bundle(source), Some(&redaction)), Ok(recorded.turns.len() as u32));
    }
    let another = source.replace("a.example", "b.example");
    assert!(repeats(&shown, &bundle(&another), Some(&crate::journals::Redaction::default())).is_err(), "the rest still counts");
}

#[test]
fn a_program_that_names_values_of_its_environment_repeats_without_its_secrets() {
    let source = "const places = { voicemail: (ctx) => ctx.play('user/after-hours.wav') };
    export async function main(data, ctx) {
      if (process.env.DEBUG) await ctx.play('user/debug.wav');
      await ctx.play(process.env.LANG2 === 'en' ? 'user/en.wav' : 'user/de.wav');
      await places[process.env.AFTER_HOURS](ctx);
      await fetch('https://a.example/', { headers: { 'x-key': process.env.TOKEN } }).catch(() => {});
      await ctx.waitForHangup();
    }";
    let (recorded, sources) = (record(source), bundle(source));
    let hidden = crate::journals::Redaction::default().for_journal(&recorded, Some(&sources));
    let text = lines::render_with(&recorded, Some(&sources), Some(&hidden));
    assert!(text.contains("after-hours.wav") && !text.contains("hush-hush"), "{text}");
    let (shown, texts) = lines::parse_with(&text).unwrap();
    assert_eq!(texts.as_ref(), Some(&sources));
    assert_eq!(repeats(&shown, &sources, Some(&hidden)), Ok(recorded.turns.len() as u32));
}

#[test]
fn turns_whose_ends_were_never_written_are_taken_all_the_same() {
    let mut journal = record(MENU);
    let whole = journal.turns.len();
    journal.turns.truncate(3);
    let new: Vec<bool> = steps(&journal, MENU).iter().map(|step| step.is_new).collect();
    assert_eq!((new.len(), &new[..4]), (whole, &[false, false, false, true][..]));
}

#[test]
fn former_journals_differ_by_more_than_the_texts_of_errors() {
    let source = "export async function main(data, ctx) { await ctx.answer(); throw new Error('new') }";
    let mut journal = record(source);
    for turn in &mut journal.turns {
        if let RunState::Failed(error) = &mut turn.state {
            error.message = "Error: old".to_owned();
        }
    }
    assert_eq!(first_difference(&journal, source).code, DivergenceCode::State);
    assert_eq!(Replay::new(&journal, &bundle(source), None).unwrap().warning(), None);
    Arc::make_mut(&mut journal.header.run).prelude = 5;
    let warning = Replay::new(&journal, &bundle(source), None).unwrap().warning();
    assert!(warning.is_some_and(|warning| warning.starts_with("recorded with version 5 of the runtime")));
    assert!(steps(&journal, source).iter().all(|step| step.divergence.is_none()));
    let refusal = source.replace("throw new Error('new')", "throw '404 Not Found'");
    assert_eq!(first_difference(&journal, &refusal).code, DivergenceCode::State);
}

#[test]
fn former_journals_of_calls_tell_what_exit_was_given() {
    let source = "export async function main(data, ctx) { await ctx.answer(); exit({ n: 1 }) }";
    let mut journal = record(source);
    for turn in &mut journal.turns {
        if let RunState::Finished { result } = &mut turn.state {
            *result = Some("{\"n\":1}".to_owned());
        }
    }
    assert_eq!(first_difference(&journal, source).code, DivergenceCode::State);
    Arc::make_mut(&mut journal.header.run).prelude = 7;
    assert!(steps(&journal, source).iter().all(|step| step.divergence.is_none()));
}

#[test]
fn former_journals_without_secrets_have_their_json_in_the_order_of_its_names() {
    let source = "export async function main(data, ctx) {
      await fetch('https://a.example/', { method: 'POST', body: JSON.stringify({ z: 1, a: [{ y: 1, b: '{\"d\": 1, \"c\": 2}' }] }) }).catch(() => {});
      await ctx.set('words', '{\"z\": 1, \"a\": 2}');
      await ctx.waitForHangup();
    }";
    let recorded = record(source);
    let (text, before) = (lines::render(&recorded, Some(&SecretNames)), r#"{\"z\": 1, \"a\": 2}"#);
    assert!(text.contains(before), "{text}");
    let mut shown = lines::parse(&text.replace(before, r#"{\"a\":2,\"z\":1}"#)).unwrap();
    assert!(repeats(&shown, &bundle(source), Some(&SecretNames)).is_err());
    Arc::make_mut(&mut shown.header.run).prelude = 5;
    assert_eq!(repeats(&shown, &bundle(source), Some(&SecretNames)), Ok(recorded.turns.len() as u32));
    let difference = repeats(&shown, &bundle(&source.replace("y: 1", "y: 2")), Some(&SecretNames)).unwrap_err();
    assert!(difference.contains("\nrecorded with version 5 of the runtime"), "{difference}");
}
