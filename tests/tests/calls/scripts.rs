//! Scripts on disk: siblings, hot reload, and the version a call keeps.

use lockstep_tests::audio::whole;
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::{Engine, within};

fn version(number: u32) -> String {
    format!(
        "// @lockstep class5_destination=100\nimport {{ say }} from 'words';\nexport async function main(data, ctx) {{\n  await ctx.answer();\n  await ctx.gather({{ min: 1, max: 1, timeout_ms: 50_000 }});\n  const late = require('words');\n  ctx.log(`version {number} ${{say()}} ${{late.say()}}`);\n  await ctx.play('ivr/{number}.wav');\n}}\n"
    )
}

#[tokio::test]
async fn a_changed_script_serves_new_calls_and_live_calls_keep_theirs() {
    let words = |word: &str| format!("exports.say = () => '{word}';\n");
    let engine = Engine::setup().script("main.js", &version(1)).script("words.js", &words("one")).start();
    let old = Caller::answered(&engine, "100").await;
    let before = live_version(&engine).await;

    let scripts = engine.folder().join("scripts");
    std::fs::write(scripts.join("words.js"), words("two")).unwrap();
    std::fs::write(scripts.join("main.js"), version(2)).unwrap();
    engine.log().line("scripts reloaded").await;
    let reloaded = async {
        loop {
            // Two files were written; which of the reloads saw both is up to the watcher.
            let caller = Caller::answered(&engine, "100").await;
            caller.call.press("1");
            let story = caller.over(&engine).await;
            if story.has_logged("version 2 two two") {
                return story;
            }
        }
    };
    let new = within("a call of the changed script", reloaded).await;
    new.assert_heard(&[whole(&["2.wav"])]);
    assert_ne!(live_version(&engine).await, before);

    old.call.press("1");
    let story = old.over(&engine).await;
    assert!(story.has_logged("version 1 one one"), "{:?}", story.logs());
    story.assert_heard(&[whole(&["1.wav"])]);
}

#[tokio::test]
async fn a_change_that_does_not_compile_leaves_the_last_good_version_live() {
    let engine = Engine::setup().main("100", "await ctx.answer();\nawait ctx.play('ivr/1.wav');").start();
    let before = live_version(&engine).await;
    std::fs::write(engine.folder().join("scripts/s100.js"), "// @lockstep class5_destination=100\nexport function main( {\n")
        .unwrap();
    let line = engine.log().line("s100.js:").await;
    assert!(line.contains("ERROR"), "{line}");
    Caller::answered(&engine, "100").await.over(&engine).await.assert_heard(&[whole(&["1.wav"])]);
    assert_eq!(live_version(&engine).await, before);
    let listed = engine.get("/v1/scripts").await;
    assert!(listed["scripts"][0]["error"].as_str().is_some_and(|error| error.contains("s100.js:")), "{listed}");
}

async fn live_version(engine: &Engine) -> String {
    let listed = engine.get("/v1/scripts").await;
    let main = listed["scripts"].as_array().unwrap().iter().find(|script| !script["class5_destination"].is_null());
    main.and_then(|script| script["version"].as_str()).unwrap_or_else(|| panic!("no version: {listed}")).to_owned()
}
