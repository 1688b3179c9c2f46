//! The call of `make demo`: what the caller hears is what the script played, and the timeline tells it.

use lockstep_tests::audio::{beginning, whole};
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;

/// `scripts/`, as shipped.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");

fn samples() -> Engine {
    Engine::setup().variable("LOCKSTEP_SCRIPTS__DIR", SAMPLES).start()
}

#[tokio::test]
async fn a_number_is_read_back_octet_by_octet() {
    let engine = samples();
    let caller = Caller::answered(&engine, "2008").await;
    caller.hears_begin("enter-number.wav", 0).await;
    caller.call.press("42#");
    let read = caller.hears("2.wav", 0).await;
    caller.hears_begin("enter-number.wav", read).await;
    // Nothing but the terminator is no number: the script takes its leave.
    caller.call.press("#");
    caller.hears("goodbye.wav", read).await;
    let story = caller.over(&engine).await;

    story.assert_heard(&[
        beginning("enter-number.wav"),
        whole(&["you-entered.wav", "4.wav", "2.wav"]),
        beginning("enter-number.wav"),
        whole(&["goodbye.wav"]),
    ]);
    story.assert_unbroken();
    assert_eq!(story.names(), ["answer", "ivr", "play", "ivr", "play"]);
    assert_eq!(story.ended.code, 200);
}

#[tokio::test]
async fn the_timeline_tells_every_operation_with_line_start_end_and_result() {
    let engine = samples();
    let caller = Caller::answered(&engine, "2008").await;
    caller.call.press("42#");
    let read = caller.hears("2.wav", 0).await;
    caller.hears_begin("enter-number.wav", read).await;
    caller.call.press("#");
    let story = caller.over(&engine).await;

    let operations = story.operations();
    let mut before = 0;
    for operation in &operations {
        let name = &operation["name"];
        let line = operation["line"].as_str().unwrap_or_default();
        assert!(line.starts_with("read-back.js:"), "{name} has no line: {operation}");
        let (issued, started, ended) = (&operation["at_ms"], &operation["started_ms"], &operation["ended_ms"]);
        let times =
            [issued, started, ended].map(|time| time.as_u64().unwrap_or_else(|| panic!("{name} lacks a time: {operation}")));
        assert!(times.is_sorted() && times[0] >= before, "{operation}");
        before = times[0];
        assert_eq!(operation["ok"], true, "{operation}");
        assert!(operation["result"].is_string(), "{operation}");
    }
    assert_eq!(operations[1]["result"], "Success \"42\"");
    assert_eq!(operations[2]["detail"], "ivr/you-entered.wav, ivr/4.wav, ivr/2.wav");
    let keys = story.timeline["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "dtmf");
    assert_eq!(keys.map(|entry| entry["digit"].as_str().unwrap()).collect::<String>(), "42##");
    assert!(story.sip("in")[0].starts_with("INVITE "), "{:?}", story.sip("in"));
    assert_eq!(story.sip("out").last(), Some(&"BYE"));
    assert_eq!(story.timeline["ended"]["by"], "script");
    assert_eq!(story.timeline["call"]["codec"], "PCMU");
}
