//! Two softphones joined by a script; `tests/scenarios` has how bridges go otherwise.

use lockstep_engine::phone::{Phone, PhoneCall};
use lockstep_tests::audio::{prompt, whole};
use lockstep_tests::caller::{Caller, USERS, hears, incoming, registered, speak};
use lockstep_tests::engine::{Engine, within};
use serde_json::json;

/// Bridges as the vars say, then tells how it went.
const BRIDGE: &str = "await ctx.answer();
const result = await ctx.bridge(...JSON.parse(data.vars.bridge));
delete result.duration_ms;
ctx.log('result ' + JSON.stringify(result));
await ctx.play('ivr/goodbye.wav');";

/// An engine whose number 100 calls `ctx.bridge` with these arguments.
fn engine(arguments: &serde_json::Value) -> Engine {
    let vars = format!("[[script]]\nfile = \"s100.js\"\n[script.vars]\nbridge = {}", json!(arguments.to_string()));
    Engine::setup().main("100", BRIDGE).config(USERS).config(&vars).start()
}

async fn answered(phone: &mut Phone) -> PhoneCall {
    let mut call = incoming(phone).await;
    call.answer();
    within("an ACK", call.answered()).await.unwrap();
    call
}

#[tokio::test]
async fn audio_and_keys_pass_both_ways_unchanged() {
    let engine = engine(&json!(["1001", { "continue_on": true, "caller_id": "555", "headers": { "X-Ticket": "42" } }]));
    let mut agent = registered(&engine, "1001").await;
    let mut caller = Caller::answered(&engine, "100").await;
    let mut callee = answered(&mut agent).await;
    assert_eq!(callee.from().uri.user().as_deref(), Some("555"));
    assert_eq!(callee.header("X-Ticket"), Some("42"));

    speak(&caller.call, "welcome.wav");
    hears(&callee, "welcome.wav", &prompt("welcome.wav")).await;
    speak(&callee, "thank-you.wav");
    hears(&caller.call, "thank-you.wav", &prompt("thank-you.wav")).await;
    caller.call.press("5");
    assert_eq!(within("a key", callee.digit()).await.unwrap(), '5');
    callee.press("#");
    assert_eq!(within("a key", caller.call.digit()).await.unwrap(), '#');

    callee.hangup();
    let story = caller.over(&engine).await;
    let result = story.value("result");
    assert_eq!((&result["status"], &result["code"]), (&json!("completed"), &json!(200)), "{result}");
    story.assert_spoken(&[whole(&["thank-you.wav"]), whole(&["goodbye.wav"])]);
    assert_eq!((story.continuity.streams, story.continuity.sequence_breaks), (1, 0), "{:?}", story.continuity);
}
