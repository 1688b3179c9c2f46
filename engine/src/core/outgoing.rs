//! Calls that leave the engine: from a target a script names to routes, and from a route to an INVITE.

use lockstep_sip::auth::{ClientAuth, Side};
use lockstep_sip::endpoint::{Body, OutgoingRequest, RequestId};
use lockstep_sip::message::{Headers, Method, NameAddr, Request, Response, SipUri, Uri};
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::resolve::Target;
use rand_chacha::rand_core::Rng;

use super::directory::{Callee, host_of_ip};
use super::exchange::{CallKey, Exchange, Invite, LegKey, Purpose, Route, Waiting, script_headers};
use super::timeline::Direction;
use super::watching::LegStep;
use crate::call::{Dial, Hunt, LegEvent, Lookup, LookupId, Refusal, Routes};

/// How many scripts may hand one caller to the next. The loop guard of SIP counts to seventy, by which time a loop of scripts
/// has taken seventy calls' worth of ports.
const MAX_SCRIPT_HOPS: u8 = 16;

/// Finds the routes of a target for a bridge of `call`.
pub(crate) fn resolve(exchange: &mut Exchange, call: CallKey, lookup: LookupId, target: &str) -> Lookup {
    find(exchange, call, lookup, Waiting { target: target.to_owned(), gateway: 0, unreachable: Vec::new() })
}

/// A gateway's next hops have come for a bridge that waits for them.
pub(crate) fn resolved(
    exchange: &mut Exchange,
    call: CallKey,
    lookup: LookupId,
    result: Result<Vec<Destination>, String>,
) -> Option<Result<Routes, Refusal>> {
    let mut waiting = exchange.waiting.remove(&(call, lookup))?;
    match result {
        Ok(destinations) => exchange.directory.set_gateway_destinations(waiting.gateway, destinations),
        Err(why) => {
            tracing::warn!(gateway = waiting.gateway, %why, "a gateway cannot be found");
            waiting.unreachable.push(waiting.gateway);
        }
    }
    match find(exchange, call, lookup, waiting) {
        Lookup::Ready(routes) => Some(routes),
        Lookup::Later => None,
    }
}

fn find(exchange: &mut Exchange, call: CallKey, lookup: LookupId, mut waiting: Waiting) -> Lookup {
    let customer = exchange.customers.get(&call).copied();
    let callee = match exchange.directory.callee(&waiting.target, &exchange.programs, customer) {
        Ok(callee) => callee,
        Err(refusal) => return Lookup::Ready(Err(refusal)),
    };
    let mut gateways = match callee {
        Callee::User(name) => return Lookup::Ready(user_routes(exchange, call, &name)),
        Callee::Class5(name) => return Lookup::Ready(class5_route(exchange, call, &name)),
        Callee::Gateways(gateways) => gateways,
    };
    gateways.retain(|(id, _)| !waiting.unreachable.contains(id));
    if gateways.is_empty() {
        return Lookup::Ready(Err(Refusal::new(503, "no gateway can be reached")));
    }
    let unknown = gateways.iter().find(|(id, _)| destinations_of(exchange, *id).is_empty());
    let Some((id, uri)) = unknown.cloned() else {
        return Lookup::Ready(gateway_routes(exchange, call, &gateways));
    };
    match look_up(exchange, Purpose::Lookup(call, lookup), &uri) {
        Ok(()) => {
            waiting.gateway = id;
            exchange.waiting.insert((call, lookup), waiting);
            Lookup::Later
        }
        Err(refusal) => Lookup::Ready(Err(refusal)),
    }
}

/// Starts to look for a gateway's next hops.
pub(crate) fn look_up(exchange: &mut Exchange, purpose: Purpose, uri: &SipUri) -> Result<(), Refusal> {
    let target = Target::from_uri(uri).map_err(|error| Refusal::new(503, error.to_string()))?;
    let ticket = exchange.ticket(purpose);
    let seed = exchange.rng.next_u64();
    exchange.world.resolve(ticket, target, seed);
    Ok(())
}

/// A gateway's next hops; none until its name was looked up.
fn destinations_of(exchange: &Exchange, gateway: i64) -> &[Destination] {
    exchange.directory.gateway(gateway).map_or(&[], |entry| entry.destinations.as_slice())
}

fn user_routes(exchange: &mut Exchange, call: CallKey, name: &str) -> Result<Routes, Refusal> {
    let now = exchange.now.instant;
    let max_forwards = forwards_left(exchange, call)?;
    let routes: Vec<Route> = exchange
        .registrar
        .lookup(name, now)
        .into_iter()
        .map(|binding| Route {
            uri: binding.contact.uri.clone(),
            destinations: vec![binding.destination()],
            symmetric: true,
            max_forwards,
            gateway: None,
            caller_id: None,
            from_name: None,
        })
        .collect();
    if routes.is_empty() {
        return Err(Refusal::new(480, "Temporarily Unavailable"));
    }
    let routes = with_caller(exchange, call, routes);
    Ok(Routes { routes, hunt: Hunt::Together })
}

fn gateway_routes(exchange: &mut Exchange, call: CallKey, gateways: &[(i64, SipUri)]) -> Result<Routes, Refusal> {
    let max_forwards = forwards_left(exchange, call)?;
    let routes = gateways
        .iter()
        .map(|(id, uri)| Route {
            uri: Uri::Sip(uri.clone()),
            destinations: destinations_of(exchange, *id).to_vec(),
            symmetric: false,
            max_forwards,
            gateway: Some(*id),
            caller_id: None,
            from_name: None,
        })
        .collect();
    let routes = with_caller(exchange, call, routes);
    Ok(Routes { routes, hunt: Hunt::InTurn })
}

/// Another script is called through ourselves: a call of its own, with its own queue and its own journal.
fn class5_route(exchange: &mut Exchange, call: CallKey, name: &str) -> Result<Routes, Refusal> {
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
        uri: Uri::Sip(uri),
        destinations: vec![Destination::new(protocol, address)],
        symmetric: true,
        max_forwards,
        gateway: None,
        caller_id: None,
        from_name: None,
    };
    let routes = with_caller(exchange, call, vec![route]);
    Ok(Routes { routes, hunt: Hunt::Together })
}

/// Who the callee is told is calling, where the script does not say: the caller.
fn with_caller(exchange: &mut Exchange, call: CallKey, routes: Vec<Route>) -> Vec<crate::call::RouteId> {
    let caller = exchange.callers.get(&call).cloned();
    routes
        .into_iter()
        .map(|mut route| {
            if let Some((number, name)) = &caller {
                route.caller_id = Some(number.clone());
                route.from_name.clone_from(name);
            }
            exchange.add_route(call, route)
        })
        .collect()
}

fn forwards_left(exchange: &Exchange, call: CallKey) -> Result<u8, Refusal> {
    let left = exchange.forwards.get(&call).copied().unwrap_or(70);
    left.checked_sub(1).filter(|left| *left > 0).ok_or_else(|| Refusal::new(483, "Too Many Hops"))
}

/// Sends the INVITE of a leg.
pub(crate) fn invite(exchange: &mut Exchange, leg: LegKey, dial: Dial, offer: String) {
    match build_invite(exchange, leg.0, dial, offer) {
        Ok((request, auth)) => {
            let contact = request.contact.clone();
            let summary = format!("INVITE {}", request.uri);
            let target = request.uri.to_string();
            let remote = request.destinations.first().map(|destination| destination.remote.ip());
            match exchange.endpoint.invite(exchange.now.instant, request) {
                Ok(id) => {
                    let link = exchange.links.entry(leg).or_default();
                    link.invite = Some(Invite::Outgoing { id });
                    link.auth = auth;
                    link.contact = contact;
                    exchange.requests.insert(id, leg);
                    exchange.note(leg, Direction::Out, summary);
                    exchange.leg_steps.push_back((leg, LegStep::Dialled { target, remote }));
                }
                Err(error) => exchange.post(leg, LegEvent::Failed { code: 503, reason: error.to_string() }),
            }
        }
        Err(refusal) => exchange.post(leg, LegEvent::Failed { code: refusal.code, reason: refusal.reason }),
    }
}

fn build_invite(
    exchange: &mut Exchange,
    call: CallKey,
    dial: Dial,
    offer: String,
) -> Result<(OutgoingRequest, Option<ClientAuth>), Refusal> {
    let route = exchange.routes.get(&(call, dial.route)).cloned().ok_or_else(|| Refusal::new(500, "the route is gone"))?;
    let first = route.destinations.first().copied().ok_or_else(|| Refusal::new(503, "nowhere to send the INVITE"))?;
    let local = exchange
        .world
        .local_for(first.protocol, first.remote)
        .ok_or_else(|| Refusal::new(503, format!("no address of this machine leads to {}", first.remote)))?;
    let contact = exchange.contact_for(first.protocol, local, first.remote.ip());
    let host = host_of_ip(exchange.shown_ip(local.ip(), first.remote.ip()));
    let caller_id = dial.caller_id.or(route.caller_id).filter(|id| !id.is_empty());
    let mut from = NameAddr::new(Uri::Sip(SipUri::new(Some(caller_id.as_deref().unwrap_or("anonymous")), host, None)));
    from.display_name = dial.from_name.or(route.from_name).filter(|name| !name.chars().any(char::is_control));
    let to = NameAddr::new(without_params(&route.uri));
    let destinations = with_local(exchange, route.destinations);
    let mut request = OutgoingRequest::new(Method::Invite, route.uri, from, to, destinations);
    request.contact = Some(contact);
    request.headers = script_headers(&dial.headers);
    request.body = Some(Body::sdp(offer.into_bytes()));
    request.symmetric = route.symmetric;
    request.max_forwards = route.max_forwards;
    let account = route.gateway.and_then(|id| {
        let gateway = &exchange.directory.gateway(id)?.config;
        Some((gateway.username.clone()?, gateway.password.clone()?))
    });
    let auth = account.map(|(user, password)| {
        let mut auth = ClientAuth::new(user, password.expose(), exchange.seed());
        auth.begin_request();
        auth
    });
    Ok((request, auth))
}

/// Next hops with the address of ours that leads to each: it is what Via names.
pub(crate) fn with_local(exchange: &mut Exchange, mut destinations: Vec<Destination>) -> Vec<Destination> {
    for destination in &mut destinations {
        if destination.local.is_none() {
            destination.local = exchange.world.local_for(destination.protocol, destination.remote);
        }
    }
    destinations
}

/// A To header names whom we call, not how the binding is reached.
fn without_params(uri: &Uri) -> Uri {
    match uri {
        Uri::Sip(sip) => Uri::Sip(SipUri { params: Default::default(), headers: Vec::new(), ..sip.clone() }),
        Uri::Tel(_) | Uri::Other { .. } => uri.clone(),
    }
}

/// An INVITE of ours was challenged: sends it again with the gateway's credentials, or takes the challenge for the answer.
pub(crate) fn challenged(exchange: &mut Exchange, id: RequestId, request: &Request, response: &Response) {
    let now = exchange.now.instant;
    let leg = exchange.requests.get(&id).copied();
    let auth = leg.and_then(|leg| exchange.links.get_mut(&leg)?.auth.as_mut());
    let headers = auth.and_then(|auth| credentials(auth, request, response));
    let result = match headers {
        Some(headers) => {
            if let Some(leg) = leg {
                exchange.note(leg, Direction::Out, format!("INVITE {} with credentials", request.uri));
            }
            exchange.endpoint.resend_with(now, id, &headers)
        }
        None => exchange.endpoint.abandon(now, id),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a challenged INVITE was over already");
    }
}

fn credentials(auth: &mut ClientAuth, request: &Request, response: &Response) -> Option<Headers> {
    let side = Side::of_status(response.status.code())?;
    let challenges: Vec<String> =
        response.headers.get_all(side.challenge_header()).map(|value| value.text().into_owned()).collect();
    if let Err(refusal) = auth.challenged(side, challenges.iter().map(String::as_str)) {
        tracing::warn!(%refusal, "a gateway refuses our credentials");
        return None;
    }
    let mut headers = Headers::new();
    for (name, value) in auth.authorize(request.method.as_str(), &request.uri.to_string(), &request.body) {
        headers.push(name, value);
    }
    Some(headers)
}
