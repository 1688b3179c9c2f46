//! The rules of lockstep as a script and a caller see them (contract, section 2.1).

use lockstep_engine::phone::PhoneEvent;
use lockstep_tests::audio::{beginning, whole};
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use serde_json::json;

#[tokio::test]
async fn playing_before_the_answer_starts_early_media() {
    let body = "await ctx.play('ivr/1.wav');\nctx.log(`state ${JSON.stringify(ctx.call.state)}`);\nawait ctx.answer();\nawait ctx.play('ivr/2.wav');";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::dial(&engine, "100").await;
    let early = |event: &PhoneEvent| match event {
        PhoneEvent::Progress { code, early_media, .. } => Some((*code, *early_media)),
        _ => None,
    };
    assert_eq!(caller.event("183", early).await, (183, true));
    caller.hears("1.wav", 0).await;
    caller.answer().await;
    let story = caller.over(&engine).await;
    story.assert_heard(&[whole(&["1.wav"]), whole(&["2.wav"])]);
    story.assert_unbroken();
    assert_eq!(story.value("state"), "early");
    assert_eq!(story.sip("out"), ["183 Session Progress", "200 OK", "BYE"]);
}

#[tokio::test]
async fn a_refusal_after_early_media_is_the_final_response() {
    let engine = Engine::setup().main("100", "await ctx.play('ivr/closed.wav');\nawait ctx.reject(480);").start();
    let story = Caller::dial(&engine, "100").await.over(&engine).await;
    story.assert_heard(&[whole(&["closed.wav"])]);
    assert_eq!(story.ended.code, 480);
}

#[tokio::test]
async fn ringing_and_redirecting_are_what_the_caller_sees() {
    let engine = Engine::setup().main("100", "await ctx.ring();\nawait ctx.redirect('sip:elsewhere@example.net');").start();
    let story = Caller::dial(&engine, "100").await.over(&engine).await;
    assert_eq!(story.sip("out"), ["180 Ringing", "302 Moved Temporarily"]);
    assert_eq!(story.ended.code, 302);
}

#[tokio::test]
async fn an_operation_in_the_wrong_state_names_operation_and_state() {
    let body = "const tell = (error) => `${error.name}: ${error.message}`;
await ctx.answer();
ctx.log('again ' + JSON.stringify(await ctx.answer().catch(tell)));
ctx.log('reject ' + JSON.stringify(await ctx.reject(486).catch(tell)));
await ctx.hangup();
ctx.log('play ' + JSON.stringify(await ctx.play('ivr/1.wav').catch(tell)));
ctx.log('done');";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("done").await;
    let story = caller.over(&engine).await;
    for (name, operation) in [("again", "answer"), ("reject", "reject"), ("play", "play")] {
        let text = story.value(name);
        let text = text.as_str().unwrap();
        // Whoever plays after `hangup` may be told of the end itself before the operation is looked at.
        let is_over = name == "play" && text.starts_with("CallEnded: ");
        assert!(is_over || (text.starts_with("InvalidState: ") && text.contains(operation)), "{name}: {text}");
    }
    assert!(story.value("again").as_str().unwrap().contains("answered"), "{}", story.value("again"));
}

#[tokio::test]
async fn when_the_caller_hangs_up_everything_pending_settles_and_finally_runs() {
    let body = "await ctx.answer();
const seen = [];
const note = (name) => (error) => seen.push([name, error.name, error.cause?.by, error.cause?.code]);
const pending = [ctx.play('ivr/main-menu.wav', { loop: true }).catch(note('play')), ctx.sleep(60_000).catch(note('sleep')), ctx.waitFor(/x/).catch(note('waitFor'))];
try {
  ctx.log('ready');
  const cause = await ctx.waitForHangup();
  seen.push(['waitForHangup', cause.by]);
  await Promise.all(pending);
  seen.push(['later', await ctx.play('ivr/1.wav').catch((error) => error.name)]);
} finally {
  await new Promise((done) => setTimeout(done, 50));
  ctx.log('seen ' + JSON.stringify(seen.sort()));
}";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("ready").await;
    caller.call.hangup();
    caller.logged("seen").await;
    let story = caller.over(&engine).await;
    assert_eq!(
        story.value("seen"),
        json!([
            ["later", "CallEnded"],
            ["play", "CallEnded", "caller", 200],
            ["sleep", "CallEnded", "caller", 200],
            ["waitFor", "CallEnded", "caller", 200],
            ["waitForHangup", "caller"],
        ])
    );
}

#[tokio::test]
async fn a_call_that_ends_under_a_script_is_no_error_of_the_script() {
    let engine = Engine::setup()
        .main("100", "await ctx.answer();\nctx.log('ready');\nawait ctx.sleep(60_000);\nctx.log('not reached');")
        .start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("ready").await;
    let story = caller.hang_up(&engine).await;
    assert_eq!(story.logs(), ["ready"]);
    let metrics = engine.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("\nlockstep_script_errors_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn cancelling_before_the_answer_ends_the_call_for_the_script() {
    let body = "await ctx.ring();\ntry { await ctx.sleep(60_000); } catch (error) { ctx.log('cause ' + JSON.stringify([error.name, error.cause.by])); }";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::dial(&engine, "100").await;
    caller.event("180", |event| matches!(event, PhoneEvent::Progress { code: 180, .. }).then_some(())).await;
    caller.call.hangup();
    caller.logged("cause").await;
    let story = caller.over(&engine).await;
    assert_eq!(story.ended.code, 487);
    assert_eq!(story.value("cause"), json!(["CallEnded", "caller"]));
    assert_eq!(story.timeline["ended"]["by"], "caller");
}

#[tokio::test]
async fn a_signal_stops_an_operation_and_the_next_one_begins() {
    let body = "await ctx.answer();
const stop = new AbortController();
ctx.once('dtmf', () => stop.abort());
const first = await ctx.play('ivr/main-menu.wav', { loop: true, signal: stop.signal }).catch((error) => error.name);
const second = await ctx.sleep(60_000, { signal: AbortSignal.timeout(100) }).catch((error) => error.name);
const third = await ctx.play('ivr/1.wav', { signal: AbortSignal.abort() }).catch((error) => error.name);
ctx.log('names ' + JSON.stringify([first, second, third]));
await ctx.play('ivr/2.wav');";
    let engine = Engine::setup().main("100", body).start();
    let caller = Caller::answered(&engine, "100").await;
    caller.hears_begin("main-menu.wav", 0).await;
    caller.call.press("1");
    let story = caller.over(&engine).await;
    assert_eq!(story.value("names"), json!(["AbortError", "AbortError", "AbortError"]));
    story.assert_heard(&[beginning("main-menu.wav"), whole(&["2.wav"])]);
    story.assert_unbroken();
}

#[tokio::test]
async fn losing_a_race_stops_nothing() {
    let body = "await ctx.answer();
const winner = await Promise.race([ctx.play('ivr/welcome.wav').then(() => 'play'), new Promise((done) => setTimeout(done, 50, 'timer'))]);
ctx.log('winner ' + JSON.stringify(winner));
await ctx.play('ivr/1.wav');";
    let engine = Engine::setup().main("100", body).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    assert_eq!(story.value("winner"), "timer");
    story.assert_heard(&[whole(&["welcome.wav"]), whole(&["1.wav"])]);
}

#[tokio::test]
async fn variables_and_headers_are_read_and_written() {
    let body = "ctx.log('read ' + JSON.stringify([ctx.get('sip_h_X-Card'), ctx.header('x-card'), ctx.get('caller_id_number') === data.from, ctx.get('destination_number'), ctx.get('nothing') ?? null]));
await ctx.set('colour', 'red');
const refused = [];
for (const [name, value] of [['X-A', 'one\\r\\nX-B: two'], ['X-A\\r\\nX-B', '1'], ['X-A', 'a\\nb']]) {
  await Promise.resolve().then(() => ctx.header(name, value)).catch((error) => refused.push(error.name));
}
ctx.log('refused ' + JSON.stringify([ctx.get('colour'), ...refused]));
await ctx.header('X-Reply', 'ok');
await ctx.reject(486);";
    let engine = Engine::setup().main("100", body).start();
    let dial = lockstep_engine::phone::Dial { headers: vec![("X-Card".into(), "gold".into())], ..Default::default() };
    let story = Caller::dial_with(&engine, "100", lockstep_tests::caller::phone_config("a"), dial).await.over(&engine).await;
    assert_eq!(story.value("read"), json!(["gold", "gold", true, "100", null]));
    assert_eq!(story.value("refused"), json!(["red", "TypeError", "TypeError", "TypeError"]));
    assert_eq!(story.ended.code, 486);
}
