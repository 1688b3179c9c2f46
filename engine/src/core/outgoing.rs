//! Calls that leave the engine: from a route to an INVITE.

use std::sync::Arc;
use std::time::Duration;

use lockstep_sip::auth::ClientAuth;
use lockstep_sip::endpoint::{Body, Failure, OutgoingRequest, RequestId};
use lockstep_sip::message::{Host, Method, NameAddr, Request, Response, SipUri, StatusCode, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::resolve::Target;
use rand_chacha::rand_core::Rng;

use super::directory::host_of_ip;
use super::exchange::{CallKey, Exchange, Invite, LegKey, Purpose, script_headers};
use super::guard;
use super::routing::SILENCE;
use super::timeline::Direction;
use super::watching::LegStep;
use crate::call::{Dial, LegEvent, LookupId, Refusal, RouteId};
use crate::cdr::CdrAttempt;

/// The longest Retry-After of a gateway that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Starts to look for a gateway's next hops.
pub(crate) fn look_up(exchange: &mut Exchange, purpose: Purpose, uri: &SipUri) -> Result<(), Refusal> {
    let target = Target::from_uri(uri).map_err(|error| Refusal::new(503, error.to_string()))?;
    let ticket = exchange.ticket(purpose);
    let seed = exchange.rng.next_u64();
    exchange.world.resolve(ticket, target, seed);
    Ok(())
}

/// Sends the INVITE of a leg.
pub(crate) fn invite(exchange: &mut Exchange, leg: LegKey, dial: Dial, offer: String) {
    let route = dial.route;
    match build_invite(exchange, leg.0, dial, offer) {
        Ok((request, auth)) => {
            let contact = request.contact.clone();
            let summary = format!("INVITE {}", request.uri);
            let target = request.uri.to_string();
            let remote = request.destinations.first().map(|destination| destination.remote);
            let attempt = attempt_of(exchange, leg.0, route, &request);
            if attempt.is_some() && !guard::has_room(&exchange.attempts, leg.0) {
                let reason = "the call has talked to as many numbers as one may".to_owned();
                return exchange.post(leg, LegEvent::Failed { code: 503, reason, by_peer: false });
            }
            match exchange.endpoint.invite(exchange.now.instant, request) {
                Ok(id) => {
                    let kept = auth.and_then(|auth| {
                        let call_id = call_id_of(exchange, id)?;
                        exchange.credentials.keep(call_id.clone(), auth);
                        Some(call_id)
                    });
                    let link = exchange.links.entry(leg).or_default();
                    link.invite = Some(Invite::Outgoing { id });
                    link.route = Some(route);
                    link.credentials = kept;
                    link.contact = contact;
                    exchange.requests.insert(id, leg);
                    exchange.note(leg, Direction::Out, summary);
                    if let Some(call_id) = remote.filter(|remote| exchange.is_own(*remote)).and_then(|_| call_id_of(exchange, id))
                    {
                        exchange.hand(leg.0, call_id);
                    }
                    if let Some((attempt, number)) = attempt {
                        tried(exchange, leg, attempt, number);
                    }
                    exchange.leg_step(leg, LegStep::Dialled { target, remote: remote.map(|remote| remote.ip()) });
                }
                Err(error) => exchange.post(leg, LegEvent::Failed { code: 503, reason: error.to_string(), by_peer: false }),
            }
        }
        Err(refusal) => exchange.post(leg, LegEvent::Failed { code: refusal.code, reason: refusal.reason, by_peer: false }),
    }
}

/// What is to be said of an INVITE to a gateway in the call's record.
fn attempt_of(exchange: &Exchange, call: CallKey, route: RouteId, request: &OutgoingRequest) -> Option<(CdrAttempt, LookupId)> {
    let route = exchange.routes.get(&(call, route))?;
    let attempt = CdrAttempt {
        gateway: route.gateway?,
        number: request.uri.user().unwrap_or_default().into_owned(),
        cli: request.from.uri.user().map(|user| user.into_owned()),
        started_at: exchange.now.unix_ms,
        price: route.cost,
        ..CdrAttempt::default()
    };
    Some((attempt, route.number?))
}

/// A gateway is being tried: for the record of the call, and what its customer spends.
pub(super) fn tried(exchange: &mut Exchange, (call, leg): LegKey, attempt: CdrAttempt, number: LookupId) {
    guard::keep(&mut exchange.attempts, (call, leg), attempt);
    if let Some(customer) = exchange.customers.get(&call) {
        exchange.guard.invited(*customer, call, number);
    }
}

fn call_id_of(exchange: &Exchange, id: RequestId) -> Option<String> {
    Some(exchange.endpoint.sent_request(id)?.headers.call_id()?.text().into_owned())
}

fn build_invite(
    exchange: &mut Exchange,
    call: CallKey,
    dial: Dial,
    offer: String,
) -> Result<(OutgoingRequest, Option<ClientAuth>), Refusal> {
    let route = exchange.routes.get(&(call, dial.route)).cloned().ok_or_else(|| Refusal::new(500, "the route is gone"))?;
    let first = route.destinations.first().copied().ok_or_else(|| Refusal::new(503, "nowhere to send the INVITE"))?;
    let (contact, host) = named_to(exchange, first)
        .ok_or_else(|| Refusal::new(503, format!("no address of this machine leads to {}", first.remote)))?;
    let caller = route.caller_id;
    let caller_id = route.cli.or(dial.caller_id).or_else(|| caller.clone());
    // The caller's name does not go with somebody else's number.
    let callers_name = route.from_name.filter(|_| caller_id == caller);
    let caller_id = caller_id.filter(|id| !id.is_empty());
    let mut from = NameAddr::new(Uri::Sip(SipUri::new(Some(caller_id.as_deref().unwrap_or("anonymous")), host, None)));
    from.display_name = dial.from_name.or(callers_name).filter(|name| !name.chars().any(char::is_control));
    let to = NameAddr::new(without_params(&route.uri));
    let (destinations, elsewhere) = by_one_address(exchange, route.destinations);
    let mut request = OutgoingRequest::new(Method::Invite, route.uri, from, to, destinations);
    request.contact = Some(contact);
    let is_removed = |name: &str| route.fields.iter().any(|fields| fields.removes(name));
    let kept = dial.headers.iter().filter(|(name, _)| !is_removed(name));
    request.headers = script_headers(kept.chain(route.fields.iter().flat_map(|fields| &fields.add)));
    request.patience = route.patience.or_else(|| (!elsewhere.is_empty()).then_some(SILENCE));
    request.body = Some(Body::sdp(offer.into_bytes()));
    request.symmetric = route.symmetric;
    request.owner = route.user.map(Arc::from);
    request.max_forwards = route.max_forwards;
    let auth = credentials_of(exchange, route.gateway);
    Ok((request, auth))
}

/// What answers the challenges of a gateway that knows us by name.
pub(crate) fn credentials_of(exchange: &mut Exchange, gateway: Option<i64>) -> Option<ClientAuth> {
    let gateway = &exchange.directory.gateway(gateway?)?.config;
    let (user, password) = (gateway.username.clone()?, gateway.password.clone()?);
    let mut auth = ClientAuth::new(user, password.expose(), exchange.seed());
    auth.begin_request();
    Some(auth)
}

/// How we name ourselves to a next hop: our Contact, and the host of From; `None`: no address of this machine leads there.
pub(crate) fn named_to(exchange: &mut Exchange, next_hop: Destination) -> Option<(NameAddr, Host)> {
    let Destination { protocol, remote, .. } = next_hop;
    let local = exchange.world.local_for(protocol, remote)?;
    let host = host_of_ip(exchange.shown_ip(local.ip(), remote.ip()));
    Some((exchange.contact_for(protocol, local, remote.ip()), host))
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

/// Next hops that the same address of ours leads to as to the first, and the others, which take an INVITE with another Contact and
/// another session description.
fn by_one_address(exchange: &mut Exchange, destinations: Vec<Destination>) -> (Vec<Destination>, Vec<Destination>) {
    let local = |destination: &Destination| destination.local.map(|local| local.ip());
    let destinations = with_local(exchange, destinations);
    let first = destinations.first().and_then(local);
    destinations.into_iter().partition(|destination| local(destination) == first)
}

/// A gateway that names the time from which it takes calls again is tried last until then (RFC 3261 21.5.4).
pub(crate) fn heed_retry_after(exchange: &mut Exchange, leg: LegKey, failure: &Failure) {
    let Failure::Response(response) = failure else { return };
    let asked = response.headers.retry_after().filter(|_| response.status == StatusCode::SERVICE_UNAVAILABLE);
    let route = exchange.links.get(&leg).and_then(|link| link.route);
    let gateway = route.and_then(|route| exchange.routes.get(&(leg.0, route))?.gateway);
    if let Some((seconds, gateway)) = asked.zip(gateway) {
        let until = exchange.now.instant + Duration::from_secs(seconds.into()).min(LONGEST_RETRY_AFTER);
        exchange.directory.set_gateway_busy(gateway, until);
    }
}

/// Whether a leg whose INVITE has reached nobody is to be dialled by another address of ours (RFC 3263 4.3); its route leads there from
/// now on, and its media are closed.
pub(crate) fn goes_elsewhere(exchange: &mut Exchange, leg: LegKey, failure: &Failure) -> bool {
    let is_unreached = match failure {
        Failure::Timeout | Failure::Transport => true,
        Failure::Response(response) => response.status == StatusCode::SERVICE_UNAVAILABLE,
        Failure::Cancelled | Failure::Unusable | Failure::DialogEnded => false,
    };
    let link = exchange.links.get(&leg).filter(|link| is_unreached && link.dialog.is_none());
    let Some(route) = link.and_then(|link| link.route) else { return false };
    let destinations = exchange.routes.get(&(leg.0, route)).map(|route| route.destinations.clone()).unwrap_or_default();
    let (_, elsewhere) = by_one_address(exchange, destinations);
    match exchange.routes.get_mut(&(leg.0, route)).filter(|_| !elsewhere.is_empty()) {
        Some(route) => route.destinations = elsewhere,
        None => return false,
    }
    exchange.forget_leg(leg);
    true
}

/// A To header names whom we call, not how the binding is reached.
pub(super) fn without_params(uri: &Uri) -> Uri {
    match uri {
        Uri::Sip(sip) => Uri::Sip(SipUri { params: Default::default(), headers: Vec::new(), ..sip.clone() }),
        Uri::Tel(_) | Uri::Other { .. } => uri.clone(),
    }
}

/// A request of ours on a call was challenged: sends it again with the gateway's credentials, or takes the challenge for the answer.
pub(crate) fn challenged(exchange: &mut Exchange, id: RequestId, request: &Request, response: &Response) {
    let now = exchange.now.instant;
    let result = match exchange.credentials.answer(id, request, response) {
        Some(headers) => {
            let leg = exchange.requests.get(&id).or_else(|| exchange.offers.get(&id)).copied();
            if let Some(leg) = leg {
                exchange.note(leg, Direction::Out, format!("{} {} with credentials", request.method, request.uri));
            }
            exchange.endpoint.resend_with(now, id, &headers)
        }
        None => exchange.endpoint.abandon(now, id),
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a challenged request was over already");
    }
}
