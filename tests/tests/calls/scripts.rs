//! Scripts on disk: dialects, siblings, hot reload, and the version a call keeps.

use lockstep_tests::audio::whole;
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use serde_json::json;

#[tokio::test]
async fn both_dialects_and_every_way_to_export_main_run() {
    let body = "await ctx.answer();\n  await ctx.play('ivr/1.wav');";
    let styles = [
        format!("async function main(data, ctx) {{\n  {body}\n}}\n"),
        format!("module.exports = async (data, ctx) => {{\n  {body}\n}};\n"),
        format!("module.export = {{ main: async (data, ctx) => {{\n  {body}\n}} }};\n"),
        format!("export default async function (data, ctx) {{\n  {body}\n}}\n"),
        format!(
            "const cxC5Server = require('cxC5Server');\nasync function main() {{\n  const ctx = new cxC5Server(process.env.CORRELATION_ID);\n  {body}\n}}\nmodule.exports = {{ main }};\n"
        ),
        format!(
            "import cxC5Server from 'cxC5Server';\nexport async function main(data) {{\n  const ctx = new cxC5Server(process.env.CORRELATION_ID);\n  {body}\n}}\n"
        ),
    ];
    let mut setup = Engine::setup();
    for (index, source) in styles.iter().enumerate() {
        setup = setup.script(&format!("style{index}.js"), &format!("// @lockstep class5_destination=10{index}\n{source}"));
    }
    let engine = setup.start();
    for (index, source) in styles.iter().enumerate() {
        let mut caller = Caller::dial(&engine, &format!("10{index}")).await;
        caller.answer().await;
        let story = caller.over(&engine).await;
        assert_eq!(story.names(), ["answer", "play"], "{source}\n{:#}", story.timeline);
        story.assert_heard(&[whole(&["1.wav"])]);
    }
}

#[tokio::test]
async fn a_call_knows_its_facts_and_variables() {
    let source = "// @lockstep class5_destination=/room_[a-z]+/ vars={\"greeting\"=\"hello\"}
export async function main(data, ctx) {
  await ctx.answer();
  const { id, direction, from, to, state, codec } = ctx.call;
  ctx.log('facts ' + JSON.stringify([id === data.call_id, direction, from === data.from, to, state, codec, data.vars.greeting, typeof process.env.CORRELATION_ID]));
}
";
    let engine = Engine::setup().script("facts.js", source).start();
    let story = Caller::answered(&engine, "room_blue").await.over(&engine).await;
    assert_eq!(story.value("facts"), json!([true, "inbound", true, "room_blue", "answered", "PCMU", "hello", "string"]));
}

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
    let new = loop {
        // Two files were written; which of the reloads saw both is up to the watcher.
        let caller = Caller::answered(&engine, "100").await;
        caller.call.press("1");
        let story = caller.over(&engine).await;
        if story.has_logged("version 2 two two") {
            break story;
        }
    };
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
