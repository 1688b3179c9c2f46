//! Credentials asked for by the peer (RFC 3261 22).

use std::time::Duration;

use lockstep_sip::endpoint::{CommandError, Event, Failure, OutgoingRequest, RequestId};
use lockstep_sip::message::{HeaderValue, Headers, Method, Request};

use crate::net::{Net, NodeId, answer, name_addr, scripted_response, udp, uri, with_sdp};

fn credentials(name: &str) -> Headers {
    let mut headers = Headers::new();
    headers.push(name, "Digest response=\"1\"");
    headers
}

fn challenged_call(net: &mut Net) -> (NodeId, NodeId, RequestId, Request) {
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let id = net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    let challenge = scripted_response(&invite, 407, "t", net.address(b));
    net.reply(b, &invite, &challenge);
    net.settle();
    assert_eq!(net.summaries(b), ["ACK"]);
    assert!(matches!(net.event(a), Event::Challenged { id: asked, .. } if asked == id));
    (a, b, id, invite)
}

#[test]
fn a_challenged_invite_goes_again_with_the_next_cseq_and_a_new_branch() {
    let mut net = Net::new();
    let (a, b, id, first) = challenged_call(&mut net);
    net.at(a, |e, now| e.resend_with(now, id, &credentials("Proxy-Authorization"))).expect("sent again");
    net.settle();
    let second = net.requests(b).remove(0);
    assert_eq!(second.headers.get("CSeq"), Some(&"2 INVITE".into()));
    assert_eq!(second.headers.call_id(), first.headers.call_id());
    assert_eq!(second.headers.from(), first.headers.from());
    assert_ne!(second.headers.top_via(), first.headers.top_via());
    assert_eq!(second.body, first.body);
    let ok = with_sdp(scripted_response(&second, 200, "u", net.address(b)), "v=0\r\n");
    net.reply(b, &second, &ok);
    net.settle();
    assert!(matches!(net.event(a), Event::Answered { id: answered, .. } if answered == id));
    let ack = net.requests(b).remove(0);
    assert_eq!(ack.headers.get("CSeq"), Some(&"2 ACK".into()));
    assert!(ack.headers.contains("Proxy-Authorization"));
}

#[test]
fn abandoned_or_forgotten_challenges_fail_with_their_response() {
    for abandon in [true, false] {
        let mut net = Net::new();
        let (a, _, id, _) = challenged_call(&mut net);
        if abandon {
            net.at(a, |e, now| e.abandon(now, id)).expect("abandoned");
        } else {
            net.run(Duration::from_secs(33));
        }
        let Event::Failed { failure: Failure::Response(response), .. } = net.event(a) else {
            panic!("not failed");
        };
        assert_eq!(response.status.code(), 407);
        assert_eq!(net.at(a, |e, now| e.resend_with(now, id, &Headers::new())), Err(CommandError::UnknownRequest));
    }
}

#[test]
fn cancel_while_challenged_fails_at_once() {
    let mut net = Net::new();
    let (a, _, id, _) = challenged_call(&mut net);
    net.at(a, |e, now| e.cancel(now, id, Headers::new())).expect("cancelled");
    assert!(matches!(net.event(a), Event::Failed { failure: Failure::Cancelled, .. }));
}

#[test]
fn a_challenged_bye_can_be_sent_again_after_the_dialog_is_gone() {
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
    net.inbox(b);
    let id = net.at(a, |e, now| e.bye(now, dialog, Headers::new())).expect("a BYE");
    net.settle();
    let bye = net.requests(b).remove(0);
    net.reply(b, &bye, &scripted_response(&bye, 401, "t", net.address(b)));
    net.settle();
    assert!(matches!(net.events(a).as_slice(), [Event::Terminated { .. }, Event::Challenged { .. }]));
    net.at(a, |e, now| e.resend_with(now, id, &credentials("Authorization"))).expect("sent again");
    net.settle();
    let again = net.requests(b).remove(0);
    assert_eq!(again.headers.get("CSeq"), Some(&"3 BYE".into()));
    assert!(again.headers.contains("Authorization"));
}

#[test]
fn a_challenged_bye_of_the_endpoints_own_can_be_sent_again_and_is_not_heard_of_otherwise() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let call = net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    net.reply(b, &invite, &scripted_response(&invite, 180, "t", net.address(b)));
    net.settle();
    net.at(a, |e, now| e.cancel(now, call, Headers::new())).expect("cancelled");
    net.reply(b, &invite, &with_sdp(scripted_response(&invite, 200, "t", net.address(b)), "v=0\r\n"));
    net.settle();
    net.events(a);
    let bye = net.requests(b).pop().expect("a BYE");
    net.reply(b, &bye, &scripted_response(&bye, 407, "t", net.address(b)));
    net.settle();
    let Event::Challenged { id, request, .. } = net.event(a) else {
        panic!("not challenged");
    };
    assert_eq!(request.method, Method::Bye);
    net.at(a, |e, now| e.resend_with(now, id, &credentials("Proxy-Authorization"))).expect("sent again");
    net.settle();
    let again = net.requests(b).remove(0);
    assert_eq!(again.headers.get("CSeq"), Some(&"3 BYE".into()));
    assert!(again.headers.contains("Proxy-Authorization"));
    net.reply(b, &again, &scripted_response(&again, 200, "t", net.address(b)));
    net.settle();
    assert!(net.events(a).is_empty());
}

#[test]
fn a_series_of_requests_keeps_its_call_id() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.scripted("192.0.2.2:5060");
    let mut request = OutgoingRequest::new(
        Method::Register,
        uri("sip:example.com"),
        name_addr("sip:u@example.com"),
        name_addr("sip:u@example.com"),
        vec![udp(net.address(b))],
    );
    request.series = Some((HeaderValue::from("series-1"), 41));
    let id = net.at(a, |e, now| e.request_out_of_dialog(now, request)).expect("a REGISTER");
    net.settle();
    let sent = net.requests(b).remove(0);
    assert_eq!(sent.headers.call_id(), Some(&"series-1".into()));
    assert_eq!(sent.headers.get("CSeq"), Some(&"41 REGISTER".into()));
    let ok = scripted_response(&sent, 200, "t", net.address(b));
    net.reply(b, &sent, &ok);
    net.settle();
    assert!(matches!(
        net.event(a),
        Event::Response { id: answered, outcome: Ok(_), dialog: None, .. } if answered == id
    ));
    assert_eq!(answer().content_type, "application/sdp".into());
}
