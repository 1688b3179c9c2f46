//! Keys: collected, waited for, typed ahead, sent, and heard by every way there is.

use lockstep_engine::phone::PhoneEvent;
use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::dtmf::{DtmfDetector, DtmfGenerator};
use lockstep_tests::audio::{SILENCE, beginning, whole};
use lockstep_tests::caller::{Caller, phone_config};
use lockstep_tests::engine::Engine;
use lockstep_tests::wire::{Request, Wire, offer, rtp};
use serde_json::json;

#[tokio::test]
async fn keys_typed_ahead_are_collected_first_unless_flushed() {
    let body = "await ctx.answer();
ctx.log('ready');
await ctx.waitFor(/1234/);
const first = await ctx.gather({ min: 2, max: 2, timeout_ms: 50_000 });
const second = await ctx.gather({ min: 1, max: 1, flush: true, timeout_ms: 300 });
ctx.log('values ' + JSON.stringify([first.value, second.status, second.value]));";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("ready").await;
    caller.call.press("1234");
    let story = caller.over(&engine).await;
    assert_eq!(story.value("values"), json!(["12", "timeout", ""]));
}

#[tokio::test]
async fn an_ivr_tries_again_and_says_what_was_wrong() {
    let body = "await ctx.answer();
const result = await ctx.ivr('ivr/enter-pin.wav', 5, 4, 4, '#', { tries: 3, invalid_file: 'ivr/invalid-pin.wav', regexp: '^12..$' });
ctx.log('result ' + JSON.stringify(result));";
    let engine = Engine::setup().main("100", body).start();
    let caller = Caller::answered(&engine, "100").await;
    caller.hears_begin("enter-pin.wav", 0).await;
    caller.call.press("9999");
    let after = caller.hears("invalid-pin.wav", 0).await;
    caller.hears_begin("enter-pin.wav", after).await;
    caller.call.press("1234");
    let story = caller.over(&engine).await;
    assert_eq!(story.value("result"), json!({ "status": "success", "value": "1234" }));
    story.assert_heard(&[beginning("enter-pin.wav"), whole(&["invalid-pin.wav"]), beginning("enter-pin.wav")]);
    story.assert_unbroken();
}

#[tokio::test]
async fn nothing_keyed_is_a_timeout_with_an_empty_value() {
    let body = "await ctx.answer();
const ivr = await ctx.ivr('ivr/beep.wav', 0.2, 1, 4);
const gather = await ctx.gather({ prompt: 'ivr/beep.wav', min: 3, timeout_ms: 200, tries: 2 });
ctx.log('results ' + JSON.stringify([ivr, gather.status, gather.value, gather.digits]));";
    let engine = Engine::setup().main("100", body).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    assert_eq!(story.value("results"), json!([{ "status": "timeout", "value": "" }, "timeout", "", ""]));
    story.assert_heard(&[whole(&["beep.wav"]), whole(&["beep.wav"]), whole(&["beep.wav"])]);
}

#[tokio::test]
async fn every_listener_hears_every_key_and_consumes_none() {
    let body = "await ctx.answer();
let all = '';
ctx.on('dtmf', ({ digit }) => { all += digit; });
const waits = [
  ctx.waitFor('12'),
  ctx.waitFor(/3(4)/),
  ctx.waitFor((digits) => digits.length === 3 && { digits }),
  ctx.waitFor(/never/, /4$/).catch((error) => error.name),
  ctx.waitFor(/never/, null, 0.1).catch((error) => error.name),
];
ctx.log('ready');
const found = await Promise.all(waits);
const { value } = await ctx.gather({ min: 4, max: 4 });
ctx.log('found ' + JSON.stringify([...found, all, value]));";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    caller.logged("ready").await;
    caller.call.press("1234");
    let story = caller.over(&engine).await;
    assert_eq!(story.value("found"), json!(["12", "34", { "digits": "123" }, "QuitError", "TimeoutError", "1234", "1234"]));
}

#[tokio::test]
async fn a_key_stops_a_prompt_that_says_so() {
    let body = "await ctx.answer();
const played = await ctx.play('ivr/main-menu.wav', { loop: true, stop_on: '*' });
ctx.log('played ' + JSON.stringify([played.reason, played.digit, played.played_ms > 0]));";
    let engine = Engine::setup().main("100", body).start();
    let caller = Caller::answered(&engine, "100").await;
    caller.hears_begin("main-menu.wav", 0).await;
    caller.call.press("1*");
    let story = caller.over(&engine).await;
    assert_eq!(story.value("played"), json!(["dtmf", "*", true]));
}

#[tokio::test]
async fn keys_are_sent_as_events() {
    let engine = Engine::setup()
        .main("100", "await ctx.answer();\nawait ctx.sendDtmf('19*#wA', { duration_ms: 60, gap_ms: 40 });")
        .start();
    let mut caller = Caller::answered(&engine, "100").await;
    let mut keys = String::new();
    for _ in 0..5 {
        let key = |event: &PhoneEvent| match event {
            PhoneEvent::Digit { digit, duration_ms } => Some((*digit, *duration_ms)),
            _ => None,
        };
        let (digit, duration_ms) = caller.event("a key", key).await;
        assert_eq!(duration_ms, 60, "{digit}");
        keys.push(digit);
    }
    assert_eq!(keys, "19*#A");
    caller.over(&engine).await.assert_unbroken();
}

#[tokio::test]
async fn keys_are_sent_as_info_and_as_tones() {
    let body =
        "await ctx.answer();\nawait ctx.sendDtmf('12', { method: 'info' });\nawait ctx.sendDtmf('4D', { method: 'inband' });";
    let engine = Engine::setup().main("100", body).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    assert_eq!(story.sip("out").iter().filter(|line| line.starts_with("INFO")).count(), 2, "{:?}", story.sip("out"));
    let mut detector = DtmfDetector::default();
    let mut tones = String::new();
    detector.push(story.heard.iter().map(|octet| Codec::Pcmu.decode_sample(*octet)), |heard| tones.push(heard.digit.as_char()));
    tones.extend(detector.flush().map(|heard| heard.digit.as_char()));
    assert_eq!(tones, "4D");
}

#[tokio::test]
async fn tones_count_where_no_events_were_offered() {
    let body = "await ctx.answer();
const { value } = await ctx.gather({ min: 2, max: 2, timeout_ms: 50_000 });
ctx.log('tones ' + value);";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    let (wire, media) = (Wire::to(engine.udp()).await, Wire::to(engine.udp()).await);
    let invite = Request::invite("100", engine.udp(), offer(media.address(), "RTP/AVP", "0", &[]));
    let response = wire.exchange(&invite).await;
    wire.send(invite.ack(wire.address(), &response)).await;
    let media = media.towards(response.rtp().unwrap());

    let mut octets = Vec::new();
    for digit in ['7', '#'] {
        octets.resize(octets.len() + 800, SILENCE);
        let mut tone = DtmfGenerator::new(Digit::from_char(digit).unwrap());
        octets.extend((0..800).map(|_| Codec::Pcmu.encode_sample(tone.next_sample())));
    }
    octets.resize(octets.len() + 800, SILENCE);
    for (sequence, payload) in (1..).zip(octets.chunks(160)) {
        media.send(rtp(0, sequence == 1, sequence, 160 * u32::from(sequence), 9, payload)).await;
    }
    // `#` ends the collecting before it is full.
    events.logged("tones 7").await;
}

#[tokio::test]
async fn a_key_sent_as_info_is_heard() {
    let body = "await ctx.answer();\nconst { value } = await ctx.gather({ min: 2, max: 2, timeout_ms: 50_000 });\nctx.log('keys ' + value);";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    let (wire, media) = (Wire::to(engine.udp()).await, Wire::to(engine.udp()).await);
    let invite = Request::invite("100", engine.udp(), offer(media.address(), "RTP/AVP", "0", &[]));
    let response = wire.exchange(&invite).await;
    wire.send(invite.ack(wire.address(), &response)).await;
    for (cseq, content_type, body) in
        [(2, "application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), (3, "application/dtmf", "8")]
    {
        let info = invite.within_dialog("INFO", cseq, wire.address(), &response, content_type, body);
        wire.send(info).await;
        assert_eq!(wire.final_response("INFO").await.code(), 200);
    }
    events.logged("keys 58").await;
}

#[tokio::test]
async fn a_caller_with_the_other_law_is_served_too() {
    let engine = Engine::setup()
        .main("100", "await ctx.answer();\nctx.log('codec ' + JSON.stringify(ctx.call.codec));\nawait ctx.play('ivr/1.wav');")
        .start();
    let config = lockstep_engine::phone::PhoneConfig { codecs: vec![Codec::Pcma], ..phone_config("a") };
    let mut caller = Caller::dial_with(&engine, "100", config, lockstep_engine::phone::Dial::default()).await;
    caller.answer().await;
    let story = caller.over(&engine).await;
    assert_eq!(story.value("codec"), "PCMA");
    story.assert_unbroken();
}
