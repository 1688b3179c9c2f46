use lockstep_ctx_api::Event;
use lockstep_ctx_api::op::IvrArgs;

use super::*;
use crate::call::OfferId;

impl Desk {
    fn hold(&mut self, hold: bool, music: Option<&str>) {
        self.backend.set_hold(self.now, hold, music.map(str::to_owned)).expect("the call is answered");
    }

    /// The caller agrees to our offer.
    fn agrees(&mut self) {
        let offer = self.board.0.borrow().offers[&LegId::A].clone();
        let sdp = self.caller.answer(&offer);
        self.leg(LegId::A, LegEvent::OfferAnswered { sdp: Some(sdp) });
    }

    fn refuses(&mut self, code: u16) {
        self.leg(LegId::A, LegEvent::OfferRefused { code, reason: "x".into(), again: code == 491 });
    }
}

#[test]
fn a_held_party_hears_music_until_it_is_taken_off() {
    let mut desk = Desk::answered();
    desk.hold(true, Some("user/moh.wav"));
    assert_eq!(desk.asked(), ["a offer"]);
    assert_eq!(desk.outputs(), []);
    desk.agrees();
    assert_eq!(desk.asked(), ["a media PCMU sendonly", "a play 500 ms"]);
    assert_eq!(events(&desk.outputs()), [Event::Hold]);
    desk.hold(false, None);
    desk.agrees();
    assert_eq!(desk.asked(), ["a offer", "a media PCMU sendrecv", "a stop"]);
    assert_eq!(events(&desk.outputs()), [Event::Unhold]);
}

#[test]
fn a_hold_answered_with_port_0_is_one_and_the_stream_is_offered_again_after_it() {
    let mut desk = Desk::answered();
    desk.hold(true, None);
    let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n";
    desk.leg(LegId::A, LegEvent::OfferAnswered { sdp: Some(sdp.into()) });
    assert_eq!(desk.asked(), ["a offer", "a media PCMU inactive", "a play 500 ms"]);
    assert_eq!(events(&desk.outputs()), [Event::Hold]);
    desk.hold(false, None);
    desk.agrees();
    assert_eq!(desk.asked(), ["a offer", "a media PCMU sendrecv", "a stop"]);
    assert_eq!(events(&desk.outputs()), [Event::Unhold]);
}

#[test]
fn a_party_that_holds_us_is_held_by_inactive_and_hears_music_once_it_resumes() {
    let mut desk = Desk::answered();
    let sdp = desk.caller.holds(true);
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: Some(sdp) });
    desk.hold(true, None);
    assert!(desk.board.0.borrow().offers[&LegId::A].contains("a=inactive"));
    desk.agrees();
    desk.asked();
    let sdp = desk.caller.holds(false);
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(2), branch: BranchId(0), sdp: Some(sdp) });
    assert_eq!(desk.asked(), ["a accept offer", "a media PCMU sendonly"]);
}

#[test]
fn music_that_is_missing_is_silence() {
    let mut desk = Desk::answered();
    desk.board.0.borrow_mut().missing.push("user/moh.wav".into());
    desk.hold(true, Some("user/moh.wav"));
    desk.agrees();
    assert_eq!(desk.asked(), ["a offer", "a media PCMU sendonly", "a play 500 ms"]);
    assert_eq!(events(&desk.outputs()), [Event::Hold]);
}

#[test]
fn music_without_sound_is_silence_and_not_begun_for_ever() {
    let mut desk = Desk::answered();
    desk.hold(true, Some("user/empty.wav"));
    desk.agrees();
    desk.asked();
    desk.audio_ends(LegId::A);
    assert_eq!(desk.asked(), ["a play 500 ms"], "silence");
    desk.audio_ends(LegId::A);
    assert_eq!(desk.asked(), [""; 0]);
}

#[test]
fn what_is_wanted_while_an_offer_is_under_way_follows_it() {
    let mut desk = Desk::answered();
    desk.hold(true, None);
    desk.hold(false, None);
    assert_eq!(desk.asked(), ["a offer"]);
    desk.agrees();
    assert_eq!(desk.asked().last().map(String::as_str), Some("a offer"));
    desk.agrees();
    assert_eq!(events(&desk.outputs()), [Event::Hold, Event::Unhold]);
}

#[test]
fn offers_that_meet_are_made_again_and_refused_ones_are_not() {
    let mut desk = Desk::answered();
    desk.hold(true, None);
    desk.refuses(491);
    assert_eq!(desk.asked(), ["a offer"]);
    desk.leg(LegId::A, LegEvent::MayOffer);
    assert_eq!(desk.asked(), ["a offer"]);
    desk.refuses(488);
    desk.leg(LegId::A, LegEvent::MayOffer);
    assert_eq!(desk.asked(), Vec::<String>::new());
    assert_eq!(desk.outputs(), []);
    // The call goes on as before: what the caller offers is answered with both directions.
    let sdp = desk.caller.offer();
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: Some(sdp) });
    assert_eq!(desk.asked(), ["a accept offer", "a media PCMU sendrecv"]);
}

#[test]
fn an_offer_that_must_wait_for_the_peers_follows_it() {
    let mut desk = Desk::answered();
    let sdp = desk.caller.offer();
    desk.leg(LegId::A, LegEvent::Offer { offer: OfferId(1), branch: BranchId(0), sdp: Some(sdp) });
    desk.hold(true, None);
    desk.leg(LegId::A, LegEvent::OfferRefused { code: 500, reason: "pending".into(), again: true });
    desk.asked();
    desk.leg(LegId::A, LegEvent::Acked { sdp: None });
    desk.leg(LegId::A, LegEvent::MayOffer);
    assert_eq!(desk.asked(), ["a offer"]);
    desk.agrees();
    assert_eq!(events(&desk.outputs()), [Event::Hold]);
}

#[test]
fn another_wish_does_not_cut_the_wait_after_offers_that_met_short() {
    let mut desk = Desk::answered();
    desk.hold(true, None);
    desk.refuses(491);
    desk.asked();
    desk.hold(false, None);
    desk.hold(true, None);
    assert_eq!(desk.asked(), [""; 0]);
    desk.leg(LegId::A, LegEvent::MayOffer);
    assert_eq!(desk.asked(), ["a offer"]);
}

#[test]
fn a_party_that_always_has_an_offer_of_its_own_is_not_asked_for_ever() {
    let mut desk = Desk::answered();
    desk.hold(true, None);
    for _ in 0..5 {
        assert_eq!(desk.asked(), ["a offer"]);
        desk.refuses(491);
        desk.leg(LegId::A, LegEvent::MayOffer);
    }
    assert_eq!(desk.asked(), [""; 0]);
    desk.hold(true, None);
    assert_eq!(desk.asked(), ["a offer"], "another wish is another try");
}

#[test]
fn other_music_is_heard_at_once() {
    let mut desk = Desk::answered();
    desk.hold(true, Some("user/moh.wav"));
    desk.agrees();
    desk.asked();
    desk.hold(true, Some("user/moh.wav"));
    assert_eq!(desk.asked(), Vec::<String>::new());
    desk.hold(true, Some("user/other.wav"));
    assert_eq!(desk.asked(), ["a stop", "a play 500 ms"]);
}

#[test]
fn the_music_goes_on_when_what_replaced_it_is_over() {
    let mut desk = Desk::answered();
    desk.hold(true, Some("user/moh.wav"));
    desk.agrees();
    desk.asked();
    let music = desk.board.0.borrow().playing[&LegId::A];
    desk.play("user/a.wav");
    let ended = MediaEvent::PlayoutFinished { id: music, played: Duration::ZERO, end: PlayoutEnd::Replaced };
    desk.media(LegId::A, ended);
    assert_eq!(desk.asked(), ["a play 500 ms"]);
    desk.audio_ends(LegId::A);
    assert_eq!(desk.asked(), ["a play 500 ms"], "the music");
}

#[test]
fn what_an_operation_plays_is_not_talked_over() {
    let mut desk = Desk::answered();
    desk.play("user/a.wav");
    desk.asked();
    desk.hold(true, Some("user/moh.wav"));
    desk.agrees();
    assert_eq!(desk.asked(), ["a offer", "a media PCMU sendonly"]);
}

#[test]
fn only_an_answered_call_can_be_held() {
    let mut desk = Desk::ringing();
    assert!(desk.backend.set_hold(desk.now, true, None).is_err());
    assert_eq!(desk.asked(), Vec::<String>::new());
}

#[test]
fn keys_of_a_joined_call_are_told_and_not_kept_for_what_collects_later() {
    let mut desk = Desk::answered();
    desk.backend.set_joined(true);
    desk.leg(LegId::A, LegEvent::Digit { digit: '7', duration_ms: 100 });
    assert_eq!(events(&desk.outputs()).len(), 1);
    desk.backend.set_joined(false);
    desk.submit(Op::Ivr(IvrArgs { timeout_ms: 5_000, min: 1, max: 1, tries: 1, ..IvrArgs::default() }));
    assert!(desk.outputs().iter().all(|output| !matches!(output, BackendOutput::Completed { .. })));
}
