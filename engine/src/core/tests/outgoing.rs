use lockstep_sip::message::{NameAddr, Uri};
use lockstep_sip::resolve::{NextHops, Server};

use super::lab::{ENGINE, Lab, PhoneId, next_hops};
use super::watching::ask;
use crate::core::handle::{Originate, Request};

pub(super) const USERS: &str = "[[user]]\nname = \"1001\"\npassword = \"pw1\"\n[[user]]\nname = \"1002\"\npassword = \"pw2\"\n";

pub(super) fn registered(lab: &mut Lab, address: &str, user: &str, password: &str) -> PhoneId {
    let phone = lab.phone(address);
    lab.knows_password(phone, user, password);
    lab.register(phone, user);
    lab.seen(phone);
    phone
}

#[test]
fn what_ends_a_call_follows_a_phone_that_registers_from_elsewhere() {
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    for (is_up, told) in [(false, "cancel"), (true, "bye")] {
        let mut lab = Lab::new(USERS, &[("1000", script)]);
        let callee = lab.phone("127.0.0.1:5071");
        lab.knows_password(callee, "1001", "pw1");
        let contact = NameAddr::new(Uri::parse("sip:127.0.0.1:5071").unwrap());
        lab.register_contact(callee, "1001", contact.clone());
        let caller = lab.phone("127.0.0.1:5070");
        lab.dial(caller, "1000");
        lab.respond(callee, 180);
        if is_up {
            lab.pick_up(callee);
        }
        lab.at(callee).address = "127.0.0.1:5072".parse().unwrap();
        match is_up {
            true => lab.hang_up(caller),
            false => lab.give_up(caller),
        }
        lab.seen(callee);
        lab.register_contact(callee, "1001", contact);
        assert_eq!(lab.seen(callee), [told, "response 200"]);
    }
}

#[test]
fn the_name_of_who_places_a_call_is_seen_by_watchers() {
    let mut lab = Lab::new(USERS, &[]);
    registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let (from, from_name) = (Some("4711".to_owned()), Some("Al Bo".to_owned()));
    let wanted = Originate { to: "1001".into(), from, from_name, park: true, ..Originate::default() };
    let id = ask(&mut lab, |reply| Request::Originate(wanted, reply)).unwrap();
    let channel = ask(&mut lab, |reply| Request::Channel(id, reply)).unwrap();
    assert_eq!((channel.caller_name.as_str(), channel.vars.get("caller_id_name")), ("Al Bo", Some("Al Bo")));
}

#[test]
fn a_placed_call_has_a_header_field_once_however_its_name_is_written() {
    let mut lab = Lab::new(USERS, &[]);
    registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let vars = [("sip_h_X-A", "1"), ("sip_h_x-a", "2"), ("b", "3"), ("B", "4")];
    let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let wanted = Originate { to: "1001".into(), vars, park: true, ..Originate::default() };
    let id = ask(&mut lab, |reply| Request::Originate(wanted, reply)).unwrap();
    let channel = ask(&mut lab, |reply| Request::Channel(id, reply)).unwrap();
    assert_eq!(channel.vars.iter().filter(|(name, _)| name.starts_with("sip_h_")).count(), 1);
    assert_eq!((channel.vars.get("sip_h_X-a"), channel.vars.get("b"), channel.vars.get("B")), (Some("1"), Some("3"), Some("4")));
}

#[test]
fn a_ring_group_stops_when_one_answers() {
    let script = "async function main(data, ctx) {
      const { status } = await ctx.bridge(['1001', '1002'], { continue_on: true });
      console.log(status);
    }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let first = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let second = registered(&mut lab, "127.0.0.1:5072", "1002", "pw2");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.respond(first, 180);
    lab.respond(second, 180);
    lab.pick_up(second);
    assert_eq!(lab.seen(first), ["invite", "cancel SIP;cause=200;text=\"Call completed elsewhere\""]);
    assert_eq!(lab.seen(caller), ["180", "200"]);
    lab.hang_up(second);
    assert_eq!(lab.seen(caller), ["bye"]);
}

#[test]
fn of_two_who_answer_at_the_same_time_the_second_is_hung_up() {
    let script = "async function main(data, ctx) { await ctx.bridge(['1001', '1002']); }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let phones = [("127.0.0.1:5071", "1001", "pw1"), ("127.0.0.1:5072", "1002", "pw2")];
    let [first, second] = phones.map(|(address, user, password)| registered(&mut lab, address, user, password));
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.pick_up_at_once(&[first, second]);
    assert_eq!((lab.seen(first), lab.seen(second)), (vec!["invite".to_owned()], vec!["invite".to_owned(), "bye".to_owned()]));
    lab.hang_up(first);
    assert_eq!(lab.seen(caller), ["200", "bye"]);
    let exchange = lab.switch.exchange.borrow();
    assert_eq!((exchange.endpoint.dialog_count(), exchange.dialogs.len(), exchange.given_up.len()), (0, 0, 0));
}

#[test]
fn a_callee_who_answers_while_the_caller_gives_up_is_hung_up() {
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    // Packets of phones that were made earlier arrive first: the CANCEL before the 200.
    let caller = lab.phone("127.0.0.1:5070");
    let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    lab.dial(caller, "1000");
    lab.respond(callee, 180);
    lab.cancel(caller);
    lab.pick_up(callee);
    assert_eq!(lab.seen(callee), ["invite", "bye"]);
    assert_eq!(lab.switch.exchange.borrow().endpoint.dialog_count(), 0);
}

#[test]
fn the_callers_name_goes_with_the_callers_number_and_with_no_other() {
    for (script, from) in [
        ("await ctx.bridge('1001');", ("caller", Some("Alice Smith"))),
        ("await ctx.bridge('1001', { caller_id: 'caller' });", ("caller", Some("Alice Smith"))),
        ("await ctx.bridge('1001', { caller_id: '442080000' });", ("442080000", None)),
        ("await ctx.bridge('1001', { caller_id: '442080000', from_name: 'Desk' });", ("442080000", Some("Desk"))),
        ("await ctx.set('effective_caller_id_number', '442080000'); await ctx.bridge('1001');", ("442080000", None)),
    ] {
        let script = format!("async function main(data, ctx) {{ {script} }}");
        let mut lab = Lab::new(USERS, &[("1000", &script)]);
        let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let caller = lab.phone("127.0.0.1:5070");
        lab.at(caller).name = Some("Alice Smith".to_owned());
        lab.dial(caller, "1000");
        let invite = lab.at(callee).invited.clone().expect("an INVITE came");
        let shown = invite.headers.from().unwrap().unwrap();
        assert_eq!((shown.uri.user().as_deref(), shown.display_name.as_deref()), (Some(from.0), from.1), "{script}");
    }
}

#[test]
fn a_script_reaches_another_script_through_the_engine_itself() {
    let first = "async function main(data, ctx) {
      await ctx.answer();
      const { status, code } = await ctx.bridge('2000', { continue_on: true });
      console.log(status, code);
    }";
    let second = "async function main(data, ctx) { await ctx.answer(); await ctx.play('user/x.wav'); }";
    let mut lab = Lab::new("", &[("1000", first), ("2000", second)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    assert_eq!(lab.switch.calls.len(), 2);
    lab.audio_ends();
    assert_eq!(lab.seen(caller), ["200", "bye"]);
    assert_eq!(lab.past().len(), 2);
}

#[test]
fn a_script_that_calls_itself_runs_out_of_hops() {
    let script = "async function main(data, ctx) {
      const { code } = await ctx.bridge('1000', { continue_on: true });
      throw code + ' From Below';
    }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.wait(100);
    assert_eq!(lab.seen(caller), ["483 From Below"]);
    assert_eq!(lab.past().len(), 17);
    assert_eq!(lab.switch.calls.len(), 0);
}

#[test]
fn nothing_leaves_the_engine_but_to_users_and_gateways() {
    let script = "async function main(data, ctx) {
      const { status, code } = await ctx.bridge('sip:x@198.51.100.1', { continue_on: true });
      throw code + ' ' + status;
    }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    assert_eq!(lab.seen(caller), ["403 failed"]);
}

#[test]
fn the_caller_is_not_told_in_our_words_why_a_target_cannot_be_called() {
    let script = "async function main(data, ctx) { await ctx.bridge('nobody'); }";
    let mut lab = Lab::new("", &[("1000", script)]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    assert_eq!(lab.seen(caller), ["404 Not Found"]);
    let reason = lab.past()[0].ended.clone().unwrap().reason;
    assert_eq!(reason, "nobody is neither a user nor a Class 5 destination");
}

#[test]
fn a_phone_that_is_out_of_service_does_not_make_us_say_that_we_are() {
    let script = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    lab.respond(phone, 503);
    assert_eq!(lab.seen(caller), ["480 Temporarily Unavailable"]);
}

#[test]
fn what_a_far_end_says_of_our_invite_is_not_said_of_the_callers() {
    let config = format!("{USERS}[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"");
    let by_user = "async function main(data, ctx) { await ctx.bridge('1001'); }";
    let by_gateway = "async function main(data, ctx) { await ctx.bridge('sip:x@198.51.100.7'); }";
    for code in [405, 420, 481, 491, 501, 580] {
        let mut lab = Lab::new(&config, &[("1000", by_user), ("2000", by_gateway)]);
        let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
        let carrier = lab.phone("198.51.100.7:5060");
        for (dialled, callee, told) in [("1000", phone, "480 Temporarily Unavailable"), ("2000", carrier, "502 Bad Gateway")] {
            let caller = lab.phone(&format!("127.0.0.1:{}", if dialled == "1000" { 5072 } else { 5073 }));
            lab.dial(caller, dialled);
            lab.respond(callee, code);
            assert_eq!(lab.seen(caller), [told], "{code}");
            assert_eq!(lab.past()[0].ended.as_ref().map(|cause| cause.code), Some(code), "the script and the record know");
        }
    }
}

#[test]
fn a_did_that_leads_nowhere_is_not_found_in_standard_words() {
    let config = "[[did]]\nnumber = \"4420\"\ndestinations = [\"external:33123\", \"external:33124\"]";
    let mut lab = Lab::new(config, &[]);
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "4420");
    assert_eq!(lab.seen(caller), ["404 Not Found"]);
}

#[test]
fn gateways_that_are_provisioned_while_we_stop_are_not_registered_at() {
    let mut lab = Lab::new("", &[]);
    lab.switch.drain(std::time::Duration::from_secs(30));
    let gateway = "address = \"sip:198.51.100.7\"\nusername = \"us\"\npassword = \"secret\"\nregister = true";
    let config = toml::from_str(&format!("[[gateway]]\nid = 7\n{gateway}")).unwrap();
    let current = crate::platform::Platform::in_memory(&config).unwrap().provisioning.current();
    lab.switch.set_provisioning(&current);
    lab.settle();
    assert_eq!(lab.unclaimed.len(), 0);
}

#[test]
fn of_what_a_uri_adds_to_a_request_what_runs_the_protocol_stays_behind() {
    let script = "async function main(data, ctx) {
      await ctx.bridge('sip:x@198.51.100.7;method=BYE;user=phone?X-Id=1&Route=%3Csip:evil.example%3E');
    }";
    let mut lab = Lab::new("[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"", &[("1000", script)]);
    let carrier = lab.phone("198.51.100.7:5060");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let invite = lab.at(carrier).invited.clone().unwrap();
    assert_eq!(invite.uri.to_string(), "sip:x@198.51.100.7;user=phone");
    let field = |name: &str| invite.headers.get(name).map(|value| value.text().into_owned());
    assert_eq!((field("X-Id").as_deref(), field("Route")), (Some("1"), None));
}

#[test]
fn a_gateway_that_is_not_found_yet_is_looked_for_where_it_is_configured() {
    let script = "async function main(data, ctx) { await ctx.bridge('sip:x@198.51.100.7;maddr=192.0.2.66'); }";
    let mut lab = Lab::new("[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7:5070\"", &[("1000", script)]);
    let carrier = lab.phone("198.51.100.7:5070");
    // The first look-up brings nothing.
    lab.book.borrow_mut().resolving.clear();
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let invite = lab.at(carrier).invited.clone().expect("an INVITE came");
    assert_eq!(invite.uri.to_string(), "sip:x@198.51.100.7");
    assert!(lab.switch.exchange.borrow().directory.gateway_at("192.0.2.66".parse().unwrap()).is_none());
}

#[test]
fn the_callee_is_told_who_calls() {
    let script = "async function main(data, ctx) {
      ctx.set('sip_h_X-Ticket', '77');
      await ctx.bridge('1001', { from_name: 'Front Desk' });
    }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let caller = lab.phone("127.0.0.1:5070");
    lab.dial(caller, "1000");
    let invite = lab.at(phone).invited.clone().unwrap();
    let from = invite.headers.from().unwrap().unwrap();
    assert_eq!(from.uri.user().as_deref(), Some("caller"));
    assert_eq!(from.display_name.as_deref(), Some("Front Desk"));
    assert_eq!(invite.headers.get("X-Ticket").map(|value| value.text().into_owned()).as_deref(), Some("77"));
    assert_eq!(invite.headers.max_forwards().unwrap().unwrap(), 69);
}

#[test]
fn a_call_of_ours_runs_its_script_when_it_is_answered() {
    let script = "async function main(data, ctx) {
      console.log(data.direction, data.vars.ticket, ctx.call.state);
      await ctx.answer();
      await ctx.play('user/x.wav');
    }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let (reply, mut answer) = tokio::sync::oneshot::channel();
    let wanted = Originate {
        to: "1001".into(),
        from: Some("4420".into()),
        destination: "1000".into(),
        vars: [("ticket", "77"), ("sip_h_X-Foo", "ab"), ("sip_h_Call-Info", "<sip:a>;answer-after=0"), ("sip_h_Via", "x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        timeout: None,
        ..Originate::default()
    };
    lab.switch.request(Request::Originate(wanted, reply));
    lab.settle();
    assert!(answer.try_recv().unwrap().is_ok());
    assert_eq!(lab.seen(phone), ["invite"]);
    let invite = lab.at(phone).invited.clone().unwrap();
    let field = |name: &str| invite.headers.get(name).map(|value| value.text().into_owned());
    assert_eq!(field("X-Foo").as_deref(), Some("ab"));
    assert_eq!(field("Call-Info").as_deref(), Some("<sip:a>;answer-after=0"));
    assert_eq!(invite.headers.via_count(), 1);
    lab.pick_up(phone);
    lab.audio_ends();
    assert_eq!(lab.seen(phone), ["bye"]);
    let entries = serde_json::to_value(&lab.past()[0].entries).unwrap();
    let line = entries.as_array().unwrap().iter().find(|entry| entry["kind"] == "log").unwrap();
    assert_eq!(line["text"], "outbound 77 answered");
}

#[test]
fn a_call_of_ours_rings_at_every_binding_and_belongs_to_the_one_that_answers() {
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.play('user/x.wav'); }";
    let mut lab = Lab::new(USERS, &[("1000", script)]);
    let first = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let second = registered(&mut lab, "127.0.0.1:5072", "1001", "pw1");
    let (reply, _answer) = tokio::sync::oneshot::channel();
    let wanted = Originate { to: "1001".into(), destination: "1000".into(), ..Originate::default() };
    lab.switch.request(Request::Originate(wanted, reply));
    lab.settle();
    lab.respond(first, 180);
    lab.pick_up(second);
    assert_eq!(lab.seen(first), ["invite", "cancel SIP;cause=200;text=\"Call completed elsewhere\""]);
    lab.hang_up(second);
    let ended = lab.past()[0].ended.clone().unwrap();
    assert_eq!((ended.code, ended.by.name()), (200, "callee"));
}

#[test]
fn a_call_of_ours_whose_invite_is_too_large_to_be_sent_is_ended_by_us() {
    let mut lab = Lab::new(USERS, &[("1000", "function main() {}")]);
    let callee = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let vars = (0..70).map(|number| (format!("sip_h_X-{number}"), "x".repeat(1_000))).collect();
    let wanted = Originate { to: "1001".into(), destination: "1000".into(), vars, ..Originate::default() };
    ask(&mut lab, |reply| Request::Originate(wanted, reply)).unwrap();
    lab.settle();
    assert_eq!(lab.seen(callee), Vec::<String>::new());
    let ended = lab.past()[0].ended.clone().unwrap();
    assert_eq!((ended.code, ended.by.name()), (503, "engine"));
}

#[test]
fn a_call_of_ours_that_nobody_answers_is_given_up() {
    let mut lab = Lab::new(USERS, &[("1000", "function main() {}")]);
    let phone = registered(&mut lab, "127.0.0.1:5071", "1001", "pw1");
    let (reply, _answer) = tokio::sync::oneshot::channel();
    let wanted = Originate {
        to: format!("sip:1001@{ENGINE}"),
        destination: "1000".into(),
        timeout: Some(std::time::Duration::from_secs(20)),
        ..Originate::default()
    };
    lab.switch.request(Request::Originate(wanted, reply));
    lab.settle();
    lab.respond(phone, 180);
    lab.wait(20_000);
    assert_eq!(lab.seen(phone), ["invite", "cancel SIP;cause=408;text=\"Request Timeout\""]);
    assert_eq!(lab.past()[0].ended.as_ref().map(|cause| cause.code), Some(408));
}

#[test]
fn a_gateway_of_two_families_gets_an_invite_that_fits_each() {
    let script = "async function main(data, ctx) { await ctx.bridge('sip:x@198.51.100.7'); }";
    for is_placed in [false, true] {
        let mut lab = Lab::new("[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"", &[("1000", script)]);
        lab.settle();
        let addresses = ["198.51.100.7:5060", "[2001:db8::7]:5060"];
        let found = next_hops(addresses.map(|address| address.parse().unwrap()));
        lab.switch.exchange.borrow_mut().directory.set_gateway_destinations(lab.now.instant, 7, found);
        let [first, second] = addresses.map(|address| lab.phone(address));
        if is_placed {
            let (reply, _answer) = tokio::sync::oneshot::channel();
            let to = "sip:x@198.51.100.7".to_owned();
            lab.switch.request(Request::Originate(Originate { to, destination: "1000".into(), ..Originate::default() }, reply));
            lab.settle();
        } else {
            let caller = lab.phone("127.0.0.1:5070");
            lab.dial(caller, "1000");
        }
        for (phone, host, connection, code) in
            [(first, "@127.0.0.1:5060", "c=IN IP4 127.0.0.1", 503), (second, "@[::1]:5060", "c=IN IP6 ::1", 486)]
        {
            let invite = lab.at(phone).invited.clone().expect("an INVITE came");
            let contact = invite.headers.get("Contact").unwrap().text().into_owned();
            assert!(contact.contains(host), "{contact}");
            let sdp = String::from_utf8(invite.body.to_vec()).unwrap();
            assert!(sdp.contains(connection), "{sdp}");
            lab.respond(phone, code);
        }
        assert_eq!(lab.past()[0].ended.as_ref().map(|cause| cause.code), Some(486));
        let codes: Vec<_> = lab.book.borrow().records[0].attempts.iter().map(|attempt| attempt.code).collect();
        assert_eq!(codes, [Some(503), Some(486)]);
    }
}

#[test]
fn calls_are_spread_over_the_servers_of_a_gateway() {
    let script = "async function main(data, ctx) { await ctx.bridge('sip:x@198.51.100.7'); }";
    let mut lab = Lab::new("[[gateway]]\nid = 7\naddress = \"sip:198.51.100.7\"", &[("1000", script)]);
    let servers = ["198.51.100.8:5060", "198.51.100.9:5060"];
    let phones = servers.map(|address| lab.phone(address));
    lab.settle();
    let of = |address: &str| Server { weight: 50, ..next_hops([address.parse().unwrap()]).servers.remove(0) };
    let found = NextHops { servers: servers.map(of).into(), is_guess: false };
    lab.switch.exchange.borrow_mut().directory.set_gateway_destinations(lab.now.instant, 7, found);
    let caller = lab.phone("127.0.0.1:5070");
    let mut calls = [0; 2];
    for _ in 0..40 {
        lab.dial(caller, "1000");
        let called = phones.iter().position(|phone| lab.seen(*phone) == ["invite"]).expect("one of them is called");
        calls[called] += 1;
        lab.respond(phones[called], 486);
        lab.seen(phones[called]);
    }
    assert!(calls.iter().all(|calls| *calls > 10), "{calls:?}");
}
