//! Gateways that are asked whether they are there (OPTIONS, RFC 3261 11): those that do not answer are tried last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_sip::endpoint::{Failure, OutgoingRequest, RequestId};
use lockstep_sip::message::{Method, NameAddr, Response, SipUri, Uri};

use super::exchange::Exchange;
use super::outgoing;

/// How long each address of a gateway may take to answer before the next is asked; with the last the gateway counts as one that does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// One gateway's probes.
#[derive(Debug)]
struct Probe {
    uri: SipUri,
    every: Duration,
    next: Instant,
    /// The request under way.
    pending: Option<RequestId>,
}

/// Probes of all gateways that want them.
#[derive(Debug)]
pub(crate) struct Probes {
    gateways: BTreeMap<i64, Probe>,
}

impl Probes {
    /// Probes of the gateways in the directory; the first are due at once.
    pub(crate) fn new(exchange: &Exchange) -> Self {
        let mut probes = Self { gateways: BTreeMap::new() };
        probes.follow(exchange);
        probes
    }

    /// The gateways are those of the directory as it is now: probes that are wanted as they were go on as they are.
    pub(crate) fn follow(&mut self, exchange: &Exchange) {
        let now = exchange.now.instant;
        let mut before = std::mem::take(&mut self.gateways);
        let wanted = exchange.directory.gateways().filter_map(|entry| Some((entry, entry.config.probe_s?)));
        self.gateways = wanted
            .map(|(entry, seconds)| {
                let every = Duration::from_secs(seconds.into());
                let known = before.remove(&entry.config.id).filter(|known| known.uri == entry.uri && known.every == every);
                let new = || Probe { uri: entry.uri.clone(), every, next: now, pending: None };
                (entry.config.id, known.unwrap_or_else(new))
            })
            .collect();
    }

    /// When `handle_timeout` is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.gateways.values().map(|probe| probe.next).min()
    }

    /// Asks whom it is time to ask.
    pub(crate) fn handle_timeout(&mut self, exchange: &mut Exchange) {
        let now = exchange.now.instant;
        for (id, probe) in &mut self.gateways {
            if probe.next <= now {
                probe.next = now + probe.every;
                // A gateway that is not found yet is found by and by: the next probe asks it.
                if probe.pending.is_none() {
                    probe.pending = ask(exchange, *id);
                }
            }
        }
    }

    /// The outcome of a request, if it was one of ours.
    pub(crate) fn handle_outcome(&mut self, exchange: &mut Exchange, id: RequestId, outcome: &Result<Arc<Response>, Failure>) {
        let found = self.gateways.iter_mut().find(|(_, probe)| probe.pending == Some(id));
        let Some((gateway, probe)) = found else { return };
        if matches!(outcome, Ok(response) if response.status.is_provisional()) {
            return;
        }
        probe.pending = None;
        let answer = match outcome {
            // Whatever it thinks of OPTIONS, it is there; 503 says that it takes no calls.
            Ok(response) | Err(Failure::Response(response)) if response.status.code() != 503 => Ok(()),
            Ok(_) | Err(Failure::Response(_)) => Err("503"),
            Err(Failure::Timeout) => Err("no answer"),
            Err(Failure::Transport | Failure::Cancelled | Failure::Unusable | Failure::DialogEnded) => Err("unreachable"),
        };
        tell(exchange, *gateway, answer);
    }
}

/// Keeps in mind whether a gateway is there, and says so when that has changed.
fn tell(exchange: &mut Exchange, gateway: i64, answer: Result<(), &str>) {
    let changed = exchange.directory.set_gateway_down(gateway, answer.is_err());
    match answer {
        Ok(()) if changed => tracing::info!(gateway, "the gateway answers again"),
        Err(why) if changed => tracing::warn!(gateway, why, "the gateway does not answer; it is tried last"),
        Ok(()) | Err(_) => {}
    }
}

fn ask(exchange: &mut Exchange, gateway: i64) -> Option<RequestId> {
    let entry = exchange.directory.gateway(gateway)?;
    let (uri, destinations) = (SipUri { user: None, ..entry.uri.clone() }, entry.destinations.clone());
    let first = destinations.first().copied()?;
    let (contact, host) = outgoing::named_to(exchange, first)?;
    let from = NameAddr::new(Uri::Sip(SipUri::new(Some("lockstep"), host, None)));
    let destinations = outgoing::with_local(exchange, destinations);
    let uri = Uri::Sip(uri);
    let mut request = OutgoingRequest::new(Method::Options, uri.clone(), from, NameAddr::new(uri), destinations);
    request.contact = Some(contact);
    request.patience = Some(PATIENCE);
    let now = exchange.now.instant;
    exchange.endpoint.request_out_of_dialog(now, request).ok()
}
