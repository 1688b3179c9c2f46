//! Numbers that go through routes, and who is shown to those who are called.

use std::time::Duration;

use lockstep_ctx_api::Outcome;
use lockstep_ctx_api::op::{BridgeArgs, BridgeStrategy, BridgeTarget, ContinueOn, Op};

use super::{COMPLETE, Desk, bridge, dialled, sets_header};
use crate::backend::freeswitch::{RouteAnswer, RouteRequest, Settings, Way};
use crate::call::{LookupId, Refusal};

fn with_routes() -> Settings {
    Settings { has_routes: true, ..Settings::default() }
}

/// One gateway for a number.
fn gateway(lookup: LookupId, number: String, cli: String) -> RouteAnswer {
    let way = Way { lookup, gateway: 7, address: format!("{number}@h"), number, cli, fields: Vec::new(), price: None };
    RouteAnswer::Gateways { ways: vec![way], ring: None }
}

/// What the backend wants of routes, in a few words; what is asked for is found.
fn wanted(desk: &mut Desk) -> Vec<String> {
    let mut wanted = Vec::new();
    while let Some(request) = desk.backend.take_route_request() {
        wanted.push(match request {
            RouteRequest::Find { lookup, target, .. } => {
                desk.backend.routed(desk.now, lookup, gateway(lookup, target.clone(), "1000".to_owned()));
                format!("find {target}")
            }
            RouteRequest::Forget(lookup) => format!("forget {}", lookup.0),
            RouteRequest::Tried { trial, .. } => format!("tried {trial}"),
            RouteRequest::Answered { trial } => format!("answered {trial}"),
            RouteRequest::Over { trial, code, .. } => format!("over {trial} {code}"),
        });
    }
    desk.drain();
    wanted
}

fn to_two(strategy: BridgeStrategy) -> BridgeArgs {
    let targets = ["4401", "4402"].map(|uri| BridgeTarget { uri: uri.to_owned(), ..BridgeTarget::default() });
    BridgeArgs { strategy, continue_on: ContinueOn::Always, ..BridgeArgs::to(targets.into()) }
}

/// A bridge to two numbers under way, and its dial string with the name of its application.
fn dials_two(strategy: BridgeStrategy) -> (Desk, Vec<String>, String) {
    let mut desk = Desk::with("async", "full", with_routes());
    desk.submit(1, Op::Bridge(to_two(strategy)));
    let wanted = wanted(&mut desk);
    let sent = dialled(&mut desk);
    let bridge = sent.into_iter().find(|command| command.starts_with("bridge ")).unwrap_or_default();
    (desk, wanted, bridge)
}

#[test]
fn a_number_is_asked_for_when_its_turn_has_come_and_the_one_before_is_over() {
    let (mut desk, asked, bridge) = dials_two(BridgeStrategy::Sequential);
    assert_eq!(asked, ["find 4401", "tried 1"]);
    let uuid = bridge.rsplit_once('[').map_or("", |(_, uuid)| uuid.trim_end_matches(']'));
    desk.event(COMPLETE, &[("Application-UUID", uuid), ("variable_originate_disposition", "NORMAL_TEMPORARY_FAILURE")]);
    assert_eq!(wanted(&mut desk), ["over 1 503", "forget 1", "find 4402", "tried 2"]);
    assert!(dialled(&mut desk).iter().any(|command| command.contains("4402@h")));
}

#[test]
fn a_number_that_has_rung_for_all_of_its_time_is_let_go_of_before_the_next_is_asked_for() {
    let mut desk = Desk::with("async", "full", with_routes());
    desk.submit(1, Op::Bridge(BridgeArgs { timeout_ms: 5_000, ..to_two(BridgeStrategy::Sequential) }));
    let Some(RouteRequest::Find { lookup, target, .. }) = desk.backend.take_route_request() else {
        panic!("the first number is asked for")
    };
    let RouteAnswer::Gateways { ways, ring } = gateway(lookup, target, "1000".to_owned()) else { panic!("it has a gateway") };
    desk.backend.routed(desk.now, lookup, RouteAnswer::Gateways { ways: [ways.clone(), ways].concat(), ring });
    desk.drain();
    assert_eq!(wanted(&mut desk), ["tried 1"]);
    let sent = dialled(&mut desk);
    let bridge = sent.iter().find(|command| command.starts_with("bridge ")).unwrap();
    let uuid = bridge.rsplit_once('[').map_or("", |(_, uuid)| uuid.trim_end_matches(']'));
    desk.now += Duration::from_secs(5);
    desk.event(COMPLETE, &[("Application-UUID", uuid), ("variable_originate_disposition", "NO_ANSWER")]);
    assert_eq!(wanted(&mut desk), ["over 1 480", "forget 1", "find 4402", "tried 2"]);
}

#[test]
fn whoever_is_not_reached_is_let_go_of_when_another_has_answered() {
    let (mut desk, asked, bridge) = dials_two(BridgeStrategy::Parallel);
    assert_eq!(asked, ["find 4401", "find 4402", "tried 1", "tried 2"]);
    let leg = bridge.split_once("origination_uuid=").and_then(|(_, rest)| rest.split(',').next()).unwrap_or_default();
    desk.event("CHANNEL_BRIDGE", &[("Bridge-B-Unique-ID", "somebody-else")]);
    assert_eq!(wanted(&mut desk), [""; 0]);
    let (mut desk, ..) = dials_two(BridgeStrategy::Parallel);
    desk.event("CHANNEL_BRIDGE", &[("Bridge-B-Unique-ID", leg)]);
    assert_eq!(wanted(&mut desk), ["over 2 487", "forget 2", "answered 1"]);
}

/// The name that a bridge of a caller `1000` shows, and its dial string.
fn shown(variables: &[(&str, &str)], settings: Settings, args: BridgeArgs) -> (Option<String>, String) {
    let own = [("Socket-Mode", "async"), ("Control", "full"), ("Caller-Caller-ID-Number", "1000")];
    let channel: Vec<_> = own.iter().chain(variables).copied().collect();
    let mut desk = Desk::on(&channel, settings);
    desk.submit(1, Op::Bridge(args));
    while let Some(request) = desk.backend.take_route_request() {
        if let RouteRequest::Find { lookup, target: number, caller_id } = request {
            // A routing script has put two digits before the number that is shown.
            let cli = caller_id.map_or_else(String::new, |number| format!("44{number}"));
            desk.backend.routed(desk.now, lookup, gateway(lookup, number, cli));
            desk.drain();
        }
    }
    let sent = dialled(&mut desk);
    let name = sent.iter().find_map(|command| command.strip_prefix("api uuid_setvar u-1 effective_caller_id_name "));
    let bridge = sent.iter().find(|command| command.starts_with("bridge "));
    (name.map(|name| name.trim_matches('\'').to_owned()), bridge.cloned().unwrap_or_default())
}

#[test]
fn a_name_goes_with_the_number_that_it_belongs_to() {
    let target = |caller_id: Option<&str>, from_name: Option<&str>| {
        let (caller_id, from_name) = (caller_id.map(str::to_owned), from_name.map(str::to_owned));
        BridgeTarget { uri: "1001".into(), caller_id, from_name, ..BridgeTarget::default() }
    };
    let of_target = |target| BridgeArgs::to(vec![target]);
    let of_all = |number: &str, name: Option<&str>| BridgeArgs {
        caller_id: Some(number.into()),
        from_name: name.map(str::to_owned),
        ..bridge("1001")
    };
    let unnamed: &[(&str, &str)] = &[];
    let named: &[(&str, &str)] = &[("variable_effective_caller_id_name", "Sales")];
    for (variables, args, name) in [
        (unnamed, bridge("1001"), None),
        (unnamed, of_all("4420", Some("Al")), Some("Al")),
        (unnamed, of_target(target(Some("4420"), Some("Zoë"))), Some("Zoë")),
        // Not the caller's own name.
        (unnamed, of_all("+4420", None), Some("4420")),
        (unnamed, of_target(target(Some("4420"), None)), Some("4420")),
        (unnamed, of_all("", None), Some("anonymous")),
        (unnamed, of_all("1000", None), None),
        (named, of_all("4420", None), Some("Sales")),
        (named, bridge("1001"), None),
    ] {
        let shown = shown(variables, Settings::default(), args.clone()).0;
        assert_eq!(shown.as_deref(), name, "{args:?}");
    }
}

#[test]
fn variables_name_the_caller_of_a_number_that_routes_lead_to() {
    let set = [("variable_effective_caller_id_number", "20"), ("variable_effective_caller_id_name", "Sales")];
    let (name, dialled) = shown(&set, with_routes(), bridge("4499"));
    assert_eq!(name.as_deref(), Some("Sales"));
    assert!(dialled.contains("origination_caller_id_number=4420]"), "{dialled}");
    let (name, dialled) = shown(&[], with_routes(), bridge("4499"));
    assert_eq!(name.as_deref(), Some("anonymous"), "nobody is to be shown");
    assert!(dialled.contains("origination_caller_id_number=anonymous]"), "{dialled}");
}

#[test]
fn a_header_waits_while_numbers_lead_nowhere() {
    let mut desk = Desk::with("async", "full", with_routes());
    sets_header(&mut desk, 1);
    for turn in [2, 3] {
        desk.submit(turn, Op::Bridge(BridgeArgs { continue_on: ContinueOn::Always, ..bridge("4420") }));
        let asked = std::iter::from_fn(|| desk.backend.take_route_request());
        let lookup =
            asked.filter_map(|asked| if let RouteRequest::Find { lookup, .. } = asked { Some(lookup) } else { None }).last();
        let answer = match turn {
            2 => RouteAnswer::Refused(Refusal::new(404, "Not Found")),
            _ => RouteAnswer::Local("1001".into()),
        };
        desk.backend.routed(desk.now, lookup.unwrap(), answer);
        desk.drain();
    }
    assert!(matches!(desk.done.last(), Some((2, Ok(Outcome::Bridged(result)))) if result.code == 404), "{:?}", desk.done);
    let sent = dialled(&mut desk);
    assert!(sent.iter().any(|command| command.contains("sip_h_X-Once") && command.contains("yes")), "{sent:?}");
}
