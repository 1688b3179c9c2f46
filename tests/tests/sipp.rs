//! The engine as a caller's switch sees it: sipp plays the scenarios of `tests/sipp/`.

use lockstep_tests::engine::Engine;
use lockstep_tests::sipp::{Scenario, keys_capture};

/// sipp calls from its own address of this machine, as user `sipp`.
const CALLER: &str = "sipp";

const ANSWER_AND_HANG_UP: &str = "await ctx.answer();\nawait ctx.play('ivr/1.wav');\nawait ctx.hangup();";

#[tokio::test]
async fn a_call_is_set_up_and_hung_up_by_the_script() {
    let engine = Engine::setup().main("100", ANSWER_AND_HANG_UP).start();
    let mut events = engine.events().await;
    Scenario::new("setup", "100").play(&engine).await;
    let call = events.started(CALLER).await;
    assert_eq!(events.ended(&call).await["by"], "script");
}

#[tokio::test]
async fn a_call_over_tcp_is_no_different() {
    let engine = Engine::setup().main("100", ANSWER_AND_HANG_UP).start();
    Scenario::new("setup", "100").over_tcp().play(&engine).await;
}

#[tokio::test]
async fn an_invite_without_sdp_is_answered_with_an_offer() {
    let engine = Engine::setup().main("100", ANSWER_AND_HANG_UP).start();
    Scenario::new("late-offer", "100").play(&engine).await;
}

#[tokio::test]
async fn hold_and_its_end_reach_the_script() {
    let body = "ctx.on('hold', () => ctx.log('held'));\nctx.on('unhold', () => ctx.log('taken back'));\n\
                await ctx.answer();\nawait ctx.waitForHangup();";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    Scenario::new("hold", "100").play(&engine).await;
    events.logged("held").await;
    events.logged("taken back").await;
}

#[tokio::test]
async fn a_caller_who_gives_up_ends_the_script() {
    let body = "await ctx.ring();\nconst cause = await ctx.waitForHangup();\nctx.log(`over: ${cause.code} by ${cause.by}`);";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    Scenario::new("cancel", "100").play(&engine).await;
    events.logged("over: 487 by caller").await;
}

#[tokio::test]
async fn requests_that_arrive_twice_are_carried_out_once() {
    let body = "ctx.log('started');\nawait ctx.answer();\nawait ctx.waitForHangup();";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    Scenario::new("retransmissions", "100").seeing_copies().play(&engine).await;
    let call = events.started(CALLER).await;
    events.ended(&call).await;
    let calls = engine.get("/v1/calls").await;
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "{calls}");
}

#[tokio::test]
async fn a_lost_ack_is_waited_for() {
    let body = "await ctx.answer();\nctx.log('acknowledged');\nawait ctx.hangup();";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    Scenario::new("ack-loss", "100").seeing_copies().play(&engine).await;
    let call = events.started(CALLER).await;
    events.ended(&call).await;
    let timeline = engine.timeline(&call).await;
    let entries = timeline["entries"].as_array().expect("a list");
    let place = |field: &str, text: &str| entries.iter().position(|entry| entry[field] == text);
    let (ack, log) = (place("summary", "ACK"), place("text", "acknowledged"));
    assert!(ack.is_some() && ack < log, "{timeline:#}");
}

#[tokio::test]
async fn keys_in_telephone_event_packets_are_counted_once() {
    let body = "await ctx.answer();\nconst { digits } = await ctx.gather({ max: 12, terminators: '#', timeout_ms: 20000 });\n\
                ctx.log(`keyed ${digits}`);\nawait ctx.hangup();";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    Scenario::new("dtmf", "100").file("keys.pcap", keys_capture("1442*0#")).play(&engine).await;
    events.logged("keyed 1442*0").await;
}

#[tokio::test]
async fn keys_out_of_sipps_own_captures_are_counted_each_time() {
    let body = "await ctx.answer();\nconst { digits } = await ctx.gather({ max: 12, terminators: '#', timeout_ms: 20000 });\n\
                ctx.log(`keyed ${digits}`);\nawait ctx.hangup();";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    Scenario::new("captures", "100").play(&engine).await;
    events.logged("keyed 44321").await;
}
