use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::message::Uri;

/// Answers from a table and notes what was asked.
#[derive(Default)]
struct ScriptedDns {
    naptr: BTreeMap<&'static str, Vec<NaptrRecord>>,
    srv: BTreeMap<&'static str, Vec<SrvRecord>>,
    addresses: BTreeMap<&'static str, Vec<IpAddr>>,
    /// Questions that are not answered in time.
    unanswered: &'static [&'static str],
    /// Questions that are answered with a failure.
    failing: &'static [&'static str],
    asked: Mutex<Vec<String>>,
}

impl ScriptedDns {
    fn answer<T: Clone + Send + 'static>(&self, kind: &str, table: &BTreeMap<&'static str, Vec<T>>, name: &str) -> Lookup<'_, T> {
        let question = format!("{kind} {name}");
        let is_among = |questions: &[&str]| questions.iter().any(|start| question.starts_with(start));
        let answer = if is_among(self.unanswered) {
            Err(DnsError::Timeout)
        } else if is_among(self.failing) {
            Err(DnsError::Failed("SERVFAIL".into()))
        } else {
            Ok(table.get(name).cloned().unwrap_or_default())
        };
        self.asked.lock().unwrap().push(question);
        Box::pin(std::future::ready(answer))
    }
}

impl Dns for ScriptedDns {
    fn naptr<'a>(&'a self, name: &'a str) -> Lookup<'a, NaptrRecord> {
        self.answer("NAPTR", &self.naptr, name)
    }

    fn srv<'a>(&'a self, name: &'a str) -> Lookup<'a, SrvRecord> {
        self.answer("SRV", &self.srv, name)
    }

    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, IpAddr> {
        self.answer("ADDRESS", &self.addresses, name)
    }
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn srv(priority: u16, port: u16, target: &str) -> SrvRecord {
    SrvRecord { priority, weight: 0, port, target: target.into() }
}

fn naptr(order: u16, service: &str, replacement: &str) -> NaptrRecord {
    NaptrRecord { order, preference: 0, flags: "s".into(), service: service.into(), replacement: replacement.into() }
}

/// `UDP 192.0.2.1:5060`, one per destination, before them `guess` where it is one, and what was asked on the way.
fn resolve_with(dns: ScriptedDns, config: ResolveConfig, uri: &str) -> (Result<Vec<String>, ResolveError>, Vec<String>) {
    let Uri::Sip(uri) = uri.parse().unwrap() else { panic!("no sip uri") };
    let dns = Arc::new(dns);
    let resolver = Resolver::new(dns.clone(), config);
    let result = Target::from_uri(&uri).and_then(|target| {
        let future = pin!(resolver.resolve(&target, 1));
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("scripted look-ups never wait"),
        }
    });
    let text = result.map(|NextHops { servers, is_guess }| {
        let destinations = servers.iter().flat_map(|server| &server.destinations).map(|d| format!("{} {}", d.protocol, d.remote));
        is_guess.then(|| "guess".to_owned()).into_iter().chain(destinations).collect()
    });
    let asked = dns.asked.lock().unwrap().clone();
    (text, asked)
}

fn resolve(dns: ScriptedDns, uri: &str) -> (Result<Vec<String>, ResolveError>, Vec<String>) {
    resolve_with(dns, ResolveConfig::default(), uri)
}

fn zone() -> ScriptedDns {
    ScriptedDns {
        addresses: [
            ("example.net", ips(&["192.0.2.1", "2001:db8::1"])),
            ("a.example.net", ips(&["192.0.2.10"])),
            ("b.example.net", ips(&["192.0.2.20"])),
        ]
        .into(),
        ..ScriptedDns::default()
    }
}

#[test]
fn an_address_is_used_as_it_stands() {
    for (uri, want) in [
        ("sip:a@192.0.2.5", "UDP 192.0.2.5:5060"),
        ("sip:a@192.0.2.5:5080;transport=tcp", "TCP 192.0.2.5:5080"),
        ("sip:a@[2001:db8::5]", "UDP [2001:db8::5]:5060"),
        ("sip:a@example.net;maddr=192.0.2.9", "UDP 192.0.2.9:5060"),
    ] {
        let (found, asked) = resolve(zone(), uri);
        assert_eq!(found.unwrap(), [want], "{uri}");
        assert!(asked.is_empty(), "{asked:?}");
    }
}

#[test]
fn a_port_means_addresses_only() {
    let (found, asked) = resolve(zone(), "sip:a@example.net:5070");
    assert_eq!(found.unwrap(), ["UDP 192.0.2.1:5070", "UDP [2001:db8::1]:5070"]);
    assert_eq!(asked, ["ADDRESS example.net"]);
}

#[test]
fn a_transport_skips_naptr_and_asks_for_its_srv() {
    let mut dns = zone();
    dns.srv.insert("_sip._tcp.example.net", vec![srv(1, 5062, "b.example.net.")]);
    let (found, asked) = resolve(dns, "sip:a@example.net;transport=TCP");
    assert_eq!(found.unwrap(), ["TCP 192.0.2.20:5062"]);
    assert_eq!(asked, ["SRV _sip._tcp.example.net", "ADDRESS b.example.net"]);
}

#[test]
fn naptr_chooses_the_service_and_its_order_wins() {
    let mut dns = zone();
    let records = vec![
        naptr(20, "SIP+D2U", "_sip._udp.example.net."),
        naptr(10, "sip+d2t", "_sip._tcp.example.net."),
        naptr(5, "SIPS+D2T", "_sips._tcp.example.net."),
        naptr(1, "E2U+email", "mail.example.net."),
    ];
    dns.naptr.insert("example.net", records);
    dns.srv.insert("_sip._tcp.example.net", vec![srv(1, 5060, "a.example.net.")]);
    dns.srv.insert("_sip._udp.example.net", vec![srv(1, 5060, "b.example.net.")]);
    let (found, _) = resolve(dns, "sip:a@example.net");
    assert_eq!(found.unwrap(), ["TCP 192.0.2.10:5060", "UDP 192.0.2.20:5060"], "TLS is not available");
}

#[test]
fn without_naptr_every_transport_is_asked_for_and_priority_orders_servers() {
    let mut dns = zone();
    dns.srv.insert("_sip._udp.example.net", vec![srv(2, 5060, "a.example.net."), srv(1, 5070, "b.example.net.")]);
    let (found, asked) = resolve(dns, "sip:a@example.net");
    assert_eq!(found.unwrap(), ["UDP 192.0.2.20:5070", "UDP 192.0.2.10:5060"]);
    assert_eq!(asked[..2], ["NAPTR example.net", "SRV _sip._udp.example.net"]);
    assert!(asked.contains(&"SRV _sip._tcp.example.net".to_owned()));
}

#[test]
fn each_request_is_drawn_for_anew_within_services_and_priorities() {
    let mut dns = zone();
    let weighted = |target, weight| SrvRecord { weight, ..srv(1, 5060, target) };
    dns.srv.insert("_sip._udp.example.net", vec![weighted("a.example.net.", 75), weighted("b.example.net.", 25)]);
    dns.srv.insert("_sip._tcp.example.net", vec![srv(0, 5060, "example.net.")]);
    let resolver = Resolver::new(Arc::new(dns), ResolveConfig::default());
    let Uri::Sip(uri) = "sip:a@example.net".parse().unwrap() else { panic!("no sip uri") };
    let target = Target::from_uri(&uri).unwrap();
    let future = pin!(resolver.resolve(&target, 1));
    let Poll::Ready(found) = future.poll(&mut Context::from_waker(Waker::noop())) else { panic!("scripted look-ups never wait") };
    let servers = found.unwrap().servers;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut firsts = BTreeMap::new();
    for _ in 0..1000 {
        let drawn = draw(&servers, &mut rng);
        let last: Vec<_> = drawn[2..].iter().map(|last| (last.protocol, last.remote.ip())).collect();
        assert_eq!(last, ips(&["192.0.2.1", "2001:db8::1"]).into_iter().map(|ip| (Protocol::Tcp, ip)).collect::<Vec<_>>());
        *firsts.entry(drawn[0].remote.ip()).or_insert(0) += 1;
    }
    let often = firsts[&ips(&["192.0.2.10"])[0]];
    assert!((690..=810).contains(&often), "{often} of 1000");
}

#[test]
fn without_any_service_record_the_host_itself_is_meant() {
    let (found, _) = resolve(zone(), "sip:a@example.net");
    assert_eq!(found.unwrap(), ["UDP 192.0.2.1:5060", "UDP [2001:db8::1]:5060"]);
}

#[test]
fn a_host_without_a_dot_is_a_machine() {
    let mut dns = zone();
    dns.addresses.insert("freeswitch", ips(&["192.0.2.77"]));
    let (found, asked) = resolve(dns, "sip:a@freeswitch");
    assert_eq!(found.unwrap(), ["UDP 192.0.2.77:5060"]);
    assert_eq!(asked, ["ADDRESS freeswitch"]);
}

#[test]
fn a_dead_name_server_is_not_asked_for_services_twice_and_the_hosts_file_still_works() {
    let (found, asked) = resolve(ScriptedDns { unanswered: &["NAPTR", "SRV"], ..zone() }, "sip:a@example.net");
    assert_eq!(found.unwrap(), ["guess", "UDP 192.0.2.1:5060", "UDP [2001:db8::1]:5060"]);
    assert_eq!(asked.iter().filter(|question| question.starts_with("SRV")).count(), 1, "{asked:?}");
}

#[test]
fn without_an_answer_for_naptr_records_srv_records_are_asked_for() {
    let cases: [[&'static [&'static str]; 2]; 2] = [[&["NAPTR"], &[]], [&[], &["NAPTR"]]];
    for [unanswered, failing] in cases {
        let mut dns = ScriptedDns { unanswered, failing, ..zone() };
        dns.srv.insert("_sip._udp.example.net", vec![srv(1, 5070, "b.example.net.")]);
        let (found, _) = resolve(dns, "sip:a@example.net");
        assert_eq!(found.unwrap(), ["UDP 192.0.2.20:5070"]);
    }
}

#[test]
fn what_a_failed_look_up_leaves_is_a_guess() {
    let cases: [(&'static [&'static str], &[&str]); 3] = [
        (&["SRV _sip._udp"], &["guess", "TCP 192.0.2.10:5060"]),
        (&["ADDRESS a."], &["guess", "UDP 192.0.2.20:5070"]),
        (&["SRV"], &["guess", "UDP 192.0.2.1:5060", "UDP [2001:db8::1]:5060"]),
    ];
    for (failing, found) in cases {
        let mut dns = ScriptedDns { failing, ..zone() };
        dns.srv.insert("_sip._udp.example.net", vec![srv(1, 5070, "b.example.net.")]);
        dns.srv.insert("_sip._tcp.example.net", vec![srv(1, 5060, "a.example.net.")]);
        assert_eq!(resolve(dns, "sip:a@example.net").0.unwrap(), found, "{failing:?}");
    }
}

#[test]
fn without_an_answer_for_naptr_records_the_host_itself_is_a_guess() {
    let (found, _) = resolve(ScriptedDns { unanswered: &["NAPTR"], ..zone() }, "sip:a@example.net");
    assert_eq!(found.unwrap()[0], "guess");
}

#[test]
fn a_single_root_target_refuses_the_service() {
    let mut dns = zone();
    dns.srv.insert("_sip._udp.example.net", vec![srv(0, 0, ".")]);
    let (found, _) = resolve(dns, "sip:a@example.net;transport=udp");
    assert_eq!(found.unwrap_err(), ResolveError::NoService { host: "example.net".into() });
}

#[test]
fn what_cannot_be_reached_is_said() {
    let no_address = |host: &str| ResolveError::NoAddress { host: host.into() };
    assert_eq!(resolve(zone(), "sip:a@nowhere.test").0.unwrap_err(), no_address("nowhere.test"));
    let only_v4 = ResolveConfig { ipv6: false, ..ResolveConfig::default() };
    assert_eq!(resolve_with(zone(), only_v4.clone(), "sip:a@[::1]").0.unwrap_err(), no_address("::1"));
    assert_eq!(resolve_with(zone(), only_v4, "sip:a@example.net").0.unwrap(), ["UDP 192.0.2.1:5060"]);
    for (uri, protocol) in
        [("sip:a@example.net;transport=sctp", "sctp"), ("sips:a@example.net", "TLS"), ("sip:a@b;transport=ws", "WS")]
    {
        assert_eq!(resolve(zone(), uri).0.unwrap_err(), ResolveError::Unsupported { protocol: protocol.into() }, "{uri}");
    }
}

#[test]
fn a_zone_full_of_servers_is_bounded() {
    let mut dns = zone();
    let records = (0..100).map(|n| srv(n, 5060 + n, "a.example.net.")).collect();
    dns.srv.insert("_sip._udp.example.net", records);
    let config = ResolveConfig { max_destinations: 3, ..ResolveConfig::default() };
    let (found, asked) = resolve_with(dns, config, "sip:a@example.net;transport=udp");
    assert_eq!(found.unwrap(), ["UDP 192.0.2.10:5060", "UDP 192.0.2.10:5061", "UDP 192.0.2.10:5062"]);
    assert_eq!(asked.len(), 4);
}
