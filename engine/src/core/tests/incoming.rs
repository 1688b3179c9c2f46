use lockstep_sip::endpoint::{Body, DialogRequest};
use lockstep_sip::message::Method;
use lockstep_sip::net::{FlowId, Protocol, Source};

use super::lab::{ENGINE, Lab, address_of};
use super::watching::ask;
use crate::core::handle::{EngineError, Originate, Request};
use crate::security_key;

const ANSWER: &str = "async function main(data, ctx) { await ctx.answer(); await ctx.play('user/x.wav'); }";
const USERS: &str = "[[user]]\nname = \"1001\"\npassword = \"pw1\"\n[[user]]\nname = \"1002\"\npassword = \"pw2\"\n";

#[test]
fn a_script_answers_plays_and_hangs_up() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    assert_eq!(lab.seen(caller), ["200"]);
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["bye"]);
    let names: Vec<String> = serde_json::to_value(&lab.past()[0].entries)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| Some(entry.get("name")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(names, ["answer", "play"]);
}

#[test]
fn a_key_by_info_that_the_phone_refuses_is_a_warning_in_its_timeline() {
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.sendDtmf('1', { method: 'info' }); }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.wait(1_000);
    assert_eq!(lab.seen(caller), ["200", "info", "bye"]);
    let entries = serde_json::to_string(&lab.past()[0].entries).unwrap();
    assert!(entries.contains("sendDtmf: the INFO was refused: 415 Unsupported Media Type"), "{entries}");
}

#[test]
fn an_info_of_a_package_is_refused_as_such_unless_it_is_a_key() {
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    for (body, expected) in [(None, "response 469"), (Some("Signal=5\r\n"), "response 200")] {
        lab.seen(caller);
        let now = lab.now.instant;
        let phone = lab.at(caller);
        let mut request = DialogRequest::new(Method::Info);
        request.headers.push("Info-Package", "foo");
        request.body = body.map(|body| Body::new("application/dtmf-relay", body));
        phone.endpoint.request(now, phone.dialog.unwrap(), request).unwrap();
        lab.settle();
        assert_eq!(lab.seen(caller), [expected]);
    }
}

#[test]
fn the_most_calls_there_were_at_once_are_known_when_they_are_over() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    let callers = ["127.0.0.1:5070", "127.0.0.1:5071"].map(|address| lab.phone(address));
    for caller in callers {
        lab.dial(caller, "1000");
    }
    for caller in callers {
        lab.hang_up(caller);
    }
    let readiness = ask(&mut lab, Request::Readiness);
    assert_eq!((readiness.live_calls, readiness.most_calls), (0, 2));
}

fn over_tcp(remote: &str, number: u64) -> Source {
    let flow = Some(FlowId(number));
    Source { protocol: Protocol::Tcp, local: ENGINE.parse().unwrap(), remote: remote.parse().unwrap(), flow }
}

#[test]
fn the_connections_of_known_peers_may_rest_and_of_those_whose_call_is_let_in() {
    let config = format!(
        "[security]\nsecret = \"sixteen letters!\"\n{USERS}[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"\naddresses = [\"198.51.100.7\"]\n[[customer]]\nid = 12\naddresses = [\"203.0.113.12\"]\n"
    );
    let mut lab = Lab::new(&config, &[("1000", ANSWER)]);
    let peers = ["203.0.113.8", "127.0.0.1", "198.51.100.7", "203.0.113.12"].map(|ip| format!("{ip}:40000"));
    let key = security_key::make("sixteen letters!", 12, "pbx.example.net", lab.now.unix_ms / 1_000).unwrap();
    let key = format!("{}: {key}\r\n", security_key::HEADER);
    for (method, first, header) in [("OPTIONS", 1, ""), ("INVITE", 11, ""), ("INVITE", 21, key.as_str())] {
        for (number, remote) in (first..).zip(&peers) {
            let request = format!(
                "{method} sip:1000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP {remote};branch=z9hG4bK{number}\r\nFrom: <sip:a@h>;tag=1\r\n\
                 To: <sip:1000@h>\r\nCall-ID: {number}\r\nCSeq: 1 {method}\r\nContact: <sip:a@{remote}>\r\n{header}Content-Length: 0\r\n\r\n"
            );
            lab.packet_over(over_tcp(remote, number), request.as_bytes());
        }
    }
    let kept: Vec<u64> = lab.book.borrow().kept_flows.iter().map(|flow| flow.0).collect();
    assert_eq!(kept, [2_u64, 3, 4, 12, 13, 14, 21, 22, 23, 24], "all but a stranger's that shows nothing");
}

#[test]
fn a_connection_over_which_a_call_goes_on_may_rest() {
    let mut lab = Lab::new(USERS, &[("1000", ANSWER)]);
    let user = lab.phone("203.0.113.9:5060");
    lab.knows_password(user, "1001", "pw1");
    lab.dial(user, "1000");
    let phone = lab.at(user);
    let key = phone.endpoint.dialog(phone.dialog.unwrap()).unwrap().key().clone();
    let known = key.remote_tag.as_str();
    for (number, method, tag, kept) in [
        (1, "INFO", "guessed", &[][..]),
        (2, "INFO", known, &[2_u64][..]),
        (3, "OPTIONS", known, &[2, 3][..]),
        (4, "UPDATE", known, &[2, 3, 4][..]),
    ] {
        let request = format!(
            "{method} sip:1000@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 203.0.113.9;branch=z9hG4bK{number}\r\nFrom: <sip:a@h>;tag={}\r\n\
             To: <sip:1000@h>;tag={tag}\r\nCall-ID: {}\r\nCSeq: 10{number} {method}\r\nContact: <sip:a@203.0.113.9>\r\nContent-Length: 0\r\n\r\n",
            key.local_tag,
            key.call_id.text()
        );
        lab.packet_over(over_tcp("203.0.113.9:40000", number), request.as_bytes());
        let flows: Vec<u64> = lab.book.borrow().kept_flows.iter().map(|flow| flow.0).collect();
        assert_eq!(flows, kept, "{method}");
    }
}

#[test]
fn an_unknown_number_is_not_found() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4711");
    assert_eq!(lab.seen(caller), ["404 Not Found"]);
}

#[test]
fn a_stranger_is_challenged_and_a_user_comes_in_by_digest() {
    let mut lab = Lab::new(USERS, &[("1000", ANSWER)]);
    let stranger = lab.phone("203.0.113.8:5060");
    lab.dial(stranger, "1000");
    assert_eq!(lab.seen(stranger), ["challenged", "401 Unauthorized"]);
    let user = lab.phone("203.0.113.9:5060");
    lab.knows_password(user, "1001", "pw1");
    lab.dial(user, "1000");
    assert_eq!(lab.seen(user), ["200"]);
    let guesser = lab.phone("203.0.113.10:5060");
    lab.knows_password(guesser, "1001", "wrong");
    lab.dial(guesser, "1000");
    assert_eq!(lab.seen(guesser), ["challenged", "401 Unauthorized"]);
}

#[test]
fn a_pattern_takes_no_calls_to_the_users_of_another_account() {
    let users = format!("{USERS}[[account]]\nname = \"default\"\n[[account]]\nname = \"north\"\n");
    let users = users.replacen("password = \"pw2\"", "password = \"pw2\"\naccount = \"north\"", 1);
    let mut lab = Lab::new(&users, &[("/1.*/", ANSWER)]);
    let phones = ["127.0.0.1:5070", "127.0.0.1:5071", "127.0.0.1:5072"];
    for (phone, (dialled, seen)) in
        phones.into_iter().zip([("1001", "200"), ("1002", "480 Temporarily Unavailable"), ("1003", "200")])
    {
        let caller = lab.phone(phone);
        lab.dial(caller, dialled);
        assert_eq!(lab.seen(caller)[0], seen, "{dialled}");
    }
}

#[test]
fn a_gateway_calls_by_address() {
    let gateway = "[[gateway]]\nid = 7\naddress = \"sip:g.example.net\"\naddresses = [\"203.0.113.0/24\"]";
    let mut lab = Lab::new(gateway, &[("1000", ANSWER)]);
    let carrier = lab.phone("203.0.113.8:5060");
    lab.dial(carrier, "1000");
    assert_eq!(lab.seen(carrier), ["200"]);
}

#[test]
fn no_codec_in_common_is_not_acceptable_here() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    let caller = lab.phone("127.0.0.1:5070");
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 18\r\n";
    lab.dial_with(caller, "1000", sdp);
    assert_eq!(lab.seen(caller), ["488 Not Acceptable Here"]);
    lab.dial_with(caller, "1000", &sdp.replace("RTP/AVP 18", "RTP/SAVP 0"));
    assert_eq!(lab.seen(caller), ["488 Not Acceptable Here"]);
}

#[test]
fn without_room_callers_are_told_when_to_try_again() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    lab.book.borrow_mut().full = true;
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    assert_eq!(lab.seen(caller), ["503 Service Unavailable"]);
    let response = lab.at(caller).last_response.clone().unwrap();
    assert_eq!(response.headers.retry_after(), Some(5));
    assert_eq!(lab.switch.transactions(), 0, "a refused call costs no state");
    lab.book.borrow_mut().full = false;
    lab.dial(caller, "1000");
    assert_eq!(lab.seen(caller), ["200"]);
}

#[test]
fn without_room_no_call_is_placed() {
    let mut lab = Lab::new("[[gateway]]\nid = 7\naddress = \"sip:127.0.0.1:5071\"\n", &[("1000", ANSWER)]);
    let callee = lab.phone("127.0.0.1:5071");
    let place = |lab: &mut Lab| {
        let wanted = Originate { to: "sip:1@127.0.0.1:5071".into(), destination: "1000".into(), ..Originate::default() };
        ask(lab, |reply| Request::Originate(wanted, reply))
    };
    lab.book.borrow_mut().full = true;
    assert!(matches!(place(&mut lab), Err(EngineError::AtCapacity(why)) if why == "no ports"));
    lab.book.borrow_mut().full = false;
    place(&mut lab).unwrap();
    assert_eq!(lab.seen(callee), ["invite"]);
}

#[test]
fn without_room_for_calls_phones_stay_registered() {
    let mut lab = Lab::new(USERS, &[("1000", ANSWER)]);
    let phone = lab.phone("127.0.0.1:5070");
    lab.knows_password(phone, "1001", "pw1");
    lab.book.borrow_mut().full = true;
    lab.register(phone, "1001");
    lab.options(phone);
    assert_eq!(lab.seen(phone), ["response 200", "response 200"]);
    lab.switch.drain(std::time::Duration::from_secs(30));
    lab.register(phone, "1001");
    assert_eq!(lab.seen(phone), ["response 200"]);
}

#[test]
fn while_the_engine_stops_options_is_answered_as_a_call_would_be() {
    let mut lab = Lab::new("", &[]);
    let proxy = lab.phone("127.0.0.1:5070");
    lab.switch.drain(std::time::Duration::from_secs(30));
    lab.options(proxy);
    assert_eq!(lab.seen(proxy), ["response 503"]);
    assert_eq!(lab.at(proxy).last_response.as_ref().and_then(|response| response.headers.retry_after()), Some(5));
}

#[test]
fn whoever_is_asked_for_a_password_costs_no_state() {
    let mut lab = Lab::new(USERS, &[("1000", ANSWER)]);
    let stranger = lab.phone("203.0.113.8:5060");
    lab.dial(stranger, "1000");
    lab.register(stranger, "1001");
    assert_eq!(lab.seen(stranger), ["challenged", "401 Unauthorized", "challenged", "response 401"]);
    assert_eq!((lab.switch.transactions(), lab.switch.exchange.borrow().endpoint.dialog_count()), (0, 0));
}

#[test]
fn whoever_guesses_passwords_is_not_listened_to_for_a_minute_and_phones_beside_it_are() {
    let mut lab = Lab::new(USERS, &[("1000", ANSWER)]);
    let [guesser, neighbour] = ["203.0.113.8:5060", "203.0.113.8:5062"].map(|address| lab.phone(address));
    lab.knows_password(guesser, "1001", "guess");
    lab.knows_password(neighbour, "1002", "pw2");
    for _ in 0..10 {
        lab.register(guesser, "1001");
        assert_eq!(lab.seen(guesser).last().map(String::as_str), Some("response 401"));
    }
    lab.knows_password(guesser, "1001", "pw1");
    lab.register(guesser, "1001");
    assert_eq!(lab.seen(guesser), ["response 503"], "the right one is not told from a wrong one");
    lab.register(neighbour, "1002");
    assert_eq!(lab.seen(neighbour), ["response 200"]);
    lab.wait(61_000);
    lab.register(guesser, "1001");
    assert_eq!(lab.seen(guesser), ["response 200"]);
}

#[test]
fn phones_registered_from_an_address_are_heard_whatever_is_guessed_behind_it() {
    let mut lab = Lab::new(USERS, &[("1000", ANSWER)]);
    let [guesser, registered, newcomer] =
        ["203.0.113.8:5060", "203.0.113.8:5062", "203.0.113.8:5064"].map(|address| lab.phone(address));
    lab.knows_password(registered, "1001", "pw1");
    lab.knows_password(newcomer, "1002", "pw2");
    lab.register(registered, "1001");
    for number in 0..20 {
        let invented = format!("nobody{number}");
        lab.knows_password(guesser, &invented, "guess");
        lab.register(guesser, &invented);
    }
    lab.register(registered, "1001");
    assert_eq!(lab.seen(registered), ["response 200", "response 200"]);
    lab.register(newcomer, "1002");
    assert_eq!(lab.seen(newcomer), ["response 503"]);
}

#[test]
fn a_call_follows_its_users_device_that_registers_from_elsewhere() {
    let mut lab = Lab::new("[[user]]\nname = \"caller\"\npassword = \"pw\"\n", &[("1000", ANSWER)]);
    let phone = lab.phone("10.0.0.9:5060");
    lab.knows_password(phone, "caller", "pw");
    lab.dial(phone, "1000");
    for place in ["10.0.0.9:5060", "10.0.0.9:5062"] {
        lab.at(phone).address = place.parse().unwrap();
        lab.register_contact(phone, "caller", address_of("caller", "10.0.0.9:5060"));
        assert_eq!(lab.seen(phone).last().map(String::as_str), Some("response 200"));
    }
    lab.audio_ends();
    assert_eq!(lab.seen(phone), ["bye"]);
}

#[test]
fn a_call_follows_no_other_device_with_the_same_contact() {
    let users = "[[user]]\nname = \"caller\"\npassword = \"pw\"\n[[user]]\nname = \"other\"\npassword = \"pw\"\n";
    for (user, place, instances) in [("other", "10.0.0.9:5062", ["", ""]), ("caller", "10.0.0.8:5060", ["1", "2"])] {
        let mut lab = Lab::new(users, &[("1000", ANSWER)]);
        let [phone, elsewhere] = ["10.0.0.9:5060", place].map(|address| lab.phone(address));
        lab.knows_password(phone, "caller", "pw");
        lab.dial(phone, "1000");
        for (place, instance) in [phone, elsewhere].into_iter().zip(instances) {
            lab.knows_password(place, user, "pw");
            let mut contact = address_of("caller", "10.0.0.9:5060");
            if !instance.is_empty() {
                contact.params.set("+sip.instance", Some(instance));
            }
            lab.register_contact(place, user, contact);
            assert_eq!(lab.seen(place).last().map(String::as_str), Some("response 200"));
        }
        lab.audio_ends();
        assert_eq!(lab.seen(phone), ["bye"], "{user}");
    }
}

#[test]
fn a_call_that_is_up_changes_its_media_while_there_is_no_room() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.book.borrow_mut().full = true;
    lab.offer_again(caller);
    assert_eq!(lab.seen(caller), ["200", "response 200"]);
}

#[test]
fn a_caller_who_gives_up_ends_the_script() {
    let script = "async function main(data, ctx) { await ctx.ring(); await ctx.sleep(60000); }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    assert_eq!(lab.seen(caller), ["180"]);
    lab.give_up(caller);
    let ended = lab.past()[0].ended.clone().unwrap();
    assert_eq!((ended.code, ended.by.name()), (487, "caller"));
}

#[test]
fn a_user_registers_with_the_password_only() {
    let mut lab = Lab::new(USERS, &[]);
    let phone = lab.phone("127.0.0.1:5070");
    lab.register(phone, "1001");
    assert_eq!(lab.seen(phone), ["challenged", "response 401"]);
    lab.knows_password(phone, "1001", "pw1");
    lab.register(phone, "1001");
    assert_eq!(lab.seen(phone), ["response 200"]);
    lab.register(phone, "1002");
    assert_eq!(lab.seen(phone), ["response 403"]);
}

#[test]
fn a_did_tries_its_destinations_in_order() {
    let config = format!("{USERS}[[did]]\nnumber = \"442080000000\"\ndestinations = [\"user:1001\", \"class5:1000\"]");
    let mut lab = Lab::new(&config, &[("1000", ANSWER)]);
    let phone = lab.phone("127.0.0.1:5071");
    lab.knows_password(phone, "1001", "pw1");
    lab.register(phone, "1001");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "+442080000000");
    assert_eq!(lab.seen(phone), ["response 200", "invite"]);
    lab.respond(phone, 486);
    assert_eq!(lab.seen(caller), ["200"]);
}

#[test]
fn an_extension_rings_its_phone_and_passes_its_answer_on() {
    let mut lab = Lab::new(USERS, &[]);
    let phone = lab.phone("127.0.0.1:5071");
    lab.knows_password(phone, "1001", "pw1");
    lab.register(phone, "1001");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1001");
    lab.respond(phone, 180);
    lab.pick_up(phone);
    assert_eq!(lab.seen(caller), ["180", "200"]);
    assert!(lab.book.borrow().media.iter().any(|line| line.starts_with("join")));
    lab.hang_up(phone);
    assert_eq!(lab.seen(caller), ["bye"]);
}

#[test]
fn an_extension_that_nobody_registered_is_unavailable() {
    let mut lab = Lab::new(USERS, &[]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1002");
    assert_eq!(lab.seen(caller), ["480 Temporarily Unavailable"]);
}

#[test]
fn a_shutdown_takes_no_calls_and_ends_the_rest_in_time() {
    let mut lab = Lab::new("", &[("1000", ANSWER)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.switch.drain(std::time::Duration::from_secs(30));
    lab.settle();
    let late = lab.phone("127.0.0.1:5071");
    lab.dial(late, "1000");
    assert_eq!(lab.seen(late), ["503 Service Unavailable"]);
    lab.wait(29_000);
    assert_eq!(lab.seen(caller), ["200"]);
    lab.wait(1_000);
    assert_eq!(lab.seen(caller), ["bye SIP;cause=503;text=\"Service Unavailable\""]);
    assert!(lab.switch.is_drained());
}
