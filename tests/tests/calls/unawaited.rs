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
