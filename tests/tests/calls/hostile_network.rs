//! Datagrams nobody asked for: they are neither heard, nor taken as keys, nor do they end a call.

use std::net::SocketAddr;

use lockstep_engine::phone::PhoneEvent;
use lockstep_tests::audio::{assert_holds, whole};
use lockstep_tests::caller::{Caller, speak};
use lockstep_tests::engine::Engine;
use lockstep_tests::wav::Wav;
use lockstep_tests::wire::{Request, Wire, plain_offer, rtp};

/// Waits for one key, then says which it was.
const ONE_KEY: &str = "await ctx.answer();
const { value } = await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
ctx.log(`key ${value}`);
await ctx.play(`ivr/${value}.wav`);";

const EVENT: u8 = 101;
/// The µ-law octet of the loudest sample there is.
const LOUD: u8 = 0x00;

/// The packets of one key press (RFC 4733): begin, middle, and the end three times.
fn key(digit: u8, sequence: u16, timestamp: u32, ssrc: u32) -> Vec<Vec<u8>> {
    let event = |place: u16, end: bool, duration: u16| {
        let [high, low] = duration.to_be_bytes();
        let payload = [digit, if end { 0x8A } else { 0x0A }, high, low];
        rtp(EVENT, place == 0, sequence.wrapping_add(place), timestamp, ssrc, &payload)
    };
    vec![
        event(0, false, 160),
        event(1, false, 320),
        event(2, false, 480),
        event(3, true, 640),
        event(4, true, 640),
        event(5, true, 640),
    ]
}

#[tokio::test]
async fn what_comes_from_a_third_address_is_neither_taken_for_keys_nor_heard() {
    let body = "await ctx.answer();
await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
const recording = await ctx.record('said.wav', { stereo: true });
const { value } = await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
ctx.log(`key ${value}`);
await recording.stop();
await ctx.play(`ivr/${value}.wav`);";
    let engine = Engine::setup().main("100", body).start();
    let mut caller = Caller::answered(&engine, "100").await;
    let media = |event: &PhoneEvent| match event {
        PhoneEvent::MediaStarted { from } => from.parse::<SocketAddr>().ok(),
        _ => None,
    };
    let port = caller.event("audio", media).await;
    // Whose key was heard is heard: from here on its address is the only one.
    caller.call.press("1");
    caller.entry("the recording", |entry| entry["name"] == "record" && entry["ok"] == true).await;
    let stranger = Wire::from(([127, 0, 0, 3], 0).into(), port).await;
    for packet in key(9, 1, 1_000, 77) {
        stranger.send(packet).await;
    }
    for round in 0..50 {
        stranger.send(rtp(0, false, 10 + round, 160 * u32::from(round), 77, &[LOUD; 160])).await;
    }
    // Its RTCP cannot end the call either: a BYE of a source nobody hears.
    stranger.send_to([0x81, 203, 0, 1, 0, 0, 0, 77], SocketAddr::new(port.ip(), port.port() + 1)).await;
    speak(&caller.call, "welcome.wav");
    caller.event("the end of what was said", |event| matches!(event, PhoneEvent::Played { .. }).then_some(())).await;
    caller.call.press("4");
    let story = caller.over(&engine).await;
    assert_eq!(story.logs(), ["key 4"]);
    story.assert_heard(&[whole(&["4.wav"])]);
    let said = Wav::read(&engine.folder().join("scripts/user/said.wav")).channel(0);
    assert_holds(&said, "welcome.wav");
    assert!(!said.contains(&LOUD), "the stranger was heard");
    story.assert_unbroken();
}

/// A call by hand: what is sent to its RTP port is exactly what the test wrote.
struct ByHand {
    wire: Wire,
    media: Wire,
}

impl ByHand {
    async fn call(engine: &Engine, number: &str) -> Self {
        let wire = Wire::to(engine.udp()).await;
        let socket = Wire::to(engine.udp()).await;
        let invite = Request::invite(number, engine.udp(), plain_offer(socket.address()));
        let response = wire.exchange(&invite).await;
        assert_eq!(response.code(), 200, "{}", response.text);
        wire.send(invite.ack(wire.address(), &response)).await;
        let media = socket.towards(response.rtp().expect("the answer has an address"));
        Self { wire, media }
    }

    /// Waits for the engine's BYE and answers it.
    async fn ended(&self) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.wire.receive().await).into_owned();
            if text.starts_with("BYE ") {
                let kept = |name: &str| {
                    text.lines().filter(|line| line.starts_with(name)).map(|line| format!("{line}\r\n")).collect::<String>()
                };
                let headers: String = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"].into_iter().map(kept).collect();
                self.wire.send(format!("SIP/2.0 200 OK\r\n{headers}Content-Length: 0\r\n\r\n")).await;
                return text;
            }
        }
    }
}

#[tokio::test]
async fn rtp_that_cannot_be_parsed_is_dropped() {
    let engine = Engine::setup().main("100", ONE_KEY).start();
    let mut events = engine.events().await;
    let call = ByHand::call(&engine, "100").await;
    let good = |sequence: u16| rtp(0, false, sequence, 160 * u32::from(sequence), 5, &[0xFF; 160]);
    call.media.send(good(1)).await;

    let mut extension_too_long = good(2);
    extension_too_long[0] |= 0x10;
    extension_too_long.splice(12..12, [0xBE, 0xDE, 0xFF, 0xFF]);
    let mut sources_too_many = good(2);
    sources_too_many[0] |= 0x0F;
    sources_too_many.truncate(20);
    let mut padding_too_long = good(2);
    padding_too_long[0] |= 0x20;
    *padding_too_long.last_mut().unwrap() = 0xFF;
    let mut padding_of_nothing = good(2);
    padding_of_nothing[0] |= 0x20;
    *padding_of_nothing.last_mut().unwrap() = 0;
    let mut old_version = good(2);
    old_version[0] = 0x40;
    for packet in [extension_too_long, sources_too_many, padding_too_long, padding_of_nothing, old_version] {
        call.media.send(packet).await;
    }
    for length in 0..12 {
        call.media.send(&good(2)[..length]).await;
    }
    let mut extension_only = good(2)[..12].to_vec();
    extension_only[0] |= 0x10;
    call.media.send(&extension_only).await;
    call.media.send(vec![0xFF; 1_400]).await;
    call.media.send(vec![0x80; 9_000]).await;
    // An event that is cut short, and one of a key that does not exist.
    call.media.send(rtp(EVENT, true, 3, 400, 5, &[1])).await;
    for packet in key(200, 4, 480, 5) {
        call.media.send(packet).await;
    }
    for packet in key(6, 20, 3_200, 5) {
        call.media.send(packet).await;
    }
    events.logged("key 6").await;
    call.ended().await;
}

#[tokio::test]
async fn a_second_source_is_heard_only_once_it_carries_on() {
    let engine = Engine::setup().main("100", ONE_KEY).start();
    let mut events = engine.events().await;
    let call = ByHand::call(&engine, "100").await;
    for sequence in 1..10 {
        call.media.send(rtp(0, false, sequence, 160 * u32::from(sequence), 5, &[0xFF; 160])).await;
    }
    // Single packets of other sources, each as if the key 9 had just ended.
    for ssrc in 100..140 {
        call.media.send(rtp(EVENT, true, ssrc as u16 * 7, ssrc * 1_000, ssrc, &[9, 0x8A, 3, 32])).await;
    }
    for packet in key(3, 10, 1_600, 5) {
        call.media.send(packet).await;
    }
    events.logged("key 3").await;
    call.ended().await;
}

#[tokio::test]
async fn a_caller_who_falls_silent_is_told_to_the_script() {
    let body = "ctx.on('media_timeout', ({ silent_ms }) => { ctx.log(`silent for ${silent_ms}`); return ctx.hangup(); });
await ctx.answer();
await ctx.waitForHangup();";
    let engine = Engine::setup().main("100", body).config("[media]\ntimeout_s = 1").start();
    let mut events = engine.events().await;
    let call = ByHand::call(&engine, "100").await;
    call.media.send(rtp(0, true, 1, 160, 5, &[0xFF; 160])).await;
    let line = events.logged("silent for ").await;
    let silent = line["text"].as_str().and_then(|text| text.strip_prefix("silent for ")?.parse::<u64>().ok());
    assert!(silent >= Some(1_000), "{line}");
    call.ended().await;
}
