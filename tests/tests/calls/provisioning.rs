//! Numbers, users, gateways and routes that are put over HTTP: calls reach them at once.

use std::process::Command;

use lockstep_engine::phone::Dial;
use lockstep_sip::net::Protocol;
use lockstep_tests::caller::{Caller, incoming, is_full, phone, redialling, registered};
use lockstep_tests::engine::{Engine, binary, within};
use serde_json::{Value, json};

async fn put(engine: &Engine, path: &str, entry: Value) -> u16 {
    let (status, body) = engine.request("PUT", path, &entry.to_string()).await;
    assert!((200..300).contains(&status), "{path}: {status} {body}");
    status
}

/// The code with which a call is refused.
async fn refused(engine: &Engine, number: &str) -> u16 {
    let phone = phone("caller").await;
    let mut pause = redialling();
    loop {
        let mut call = phone.dial(&engine.uri(number), Dial::default()).await.expect("a call can be placed");
        let ended = within("a refusal", call.ended()).await;
        if !is_full(&ended) {
            return ended.code;
        }
        pause.tick().await;
    }
}

#[tokio::test]
async fn a_number_leads_to_its_script_as_soon_as_it_is_put_and_nowhere_once_it_is_removed() {
    let engine = Engine::setup()
        .main("100", "await ctx.answer();\nctx.log('did ' + JSON.stringify([data.did, data.vars.greeting]));")
        .start();
    assert_eq!(refused(&engine, "442080000000").await, 404);
    let did = json!({ "destinations": ["class5:100"], "vars": { "greeting": "hello" } });
    assert_eq!(put(&engine, "/v1/dids/442080000000", did).await, 201);
    let story = Caller::answered(&engine, "+442080000000").await.over(&engine).await;
    assert_eq!(story.value("did"), json!(["442080000000", "hello"]));

    let engine = engine.crash_and_restart();
    let story = Caller::answered(&engine, "442080000000").await.over(&engine).await;
    assert_eq!(story.value("did"), json!(["442080000000", "hello"]), "it outlives the engine");
    assert_eq!(engine.request("DELETE", "/v1/dids/442080000000", "").await.0, 204);
    assert_eq!(refused(&engine, "442080000000").await, 404);
}

#[tokio::test]
async fn a_user_registers_and_is_called_and_a_wrong_entry_says_what_is_wrong() {
    let engine = Engine::setup().main("100", "await ctx.bridge('1001');").start();
    put(&engine, "/v1/users/1001", json!({ "password": "pw-1001" })).await;
    let mut agent = registered(&engine, "1001").await;
    let caller = Caller::dial(&engine, "100").await;
    let mut call = incoming(&mut agent).await;
    call.answer();
    within("an ACK", call.answered()).await.unwrap();
    drop(caller);

    let (status, body) = engine.request("PUT", "/v1/dids/44", r#"{"destinations":["user:7"]}"#).await;
    let error: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &error["error"]["code"]), (422, &json!("invalid_entry")));
    let problem = json!({ "key": "destinations[0]", "message": "expected the name of a [[user]], found `7`" });
    assert_eq!(error["error"]["details"]["problems"], json!([problem]));
    let listed = engine.get("/v1/users").await;
    assert_eq!(listed["users"], json!([{ "name": "1001", "account": "default", "source": "http" }]), "and no password");
}

#[tokio::test]
async fn a_gateway_and_a_route_that_are_put_carry_the_next_call() {
    let engine = Engine::setup().main("100", "await ctx.bridge('33123456789');").start();
    let mut carrier = phone("carrier").await;
    let address = format!("sip:{}", carrier.address(Protocol::Udp).expect("it listens"));
    put(&engine, "/v1/gateways/7", json!({ "address": address })).await;
    put(&engine, "/v1/routes/france", json!({ "prefix": "33", "gateways": [7] })).await;
    let caller = Caller::dial(&engine, "100").await;
    let mut call = incoming(&mut carrier).await;
    assert_eq!(call.to().uri.user().as_deref(), Some("33123456789"));
    call.answer();
    within("an ACK", call.answered()).await.unwrap();
    drop(caller);
    let (status, body) = engine.request("DELETE", "/v1/gateways/7", "").await;
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("route france"), "{body}");
}

const NAMES: &str = "[drivers]
alert = \"alarm\"
[[gateway]]
id = 7
address = \"sip:127.0.0.1:5999\"
[[route]]
prefix = \"44\"
gateways = [7]
script = \"do-not-call\"
[[did]]
number = \"441\"
destinations = [\"class5:100\", \"class5:s100\", \"class5:200\"]
script = \"broken\"
[[did]]
number = \"442\"
script = \"keeper\"";

#[tokio::test]
async fn a_name_that_leads_to_no_script_is_told_at_the_check_and_at_the_start_until_the_script_comes() {
    let engine = Engine::setup()
        .config(NAMES)
        .main("100", "")
        .script("broken.js", "function main( {")
        .script("keeper.js", "// @lockstep type=worker\nexports.onMessage = () => {};")
        .start();
    let file = engine.folder().join("lockstep.toml").display().to_string();
    let expected = [
        format!("{file}:2:9: drivers.alert: expected the name of a script, found `alarm`"),
        format!("{file}:9:10: route[0].script: expected the name of a script, found `do-not-call`"),
        format!("{file}:13:10: did[0].script: the script `broken` is not live: broken.js:"),
        format!("{file}:12:46: did[0].destinations[2]: expected a Class 5 destination, or the name of a script, found `200`"),
        format!("{file}:16:10: did[1].script: expected the name of a script, but `keeper` is of type worker"),
    ];
    let check = Command::new(binary()).args(["serve", "--check"]).arg(engine.folder()).output().expect("it runs");
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    assert!(!check.status.success() && expected.iter().all(|line| told.contains(line)), "{told}");
    assert_eq!(told.lines().count(), expected.len() + 1, "and the broken script itself: {told}");
    for line in &expected {
        engine.log().line(line).await;
    }
    let log = engine.log().text();
    assert!(!log.contains("destinations[0]") && !log.contains("destinations[1]"), "{log}");

    let route = json!({ "prefix": "33", "gateways": [7], "script": "peak-hours" });
    let (status, body) = engine.request("PUT", "/v1/routes/france", &route.to_string()).await;
    let error: Value = serde_json::from_str(&body).unwrap();
    let problem = json!({ "key": "script", "message": "expected the name of a script, found `peak-hours`" });
    assert_eq!((status, &error["error"]["details"]["problems"]), (422, &json!([problem])), "{body}");
    let script = json!({ "file": "peak-hours.js", "source": "function main(data) { return data; }" });
    assert_eq!(engine.request("POST", "/v1/scripts", &script.to_string()).await.0, 201);
    assert_eq!(put(&engine, "/v1/routes/france", route).await, 201);
    assert_eq!(engine.request("DELETE", "/v1/scripts/peak-hours", "").await.0, 204);
    engine.log().line("put over HTTP: route france: script: expected the name of a script, found `peak-hours`").await;
}
