//! Session timers (RFC 4028).

use std::time::Duration;

use lockstep_sip::endpoint::{Event, TerminationCause};
use lockstep_sip::message::Method;

use crate::calls::incoming;
use crate::in_dialog::{Talk, scripted_call, scripted_call_with};
use crate::net::{Net, NodeId, answer, invite_to, reply, scripted_response, with_sdp};

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
    assert_eq!(net.requests(peer)[0].method, Method::Bye);
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

#[test]
fn a_refused_refresh_lets_the_session_run_out() {
    let mut net = Net::new();
    let extra = TIMER.replace("1800", "120;refresher=uas");
    let (peer, b, _) = scripted_call_with(&mut net, &extra);
    net.run(Duration::from_secs(61));
    let update = net.requests(peer).remove(0);
    let refused = scripted_response(&update, 403, "", net.address(peer));
    net.reply(peer, &update, &refused);
    net.run(Duration::from_secs(30));
    assert!(matches!(net.events(b).last(), Some(Event::Terminated { cause: TerminationCause::SessionExpired, .. })));
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
