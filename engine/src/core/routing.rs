//! From what is dialled to the ways there: users' bindings, other scripts, and numbers through the Class 4 hook to gateways.
//!
//! ```text
//!   target ──► user, script, DID ──────────────────────────────────────────────────────► routes
//!        └───► number ──limits──► Class 4 (scripts, if any) ──► attempts ──spending──► next hops of each gateway ──► routes
//! ```

use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::EndedBy;
use lockstep_sip::message::{SipUri, Uri};
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::resolve::NextHops;

use super::directory::{Callee, host_of_ip, is_dialled_number};
use super::exchange::{CallKey, Exchange, Purpose, Route, Waiting};
use super::guard::Exceeded;
use super::outgoing::look_up;
use crate::backend::freeswitch::{RouteAnswer, Way as MediaServerWay};
use crate::call::{Hunt, Lookup, LookupId, Refusal, RouteId, Routes};
use crate::class4::{Attempt, Decision, Rejection, route_without_scripts};

/// How many scripts may hand one caller to the next. The loop guard of SIP counts to seventy, by which time a loop of scripts
/// has taken seventy calls' worth of ports.
const MAX_SCRIPT_HOPS: u8 = 16;
/// How long a gateway may not answer an INVITE at all while there is another to try: four transmissions by UDP.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

/// A gateway that is to be tried, and what it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub gateway: i64,
    pub uri: SipUri,
    /// As Class 4 has it; `None`: a script named the gateway itself.
    pub attempt: Option<Attempt>,
}

/// Finds the routes of a target for a bridge of `call`.
pub(crate) fn resolve(exchange: &mut Exchange, call: CallKey, lookup: LookupId, target: &str, caller_id: Option<&str>) -> Lookup {
    if let Some(decision) = exchange.planned.remove(&call) {
        let decision = count(exchange, call, lookup).map(|()| decision);
        return decided(exchange, call, lookup, decision);
    }
    match exchange.directory.callee(target, exchange.reach_of(call), &exchange.programs) {
        Ok(Callee::User(name)) => Lookup::Ready(user_routes(exchange, call, &name)),
        Ok(Callee::Class5(name) | Callee::Did(name)) => Lookup::Ready(own_route(exchange, call, &name)),
        Ok(Callee::Gateway(gateway, uri)) => {
            let way = Way { gateway, uri, attempt: None };
            reach(exchange, call, lookup, Waiting { ways: vec![way], ring: None, gateway, unreachable: Vec::new() })
        }
        Ok(Callee::Number(number)) => route_number(exchange, call, lookup, (number, None), caller_id),
        Ok(Callee::NumberAt(gateway, number)) => route_number(exchange, call, lookup, (number, Some(gateway)), caller_id),
        Err(refusal) => Lookup::Ready(Err(refusal)),
    }
}

/// Has Class 4 decide how a number is dialled: through any gateway, or through this one.
fn route_number(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    number: (String, Option<i64>),
    caller_id: Option<&str>,
) -> Lookup {
    match decide(exchange, call, lookup, number, caller_id) {
        Some(decision) => decided(exchange, call, lookup, decision),
        None => Lookup::Later,
    }
}

/// What Class 4 decides on a number; `None`: its scripts are asked, and the answer arrives later.
fn decide(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    (number, gateway): (String, Option<i64>),
    caller_id: Option<&str>,
) -> Option<Result<Decision, Refusal>> {
    if let Err(refusal) = count(exchange, call, lookup) {
        return Some(Err(refusal));
    }
    let mut facts = exchange.origin(call);
    let caller = || exchange.callers.get(&call).map(|(number, _)| number.clone());
    facts.cli = caller_id.map(str::to_owned).or_else(caller).unwrap_or_default();
    facts.dialled = number;
    facts.gateway = gateway;
    let decision = route_without_scripts(&exchange.table, &exchange.programs, &facts);
    if decision.is_none() {
        let ticket = exchange.ticket(Purpose::Routing(call, lookup));
        exchange.hooks.insert((call, lookup), ticket);
        let table = Arc::clone(&exchange.table);
        exchange.world.route(ticket, table, Box::new(facts));
    }
    decision.map(|decision| decision.map_err(|rejection| refusal_of(&rejection)))
}

/// Where a media server of others is to call what a script has written; `None`: the answer arrives later.
pub(crate) fn answer(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    target: &str,
    caller_id: Option<&str>,
) -> Option<RouteAnswer> {
    match exchange.directory.first_callee(target, exchange.reach_of(call), &exchange.programs) {
        Ok(Callee::User(name)) => Some(RouteAnswer::Local(name)),
        Ok(Callee::Number(number)) => {
            decide(exchange, call, lookup, (number, None), caller_id).map(|decision| answer_of(exchange, call, lookup, decision))
        }
        Ok(Callee::NumberAt(gateway, number)) => {
            let decision = decide(exchange, call, lookup, (number, Some(gateway)), caller_id);
            decision.map(|decision| answer_of(exchange, call, lookup, decision))
        }
        Err(refusal) if is_dialled_number(target) => Some(RouteAnswer::Refused(refusal)),
        // What is no number is for the dialplan over there.
        Ok(Callee::Class5(_) | Callee::Gateway(..) | Callee::Did(_)) | Err(_) => Some(RouteAnswer::Local(target.to_owned())),
    }
}

/// The scripts of Class 4 have decided on a number that a media server is to call.
pub(crate) fn answered(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    decision: Result<Decision, Rejection>,
) -> Option<RouteAnswer> {
    exchange.hooks.remove(&(call, lookup))?;
    Some(answer_of(exchange, call, lookup, decision.map_err(|rejection| refusal_of(&rejection))))
}

fn answer_of(exchange: &mut Exchange, call: CallKey, number: LookupId, decision: Result<Decision, Refusal>) -> RouteAnswer {
    let (ways, ring) = match ways_of(exchange, call, number, decision) {
        Ok(found) => found,
        Err(refusal) => return RouteAnswer::Refused(refusal),
    };
    let way = |Way { gateway, uri, attempt }| {
        let lookup = number;
        let Attempt { number, cli, fields, cost, .. } = attempt?;
        let address = uri.to_string().split_once(':').map(|(_, address)| address.to_owned())?;
        Some(MediaServerWay { lookup, gateway, number, address, cli, fields, price: cost })
    };
    let ways: Vec<_> = ways.into_iter().filter_map(way).collect();
    if ways.is_empty() {
        return RouteAnswer::Refused(Refusal::new(503, "no gateway can be reached"));
    }
    RouteAnswer::Gateways { ways, ring }
}

/// Counts a number that a customer's call dials against what the customer may.
fn count(exchange: &mut Exchange, call: CallKey, number: LookupId) -> Result<(), Refusal> {
    let customer = exchange.customers.get(&call).and_then(|id| exchange.directory.customer(*id));
    let Some(customer) = customer else { return Ok(()) };
    let counted = exchange.guard.dial(exchange.now, customer, call, number, &exchange.attempts);
    counted.map_err(|exceeded| past_limit(customer.id, exceeded))
}

/// Sets aside what the number of a customer's call costs at least, by the first of its ways that has a price.
fn reserve(exchange: &mut Exchange, call: CallKey, number: LookupId, ways: &[Way]) -> Result<(), Refusal> {
    let customer = exchange.customers.get(&call).and_then(|id| exchange.directory.customer(*id));
    let price = ways.iter().find_map(|way| way.attempt.as_ref()?.cost);
    let (Some(customer), Some(price)) = (customer, price) else { return Ok(()) };
    let reserved = exchange.guard.reserve(exchange.now, customer, (call, number), price, &exchange.attempts);
    reserved.map_err(|exceeded| past_limit(customer.id, exceeded))
}

fn past_limit(customer: i64, exceeded: Exceeded) -> Refusal {
    let (code, text, retry_after) = exceeded.reply();
    tracing::warn!(customer, ?exceeded, "a call is refused");
    Refusal { retry_after, ..Refusal::reply(code, text, EndedBy::Engine) }
}

/// The scripts of Class 4 have decided.
pub(crate) fn routed(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    decision: Result<Decision, Rejection>,
) -> Option<Result<Routes, Refusal>> {
    exchange.hooks.remove(&(call, lookup))?;
    match decided(exchange, call, lookup, decision.map_err(|rejection| refusal_of(&rejection))) {
        Lookup::Ready(routes) => Some(routes),
        Lookup::Later => None,
    }
}

fn decided(exchange: &mut Exchange, call: CallKey, lookup: LookupId, decision: Result<Decision, Refusal>) -> Lookup {
    match ways_of(exchange, call, lookup, decision) {
        Ok((ways, ring)) => reach(exchange, call, lookup, Waiting { ways, ring, gateway: 0, unreachable: Vec::new() }),
        Err(refusal) => Lookup::Ready(Err(refusal)),
    }
}

/// A rejection as the caller hears of it.
pub(crate) fn refusal_of(rejection: &Rejection) -> Refusal {
    if let Some(why) = &rejection.why {
        tracing::info!(reply = %rejection, %why, "not routed");
    }
    // Without a reason of the engine's, a script has chosen it.
    let by = if rejection.why.is_some() { EndedBy::Engine } else { EndedBy::Script };
    Refusal::reply(rejection.code, rejection.text.clone(), by)
}

/// The gateways of a decision in the order they are tried, with what is to be dialled at each, and how long each may ring.
fn ways_of(
    exchange: &mut Exchange,
    call: CallKey,
    number: LookupId,
    decision: Result<Decision, Refusal>,
) -> Result<(Vec<Way>, Option<Duration>), Refusal> {
    let Decision { attempts, ring, .. } = decision?;
    let way = |attempt: Attempt| {
        let entry = exchange.directory.gateway(attempt.gateway)?;
        let mut uri = SipUri::new(Some(&attempt.number), entry.uri.host.clone(), entry.uri.port);
        uri.params = entry.uri.params.clone();
        Some(Way { gateway: attempt.gateway, uri, attempt: Some(attempt) })
    };
    let mut ways: Vec<Way> = attempts.into_iter().filter_map(way).collect();
    // What did not answer when it was last asked, or takes no calls just now, is tried last.
    ways.sort_by_key(|way| !exchange.directory.is_up(exchange.now.instant, way.gateway));
    reserve(exchange, call, number, &ways)?;
    Ok((ways, ring))
}

/// A gateway's next hops have come for a bridge that waits for them.
pub(crate) fn resolved(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    result: Result<NextHops, String>,
) -> Option<Result<Routes, Refusal>> {
    let mut waiting = exchange.waiting.remove(&(call, lookup))?;
    match result {
        Ok(found) => exchange.directory.set_gateway_destinations(exchange.now.instant, waiting.gateway, found),
        Err(why) => {
            tracing::warn!(gateway = waiting.gateway, %why, "a gateway cannot be found");
            waiting.unreachable.push(waiting.gateway);
        }
    }
    match reach(exchange, call, lookup, waiting) {
        Lookup::Ready(routes) => Some(routes),
        Lookup::Later => None,
    }
}

/// Finds the next hops of each gateway, then makes routes of them.
fn reach(exchange: &mut Exchange, call: CallKey, lookup: LookupId, mut waiting: Waiting) -> Lookup {
    waiting.ways.retain(|way| !waiting.unreachable.contains(&way.gateway));
    if waiting.ways.is_empty() {
        return Lookup::Ready(Err(Refusal::new(503, "no gateway can be reached")));
    }
    let is_unknown = |way: &&Way| exchange.directory.gateway(way.gateway).is_none_or(|entry| entry.destinations.is_empty());
    let unknown = waiting.ways.iter().find(is_unknown);
    // By the gateway's own address: what is dialled there says nothing of where it is.
    let unknown = unknown.and_then(|way| Some((way.gateway, exchange.directory.gateway(way.gateway)?.uri.clone())));
    let Some((gateway, uri)) = unknown else {
        return Lookup::Ready(gateway_routes(exchange, call, lookup, waiting));
    };
    match look_up(exchange, Purpose::Lookup(call, lookup), &uri) {
        Ok(()) => {
            waiting.gateway = gateway;
            exchange.waiting.insert((call, lookup), waiting);
            Lookup::Later
        }
        Err(refusal) => Lookup::Ready(Err(refusal)),
    }
}

fn user_routes(exchange: &mut Exchange, call: CallKey, name: &str) -> Result<Routes, Refusal> {
    let now = exchange.now.instant;
    let max_forwards = forwards_left(exchange, call)?;
    let routes: Vec<Route> = exchange
        .registrar
        .lookup(name, now)
        .into_iter()
        .map(|binding| Route {
            destinations: vec![binding.destination()],
            symmetric: true,
            user: Some(name.to_owned()),
            ..Route::to(binding.contact.uri.clone(), max_forwards)
        })
        .collect();
    if routes.is_empty() {
        return Err(Refusal::new(480, "Temporarily Unavailable"));
    }
    let routes = routes.into_iter().map(|route| add(exchange, call, route)).collect();
    Ok(Routes { routes, hunt: Hunt::Together })
}

fn gateway_routes(exchange: &mut Exchange, call: CallKey, number: LookupId, waiting: Waiting) -> Result<Routes, Refusal> {
    let max_forwards = forwards_left(exchange, call)?;
    let Waiting { mut ways, ring, .. } = waiting;
    // Their names may have taken a while to be found.
    ways.sort_by_key(|way| !exchange.directory.is_up(exchange.now.instant, way.gateway));
    let last = ways.len().saturating_sub(1);
    let mut routes = Vec::with_capacity(ways.len());
    for (index, Way { gateway, uri, attempt }) in ways.into_iter().enumerate() {
        let entry = exchange.directory.gateway(gateway);
        let mut route = Route {
            destinations: entry.map(|entry| entry.draw(&mut exchange.rng)).unwrap_or_default(),
            gateway: Some(gateway),
            number: Some(number),
            patience: (index < last).then_some(SILENCE),
            ..Route::to(Uri::Sip(uri), max_forwards)
        };
        if let Some(Attempt { cli, fields, cost, .. }) = attempt {
            route = Route { cli: Some(cli), fields, cost, ..route };
        }
        routes.push(add(exchange, call, route));
    }
    Ok(Routes { routes, hunt: Hunt::InTurn { ring } })
}

/// Another script, or a DID, is called through ourselves: a call of its own, with its own queue and its own journal.
fn own_route(exchange: &mut Exchange, call: CallKey, name: &str) -> Result<Routes, Refusal> {
    let max_forwards = forwards_left(exchange, call)?.min(MAX_SCRIPT_HOPS);
    let own = exchange.world.listening();
    let (protocol, mut address) = own
        .iter()
        .find(|(protocol, _)| *protocol == Protocol::Udp)
        .or_else(|| own.first())
        .copied()
        .ok_or_else(|| Refusal::new(500, "the engine listens on no address"))?;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let uri = SipUri::new(Some(name), host_of_ip(address.ip()), Some(address.port()));
    let route = Route {
        destinations: vec![Destination::new(protocol, address)],
        symmetric: true,
        ..Route::to(Uri::Sip(uri), max_forwards)
    };
    let routes = vec![add(exchange, call, route)];
    Ok(Routes { routes, hunt: Hunt::Together })
}

fn add(exchange: &mut Exchange, call: CallKey, route: Route) -> RouteId {
    let route = with_caller(exchange, call, route);
    exchange.add_route(call, route)
}

/// Who the callee is told is calling, where the script does not say: the caller.
fn with_caller(exchange: &Exchange, call: CallKey, mut route: Route) -> Route {
    if let Some((number, name)) = exchange.callers.get(&call) {
        route.caller_id = Some(number.clone());
        route.from_name.clone_from(name);
    }
    route
}

fn forwards_left(exchange: &Exchange, call: CallKey) -> Result<u8, Refusal> {
    let left = exchange.forwards.get(&call).copied().unwrap_or(70);
    left.checked_sub(1).filter(|left| *left > 0).ok_or_else(|| Refusal::new(483, "Too Many Hops"))
}
