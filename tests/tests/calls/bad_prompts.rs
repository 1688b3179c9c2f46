//! Audio that is missing, too large, no audio or out of bounds: the operation rejects, the call goes on.

use std::fs::File;

use lockstep_tests::audio::whole;
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use lockstep_tests::http::HttpServer;

const BODY: &str = "await ctx.answer();
for (const name of JSON.parse(data.vars.names)) {
  const outcome = await ctx.play(name).then(() => 'played', (error) => `${error.name}: ${error.message}`);
  ctx.log(`${name} -> ${outcome}`);
}
await ctx.play('ivr/goodbye.wav');";

async fn outcomes(names: &[&str], prepare: impl FnOnce(&std::path::Path)) -> Vec<String> {
    let list = names.iter().map(|name| format!("\\\"{name}\\\"")).collect::<Vec<_>>().join(",");
    let config = format!("[[script]]\nfile = \"s100.js\"\nvars = {{ names = \"[{list}]\" }}");
    let engine =
        Engine::setup().main("100", BODY).file("scripts/user/text.wav", "this is a shopping list").config(&config).start();
    prepare(&engine.folder().join("scripts/user"));
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    story.assert_heard(&[whole(&["goodbye.wav"])]);
    assert_eq!(story.ended.code, 200);
    let outcomes: Vec<String> = story.logs().into_iter().map(str::to_owned).collect();
    assert_eq!(outcomes.len(), names.len(), "{outcomes:?}");
    outcomes
}

#[tokio::test]
async fn what_is_missing_or_out_of_bounds_is_not_found() {
    let names = [
        "user/nothing.wav",
        "1.wav",
        "../../etc/passwd",
        "user/../../lockstep.toml",
        "/etc/passwd",
        "ivr/../user/text.wav",
        "user/link.wav",
        "user/",
    ];
    let found = outcomes(&names, |user| {
        std::os::unix::fs::symlink("/etc/passwd", user.join("link.wav")).unwrap();
    })
    .await;
    for (name, outcome) in names.iter().zip(&found) {
        assert!(outcome.contains("-> NotFound: "), "{outcome}");
        assert!(outcome.matches(name).count() >= 2, "the error names the file: {outcome}");
    }
}

#[tokio::test]
async fn what_is_no_audio_is_a_media_error_that_names_file_and_cause() {
    let names =
        ["user/text.wav", "user/huge.wav", "user/empty.wav", "tone:", "tone:999999", "silence:forever", "gopher://x/y.wav"];
    let found = outcomes(&names, |user| {
        // Sparse: it has a size, not content.
        File::create(user.join("huge.wav")).and_then(|file| file.set_len(1 << 30)).unwrap();
        File::create(user.join("empty.wav")).unwrap();
    })
    .await;
    for (name, outcome) in names.iter().zip(&found) {
        assert!(outcome.contains("-> MediaError: ") && outcome.matches(name).count() >= 2, "{outcome}");
    }
}

#[tokio::test]
async fn urls_that_lead_inside_are_refused() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/ivr/welcome.wav")).unwrap();
    let server = HttpServer::serving([("/x.wav", file)].into()).await;
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    let urls =
        ["127.0.0.1", "localhost", "127.1", "0.0.0.0", "[::ffff:127.0.0.1]"].map(|host| format!("http://{host}:{port}/x.wav"));
    for outcome in outcomes(&urls.each_ref().map(String::as_str), |_| {}).await {
        assert!(outcome.contains("-> MediaError: "), "{outcome}");
    }
    assert!(server.hits().is_empty(), "{:?}", server.hits());
}
