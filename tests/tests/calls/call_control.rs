//! Calls made and steered by scripts that own none: `cxOriginate`, `cxCallControl`, `cxRest`, `cxHelper`.

use lockstep_tests::caller::{Caller, USERS, incoming, registered};
use lockstep_tests::engine::{Engine, Setup, within};
use serde_json::{Value, json};

/// The result of a script that is run without a call.
async fn run(engine: &Engine, script: &str, data: Value) -> Value {
    let body = json!({ "data": data }).to_string();
    let (status, answer) = engine.request("POST", &format!("/v1/scripts/{script}/run"), &body).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str::<Value>(&answer).unwrap()["result"].clone()
}

/// An engine with users 1001 to 1003, a menu at 100, and `ops.js`.
fn setup(ops: &str) -> Setup {
    Engine::setup()
        .main("100", "await ctx.answer();\nctx.log('menu reached');\nawait ctx.waitForHangup();")
        .file("scripts/ops.js", ops)
        .config(USERS)
}

#[tokio::test]
async fn an_originated_call_is_led_to_its_extension_once_it_is_answered() {
    let ops = "import { originate } from 'cxOriginate';\nexport const main = (data) => originate(1, 'server', data.to, '5551', '1002');";
    let engine = setup(ops).start();
    let mut first = registered(&engine, "1001").await;
    let mut second = registered(&engine, "1002").await;
    let placed = run(&engine, "ops", json!({ "to": "1001" })).await;
    assert!(placed["call_id"].is_string(), "{placed}");
    let mut one = incoming(&mut first).await;
    assert_eq!(one.from().uri.user().as_deref(), Some("5551"));
    one.answer();
    let mut two = incoming(&mut second).await;
    two.answer();
    within("an ACK", two.answered()).await.unwrap();
    two.hangup();
    within("a BYE", one.ended()).await;
}

#[tokio::test]
async fn a_script_follows_the_call_it_has_placed() {
    let ops = "import { C5 } from 'cxCallControl';\nexport const main = (data) => new Promise((resolve, reject) => {\n  const seen = [];\n  const call = C5().originate({ to: data.to, destination: '100' });\n  call.on('error', reject).on('answered', () => seen.push('answered')).on('hangup', ({ cause }) => resolve([...seen, cause.by]));\n});";
    let engine = setup(ops).start();
    let mut phone = registered(&engine, "1001").await;
    let outcome = run(&engine, "ops", json!({ "to": "1001" }));
    let answer = async {
        let call = incoming(&mut phone).await;
        let mut events = engine.events().await;
        call.answer();
        events.logged("menu reached").await;
        call.hangup();
    };
    let (outcome, ()) = tokio::join!(outcome, answer);
    assert_eq!(outcome, json!(["answered", "callee"]));
}

#[tokio::test]
async fn calls_are_listed_moved_and_ended_by_id() {
    let ops = "import { C4, C5 } from 'cxCallControl';\nexport async function main({ what, id }) {\n  const five = C5();\n  if (what === 'calls') return (await five.calls()).map((call) => [call.id, call.state]);\n  if (what === 'registrations') return (await C4().registrations(id)).map((known) => known.user);\n  return (await five[what](id, '1002')) ?? 'done';\n}";
    let engine = setup(ops).start();
    let mut agent = registered(&engine, "1002").await;
    let mut caller = Caller::answered(&engine, "100").await;
    caller.state("answered").await;
    let id = caller.id.clone();
    assert_eq!(run(&engine, "ops", json!({ "what": "calls" })).await, json!([[id, "answered"]]));
    assert_eq!(run(&engine, "ops", json!({ "what": "registrations", "id": "1002" })).await, json!(["1002"]));
    assert_eq!(run(&engine, "ops", json!({ "what": "registrations", "id": "1003" })).await, json!([]));
    assert_eq!(run(&engine, "ops", json!({ "what": "transfer", "id": id })).await, "done");
    let mut moved = incoming(&mut agent).await;
    moved.answer();
    within("an ACK", moved.answered()).await.unwrap();
    assert_eq!(run(&engine, "ops", json!({ "what": "hangup", "id": id })).await, "done");
    within("a BYE", moved.ended()).await;
    caller.over(&engine).await;
    let body = json!({ "data": { "what": "hangup", "id": id } }).to_string();
    let (status, answer) = engine.request("POST", "/v1/scripts/ops/run", &body).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("telephony.hangup: the call") && answer.contains("is over"), "{answer}");
}

#[tokio::test]
async fn a_script_asks_the_management_interface_as_the_user_it_names() {
    let config = "[api]\nkeys = [{ key = \"reader-key\", scopes = [\"read\"] }, { key = \"runner-key\", scopes = [\"run\"] }]\n[rest.users]\nops = \"reader-key\"\n";
    let ops = "const cxRest = require('cxRest');\nasync function main() {\n  const rest = new cxRest.auth('ops');\n  const { calls } = await rest.get('calls', { state: 'live' });\n  const refused = await rest.post('calls', { to: '1', destination: '100' }).catch((error) => error.message);\n  const nobody = await cxRest('boss').get('calls').catch((error) => error.name);\n  const outside = await rest.get('//evil.example/x').catch((error) => error.name);\n  return { calls: calls.length, refused, nobody, outside };\n}";
    let engine = setup(ops).config(config).start();
    let (status, answer) = engine.request_as("runner-key", "POST", "/v1/scripts/ops/run", "{}").await;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["calls"], 0, "{answer}");
    assert_eq!(answer["result"]["refused"], "cxRest.post: 403 the key lacks the scope `run`");
    assert_eq!(answer["result"]["nobody"], "NotConfigured");
    assert_eq!(answer["result"]["outside"], "NotFound");
}

#[tokio::test]
async fn a_security_key_needs_a_secret_and_says_so() {
    let ops = "import { generatePbxSecurityKey } from 'cxHelper';\nexport const main = ({ server }) => generatePbxSecurityKey(12, server).catch((error) => `${error.name}: ${error.message}`);";
    let engine = setup(ops).start();
    let said = run(&engine, "ops", json!({ "server": "pbx" })).await;
    assert_eq!(said, "NotConfigured: cxHelper.generatePbxSecurityKey: set [security] secret in lockstep.toml");
    let engine = setup(ops).config("[security]\nsecret = \"sixteen letters!\"\n").start();
    let key = run(&engine, "ops", json!({ "server": "pbx.example.net" })).await;
    assert!(key.as_str().is_some_and(|key| key.starts_with("1.12.")), "{key}");
    let said = run(&engine, "ops", json!({ "server": "a b" })).await;
    assert!(said.as_str().is_some_and(|said| said.contains("`server` must be a host name")), "{said}");
}
