//! Operations that were not awaited still run, in program order, and are pointed out.

use std::process::Command;

use lockstep_tests::audio::whole;
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::{Engine, binary};

#[tokio::test]
async fn a_prompt_before_hangup_plays_to_its_end_and_is_warned_about() {
    let engine = Engine::setup().main("100", "await ctx.answer();\nctx.play('ivr/goodbye.wav');\nawait ctx.hangup();").start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("was not awaited").await;
    let story = caller.over(&engine).await;
    story.assert_heard(&[whole(&["goodbye.wav"])]);
    assert_eq!(story.names(), ["answer", "play", "hangup"]);
    assert!(story.has_logged("s100.js:4: ctx.play() was not awaited"), "{:?}", story.logs());
    engine.log().line("s100.js:4: ctx.play() was not awaited").await;
}

#[tokio::test]
async fn queued_operations_run_in_program_order_awaited_or_not() {
    let body = "ctx.answer();\nctx.play('ivr/1.wav');\nctx.sleep(100);\nctx.play('ivr/2.wav');\nawait ctx.play('ivr/3.wav');";
    let engine = Engine::setup().main("100", body).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    story.assert_heard(&[whole(&["1.wav"]), whole(&["2.wav"]), whole(&["3.wav"])]);
    story.assert_unbroken();
    for line in [3, 4, 5, 6] {
        assert!(story.has_logged(&format!("s100.js:{line}: ctx.")), "no warning for line {line}: {:?}", story.logs());
    }
    assert!(!story.has_logged("s100.js:7"), "an awaited operation is nothing to warn about: {:?}", story.logs());
}

#[tokio::test]
async fn what_is_queued_when_main_returns_runs_before_the_call_is_hung_up() {
    let engine = Engine::setup().main("100", "await ctx.answer();\nctx.play('ivr/1.wav');\nctx.play('ivr/2.wav');").start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    story.assert_heard(&[whole(&["1.wav"]), whole(&["2.wav"])]);
    assert_eq!((story.ended.code, story.timeline["ended"]["by"].as_str()), (200, Some("script")));
}

#[tokio::test]
async fn hangup_cuts_off_what_is_playing_when_nothing_unawaited_is_ahead() {
    let body = "await ctx.answer();\nctx.once('dtmf', () => ctx.hangup());\nawait ctx.play('tone:440,60000/0', { loop: true });";
    let engine = Engine::setup().main("100", body).start();
    let caller = Caller::answered(&engine, "100").await;
    caller.call.press("1");
    let story = caller.over(&engine).await;
    assert_eq!(story.ended.code, 200);
    let play = story.operations()[1];
    assert!(play["result"].as_str().unwrap_or_default().starts_with("CallEnded"), "{play}");
}

#[test]
fn lockstep_check_finds_the_operation_before_the_call() {
    let folder = std::env::temp_dir().join(format!("lockstep-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("main.js");
    std::fs::write(&file, "export async function main(data, ctx) {\n  await ctx.answer();\n  ctx.play('ivr/goodbye.wav');\n  await ctx.hangup();\n}\n").unwrap();
    let output = Command::new(binary()).arg("check").arg(&file).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(found.contains("main.js:3:3"), "{found}");
    assert!(found.contains("ctx.play()"), "{found}");
    assert!(!found.contains("main.js:2") && !found.contains("main.js:4"), "{found}");
}
