//! The softphone against itself: what one plays, keys and does, the other hears, counts and is told.

use std::sync::Arc;
use std::time::Duration;

use lockstep_engine::phone::{Dial, EndedBy, Phone, PhoneCall, PhoneConfig, PhoneEvent};
use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::stream::DtmfMethod;
use lockstep_sip::net::Protocol;
use lockstep_tests::engine::within;

async fn phone(user: &str, protocol: Protocol) -> Phone {
    let listen = [lockstep_sip::transport::Listen { protocol, address: ([127, 0, 0, 1], 0).into() }];
    let config = PhoneConfig { user: user.to_owned(), listen: listen.to_vec(), ..PhoneConfig::default() };
    Phone::start(config).await.expect("loopback has free ports")
}

/// A call that is up, as both sides hold it. The phones must outlive it.
async fn call(dial: Dial, protocol: Protocol) -> (Phone, PhoneCall, Phone, PhoneCall) {
    let (caller, mut callee) = (phone("caller", protocol).await, phone("callee", protocol).await);
    let address = callee.address(protocol).expect("it listens");
    let target = format!("sip:callee@{address};transport={}", protocol.as_str().to_lowercase());
    let mut outgoing = caller.dial(&target, dial).await.expect("the INVITE is sent");
    let mut incoming = within("a call", callee.incoming()).await.expect("the phone runs");
    incoming.ring();
    let ringing = outgoing.wait(|event| matches!(event, PhoneEvent::Progress { code: 180, .. }).then_some(()));
    within("180", ringing).await.expect("the call goes on");
    incoming.answer();
    within("the answer", outgoing.answered()).await.expect("the call goes on");
    within("the ACK", incoming.answered()).await.expect("the call goes on");
    (caller, outgoing, callee, incoming)
}

/// Audio that is not silence and repeats nowhere within a second.
fn noise(codec: Codec) -> Arc<EncodedPrompt> {
    let mut state = 1u32;
    let octets: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(8_000)
    .collect();
    Arc::new(EncodedPrompt::new(codec, octets))
}

#[tokio::test]
async fn what_is_played_is_heard_octet_by_octet() {
    let (_caller, outgoing, _callee, mut incoming) = call(Dial::default(), Protocol::Udp).await;
    let prompt = noise(Codec::Pcmu);
    outgoing.play(vec![Arc::clone(&prompt)]);
    within("the prompt", incoming.heard().until(|heard| heard.find(prompt.octets(), 0))).await;
    drop(outgoing);
    assert_eq!(within("the end", incoming.ended()).await.by, EndedBy::Remote);
}

#[tokio::test]
async fn keys_are_counted_once_however_they_travel() {
    let (_caller, outgoing, _callee, mut incoming) = call(Dial::default(), Protocol::Udp).await;
    let held = Duration::from_millis(80);
    outgoing.press("11");
    outgoing.press_as("*D", held, held, DtmfMethod::TelephoneEvent);
    let mut digits = String::new();
    while digits.len() < 4 {
        digits.push(within("a key", incoming.digit()).await.expect("the call goes on"));
    }
    assert_eq!(digits, "11*D");
}

#[tokio::test]
async fn hold_is_seen_by_the_other_side() {
    let (_caller, outgoing, _callee, mut incoming) = call(Dial::default(), Protocol::Udp).await;
    outgoing.hold(true);
    within("hold", incoming.wait(|event| (*event == PhoneEvent::Held).then_some(()))).await.expect("the call goes on");
    outgoing.hold(false);
    within("its end", incoming.wait(|event| (*event == PhoneEvent::Resumed).then_some(()))).await.expect("the call goes on");
}

#[tokio::test]
async fn a_late_offer_is_answered_in_the_ack() {
    let late = Dial { late_offer: true, ..Dial::default() };
    let (_caller, outgoing, _callee, incoming) = call(late, Protocol::Tcp).await;
    let prompt = noise(Codec::Pcmu);
    incoming.play(vec![Arc::clone(&prompt)]);
    within("the prompt", outgoing.heard().until(|heard| heard.find(prompt.octets(), 0))).await;
}

#[tokio::test]
async fn a_call_that_is_refused_or_given_up_says_so() {
    let (caller, mut callee) = (phone("caller", Protocol::Udp).await, phone("callee", Protocol::Udp).await);
    let target = format!("sip:callee@{}", callee.address(Protocol::Udp).expect("it listens"));

    let mut outgoing = caller.dial(&target, Dial::default()).await.expect("the INVITE is sent");
    let incoming = within("a call", callee.incoming()).await.expect("the phone runs");
    incoming.reject(486);
    let ended = within("the refusal", outgoing.ended()).await;
    assert_eq!((ended.code, ended.by), (486, EndedBy::Remote));

    let mut outgoing = caller.dial(&target, Dial::default()).await.expect("the INVITE is sent");
    let mut incoming = within("a call", callee.incoming()).await.expect("the phone runs");
    incoming.ring();
    outgoing.hangup();
    assert_eq!(within("the CANCEL", incoming.ended()).await.code, 487);
    assert_eq!(within("the 487", outgoing.ended()).await.code, 487);
}

#[tokio::test]
async fn a_stopped_phone_ends_its_calls() {
    let (caller, _outgoing, _callee, mut incoming) = call(Dial::default(), Protocol::Udp).await;
    within("the stop", caller.stop()).await;
    assert_eq!(within("the end", incoming.ended()).await.by, EndedBy::Remote);
}
