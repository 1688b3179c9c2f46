//! What is on disk of calls: after a restart, after a kill, and what readers may see of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::{Engine, until, within};
use serde_json::{Value, json};

const MENU: &str = r#"
await ctx.answer();
await fetch(process.env.API_URL + '/x', { headers: { Authorization: 'Bearer ' + process.env.API_KEY } }).catch(() => {});
const { value } = await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
ctx.log('chose ' + value);
await ctx.sleep(60_000);
"#;
const APP: &str = r#"
[[app]]
name = "desk"
env = { API_URL = "https://api.example.invalid", API_KEY = "k3y-of-the-desk" }
[[script]]
file = "s100.js"
app = "desk"
"#;

fn lines(journal: &Value) -> Vec<Value> {
    let text = journal.as_str().expect("a journal is text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[tokio::test]
async fn the_journal_of_a_call_survives_the_engine_that_is_killed_in_its_midst() {
    let engine = Engine::setup().main("100", MENU).config(APP).start();
    let mut events = engine.events().await;
    let caller = Caller::answered(&engine, "100").await;
    caller.call.press("7");
    events.logged("chose 7").await;
    let id = caller.id.clone();
    let is_sleep = |event: &Value| event["entry"]["name"] == "sleep";
    events.find("the sleep", |event| is_sleep(event).then_some(())).await;
    engine.journals_on_disk().await;
    let before = engine.get(&format!("/v1/calls/{id}/journal")).await;
    let engine = engine.crash_and_restart();

    let after = engine.get(&format!("/v1/calls/{id}/journal?sources=true")).await;
    let (before, after) = (lines(&before), lines(&after));
    assert_eq!(after[0]["journal"]["script"], "s100.js");
    assert!(after[1]["bundle"]["files"]["s100.js"].as_str().unwrap().contains("ctx.gather"), "{}", after[1]);
    let rest: Vec<&Value> = after[2..].iter().collect();
    assert!(rest.len() >= 6, "{after:#?}");
    assert_eq!(rest, before[1..=rest.len()].iter().collect::<Vec<_>>(), "what is there is what was there");

    let timeline = engine.timeline(&id).await;
    let keys: Vec<&str> = timeline["entries"].as_array().unwrap().iter().filter_map(|entry| entry["digit"].as_str()).collect();
    assert_eq!(keys, ["7"], "{timeline:#}");
}

#[tokio::test]
async fn a_call_in_whose_midst_the_engine_was_killed_has_ended_for_the_next_one() {
    let engine = Engine::setup().main("100", MENU).config(APP).start();
    let mut events = engine.events().await;
    let caller = Caller::answered(&engine, "100").await;
    caller.call.press("7");
    events.logged("chose 7").await;
    engine.journals_on_disk().await;
    let engine = engine.crash_and_restart();
    engine.log().line("what was broken off has ended").await;

    let timeline = engine.timeline(&caller.id).await;
    let cause = json!({ "code": 503, "reason": "Engine Stopped", "by": "engine" });
    assert_eq!(timeline["ended"], cause, "{timeline:#}");
    let listed = engine.get("/v1/calls?state=past").await;
    let call = &listed["calls"][0];
    assert_eq!((&call["id"], &call["state"]), (&json!(caller.id), &json!("ended")), "{listed:#}");
    let records = engine.get("/v1/cdrs").await;
    let record = &records["cdrs"][0];
    assert_eq!((&record["call"], &record["code"]), (&json!(caller.id), &json!(503)), "{records:#}");
}

#[tokio::test]
async fn a_call_that_is_over_is_known_after_a_restart_and_its_secrets_are_not_shown() {
    let body = MENU.replace("await ctx.sleep(60_000);", "");
    let engine = Engine::setup().main("100", &body).config(APP).start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.call.press("7");
    let id = caller.id.clone();
    within("a BYE", caller.call.ended()).await;
    let over = engine.whole_timeline(&id).await;
    let folder = engine.folder().to_owned();
    let key = fs::metadata(folder.join("lockstep.db.key")).expect("a key was made");
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    engine.journals_on_disk().await;
    let engine = engine.restart().await;

    assert_eq!(engine.timeline(&id).await, over);
    let calls = engine.get("/v1/calls").await;
    assert_eq!(calls["calls"][0]["id"], Value::String(id.clone()), "{calls}");
    assert_eq!(engine.get(&format!("/v1/calls/{id}")).await["ended"]["code"], 200);
    assert_eq!(engine.request("DELETE", &format!("/v1/calls/{id}"), "").await.0, 409);
    assert_eq!(engine.request("DELETE", "/v1/calls/nobody", "").await.0, 404);
    let journal = engine.get(&format!("/v1/calls/{id}/journal")).await;
    let text = journal.as_str().unwrap();
    assert!(text.contains("https://redacted-1.invalid/x") && text.contains("\"digit\":\"7\""), "{text}");
    assert!(!text.contains("k3y-of-the-desk"), "{text}");
    for file in ["lockstep.db", "lockstep.db-wal"] {
        let octets = fs::read(folder.join(file)).unwrap_or_default();
        for word in ["k3y-of-the-desk", "chose 7"] {
            assert!(!octets.windows(word.len()).any(|part| part == word.as_bytes()), "{word} lies readable in {file}");
        }
    }
    assert_eq!(engine.request("GET", "/v1/calls/nobody/journal", "").await.0, 404);
}

#[tokio::test]
async fn secrets_put_over_http_are_not_shown() {
    let script = "const { kv } = require('cxKV');
exports.open = async ({ said }) => {
  throw new Error(`${said}, ${await kv.get('door:token')}, ${await kv.get('door:name')}`);
};";
    let engine = Engine::setup().script("doors.js", script).start();
    for (path, body) in [
        ("/v1/users/1001", json!({ "password": "s3same-of-ann" })),
        ("/v1/kv/door:token", json!({ "value": "0pen-for-bob" })),
        ("/v1/kv/door:name", json!({ "value": "front door" })),
    ] {
        let (status, text) = engine.request("PUT", path, &body.to_string()).await;
        assert!((200..300).contains(&status), "{path}: {status} {text}");
    }
    let mut events = engine.events_at("?types=alert").await;
    let run = json!({ "fn": "open", "data": { "said": "it is s3same-of-ann" } });
    assert_eq!(engine.request("POST", "/v1/scripts/doors/run", &run.to_string()).await.0, 422);
    let failed = events.find("an alert", |event| event["data"]["run"].as_str().map(str::to_owned)).await;
    // The alert comes first.
    let path = format!("/v1/runs/{failed}/journal");
    until("the run's journal", async || engine.request("GET", &path, "").await.0 == 200).await;
    let journal = engine.get(&path).await;
    let text = journal.as_str().unwrap();
    assert!(text.contains("it is [redacted], [redacted], front door"), "{text}");
    assert!(!text.contains("s3same-of-ann") && !text.contains("0pen-for-bob"), "{text}");
}

#[tokio::test]
async fn a_journal_is_for_administrators_of_its_account() {
    let keys = r#"
[api]
keys = [
  { key = "reader-of-this-one", scopes = ["read", "run"] },
  { key = "admin-of-this-one", scopes = ["admin"] },
  { key = "admin-of-another", scopes = ["admin"], account = "other" },
]
[[account]]
name = "default"
[[account]]
name = "other"
"#;
    let engine = Engine::setup().main("100", "await ctx.reject(486);").config(keys).start();
    let caller = lockstep_tests::caller::phone("a").await;
    let mut call = caller.dial(&engine.uri("100"), Default::default()).await.unwrap();
    assert_eq!(within("a refusal", call.answered()).await.unwrap_err().code, 486);
    let (_, list) = engine.request_as("admin-of-this-one", "GET", "/v1/calls", "").await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let path = format!("/v1/calls/{}/journal", list["calls"][0]["id"].as_str().unwrap());
    let status = async |key| engine.request_as(key, "GET", &path, "").await.0;
    assert_eq!(status("admin-of-this-one").await, 200);
    assert_eq!(status("reader-of-this-one").await, 403);
    assert_eq!(status("admin-of-another").await, 404);
    assert_eq!(engine.request("GET", &path, "").await.0, 401);
}
