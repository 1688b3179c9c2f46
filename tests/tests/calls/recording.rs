//! Recording and echo: what is written and what comes back is what was said.

use lockstep_tests::audio::{assert_holds, assert_lacks, prompt};
use lockstep_tests::caller::{Caller, USERS, hears, incoming, registered, speak};
use lockstep_tests::engine::{Engine, within};
use lockstep_tests::wav::Wav;

#[tokio::test]
async fn a_stereo_recording_holds_the_caller_left_and_the_callee_right() {
    let body = "await ctx.answer();
const recording = await ctx.record(`calls/${data.call_id}.wav`, { stereo: true });
await ctx.bridge('1001', true);
const saved = await recording.stop();
ctx.log('saved ' + JSON.stringify(saved));";
    let engine = Engine::setup().main("100", body).config(USERS).start();
    let mut agent = registered(&engine, "1001").await;
    let caller = Caller::answered(&engine, "100").await;
    let id = caller.id.clone();
    let mut callee = incoming(&mut agent).await;
    callee.answer();
    within("an ACK", callee.answered()).await.unwrap();
    speak(&caller.call, "welcome.wav");
    hears(&callee, "the caller's words", &prompt("welcome.wav")).await;
    speak(&callee, "thank-you.wav");
    hears(&caller.call, "the callee's words", &prompt("thank-you.wav")).await;
    callee.hangup();
    let story = caller.over(&engine).await;

    let saved = story.value("saved");
    assert_eq!(saved["file"], format!("user/calls/{id}.wav"));
    let wav = Wav::read(&engine.folder().join(format!("scripts/user/calls/{id}.wav")));
    assert_eq!((wav.channels, wav.rate), (2, 8_000));
    let (left, right) = (wav.channel(0), wav.channel(1));
    for (channel, own, other) in [(&left, "welcome.wav", "thank-you.wav"), (&right, "thank-you.wav", "welcome.wav")] {
        assert_holds(channel, own);
        assert_lacks(channel, other);
    }
    let recorded_ms = saved["duration_ms"].as_u64().unwrap();
    assert_eq!(recorded_ms, left.len() as u64 / 8, "the result tells the length of the file");
}

#[tokio::test]
async fn a_recording_leaves_out_what_is_said_while_it_is_paused() {
    let body = "await ctx.answer();
const recording = await ctx.record('paused.wav');
await ctx.play('ivr/1.wav');
await recording.pause();
await ctx.play('ivr/2.wav');
await recording.resume();
await ctx.play('ivr/3.wav');
ctx.log('saved ' + JSON.stringify(await recording.stop()));
ctx.log('again ' + JSON.stringify(await ctx.record('../out.wav').catch((error) => error.name)));";
    let engine = Engine::setup().main("100", body).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    let wav = Wav::read(&engine.folder().join("scripts/user/paused.wav"));
    assert_eq!(wav.channels, 1);
    let audio = wav.channel(0);
    assert_holds(&audio, "1.wav");
    assert_lacks(&audio, "2.wav");
    assert_holds(&audio, "3.wav");
    assert_eq!(story.value("again"), "NotFound");
    for above in ["scripts/out.wav", "out.wav"] {
        assert!(!engine.folder().join(above).exists(), "{above}");
    }
}

#[tokio::test]
async fn a_recording_is_whole_when_the_caller_hangs_up() {
    let body = "await ctx.answer();\nawait ctx.record('cut.wav');\nawait ctx.play('ivr/welcome.wav');\nctx.log('ready');\nawait ctx.play('ivr/main-menu.wav', { loop: true });";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("ready").await;
    let file = engine.folder().join("scripts/user/cut.wav");
    caller.hang_up(&engine).await;
    // The file is finished by its writer after the call: the engine stops only when that is done.
    engine.stop().await;
    assert_holds(&Wav::read(&file).channel(0), "welcome.wav");
}
