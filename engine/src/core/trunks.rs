//! Gateways: finding their addresses, and registering with those that want it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_sip::endpoint::{Failure, RequestId};
use lockstep_sip::message::{Response, SipUri, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::outbound_registration::{
    Failure as RegistrationFailure, OutboundRegistration, OutboundRegistrationConfig, Register, RegistrationOutput, Standing,
};
use rand_chacha::rand_core::Rng;

use super::directory::Directory;
use super::exchange::{Exchange, Purpose};
use super::outgoing;

/// How often the names of gateways are looked up again.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(60);
/// The lifetime asked for.
const EXPIRES: Duration = Duration::from_secs(3600);

/// A REGISTER under way.
struct Pending {
    request: RequestId,
    cseq: u32,
    /// As the REGISTER carries it.
    contact: Uri,
}

/// A registration at one gateway.
struct Trunk {
    account: Account,
    registration: OutboundRegistration,
    pending: Option<Pending>,
    /// Its gateway has been found once; before that there is nowhere to send to.
    found: bool,
}

impl Trunk {
    fn new(exchange: &mut Exchange, account: Account) -> Self {
        let Account { uri, username, password } = account.clone();
        let address = Uri::Sip(SipUri::new(Some(&username), uri.host.clone(), uri.port));
        let registrar = Uri::Sip(SipUri { user: None, ..uri });
        let config = OutboundRegistrationConfig { registrar, address, username, password, expires: EXPIRES };
        let now = exchange.now.instant;
        let registration = OutboundRegistration::new(config, exchange.seed(), now);
        Self { account, registration, pending: None, found: false }
    }

    /// Takes the outcome of a REGISTER; whether it was the one under way.
    fn take(&mut self, now: Instant, id: RequestId, outcome: &Result<Arc<Response>, Failure>) -> bool {
        let Some(Pending { cseq, contact, .. }) = self.pending.take_if(|pending| pending.request == id) else { return false };
        match outcome {
            Ok(response) | Err(Failure::Response(response)) => {
                self.registration.handle_response(now, cseq, &contact, response);
            }
            Err(Failure::Timeout) => self.registration.handle_failure(now, cseq, RegistrationFailure::Timeout),
            Err(Failure::Transport | Failure::Cancelled | Failure::Unusable | Failure::DialogEnded) => {
                self.registration.handle_failure(now, cseq, RegistrationFailure::Unreachable);
            }
        }
        true
    }

    /// Does what the registration wants; the requests that were sent.
    fn pump(&mut self, exchange: &mut Exchange, gateway: i64, destinations: &[Destination]) -> Vec<RequestId> {
        let mut sent = Vec::new();
        while let Some(output) = self.registration.poll_output() {
            match output {
                RegistrationOutput::Send(register) => {
                    let cseq = register.cseq;
                    match try_send(exchange, destinations, *register, &self.account.username) {
                        Some((request, contact)) => {
                            self.pending = Some(Pending { request, cseq, contact });
                            sent.push(request);
                        }
                        None => {
                            let now = exchange.now.instant;
                            self.registration.handle_failure(now, cseq, RegistrationFailure::Unreachable);
                        }
                    }
                }
                RegistrationOutput::Registered { expires } => {
                    tracing::info!(gateway, expires_s = expires.as_secs(), "registered");
                }
                RegistrationOutput::Failed { failure, retry_in } => {
                    tracing::warn!(gateway, %failure, retry_in_s = retry_in.as_secs(), "registration failed");
                }
                RegistrationOutput::Unregistered => tracing::info!(gateway, "unregistered"),
            }
        }
        sent
    }
}

fn try_send(
    exchange: &mut Exchange,
    destinations: &[Destination],
    register: Register,
    username: &str,
) -> Option<(RequestId, Uri)> {
    let first = destinations.first().copied()?;
    let mut contact = outgoing::named_to(exchange, first)?.0.uri;
    // Calls come to this address: its user part tells for which of our registrations there.
    if let Uri::Sip(uri) = &mut contact {
        uri.user = SipUri::new(Some(username), uri.host.clone(), None).user;
    }
    let tag = format!("{:016x}", exchange.rng.next_u64());
    let destinations = outgoing::with_local(exchange, destinations.to_vec());
    let request = register.into_request(contact.clone(), &tag, destinations);
    let now = exchange.now.instant;
    let id = exchange.endpoint.request_out_of_dialog(now, request).ok()?;
    Some((id, contact))
}

/// A registration at a gateway that is gone or has changed, until it has been taken back.
struct Leaving {
    gateway: i64,
    trunk: Trunk,
    destinations: Vec<Destination>,
}

/// What is registered where.
#[derive(Clone, PartialEq)]
struct Account {
    uri: SipUri,
    username: String,
    password: String,
}

impl Account {
    /// Whether both are one address at one registrar, whatever the password.
    fn is_same_address(&self, other: &Self) -> bool {
        self.uri == other.uri && self.username == other.username
    }
}

/// Gateways to be registered with.
fn wanted(directory: &Directory) -> BTreeMap<i64, Account> {
    let registering = directory.gateways().filter(|entry| entry.config.register);
    registering
        .filter_map(|entry| {
            let username = entry.config.username.clone()?;
            let password = entry.config.password.as_ref()?.expose().to_owned();
            Some((entry.config.id, Account { uri: entry.uri.clone(), username, password }))
        })
        .collect()
}

/// All gateways' registrations and look-ups.
pub(crate) struct Trunks {
    trunks: BTreeMap<i64, Trunk>,
    leaving: Vec<Leaving>,
    requests: BTreeMap<RequestId, i64>,
    /// Gateways whose registration has something to say.
    active: BTreeSet<i64>,
    look_up_at: Option<Instant>,
}

impl Trunks {
    /// Looks every gateway up and prepares registrations for those configured so.
    pub(crate) fn new(exchange: &mut Exchange) -> Self {
        let trunks = wanted(&exchange.directory).into_iter().map(|(id, account)| (id, Trunk::new(exchange, account))).collect();
        let has_gateways = exchange.directory.gateways().next().is_some();
        let mut trunks = Self {
            trunks,
            leaving: Vec::new(),
            requests: BTreeMap::new(),
            active: BTreeSet::new(),
            look_up_at: has_gateways.then_some(exchange.now.instant),
        };
        trunks.look_up(exchange);
        trunks
    }

    /// The gateways are those of `next` from now on: registrations that are wanted as they were stay, others are taken back or begun.
    pub(crate) fn follow(&mut self, exchange: &mut Exchange, next: Directory) {
        let now = exchange.now.instant;
        let wanted = wanted(&next);
        let gone: Vec<i64> =
            self.trunks.iter().filter(|(id, trunk)| wanted.get(id) != Some(&trunk.account)).map(|(id, _)| *id).collect();
        for id in gone {
            let Some(mut trunk) = self.trunks.remove(&id) else { continue };
            // To take back the address that is registered anew could undo just that.
            if wanted.get(&id).is_none_or(|next| !next.is_same_address(&trunk.account)) {
                trunk.registration.unregister(now);
                let destinations = destinations_of(exchange, id);
                self.leave(exchange, Leaving { gateway: id, trunk, destinations });
            }
        }
        exchange.directory = next;
        for (id, account) in wanted {
            self.trunks.entry(id).or_insert_with(|| Trunk::new(exchange, account));
        }
        let has_gateways = exchange.directory.gateways().next().is_some();
        self.look_up_at = has_gateways.then_some(now);
        self.look_up(exchange);
    }

    /// Whether a request is one of the registrations'.
    pub(crate) fn owns(&self, id: RequestId) -> bool {
        self.requests.contains_key(&id)
    }

    /// Registered gateways, and all that should be.
    pub(crate) fn registered(&self, now: Instant) -> (usize, usize) {
        let registered = self.trunks.values().filter(|trunk| trunk.registration.is_registered(now)).count();
        (registered, self.trunks.len())
    }

    /// Where our registration at a gateway stands; `None`: there is none.
    pub(crate) fn standing(&self, gateway: i64, now: Instant) -> Option<Standing> {
        self.trunks.get(&gateway).map(|trunk| trunk.registration.standing(now))
    }

    /// When `handle_timeout` is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let found = self.trunks.values().filter(|trunk| trunk.found);
        let registrations = found.filter_map(|trunk| trunk.registration.poll_timeout());
        registrations.chain(self.look_up_at).min()
    }

    /// Tells that time has passed.
    pub(crate) fn handle_timeout(&mut self, exchange: &mut Exchange) {
        let now = exchange.now.instant;
        if self.look_up_at.is_some_and(|at| at <= now) {
            self.look_up(exchange);
        }
        for (id, trunk) in self.trunks.iter_mut().filter(|(_, trunk)| trunk.found) {
            if trunk.registration.poll_timeout().is_some_and(|due| due <= now) {
                trunk.registration.handle_timeout(now);
                self.active.insert(*id);
            }
        }
    }

    /// A gateway has been found: its registration may begin.
    pub(crate) fn found(&mut self, gateway: i64) {
        if let Some(trunk) = self.trunks.get_mut(&gateway) {
            trunk.found = true;
        }
    }

    /// The outcome of a request, if it was one of ours.
    pub(crate) fn handle_outcome(&mut self, exchange: &mut Exchange, id: RequestId, outcome: &Result<Arc<Response>, Failure>) {
        let Some(gateway) = self.requests.get(&id).copied() else { return };
        let now = exchange.now.instant;
        if matches!(outcome, Ok(response) if response.status.is_provisional()) {
            return;
        }
        self.requests.remove(&id);
        let is_pending = |leaving: &Leaving| leaving.trunk.pending.as_ref().is_some_and(|pending| pending.request == id);
        if let Some(at) = self.leaving.iter().position(is_pending) {
            let mut leaving = self.leaving.swap_remove(at);
            leaving.trunk.take(now, id, outcome);
            return self.leave(exchange, leaving);
        }
        if self.trunks.get_mut(&gateway).is_some_and(|trunk| trunk.take(now, id, outcome)) {
            self.active.insert(gateway);
        }
    }

    /// Takes the address off every gateway.
    pub(crate) fn unregister(&mut self, now: Instant) {
        for (id, trunk) in &mut self.trunks {
            trunk.registration.unregister(now);
            self.active.insert(*id);
        }
    }

    /// Does what the registrations want; whether there was anything.
    pub(crate) fn pump(&mut self, exchange: &mut Exchange) -> bool {
        let Some(gateway) = self.active.pop_first() else { return false };
        if let Some(trunk) = self.trunks.get_mut(&gateway) {
            let destinations = destinations_of(exchange, gateway);
            let sent = trunk.pump(exchange, gateway, &destinations);
            self.requests.extend(sent.into_iter().map(|id| (id, gateway)));
        }
        true
    }

    /// Goes on with taking a registration back, which is over once nothing more is sent.
    fn leave(&mut self, exchange: &mut Exchange, mut leaving: Leaving) {
        let sent = leaving.trunk.pump(exchange, leaving.gateway, &leaving.destinations);
        if !sent.is_empty() {
            self.requests.extend(sent.into_iter().map(|id| (id, leaving.gateway)));
            self.leaving.push(leaving);
        }
    }

    fn look_up(&mut self, exchange: &mut Exchange) {
        let gateways: Vec<(i64, SipUri)> =
            exchange.directory.gateways().map(|entry| (entry.config.id, entry.uri.clone())).collect();
        for (id, uri) in gateways {
            if let Err(refusal) = outgoing::look_up(exchange, Purpose::Gateway(id), &uri) {
                tracing::warn!(gateway = id, why = %refusal.reason, "a gateway's address cannot be used");
            }
        }
        self.look_up_at = self.look_up_at.and_then(|_| exchange.now.instant.checked_add(LOOK_UP_AGAIN));
    }
}

/// Where a gateway was last found.
fn destinations_of(exchange: &Exchange, gateway: i64) -> Vec<Destination> {
    exchange.directory.gateway(gateway).map(|entry| entry.destinations.clone()).unwrap_or_default()
}
