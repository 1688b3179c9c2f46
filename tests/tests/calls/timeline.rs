//! What a timeline tells of a call's wire and sound, as lines and as a page.

use std::process::Command;

use lockstep_engine::phone::Dial;
use lockstep_tests::caller::{Caller, phone};
use lockstep_tests::engine::{Engine, binary, within};
use serde_json::Value;

fn of_kind<'t>(timeline: &'t Value, kind: &str) -> Vec<&'t Value> {
    timeline["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == kind).collect()
}

#[tokio::test]
async fn a_call_ends_with_how_its_media_came_through_and_can_be_written_as_a_page() {
    let body = "await ctx.answer();\nawait ctx.record('all');\nctx.log('<img src=x>');\nawait ctx.play('tone:440,400/0');";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    within("a BYE", caller.call.ended()).await;
    let timeline = engine.whole_timeline(&caller.id).await;
    let [media] = of_kind(&timeline, "media")[..] else { panic!("{timeline:#}") };
    assert!(media["leg"] == "a" && media["sent"].as_u64() > Some(15) && media["received"].as_u64() > Some(5), "{media}");
    assert!(media["lost"] == 0 && media["mos"].as_f64() > Some(4.3), "{media}");

    let page = engine.folder().join("call.html");
    let shown = Command::new(binary())
        .args(["calls", &caller.id, "--html"])
        .arg(&page)
        .env("LOCKSTEP_URL", engine.url())
        .output()
        .expect("it runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let html = std::fs::read_to_string(&page).unwrap();
    for part in [
        "<h2>SIP ladder</h2>",
        ">INVITE sip:100@",
        ">200 OK<",
        "play(tone:440,400/0)",
        "MOS 4.",
        "recording 1",
        "class=\"wave\" d=\"M",
        "&lt;img src=x&gt;",
    ] {
        assert!(html.contains(part), "no {part} in:\n{html}");
    }
    assert!(!html.contains("<img"));
    let printed = Command::new(binary()).args(["calls", &caller.id]).env("LOCKSTEP_URL", engine.url()).output().expect("it runs");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.contains("  media      ") && printed.contains(" 0 lost, jitter "), "{printed}");
    let (status, body) = engine.request("GET", &format!("/v1/calls/{}/timeline?format=pdf", caller.id), "").await;
    assert_eq!(status, 400, "{body}");
}

#[tokio::test]
async fn a_caller_who_gives_up_is_told_487_and_so_is_the_timeline() {
    let engine = Engine::setup().main("100", "await ctx.ring();\nawait ctx.waitForHangup();").start();
    let mut events = engine.events().await;
    let caller = phone("caller").await;
    let mut call = caller.dial(&engine.uri("100"), Dial { from: Some("555".into()), ..Dial::default() }).await.unwrap();
    let id = events.started("555").await;
    let is_ringing = |event: &Value| event["entry"]["name"] == "ring" && event["entry"]["ok"] == true;
    events.find("180", |event| is_ringing(event).then_some(())).await;
    call.hangup();
    within("the end", call.ended()).await;
    events.ended(&id).await;
    let timeline = engine.timeline(&id).await;
    let sip: Vec<String> = of_kind(&timeline, "sip")
        .iter()
        .map(|entry| format!("{} {}", entry["direction"].as_str().unwrap(), entry["summary"].as_str().unwrap()))
        .collect();
    assert_eq!(sip[1..], ["out 180 Ringing", "in CANCEL", "out 487 Request Terminated"], "{sip:?}");
}
