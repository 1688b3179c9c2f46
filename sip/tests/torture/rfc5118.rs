//! RFC 5118: IPv6 addresses wherever they can stand.

use std::net::{IpAddr, Ipv6Addr};

use lockstep_sip::{endpoint::Event, message::Host};

use super::{deliver, notation, request};

fn sample(name: &str) -> Vec<u8> {
    notation::find(&notation::load(include_str!("rfc5118.txt")), name).to_vec()
}

fn v6(text: &str) -> IpAddr {
    IpAddr::V6(text.parse::<Ipv6Addr>().unwrap())
}

#[test]
fn every_message_gets_its_answer() {
    let samples = notation::load(include_str!("rfc5118.txt"));
    assert_eq!(samples.len(), 12);
    for sample in &samples {
        let reaction = deliver(&sample.bytes);
        let title = format!("{} {}: {reaction:?}", sample.section, sample.name);
        match sample.name {
            "ipv6-bad" => assert_eq!(reaction.codes(), [400], "{title}"),
            // They belong to dialogs we do not have.
            "via-received-param-with-delim" | "mult-ip-in-header" => assert_eq!(reaction.codes(), [481], "{title}"),
            "ipv6-in-sdp" | "mult-ip-in-sdp" | "ipv4-mapped-ipv6" => {
                assert!(matches!(reaction.events.as_slice(), [Event::Invite { offer: Some(_), .. }]), "{title}");
            }
            _ => assert!(matches!(reaction.events.as_slice(), [Event::Request { .. }]), "{title}"),
        }
    }
}

#[test]
fn the_port_is_what_stands_outside_the_brackets() {
    let target = |name: &str| {
        let uri = request(&sample(name)).uri;
        let uri = uri.as_sip().unwrap();
        (uri.host.ip().unwrap(), uri.port)
    };
    assert_eq!(target("ipv6-good"), (v6("2001:db8::10"), None));
    assert_eq!(target("port-ambiguous"), (v6("2001:db8::10:5070"), None));
    assert_eq!(target("port-unambiguous"), (v6("2001:db8::10"), Some(5070)));
}

#[test]
fn received_is_read_with_and_without_brackets() {
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let via = request(&sample(name)).headers.top_via().unwrap().unwrap().clone();
        assert_eq!(via.host, Host::V6("2001:db8::9:1".parse().unwrap()), "{name}");
        assert_eq!(via.received(), Some(v6("2001:db8::9:255")), "{name}");
    }
}

#[test]
fn addresses_of_both_kinds_stand_side_by_side() {
    let request_of = |name: &str| request(&sample(name));
    let mixed = request_of("mult-ip-in-header");
    assert_eq!(mixed.headers.via_count(), 3);
    assert_eq!(mixed.headers.top_via().unwrap().unwrap().port, Some(6050));
    let mapped = request_of("ipv4-mapped-ipv6");
    assert_eq!(mapped.headers.top_via().unwrap().unwrap().port, Some(19823));
    assert_eq!(mapped.headers.contact().unwrap().uri.host().unwrap().ip(), Some(v6("::ffff:192.0.2.2")));
}

#[test]
fn a_colon_too_many_from_the_grammar_bug_is_overlooked() {
    let hosts = ["ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons"]
        .map(|name| request(&sample(name)).uri.host().unwrap().ip().unwrap());
    assert_eq!(hosts, [v6("2001:db8::192.0.2.1"); 2]);
}
