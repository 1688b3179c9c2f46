//! Keys by every way there is besides telephone events; `tests/scenarios` has the rest.

use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::dtmf::{DtmfDetector, DtmfGenerator};
use lockstep_tests::audio::SILENCE;
use lockstep_tests::caller::Caller;
use lockstep_tests::engine::Engine;
use lockstep_tests::wire::{Request, Wire, offer, rtp};

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
