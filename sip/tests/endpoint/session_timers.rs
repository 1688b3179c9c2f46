//! Session timers (RFC 4028).

use std::time::Duration;

use lockstep_sip::endpoint::{DialogId, DialogRequest, Event, TerminationCause};
use lockstep_sip::message::{Method, Request};
use lockstep_sip::net::Protocol;

use crate::calls::incoming;
use crate::in_dialog::{Talk, scripted_call, scripted_call_with};
use crate::net::{Net, NodeId, answer, invite_to, offer, reply, scripted_response, with_sdp};

const TIMER: &str = "Supported: timer\nSession-Expires: 1800\nAllow: INVITE, ACK, BYE, UPDATE\n";

fn refresh(net: &mut Net, peer: NodeId, b: NodeId, talk: &mut Talk) {
    TIMER.clone_into(&mut talk.extra);
    net.send(peer, b, &talk.request("UPDATE", ""));
    net.settle();
    assert!(net.events(b).is_empty(), "answered without the engine");
    let response = net.response(peer);
    let agreed = response.headers.session_expires().expect("a timer");
    assert_eq!(agreed.map(|a| a.to_string()), Ok("1800;refresher=uac".to_owned()));
    assert!(response.headers.list_contains("Require", "timer"));
}

#[test]
fn intervals_below_ours_get_422_with_min_se() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    talk.extra = "Supported: timer\nSession-Expires: 30\n".to_owned();
    net.send(peer, b, &talk.request("UPDATE", ""));
    net.settle();
    let response = net.response(peer);
    assert_eq!((response.status.code(), response.headers.min_se()), (422, Some(90)));
}

#[test]
fn refreshes_keep_the_call_and_their_absence_ends_it_before_the_peer_would() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call_with(&mut net, TIMER);
    for _ in 0..3 {
        net.run(Duration::from_secs(900));
        refresh(&mut net, peer, b, &mut talk);
    }
    net.run(Duration::from_secs(1800 - 33));
    assert!(net.events(b).is_empty());
    net.run(Duration::from_secs(2));
    assert!(matches!(net.event(b), Event::Terminated { cause: TerminationCause::SessionExpired, .. }));
    let bye = net.requests(peer).remove(0);
    assert_eq!(bye.method, Method::Bye);
    let reasons: Vec<String> = bye.headers.reasons().iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["SIP;cause=408;text=\"Session Expired\""]);
}

#[test]
fn asked_to_refresh_we_do_so_at_half_the_interval() {
    let mut net = Net::new();
    let extra = TIMER.replace("1800", "120;refresher=uas");
    let (peer, b, _) = scripted_call_with(&mut net, &extra);
    for _ in 0..5 {
        net.run(Duration::from_secs(61));
        let update = net.requests(peer).remove(0);
        assert_eq!(update.method, Method::Update);
        assert!(update.body.is_empty());
        let asked = update.headers.session_expires().expect("a timer");
        assert_eq!(asked.map(|a| a.to_string()), Ok("120;refresher=uac".to_owned()));
        let mut ok = scripted_response(&update, 200, "", net.address(peer));
        ok.headers.push("Session-Expires", "120;refresher=uac");
        net.reply(peer, &update, &ok);
        net.settle();
        net.events(b);
    }
    assert_eq!(net.at(b, |e, _| e.dialog_count()), 1);
}

#[test]
fn a_peer_without_update_is_refreshed_by_re_invite() {
    let mut net = Net::new();
    let extra = TIMER.replace("1800", "120;refresher=uas").replace(", UPDATE", "");
    let (peer, b, _) = scripted_call_with(&mut net, &extra);
    net.run(Duration::from_secs(61));
    let invite = net.requests(peer).remove(0);
    assert_eq!(invite.method, Method::Invite);
    assert_eq!(invite.body, answer().bytes);
    let mut ok = with_sdp(scripted_response(&invite, 200, "", net.address(peer)), "v=0\r\n");
    ok.headers.push("Session-Expires", "120;refresher=uac");
    net.reply(peer, &invite, &ok);
    net.settle();
    assert_eq!(net.summaries(peer), ["ACK"]);
    net.events(b);
    assert_eq!(net.at(b, |e, _| e.dialog_count()), 1);
}

/// A call whose peer knows no UPDATE and has asked us to refresh every 120 s.
fn refreshed_by_re_invite(net: &mut Net) -> (NodeId, NodeId, DialogId, Talk) {
    let extra = TIMER.replace("1800", "120;refresher=uas").replace(", UPDATE", "");
    let (peer, b, mut talk) = scripted_call_with(net, &extra);
    net.send(peer, b, &talk.request("INFO", ""));
    net.settle();
    let Event::Request { id, dialog: Some(dialog), .. } = net.event(b) else {
        panic!("no INFO");
    };
    net.at(b, |e, now| e.respond(now, id, reply(200))).expect("answered");
    net.settle();
    net.inbox(peer);
    talk.extra = extra;
    (peer, b, dialog, talk)
}

/// The re-INVITE that refreshes.
fn next_refresh(net: &mut Net, peer: NodeId) -> Request {
    net.inbox(peer);
    net.run(Duration::from_secs(61));
    net.requests(peer).into_iter().find(|request| request.method == Method::Invite).expect("a refresh")
}

#[test]
fn a_refresh_repeats_an_offer_of_ours_only_once_it_was_accepted() {
    for (code, repeated) in [(488, answer()), (200, offer())] {
        let mut net = Net::new();
        let (peer, b, dialog, _) = refreshed_by_re_invite(&mut net);
        net.at(b, |e, now| e.request(now, dialog, DialogRequest::new(Method::Invite).with_body(offer()))).expect("a re-INVITE");
        net.settle();
        let invite = net.requests(peer).remove(0);
        let mut response = scripted_response(&invite, code, "", net.address(peer));
        if code == 200 {
            response.headers.push("Session-Expires", "120;refresher=uac");
            response = with_sdp(response, "v=0\r\n");
        }
        net.reply(peer, &invite, &response);
        net.settle();
        assert_eq!(next_refresh(&mut net, peer).body, repeated.bytes, "{code}");
    }
}

#[test]
fn a_refresh_repeats_our_offer_in_a_200_only_once_its_ack_has_answered_it() {
    for (sdp, repeated) in [("", answer()), ("v=0\n", offer())] {
        let mut net = Net::new();
        let (peer, b, _, mut talk) = refreshed_by_re_invite(&mut net);
        net.send(peer, b, &talk.request("INVITE", ""));
        net.settle();
        let Event::Request { id, description: None, .. } = net.event(b) else {
            panic!("no re-INVITE without an offer");
        };
        net.at(b, |e, now| e.respond(now, id, reply(200).body(offer()))).expect("answered");
        net.settle();
        net.send(peer, b, &talk.request("ACK", sdp));
        net.settle();
        assert_eq!(next_refresh(&mut net, peer).body, repeated.bytes, "{sdp:?}");
    }
}

/// We have been asked to refresh every 120 s; the first refresh.
fn asked_to_refresh(net: &mut Net) -> (NodeId, NodeId, Request) {
    let extra = TIMER.replace("1800", "120;refresher=uas");
    let (peer, b, _) = scripted_call_with(net, &extra);
    net.run(Duration::from_secs(61));
    let update = net.requests(peer).remove(0);
    assert_eq!(update.method, Method::Update);
    (peer, b, update)
}

#[test]
fn a_refused_refresh_is_tried_again_while_there_is_time() {
    // The RFC's wait for who did not make the Call-ID; what the peer asks for; half of the 28 s that are left.
    for (code, retry_after, within) in
        [(491, None, 0..3), (500, Some("5"), 4..6), (500, Some("3600"), 12..15), (403, None, 12..15)]
    {
        let mut net = Net::new();
        let (peer, b, update) = asked_to_refresh(&mut net);
        let mut refused = scripted_response(&update, code, "", net.address(peer));
        retry_after.iter().for_each(|seconds| refused.headers.push("Retry-After", *seconds));
        net.reply(peer, &update, &refused);
        net.run(Duration::from_secs(within.start));
        assert_eq!(net.summaries(peer), Vec::<String>::new(), "{code}");
        net.run(Duration::from_secs(within.end - within.start));
        let again = net.requests(peer).remove(0);
        assert_eq!(again.method, Method::Update, "{code}");
        let mut ok = scripted_response(&again, 200, "", net.address(peer));
        ok.headers.push("Session-Expires", "120;refresher=uac");
        net.reply(peer, &again, &ok);
        net.run(Duration::from_secs(40));
        assert_eq!(net.at(b, |e, _| e.dialog_count()), 1, "{code}");
    }
}

#[test]
fn a_peer_that_could_not_be_reached_is_refreshed_again_while_there_is_time() {
    let mut net = Net::new();
    let (peer, b, _) = scripted_call_with(&mut net, &TIMER.replace("1800", "120;refresher=uas"));
    net.run(Duration::from_secs(59));
    net.closed.push((Protocol::Udp, net.address(peer)));
    net.run(Duration::from_secs(2));
    assert_eq!(net.times_of("UPDATE").len(), 1);
    net.closed.clear();
    net.run(Duration::from_secs(15));
    let again = net.requests(peer).remove(0);
    let mut ok = scripted_response(&again, 200, "", net.address(peer));
    ok.headers.push("Session-Expires", "120;refresher=uac");
    net.reply(peer, &again, &ok);
    net.run(Duration::from_secs(40));
    assert_eq!(net.at(b, |e, _| e.dialog_count()), 1);
}

#[test]
fn a_peer_that_does_not_know_update_after_all_is_refreshed_by_re_invite() {
    let mut net = Net::new();
    let (peer, _, update) = asked_to_refresh(&mut net);
    let refused = scripted_response(&update, 405, "", net.address(peer));
    net.reply(peer, &update, &refused);
    net.settle();
    assert_eq!(net.summaries(peer), ["INVITE"]);
}

#[test]
fn a_session_whose_refreshes_are_all_refused_runs_out() {
    let mut net = Net::new();
    let (peer, b, update) = asked_to_refresh(&mut net);
    let mut refused = vec![update];
    for _ in 0..30 {
        for request in refused.drain(..) {
            net.reply(peer, &request, &scripted_response(&request, 403, "", net.address(peer)));
        }
        net.run(Duration::from_secs(1));
        refused = net.requests(peer);
    }
    assert!(matches!(net.events(b).last(), Some(Event::Terminated { cause: TerminationCause::SessionExpired, .. })));
    let tries = net.times_of("UPDATE").len();
    assert!((4..12).contains(&tries), "{tries}, repetitions included");
}

#[test]
fn a_422_to_our_invite_has_it_sent_again_with_the_longer_interval() {
    let mut net = Net::new();
    let a = net.endpoint_with("192.0.2.1:5060", |config| {
        config.session_timer.request = Some(100);
    });
    let b = net.endpoint_with("192.0.2.2:5060", |config| config.session_timer.min_se = 600);
    let request = invite_to(net.address(a), net.address(b));
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.settle();
    let (id, _) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    assert!(matches!(net.event(a), Event::Answered { .. }));
    assert_eq!(net.take_wire(), ["INVITE", "422 INVITE", "ACK", "INVITE", "200 INVITE", "ACK"]);
    // The caller refreshes by itself, for as long as the call lasts.
    net.events(b);
    for _ in 0..4 {
        net.run(Duration::from_secs(302));
        assert!(net.events(b).is_empty());
        net.settle();
    }
    assert_eq!(net.at(b, |e, _| e.dialog_count()), 1);
}

#[test]
fn a_callee_that_names_a_shorter_interval_than_allowed_is_refreshed_before_it_hangs_up() {
    for (said, within) in [("60", 29..31), ("10", 4..6), ("0", 4..6), ("180", 89..91)] {
        let mut net = Net::new();
        let peer = net.scripted("192.0.2.1:5060");
        let b = net.endpoint("192.0.2.2:5060");
        let request = invite_to(net.address(b), net.address(peer));
        net.at(b, |e, now| e.invite(now, request)).expect("an INVITE");
        net.settle();
        let invite = net.requests(peer).remove(0);
        let mut ok = with_sdp(scripted_response(&invite, 200, "x", net.address(peer)), "v=0\r\n");
        ok.headers.push("Allow", "INVITE, ACK, BYE, UPDATE");
        ok.headers.push("Session-Expires", format!("{said};refresher=uac"));
        net.reply(peer, &invite, &ok);
        net.settle();
        net.inbox(peer);
        net.run(Duration::from_secs(within.start));
        assert_eq!(net.summaries(peer), Vec::<String>::new(), "{said}");
        net.run(Duration::from_secs(within.end - within.start));
        let refresh = net.requests(peer).remove(0);
        let asked = refresh.headers.session_expires().expect("a timer").expect("a timer").interval;
        assert!(refresh.method == Method::Update && asked >= 90, "{said}: {asked}");
    }
}
