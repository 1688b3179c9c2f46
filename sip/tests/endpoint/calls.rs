//! Calls between two endpoints: set-up, early media, late offer, ACK loss, ending.

use std::time::Duration;

use lockstep_sip::dialog::DialogState;
use lockstep_sip::endpoint::{CommandError, DialogId, Event, Failure, IncomingId, TerminationCause};
use lockstep_sip::message::{Headers, Message};
use lockstep_sip::offer_answer::Role;

use crate::net::{Net, NodeId, answer, invite_to, offer, reply};

pub(crate) fn incoming(net: &mut Net, node: NodeId) -> (IncomingId, DialogId) {
    match net.event(node) {
        Event::Invite { id, dialog, .. } => (id, dialog),
        other => panic!("not an INVITE: {other:?}"),
    }
}

/// Two endpoints in a call: caller, callee, and each one's dialog.
pub(crate) fn connected(net: &mut Net) -> (NodeId, NodeId, DialogId, DialogId) {
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let (da, db) = connect(net, a, b);
    (a, b, da, db)
}

pub(crate) fn connect(net: &mut Net, a: NodeId, b: NodeId) -> (DialogId, DialogId) {
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("a response");
    net.settle();
    let Event::Answered { dialog: da, .. } = net.event(a) else {
        panic!("not answered");
    };
    assert!(matches!(net.event(b), Event::Acked { .. }));
    net.take_wire();
    (da, db)
}

#[test]
fn a_call_rings_is_answered_and_ended_by_the_callee() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let call = net.call(a, b);
    net.settle();
    let Event::Invite { id, dialog: db, offer: Some(got), request, .. } = net.event(b) else {
        panic!("no INVITE with an offer");
    };
    assert_eq!((got.role, got.sdp), (Role::Offer, offer().bytes));
    assert!(request.headers.list_contains("Supported", "timer"));
    net.at(b, |e, now| e.respond(now, id, reply(180))).expect("ringing");
    net.settle();
    let Event::Progress { id: progressed, dialog: Some(early), description: None, .. } = net.event(a) else {
        panic!("no progress");
    };
    assert_eq!(progressed, call);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    let Event::Answered { dialog: da, description: Some(got), .. } = net.event(a) else {
        panic!("not answered");
    };
    assert_eq!((da, got.role), (early, Role::Answer));
    let Event::Acked { id: acked, .. } = net.event(b) else {
        panic!("no ACK");
    };
    assert_eq!(acked, id);
    net.at(b, |e, now| e.bye(now, db, Headers::new())).expect("a BYE");
    net.settle();
    assert!(matches!(net.event(a), Event::Terminated { cause: TerminationCause::Bye(_), .. }));
    assert!(matches!(
        net.events(b).as_slice(),
        [Event::Terminated { cause: TerminationCause::LocalBye, .. }, Event::Response { outcome: Ok(_), .. }]
    ));
    assert_eq!(net.take_wire(), ["INVITE", "180 INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"]);
    net.run(Duration::from_secs(70));
    for node in [a, b] {
        assert_eq!(net.at(node, |e, _| (e.transaction_count(), e.dialog_count())), (0, 0));
    }
    assert_eq!(net.take_wire(), [""; 0]);
}

#[test]
fn trying_is_sent_only_when_the_engine_takes_its_time() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.run(Duration::from_millis(300));
    assert_eq!(net.take_wire(), ["INVITE", "100 INVITE"]);
    assert!(net.events(a).is_empty());
}

#[test]
fn early_media_is_the_answer_and_the_200_repeats_it() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, _) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(183).body(answer()))).expect("progress");
    net.settle();
    let Event::Progress { description: Some(got), .. } = net.event(a) else {
        panic!("no early answer");
    };
    assert_eq!(got.role, Role::Answer);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    let Event::Answered { description: Some(got), .. } = net.event(a) else {
        panic!("not answered");
    };
    assert_eq!(got.role, Role::AnswerAgain);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let mut request = invite_to(net.address(a), net.address(b));
    request.body = None;
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.settle();
    let Event::Invite { id, offer: None, .. } = net.event(b) else {
        panic!("no INVITE without an offer");
    };
    net.at(b, |e, now| e.respond(now, id, reply(200).body(offer()))).expect("answered");
    net.settle();
    let Event::Answered { dialog, description: Some(got), .. } = net.event(a) else {
        panic!("not answered");
    };
    assert_eq!(got.role, Role::Offer);
    assert!(!net.take_wire().contains(&"ACK".to_owned()));
    // The 2xx repeats while the engine makes up its mind.
    net.run(Duration::from_secs(1));
    net.at(a, |e, now| e.ack(now, dialog, Headers::new(), Some(answer()))).expect("an ACK");
    net.settle();
    let Event::Acked { description: Some(got), .. } = net.event(b) else {
        panic!("no ACK with an answer");
    };
    assert_eq!(got.role, Role::Answer);
    assert!(net.at(a, |e, now| e.ack(now, dialog, Headers::new(), None)).is_err());
}

#[test]
fn a_lost_ack_has_the_2xx_repeated_until_one_arrives() {
    let mut net = Net::new();
    let mut acks = 0;
    net.lose = Box::new(move |p| {
        acks += u32::from(p.summary() == "ACK");
        p.summary() == "ACK" && acks <= 3
    });
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, _) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.run(Duration::from_secs(20));
    assert!(matches!(net.event(b), Event::Acked { .. }));
    assert!(matches!(net.event(a), Event::Answered { .. }));
    let times: Vec<_> = net.times_of("200 INVITE").windows(2).map(|w| (w[1] - w[0]).as_millis()).collect();
    assert_eq!(times, [500, 1000, 2000]);
    assert_eq!(net.times_of("ACK").len(), 4);
}

#[test]
fn without_any_ack_the_callee_gives_up_after_64_t1_with_a_bye() {
    let mut net = Net::new();
    net.lose = Box::new(|p| p.summary() == "ACK");
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    let answered = net.elapsed();
    net.run(Duration::from_secs(40));
    assert!(matches!(
        net.events(b).as_slice(),
        [
            Event::AckTimeout { dialog, .. },
            Event::Terminated {
                cause: TerminationCause::AckTimeout,
                ..
            }
        ] if *dialog == db
    ));
    assert_eq!(net.times_of("BYE"), [answered + Duration::from_secs(32)]);
    assert!(matches!(net.events(a).last(), Some(Event::Terminated { cause: TerminationCause::Bye(_), .. })));
    assert_eq!(net.at(b, |e, _| e.stats().ack_timeouts), 1);
}

#[test]
fn a_bye_before_the_ack_waits_for_it() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| {
        e.respond(now, id, reply(200).body(answer()))?;
        e.bye(now, db, Headers::new())
    })
    .expect("answer and BYE");
    net.settle();
    assert_eq!(net.take_wire(), ["INVITE", "200 INVITE", "ACK", "BYE", "200 BYE"]);
    assert!(matches!(
        net.events(b).as_slice(),
        [Event::Acked { .. }, Event::Terminated { cause: TerminationCause::LocalBye, .. }, Event::Response { .. }]
    ));
}

#[test]
fn a_rejection_reaches_the_caller_and_is_acknowledged() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(486).reason("Gone Fishing"))).expect("busy");
    assert_eq!(net.at(b, |e, now| e.respond(now, id, reply(200))), Err(CommandError::Answered));
    net.settle();
    let Event::Failed { failure: Failure::Response(response), .. } = net.event(a) else {
        panic!("not failed");
    };
    assert_eq!(response.reason.text(), "Gone Fishing");
    assert_eq!(net.take_wire(), ["INVITE", "486 INVITE", "ACK"]);
    assert_eq!(net.at(b, |e, now| e.bye(now, db, Headers::new())), Err(CommandError::UnknownDialog));
    assert!(net.events(b).is_empty());
}

#[test]
fn nobody_there_times_out_after_64_t1() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    net.call(a, b);
    net.run(Duration::from_secs(40));
    assert!(matches!(net.event(a), Event::Failed { failure: Failure::Timeout, .. }));
    let seconds: Vec<_> = net.times_of("INVITE").iter().map(Duration::as_secs_f32).collect();
    assert_eq!(seconds, [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]);
}

#[test]
fn provisional_responses_are_refreshed_every_minute() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(180))).expect("ringing");
    net.run(Duration::from_secs(150));
    assert_eq!(net.times_of("180 INVITE").len(), 3);
    assert_eq!(net.at(b, |e, _| e.dialog(db).map(|d| d.state())), Some(DialogState::Early));
}

#[test]
fn record_route_is_echoed_and_followed() {
    let mut net = Net::new();
    let proxy = net.scripted("192.0.2.9:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.send(
        proxy,
        b,
        "INVITE sip:b@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp1, SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa1
Record-Route: <sip:192.0.2.9;lr>
Max-Forwards: 69
From: <sip:a@example.com>;tag=at
To: <sip:b@example.com>
Call-ID: rr
CSeq: 1 INVITE
Contact: <sip:a@10.0.0.1>

",
    );
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(offer()))).expect("answered");
    net.settle();
    let response = net.response(proxy);
    assert_eq!(response.headers.list("Record-Route"), ["<sip:192.0.2.9;lr>"]);
    assert_eq!(response.headers.via_count(), 2);
    let to = response.headers.to().expect("To").expect("To");
    net.send(
        proxy,
        b,
        &format!(
            "ACK sip:b@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKp2
From: <sip:a@example.com>;tag=at
To: <sip:b@example.com>;tag={}
Call-ID: rr
CSeq: 1 ACK

",
            to.tag().expect("a tag")
        ),
    );
    net.settle();
    assert!(matches!(net.event(b), Event::Acked { .. }));
    net.at(b, |e, now| e.bye(now, db, Headers::new())).expect("a BYE");
    net.settle();
    let Some(Message::Request(bye)) = net.inbox(proxy).pop() else {
        panic!("no BYE at the proxy");
    };
    assert_eq!(bye.uri.to_string(), "sip:a@10.0.0.1");
    assert_eq!(bye.headers.list("Route"), ["<sip:192.0.2.9;lr>"]);
}
