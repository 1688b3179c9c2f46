//! What runs beside calls: workers that are kept up, jobs and keys from the command line.

use std::process::Command;

use lockstep_tests::engine::{Engine, binary};
use serde_json::{Value, json};

async fn value(engine: &Engine, key: &str) -> Value {
    let (status, body) = engine.request("GET", &format!("/v1/kv/{key}"), "").await;
    if status == 200 { serde_json::from_str::<Value>(&body).unwrap()["value"].clone() } else { Value::Null }
}

async fn becomes(engine: &Engine, key: &str, wanted: &str) {
    let until = async {
        while value(engine, key).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    lockstep_tests::engine::within(&format!("{key} to be {wanted}"), until).await;
}

/// Hands a message to the worker, once it is there to take it.
async fn tell(engine: &Engine, message: &Value) {
    let told = async {
        while engine.request("POST", "/v1/workers/keeper/messages", &message.to_string()).await.0 != 202 {
            tokio::task::yield_now().await;
        }
    };
    lockstep_tests::engine::within("the worker", told).await;
}

#[tokio::test]
async fn a_worker_that_dies_comes_up_again_and_takes_messages() {
    let source = "// @lockstep type=worker
const { incr, kv } = require('cxKV');
exports.main = async () => { await incr('starts') };
exports.onMessage = async (message) => {
  if (message.die) throw new Error('mortal');
  await kv.set('heard', message.text);
};";
    let engine = Engine::setup().script("keeper.js", source).start();
    becomes(&engine, "starts", "1").await;
    tell(&engine, &json!({ "die": true })).await;
    engine.log().line("a worker has died and is started again").await;
    becomes(&engine, "starts", "2").await;
    tell(&engine, &json!({ "text": "still here" })).await;
    becomes(&engine, "heard", "still here").await;
}

struct Cli {
    url: String,
}

impl Cli {
    async fn run(&self, args: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(binary());
        command.args(args).args(["--url", &self.url]);
        let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.success(), said(done.stdout), said(done.stderr))
    }
}

#[tokio::test]
async fn keys_and_jobs_are_handled_from_the_command_line() {
    let source = "const { incr } = require('cxKV');
exports.main = async ({ by }) => { if (by < 0) throw new Error('never less'); return incr('count', by) };";
    let engine = Engine::setup().script("count.js", source).start();
    let cli = Cli { url: engine.url() };
    assert!(cli.run(&["kv", "set", "a key", "one"]).await.0);
    assert_eq!(cli.run(&["kv", "get", "a key"]).await.1, "one\n");
    assert_eq!(cli.run(&["kv", "list"]).await.1, "a key\n");
    assert!(cli.run(&["kv", "del", "a key"]).await.0);
    let (ok, _, error) = cli.run(&["kv", "get", "a key"]).await;
    assert!(!ok && error.contains("there is no key a key"), "{error}");

    let (ok, _, error) = cli.run(&["jobs", "add", "count", "--data", r#"{"by":3}"#]).await;
    assert!(ok, "{error}");
    becomes(&engine, "count", "3").await;
    assert!(cli.run(&["jobs", "pause", "count"]).await.0);
    assert!(cli.run(&["jobs", "add", "count", "--data", r#"{"by":-1}"#]).await.0);
    let (_, listed, _) = cli.run(&["jobs", "list", "--state", "paused", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = listed["jobs"][0]["id"].to_string();
    let mut events = engine.events_at("?types=job").await;
    assert!(cli.run(&["jobs", "resume", "count"]).await.0);
    events.find("the job to fail", |event| (event["state"] == "failed").then_some(())).await;
    let (_, shown, _) = cli.run(&["jobs", "show", &id, "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown["error"].as_str().is_some_and(|error| error.contains("never less")), "{shown}");
    assert!(cli.run(&["jobs", "retry", &id]).await.0, "a failed one");
    let (ok, _, error) = cli.run(&["jobs", "add", "nobody"]).await;
    assert!(!ok && error.contains("no script 'nobody'"), "{error}");
}
