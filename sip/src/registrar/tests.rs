use std::net::SocketAddr;

use super::*;
use crate::{
    message::{Message, parse},
    net::Protocol,
};

struct Rig {
    registrar: Registrar,
    now: Instant,
    source: Source,
}

#[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
fn rig() -> Rig {
    let source = Source {
        protocol: Protocol::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "203.0.113.7:31337".parse().unwrap(),
        flow: None,
    };
    Rig { registrar: Registrar::new(RegistrarConfig::default()), now: Instant::now(), source }
}

impl Rig {
    /// A REGISTER with Call-ID `call`, CSeq `cseq` and further header lines.
    fn register(&mut self, call: &str, cseq: u32, lines: &[&str]) -> RegisterReply {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let text = format!(
            "REGISTER sip:example.net SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bK{cseq}\r\n\
             From: <sip:1001@example.net>;tag=1\r\nTo: <sip:1001@example.net>\r\nCall-ID: {call}\r\n\
             CSeq: {cseq} REGISTER\r\nMax-Forwards: 70\r\n{lines}\r\n"
        );
        let Ok(Message::Request(request)) = parse(text.as_bytes()) else { panic!("unreadable: {text}") };
        self.registrar.register(self.now, "1001", &request, self.source)
    }

    fn contacts(&self) -> Vec<String> {
        self.registrar.lookup("1001", self.now).iter().map(|binding| binding.contact.uri.to_string()).collect()
    }

    fn wait(&mut self, seconds: u64) -> Vec<Change> {
        self.now += Duration::from_secs(seconds);
        self.registrar.handle_timeout(self.now)
    }
}

fn listed(reply: &RegisterReply) -> Vec<String> {
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.headers.get_all(HeaderName::Contact).map(|value| value.text().into_owned()).collect()
}

fn removed(contact: &str, why: Removal) -> Change {
    Change::Removed { address: "1001".into(), contact: contact.into(), why }
}

#[test]
fn a_binding_is_listed_with_what_is_left_of_it_until_it_expires() {
    let mut rig = rig();
    let reply = rig.register("c", 1, &["Contact: <sip:1001@10.0.0.5:5060>;q=0.5", "Expires: 120"]);
    assert_eq!(listed(&reply), ["<sip:1001@10.0.0.5:5060>;q=0.5;expires=120"]);
    assert_eq!(reply.changes, [Change::Added { address: "1001".into(), contact: "sip:1001@10.0.0.5:5060".into() }]);
    assert!(rig.wait(50).is_empty());
    assert_eq!(listed(&rig.register("c", 2, &[])), ["<sip:1001@10.0.0.5:5060>;q=0.5;expires=70"], "a query");
    assert_eq!(rig.registrar.poll_timeout(), Some(rig.now + Duration::from_secs(70)));
    assert_eq!(rig.wait(70), [removed("sip:1001@10.0.0.5:5060", Removal::Expired)]);
    assert!(rig.contacts().is_empty() && rig.registrar.is_empty());
    assert_eq!(rig.registrar.poll_timeout(), None);
}

#[test]
fn a_device_that_registers_from_elsewhere_says_where_it_was() {
    let mut rig = rig();
    let contact = |port: u16| format!("Contact: <sip:1001@10.0.0.5:{port}>;+sip.instance=\"<urn:uuid:1>\"");
    let at = |port: u16, flow| Source {
        protocol: Protocol::Tcp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: SocketAddr::from(([203, 0, 113, 7], port)),
        flow: Some(FlowId(flow)),
    };
    let moved =
        |reply: &RegisterReply| reply.moved.iter().map(|moved| (moved.contact.uri.to_string(), moved.from)).collect::<Vec<_>>();
    rig.source = at(40_000, 7);
    assert_eq!(moved(&rig.register("c", 1, &[&contact(1)])), []);
    rig.registrar.handle_flow_closed(FlowId(7));
    rig.source = at(40_001, 8);
    let reply = rig.register("d", 1, &[&contact(2)]);
    assert_eq!(moved(&reply), [("sip:1001@10.0.0.5:1".to_owned(), at(40_000, 7))]);
    assert_eq!(moved(&rig.register("d", 2, &[&contact(2)])), []);
    // Nobody has told us that the connection is gone.
    rig.source = at(40_002, 9);
    let reply = rig.register("e", 1, &[&contact(3)]);
    assert_eq!(moved(&reply), [("sip:1001@10.0.0.5:2".to_owned(), at(40_001, 8))]);
}

#[test]
fn another_device_with_the_same_contact_takes_the_binding_and_no_dialogs() {
    let at = |remote: &str, flow| Source {
        protocol: Protocol::Tcp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
        flow: Some(FlowId(flow)),
    };
    let (home, office) = (at("203.0.113.7:40000", 7), at("198.51.100.9:40000", 8));
    let plain = "Contact: <sip:1001@192.168.1.10:5060>";
    let [first, second] = [1, 2].map(|number| format!("{plain};+sip.instance=\"<urn:uuid:{number}>\""));
    for (mine, theirs) in [(first.as_str(), second.as_str()), (first.as_str(), plain), (plain, first.as_str()), (plain, plain)] {
        let mut rig = rig();
        rig.source = home;
        rig.register("c", 1, &[mine]);
        rig.source = office;
        assert_eq!(rig.register("d", 1, &[theirs]).moved.len(), 0, "{mine} {theirs}");
        assert_eq!(rig.contacts().len(), 1, "a binding is known by its URI");
    }
    let mut rig = rig();
    rig.source = home;
    rig.register("c", 1, &[plain]);
    rig.source = office;
    assert_eq!(rig.register("c", 2, &[plain]).moved.len(), 1, "one device goes on counting");
    rig.source = at("198.51.100.9:40001", 9);
    assert_eq!(rig.register("e", 1, &[plain]).moved.len(), 1, "its NAT has given it another port");
}

#[test]
fn a_device_that_lost_its_connection_gets_its_dialogs_back_from_no_other_with_the_same_contact() {
    let mut rig = rig();
    let contact = |number: u8| format!("Contact: <sip:1001@192.168.1.10:5060>;+sip.instance=\"<urn:uuid:{number}>\"");
    rig.source = Source { protocol: Protocol::Tcp, flow: Some(FlowId(7)), ..rig.source };
    let before = rig.source;
    rig.register("c", 1, &[&contact(1)]);
    rig.registrar.handle_flow_closed(FlowId(7));
    rig.source = Source { remote: "198.51.100.9:40000".parse().unwrap(), flow: Some(FlowId(8)), ..before };
    assert_eq!(rig.register("d", 1, &[&contact(2)]).moved.len(), 0);
    rig.source = Source { remote: "203.0.113.7:40001".parse().unwrap(), flow: Some(FlowId(9)), ..before };
    let moved = rig.register("e", 1, &[&contact(1)]).moved;
    assert_eq!(moved.iter().map(|moved| moved.from).collect::<Vec<_>>(), [before]);
}

#[test]
fn a_contact_that_is_named_twice_is_one_binding() {
    let mut rig = rig();
    let line = "Contact: <sip:1001@phone.example>, <sip:1001@PHONE.example>";
    assert_eq!(listed(&rig.register("c", 1, &[line, "Contact: <sip:1001@phone.example>"])).len(), 1);
    assert!(listed(&rig.register("c", 2, &[line, "Expires: 0"])).is_empty());
}

#[test]
fn of_a_contact_that_is_named_twice_the_last_counts() {
    let mut rig = rig();
    for cseq in [1, 2] {
        rig.register("c", cseq, &["Contact: <sip:1001@phone.example>;expires=0, <sip:1001@phone.example>"]);
        assert_eq!(rig.contacts(), ["sip:1001@phone.example"], "a phone that clears and binds in one");
    }
    rig.register("c", 3, &["Contact: <sip:1001@phone.example>, <sip:1001@phone.example>;expires=0"]);
    assert!(rig.contacts().is_empty());
}

#[test]
fn calls_go_to_where_the_device_registered_from() {
    let mut rig = rig();
    rig.register("c", 1, &["Contact: <sip:1001@10.0.0.5:5060>"]);
    let binding = rig.registrar.lookup("1001", rig.now)[0];
    assert_eq!(binding.destination(), rig.source.reply_path());
    let elsewhere = Source { remote: "203.0.113.7:31338".parse().unwrap(), ..rig.source };
    rig.source = elsewhere;
    rig.register("c", 2, &["Contact: <sip:1001@10.0.0.5:5060>"]);
    assert_eq!(rig.registrar.lookup("1001", rig.now)[0].destination().remote, elsewhere.remote, "the NAT moved");
}

#[test]
fn devices_come_in_the_order_of_q_then_of_freshness() {
    let mut rig = rig();
    rig.register("c", 1, &["Contact: <sip:a@h>;q=0.1, <sip:b@h>;q=0.9, <sip:c@h>;q=0.5", "Expires: 600"]);
    rig.wait(10);
    rig.register("d", 1, &["Contact: <sip:d@h>;q=0.5", "Expires: 600"]);
    assert_eq!(rig.contacts(), ["sip:b@h", "sip:d@h", "sip:c@h", "sip:a@h"]);
}

#[test]
fn expires_of_a_contact_beats_the_header_and_long_ones_are_shortened() {
    let mut rig = rig();
    let reply = rig.register("c", 1, &["Contact: <sip:a@h>;expires=90, <sip:b@h>", "Expires: 999999"]);
    let mut contacts = listed(&reply);
    contacts.sort();
    assert_eq!(contacts, ["<sip:a@h>;expires=90", "<sip:b@h>;expires=7200"]);
    let reply = rig.register("d", 1, &["Contact: <sip:c@h>"]);
    assert!(listed(&reply).contains(&"<sip:c@h>;expires=3600".to_owned()), "the default");
}

#[test]
fn too_short_an_interval_is_refused_with_the_least_and_changes_nothing() {
    let mut rig = rig();
    let reply = rig.register("c", 1, &["Contact: <sip:a@h>;expires=600, <sip:b@h>;expires=59"]);
    assert_eq!(reply.status, StatusCode::INTERVAL_TOO_BRIEF);
    assert_eq!(reply.headers.min_expires(), Some(60));
    assert!(rig.contacts().is_empty());
}

#[test]
fn zero_unregisters_one_contact() {
    let mut rig = rig();
    rig.register("c", 1, &["Contact: <sip:a@h>, <sip:b@h>"]);
    let reply = rig.register("c", 2, &["Contact: <sip:a@H>;expires=0"]);
    assert_eq!(reply.changes, [removed("sip:a@h", Removal::Unregistered)], "hosts compare without case");
    assert_eq!(rig.contacts(), ["sip:b@h"]);
    assert!(listed(&rig.register("c", 3, &["Contact: <sip:never@h>;expires=0"])).len() == 1);
}

#[test]
fn a_star_unregisters_all_and_only_with_expires_0() {
    let mut rig = rig();
    rig.register("c", 1, &["Contact: <sip:a@h>, <sip:b@h>"]);
    for lines in [&["Contact: *"][..], &["Contact: *", "Expires: 60"], &["Contact: *", "Contact: <sip:a@h>", "Expires: 0"]] {
        assert_eq!(rig.register("c", 2, lines).status, StatusCode::BAD_REQUEST, "{lines:?}");
    }
    assert_eq!(rig.contacts().len(), 2);
    let reply = rig.register("c", 3, &["Contact: *", "Expires: 0"]);
    assert_eq!((listed(&reply).len(), reply.changes.len()), (0, 2));
    assert!(rig.registrar.is_empty());
}

#[test]
fn an_older_request_of_the_same_device_undoes_nothing() {
    let mut rig = rig();
    rig.register("c", 5, &["Contact: <sip:a@h>"]);
    for (cseq, lines) in
        [(5, &["Contact: <sip:a@h>;expires=0"][..]), (4, &["Contact: *", "Expires: 0"]), (4, &["Contact: <sip:b@h>, <sip:a@h>"])]
    {
        let reply = rig.register("c", cseq, lines);
        assert_eq!(reply.status, StatusCode::SERVER_INTERNAL_ERROR, "{lines:?}");
        assert_eq!(rig.contacts(), ["sip:a@h"]);
    }
    let reply = rig.register("after a restart", 1, &["Contact: <sip:a@h>"]);
    assert_eq!(reply.changes, [Change::Refreshed { address: "1001".into(), contact: "sip:a@h".into() }]);
}

#[test]
fn a_device_that_comes_back_under_another_contact_replaces_itself() {
    let mut rig = rig();
    let instance = "+sip.instance=\"<urn:uuid:0001>\"";
    rig.register("c", 1, &[&format!("Contact: <sip:a@10.0.0.5:40001;transport=tcp>;{instance}")]);
    rig.register("d", 1, &[&format!("Contact: <sip:a@10.0.0.5:40002;transport=tcp>;{instance}")]);
    assert_eq!(rig.contacts(), ["sip:a@10.0.0.5:40002;transport=tcp"]);
    rig.register("e", 1, &[&format!("Contact: <sip:a@x>;reg-id=1;{instance}, <sip:a@y>;reg-id=2;{instance}")]);
    assert_eq!(rig.contacts().len(), 3, "separate flows of one device");
    rig.register("f", 1, &[&format!("Contact: <sip:b@x>;{instance}, <sip:b@y>;{instance}")]);
    assert_eq!(rig.contacts().len(), 4, "two contacts under one instance do not replace each other");
}

#[test]
fn past_the_bound_the_binding_nearest_its_end_gives_way() {
    let mut rig = rig();
    rig.registrar.config.max_bindings_per_address = 2;
    rig.register("a", 1, &["Contact: <sip:a@h>;expires=600"]);
    rig.register("b", 1, &["Contact: <sip:b@h>;expires=300"]);
    let reply = rig.register("c", 1, &["Contact: <sip:c@h>;expires=900"]);
    assert_eq!(reply.changes[1], removed("sip:b@h", Removal::Displaced));
    assert_eq!(rig.contacts(), ["sip:c@h", "sip:a@h"]);
    let reply = rig.register("d", 1, &["Contact: <sip:d@h>, <sip:e@h>, <sip:f@h>"]);
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    rig.registrar.config.max_bindings = 2;
    let reply = rig.register("e", 1, &["Contact: <sip:g@h>"]);
    assert_eq!((reply.status, reply.headers.retry_after()), (StatusCode::SERVICE_UNAVAILABLE, Some(60)));
    assert_eq!(rig.contacts().len(), 2);
}

#[test]
fn a_closed_connection_takes_the_devices_behind_a_nat_with_it() {
    let mut rig = rig();
    rig.source.protocol = Protocol::Tcp;
    rig.source.flow = Some(FlowId(7));
    rig.register("c", 1, &["Contact: <sip:natted@10.0.0.5>, <sip:open@203.0.113.7:5070>"]);
    assert!(rig.registrar.handle_flow_closed(FlowId(8)).is_empty());
    let changes = rig.registrar.handle_flow_closed(FlowId(7));
    assert_eq!(changes, [removed("sip:natted@10.0.0.5", Removal::FlowClosed)]);
    let left = rig.registrar.lookup("1001", rig.now)[0];
    assert_eq!((left.destination().flow, left.destination().remote), (None, "203.0.113.7:5070".parse().unwrap()));
    assert!(rig.registrar.handle_flow_closed(FlowId(7)).is_empty());
}

#[test]
fn contacts_that_are_no_sip_uris_are_refused() {
    let mut rig = rig();
    for line in ["Contact: <tel:+441234>", "Contact: <mailto:a@h>", "Contact: <sip:a@h"] {
        assert_eq!(rig.register("c", 1, &[line]).status, StatusCode::BAD_REQUEST, "{line}");
    }
}

#[test]
fn a_contact_that_could_be_called_only_in_the_clear_is_refused_where_it_asks_for_protection() {
    for contact in ["sips:1001@10.0.0.5", "sip:1001@10.0.0.5;transport=tls", "sip:1001@10.0.0.5;transport=WSS"] {
        let mut rig = rig();
        let line = format!("Contact: <{contact}>");
        assert_eq!(rig.register("c", 1, &[&line]).status, StatusCode::BAD_REQUEST, "{contact}");
        assert!(rig.contacts().is_empty(), "{contact}");
        rig.source.protocol = Protocol::Tls;
        assert_eq!(rig.register("c", 2, &[&line]).status, StatusCode::OK, "{contact}");
    }
    for contact in ["sip:1001@10.0.0.5;transport=udp", "sip:1001@10.0.0.5;transport=TCP"] {
        let line = format!("Contact: <{contact}>");
        assert_eq!(rig().register("c", 1, &[&line]).status, StatusCode::OK, "{contact}");
    }
    let by_proxy = ["Contact: <sip:1001@10.0.0.5;transport=ws>", "Via: SIP/2.0/WS 10.0.0.5;branch=z9hG4bKws"];
    assert_eq!(rig().register("c", 1, &by_proxy).status, StatusCode::OK, "a proxy between");
}

#[test]
fn a_contact_that_goes_may_ask_for_any_transport() {
    let mut rig = rig();
    let by_udp = rig.source;
    rig.source.protocol = Protocol::Tls;
    rig.register("c", 1, &["Contact: <sip:1001@h;transport=tls>, <sips:1001@h>"]);
    rig.source = by_udp;
    let reply = rig.register("c", 2, &["Contact: <sip:1001@h;transport=tls>;expires=0, <sip:1001@h:5060>"]);
    assert_eq!((reply.status, reply.changes.len()), (StatusCode::OK, 2));
    assert_eq!(rig.register("c", 3, &["Contact: <sips:1001@h>", "Expires: 0"]).status, StatusCode::OK);
    assert_eq!(rig.contacts(), ["sip:1001@h:5060"]);
}

#[test]
fn a_device_whose_tls_ends_in_front_of_us_is_reached_by_its_connection_alone() {
    let mut rig = rig();
    rig.source.protocol = Protocol::Tcp;
    rig.source.flow = Some(FlowId(7));
    let contact = "sip:1001@203.0.113.7:5061;transport=tls";
    rig.register("c", 1, &[&format!("Contact: <{contact}>")]);
    assert_eq!(rig.contacts(), [contact]);
    assert_eq!(rig.registrar.lookup("1001", rig.now)[0].destination(), rig.source.reply_path());
    assert_eq!(rig.registrar.handle_flow_closed(FlowId(7)), [removed(contact, Removal::FlowClosed)]);
    for contact in ["sips:1001@203.0.113.7", "sip:1001@203.0.113.7;transport=wss"] {
        let reply = rig.register("d", 1, &[&format!("Contact: <{contact}>")]);
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{contact}");
    }
}
