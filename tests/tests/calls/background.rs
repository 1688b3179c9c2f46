//! What runs beside calls: workers that are kept up, jobs and keys from the command line.

use std::process::Command;

use lockstep_engine::store::{Clock, Place, Store};
use lockstep_tests::engine::{Engine, binary, until};
use serde_json::{Value, json};

async fn value(engine: &Engine, key: &str) -> Value {
    let (status, body) = engine.request("GET", &format!("/v1/kv/{key}"), "").await;
    if status == 200 { serde_json::from_str::<Value>(&body).unwrap()["value"].clone() } else { Value::Null }
}

async fn becomes(engine: &Engine, key: &str, wanted: &str) {
    until(&format!("{key} to be {wanted}"), async || value(engine, key).await == wanted).await;
}

/// Hands a message to the worker, once it is there to take it.
async fn tell(engine: &Engine, message: &Value) {
    let message = message.to_string();
    until("the worker", async || engine.request("POST", "/v1/workers/keeper/messages", &message).await.0 == 202).await;
}

#[tokio::test]
async fn a_worker_that_dies_comes_up_again_and_takes_the_messages_that_it_had_not_settled() {
    let source = "// @lockstep type=worker
const { incr, kv } = require('cxKV');
exports.main = async () => { await incr('starts') };
exports.onMessage = async (message) => {
  const times = await incr(message.text);
  if (message.text === 'thrown') throw new Error('mortal');
  if (message.text === 'cut-off' && times === 1) {
    setTimeout(() => { throw new Error('mortal') });
    await new Promise(() => {});
  }
  await kv.set('heard', message.text);
};";
    let engine = Engine::setup().script("keeper.js", source).start();
    becomes(&engine, "starts", "1").await;
    for text in ["thrown", "cut-off", "last"] {
        tell(&engine, &json!({ "text": text })).await;
    }
    engine.log().line("a worker has died and is started again").await;
    becomes(&engine, "heard", "last").await;
    let mut times = Vec::new();
    for text in ["thrown", "cut-off", "last"] {
        times.push(value(&engine, text).await);
    }
    assert_eq!(times, ["1", "2", "1"]);
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
    let mut follower = Command::new(binary());
    let follower = follower.args(["jobs", "--follow", "--json", "--url", &cli.url]).stdout(std::process::Stdio::piped());
    let mut follower = follower.spawn().unwrap();
    let mut lines = std::io::BufReader::new(follower.stdout.take().unwrap());
    let first = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        line
    });
    // It sees what happens once it is connected.
    while !first.is_finished() {
        assert!(cli.run(&["jobs", "add", "count", "--data", r#"{"by":1}"#]).await.0);
    }
    let followed: Value = serde_json::from_str(&first.await.unwrap()).unwrap();
    assert_eq!((&followed["type"], &followed["script"]), (&json!("job"), &json!("count")));
    follower.kill().unwrap();
    follower.wait().unwrap();
    let (ok, _, error) = cli.run(&["jobs", "add", "nobody"]).await;
    assert!(!ok && error.contains("no script 'nobody'"), "{error}");
}

#[tokio::test]
async fn a_schedule_that_came_due_while_the_engine_was_stopped_runs_once_at_the_start_and_keeps_its_result() {
    let now = || Clock::system().now_ms() / 1_000;
    // Once an hour, half an hour from now.
    let minute = (now() / 60 + 30) % 60;
    let source = format!(
        "// @lockstep schedule={{ minutes = [{minute}] }}
const {{ incr }} = require('cxKV');
exports.main = async ({{ scheduled_at }}) => ({{ run: await incr('runs'), scheduled_at }});"
    );
    let engine = Engine::setup().script("report.js", &source).start();
    let store = Store::open(Place::File(engine.folder().join("lockstep.db")), Clock::system()).expect("the engine's store");
    // As if the engine had been stopped an hour ago.
    let backwards = async || {
        store
            .write(|connection, _| Ok(connection.execute("UPDATE schedules SET seen_ms = seen_ms - 3600000", [])?))
            .await
            .expect("the store takes it")
    };
    until("the schedule to be seen", async || backwards().await > 0).await;
    drop(store);

    let engine = engine.restart().await;
    let mut job = Value::Null;
    until("the job that was missed", async || {
        job = engine.get("/v1/jobs").await["jobs"][0].clone();
        job["state"] == "completed"
    })
    .await;
    let job = engine.get(&format!("/v1/jobs/{}", job["id"])).await;
    assert_eq!((&job["kind"], &job["result"]["run"]), (&json!("schedule"), &json!(1)), "{job}");
    let at = job["result"]["scheduled_at"].as_u64().expect("a time") / 1_000;
    assert!(at.is_multiple_of(60) && at / 60 % 60 == minute && now() - at < 3_600, "{job}");
    let engine = engine.restart().await;
    // The schedules have been looked after before a job that comes later is run.
    let (_, added) = engine.request("POST", "/v1/jobs", r#"{"script":"report","data":{}}"#).await;
    let added: Value = serde_json::from_str(&added).expect("a job");
    let next = format!("/v1/jobs/{}", added["id"]);
    until("the next job", async || engine.get(&next).await["state"] == "completed").await;
    let all = engine.get("/v1/jobs").await;
    let scheduled = all["jobs"].as_array().expect("a list").iter().filter(|job| job["kind"] == "schedule").count();
    assert_eq!(scheduled, 1, "once: {all}");
}
