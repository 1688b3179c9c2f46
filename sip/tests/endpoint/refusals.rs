//! Requests that are answered without the engine (RFC 3261 8.2), and overload.

use std::time::Duration;

use lockstep_sip::endpoint::{CommandError, Event};
use lockstep_sip::message::Response;

use crate::net::{Net, NodeId, reply};

const REQUEST: &str = "METHOD sip:b@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1
Max-Forwards: 70
From: <sip:a@example.com>;tag=at
To: <sip:b@example.com>
Call-ID: c
CSeq: 1 METHOD
Contact: <sip:a@192.0.2.1>
EXTRA

BODY";

fn request(method: &str, extra: &str, body: &str) -> String {
    REQUEST.replace("METHOD", method).replace("EXTRA\n", extra).replace("BODY", body)
}

fn pair(net: &mut Net) -> (NodeId, NodeId) {
    let a = net.scripted("192.0.2.1:5060");
    (a, net.endpoint("192.0.2.2:5060"))
}

fn answer_to(text: &str) -> Response {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    net.send(a, b, text);
    net.settle();
    assert!(net.events(b).is_empty());
    assert_eq!(net.at(b, |e, _| e.transaction_count()), 0, "no state");
    net.response(a)
}

#[test]
fn unknown_methods_get_501_and_unsupported_ones_405_with_allow() {
    let response = answer_to(&request("DANCE", "", ""));
    assert_eq!(response.status.code(), 501);
    let response = answer_to(&request("SUBSCRIBE", "", ""));
    assert_eq!(response.status.code(), 405);
    assert!(response.headers.list_contains("Allow", "INVITE"));
    assert!(response.headers.to().expect("To").expect("To").tag().is_some());
}

#[test]
fn required_extensions_we_lack_get_420_naming_them() {
    let response = answer_to(&request("INVITE", "Require: timer, 100rel, x\nProxy-Require: y\n", ""));
    assert_eq!(response.status.code(), 420);
    assert_eq!(response.headers.list("Unsupported"), ["100rel", "x"]);
}

#[test]
fn bodies_we_cannot_read_get_415_and_answers_we_cannot_give_406() {
    let response = answer_to(&request("INVITE", "Content-Type: application/unknown\n", "x"));
    assert_eq!(response.status.code(), 415);
    assert!(response.headers.list_contains("Accept", "application/sdp"));
    for multipart in ["Content-Type: multipart/mixed;boundary=b\n", "Content-Type: multipart/mixed\n"] {
        let body = "--b\nContent-Type: text/plain\n\nx\n--b--\n";
        assert_eq!(answer_to(&request("INVITE", multipart, body)).status.code(), 415, "{multipart}");
    }
    let gzip = "Content-Type: application/sdp\nContent-Encoding: gzip\n";
    let response = answer_to(&request("INVITE", gzip, "x"));
    assert_eq!(response.status.code(), 415);
    assert!(response.headers.list_contains("Accept-Encoding", "identity"));
    let response = answer_to(&request("INVITE", "Accept: text/plain\n", ""));
    assert_eq!(response.status.code(), 406);
}

#[test]
fn foreign_schemes_spent_hops_and_stray_dialog_requests_are_refused() {
    let foreign = request("OPTIONS", "", "").replace("sip:b@192.0.2.2", "soap.beep://192.0.2.2");
    assert_eq!(answer_to(&foreign).status.code(), 416);
    let secret = request("INVITE", "", "").replace("sip:b@192.0.2.2", "sips:b@192.0.2.2");
    assert_eq!(answer_to(&secret).status.code(), 416, "over UDP");
    let spent = request("INVITE", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0");
    assert_eq!(answer_to(&spent).status.code(), 483);
    assert_eq!(answer_to(&request("BYE", "", "")).status.code(), 481);
    let tagged = request("INFO", "", "").replace("To: <sip:b@example.com>", "To: <sip:b@example.com>;tag=x");
    assert_eq!(answer_to(&tagged).status.code(), 481);
}

#[test]
fn malformed_requests_get_400_and_other_versions_505() {
    let twice = request("INVITE", "Max-Forwards: 3\n", "");
    let response = answer_to(&twice);
    assert_eq!(response.status.code(), 400);
    assert!(response.reason.text().contains("Max-Forwards"));
    let bad_contact = request("INVITE", "", "").replace("<sip:a@192.0.2.1>", "<nonsense");
    assert_eq!(answer_to(&bad_contact).status.code(), 400);
    let version = request("INVITE", "", "").replace("192.0.2.2 SIP/2.0", "192.0.2.2 SIP/3.0");
    assert_eq!(answer_to(&version).status.code(), 505);
}

#[test]
fn refusals_are_the_same_for_every_copy_and_their_ack_is_swallowed() {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    let invite = request("INVITE", "Require: x\n", "");
    net.send(a, b, &invite);
    net.settle();
    let first = net.response(a);
    net.send(a, b, &invite);
    net.settle();
    assert_eq!(net.response(a), first);
    net.send(a, b, &request("ACK", "", ""));
    net.settle();
    assert!(net.inbox(a).is_empty());
}

#[test]
fn a_refusal_without_state_is_sent_once_and_leaves_nothing() {
    for method in ["INVITE", "REGISTER"] {
        let mut net = Net::new();
        let (a, b) = pair(&mut net);
        let mut answers = Vec::new();
        for _ in 0..2 {
            net.send(a, b, &request(method, "", ""));
            net.settle();
            let (Event::Invite { id, .. } | Event::Request { id, .. }) = net.event(b) else {
                panic!("no {method}");
            };
            net.at(b, |e, now| e.refuse_without_state(now, id, &reply(401))).expect("refused");
            assert_eq!(net.at(b, |e, _| (e.transaction_count(), e.dialog_count())), (0, 0), "{method}");
            assert_eq!(net.at(b, |e, now| e.respond(now, id, reply(200))), Err(CommandError::UnknownRequest));
            net.run(Duration::from_secs(33));
            answers.push(net.response(a));
        }
        assert_eq!(answers[0].status.code(), 401);
        assert_eq!(answers[0], answers[1], "{method}");
        assert!(net.events(b).is_empty());
    }
}

#[test]
fn the_same_request_by_another_path_gets_482() {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    let invite = request("INVITE", "", "");
    net.send(a, b, &invite);
    net.send(a, b, &invite);
    net.send(a, b, &invite.replace("z9hG4bK1", "z9hG4bK2"));
    net.settle();
    assert!(matches!(net.event(b), Event::Invite { .. }));
    assert_eq!(net.response(a).status.code(), 482);
}

#[test]
fn a_call_that_was_turned_down_may_be_tried_at_another_target_of_ours() {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    let invite = request("INVITE", "", "");
    net.send(a, b, &invite);
    net.settle();
    let Event::Invite { id, .. } = net.event(b) else {
        panic!("no INVITE");
    };
    net.at(b, |e, now| e.respond(now, id, reply(480))).expect("unavailable");
    net.settle();
    assert_eq!(net.response(a).status.code(), 480);
    let next = invite.replace("INVITE sip:b@", "INVITE sip:voicemail@").replace("z9hG4bK1", "z9hG4bK2");
    net.send(a, b, &next);
    net.send(a, b, &next.replace("z9hG4bK2", "z9hG4bK3"));
    net.settle();
    assert!(matches!(net.event(b), Event::Invite { .. }));
    assert_eq!(net.summaries(a), ["482 INVITE"], "that one is under way");
    // The first transaction ends while the second is under way.
    net.run(Duration::from_secs(33));
    net.inbox(a);
    net.send(a, b, &next.replace("z9hG4bK2", "z9hG4bK4"));
    net.settle();
    assert_eq!(net.summaries(a), ["482 INVITE"]);
}

#[test]
fn overload_is_answered_without_state_and_leaves_calls_alone() {
    let mut net = Net::new();
    let a = net.scripted("192.0.2.1:5060");
    let b = net.endpoint_with("192.0.2.2:5060", |config| config.max_dialogs = 1);
    net.send(a, b, &request("INVITE", "", ""));
    net.settle();
    let Event::Invite { id, .. } = net.event(b) else {
        panic!("no INVITE");
    };
    let second = request("INVITE", "", "").replace("Call-ID: c", "Call-ID: d").replace("z9hG4bK1", "z9hG4bK2");
    net.send(a, b, &second);
    net.settle();
    let response = net.response(a);
    assert_eq!((response.status.code(), response.headers.retry_after()), (503, Some(5)));
    net.at(b, |e, now| e.respond(now, id, reply(486))).expect("busy");
    net.settle();
    assert_eq!(net.response(a).status.code(), 486);
    net.at(b, |e, _| e.set_overload(Some(17)));
    net.send(a, b, &second);
    net.settle();
    let response = net.inbox(a);
    assert_eq!(response[0].headers().retry_after(), Some(17));
    assert_eq!(net.at(b, |e, _| e.stats().overloaded), 2);
    net.at(b, |e, _| e.set_overload(None));
    net.send(a, b, &second);
    net.settle();
    assert!(matches!(net.event(b), Event::Invite { .. }));
}

#[test]
fn overload_refuses_calls_and_nothing_else() {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    net.at(b, |e, _| e.set_overload(Some(5)));
    for (index, method) in ["REGISTER", "OPTIONS"].into_iter().enumerate() {
        let request = request(method, "", "").replace("Call-ID: c", &format!("Call-ID: c{index}"));
        net.send(a, b, &request.replace("z9hG4bK1", &format!("z9hG4bK{index}")));
        net.settle();
        assert!(matches!(net.event(b), Event::Request { .. }), "{method}");
    }
}

#[test]
fn a_caller_of_rfc_2543_without_branch_tag_or_contact_is_served() {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    let invite = request("INVITE", "", "")
        .replace(";branch=z9hG4bK1", "")
        .replace(";tag=at", "")
        .replace("Contact: <sip:a@192.0.2.1>\n", "")
        .replace("a@example.com", "a@192.0.2.1");
    net.send(a, b, &invite);
    net.send(a, b, &invite);
    net.settle();
    let Event::Invite { id, dialog, .. } = net.event(b) else {
        panic!("no INVITE");
    };
    net.at(b, |e, now| e.respond(now, id, reply(486))).expect("busy");
    net.settle();
    let busy = net.response(a);
    let to = busy.headers.get("To").expect("To").to_string();
    let ack = invite.replace("INVITE", "ACK").replace("To: <sip:b@example.com>", &format!("To: {to}"));
    net.send(a, b, &ack);
    net.run(Duration::from_secs(4));
    assert!(net.inbox(a).is_empty(), "the ACK stops the 486");
    assert!(net.at(b, |e, _| e.dialog(dialog).is_none()));
}

#[test]
fn responses_go_to_the_via_port_to_rport_or_through_the_nat() {
    for (via, to) in [
        ("192.0.2.1:5070", "192.0.2.1:5070"),
        ("192.0.2.1:5070;rport", "192.0.2.1:1024"),
        ("10.0.0.1:5070", "192.0.2.1:1024"),
        ("phone.example.com:5070", "192.0.2.1:5070"),
    ] {
        let mut net = Net::new();
        let a = net.scripted("192.0.2.1:1024");
        let b = net.endpoint("192.0.2.2:5060");
        net.send(a, b, &request("DANCE", "", "").replace("UDP 192.0.2.1", &format!("UDP {via}")));
        net.settle();
        let sent = net.wire.last().expect("a response");
        assert_eq!(sent.to.to_string(), to, "{via}");
    }
}

#[test]
fn line_breaks_keep_a_path_open_and_say_nothing() {
    let mut net = Net::new();
    let (a, b) = pair(&mut net);
    net.send(a, b, "\n\n");
    net.send(a, b, "nonsense");
    net.settle();
    assert!(net.inbox(a).is_empty());
    let stats = net.at(b, |e, _| e.stats());
    assert_eq!((stats.keepalives, stats.malformed), (1, 1));
}
