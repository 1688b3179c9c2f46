//! Next hops: failover and the choice of transport (RFC 3261 18.1.1, RFC 3263 4.3).

use std::time::Duration;

use lockstep_sip::endpoint::{Body, CommandError, DialogRequest, Event, Failure, OutgoingRequest};
use lockstep_sip::message::{Headers, Method};
use lockstep_sip::net::Protocol;

use crate::calls::connected;
use crate::net::{Net, NodeId, invite_to, scripted_response, udp, with_sdp};

fn three(net: &mut Net) -> (NodeId, NodeId, NodeId) {
    (net.endpoint("192.0.2.1:5060"), net.scripted("192.0.2.2:5060"), net.scripted("192.0.2.3:5060"))
}

#[test]
fn a_503_moves_on_to_the_next_destination_with_a_new_branch() {
    let mut net = Net::new();
    let (a, b, c) = three(&mut net);
    let mut request = invite_to(net.address(a), net.address(b));
    request.destinations.push(udp(net.address(c)));
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.settle();
    let first = net.requests(b).remove(0);
    net.reply(b, &first, &scripted_response(&first, 503, "t", net.address(b)));
    net.settle();
    assert_eq!(net.summaries(b), ["ACK"]);
    let second = net.requests(c).remove(0);
    assert_eq!(second.headers.call_id(), first.headers.call_id());
    assert_ne!(second.headers.top_via(), first.headers.top_via());
    assert!(net.events(a).is_empty());
    net.reply(c, &second, &scripted_response(&second, 503, "t", net.address(c)));
    net.settle();
    assert!(matches!(
        net.event(a),
        Event::Failed { failure: Failure::Response(r), .. } if r.status.code() == 503
    ));
}

#[test]
fn silence_and_unreachable_ports_move_on_too() {
    let mut net = Net::new();
    let (a, b, c) = three(&mut net);
    let unreachable = "192.0.2.9:5060".parse().expect("an address");
    net.closed.push((Protocol::Udp, unreachable));
    let mut request = invite_to(net.address(a), unreachable);
    request.destinations.push(udp(net.address(b)));
    request.destinations.push(udp(net.address(c)));
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.settle();
    assert_eq!(net.requests(b).len(), 1);
    net.run(Duration::from_secs(32));
    assert!(!net.requests(c).is_empty());
    net.run(Duration::from_secs(33));
    assert!(matches!(net.event(a), Event::Failed { failure: Failure::Timeout, .. }));
    assert_eq!(net.at(a, |e, _| e.stats().failovers), 2);
}

#[test]
fn a_silent_next_hop_is_left_for_the_next_after_five_seconds() {
    for method in [Method::Invite, Method::Options] {
        let mut net = Net::new();
        let (a, b, c) = three(&mut net);
        let mut request = OutgoingRequest { method: method.clone(), ..invite_to(net.address(a), net.address(b)) };
        request.destinations.push(udp(net.address(c)));
        let is_invite = method == Method::Invite;
        let sent = net.at(a, |e, now| if is_invite { e.invite(now, request) } else { e.request_out_of_dialog(now, request) });
        sent.expect("a request");
        net.run(Duration::from_millis(4_990));
        assert!(net.requests(c).is_empty(), "{method}");
        net.run(Duration::from_millis(30));
        assert_eq!(net.requests(c).len(), 1, "{method}");
        net.run(Duration::from_secs(30));
        assert!(net.events(a).is_empty(), "the last one has its time");
    }
}

#[test]
fn who_answers_an_invite_that_was_given_up_is_cancelled_or_hung_up() {
    for (code, told) in [(180, &["CANCEL"][..]), (200, &["ACK", "BYE"][..]), (486, &["ACK"][..])] {
        let mut net = Net::new();
        let (a, b, _) = three(&mut net);
        let request = OutgoingRequest { patience: Some(Duration::from_secs(5)), ..invite_to(net.address(a), net.address(b)) };
        net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
        net.run(Duration::from_secs(8));
        assert!(matches!(net.event(a), Event::Failed { failure: Failure::Timeout, .. }));
        assert_eq!(net.times_of("INVITE").len(), 4, "it is not repeated any more");
        let invite = net.requests(b).remove(0);
        let answer = scripted_response(&invite, code, "t", net.address(b));
        net.reply(b, &invite, &answer);
        net.settle();
        assert_eq!(net.summaries(b), told);
        net.run(Duration::from_secs(70));
        assert!(net.events(a).is_empty(), "{code}");
        assert_eq!(net.at(a, |e, _| (e.transaction_count(), e.dialog_count())), (0, 0), "{code}");
    }
}

#[test]
fn an_invite_that_was_cancelled_is_not_repeated_once_its_next_hop_was_left() {
    let mut net = Net::new();
    let (a, b, _) = three(&mut net);
    let request = OutgoingRequest { patience: Some(Duration::from_secs(5)), ..invite_to(net.address(a), net.address(b)) };
    let id = net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.run(Duration::from_secs(1));
    net.at(a, |e, now| e.cancel(now, id, Headers::new())).expect("no answer yet");
    net.run(Duration::from_secs(7));
    assert_eq!(net.times_of("INVITE").len(), 4);
    let invite = net.requests(b).remove(0);
    let ringing = scripted_response(&invite, 180, "t", net.address(b));
    net.reply(b, &invite, &ringing);
    net.settle();
    assert_eq!(net.summaries(b), ["CANCEL"]);
}

fn large(from: std::net::SocketAddr, to: std::net::SocketAddr) -> OutgoingRequest {
    OutgoingRequest { body: Some(Body::sdp(format!("v=0\r\n{}", "a=x\r\n".repeat(300)))), ..invite_to(from, to) }
}

#[test]
fn a_host_that_is_silent_by_tcp_gets_large_requests_by_udp_and_for_a_while_at_once() {
    let mut net = Net::new();
    let a = net.endpoint("192.0.2.1:5060");
    let b = net.endpoint("192.0.2.2:5060");
    net.lose = Box::new(|packet| packet.protocol == Protocol::Tcp);
    let sent = |net: &mut Net| {
        net.wire.clear();
        let request = large(net.address(a), net.address(b));
        net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
        net.run(Duration::from_millis(2_100));
        let requests = net.wire.iter().filter(|packet| packet.from == net.address(a));
        requests.map(|packet| packet.protocol).collect::<Vec<_>>()
    };
    assert_eq!(sent(&mut net), [Protocol::Tcp, Protocol::Udp]);
    assert_eq!(sent(&mut net), [Protocol::Udp]);
    net.run(Duration::from_secs(600));
    assert_eq!(sent(&mut net), [Protocol::Tcp, Protocol::Udp]);
}

#[test]
fn whoever_is_reached_where_its_messages_come_from_gets_large_requests_there() {
    let mut net = Net::new();
    let (a, b, dialog, _) = connected(&mut net);
    let request = OutgoingRequest { symmetric: true, ..large(net.address(a), net.address(b)) };
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.at(a, |e, _| e.set_symmetric(dialog, true)).expect("a dialog");
    let info = DialogRequest::new(Method::Info).with_body(Body::new("text/plain", "x".repeat(2_000)));
    net.at(a, |e, now| e.request(now, dialog, info)).expect("an INFO");
    net.settle();
    assert!(net.wire.iter().all(|packet| packet.protocol == Protocol::Udp));
    assert_eq!(net.events(b).len(), 2);
}

#[test]
fn what_has_1300_octets_goes_by_udp_and_what_has_one_more_by_tcp() {
    for [from, to] in [["192.0.2.1:5060", "192.0.2.2:5060"], ["[2001:db8::1]:5060", "[2001:db8::2]:5060"]] {
        let sent = |body: usize| {
            let mut net = Net::new();
            let (a, b) = (net.endpoint(from), net.scripted(to));
            let request =
                OutgoingRequest { body: Some(Body::sdp("x".repeat(body))), ..invite_to(net.address(a), net.address(b)) };
            net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
            net.settle();
            (net.wire[0].protocol, net.wire[0].bytes.len())
        };
        let (_, size) = sent(500);
        let full = 500 + 1300 - size;
        assert_eq!(sent(full), (Protocol::Udp, 1300), "{from}");
        assert_eq!(sent(full + 1), (Protocol::Tcp, 1301), "{from}");
    }
}

#[test]
fn large_requests_go_by_tcp_and_by_udp_where_nobody_listens() {
    for tcp_closed in [false, true] {
        let mut net = Net::new();
        let a = net.endpoint("192.0.2.1:5060");
        let b = net.endpoint("192.0.2.2:5060");
        if tcp_closed {
            net.closed.push((Protocol::Tcp, net.address(b)));
        }
        let request = large(net.address(a), net.address(b));
        net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
        net.settle();
        assert!(matches!(net.event(b), Event::Invite { .. }));
        let protocols: Vec<_> = net.wire.iter().map(|p| p.protocol).collect();
        if tcp_closed {
            assert_eq!(protocols, [Protocol::Tcp, Protocol::Udp]);
        } else {
            assert_eq!(protocols, [Protocol::Tcp]);
        }
        let text = String::from_utf8_lossy(&net.wire[0].bytes).into_owned();
        assert!(text.contains("Via: SIP/2.0/TCP 192.0.2.1:5060;branch="), "{text}");
    }
}

#[test]
fn without_a_destination_nothing_is_started() {
    let mut net = Net::new();
    let (a, b, _) = three(&mut net);
    let mut request = invite_to(net.address(a), net.address(b));
    request.destinations.clear();
    assert_eq!(net.at(a, |e, now| e.invite(now, request)), Err(CommandError::NoDestination));
    assert_eq!(net.at(a, |e, _| e.transaction_count()), 0);
}

#[test]
fn a_closed_connection_fails_the_requests_that_wait_on_it() {
    use lockstep_sip::net::FlowId;
    let (named, told) = (Some(FlowId(7)), Some(FlowId(7)));
    for (named, told) in [(named, None), (None, told), (Some(FlowId(6)), told)] {
        let mut net = Net::new();
        let (a, b, c) = three(&mut net);
        let mut request = invite_to(net.address(a), net.address(b));
        request.destinations[0].protocol = Protocol::Tcp;
        request.destinations[0].flow = named;
        request.destinations.push(udp(net.address(c)));
        net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
        let transmit = net.wire[0].transmit;
        net.at(a, |e, now| {
            if let Some(flow) = told {
                e.sent_over(transmit, flow);
            }
            e.handle_flow_closed(now, FlowId(6));
        });
        net.settle();
        assert!(net.requests(c).is_empty());
        net.at(a, |e, now| {
            e.handle_flow_closed(now, FlowId(7));
            e.handle_flow_closed(now, FlowId(7));
        });
        net.settle();
        assert_eq!(net.requests(c).len(), 1);
    }
}

#[test]
fn a_private_contact_told_by_a_public_address_is_not_followed() {
    let mut net = Net::new();
    let (a, b, _) = three(&mut net);
    let private = net.scripted("10.0.0.7:5060");
    net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    net.reply(b, &invite, &scripted_response(&invite, 200, "t", net.address(private)));
    net.settle();
    let ack = net.requests(b).remove(0);
    assert_eq!(ack.uri.to_string(), "sip:callee@10.0.0.7:5060");
    assert!(net.inbox(private).is_empty());
}

#[test]
fn a_contact_by_tls_which_we_do_not_speak_is_not_followed() {
    for contact in ["<sip:callee@192.0.2.9:5061;transport=tls>", "<sips:callee@192.0.2.9>"] {
        let mut net = Net::new();
        let (a, b, _) = three(&mut net);
        net.call(a, b);
        net.settle();
        let invite = net.requests(b).remove(0);
        let mut answer = with_sdp(scripted_response(&invite, 200, "t", net.address(b)), "v=0\r\n");
        answer.headers.set("Contact", contact);
        net.reply(b, &invite, &answer);
        net.settle();
        let Event::Answered { dialog, .. } = net.event(a) else { panic!("not answered") };
        net.at(a, |e, now| e.bye(now, dialog, Headers::new())).expect("a BYE");
        net.settle();
        assert_eq!(net.summaries(b), ["ACK", "BYE"], "{contact}");
    }
}

#[test]
fn a_request_in_a_dialog_is_not_repeated_elsewhere_after_a_503() {
    let mut net = Net::new();
    let (a, b, _) = three(&mut net);
    let other_port = net.scripted("192.0.2.2:5080");
    let mut request = invite_to(net.address(a), net.address(b));
    request.destinations[0].protocol = Protocol::Tcp;
    net.at(a, |e, now| e.invite(now, request)).expect("an INVITE");
    net.settle();
    let invite = net.requests(b).remove(0);
    let mut answer = with_sdp(scripted_response(&invite, 200, "t", net.address(b)), "v=0\r\n");
    answer.headers.set("Contact", "<sip:callee@192.0.2.2:5080;transport=tcp>");
    net.reply(b, &invite, &answer);
    net.settle();
    let Event::Answered { dialog, .. } = net.event(a) else { panic!("not answered") };
    net.at(a, |e, now| e.request(now, dialog, DialogRequest::new(Method::Info))).expect("an INFO");
    net.settle();
    let info = net.requests(b).remove(1);
    net.reply(b, &info, &scripted_response(&info, 503, "t", net.address(b)));
    net.settle();
    assert!(matches!(net.event(a), Event::Response { outcome: Ok(response), .. } if response.status.code() == 503));
    assert!(net.inbox(other_port).is_empty());
}

#[test]
fn among_private_addresses_the_contact_is_followed() {
    let mut net = Net::new();
    let a = net.endpoint("10.0.0.1:5060");
    let b = net.scripted("10.0.0.2:5060");
    let elsewhere = net.scripted("192.168.0.2:5060");
    net.call(a, b);
    net.settle();
    let invite = net.requests(b).remove(0);
    net.reply(b, &invite, &scripted_response(&invite, 200, "t", net.address(elsewhere)));
    net.settle();
    assert_eq!(net.summaries(elsewhere), ["ACK"]);
}
