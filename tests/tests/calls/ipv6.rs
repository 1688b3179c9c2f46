//! A whole call over IPv6: SIP, keys and audio.

use lockstep_engine::phone::{Dial, PhoneConfig, PhoneEvent};
use lockstep_sip::net::Protocol;
use lockstep_sip::transport::Listen;
use lockstep_tests::audio::whole;
use lockstep_tests::caller::{Caller, phone_config};
use lockstep_tests::engine::Engine;

#[tokio::test]
async fn a_call_over_ipv6_is_heard_both_ways() {
    let body = "await ctx.answer();
const { value } = await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
await ctx.play(`ivr/${value}.wav`);";
    let engine = Engine::setup().variable("LOCKSTEP_SIP__LISTEN", "udp:[::1]:0,tcp:[::1]:0").main("100", body).start();
    assert!(engine.udp().is_ipv6());
    let listen = vec![Listen { protocol: Protocol::Udp, address: (std::net::Ipv6Addr::LOCALHOST, 0).into() }];
    let config = PhoneConfig { listen, ..phone_config("caller") };
    let mut caller = Caller::dial_with(&engine, "100", config, Dial::default()).await;
    caller.answer().await;
    let media = |event: &PhoneEvent| match event {
        PhoneEvent::MediaStarted { from } => Some(from.clone()),
        _ => None,
    };
    let from = caller.event("audio", media).await;
    assert!(from.starts_with("[::1]:"), "{from}");
    caller.call.press("7");
    let story = caller.over(&engine).await;
    story.assert_heard(&[whole(&["7.wav"])]);
    story.assert_unbroken();
}
