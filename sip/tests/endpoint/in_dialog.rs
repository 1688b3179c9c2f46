//! Requests inside dialogs: re-INVITE, UPDATE, glare, sequence numbers, the path to the peer.

use std::net::SocketAddr;
use std::time::Duration;

use lockstep_sip::endpoint::{Body, CommandError, DialogRequest, Event, Failure, TerminationCause};
use lockstep_sip::message::{Headers, Message, Method, NameAddr};
use lockstep_sip::net::{Protocol, Source};
use lockstep_sip::offer_answer::Role;

use crate::calls::{connected, incoming};
use crate::net::{Net, NodeId, answer, name_addr, offer, reply, scripted_response, uri, with_sdp};

fn reinvite() -> DialogRequest {
    DialogRequest::new(Method::Invite).with_body(offer())
}

fn update() -> DialogRequest {
    DialogRequest::new(Method::Update).with_body(offer())
}

fn status(event: &Event) -> u16 {
    match event {
        Event::Response { outcome: Ok(response), .. } => response.status.code(),
        other => panic!("not a response: {other:?}"),
    }
}

#[test]
fn re_invites_go_both_ways_and_are_acknowledged() {
    let mut net = Net::new();
    let (a, b, da, db) = connected(&mut net);
    for (from, to, dialog) in [(a, b, da), (b, a, db), (a, b, da)] {
        net.at(from, |e, now| e.request(now, dialog, reinvite())).expect("a re-INVITE");
        net.settle();
        let Event::Request { id, description: Some(got), .. } = net.event(to) else {
            panic!("no re-INVITE with an offer");
        };
        assert_eq!(got.role, Role::Offer);
        net.at(to, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
        net.settle();
        assert!(matches!(net.event(to), Event::Acked { .. }));
        let Event::Response { description: Some(got), .. } = net.event(from) else {
            panic!("no answer");
        };
        assert_eq!(got.role, Role::Answer);
        assert_eq!(net.take_wire(), ["INVITE", "200 INVITE", "ACK"]);
    }
}

#[test]
fn a_re_invite_without_an_offer_gets_one_in_the_200() {
    let mut net = Net::new();
    let (a, b, da, _) = connected(&mut net);
    net.at(a, |e, now| e.request(now, da, DialogRequest::new(Method::Invite))).expect("a re-INVITE");
    net.settle();
    let Event::Request { id, description: None, .. } = net.event(b) else {
        panic!("no re-INVITE");
    };
    net.at(b, |e, now| e.respond(now, id, reply(200).body(offer()))).expect("answered");
    net.settle();
    let Event::Response { description: Some(got), .. } = net.event(a) else {
        panic!("no offer");
    };
    assert_eq!(got.role, Role::Offer);
    assert_eq!(net.at(a, |e, now| e.request(now, da, update())), Err(CommandError::Pending));
    net.at(a, |e, now| e.ack(now, da, Headers::new(), Some(answer()))).expect("an ACK");
    net.settle();
    assert!(matches!(net.event(b), Event::Acked { description: Some(_), .. }));
}

#[test]
fn a_refused_re_invite_changes_nothing() {
    let mut net = Net::new();
    let (a, b, da, db) = connected(&mut net);
    net.at(a, |e, now| e.request(now, da, reinvite())).expect("a re-INVITE");
    net.settle();
    let Event::Request { id, .. } = net.event(b) else {
        panic!("no re-INVITE");
    };
    net.at(b, |e, now| e.respond(now, id, reply(488))).expect("refused");
    net.settle();
    assert_eq!(status(&net.event(a)), 488);
    assert_eq!(net.take_wire(), ["INVITE", "488 INVITE", "ACK"]);
    for (node, dialog) in [(a, da), (b, db)] {
        assert!(net.at(node, |e, _| e.dialog(dialog).is_some()));
    }
    net.at(b, |e, now| e.request(now, db, reinvite())).expect("the next one may go");
}

#[test]
fn re_invites_that_cross_get_491_and_the_caller_waits_longer() {
    let mut net = Net::new();
    let (a, b, da, db) = connected(&mut net);
    let start = net.now;
    net.at(a, |e, now| e.request(now, da, reinvite())).expect("a re-INVITE");
    net.at(b, |e, now| e.request(now, db, reinvite())).expect("a re-INVITE");
    net.settle();
    assert_eq!(status(&net.event(a)), 491);
    assert_eq!(status(&net.event(b)), 491);
    net.run(Duration::from_millis(1950));
    assert!(matches!(net.event(b), Event::GlareOver { dialog } if dialog == db));
    assert!(net.events(a).is_empty());
    net.run(Duration::from_secs(2));
    assert!(matches!(net.event(a), Event::GlareOver { dialog } if dialog == da));
    assert!(net.now - start > Duration::from_millis(2100));
}

#[test]
fn an_offer_that_something_is_in_the_way_of_is_wanted_once_that_is_over() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    for code in [200, 488] {
        net.send(peer, b, &talk.request("INVITE", "v=0\n"));
        net.settle();
        let Event::Request { id, dialog: Some(dialog), .. } = net.event(b) else {
            panic!("no re-INVITE");
        };
        assert_eq!(net.at(b, |e, now| e.request(now, dialog, reinvite())), Err(CommandError::Pending));
        net.at(b, |e, now| e.respond(now, id, reply(code).body(answer()))).expect("answered");
        net.settle();
        if code == 200 {
            assert!(net.events(b).is_empty());
            let ack = talk.ack();
            net.send(peer, b, &ack);
            net.settle();
            assert!(matches!(net.events(b).as_slice(), [Event::Acked { .. }, Event::GlareOver { .. }]));
        } else {
            assert!(matches!(net.event(b), Event::GlareOver { .. }));
        }
    }
}

#[test]
fn a_second_re_invite_before_the_answer_gets_500_with_retry_after() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    net.send(peer, b, &talk.request("INVITE", "v=0\n"));
    net.settle();
    assert!(matches!(net.event(b), Event::Request { .. }));
    for _ in 0..3 {
        net.send(peer, b, &talk.request("INVITE", "v=0\n"));
        net.run(Duration::from_millis(25));
        let response = net.response(peer);
        assert_eq!(response.status.code(), 500);
        assert!(response.headers.retry_after().is_some_and(|s| s <= 10));
    }
}

#[test]
fn updates_are_answered_and_may_not_carry_crossing_offers() {
    let mut net = Net::new();
    let (a, b, da, db) = connected(&mut net);
    net.at(a, |e, now| e.request(now, da, update())).expect("an UPDATE");
    net.at(b, |e, now| e.request(now, db, update())).expect("an UPDATE");
    net.settle();
    assert_eq!(status(&net.event(a)), 491);
    assert_eq!(status(&net.event(b)), 491);
    net.run(Duration::from_secs(5));
    net.events(a);
    net.events(b);
    net.at(a, |e, now| e.request(now, da, update())).expect("an UPDATE");
    net.settle();
    let Event::Request { id, .. } = net.event(b) else {
        panic!("no UPDATE");
    };
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    assert!(matches!(net.event(a), Event::Response { description: Some(_), .. }));
}

#[test]
fn update_and_info_work_in_an_early_dialog() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(183).body(answer()))).expect("progress");
    net.settle();
    let Event::Progress { dialog: Some(da), .. } = net.event(a) else {
        panic!("no early dialog");
    };
    for (from, to, dialog, method) in [(a, b, da, Method::Info), (b, a, db, Method::Info)] {
        net.at(from, |e, now| e.request(now, dialog, DialogRequest::new(method))).expect("a request");
        net.settle();
        let Event::Request { id, .. } = net.event(to) else {
            panic!("no request");
        };
        net.at(to, |e, now| e.respond(now, id, reply(200))).expect("answered");
        net.settle();
        assert_eq!(status(&net.event(from)), 200);
    }
    // The INVITE's offer has no final answer yet, so another offer must wait (RFC 3311 5.2).
    assert_eq!(net.at(b, |e, now| e.request(now, db, update())), Err(CommandError::Pending));
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    assert!(matches!(net.event(a), Event::Answered { dialog, .. } if dialog == da));
}

#[test]
fn a_new_contact_in_a_re_invite_moves_the_dialog() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    let elsewhere = net.scripted("192.0.2.50:5080");
    talk.contact = "sip:a@192.0.2.50:5080".to_owned();
    net.send(peer, b, &talk.request("INVITE", "v=0\n"));
    net.settle();
    let Event::Request { id, dialog: Some(dialog), .. } = net.event(b) else {
        panic!("no re-INVITE");
    };
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    let ack = talk.ack();
    net.send(peer, b, &ack);
    net.settle();
    net.at(b, |e, now| e.request(now, dialog, DialogRequest::new(Method::Info))).expect("an INFO");
    net.settle();
    assert_eq!(net.summaries(elsewhere), ["INFO"]);
}

#[test]
fn a_peer_behind_nat_is_reached_where_its_messages_come_from() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    talk.contact = "sip:a@10.9.9.9:5060".to_owned();
    net.send(peer, b, &talk.request("INVITE", "v=0\n"));
    net.settle();
    let Event::Request { id, dialog: Some(dialog), .. } = net.event(b) else {
        panic!("no re-INVITE");
    };
    net.at(b, |e, now| {
        e.set_symmetric(dialog, true)?;
        e.set_owner(dialog, "1001".into())?;
        e.respond(now, id, reply(200).body(answer()))
    })
    .expect("answered");
    net.settle();
    let ack = talk.ack();
    net.send(peer, b, &ack);
    net.settle();
    net.events(b);
    net.inbox(peer);
    net.at(b, |e, now| e.request(now, dialog, DialogRequest::new(Method::Info))).expect("an INFO");
    net.settle();
    let info = net.requests(peer).remove(0);
    assert_eq!(info.uri.to_string(), "sip:a@10.9.9.9:5060");
    net.reply(peer, &info, &scripted_response(&info, 200, "t", net.address(peer)));
    net.settle();
    // It registers anew through another port of its NAT; others behind that NAT do not.
    let moved = net.scripted("192.0.2.1:40000");
    let [from, to] = [peer, moved].map(|node| Source {
        protocol: Protocol::Udp,
        local: net.address(b),
        remote: net.address(node),
        flow: None,
    });
    // What it has not answered follows it.
    for (contact, got) in [("sip:other@10.9.9.9:5060", 0), ("sip:a@10.9.9.9:5061;ob", 2)] {
        net.at(b, |e, now| {
            e.peer_moved(now, "1001", &uri(contact), &from, &to);
            e.request(now, dialog, DialogRequest::new(Method::Info))
        })
        .expect("an INFO");
        net.settle();
        assert_eq!(net.requests(moved).len(), got, "{contact}");
    }
    // Its own requests move it, too.
    let info = talk.request("INFO", "");
    net.send(peer, b, &info);
    net.settle();
    net.inbox(peer);
    net.at(b, |e, now| {
        e.peer_moved(now, "1001", &uri("sip:a@10.9.9.9"), &to, &from);
        e.request(now, dialog, DialogRequest::new(Method::Info))
    })
    .expect("an INFO");
    net.settle();
    assert_eq!(net.summaries(peer), ["INFO"]);
}

#[test]
fn sequence_numbers_out_of_order_get_500() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    talk.cseq = 50;
    net.send(peer, b, &talk.request("INFO", ""));
    net.settle();
    assert!(matches!(net.event(b), Event::Request { .. }));
    talk.cseq = 10;
    net.send(peer, b, &talk.request("INFO", ""));
    net.settle();
    assert_eq!(net.response(peer).status.code(), 500);
    assert!(net.events(b).is_empty());
}

#[test]
fn options_and_repeated_byes_are_answered_without_the_engine() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    net.send(peer, b, &talk.request("OPTIONS", ""));
    net.settle();
    let response = net.response(peer);
    assert_eq!(response.status.code(), 200);
    assert!(response.headers.list_contains("Allow", "UPDATE"));
    assert!(net.events(b).is_empty());
    let bye = talk.request("BYE", "");
    net.send(peer, b, &bye);
    net.send(peer, b, &bye);
    net.settle();
    assert_eq!(net.summaries(peer), ["200 BYE", "200 BYE"]);
    assert!(matches!(net.event(b), Event::Terminated { .. }));
    net.send(peer, b, &talk.request("INFO", ""));
    net.settle();
    assert_eq!(net.response(peer).status.code(), 481);
}

#[test]
fn a_bye_ends_requests_under_way_on_both_sides() {
    let mut net = Net::new();
    let (peer, b, mut talk) = scripted_call(&mut net);
    net.send(peer, b, &talk.request("INVITE", "v=0\n"));
    net.settle();
    let Event::Request { id, dialog: Some(dialog), .. } = net.event(b) else {
        panic!("no re-INVITE");
    };
    let info = net.at(b, |e, now| e.request(now, dialog, DialogRequest::new(Method::Info))).expect("an INFO");
    net.send(peer, b, &talk.request("BYE", ""));
    net.settle();
    assert_eq!(net.summaries(peer), ["INFO", "200 BYE", "487 INVITE"]);
    assert!(matches!(
        net.events(b).as_slice(),
        [
            Event::Response { id: over, outcome: Err(Failure::DialogEnded), .. },
            Event::Terminated { cause: TerminationCause::Bye(_), .. }
        ] if *over == info
    ));
    assert_eq!(net.at(b, |e, now| e.respond(now, id, reply(200))), Err(CommandError::Answered));
}

#[test]
fn a_481_ends_the_dialog_and_silence_to_a_re_invite_does_so_with_a_bye() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    for code in [Some(481), None] {
        net.call(a, b);
        net.settle();
        let invite = net.requests(b).remove(0);
        let ok = with_sdp(scripted_response(&invite, 200, "t", net.address(b)), "v=0\r\n");
        net.reply(b, &invite, &ok);
        net.settle();
        let Event::Answered { dialog, .. } = net.event(a) else {
            panic!("not answered");
        };
        net.inbox(b);
        net.at(a, |e, now| e.request(now, dialog, reinvite())).expect("a re-INVITE");
        net.settle();
        let again = net.requests(b).remove(0);
        if let Some(code) = code {
            net.reply(b, &again, &scripted_response(&again, code, "t", net.address(b)));
        }
        net.run(Duration::from_secs(33));
        assert!(matches!(
            net.events(a).as_slice(),
            [Event::Response { .. }, Event::Terminated { cause: TerminationCause::Lost, .. }]
        ));
        let byes = net.requests(b).iter().filter(|r| r.method == Method::Bye).count();
        assert_eq!(byes > 0, code.is_none());
        net.run(Duration::from_secs(40));
        net.inbox(b);
    }
}

#[test]
fn a_body_the_engine_gave_with_its_type_reaches_the_peer() {
    let mut net = Net::new();
    let (a, b, da, _) = connected(&mut net);
    let body = Body::new("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n");
    net.at(a, |e, now| e.request(now, da, DialogRequest::new(Method::Info).with_body(body))).expect("an INFO");
    net.settle();
    let Event::Request { id, request, .. } = net.event(b) else {
        panic!("no INFO");
    };
    let content_type = request.headers.content_type().expect("a type").expect("a type");
    assert!(content_type.is("application", "dtmf-relay"));
    assert_eq!(request.body, "Signal=5\r\nDuration=160\r\n");
    assert_eq!(
        net.at(b, |e, now| e.respond(now, id, reply(183))),
        Err(CommandError::WrongState("only INVITE has provisional responses"))
    );
    net.at(b, |e, now| e.respond(now, id, reply(200))).expect("answered");
    net.settle();
    assert_eq!(status(&net.event(a)), 200);
}

#[test]
fn the_answer_to_a_re_invite_is_acknowledged_though_the_dialog_is_over() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    let ok = with_sdp(scripted_response(&invite, 200, "t", net.address(b)), "v=0\r\n");
    net.reply(b, &invite, &ok);
    net.settle();
    let Event::Answered { dialog, .. } = net.event(a) else {
        panic!("not answered");
    };
    net.at(a, |e, now| e.request(now, dialog, reinvite())).expect("a re-INVITE");
    net.settle();
    let again = net.requests(b).pop().expect("a re-INVITE");
    net.at(a, |e, now| e.bye(now, dialog, Headers::new())).expect("a BYE");
    net.settle();
    assert_eq!(net.summaries(b), ["BYE"]);
    // Its ACK is lost the first time.
    for _ in 0..2 {
        net.reply(b, &again, &with_sdp(scripted_response(&again, 200, "t", net.address(b)), "v=0\r\n"));
        net.settle();
        let ack = net.requests(b).remove(0);
        assert_eq!((ack.method, ack.headers.cseq().map(|cseq| cseq.map(|cseq| cseq.number))), (Method::Ack, Some(Ok(2))));
    }
}

/// Writes the requests of a scripted caller whose call is up.
pub(crate) struct Talk {
    from: SocketAddr,
    pub(crate) contact: String,
    local_tag: String,
    pub(crate) cseq: u32,
    invite_cseq: u32,
    branch: u32,
    pub(crate) extra: String,
}

impl Talk {
    pub(crate) fn request(&mut self, method: &str, sdp: &str) -> String {
        self.cseq += 1;
        self.branch += 1;
        if method == "INVITE" {
            self.invite_cseq = self.cseq;
        }
        let cseq = if method == "ACK" { self.invite_cseq } else { self.cseq };
        let to_tag = if self.local_tag.is_empty() { String::new() } else { format!(";tag={}", self.local_tag) };
        let content_type = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        format!(
            "{method} sip:b@192.0.2.2 SIP/2.0
Via: SIP/2.0/UDP {};branch=z9hG4bKtalk{}
Max-Forwards: 70
From: <sip:a@example.com>;tag=talk
To: <sip:b@example.com>{to_tag}
Call-ID: talk
CSeq: {cseq} {method}
Contact: <{}>
{}{content_type}
{sdp}",
            self.from, self.branch, self.contact, self.extra
        )
    }

    pub(crate) fn ack(&mut self) -> String {
        self.request("ACK", "")
    }

    pub(crate) fn contact(&self) -> NameAddr {
        name_addr(&self.contact)
    }
}

/// A scripted caller in a call with an endpoint.
pub(crate) fn scripted_call(net: &mut Net) -> (NodeId, NodeId, Talk) {
    scripted_call_with(net, "")
}

/// The same, with header lines of its own in the INVITE.
pub(crate) fn scripted_call_with(net: &mut Net, extra: &str) -> (NodeId, NodeId, Talk) {
    let peer = net.scripted("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    let mut talk = Talk {
        from: net.address(peer),
        contact: "sip:a@192.0.2.1:5060".to_owned(),
        local_tag: String::new(),
        cseq: 0,
        invite_cseq: 0,
        branch: 0,
        extra: extra.to_owned(),
    };
    net.send(peer, b, &talk.request("INVITE", "v=0\n"));
    net.settle();
    let (id, _) = incoming(net, b);
    net.at(b, |e, now| e.respond(now, id, reply(200).body(answer()))).expect("answered");
    net.settle();
    let Some(Message::Response(ok)) = net.inbox(peer).pop() else {
        panic!("no response");
    };
    let to = ok.headers.to().expect("To").expect("To");
    talk.local_tag = to.tag().expect("a tag").to_owned();
    assert_eq!(talk.contact().tag(), None);
    let ack = talk.ack();
    net.send(peer, b, &ack);
    net.settle();
    assert!(matches!(net.event(b), Event::Acked { .. }));
    talk.extra = String::new();
    (peer, b, talk)
}

#[test]
fn a_re_invite_that_has_got_no_final_response_when_its_call_ends_is_forgotten() {
    for is_late in [false, true] {
        let mut net = Net::new();
        let (peer, b, mut talk) = scripted_call(&mut net);
        let info = talk.request("INFO", "");
        net.send(peer, b, &info);
        net.settle();
        let Event::Request { dialog: Some(dialog), .. } = net.event(b) else {
            panic!("no INFO");
        };
        net.at(b, |e, now| e.request(now, dialog, reinvite())).expect("a re-INVITE");
        net.settle();
        let invite = net.requests(peer).remove(0);
        let trying = scripted_response(&invite, 100, "", net.address(peer));
        if !is_late {
            net.reply(peer, &invite, &trying);
            net.settle();
        }
        let bye = talk.request("BYE", "");
        net.send(peer, b, &bye);
        net.settle();
        net.reply(peer, &invite, &trying);
        net.run(Duration::from_secs(33));
        assert_eq!(net.at(b, |e, _| (e.transaction_count(), e.dialog_count())), (0, 0), "{is_late}");
    }
}

#[test]
fn a_call_given_up_early_takes_its_requests_with_it() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    net.at(b, |e, now| e.respond(now, id, reply(180))).expect("ringing");
    net.settle();
    let Event::Progress { dialog: Some(da), .. } = net.event(a) else {
        panic!("no early dialog");
    };
    net.at(a, |e, now| e.request(now, da, DialogRequest::new(Method::Info))).expect("an INFO");
    let ours = net.at(b, |e, now| e.request(now, db, DialogRequest::new(Method::Info))).expect("an INFO");
    net.settle();
    assert!(matches!(net.events(b).as_slice(), [Event::Request { .. }]));
    net.take_wire();
    net.at(b, |e, now| e.respond(now, id, reply(486))).expect("busy");
    assert_eq!(net.take_wire(), ["486 INVITE", "487 INFO"]);
    assert!(matches!(
        net.event(b),
        Event::Response { id: over, outcome: Err(Failure::DialogEnded), .. } if over == ours
    ));
}

#[test]
fn a_bye_of_the_peer_takes_the_place_of_ours_that_waits() {
    let mut net = Net::new();
    net.lose = Box::new(|p| p.summary() == "ACK");
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let (id, db) = incoming(&mut net, b);
    let bye = net
        .at(b, |e, now| {
            e.respond(now, id, reply(200).body(answer()))?;
            e.bye(now, db, Headers::new())
        })
        .expect("answer and BYE");
    net.settle();
    let Event::Answered { dialog: da, .. } = net.event(a) else {
        panic!("not answered");
    };
    net.at(a, |e, now| e.bye(now, da, Headers::new())).expect("a BYE");
    net.settle();
    assert!(matches!(
        net.events(b).as_slice(),
        [
            Event::Response { id: over, outcome: Err(Failure::DialogEnded), .. },
            Event::Terminated { cause: TerminationCause::Bye(_), .. }
        ] if *over == bye
    ));
}
