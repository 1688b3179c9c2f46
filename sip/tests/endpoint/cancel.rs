//! CANCEL and its races (RFC 3261 9, 15).

use std::time::Duration;

use lockstep_sip::endpoint::{CommandError, Event, Failure, OutgoingRequest, RequestId};
use lockstep_sip::message::{Headers, Method};
use lockstep_sip::net::{Protocol, Received, Source};

use crate::calls::{connected, incoming};
use crate::in_dialog::scripted_call;
use crate::net::{Net, NodeId, answer, invite_to, offer, reply, scripted_response, uri, with_sdp};

fn cancel(net: &mut Net, node: NodeId, id: RequestId) {
    let mut headers = Headers::new();
    headers.push("Reason", "SIP;cause=200;text=\"Call completed elsewhere\"");
    net.at(node, |e, now| e.cancel(now, id, headers)).expect("a CANCEL");
}

#[test]
fn a_ringing_call_is_cancelled() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let call = net.call(a, b);
    net.settle();
    let (id, _) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(180))).expect("ringing");
    net.settle();
    net.events(a);
    cancel(&mut net, a, call);
    net.settle();
    let Event::Cancelled { id: cancelled, request, .. } = net.event(b) else {
        panic!("not cancelled");
    };
    assert_eq!(cancelled, id);
    assert_eq!(request.headers.reasons()[0].cause, Some(200));
    assert!(matches!(net.events(a).as_slice(), [Event::Terminated { .. }, Event::Failed { failure: Failure::Cancelled, .. }]));
    assert_eq!(net.take_wire()[2..], ["CANCEL", "200 CANCEL", "487 INVITE", "ACK"]);
    assert_eq!(net.at(b, |e, now| e.respond(now, id, reply(200))), Err(CommandError::Answered));
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let call = net.call(a, b);
    cancel(&mut net, a, call);
    net.settle();
    assert_eq!(net.take_wire(), ["INVITE"]);
    let invite = net.requests(b).remove(0);
    let ringing = scripted_response(&invite, 180, "t", net.address(b));
    net.reply(b, &invite, &ringing);
    net.settle();
    let cancels = net.requests(b);
    assert_eq!(cancels[0].method, Method::Cancel);
    assert_eq!(cancels[0].headers.top_via(), invite.headers.top_via(), "the same branch");
    assert_eq!(cancels[0].uri, invite.uri);
    assert!(net.events(a).is_empty());
}

#[test]
fn a_cancelled_call_nobody_answered_fails_as_cancelled() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let call = net.call(a, b);
    cancel(&mut net, a, call);
    net.run(Duration::from_secs(33));
    assert!(matches!(net.event(a), Event::Failed { failure: Failure::Cancelled, .. }));
    assert!(!net.take_wire().contains(&"CANCEL".to_owned()));
}

#[test]
fn a_cancel_without_a_final_response_ends_after_64_t1() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let call = net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    let ringing = scripted_response(&invite, 180, "t", net.address(b));
    net.reply(b, &invite, &ringing);
    net.settle();
    cancel(&mut net, a, call);
    let at = net.elapsed();
    net.run(Duration::from_secs(31));
    net.events(a);
    net.run(Duration::from_secs(2));
    assert!(matches!(net.events(a).last(), Some(Event::Failed { failure: Failure::Cancelled, .. })));
    assert!(net.elapsed() > at + Duration::from_secs(32));
}

#[test]
fn a_200_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let call = net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    let ringing = scripted_response(&invite, 180, "t", net.address(b));
    net.reply(b, &invite, &ringing);
    net.settle();
    net.events(a);
    cancel(&mut net, a, call);
    let ok = with_sdp(scripted_response(&invite, 200, "t", net.address(b)), "v=0\r\n");
    net.reply(b, &invite, &ok);
    net.settle();
    assert_eq!(net.summaries(b), ["CANCEL", "ACK", "BYE"]);
    assert!(matches!(net.events(a).as_slice(), [Event::Terminated { .. }, Event::Failed { failure: Failure::Cancelled, .. }]));
    // Its ACK was lost: only the ACK is repeated.
    net.reply(b, &invite, &ok);
    net.settle();
    assert_eq!(net.summaries(b), ["ACK"]);
}

#[test]
fn cancel_after_the_answer_is_refused_and_changes_nothing_at_the_callee() {
    let mut net = Net::new();
    let a = net.scripted("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let head = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:a@example.com>;tag=at
To: <sip:b@example.com>
Call-ID: c
";
    net.send(a, b, &format!("INVITE sip:b@192.0.2.2 SIP/2.0\n{head}CSeq: 1 INVITE\nContact: <sip:a@192.0.2.1>\n\n"));
    net.settle();
    let (id, _) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(offer()))).expect("answered");
    let cancel = format!("CANCEL sip:b@192.0.2.2 SIP/2.0\n{head}CSeq: 1 CANCEL\n\n");
    net.send(a, b, &cancel);
    net.settle();
    assert_eq!(net.summaries(a), ["200 INVITE", "200 CANCEL"]);
    assert!(net.events(b).is_empty());
    net.send(a, b, &cancel.replace("z9hG4bK1", "z9hG4bK2"));
    net.settle();
    assert_eq!(net.response(a).status.code(), 481);
}

#[test]
fn a_cancelled_re_invite_leaves_the_dialog_as_it_was() {
    let mut net = Net::new();
    let (a, b, da, db) = connected(&mut net);
    let request = lockstep_sip::endpoint::DialogRequest::new(Method::Invite).with_body(offer());
    let id = net.at(a, |e, now| e.request(now, da, request)).expect("a re-INVITE");
    net.run(Duration::from_millis(300));
    assert!(matches!(net.event(b), Event::Request { .. }));
    net.at(a, |e, now| e.cancel(now, id, Headers::new())).expect("a CANCEL");
    net.settle();
    assert!(matches!(net.event(b), Event::RequestCancelled { dialog, .. } if dialog == db));
    let Event::Response { outcome: Ok(response), .. } = net.event(a) else {
        panic!("no response");
    };
    assert_eq!(response.status.code(), 487);
    // Both sides may offer again.
    let request = lockstep_sip::endpoint::DialogRequest::new(Method::Invite).with_body(answer());
    net.at(b, |e, now| e.request(now, db, request)).expect("a re-INVITE");
}

#[test]
fn a_re_invite_that_is_cancelled_before_anybody_heard_of_it_is_not_told() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    let invite = talk.request("INVITE", "").replace('\n', "\r\n");
    let cancel = invite.replace("INVITE", "CANCEL");
    let source = Source { protocol: Protocol::Udp, local: net.address(b), remote: net.address(peer), flow: None };
    net.at(b, |e, now| {
        for text in [&invite, &cancel] {
            e.handle_received(now, Received { source, bytes: text.as_bytes() });
        }
    });
    net.settle();
    assert!(net.events(b).is_empty());
    assert_eq!(net.summaries(peer), ["200 CANCEL", "487 INVITE"]);
}

#[test]
fn a_bye_in_the_early_dialog_counts_as_a_cancel() {
    let mut net = Net::new();
    let a = net.scripted("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.send(
        a,
        b,
        "INVITE sip:b@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
From: <sip:a@example.com>;tag=at
To: <sip:b@example.com>
Call-ID: c
CSeq: 1 INVITE
Contact: <sip:a@192.0.2.1>

",
    );
    net.settle();
    let (id, _) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(180))).expect("ringing");
    net.settle();
    let tag = net.response(a).headers.to().expect("To").expect("To").clone();
    net.send(
        a,
        b,
        &format!(
            "BYE sip:b@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2
From: <sip:a@example.com>;tag=at
To: <sip:b@example.com>;tag={}
Call-ID: c
CSeq: 2 BYE

",
            tag.tag().expect("a tag")
        ),
    );
    net.settle();
    assert_eq!(net.summaries(a), ["200 BYE", "487 INVITE"]);
    assert!(matches!(net.event(b), Event::Cancelled { .. }));
}

#[test]
fn an_invitation_lapses_with_its_expires() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let mut request = invite_to(net.address(a), net.address(b));
    request.headers.push("Expires", "30");
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.run(Duration::from_secs(29));
    let (id, _) = incoming(&mut net, b);
    net.run(Duration::from_secs(2));
    assert!(matches!(net.event(b), Event::Cancelled { id: lapsed, .. } if lapsed == id));
    assert!(matches!(net.event(a), Event::Failed { failure: Failure::Response(r), .. } if r.status.code() == 487));
}

/// Where a node's messages come from.
fn place(net: &Net, local: NodeId, node: NodeId) -> Source {
    Source { protocol: Protocol::Udp, local: net.address(local), remote: net.address(node), flow: None }
}

/// An INVITE for the device of a user.
fn to_device(net: &Net, from: NodeId, phone: NodeId) -> OutgoingRequest {
    OutgoingRequest { symmetric: true, owner: Some("1001".into()), ..invite_to(net.address(from), net.address(phone)) }
}

#[test]
fn a_phone_that_was_away_when_its_call_ended_gets_the_bye_once_it_registers() {
    // Nobody is there, which is heard of; or the BYE is on its way still.
    for is_refused in [true, false] {
        let mut net = Net::new();
        let a = net.endpoint("192.0.2.1:5060");
        let [phone, elsewhere] = ["192.0.2.2:40000", "192.0.2.2:40001"].map(|address| net.scripted(address));
        let request = to_device(&net, a, phone);
        net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
        net.settle();
        let invite = net.requests(phone).remove(0);
        net.reply(phone, &invite, &with_sdp(scripted_response(&invite, 200, "t", net.address(phone)), "v=0\r\n"));
        net.settle();
        let Event::Answered { dialog, .. } = net.event(a) else { panic!("no answer") };
        let before = net.address(phone);
        if is_refused {
            net.closed.push((Protocol::Udp, before));
        } else {
            net.lose = Box::new(move |packet| packet.to == before);
        }
        net.at(a, |e, now| e.bye(now, dialog, Headers::new())).expect("a BYE");
        net.run(Duration::from_secs(1));
        let [from, to] = [phone, elsewhere].map(|node| place(&net, a, node));
        for (owner, user, got) in [("1001", "other", 0), ("1002", "callee", 0), ("1001", "callee", 1)] {
            let contact = uri(&format!("sip:{user}@{before}"));
            net.at(a, |e, now| e.peer_moved(now, owner, &contact, &from, &to));
            net.settle();
            let byes = net.requests(elsewhere);
            assert_eq!(byes.len(), got, "{owner} {user} {is_refused}");
            for bye in byes {
                net.reply(elsewhere, &bye, &scripted_response(&bye, 200, "t", before));
            }
        }
        net.run(Duration::from_secs(40));
        let is_ok =
            |event: &Event| matches!(event, Event::Response { outcome: Ok(response), .. } if response.status.code() == 200);
        assert_eq!(net.events(a).iter().any(is_ok), !is_refused);
        let contact = uri(&format!("sip:callee@{before}"));
        net.at(a, |e, now| e.peer_moved(now, "1001", &contact, &from, &to));
        net.settle();
        assert!(net.inbox(elsewhere).is_empty());
    }
}

#[test]
fn a_phone_that_registers_from_elsewhere_while_it_rings_gets_the_cancel_there() {
    for is_off_first in [false, true] {
        for (picks_up, told) in [(false, &["CANCEL"][..]), (true, &["CANCEL", "ACK", "BYE"][..])] {
            let mut net = Net::new();
            let a = net.endpoint("192.0.2.1:5060");
            let [phone, elsewhere] = ["192.0.2.2:40000", "192.0.2.2:40001"].map(|address| net.scripted(address));
            let request = to_device(&net, a, phone);
            let call = net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
            net.settle();
            let invite = net.requests(phone).remove(0);
            net.reply(phone, &invite, &scripted_response(&invite, 180, "t", net.address(phone)));
            net.settle();
            if is_off_first {
                net.closed.push((Protocol::Udp, net.address(phone)));
                cancel(&mut net, a, call);
                net.settle();
            }
            let [from, to] = [phone, elsewhere].map(|node| place(&net, a, node));
            let contact = uri(&format!("sip:callee@{}", net.address(phone)));
            net.at(a, |e, now| e.peer_moved(now, "1001", &contact, &from, &to));
            if !is_off_first {
                cancel(&mut net, a, call);
            }
            net.settle();
            if picks_up {
                let answer = scripted_response(&invite, 200, "t", net.address(phone));
                net.reply(elsewhere, &invite, &with_sdp(answer, "v=0\r\n"));
                net.settle();
            }
            assert_eq!(net.summaries(elsewhere), told, "{is_off_first}");
            assert!(net.inbox(phone).is_empty());
        }
    }
}
