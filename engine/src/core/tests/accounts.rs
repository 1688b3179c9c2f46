//! Accounts beside each other: what the callers, the scripts and the numbers of one reach by dialling, and do not take from another.

use super::lab::{Lab, PhoneId};
use super::watching::{WAITS, ask, only_call};
use crate::core::Asker;
use crate::core::handle::{EngineError, Originate, Request};

const CONFIG: &str = r#"
    [[account]]
    name = "north"
    [[account]]
    name = "south"
    [[user]]
    name = "anna"
    password = "pw"
    account = "north"
    [[user]]
    name = "sven"
    password = "pw"
    account = "south"
    [[user]]
    name = "olga"
    password = "pw"
    [[customer]]
    id = 12
    account = "south"
    addresses = ["192.0.2.0/24"]
    [[gateway]]
    id = 7
    address = "sip:127.0.0.1:5091"
    addresses = ["198.51.100.0/24"]
    [[route]]
    prefix = "44"
    gateways = [7]
    [[did]]
    number = "331"
    account = "north"
    destinations = ["class5:100"]
    [[did]]
    number = "332"
    customer = 12
    destinations = ["class5:100"]
    [[did]]
    number = "333"
    customer = 12
    destinations = ["class5:200"]
    [[did]]
    number = "334"
    destinations = ["class5:200"]
"#;
const CARRIER: &str = "127.0.0.1:5091";
const LOCAL: &str = "127.0.0.1:5070";
const BRIDGES: &str = "async function main(data, ctx) { await ctx.bridge(data.to.slice(2)); }";
const DIALS_URIS: &str = "async function main(data, ctx) { await ctx.bridge(`sip:${data.to.slice(2)}@127.0.0.1:5091`); }";

fn lab() -> Lab {
    let waiting = ["north@100", "south@100", "north@200", "north@/44.*/", "default@900"].map(|name| (name, WAITS));
    let bridging = ["north@/b-.*/", "south@/b-.*/", "default@/b-.*/"].map(|name| (name, BRIDGES));
    let to_uris = ["north@/u-.*/", "south@/u-.*/", "default@/u-.*/"].map(|name| (name, DIALS_URIS));
    Lab::new(CONFIG, &[&waiting[..], &bridging[..], &to_uris[..]].concat())
}

/// A phone elsewhere, with the password of a user.
fn phone_of(lab: &mut Lab, user: &str) -> PhoneId {
    let phone = lab.phone("203.0.113.9:5060");
    lab.knows_password(phone, user, "pw");
    phone
}

/// The script that waits with the newest call that has one.
fn reached(lab: &Lab) -> String {
    let scripts = lab.switch.calls.values().rev().filter_map(|call| call.script_name());
    scripts.filter(|name| !name.contains("/b-")).take(1).collect()
}

#[test]
fn callers_reach_the_scripts_of_their_account_and_the_operators() {
    for (user, dialled, wanted) in [
        ("anna", "100", "script-north@100"),
        ("sven", "100", "script-south@100"),
        ("anna", "200", "script-north@200"),
        ("sven", "200", "404 Not Found"),
        ("olga", "100", "404 Not Found"),
        ("anna", "900", "script-default@900"),
        ("sven", "900", "script-default@900"),
        ("anna", "441234", "script-north@/44.*/"),
    ] {
        let mut lab = lab();
        let phone = phone_of(&mut lab, user);
        lab.dial(phone, dialled);
        let heard = lab.seen(phone).pop().unwrap_or_default();
        let reached = reached(&lab);
        assert_eq!(if reached.is_empty() { heard } else { reached }, wanted, "{user} {dialled}");
    }
}

#[test]
fn a_pattern_takes_no_numbers_that_other_accounts_dial() {
    for user in ["sven", "olga"] {
        let mut lab = lab();
        let carrier = lab.phone(CARRIER);
        let phone = phone_of(&mut lab, user);
        lab.dial(phone, "441234");
        assert_eq!((lab.seen(carrier), reached(&lab)), (vec!["invite".to_owned()], String::new()), "{user}");
    }
    let mut lab = lab();
    let carrier = lab.phone(CARRIER);
    let customer = lab.phone("192.0.2.9:5060");
    lab.dial(customer, "441234");
    assert_eq!(lab.seen(carrier), ["invite"]);
    lab.dial(customer, "100");
    assert_eq!(reached(&lab), "script-south@100");
}

#[test]
fn a_number_leads_to_what_its_account_reaches_whoever_dials_it() {
    for (dialled, script) in [
        ("331", "script-north@100"),
        ("332", "script-south@100"),
        ("333", ""),
        // The operator's number may lead to anybody's.
        ("334", "script-north@200"),
    ] {
        for user in [None, Some("anna"), Some("sven")] {
            let mut lab = lab();
            let phone = match user {
                Some(user) => phone_of(&mut lab, user),
                None => lab.phone(LOCAL),
            };
            lab.dial(phone, dialled);
            assert_eq!(reached(&lab), script, "{dialled} {user:?}");
        }
    }
}

#[test]
fn callers_of_no_account_reach_anybodys_scripts() {
    for address in [LOCAL, "198.51.100.8:5060"] {
        for (dialled, script) in
            [("100", "script-north@100"), ("200", "script-north@200"), ("332", "script-south@100"), ("900", "script-default@900")]
        {
            let mut lab = lab();
            let phone = lab.phone(address);
            lab.dial(phone, dialled);
            assert_eq!(reached(&lab), script, "{dialled} {address}");
        }
    }
}

#[test]
fn to_callers_of_no_account_what_the_operator_has_comes_before_scripts_of_others() {
    let scripts = ["north@441234", "north@olga", "north@sven", "north@anna", "north@5000", "default@/9.*/", "north@900"];
    let config = format!("{CONFIG}\n[[class5]]\ndestination = \"5000\"\nto = \"socket:127.0.0.1:8084 async full\"");
    // What a carrier brings is not sent on to carriers.
    for (address, dialled, script, is_sent) in [
        (LOCAL, "441234", "", true),
        ("198.51.100.8:5060", "441234", "script-north@441234", false),
        (LOCAL, "olga", "", false),
        (LOCAL, "sven", "", false),
        (LOCAL, "anna", "script-north@anna", false),
        (LOCAL, "5000", "", false),
        (LOCAL, "900", "script-default@/9.*/", false),
    ] {
        let mut lab = Lab::new(&config, &scripts.map(|name| (name, WAITS)));
        let carrier = lab.phone(CARRIER);
        let phone = lab.phone(address);
        lab.dial(phone, dialled);
        let sent = lab.seen(carrier);
        assert_eq!((reached(&lab).as_str(), !sent.is_empty()), (script, is_sent), "{dialled} {address}: {sent:?}");
    }
}

#[test]
fn scripts_bridge_to_what_their_account_reaches() {
    for (user, dialled, script) in [
        ("anna", "b-100", "script-north@100"),
        ("sven", "b-100", "script-south@100"),
        ("olga", "b-100", ""),
        ("sven", "b-200", ""),
        ("sven", "b-900", "script-default@900"),
        ("sven", "b-331", "script-north@100"),
    ] {
        let mut lab = lab();
        let phone = phone_of(&mut lab, user);
        lab.dial(phone, dialled);
        assert_eq!(reached(&lab), script, "{user} {dialled}");
    }
}

#[test]
fn a_call_of_ours_reaches_what_its_account_does() {
    for (to, destination, account, script) in [
        ("100", "", Some("north"), "script-north@100"),
        ("100", "", Some("south"), "script-south@100"),
        ("200", "", Some("south"), ""),
        ("900", "", Some("south"), "script-default@900"),
        // The operator's is its script's.
        ("100", "script-south@100", None, "script-south@100"),
    ] {
        let mut lab = lab();
        let wanted = Originate {
            to: to.to_owned(),
            destination: destination.to_owned(),
            park: destination.is_empty(),
            account: account.map(str::to_owned),
            ..Originate::default()
        };
        let placed = ask(&mut lab, |reply| Request::Originate(wanted, reply));
        assert_eq!((reached(&lab).as_str(), placed.is_ok()), (script, !script.is_empty()), "{to} {account:?}: {placed:?}");
    }
}

#[test]
fn a_number_at_a_gateway_is_dialled_for_an_account_where_a_route_leads_through_it() {
    let uri = |number: &str| format!("sip:{number}@{CARRIER}");
    let originate = |account: Option<&str>, number: &str| {
        let mut lab = lab();
        let carrier = lab.phone(CARRIER);
        let account = account.map(str::to_owned);
        let wanted = Originate { to: uri(number), destination: "script-north@100".to_owned(), account, ..Originate::default() };
        let placed = ask(&mut lab, |reply| Request::Originate(wanted, reply));
        (placed.is_ok(), lab.seen(carrier))
    };
    let invited = || vec!["invite".to_owned()];
    assert_eq!(originate(Some("north"), "441234"), (true, invited()));
    assert_eq!(originate(Some("north"), "900555"), (false, vec![]));
    assert_eq!(originate(Some("north"), "desk"), (false, vec![]));
    assert_eq!(originate(None, "900555"), (true, invited()), "the operator's key");
    for (user, number, is_dialled) in
        [("anna", "441234", true), ("anna", "900555", false), ("sven", "900555", false), ("olga", "900555", true)]
    {
        let mut lab = lab();
        let carrier = lab.phone(CARRIER);
        let phone = phone_of(&mut lab, user);
        lab.dial(phone, &format!("u-{number}"));
        assert_eq!(lab.seen(carrier), if is_dialled { invited() } else { vec![] }, "{user} {number}");
    }
}

#[test]
fn a_call_is_led_on_to_what_its_account_reaches() {
    for (target, asker, script) in [
        ("900", Asker::Tenant, Some("script-default@900")),
        ("331", Asker::Tenant, Some("script-north@100")),
        ("200", Asker::Tenant, None),
        ("class5:200", Asker::Tenant, None),
        ("class5:200", Asker::Variable, None),
        ("class5:100", Asker::Operator, Some("script-south@100")),
        ("class5:200", Asker::Operator, Some("script-north@200")),
        ("sip:900555@127.0.0.1:5091", Asker::Tenant, None),
    ] {
        let mut lab = lab();
        let phone = phone_of(&mut lab, "sven");
        lab.dial(phone, "100");
        let id = only_call(&lab);
        let led = ask(&mut lab, |reply| Request::Transfer { id, target: target.to_owned(), asker, reply });
        assert_eq!(matches!(led, Err(EngineError::NobodyThere { .. })), script.is_none(), "{target} {asker:?}: {led:?}");
        assert_eq!(reached(&lab), script.unwrap_or("script-south@100"), "{target} {asker:?}");
    }
}

#[test]
fn the_error_of_a_script_whose_call_went_to_another_account_is_told_to_its_own() {
    let fails = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); data.missing.field; }";
    let mut lab = Lab::new(CONFIG, &[("south@100", fails), ("north@200", WAITS)]);
    let mut alerts = lab.switch.events.take_alerts().unwrap();
    let phone = phone_of(&mut lab, "sven");
    lab.dial(phone, "100");
    let id = only_call(&lab);
    ask(&mut lab, |reply| Request::Transfer { id, target: "class5:200".to_owned(), asker: Asker::Operator, reply }).unwrap();
    assert_eq!(reached(&lab), "script-north@200");
    let alert = alerts.try_recv().unwrap();
    assert_eq!((alert.name, alert.subject.as_str(), &*alert.account), ("script-error", "script-south@100", "south"));
}
