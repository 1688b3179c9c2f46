//! Calls to and from gateways: which number was dialled, by which address either side is reached.

use lockstep_sip::endpoint::{Body, Reply};
use lockstep_sip::message::{Method, NameAddr, Request, StatusCode};
use lockstep_sip::outbound_registration::Standing;

use super::lab::{ENGINE, Lab};
use crate::core::GatewayStanding;

const TRUNK: &str =
    "[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"\nusername = \"us\"\npassword = \"secret\"\nregister = true\n";
const LOCAL: &str = "[[gateway]]\nid = 8\naddress = \"sip:10.0.0.2\"\n";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

fn methods(requests: &[Request]) -> Vec<&str> {
    requests.iter().map(|request| request.method.as_str()).collect()
}

/// The REGISTER that the engine sends at its start.
fn register(lab: &mut Lab) -> Request {
    lab.settle();
    lab.wait(1);
    let came = std::mem::take(&mut lab.unclaimed);
    assert_eq!(methods(&came), ["REGISTER"]);
    came.into_iter().next().unwrap()
}

/// The gateway answers a REGISTER.
fn answer_register(lab: &mut Lab, register: &Request, status: &str) {
    let [via, from, to, call_id, cseq, contact] =
        ["Via", "From", "To", "Call-ID", "CSeq", "Contact"].map(|name| register.headers.get(name).unwrap().text());
    let response = format!(
        "SIP/2.0 {status}\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=r\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         Contact: {contact};expires=600\r\nContent-Length: 0\r\n\r\n"
    );
    lab.packet_from("198.51.100.7:5060".parse().unwrap(), response.as_bytes());
}

#[test]
fn it_is_known_where_the_registration_at_a_gateway_stands() {
    for (status, then) in [("200 OK", Standing::Registered), ("503 Service Unavailable", Standing::Failed)] {
        let mut lab = Lab::new(&format!("{TRUNK}{LOCAL}"), &[]);
        let at = |id, registration| GatewayStanding { id, registration, is_up: true };
        let request = register(&mut lab);
        assert_eq!(lab.switch.gateways(), [at(7, Some(Standing::Trying)), at(8, None)]);
        answer_register(&mut lab, &request, status);
        assert_eq!(lab.switch.gateways(), [at(7, Some(then)), at(8, None)], "{status}");
    }
}

/// An INVITE with an offer to `uri` comes from `from`: a proxy, where it is not the caller itself.
fn invite_comes(lab: &mut Lab, from: &str, uri: &str, fields: &str, callers: &[&str]) {
    let via = |host: &&str| format!("Via: SIP/2.0/UDP {host};branch=z9hG4bK{}\r\n", host.replace(['.', ':'], ""));
    let vias: String = [from].iter().chain(callers).map(via).collect();
    let invite = format!(
        "INVITE {uri} SIP/2.0\r\n{vias}From: <sip:4477@{from}>;tag=a\r\nCall-ID: {from}\r\nCSeq: 1 INVITE\r\n{fields}\
         Content-Type: application/sdp\r\n\r\n{SDP}"
    );
    lab.packet_from(from.parse().unwrap(), invite.as_bytes());
}

#[test]
fn a_call_to_the_contact_of_a_registration_is_for_the_number_named_beside_it() {
    let says = "function main(data) { throw `486 ${data.to} ${data.did ?? '-'}`; }";
    let named = "function main() { throw '486 by its name'; }";
    let config = format!("{TRUNK}[[did]]\nnumber = \"4420\"\ndestinations = [\"class5:1000\"]\n");
    let trunk = "198.51.100.7:5060";
    for (from, fields, reply) in [
        (trunk, "To: <sip:4420@carrier.example>\r\n", "4420 4420"),
        (trunk, "To: <sip:0@carrier.example>\r\nP-Called-Party-ID: <sip:+4420@carrier.example>\r\n", "+4420 4420"),
        (trunk, "To: <sip:4420@carrier.example>\r\nP-Called-Party-ID: <sip:us@carrier.example>\r\n", "4420 4420"),
        (trunk, "To: <sip:1000@carrier.example>\r\n", "1000 -"),
        (trunk, "To: <sip:4999@carrier.example>\r\n", "by its name"),
        ("127.0.0.1:5070", "To: <sip:4420@carrier.example>\r\n", "by its name"),
    ] {
        let mut lab = Lab::new(&config, &[("1000", says), ("us", named)]);
        let register = register(&mut lab);
        let contact = register.headers.contact().unwrap().uri;
        assert_eq!(contact.to_string(), format!("sip:us@{ENGINE}"));
        let contact_field = format!("Contact: <sip:{from}>\r\n");
        invite_comes(&mut lab, from, &contact.to_string(), &format!("{contact_field}{fields}"), &[]);
        let ended = lab.past()[0].ended.clone().unwrap();
        assert_eq!((ended.code, ended.reason.as_str()), (486, reply), "{from} {fields}");
    }
}

#[test]
fn a_call_to_the_contact_of_a_registration_for_nobody_is_not_found() {
    let mut lab = Lab::new(TRUNK, &[("1000", "function main() {}")]);
    register(&mut lab);
    let fields = "Contact: <sip:198.51.100.7>\r\nTo: <sip:4999@carrier.example>\r\n";
    invite_comes(&mut lab, "198.51.100.7:5060", &format!("sip:us@{ENGINE}"), fields, &[]);
    assert_eq!((lab.past().len(), lab.switch.calls.len()), (0, 0));
}

#[test]
fn what_a_gateway_in_a_private_network_relays_is_hung_up_where_its_contact_is() {
    let script = "async function main(data, ctx) { await ctx.bridge('sip:44@10.0.0.2'); }";
    let mut lab = Lab::new(LOCAL, &[("1000", script)]);
    let gateway = lab.phone("10.0.0.2:5060");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let contact = NameAddr::parse("<sip:44@10.0.0.3>").unwrap();
    let answer = Reply::new(StatusCode::OK).contact(contact).body(Body::sdp(SDP.as_bytes().to_vec()));
    lab.respond_with(gateway, answer);
    assert_eq!(lab.seen(caller), ["200"]);
    lab.hang_up(caller);
    assert_eq!((lab.seen(gateway), methods(&lab.unclaimed)), (vec!["invite".to_owned()], vec!["ACK", "BYE"]));
}

#[test]
fn a_caller_in_a_private_network_is_hung_up_where_its_contact_is_if_a_proxy_has_brought_it() {
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
    for (callers, followed) in [(&[][..], false), (&["10.0.0.3:5060"][..], true)] {
        let mut lab = Lab::new(LOCAL, &[("1000", script)]);
        lab.settle();
        lab.phone("10.0.0.2:5060");
        let fields = "To: <sip:1000@10.0.0.1>\r\nContact: <sip:4477@10.0.0.3>\r\n";
        invite_comes(&mut lab, "10.0.0.2:5060", &format!("sip:1000@{ENGINE}"), fields, callers);
        assert_eq!(lab.switch.calls.len(), 1);
        // Nobody acknowledges the answer.
        lab.wait(33_000);
        assert_eq!(lab.unclaimed.iter().any(|request| request.method == Method::Bye), followed, "{callers:?}");
    }
}

#[test]
fn a_peer_outside_the_local_networks_is_told_the_external_address_and_one_inside_is_not() {
    let config = format!(
        "{TRUNK}{LOCAL}[sip]\nexternal_ip = \"203.0.113.5\"\n[security]\nlocal_nets = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n"
    );
    let answers = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
    for (gateway, shown) in [("198.51.100.7", "203.0.113.5"), ("10.0.0.2", "127.0.0.1")] {
        let script = format!("async function main(data, ctx) {{ await ctx.bridge('sip:x@{gateway}'); }}");
        let mut lab = Lab::new(&config, &[("1000", &script), ("2000", answers)]);
        let contact = register(&mut lab).headers.contact().unwrap().uri;
        assert_eq!(contact.to_string(), "sip:us@203.0.113.5:5060");
        let phone = lab.phone(&format!("{gateway}:5060"));
        let caller = lab.phone("127.0.0.1:5070");
        lab.dial(caller, "1000");
        let invite = lab.at(phone).invited.clone().expect("an INVITE came");
        let from = invite.headers.from().unwrap().unwrap().uri.host().unwrap().to_string();
        let contact = invite.headers.contact().unwrap().uri.to_string();
        assert_eq!((from.as_str(), contact), (shown, format!("sip:lockstep@{shown}:5060")));
        let sdp = String::from_utf8(invite.body.to_vec()).unwrap();
        assert!(sdp.contains(&format!("c=IN IP4 {shown}\r\n")), "{sdp}");
        lab.dial(phone, "2000");
        let phone = lab.at(phone);
        let target = phone.endpoint.dialog(phone.dialog.unwrap()).unwrap().remote_target().to_string();
        assert_eq!(target, format!("sip:lockstep@{shown}:5060"), "of a call that comes from there");
    }
}
