//! Prompts that are no files of the scripts folder: from a web server, and spoken by espeak-ng.

use lockstep_tests::audio::{SILENCE, whole, without_pauses};
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use lockstep_tests::http::HttpServer;

#[tokio::test]
async fn a_prompt_of_a_web_server_is_fetched_and_played_octet_by_octet() {
    let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/ivr/welcome.wav")).unwrap();
    let server = HttpServer::serving([("/welcome.wav", file)].into()).await;
    let body = format!("await ctx.answer();\nawait ctx.play('{}/welcome.wav');", server.url());
    let engine = Engine::setup().main("100", &body).config("[security]\nfetch_allow = [\"127.0.0.0/8\"]").start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    story.assert_heard(&[whole(&["welcome.wav"])]);
    story.assert_unbroken();
    assert_eq!(server.hits().into_iter().collect::<Vec<_>>(), [("/welcome.wav".to_owned(), 1)]);
}

#[tokio::test]
async fn a_text_is_spoken() {
    let body = "await ctx.answer();\nconst { played_ms } = await ctx.say('Hello there.');\nctx.log('spoken ' + played_ms);";
    let engine = Engine::setup().main("100", body).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    let octets = 8 * usize::try_from(story.value("spoken").as_u64().unwrap()).unwrap();
    let heard = without_pauses(&story.heard, SILENCE).len();
    assert!(octets > 4_000 && heard > octets / 2 && heard <= octets, "{octets} were spoken, {heard} of them were heard");
}
