//! Accounts: what belongs to one is not there for the keys of another.

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use serde_json::{Value, json};

const OPERATOR: &str = "operator-key-0123";
const NORTH: &str = "north-key-01234567";
const SOUTH: &str = "south-key-01234567";

const CONFIG: &str = r#"
[api]
keys = [
    { key = "operator-key-0123", scopes = ["admin"], account = "*" },
    { key = "north-key-01234567", scopes = ["admin"], account = "north" },
    { key = "south-key-01234567", scopes = ["admin"], account = "south" },
]
[[account]]
name = "north"
[[account]]
name = "south"
[[app]]
name = "menus"
account = "north"
[[user]]
name = "1001"
password = "x"
account = "south"
"#;

const MENU: &str = "// @lockstep class5_destination=100 app=menus
async function main(data, ctx) { await ctx.answer(); await ctx.record('all'); await ctx.waitForHangup(); }";

fn engine() -> Engine {
    Engine::setup().config(CONFIG).key(OPERATOR).script("menu.js", MENU).start()
}

async fn ask(engine: &Engine, key: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let (status, text) = engine.request_as(key, method, path, body).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test]
async fn a_call_is_there_for_its_scripts_account_and_the_operator_alone() {
    let engine = engine();
    let mut south = engine.events_as(Some(SOUTH), "").await;
    let mut caller = Caller::answered(&engine, "100").await;
    caller.state("answered").await;
    let call = format!("/v1/calls/{}", caller.id);
    for (key, calls) in [(NORTH, 1), (SOUTH, 0), (OPERATOR, 1)] {
        let (_, listed) = ask(&engine, key, "GET", "/v1/calls", "").await;
        assert_eq!(listed["calls"].as_array().map(Vec::len), Some(calls), "{key}: {listed}");
    }
    assert_eq!(ask(&engine, NORTH, "GET", &call, "").await.1["account"], "north");
    for (method, path) in [("GET", ""), ("GET", "/timeline"), ("GET", "/journal"), ("GET", "/recording"), ("DELETE", "")] {
        let (status, body) = ask(&engine, SOUTH, method, &format!("{call}{path}"), "").await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("no_such_call")), "{method} {path}");
    }
    let hang_up = json!({ "id": 1, "command": "hangup", "call": caller.id });
    south.command(&hang_up).await;
    let mut seen = Vec::new();
    let refused = south
        .find("a reply", |event| {
            seen.push(event["type"].as_str().unwrap_or_default().to_owned());
            (event["type"] == "reply").then(|| event["error"]["code"].clone())
        })
        .await;
    assert_eq!(refused, "no_such_call");
    seen.retain(|kind| kind != "scripts-loaded");
    assert_eq!(seen, ["hello", "reply"], "nothing of the call");
    let (status, body) = ask(&engine, NORTH, "DELETE", &call, "").await;
    assert_eq!(status, 204, "{body}");
    caller.over(&engine).await;
    assert_eq!(ask(&engine, SOUTH, "GET", &call, "").await.0, 404, "nor once it is over");
    assert_eq!(ask(&engine, NORTH, "GET", &call, "").await.0, 200);
}

#[tokio::test]
async fn scripts_keys_and_jobs_of_another_account_are_not_there() {
    let engine = engine();
    assert_eq!(ask(&engine, NORTH, "GET", "/v1/scripts", "").await.1["scripts"][0]["name"], "menu");
    assert_eq!(ask(&engine, SOUTH, "GET", "/v1/scripts", "").await.1["scripts"], json!([]));
    for path in ["/v1/scripts/menu/run", "/v1/scripts/menu/rollback", "/v1/forms/menu", "/v1/drivers/menu/list"] {
        let (status, body) = ask(&engine, SOUTH, "POST", path, "{}").await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("no_such_script")), "{path}");
    }
    assert_eq!(ask(&engine, SOUTH, "POST", "/v1/jobs", r#"{"script":"menu"}"#).await.0, 404);
    let order = json!({ "to": "1001", "destination": "100" }).to_string();
    assert_eq!(ask(&engine, SOUTH, "POST", "/v1/calls", &order).await.1["error"]["code"], "no_such_destination");

    let put = engine.request_as(NORTH, "PUT", "/v1/kv/pin", r#"{"value":"1234"}"#).await;
    assert_eq!(put.0, 204, "{}", put.1);
    assert_eq!(ask(&engine, SOUTH, "GET", "/v1/kv/pin", "").await.0, 404);
    assert_eq!(ask(&engine, SOUTH, "GET", "/v1/kv", "").await.1["keys"], json!([]));
    assert_eq!(ask(&engine, NORTH, "GET", "/v1/kv/pin", "").await.1["value"], "1234");
    let (status, job) = ask(&engine, NORTH, "POST", "/v1/jobs", r#"{"script":"menu","delay_ms":60000}"#).await;
    assert_eq!(status, 201, "{job}");
    assert_eq!(ask(&engine, SOUTH, "GET", &format!("/v1/jobs/{}", job["id"]), "").await.0, 404);
    assert_eq!(ask(&engine, SOUTH, "POST", &format!("/v1/jobs/{}/cancel", job["id"]), "").await.0, 404);

    assert_eq!(ask(&engine, NORTH, "GET", "/metrics", "").await.0, 403, "figures of everybody");
    assert_eq!(ask(&engine, OPERATOR, "GET", "/metrics", "").await.0, 200);
}

#[tokio::test]
async fn only_the_operator_leads_a_number_to_an_application() {
    let engine = engine();
    let number = |to: &[&str]| json!({ "destinations": to, "account": "north" }).to_string();
    let application = "socket:127.0.0.1:8085 async full";
    let (status, body) = ask(&engine, OPERATOR, "PUT", "/v1/dids/4420", &number(&[application])).await;
    assert_eq!(status, 201, "{body}");
    assert_eq!(ask(&engine, NORTH, "PUT", "/v1/dids/4420", &number(&["class5:100", application])).await.0, 200, "it may stay");
    let other = number(&["socket:198.51.100.1:8084 async full"]);
    let (status, body) = ask(&engine, NORTH, "PUT", "/v1/dids/4420", &other).await;
    assert_eq!((status, &body["error"]["code"]), (403, &json!("forbidden")), "{body}");
    let wanted = json!({ "did": "4421", "destinations": ["socket:198.51.100.1:8084 full"] }).to_string();
    let (status, body) = ask(&engine, NORTH, "POST", "/v1/dids/allocate", &wanted).await;
    assert_eq!((status, &body["error"]["code"]), (403, &json!("forbidden")), "{body}");
}

/// Answers, plays and records names that other accounts use, too, and says what came of it.
fn sounds(header: &str) -> String {
    format!(
        "// @lockstep {header}
async function main(data, ctx) {{
    await ctx.answer();
    const tried = async (name) => await ctx.play(name).then(() => 'played', (error) => error.name);
    ctx.log(`${{await tried('user/own.ulaw')}} ${{await tried('user/message.wav')}} ${{await tried('user/../accounts/north/user/own.ulaw')}}`);
    const recording = await ctx.record('message');
    await ctx.sleep(60);
    const {{ file }} = await recording.stop();
    ctx.log(`${{file}} ${{await tried(file)}}`);
}}"
    )
}

#[tokio::test]
async fn each_account_plays_and_records_in_a_folder_of_its_own() {
    let engine = Engine::setup()
        .config(CONFIG)
        .key(OPERATOR)
        .script("north.js", &sounds("class5_destination=100 app=menus"))
        .script("shared.js", &sounds("class5_destination=200"))
        .file("scripts/accounts/north/user/own.ulaw", vec![0xff; 800])
        .start();
    let mut north = Caller::dial(&engine, "100").await;
    north.logged("played NotFound NotFound").await;
    north.logged("user/message.wav played").await;
    north.over(&engine).await;
    let recorded = |folder: &str| engine.folder().join(folder).join("user/message.wav").exists();
    assert!(recorded("scripts/accounts/north") && !recorded("scripts"));
    let mut shared = Caller::dial(&engine, "200").await;
    shared.logged("NotFound NotFound NotFound").await;
    shared.logged("user/message.wav played").await;
    shared.over(&engine).await;
    assert!(recorded("scripts"));
}
