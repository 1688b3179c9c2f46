//! Who and what is turned away, and with which answer.

use lockstep_engine::phone::{Dial, Phone, PhoneConfig};
use lockstep_tests::caller::{Caller, USERS, phone};
use lockstep_tests::engine::{Engine, within};
use lockstep_tests::wire::{Request, Wire, offer, own_address, plain_offer};

const PLAY: &str = "await ctx.answer();\nawait ctx.play('ivr/1.wav');";

#[tokio::test]
async fn a_number_that_leads_nowhere_gets_404() {
    let engine = Engine::setup().main("100", PLAY).start();
    let wire = Wire::to(engine.udp()).await;
    let response = wire.exchange(&Request::invite("999", engine.udp(), plain_offer(wire.address()))).await;
    assert_eq!(response.code(), 404, "{}", response.text);
    let ended = phone("a").await.dial(&engine.uri("100x"), Dial::default()).await.unwrap().ended().await;
    assert_eq!((ended.code, ended.reason.as_str()), (404, "Not Found"));
}

#[tokio::test]
async fn an_offer_without_a_common_codec_gets_488() {
    let engine = Engine::setup().main("100", PLAY).start();
    let wire = Wire::to(engine.udp()).await;
    let rtp = wire.address();
    let offers = [
        offer(rtp, "RTP/AVP", "18", &["rtpmap:18 G729/8000"]),
        offer(rtp, "RTP/AVP", "96", &["rtpmap:96 PCMU/16000"]),
        offer(rtp, "RTP/SAVP", "0", &["crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"]),
        offer(rtp, "UDP/TLS/RTP/SAVPF", "0", &[]),
        offer(rtp, "RTP/AVP", "0", &[]).replace("m=audio", "m=video"),
    ];
    for offer in offers {
        let response = wire.exchange(&Request::invite("100", engine.udp(), offer.clone())).await;
        assert_eq!(response.code(), 488, "{offer}\n{}", response.text);
    }
    let calls = engine.get("/v1/calls").await;
    assert_eq!(calls["calls"].as_array().unwrap().len(), 0, "a call that was refused at once is no call: {calls}");
}

#[tokio::test]
async fn malformed_requests_get_400_or_nothing_and_calls_go_on() {
    let engine = Engine::setup()
        .main("100", "await ctx.answer();\nawait ctx.gather({ max: 1, timeout_ms: 50_000 });\nawait ctx.play('ivr/1.wav');")
        .start();
    let caller = Caller::answered(&engine, "100").await;
    let wire = Wire::to(engine.udp()).await;
    let invite = |change: &dyn Fn(String) -> String| {
        let request = Request::invite("100", engine.udp(), plain_offer(wire.address()));
        change(request.text(wire.address()))
    };
    let answered = [
        invite(&|text| text.replace("v=0", "v=zero")),
        invite(&|text| text.replace("CSeq: 1 INVITE", "CSeq: one INVITE")),
        invite(&|text| text.replace("CSeq: 1 INVITE", "CSeq: 1 BYE")),
        invite(&|text| text.replace("Call-ID:", "X-Call:")),
        invite(&|text| text.replace("Content-Length: ", "Content-Length: 9")),
        invite(&|text| text.replace("Max-Forwards: 70", "Max-Forwards: many")),
        invite(&|text| text.replacen("INVITE sip:", "INVITE sip:a b@", 1)),
    ];
    for message in answered {
        wire.send(&message).await;
        let response = wire.receive().await;
        let status = String::from_utf8_lossy(&response);
        assert!(status.starts_with("SIP/2.0 400"), "{message}\n{status}");
    }
    for datagram in [&b""[..], b"\r\n\r\n", b"\0", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", &[0xFF; 1_400], &[b'A'; 60_000]] {
        wire.send(datagram).await;
    }
    for (round, datagram) in random_datagrams().into_iter().enumerate() {
        wire.send(&datagram).await;
        if round % 50 == 0 {
            // In step with the engine, so that none is lost before it is read.
            while !wire.exchange(&Request::new("OPTIONS", "100", engine.udp())).await.text.contains(" 200 ") {}
        }
    }
    caller.call.press("1");
    let story = caller.over(&engine).await;
    assert_eq!(story.ended.code, 200);
}

#[tokio::test]
async fn a_stranger_is_asked_for_credentials() {
    // An address of this machine that is not loopback: a packet to it never leaves the machine.
    let Some(own) = own_address().await else { panic!("this test needs a network interface besides lo") };
    let engine = Engine::setup().main("100", PLAY).config(USERS).variable("LOCKSTEP_SIP__LISTEN", "udp:0.0.0.0:0").start();
    let address = (own, engine.udp().port()).into();
    let wire = Wire::from((own, 0).into(), address).await;
    let response = wire.exchange(&Request::invite("100", address, plain_offer(wire.address()))).await;
    assert_eq!(response.code(), 401, "{}", response.text);
    let challenge = response.header("WWW-Authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Digest ") && challenge.contains("nonce="), "{challenge}");

    let listen = vec![lockstep_sip::transport::Listen { protocol: lockstep_sip::net::Protocol::Udp, address: (own, 0).into() }];
    for (password, code) in [("pw-1001", 200), ("guessed", 401)] {
        let credentials = lockstep_engine::phone::Credentials { username: "1001".into(), password: password.into() };
        let config =
            PhoneConfig { user: "1001".into(), credentials: Some(credentials), listen: listen.clone(), ..PhoneConfig::default() };
        let user = Phone::start(config).await.unwrap();
        let mut call = user.dial(&format!("sip:100@{address}"), Dial::default()).await.unwrap();
        assert_eq!(within("the end", call.ended()).await.code, code, "password {password}");
    }
}

#[tokio::test]
async fn past_its_capacity_the_engine_answers_503_with_retry_after() {
    let engine =
        Engine::setup().main("100", "await ctx.answer();\nawait ctx.waitForHangup();").config("[sip]\nmax_calls = 1").start();
    let first = Caller::answered(&engine, "100").await;
    let wire = Wire::to(engine.udp()).await;
    let response = wire.exchange(&Request::invite("100", engine.udp(), plain_offer(wire.address()))).await;
    assert_eq!(response.code(), 503, "{}", response.text);
    let seconds = response.header("Retry-After").and_then(|value| value.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{}", response.text);
    first.hang_up(&engine).await;
    Caller::answered(&engine, "100").await.hang_up(&engine).await;
}

#[tokio::test]
async fn scripts_reach_nobody_but_users_and_gateways() {
    let body = "await ctx.answer();
for (const target of data.vars.targets.split(' ')) {
  const { status, code } = await ctx.bridge(target, { continue_on: true, timeout_ms: 3_000 });
  ctx.log(`${target} ${status} ${code}`);
}";
    let outside = Wire::from(([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 9).into()).await;
    let elsewhere = outside.address();
    let header = format!(
        "// @lockstep class5_destination=100 vars={{\"targets\"=\"sip:1900@203.0.113.9 sip:x@{elsewhere} 441900123456 tel:+441900123456 nobody sip:a\"}}\n"
    );
    let source = format!("{header}export async function main(data, ctx) {{\n{body}\n}}\n");
    let engine = Engine::setup().script("fraud.js", &source).config(USERS).start();
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    let attempts: Vec<&str> = story.logs();
    assert_eq!(attempts.len(), 6, "{attempts:?}");
    assert!(attempts.iter().all(|line| line.contains(" failed 4")), "{attempts:?}");
    assert!(!story.sip("out").iter().any(|line| line.starts_with("INVITE")), "{:?}", story.sip("out"));
    // Datagrams to one socket stand in line: the first that came is our own.
    outside.send_to("nothing before this", elsewhere).await;
    assert_eq!(outside.receive().await, b"nothing before this", "something was sent to a foreign address");
}

/// 500 datagrams of seeded noise, half of them with a beginning that looks like SIP.
fn random_datagrams() -> Vec<Vec<u8>> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..500)
        .map(|round| {
            let length = next() % 1_400;
            let noise = (0..length).map(|_| (next() & 0xFF) as u8);
            let start: &[u8] =
                if round % 2 == 0 { b"" } else { b"INVITE sip:100@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\n" };
            start.iter().copied().chain(noise).collect()
        })
        .collect()
}
