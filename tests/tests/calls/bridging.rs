//! Two softphones joined by a script.

use std::sync::Arc;

use lockstep_engine::phone::{EndedBy, Phone, PhoneCall, PhoneEvent};
use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_tests::audio::{SILENCE, prompt, whole};
use lockstep_tests::caller::{Caller, Story, USERS, incoming, registered};
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

fn speak(call: &PhoneCall, name: &str) {
    call.play(vec![Arc::new(EncodedPrompt::new(Codec::Pcmu, prompt(name)))]);
}

async fn answered(phone: &mut Phone) -> PhoneCall {
    let mut call = incoming(phone).await;
    call.answer();
    within("an ACK", call.answered()).await.unwrap();
    call
}

async fn hears(call: &PhoneCall, name: &str) {
    let audio = prompt(name);
    let start = audio.iter().position(|octet| *octet != SILENCE).unwrap();
    within(name, call.heard().until(|capture| capture.find(&audio[start..], 0))).await;
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
    hears(&callee, "welcome.wav").await;
    speak(&callee, "thank-you.wav");
    caller.hears("thank-you.wav", 0).await;
    caller.call.press("5");
    assert_eq!(within("a key", callee.digit()).await.unwrap(), '5');
    callee.press("#");
    assert_eq!(within("a key", caller.call.digit()).await.unwrap(), '#');

    callee.hangup();
    let story = caller.over(&engine).await;
    let result = story.value("result");
    assert_eq!((&result["status"], &result["code"]), (&json!("completed"), &json!(200)), "{result}");
    story.assert_heard(&[whole(&["thank-you.wav"]), whole(&["goodbye.wav"])]);
    assert_eq!((story.continuity.streams, story.continuity.sequence_breaks), (1, 0), "{:?}", story.continuity);
}

#[tokio::test]
async fn the_script_goes_on_as_continue_on_says() {
    for (continue_on, busy_goes_on, talk_goes_on) in
        [(json!(true), true, true), (json!(false), false, false), (json!("fail"), true, false), (json!("completed"), false, true)]
    {
        let engine = engine(&json!(["1001", continue_on]));
        let mut agent = registered(&engine, "1001").await;

        let caller = Caller::answered(&engine, "100").await;
        incoming(&mut agent).await.reject(486);
        let story = caller.over(&engine).await;
        assert_goes_on(&story, busy_goes_on.then_some(("busy", 486)), &format!("busy, {continue_on}"));

        let caller = Caller::answered(&engine, "100").await;
        answered(&mut agent).await.hangup();
        let story = caller.over(&engine).await;
        assert_goes_on(&story, talk_goes_on.then_some(("completed", 200)), &format!("answered, {continue_on}"));
        assert_eq!((story.ended.by, story.ended.code), (EndedBy::Remote, 200));
        let metrics = engine.get("/metrics").await;
        assert!(metrics.as_str().unwrap().contains("\nlockstep_script_errors_total 0\n"), "{continue_on}: a script error");
    }
}

/// Either the script learned the result and went on to its last line, or the end of the call was all it learned.
fn assert_goes_on(story: &Story, result: Option<(&str, u16)>, when: &str) {
    match result {
        Some((status, code)) => {
            let logged = story.value("result");
            assert_eq!((&logged["status"], &logged["code"]), (&json!(status), &json!(code)), "{when}");
            story.assert_heard(&[whole(&["goodbye.wav"])]);
        }
        None => {
            assert_eq!(story.logs(), [""; 0], "{when}");
            story.assert_heard(&[]);
        }
    }
}

#[tokio::test]
async fn in_parallel_the_first_to_answer_wins_and_the_others_are_cancelled() {
    let engine = engine(&json!([["1001", "1002", "1003"], { "strategy": "parallel", "continue_on": true }]));
    let mut phones = [registered(&engine, "1001").await, registered(&engine, "1002").await];
    let caller = Caller::answered(&engine, "100").await;
    let [first, second] = &mut phones;
    let (mut loser, mut winner) = (incoming(first).await, incoming(second).await);
    loser.ring();
    winner.answer();
    within("an ACK", winner.answered()).await.unwrap();
    let lost = within("a CANCEL", loser.ended()).await;
    assert_eq!((lost.code, lost.by), (487, EndedBy::Remote));
    speak(&caller.call, "1.wav");
    hears(&winner, "1.wav").await;
    winner.hangup();
    let story = caller.over(&engine).await;
    assert_eq!(story.value("result")["status"], "completed");
}

#[tokio::test]
async fn in_sequence_the_next_rings_when_one_refuses_or_does_not_answer() {
    let targets = json!(["1001", { "uri": "1002", "timeout_ms": 300 }, "1003"]);
    let engine = engine(&json!([targets, { "strategy": "sequential", "continue_on": true }]));
    let (mut busy, mut absent, mut there) =
        (registered(&engine, "1001").await, registered(&engine, "1002").await, registered(&engine, "1003").await);
    let caller = Caller::answered(&engine, "100").await;
    incoming(&mut busy).await.reject(486);
    let mut unanswered = incoming(&mut absent).await;
    unanswered.ring();
    assert_eq!(within("a CANCEL", unanswered.ended()).await.code, 487);
    answered(&mut there).await.hangup();
    let story = caller.over(&engine).await;
    assert_eq!(story.value("result")["status"], "completed");
}

#[tokio::test]
async fn nobody_answers_in_time_is_no_answer() {
    let engine = engine(&json!(["1001", { "timeout_ms": 300, "continue_on": true }]));
    let mut agent = registered(&engine, "1001").await;
    let caller = Caller::answered(&engine, "100").await;
    let mut call = incoming(&mut agent).await;
    call.ring();
    assert_eq!(within("a CANCEL", call.ended()).await.code, 487);
    assert_eq!(caller.over(&engine).await.value("result")["status"], "no-answer");
}

#[tokio::test]
async fn a_user_who_is_not_registered_cannot_be_reached() {
    let engine = engine(&json!(["1001", true]));
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    let result = story.value("result");
    assert_eq!(result["code"], 480, "{result}");
}

#[tokio::test]
async fn when_the_caller_leaves_the_other_leg_is_ended() {
    let engine = engine(&json!(["1001", true]));
    let mut agent = registered(&engine, "1001").await;

    let caller = Caller::answered(&engine, "100").await;
    let mut ringing = incoming(&mut agent).await;
    ringing.ring();
    caller.call.hangup();
    assert_eq!(within("a CANCEL", ringing.ended()).await.code, 487);
    assert!(!caller.over(&engine).await.has_logged("result"));

    let caller = Caller::answered(&engine, "100").await;
    let mut talking = answered(&mut agent).await;
    caller.call.hangup();
    let ended = within("a BYE", talking.ended()).await;
    assert_eq!((ended.code, ended.by), (200, EndedBy::Remote));
    let story = caller.over(&engine).await;
    assert!(story.operations().iter().any(|operation| operation["result"].as_str().unwrap_or_default().starts_with("CallEnded")));
}

#[tokio::test]
async fn blocked_keys_reach_neither_script_nor_far_end() {
    let body = "await ctx.answer();
await ctx.blockDtmf('05');
let heard = '';
ctx.on('dtmf', ({ digit }) => { heard += digit; });
await ctx.bridge('1001', true);
ctx.log('heard ' + JSON.stringify(heard));";
    let engine = Engine::setup().main("100", body).config(USERS).start();
    let mut agent = registered(&engine, "1001").await;
    let caller = Caller::answered(&engine, "100").await;
    let mut callee = answered(&mut agent).await;
    caller.call.press("0516");
    let keys = [within("a key", callee.digit()).await.unwrap(), within("a key", callee.digit()).await.unwrap()];
    assert_eq!(keys, ['1', '6']);
    callee.hangup();
    assert_eq!(caller.over(&engine).await.value("heard"), "16");
}

#[tokio::test]
async fn hold_and_unhold_are_events_and_the_audio_comes_back() {
    let body = "await ctx.answer();
const seen = [];
for (const name of ['hold', 'unhold']) ctx.on(name, () => { seen.push(name); ctx.log(name); });
await ctx.bridge('1001', true);
ctx.log('seen ' + JSON.stringify(seen));";
    let engine = Engine::setup().main("100", body).config(USERS).start();
    let mut agent = registered(&engine, "1001").await;
    let mut caller = Caller::answered(&engine, "100").await;
    let callee = answered(&mut agent).await;
    caller.call.hold(true);
    caller.logged("hold").await;
    caller.call.hold(false);
    caller.logged("unhold").await;
    speak(&caller.call, "1.wav");
    hears(&callee, "1.wav").await;
    callee.hangup();
    assert_eq!(caller.over(&engine).await.value("seen"), json!(["hold", "unhold"]));
}

#[tokio::test]
async fn a_signal_ends_a_bridge_that_rings() {
    let body = "await ctx.answer();
const stop = new AbortController();
ctx.once('dtmf', () => stop.abort());
const name = await ctx.bridge('1001', { signal: stop.signal, continue_on: true }).catch((error) => error.name);
ctx.log('name ' + JSON.stringify(name));
await ctx.play('ivr/1.wav');";
    let engine = Engine::setup().main("100", body).config(USERS).start();
    let mut agent = registered(&engine, "1001").await;
    let caller = Caller::answered(&engine, "100").await;
    let mut call = incoming(&mut agent).await;
    call.ring();
    caller.call.press("1");
    assert_eq!(within("a CANCEL", call.ended()).await.code, 487);
    let story = caller.over(&engine).await;
    assert_eq!(story.value("name"), "AbortError");
}

#[tokio::test]
async fn before_the_answer_the_callers_leg_follows_the_far_end() {
    let body = "const { status } = await ctx.bridge('1001', { continue_on: 'fail' });\nctx.log('status ' + JSON.stringify(status));\nawait ctx.reject(486);";
    let engine = Engine::setup().main("100", body).config(USERS).start();
    let mut agent = registered(&engine, "1001").await;

    let caller = Caller::dial(&engine, "100").await;
    incoming(&mut agent).await.reject(486);
    let story = caller.over(&engine).await;
    assert_eq!((story.ended.code, story.value("status")), (486, json!("busy")));

    let mut caller = Caller::dial(&engine, "100").await;
    let mut callee = incoming(&mut agent).await;
    callee.ring();
    caller.event("ringing", |event| matches!(event, PhoneEvent::Progress { code: 180..=183, .. }).then_some(())).await;
    callee.answer();
    caller.answer().await;
    within("an ACK", callee.answered()).await.unwrap();
    speak(&callee, "2.wav");
    caller.hears("2.wav", 0).await;
    callee.hangup();
    assert_eq!(caller.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn a_did_leads_to_its_destinations_in_order() {
    let did = "[[did]]\nnumber = \"442080000000\"\ndestinations = [\"user:1001\", \"user:1002\", \"class5:100\"]";
    let engine = Engine::setup()
        .main("100", "await ctx.answer();\nawait ctx.play('ivr/unavailable.wav');")
        .config(USERS)
        .config(did)
        .start();
    let mut agent = registered(&engine, "1002").await;

    let mut caller = Caller::dial(&engine, "442080000000").await;
    let callee = answered(&mut agent).await;
    caller.answer().await;
    callee.hangup();
    assert_eq!(caller.over(&engine).await.ended.code, 200);

    let caller = Caller::dial(&engine, "+442080000000").await;
    incoming(&mut agent).await.reject(480);
    caller.over(&engine).await.assert_heard(&[whole(&["unavailable.wav"])]);
}
