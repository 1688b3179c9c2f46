//! `kill -9` of a script worker: its calls go on from the line they were at, and nobody hears it.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_engine::phone::{Dial, PhoneCall};
use lockstep_tests::audio::{compare, whole};
use lockstep_tests::caller::{fresh_number, is_full, phone, redialling};
use lockstep_tests::engine::{Engine, Events, within};
use lockstep_tests::http::HttpServer;
use serde_json::Value;

const CALLS: usize = 50;

/// Five kinds of calls, each at another line when the worker dies: collecting, sleeping, waiting, playing a list, playing unawaited.
/// Every one fetches before and after. However slow the machine is, none is past its middle before it gets a key.
const SCRIPT: &str = r#"// @lockstep class5_destination=/mid[0-4]/
const URL = 'SERVER';

async function middle(kind, ctx) {
  if (kind === 0) return (await ctx.gather({ min: 2, max: 2, timeout_ms: 50_000 })).value;
  if (kind === 1) return void (await ctx.sleep(5_000));
  if (kind === 2) return await ctx.waitFor(/42$/, null, 50);
  if (kind === 3) return void (await ctx.play(['ivr/1.wav', 'ivr/2.wav', 'ivr/3.wav', 'ivr/4.wav', 'ivr/5.wav', 'ivr/6.wav']));
  const queued = [ctx.play('ivr/main-menu.wav'), ctx.sleep(200), ctx.play('ivr/2.wav')];
  return void (await Promise.all(queued));
}

export async function main(data, ctx) {
  await ctx.answer();
  await ctx.play('ivr/welcome.wav');
  await fetch(`${URL}/before?${data.from}`);
  ctx.log('ready');
  const kind = Number(data.to.slice(3));
  const value = await middle(kind, ctx);
  if (kind !== 0 && kind !== 2) await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
  const text = await (await fetch(`${URL}/after?${data.from}`)).text();
  ctx.log(`after ${value} ${text}`);
  await ctx.play('ivr/thank-you.wav');
  ctx.log('final');
}
"#;

#[tokio::test]
async fn every_call_goes_on_and_nothing_happens_twice() {
    let server = HttpServer::start().await;
    let engine = Engine::setup()
        .script("middle.js", &SCRIPT.replace("SERVER", &server.url()))
        .config("[security]\nfetch_allow = [\"127.0.0.0/8\"]")
        .start();
    let mut events = engine.events().await;
    let phone = phone("crowd").await;
    let mut calls: BTreeMap<String, PhoneCall> = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    // Those that only wait for keys first: the others are to be in what they do when the worker dies.
    for kind in [0, 2, 1, 3, 4] {
        for _ in 0..CALLS / 5 {
            let from = fresh_number();
            let dial = Dial { from: Some(from.clone()), ..Dial::default() };
            let call = phone.dial(&engine.uri(&format!("mid{kind}")), dial).await.unwrap();
            kinds.insert(from.clone(), kind);
            calls.insert(from, call);
        }
    }
    let mut pause = redialling();
    for (from, call) in &mut calls {
        while let Err(ended) = within("an answer", call.answered()).await {
            assert!(is_full(&ended), "not answered: {ended}");
            pause.tick().await;
            let dial = Dial { from: Some(from.clone()), ..Dial::default() };
            *call = phone.dial(&engine.uri(&format!("mid{}", kinds[from])), dial).await.unwrap();
        }
    }

    let mut waiting: BTreeSet<String> = ids(&engine).await.into_keys().collect();
    assert_eq!(waiting.len(), CALLS);
    while !waiting.is_empty() {
        let is_ready = |event: &Value| event["type"] == "log" && event["entry"]["text"] == "ready";
        let ready = events.find("a call in its middle", |event| is_ready(event).then(|| event["call"].clone())).await;
        waiting.remove(ready.as_str().unwrap_or_default());
    }
    let victim = busiest(&engine.workers());
    kill(victim);
    engine.log().line(&format!("pid={victim}")).await;

    for (from, call) in &calls {
        match kinds[from] {
            0 => call.press("42"),
            2 => call.press("142"),
            _ => call.press("9"),
        }
    }
    let stories = ids(&engine).await;
    for (from, call) in &mut calls {
        let ended = within("the end of a call", call.ended()).await;
        assert_eq!(ended.code, 200, "call from {from}: {ended}");
    }

    let hits = server.hits();
    all_over(&engine, &mut events, stories.keys()).await;
    for (id, from) in &stories {
        let timeline = engine.timeline(id).await;
        check_timeline(&timeline, kinds[from]);
        check_audio(&calls[from], kinds[from]);
        for path in ["before", "after"] {
            assert_eq!(hits.get(&format!("/{path}?{from}")), Some(&1), "requests of {from}");
        }
    }
    let rebuilds = engine.metric("lockstep_rebuilds_total").await;
    assert!(rebuilds >= (CALLS / 5) as f64, "{rebuilds} calls were on the busier of two workers");
    assert_eq!(engine.metric("lockstep_divergences_total").await, 0.0);
    assert_eq!(engine.metric("lockstep_script_errors_total").await, 0.0);
}

/// What the caller of each kind of call must have heard, once and without a break.
fn check_audio(call: &PhoneCall, kind: usize) {
    let middle = match kind {
        3 => vec![whole(&["1.wav", "2.wav", "3.wav", "4.wav", "5.wav", "6.wav"])],
        4 => vec![whole(&["main-menu.wav"]), whole(&["2.wav"])],
        _ => Vec::new(),
    };
    let expected = [vec![whole(&["welcome.wav"])], middle, vec![whole(&["thank-you.wav"])]].concat();
    let (heard, continuity) = call.heard().with(|capture| (capture.in_order().to_vec(), capture.continuity()));
    compare(&heard, &expected).unwrap_or_else(|difference| panic!("kind {kind}: {difference}"));
    assert_eq!((continuity.streams, continuity.sequence_breaks), (1, 0), "kind {kind}: {continuity:?}");
}

/// Every operation once, each with its end, and the script's last line reached.
fn check_timeline(timeline: &Value, kind: usize) {
    let entries = timeline["entries"].as_array().unwrap();
    let operations: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == "operation").collect();
    let ids: BTreeSet<&str> = operations.iter().filter_map(|operation| operation["id"].as_str()).collect();
    assert_eq!(ids.len(), operations.len(), "an operation was issued twice: {timeline:#}");
    assert!(operations.iter().all(|operation| operation["ok"] == true), "an operation failed: {timeline:#}");
    let middle: &[&str] = match kind {
        0 => &["gather"],
        1 => &["sleep", "gather"],
        2 => &[],
        3 => &["play", "gather"],
        _ => &["play", "sleep", "play", "gather"],
    };
    let names: Vec<&str> = operations.iter().filter_map(|operation| operation["name"].as_str()).collect();
    assert_eq!(names, [&["answer", "play", "fetch"], middle, &["fetch", "play"]].concat());
    let lines: Vec<&str> =
        entries.iter().filter(|entry| entry["kind"] == "log").filter_map(|entry| entry["text"].as_str()).collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, "ready", "final"), "{lines:?}");
    let value = match kind {
        0 | 2 => "after 42 /after",
        _ => "after undefined /after",
    };
    assert!(lines[1].starts_with(value), "{lines:?}");
}

/// Waits until the engine has told that each of these is over; what it told before was passed over.
async fn all_over(engine: &Engine, events: &mut Events, calls: impl Iterator<Item = &String>) {
    let mut waiting = BTreeSet::new();
    for id in calls {
        if engine.timeline(id).await["ended"].is_null() {
            waiting.insert(id.clone());
        }
    }
    while !waiting.is_empty() {
        let over = |event: &Value| (event["type"] == "call-ended").then(|| event["call"].clone());
        let ended = events.find("the end of a call", over).await;
        waiting.remove(ended.as_str().unwrap_or_default());
    }
}

/// The process that has used most CPU time: the others may be spares.
fn busiest(pids: &[u32]) -> u32 {
    let cpu = |pid: &u32| -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // utime and stime are fields 14 and 15; the name in field 2 may hold blanks but ends with the last parenthesis.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        after_name.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
    };
    pids.iter().copied().max_by_key(cpu).expect("there are workers")
}

fn kill(pid: u32) {
    // SAFETY: kill takes two numbers; the process is a worker of the engine that this test started.
    let outcome = unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
    assert_eq!(outcome, 0, "worker {pid} cannot be killed");
}

/// The engine's calls: id to caller.
async fn ids(engine: &Engine) -> BTreeMap<String, String> {
    let list = engine.get("/v1/calls?limit=1000").await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list["calls"].as_array().unwrap().iter().map(|call| (text(&call["id"]), text(&call["from"]))).collect()
}
