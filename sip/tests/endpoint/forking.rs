//! One INVITE, several phones (RFC 3261 13.2.2.4).

use lockstep_sip::endpoint::{Event, Failure, TerminationCause};
use lockstep_sip::message::{Method, Request, Response};
use lockstep_sip::offer_answer::Role;

use crate::net::{Net, NodeId, offer, reply, scripted_response, with_sdp};

fn invited(net: &mut Net) -> (NodeId, NodeId, Request) {
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    (a, b, invite)
}

fn answer(net: &Net, b: NodeId, invite: &Request, code: u16, tag: &str) -> Response {
    with_sdp(scripted_response(invite, code, tag, net.address(b)), "v=0\r\n")
}

#[test]
fn the_first_answer_wins_and_the_others_are_ended() {
    let mut net = Net::new();
    let (a, b, invite) = invited(&mut net);
    for (code, tag) in [(183, "one"), (183, "two"), (183, "one")] {
        let response = answer(&net, b, &invite, code, tag);
        net.reply(b, &invite, &response);
    }
    net.settle();
    let events = net.events(a);
    let dialogs: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Progress { dialog: Some(dialog), description: Some(d), .. } => (*dialog, d.role),
            other => panic!("not progress: {other:?}"),
        })
        .collect();
    assert_eq!(dialogs[0].0, dialogs[2].0);
    assert_ne!(dialogs[0].0, dialogs[1].0);
    assert_eq!(dialogs.iter().map(|d| d.1).collect::<Vec<_>>(), [Role::Answer, Role::Answer, Role::AnswerAgain]);

    let ok = answer(&net, b, &invite, 200, "two");
    net.reply(b, &invite, &ok);
    net.settle();
    let events = net.events(a);
    assert!(
        matches!(
            events.as_slice(),
            [
                Event::Terminated { dialog: lost, cause: TerminationCause::InviteOver },
                Event::Answered { dialog: won, .. },
            ] if *lost == dialogs[0].0 && *won == dialogs[1].0
        ),
        "{events:?}"
    );
    assert_eq!(net.summaries(b), ["ACK"]);

    // The other phone, and one that never rang, are picked up all the same.
    for tag in ["one", "three"] {
        let ok = answer(&net, b, &invite, 200, tag);
        net.reply(b, &invite, &ok);
        net.settle();
        let requests = net.requests(b);
        assert_eq!(requests.iter().map(|r| &r.method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
        for request in &requests {
            let to = request.headers.to().expect("To").expect("To");
            assert_eq!(to.tag(), Some(tag));
        }
        net.reply(b, &invite, &ok);
        net.settle();
        let again = net.requests(b);
        assert!(again.iter().any(|r| r.method == Method::Ack));
        assert!(
            again.iter().all(|r| r.method != Method::Bye || r.headers.top_via() == requests[1].headers.top_via()),
            "no second BYE transaction"
        );
    }
    assert!(net.events(a).is_empty());
}

#[test]
fn an_update_of_one_branch_puts_its_own_answer_out_of_date_and_not_that_of_another() {
    for (tag, role) in [("one", None), ("two", Some(Role::Answer))] {
        let mut net = Net::new();
        let (a, b, invite) = invited(&mut net);
        let early = answer(&net, b, &invite, 183, "one");
        net.reply(b, &invite, &early);
        net.settle();
        net.events(a);
        let from = invite.headers.from().expect("From").expect("From");
        let (our_tag, call_id) = (from.tag().expect("a tag"), invite.headers.call_id().expect("Call-ID").text());
        let update = format!(
            "UPDATE sip:caller@192.0.2.1:5060 SIP/2.0
Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKupdate
Max-Forwards: 70
From: <sip:callee@example.com>;tag=one
To: <sip:caller@example.com>;tag={our_tag}
Call-ID: {call_id}
CSeq: 1 UPDATE
Contact: <sip:callee@192.0.2.2:5060>
Content-Type: application/sdp

v=0
"
        );
        net.send(b, a, &update);
        net.settle();
        let Event::Request { id, description: Some(_), .. } = net.event(a) else {
            panic!("no UPDATE with an offer");
        };
        net.at(a, |e, now| e.respond(now, id, reply(200).body(offer()))).expect("answered");
        let ok = answer(&net, b, &invite, 200, tag);
        net.reply(b, &invite, &ok);
        net.settle();
        let Some(Event::Answered { description, .. }) = net.events(a).pop() else {
            panic!("not answered");
        };
        assert_eq!(description.map(|description| description.role), role, "{tag}");
    }
}

#[test]
fn the_number_of_branches_is_bounded() {
    let mut net = Net::new();
    let a = net.endpoint_with("192.0.2.1:5060", |config| config.max_forks = 3);
    let b = net.scripted("192.0.2.2:5060");
    net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    for i in 0..20 {
        let response = scripted_response(&invite, 180, &format!("t{i}"), net.address(b));
        net.reply(b, &invite, &response);
    }
    net.settle();
    assert_eq!(net.events(a).len(), 3);
    assert_eq!(net.at(a, |e, _| e.dialog_count()), 3);
}

#[test]
fn an_answer_whose_route_cannot_be_read_is_ended_and_is_a_failure() {
    let mut net = Net::new();
    let (a, b, invite) = invited(&mut net);
    let mut ok = answer(&net, b, &invite, 200, "one");
    ok.headers.push("Record-Route", "<>");
    net.reply(b, &invite, &ok);
    net.settle();
    assert!(matches!(net.event(a), Event::Failed { failure: Failure::Unusable, .. }));
    let ended = net.requests(b);
    assert_eq!(ended.iter().map(|r| &r.method).collect::<Vec<_>>(), [&Method::Ack, &Method::Bye]);
    assert!(ended.iter().all(|r| !r.headers.contains("Route")));
    assert_eq!(net.at(a, |e, _| e.dialog_count()), 0);
}

#[test]
fn a_response_with_a_second_via_is_not_ours() {
    let mut net = Net::new();
    let (a, b, invite) = invited(&mut net);
    let mut response = answer(&net, b, &invite, 180, "one");
    response.headers.push("Via", "SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKother");
    net.reply(b, &invite, &response);
    net.settle();
    assert!(net.events(a).is_empty());
    assert_eq!(net.at(a, |e, _| e.stats().unmatched), 1);
}

#[test]
fn a_failure_ends_all_early_dialogs() {
    let mut net = Net::new();
    let (a, b, invite) = invited(&mut net);
    for tag in ["one", "two"] {
        let response = answer(&net, b, &invite, 180, tag);
        net.reply(b, &invite, &response);
    }
    net.settle();
    net.events(a);
    let response = scripted_response(&invite, 603, "two", net.address(b));
    net.reply(b, &invite, &response);
    net.reply(b, &invite, &response);
    net.settle();
    assert!(matches!(net.events(a).as_slice(), [Event::Terminated { .. }, Event::Terminated { .. }, Event::Failed { .. }]));
    assert_eq!(net.at(a, |e, _| e.dialog_count()), 0);
    assert_eq!(net.summaries(b), ["ACK", "ACK"]);
}
