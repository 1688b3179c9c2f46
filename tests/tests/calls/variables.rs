//! Variables of apps: set by scripts and over HTTP, found in `process.env` of the next run.

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use serde_json::{Value, json};

const CONFIG: &str = "[[app]]\nname = \"sales\"\nenv = { URL = \"https://a.example\", REGION = \"north\" }";

const SCRIPT: &str = "// @lockstep app=sales class5_destination=100
exports.set = async ({ key, value }) => { await setEnvVar(key, value); return process.env[key] ?? null };
exports.env = ({ key }) => process.env[key] ?? null;
exports.list = () => getEnvVars();
exports.main = async (data, ctx) => { await ctx.answer(); ctx.log('token ' + process.env.TOKEN) };";

async fn run(engine: &Engine, function: &str, data: Value) -> (u16, Value) {
    let body = json!({ "fn": function, "data": data }).to_string();
    let (status, body) = engine.request("POST", "/v1/scripts/vars/run", &body).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, if status == 200 { body["result"].clone() } else { body["error"]["message"].clone() })
}

async fn put(engine: &Engine, name: &str, body: Value) -> (u16, Value) {
    let (status, body) = engine.request("PUT", &format!("/v1/apps/sales/env/{name}"), &body.to_string()).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

#[tokio::test]
async fn what_a_script_sets_the_next_run_finds_also_after_a_restart() {
    let engine = Engine::setup().config(CONFIG).script("vars.js", SCRIPT).start();
    assert_eq!(run(&engine, "set", json!({ "key": "TOKEN", "value": "t-1" })).await, (200, Value::Null), "this run has its own");
    assert_eq!(run(&engine, "env", json!({ "key": "TOKEN" })).await.1, "t-1");
    let engine = engine.crash_and_restart();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    assert!(story.has_logged("token t-1"), "{:#}", story.timeline);
    assert_eq!(run(&engine, "list", json!({})).await.1, json!({ "REGION": "north", "TOKEN": "t-1", "URL": "https://a.example" }));
    let (status, message) = run(&engine, "set", json!({ "key": "APP_ID", "value": "other" })).await;
    assert!(status == 422 && message.as_str().is_some_and(|text| text.contains("'APP_ID' is the engine's own")), "{message}");
}

#[tokio::test]
async fn flags_say_who_sees_and_who_changes() {
    let engine = Engine::setup().config(CONFIG).script("vars.js", SCRIPT).start();
    assert_eq!(put(&engine, "KEY", json!({ "value": "secret-1", "protected": true, "locked": true })).await.0, 200);
    assert_eq!(put(&engine, "INNER", json!({ "value": "inner-1", "private": true })).await.0, 200);
    assert_eq!(put(&engine, "URL", json!({ "value": "https://b.example" })).await.0, 200);
    assert_eq!(put(&engine, "REGION", json!({ "value": "south", "default": true })).await.0, 200);
    for (key, value) in [("KEY", "secret-1"), ("INNER", "inner-1"), ("URL", "https://b.example"), ("REGION", "north")] {
        assert_eq!(run(&engine, "env", json!({ "key": key })).await.1, value, "{key}");
    }
    let listed = engine.get("/v1/apps/sales/env").await;
    assert!(!listed.to_string().contains("secret-1"), "{listed}");
    let expected = json!({ "KEY": null, "REGION": "north", "URL": "https://b.example" });
    assert_eq!(run(&engine, "list", json!({})).await.1, expected, "neither private nor protected");
    let (status, message) = run(&engine, "set", json!({ "key": "KEY", "value": "x" })).await;
    assert!(status == 422 && message.as_str().is_some_and(|text| text.contains("'KEY' is locked")), "{message}");
    assert_eq!(engine.request("DELETE", "/v1/apps/sales/env/KEY", "").await.0, 204);
    assert_eq!(run(&engine, "env", json!({ "key": "KEY" })).await.1, Value::Null);
    assert_eq!(put(&engine, "1X", json!({ "value": "v" })).await.0, 400);
    assert_eq!(engine.request("GET", "/v1/apps/nobody/env", "").await.0, 404);
}
