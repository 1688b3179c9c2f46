//! Runs, forms, drivers and public functions over HTTP, with scripts in this process.

mod websockets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use reqwest::{Client, Method, Response, redirect};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::Server;
use crate::config::{ApiConfig, Config};
use crate::core::{EngineHandle, EventLog};
use crate::fetch::{EgressPolicy, Fetcher};
use crate::platform::Platform;
use crate::runs::{RunKind, RunsConfig, RunsEnded, RunsHandle, RunsThread, ScriptPlace};
use crate::script::ProgramSet;
use crate::script::programs::Loader;

/// The interface over a folder of scripts.
struct Site {
    api: SocketAddr,
    public: SocketAddr,
    client: Client,
    programs: Arc<ProgramSet>,
    dir: PathBuf,
    handle: RunsHandle,
    events: EventLog,
    _runs: RunsThread,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Site {
    async fn new(scripts: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("lockstep-api-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        for (file, source) in scripts {
            std::fs::write(dir.join(file), source).unwrap();
        }
        let mut config = Config::default();
        config.scripts.dir = dir.clone();
        let programs = Loader::new(&dir, &config).load().unwrap().set;
        let (handle, inbox) = RunsHandle::new(watch::channel(Arc::clone(&programs)).1);
        let platform = Platform::in_memory(&config).unwrap();
        let fetcher = Fetcher::new(EgressPolicy::new(config.security)).unwrap();
        let services = platform.services.clone();
        let runs_config =
            RunsConfig { place: ScriptPlace::InProcess, fetcher, services, events: platform.events.clone(), journals: None };
        let runs = RunsThread::start(runs_config, handle.clone(), inbox).unwrap();
        let (engine, _, _) = EngineHandle::new(Vec::new(), handle.clone(), platform.clone());
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let api_config =
            ApiConfig { listen: loopback, public_listen: Some(loopback), form_mb: 1, max_websockets: 2, ..ApiConfig::default() };
        let server = Server::bind(&api_config, engine).await.unwrap();
        let (api, public) = (server.addr(), server.public_addr().unwrap());
        tokio::spawn(server.serve(std::future::pending()));
        let client = crate::fetch::client_builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { api, public, client, programs, dir, handle, events: platform.events, _runs: runs }
    }

    async fn post(&self, path: &str, kind: &str, body: impl Into<String>) -> (u16, Response) {
        let request = self.client.request(Method::POST, format!("http://{}{path}", self.api));
        let response = request.header("content-type", kind).body(body.into()).send().await.unwrap();
        (response.status().as_u16(), response)
    }

    async fn post_json(&self, path: &str, body: Value) -> (u16, Value) {
        let (status, response) = self.post(path, "application/json", body.to_string()).await;
        (status, body_of(response).await)
    }

    async fn public(&self, method: Method, path: &str) -> Response {
        self.client.request(method, format!("http://{}{path}", self.public)).send().await.unwrap()
    }

    /// What a script puts under `key`, once it has.
    async fn kept(&self, key: &str) -> Value {
        loop {
            let response = self.client.get(format!("http://{}/v1/kv/{key}", self.api)).send().await.unwrap();
            if response.status().as_u16() == 200 {
                return body_of(response).await["value"].clone();
            }
        }
    }

    fn uuid(&self, script: &str) -> String {
        self.programs.by_name(script).unwrap().uuid.clone()
    }
}

async fn connect(
    address: SocketAddr,
    path: &str,
) -> tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>> {
    tokio_tungstenite::connect_async(format!("ws://{address}{path}")).await.expect("a WebSocket").0
}

/// What a WebSocket brings, pings aside.
async fn heard(
    socket: &mut (impl futures_util::Stream<Item = Result<Frame, tokio_tungstenite::tungstenite::Error>> + Unpin),
) -> Frame {
    loop {
        match socket.next().await {
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
            Some(Ok(frame)) => return frame,
            other => panic!("the connection ended: {other:?}"),
        }
    }
}

async fn body_of(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[tokio::test]
async fn a_run_gives_its_result_and_its_log() {
    let site = Site::new(&[("add.js", "exports.add = (d) => { console.log('adding'); return d.a + d.b }")]).await;
    let (status, body) = site.post_json("/v1/scripts/add/run", json!({ "fn": "add", "data": { "a": 1, "b": 2 } })).await;
    assert_eq!((status, &body["result"], &body["log"][0]["text"]), (200, &json!(3), &json!("adding")));
    assert!(body["took_ms"].is_number() && body["run"].is_string(), "{body}");
}

#[tokio::test]
async fn a_script_named_as_anothers_file_is_run_itself() {
    let scripts = [("menu.js", "exports.main = () => 'file'"), ("menu.js.ts", "exports.main = () => 'named'")];
    let site = Site::new(&scripts).await;
    for (path, expected) in [("menu.js.ts", "named"), ("menu.js", "file"), ("menu", "file")] {
        let (_, body) = site.post_json(&format!("/v1/scripts/{path}/run"), json!({})).await;
        assert_eq!(body["result"], expected, "{path}");
        assert_eq!(site.post_json(&format!("/v1/forms/{path}"), json!({})).await, (200, json!(expected)), "{path}");
    }
}

#[tokio::test]
async fn what_a_job_is_asked_with_is_bounded_as_it_is_for_scripts() {
    let site = Site::new(&[("work.js", "exports.main = () => 1")]).await;
    let beyond = [
        ("delay_ms", json!(i64::MAX)),
        ("timeout_ms", json!(u64::MAX)),
        ("timeout_ms", json!(0)),
        ("priority", json!(u32::MAX)),
        ("attempts", json!(1_001)),
        ("fn", json!("")),
    ];
    for (key, value) in beyond {
        let (status, body) = site.post_json("/v1/jobs", json!({ "script": "work", key: value })).await;
        assert_eq!((status, &body["error"]["code"]), (400, &json!("bad_request")), "{key}: {body}");
    }
    assert_eq!(site.post_json("/v1/scripts/work/run", json!({ "timeout_ms": 0 })).await.0, 400);
    let (status, job) = site.post_json("/v1/jobs", json!({ "script": "work", "attempts": 0 })).await;
    assert_eq!((status, &job["attempts"]), (201, &json!(1)), "{job}");
}

const HALVES: &str = "const { kv, ko } = require('cxKV');
const { sql } = require('cxUserspace');
const half = '😀'.slice(0, 1);
exports.main = () => ({ s: half, [half]: 1, n: 1 });
exports.deep = () => { let list = []; for (let i = 0; i < 300; i += 1) list = [list]; return list };
exports.kept = async () => {
  await kv.set('text', half);
  await ko.set('object', { half });
  return [await kv.get('text'), await ko.get('object'), await sql('select ? as half', [half]), half];
};
exports.too_deep = () => sql('select ?', [exports.deep()]);";

#[tokio::test]
async fn half_a_character_is_replaced_and_loses_nothing() {
    let site = Site::new(&[("half.js", HALVES)]).await;
    let (status, body) = site.post_json("/v1/scripts/half/run", json!({})).await;
    assert_eq!((status, &body["result"]), (200, &json!({ "s": "\u{fffd}", "\u{fffd}": 1, "n": 1 })));
    let (status, body) = site.post_json("/v1/scripts/half/run", json!({ "fn": "kept" })).await;
    let half = "\u{fffd}";
    assert_eq!((status, &body["result"]), (200, &json!([half, { "half": half }, [{ "half": half }], half])), "{body}");
}

#[tokio::test]
async fn a_result_may_be_nested_deeper_than_what_others_read() {
    let site = Site::new(&[("half.js", HALVES)]).await;
    let body = json!({ "fn": "deep" }).to_string();
    let (status, response) = site.post("/v1/scripts/half/run", "application/json", body).await;
    let text = response.text().await.unwrap();
    assert!(status == 200 && text.contains(&format!("{}{}", "[".repeat(301), "]".repeat(301))), "{text}");
    let (status, body) = site.post_json("/v1/scripts/half/run", json!({ "fn": "too_deep" })).await;
    let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(status == 422 && message.contains("the arguments cannot be read: recursion limit"), "{body}");
}

#[tokio::test]
async fn runs_and_what_fails_in_them_are_counted() {
    let site = Site::new(&[
        ("good.js", "const { kv } = require('cxKV'); async function main() { await kv.set('a', '1') }"),
        ("bad.js", "function main() { oops() }"),
        ("no.js", "function main() { throw '404 Not Here' }"),
    ])
    .await;
    for script in ["good", "bad", "no"] {
        site.post_json(&format!("/v1/scripts/{script}/run"), json!({})).await;
    }
    let stats = site.handle.stats().await.unwrap();
    assert_eq!(stats.ended, BTreeMap::from([(RunKind::Api, RunsEnded { all: 3, failed: 1 })]));
    assert_eq!((stats.operations, stats.operations_failed), (1, 0));
    assert!(stats.scripts.turns >= 3, "{stats:?}");
}

#[tokio::test]
async fn a_hook_that_gives_no_routing_object_or_has_no_main_is_counted_and_told() {
    let site = Site::new(&[
        ("null.js", "function main() { return null }"),
        ("five.js", "exports.main = () => 5"),
        ("none.js", "module.exports = { other() {} }"),
        ("good.js", "function main(d) { return d }"),
    ])
    .await;
    let mut alerts = site.events.take_alerts().unwrap();
    for (script, expected) in [("null", 500), ("five", 500), ("none", 500), ("good", 200)] {
        let (status, body) = site.post_json(&format!("/v1/route?script={script}"), json!({ "routing": {} })).await;
        let code = body["error"]["code"].as_u64().unwrap_or(status.into());
        assert_eq!(code, expected, "{script}: {body}");
        if expected == 500 {
            assert_eq!(alerts.recv().await.map(|alert| (alert.name, alert.subject)), Some(("script-error", script.to_owned())));
        }
    }
    let stats = site.handle.stats().await.unwrap();
    assert_eq!(stats.ended, BTreeMap::from([(RunKind::Hook, RunsEnded { all: 4, failed: 3 })]));
}

#[tokio::test]
async fn a_scripts_error_is_422_with_its_sip_code_and_place() {
    let site = Site::new(&[("bad.js", "function main(d) {\n  if (d.sip) throw '604 On DNC List';\n  null.x;\n}")]).await;
    let (status, body) = site.post_json("/v1/scripts/bad/run", json!({ "data": { "sip": true } })).await;
    assert_eq!((status, &body["error"]["code"], &body["error"]["message"]), (422, &json!(604), &json!("On DNC List")));
    let (status, body) = site.post_json("/v1/scripts/bad/run", json!({})).await;
    let error = &body["error"];
    assert_eq!((status, &error["code"], &error["file"], &error["line"]), (422, &json!(500), &json!("bad.js"), &json!(3)));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let site = Site::new(&[(
        "slow.js",
        "// @lockstep timeout_s=0.05\nfunction main() { return new Promise((r) => setTimeout(r, 60000)) }",
    )])
    .await;
    let code = async |path: &str, body: &str| {
        let (status, response) = site.post(path, "application/json", body).await;
        (status, body_of(response).await["error"]["code"].clone())
    };
    assert_eq!(code("/v1/scripts/none/run", "{}").await, (404, json!("no_such_script")));
    assert_eq!(code("/v1/scripts/slow/run", "{").await, (422, json!("invalid_body")));
    assert_eq!(code("/v1/scripts/slow/run", "{\"date\": 1}").await, (422, json!("invalid_body")));
    assert_eq!(code("/v1/scripts/slow/run", "{}").await, (504, json!("timeout")));
    assert_eq!(code("/v1/runs/none/cancel", "").await, (404, json!("no_such_run")));
}

#[tokio::test]
async fn events_stream_and_a_cancelled_run_says_so() {
    let site =
        Site::new(&[("wait.js", "function main() { console.log('here'); return new Promise((r) => setTimeout(r, 60000)) }")])
            .await;
    let request = site.client.post(format!("http://{}/v1/scripts/wait/run", site.api)).header("accept", "text/event-stream");
    let mut response = request.send().await.unwrap();
    let mut text = String::new();
    let mut cancelled = false;
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        if text.contains("event: log") && !std::mem::replace(&mut cancelled, true) {
            let id = text.split("\"run\":\"").nth(1).unwrap().split('"').next().unwrap();
            let (status, _) = site.post(&format!("/v1/runs/{id}/cancel"), "application/json", "").await;
            assert_eq!(status, 204);
        }
    }
    let events: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["run", "log", "error"], "{text}");
    assert!(text.contains("\"code\":\"cancelled\""), "{text}");
}

#[tokio::test]
async fn what_runs_write_is_told_to_those_who_watch_their_account() {
    let source =
        "const { kv } = require('cxKV'); exports.main = (d) => { console.log('at ' + d.name); kv.set('', 'x'); return 1 }";
    let site = Site::new(&[("form.js", source)]).await;
    let mut watcher = site.events.watch();
    let mut socket = connect(site.api, "/v1/events?types=log").await;
    let (status, _) = site.post("/v1/forms/form", "application/x-www-form-urlencoded", "name=Ann").await;
    assert_eq!(status, 200);
    let mut texts = Vec::new();
    for _ in 0..3 {
        texts.push(serde_json::from_str::<Value>(heard(&mut socket).await.to_text().unwrap()).unwrap());
    }
    assert_eq!(texts[0]["type"], "hello");
    let (said, warned) = (&texts[1], &texts[2]);
    assert_eq!((&said["type"], &said["script"], &said["entry"]["kind"]), (&json!("log"), &json!("form"), &json!("log")));
    assert_eq!((&said["entry"]["level"], &said["entry"]["text"]), (&json!("info"), &json!("at Ann")));
    assert!(said["run"].is_string() && said.get("job").is_none(), "{said}");
    assert_eq!((&warned["run"], &warned["entry"]["level"]), (&said["run"], &json!("warn")));
    assert!(warned["entry"]["text"].as_str().unwrap().contains("kv.set() was not awaited and failed"), "{warned}");
    assert_eq!(watcher.recv().await.unwrap().account.as_deref(), Some("default"));
}

#[tokio::test]
async fn a_stream_that_is_closed_ends_its_run() {
    let site =
        Site::new(&[("wait.js", "function main() { console.log('here'); return new Promise((r) => setTimeout(r, 60000)) }")])
            .await;
    let request = site.client.post(format!("http://{}/v1/scripts/wait/run", site.api)).header("accept", "text/event-stream");
    let mut response = request.send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    let runs = async || {
        let response = site.client.get(format!("http://{}/v1/runs", site.api)).send().await.unwrap();
        body_of(response).await["runs"].as_array().unwrap().len()
    };
    while runs().await == 0 {
        tokio::task::yield_now().await;
    }
    drop(response);
    while runs().await != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_script_does_for_a_client_is_done_although_that_leaves() {
    let slow = "// @lockstep public=true
        const { kv } = require('cxKV');
        exports.main = async ({ name }) => {
          await kv.set(name, 'begun');
          while (!(await kv.get('go ' + name))) await new Promise((resolve) => setTimeout(resolve, 1));
          await kv.set(name, 'done');
        };";
    let keys = "const { kv } = require('cxKV');
        exports.main = ({ key }) => kv.get(key); exports.go = ({ key }) => kv.set('go ' + key, '1')";
    let site = Site::new(&[("slow.js", slow), ("keys.js", keys)]).await;
    let ask = async |function: &str, key: &str| {
        let (_, body) = site.post_json("/v1/scripts/keys/run", json!({ "fn": function, "data": { "key": key } })).await;
        body["result"].clone()
    };
    let uuid = site.uuid("slow");
    let requests = [
        (site.api, "POST /v1/forms/slow".to_owned(), r#"{"name":"form"}"#, "form"),
        (site.api, "POST /v1/scripts/slow/run".to_owned(), r#"{"data":{"name":"run"}}"#, "run"),
        (site.api, format!("GET /f/{uuid}?name=keyed"), "", "keyed"),
        (site.public, format!("POST /f/{uuid}"), r#"{"name":"public"}"#, "public"),
    ];
    for (address, line, body, name) in requests {
        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        let head = format!("host: {address}\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
        client.write_all(format!("{line} HTTP/1.1\r\n{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        while ask("main", name).await != "begun" {}
        drop(client);
        // Once a request that came after it is answered, its end has been seen.
        ask("main", name).await;
        ask("go", name).await;
        while !site.handle.list().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask("main", name).await, "done", "{line}");
    }
}

#[tokio::test]
async fn a_form_is_answered_with_html_or_json() {
    let source =
        "function main(d) { return d.html ? `<b>${d.name}</b>` : d } exports.main = main; exports.size = (d) => d.doc.size";
    let site = Site::new(&[("form.js", source)]).await;
    let urlencoded = "application/x-www-form-urlencoded";
    let (status, response) = site.post("/v1/forms/form", urlencoded, "html=1&name=Ann").await;
    assert_eq!((status, response.headers()["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    assert!(response.headers()["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
    assert_eq!(body_of(response).await, json!("<b>Ann</b>"));
    let (_, response) = site.post("/v1/forms/form", urlencoded, "a=1&a=2").await;
    assert_eq!(body_of(response).await, json!({ "a": ["1", "2"] }));
    let file = "--B\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"a.txt\"\r\n\r\nhello\r\n--B--\r\n";
    let (_, response) = site.post("/v1/forms/form?fn=size", "multipart/form-data; boundary=B", file).await;
    assert_eq!(body_of(response).await, json!(5));
}

#[tokio::test]
async fn a_form_that_is_too_large_or_strange_is_refused() {
    let site = Site::new(&[("form.js", "function main() {}")]).await;
    let status = async |kind: &str, body: String| {
        let (status, response) = site.post("/v1/forms/form", kind, body).await;
        (status, body_of(response).await["error"]["code"].clone())
    };
    assert_eq!(
        status("application/x-www-form-urlencoded", format!("a={}", "x".repeat(2 << 20))).await,
        (413, json!("too_large"))
    );
    assert_eq!(status("application/xml", "<a/>".into()).await, (415, json!("unsupported_media_type")));
    let bomb = "[".repeat(500_000);
    assert_eq!(status("application/json", bomb).await, (422, json!("invalid_body")));
}

#[tokio::test]
async fn a_driver_takes_and_gives_objects() {
    let driver = "// @lockstep type=driver\nmodule.exports = { search: async ({ number }) => [{ did: number + '1' }] };";
    let site = Site::new(&[("dids.js", driver), ("app.js", "function main() {}")]).await;
    assert_eq!(site.post_json("/v1/drivers/dids/search", json!({ "number": "44" })).await, (200, json!([{ "did": "441" }])));
    assert_eq!(site.post_json("/v1/drivers/dids/search", json!([1])).await.0, 422);
    let (status, body) = site.post_json("/v1/drivers/dids/release", json!({})).await;
    assert_eq!(status, 422);
    assert!(body["error"]["message"].as_str().unwrap().contains("no function 'release'; it exports search"), "{body}");
    assert_eq!(site.post_json("/v1/drivers/app/main", json!({})).await.0, 422);
}

#[tokio::test]
async fn only_what_is_public_is_served_to_everybody() {
    let hooks =
        "// @lockstep public=[\"hook\"]\nexports.hook = (d) => d; exports.inner = () => 'secret'; exports.main = () => 'main'";
    let open = "// @lockstep public=true\nfunction main(d) { return '<p>' + d.q }";
    let site = Site::new(&[("hooks.js", hooks), ("open.js", open), ("closed.js", "function main() {}")]).await;
    let (hooks, open, closed) = (site.uuid("hooks"), site.uuid("open"), site.uuid("closed"));
    let status = async |path: String| site.public(Method::GET, &path).await.status().as_u16();
    assert_eq!(status(format!("/f/{closed}")).await, 404);
    assert_eq!(status(format!("/f/{hooks}/inner")).await, 404);
    assert_eq!(status(format!("/f/{hooks}")).await, 404);
    assert_eq!(status("/f/open".to_owned()).await, 404);
    assert_eq!(status("/v1/health".to_owned()).await, 404);
    let response = site.public(Method::GET, &format!("/f/{open}?q=1")).await;
    assert_eq!((response.status().as_u16(), body_of(response).await), (200, json!("<p>1")));
    let path = format!("http://{}/f/{hooks}/hook?a=query&b=query", site.public);
    let response =
        site.client.post(path).header("content-type", "application/json").body("{\"a\":\"body\"}").send().await.unwrap();
    assert_eq!(body_of(response).await, json!({ "a": "body", "b": "query" }));
}

#[tokio::test]
async fn a_public_function_that_is_not_there_is_not_found() {
    let source = "// @lockstep public=true\nmodule.exports = { hi() { return new Date(0) } }";
    let site = Site::new(&[("open.js", source)]).await;
    let uuid = site.uuid("open");
    for name in ["", "/nope", "/toString", "/constructor", "/@worker", "/@websocket"] {
        assert_eq!(site.public(Method::GET, &format!("/f/{uuid}{name}")).await.status().as_u16(), 404, "{name}");
    }
    let response = site.public(Method::GET, &format!("/f/{uuid}/hi")).await;
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"application/json".parse().unwrap()));
    assert_eq!(body_of(response).await, json!("1970-01-01T00:00:00.000Z"));
}

#[tokio::test]
async fn a_public_function_sets_the_status_and_tells_no_secrets() {
    let source = "// @lockstep public=true\nfunction main(d) { if (d.code) throw d.code; null.password }";
    let site = Site::new(&[("open.js", source)]).await;
    let path = format!("/f/{}", site.uuid("open"));
    for (code, status, message) in [
        ("401%20Unauthorized", 401, "Unauthorized"),
        ("604%20Nobody", 403, "Nobody"),
        ("302%20https://example.net/", 302, "https://example.net/"),
    ] {
        let response = site.public(Method::GET, &format!("{path}?code={code}")).await;
        assert_eq!(response.status().as_u16(), status);
        if status == 302 {
            assert_eq!(response.headers()["location"], message);
        }
        assert_eq!(body_of(response).await["error"]["message"], message);
    }
    let response = site.public(Method::GET, &path).await;
    let status = response.status().as_u16();
    assert_eq!((status, body_of(response).await), (500, json!({ "error": { "code": 500, "message": "Script Error" } })));
}

#[tokio::test]
async fn a_worker_stays_up_handles_messages_and_has_no_network() {
    let source = "// @lockstep type=worker
        const { kv, incr } = require('cxKV');
        exports.main = async () => { try { await fetch('http://127.0.0.1:1/') } catch (e) { await kv.set('refused', e.message) } };
        async function onMessage(msg) { if (msg.die) throw new Error('mortal'); await kv.set('seen', msg.text) }";
    let ask = "exports.main = async (d) => require('cxKV').kv.get(d.key)";
    let site = Site::new(&[("keeper.js", source), ("ask.js", ask)]).await;
    let keeping = tokio::spawn(crate::runs::keep_workers(site.handle.clone()));
    // Refused until the worker listens.
    let publish = async |payload: &str| {
        while site.post("/v1/workers/keeper/messages", "application/json", payload).await.0 != 202 {
            tokio::task::yield_now().await;
        }
    };
    let value_of = async |key: &str| loop {
        let (_, body) = site.post_json("/v1/scripts/ask/run", json!({ "data": { "key": key } })).await;
        if !body["result"].is_null() {
            return body["result"].clone();
        }
    };
    publish(r#"{"text":"first"}"#).await;
    for nothing in ["", "\u{feff}", " "] {
        let (status, refused) = site.post("/v1/workers/keeper/messages", "application/json", nothing).await;
        assert_eq!((status, body_of(refused).await["error"]["code"].as_str()), (422, Some("invalid_body")), "{nothing:?}");
    }
    assert_eq!(value_of("seen").await, "first");
    let refused = value_of("refused").await;
    assert!(refused.as_str().unwrap().contains("a script of type 'worker' has"), "{refused}");
    keeping.abort();
}
