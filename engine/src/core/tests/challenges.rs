//! A gateway that challenges whatever it is sent, or whose connection closes.

use bytes::Bytes;
use lockstep_sip::message::{Method, Request, Response, StatusCode};
use lockstep_sip::net::FlowId;

use super::lab::{Lab, PhoneId};
use crate::platform::Platform;

const CONFIG: &str = "[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"\nusername = \"us\"\npassword = \"secret\"";
const GATEWAY: &str = "198.51.100.7:5060";
const SCRIPT: &str = "async function main(data, ctx) { await ctx.bridge('sip:44@198.51.100.7'); }";
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// The first request of this method that has come to the gateway since the last look.
fn next(lab: &mut Lab, method: Method) -> Request {
    let came = std::mem::take(&mut lab.unclaimed);
    let methods: Vec<String> = came.iter().map(|request| request.method.to_string()).collect();
    came.into_iter().find(|request| request.method == method).unwrap_or_else(|| panic!("no {method} among {methods:?}"))
}

fn respond(lab: &mut Lab, request: &Request, code: u16, fields: &[(&str, &str)]) {
    let mut response = Response::to_request(request, StatusCode::new(code).unwrap(), Some("gw"));
    response.headers.push("Contact", "<sip:198.51.100.7>");
    fields.iter().for_each(|(name, value)| response.headers.push(*name, *value));
    if code == 200 && request.method == Method::Invite {
        response.headers.push("Content-Type", "application/sdp");
        response.body = Bytes::from_static(SDP.as_bytes());
    }
    lab.packet_from(GATEWAY.parse().unwrap(), &response.to_bytes());
}

/// Challenges a request; what it is repeated with.
fn challenge(lab: &mut Lab, request: &Request, nonce: &str) -> Request {
    refuse(lab, request, nonce);
    let again = next(lab, request.method.clone());
    let credentials = again.headers.get("Proxy-Authorization").expect("credentials").text().into_owned();
    assert!(credentials.contains(&format!("nonce=\"{nonce}\"")), "{credentials}");
    let number = |request: &Request| request.headers.cseq().unwrap().unwrap().number;
    assert_eq!(number(&again), number(request) + 1);
    again
}

fn refuse(lab: &mut Lab, request: &Request, nonce: &str) {
    let value = format!("Digest realm=\"gw\", nonce=\"{nonce}\", qop=\"auth\"");
    respond(lab, request, 407, &[("Proxy-Authenticate", value.as_str())]);
}

/// A caller is joined with a callee behind the gateway, which has said this besides in its 200.
fn joined(lab: &mut Lab, fields: &[(&str, &str)]) -> PhoneId {
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let invite = next(lab, Method::Invite);
    let invite = challenge(lab, &invite, "n1");
    respond(lab, &invite, 200, fields);
    assert_eq!(lab.seen(caller), ["200"]);
    caller
}

#[test]
fn a_challenged_bye_is_sent_again_with_credentials_though_the_leg_is_gone() {
    let mut lab = Lab::new(CONFIG, &[("1000", SCRIPT)]);
    let caller = joined(&mut lab, &[]);
    lab.hang_up(caller);
    let bye = next(&mut lab, Method::Bye);
    let bye = challenge(&mut lab, &bye, "n2");
    // Credentials that are not taken are not given again.
    refuse(&mut lab, &bye, "n3");
    assert_eq!(lab.unclaimed.len(), 0);
}

#[test]
fn a_call_fails_at_once_when_the_connection_closes_that_it_went_out_over() {
    let mut lab = Lab::new(CONFIG, &[("1000", SCRIPT)]);
    lab.book.borrow_mut().sends_over = Some(FlowId(5));
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    next(&mut lab, Method::Invite);
    assert_eq!(lab.seen(caller), Vec::<String>::new());
    lab.switch.flow_closed(FlowId(5));
    lab.settle();
    assert_eq!(lab.seen(caller).len(), 1);
}

#[test]
fn a_challenged_session_refresh_keeps_the_call_and_a_challenged_end_of_it_ends_it() {
    let mut lab = Lab::new(CONFIG, &[("1000", SCRIPT)]);
    let timer = ("Session-Expires", "120;refresher=uac");
    let caller = joined(&mut lab, &[timer, ("Allow", "INVITE, ACK, BYE, UPDATE")]);
    lab.wait(60_000);
    let update = next(&mut lab, Method::Update);
    let update = challenge(&mut lab, &update, "n2");
    respond(&mut lab, &update, 200, &[timer]);
    lab.wait(59_000);
    assert_eq!(lab.seen(caller), Vec::<String>::new());
    // The next refresh is refused, and the session runs out.
    lab.wait(1_000);
    let update = next(&mut lab, Method::Update);
    respond(&mut lab, &update, 403, &[]);
    lab.wait(30_000);
    let bye = next(&mut lab, Method::Bye);
    challenge(&mut lab, &bye, "n3");
    assert_eq!(lab.seen(caller), ["bye"]);
}

/// An engine that has registered at the gateway.
fn registered() -> Lab {
    let mut lab = Lab::new(&format!("{CONFIG}\nregister = true"), &[]);
    lab.settle();
    lab.wait(1);
    let register = next(&mut lab, Method::Register);
    let register = challenge(&mut lab, &register, "n1");
    respond(&mut lab, &register, 200, &[("Expires", "3600")]);
    lab
}

fn reconfigure(lab: &mut Lab, config: &str) {
    let config = toml::from_str(config).unwrap();
    let current = Platform::in_memory(&config).unwrap().provisioning.current();
    lab.switch.set_provisioning(&current);
    lab.settle();
    lab.wait(1);
}

fn expires(request: &Request) -> String {
    request.headers.get("Expires").expect("every REGISTER has it").text().into_owned()
}

#[test]
fn a_registration_at_a_gateway_that_is_gone_is_taken_back_over_a_challenge() {
    let mut lab = registered();
    reconfigure(&mut lab, "");
    let register = next(&mut lab, Method::Register);
    assert_eq!(expires(&register), "0");
    let stale = "Digest realm=\"gw\", nonce=\"n2\", qop=\"auth\", stale=true";
    respond(&mut lab, &register, 407, &[("Proxy-Authenticate", stale)]);
    let register = next(&mut lab, Method::Register);
    assert_eq!(expires(&register), "0");
    respond(&mut lab, &register, 200, &[]);
    lab.wait(40_000);
    assert_eq!(lab.unclaimed.len(), 0);
}

#[test]
fn under_another_password_an_address_is_registered_anew_and_not_taken_back() {
    let mut lab = registered();
    reconfigure(&mut lab, &format!("{CONFIG}\nregister = true").replace("secret", "other"));
    let came = std::mem::take(&mut lab.unclaimed);
    assert_eq!(came.iter().map(expires).collect::<Vec<_>>(), ["3600"]);
}
