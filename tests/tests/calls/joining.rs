//! Calls that an event-socket client joins, holds and parts.

use lockstep_engine::phone::{Dial, EndedBy, PhoneEvent};
use lockstep_media::codec::Codec;
use lockstep_media::codec::g711::{linear_to_alaw, ulaw_to_linear};
use lockstep_tests::audio::{SILENCE, assert_lacks, prompt};
use lockstep_tests::caller::{Caller, USERS, hears, incoming, phone_config, registered, speak};
use lockstep_tests::client::Client;
use lockstep_tests::engine::{Engine, within};
use lockstep_tests::event_socket::{PASSWORD, Wire, config};

/// Plays until it is stopped, and tells what it learns.
const WAITING: &str = "ctx.on('bridge', ({ bleg }) => ctx.log('joined with ' + bleg));
ctx.on('unbridge', ({ bleg }) => ctx.log('parted from ' + bleg));
ctx.on('hold', () => ctx.log('held'));
await ctx.answer();
try { await ctx.play('tone:440,1000/0', { loop: 0 }); } catch (error) { ctx.log('stopped by ' + error.name); }
await ctx.play('ivr/goodbye.wav');";

fn engine() -> Engine {
    Engine::setup().config(&format!("{}{USERS}", config())).main("1000", WAITING).start()
}

/// A caller to whom the script plays.
async fn waiting(engine: &Engine) -> Caller {
    let caller = Caller::answered(engine, "1000").await;
    let tone = caller.call.heard().until(|capture| capture.in_order().iter().any(|octet| *octet != SILENCE).then_some(()));
    within("the tone", tone).await;
    caller
}

#[tokio::test]
async fn two_calls_hear_each_other_until_one_hangs_up() {
    let engine = engine();
    let mut first = waiting(&engine).await;
    let only_alaw = lockstep_engine::phone::PhoneConfig { codecs: vec![Codec::Pcma], ..phone_config("caller") };
    let mut second = Caller::dial_with(&engine, "1000", only_alaw, Dial::default()).await;
    second.answer().await;
    let (a, b) = (first.id.clone(), second.id.clone());
    let mut wire = Wire::logged_in(&engine).await;
    wire.send("event plain CHANNEL_BRIDGE CHANNEL_UNBRIDGE CHANNEL_HANGUP_COMPLETE\n\n").await;
    wire.until("enabled plain\n\n").await;
    assert_eq!(wire.api(&format!("uuid_bridge {a} {b}")).await, format!("+OK {b}\n"));
    let told = wire.until("variable_signal_bond: ").await;
    for line in [
        "Event-Name: CHANNEL_BRIDGE".to_owned(),
        format!("Bridge-A-Unique-ID: {a}"),
        format!("Bridge-B-Unique-ID: {b}"),
        format!("Unique-ID: {a}"),
        format!("Other-Leg-Unique-ID: {b}"),
        "Channel-State: CS_EXCHANGE_MEDIA".to_owned(),
    ] {
        assert!(told.contains(&format!("{line}\n")), "{line} in {told}");
    }
    first.logged(&format!("joined with {b}")).await;
    second.logged(&format!("joined with {a}")).await;
    let table = wire.api("show calls count").await;
    assert!(table.contains("1 total."), "{table}");

    speak(&first.call, "welcome.wav");
    let translated: Vec<u8> = prompt("welcome.wav").iter().map(|octet| linear_to_alaw(ulaw_to_linear(*octet))).collect();
    hears(&second.call, "welcome.wav", &translated).await;
    first.call.press("5");
    assert_eq!(within("a key", second.call.digit()).await.unwrap(), '5');

    first.call.hangup();
    let told = wire.until("Event-Name: CHANNEL_HANGUP_COMPLETE\n").await;
    assert!(told.contains("Event-Name: CHANNEL_UNBRIDGE\n"), "{told}");
    // What the script was doing has waited for the end, as behind a bridge of its own.
    second.logged("stopped by CallEnded").await;
    let second = second.over(&engine).await;
    assert_eq!((second.ended.code, second.ended.by), (200, EndedBy::Remote));
    assert!(second.has_logged(&format!("parted from {a}")), "{:#}", second.timeline);
    first.logged("stopped by CallEnded").await;
    first.over(&engine).await;
}

#[tokio::test]
async fn a_call_that_parks_after_its_bridge_goes_on_with_its_script() {
    let engine = engine();
    let first = waiting(&engine).await;
    let mut second = waiting(&engine).await;
    let (a, b) = (first.id.clone(), second.id.clone());
    let mut wire = Wire::logged_in(&engine).await;
    assert_eq!(wire.api(&format!("uuid_setvar {b} park_after_bridge true")).await, "+OK\n");
    assert_eq!(wire.api(&format!("uuid_bridge {a} {b}")).await, format!("+OK {b}\n"));
    second.logged(&format!("joined with {a}")).await;
    first.hang_up(&engine).await;
    second.logged("stopped by AbortError").await;
    second.hears("goodbye.wav", 0).await;
    assert_eq!(second.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn a_third_call_takes_the_place_of_the_second() {
    let engine = engine();
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(Caller::answered(&engine, "1000").await);
    }
    let ids: Vec<String> = calls.iter().map(|caller| caller.id.clone()).collect();
    let (third, second, first) = (calls.pop().unwrap(), calls.pop().unwrap(), calls.pop().unwrap());
    let mut wire = Wire::logged_in(&engine).await;
    assert!(wire.api(&format!("uuid_bridge {} {}", ids[0], ids[1])).await.starts_with("+OK"));
    assert!(wire.api(&format!("uuid_bridge {} {}", ids[0], ids[2])).await.starts_with("+OK"));
    assert_eq!(second.over(&engine).await.ended.code, 200);
    speak(&third.call, "welcome.wav");
    hears(&first.call, "welcome.wav", &prompt("welcome.wav")).await;
    let broadcast = wire.api(&format!("uuid_broadcast {} ivr/thank-you.wav both", ids[0])).await;
    assert_eq!(broadcast, "+OK Message sent\n");
    for call in [&first.call, &third.call] {
        hears(call, "thank-you.wav", &prompt("thank-you.wav")).await;
    }
    assert_eq!(wire.api(&format!("uuid_kill {}", ids[2])).await, "+OK\n");
    first.over(&engine).await;
    third.over(&engine).await;
}

#[tokio::test]
async fn what_cannot_be_joined_is_refused_and_goes_on() {
    let engine = Engine::setup()
        .config(&format!("{}{USERS}", config()))
        .main("1000", WAITING)
        .main("2000", "await ctx.ring(); await ctx.waitForHangup();")
        .start();
    let caller = Caller::answered(&engine, "1000").await;
    let ringing = Caller::dial(&engine, "2000").await;
    let (a, r) = (caller.id.clone(), ringing.id.clone());
    let mut wire = Wire::logged_in(&engine).await;
    assert_eq!(wire.api(&format!("uuid_bridge {a}")).await, "-USAGE: <uuid> <other_uuid>\n");
    assert_eq!(wire.api(&format!("uuid_bridge {a} nobody")).await, "-ERR Invalid uuid\n");
    assert_eq!(wire.api(&format!("uuid_bridge {a} {a}")).await, "-ERR a call cannot be joined with itself\n");
    assert_eq!(wire.api(&format!("uuid_bridge {a} {r}")).await, format!("-ERR the call {r} is not answered\n"));
    assert_eq!(wire.api(&format!("uuid_hold {r}")).await, format!("-ERR the call {r} is not answered\n"));
    assert_eq!(wire.api("uuid_hold off nobody").await, "-ERR No such channel!\n");
    assert!(!caller.hang_up(&engine).await.has_logged("joined"));
    ringing.hang_up(&engine).await;
}

#[tokio::test]
async fn a_party_is_put_on_hold_and_taken_off() {
    let engine = engine();
    let mut first = Caller::answered(&engine, "1000").await;
    let second = Caller::answered(&engine, "1000").await;
    let (a, b) = (first.id.clone(), second.id.clone());
    let mut wire = Wire::logged_in(&engine).await;
    wire.send("event plain CHANNEL_HOLD CHANNEL_UNHOLD\n\n").await;
    wire.until("enabled plain\n\n").await;
    assert_eq!(wire.api(&format!("uuid_setvar {a} hold_music ivr/thank-you.wav")).await, "+OK\n");
    assert!(wire.api(&format!("uuid_bridge {a} {b}")).await.starts_with("+OK"));
    assert_eq!(wire.api(&format!("uuid_hold {a}")).await, "+OK Success\n");
    first.event("a hold", |event| (*event == PhoneEvent::Held).then_some(())).await;
    let told = wire.until("Channel-Call-State: HELD\n").await;
    assert!(told.contains("Event-Name: CHANNEL_HOLD\n"), "{told}");
    first.logged("held").await;
    // Music for the one, and nothing of it or of the one held for the other.
    hears(&first.call, "music", &prompt("thank-you.wav")).await;
    assert_eq!(wire.api(&format!("uuid_hold toggle {a}")).await, "+OK Success\n");
    first.event("the end of the hold", |event| (*event == PhoneEvent::Resumed).then_some(())).await;
    wire.until("Event-Name: CHANNEL_UNHOLD\n").await;
    speak(&second.call, "welcome.wav");
    hears(&first.call, "welcome.wav", &prompt("welcome.wav")).await;
    second.call.heard().with(|capture| assert_lacks(capture.in_order(), "thank-you.wav"));
    first.hang_up(&engine).await;
    second.over(&engine).await;
}

/// A client of another hand calls two parties, joins them, and ends one of the calls.
async fn joins_two_parties(client: &str) {
    let engine = engine();
    let mut phones = (registered(&engine, "1001").await, registered(&engine, "1002").await);
    let port = engine.event_socket().port().to_string();
    let mut client = Client::start(client, &["join", &port, PASSWORD, "1001", "1002"]);
    let first = incoming(&mut phones.0).await;
    first.answer();
    let mut second = incoming(&mut phones.1).await;
    second.answer();
    client.says("joined").await;
    speak(&first, "welcome.wav");
    hears(&second, "welcome.wav", &prompt("welcome.wav")).await;
    second.hangup();
    assert_eq!(client.says("parted").await, "NORMAL_CLEARING");
    within("the end of the call", second.ended()).await;
}

#[tokio::test]
async fn greenswitch_joins_two_parties() {
    joins_two_parties("greenswitch_client.py").await;
}

#[tokio::test]
async fn modesl_joins_two_parties() {
    joins_two_parties("modesl.mjs").await;
}
