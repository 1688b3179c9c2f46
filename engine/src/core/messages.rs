//! Text messages over SIP (RFC 3428): MESSAGE to a user at its bindings, to a number through its gateways.
//!
//! Ways are tried one after another until one takes the message; a peer that refuses it has the last word.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lockstep_sip::auth::ClientAuth;
use lockstep_sip::endpoint::{Body, Failure, OutgoingRequest, RequestId};
use lockstep_sip::message::{Method, NameAddr, Request, Response, SipUri, Uri};
use lockstep_sip::net::Destination;
use tokio::sync::oneshot;

use super::credentials;
use super::dialog_events::failure_of;
use super::directory::Callee;
use super::exchange::Exchange;
use super::handle::EngineError;
use super::outgoing;

/// Octets of a body: a MESSAGE outside a session goes in one datagram (RFC 3428, section 8).
const MAX_BODY: usize = 1_300;
/// Messages under way at once.
const MAX_PENDING: usize = 1_000;

/// A message to be sent.
#[derive(Clone, Debug)]
pub struct TextMessage {
    /// User, number on a gateway, or `sip:` URI.
    pub to: String,
    /// The user part of the From; absent: `anonymous`.
    pub from: Option<String>,
    /// MIME type of the body.
    pub content_type: String,
    pub body: String,
    /// Whose message it is; absent: nobody's.
    pub account: Option<String>,
}

/// Who sent a message is told here what came of it: the code it was taken with.
pub(crate) type Sent = oneshot::Sender<Result<u16, EngineError>>;

/// One way a message can take.
struct Way {
    uri: Uri,
    destinations: Vec<Destination>,
    gateway: Option<i64>,
}

struct Pending {
    message: TextMessage,
    /// The ways that have not been tried.
    rest: VecDeque<Way>,
    auth: Option<ClientAuth>,
    reply: Sent,
}

/// Messages that have not been answered.
#[derive(Default)]
pub(crate) struct Messages {
    pending: BTreeMap<RequestId, Pending>,
}

impl Messages {
    /// Whether a request is one of these.
    pub(crate) fn owns(&self, id: RequestId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Sends a message; who asked is told what comes of it.
    pub(crate) fn send(&mut self, exchange: &mut Exchange, message: TextMessage, reply: Sent) {
        let ways = if self.pending.len() >= MAX_PENDING {
            Err((503, format!("{MAX_PENDING} messages are under way already")))
        } else if message.body.len() > MAX_BODY {
            Err((513, format!("a message may have {MAX_BODY} bytes, this one has {}", message.body.len())))
        } else {
            ways(exchange, &message.to, message.account.as_deref())
        };
        match ways {
            Ok(rest) => {
                let why = (480, "Temporarily Unavailable".to_owned());
                self.try_next(exchange, Pending { message, rest, auth: None, reply }, why);
            }
            Err((code, reason)) => refuse(reply, code, reason),
        }
    }

    /// A message was challenged: sends it again with the gateway's credentials, or takes the challenge for the answer.
    pub(crate) fn challenged(&mut self, exchange: &mut Exchange, id: RequestId, request: &Request, response: &Response) {
        let auth = self.pending.get_mut(&id).and_then(|pending| pending.auth.as_mut());
        let now = exchange.now.instant;
        let result = match auth.and_then(|auth| credentials::answer(auth, request, response)) {
            Some(headers) => exchange.endpoint.resend_with(now, id, &headers),
            None => exchange.endpoint.abandon(now, id),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a challenged MESSAGE was over already");
        }
    }

    /// The outcome of a request, if it was one of these.
    pub(crate) fn handle_outcome(&mut self, exchange: &mut Exchange, id: RequestId, outcome: &Result<Arc<Response>, Failure>) {
        if matches!(outcome, Ok(response) if response.status.is_provisional()) {
            return;
        }
        let Some(pending) = self.pending.remove(&id) else { return };
        match outcome {
            Ok(response) if response.status.is_success() => {
                // Who asked may have gone away.
                let _ = pending.reply.send(Ok(response.status.code()));
            }
            Ok(response) => {
                let why = (response.status.code(), response.reason.text().into_owned());
                self.failed(exchange, pending, why);
            }
            Err(failure) => {
                let why = failure_of(failure);
                self.failed(exchange, pending, why);
            }
        }
    }

    fn failed(&mut self, exchange: &mut Exchange, pending: Pending, (code, reason): (u16, String)) {
        // Silence and trouble on the way say nothing about the message.
        if code == 408 || (500..600).contains(&code) {
            self.try_next(exchange, pending, (code, reason));
        } else {
            refuse(pending.reply, code, reason);
        }
    }

    fn try_next(&mut self, exchange: &mut Exchange, mut pending: Pending, mut why: (u16, String)) {
        while let Some(way) = pending.rest.pop_front() {
            match request(exchange, &pending.message, way) {
                Ok((id, auth)) => {
                    pending.auth = auth;
                    self.pending.insert(id, pending);
                    return;
                }
                Err(reason) => why = (503, reason),
            }
        }
        refuse(pending.reply, why.0, why.1);
    }
}

fn refuse(reply: Sent, code: u16, reason: String) {
    // Who asked may have gone away.
    let _ = reply.send(Err(EngineError::MessageRefused { code, reason }));
}

/// The ways to a target, in the order they are tried, for a message of this account.
fn ways(exchange: &mut Exchange, to: &str, account: Option<&str>) -> Result<VecDeque<Way>, (u16, String)> {
    let programs = Arc::clone(&exchange.programs);
    let callee = exchange.directory.first_callee(to, account, &programs).map_err(|refusal| (refusal.code, refusal.reason))?;
    let now = exchange.now.instant;
    let found: VecDeque<Way> = match callee {
        Callee::User(name) => {
            let bindings = exchange.registrar.lookup(&name, now).into_iter();
            let way = |binding: &lockstep_sip::registrar::Binding| Way {
                uri: binding.contact.uri.clone(),
                destinations: vec![binding.destination()],
                gateway: None,
            };
            bindings.map(way).collect()
        }
        Callee::Class5(name) | Callee::Did(name) => {
            return Err((404, format!("{name} is a script's: it takes calls and no messages")));
        }
        Callee::Number(number) => {
            let gateways = exchange.table.gateways_of(&number, None);
            if gateways.is_empty() {
                return Err((404, format!("no route leads to {number}")));
            }
            gateways.into_iter().filter_map(|id| way_of_number(exchange, id, &number)).collect()
        }
        Callee::NumberAt(id, number) if !exchange.table.leads_through(id, &number, None) => {
            return Err((403, format!("no route leads to {number} through gateway {id}")));
        }
        Callee::NumberAt(id, number) => way_of_number(exchange, id, &number).into_iter().collect(),
        Callee::Gateway(id, uri) => way_through(exchange, id, uri).into_iter().collect(),
    };
    if found.is_empty() { Err((480, format!("{to} cannot be reached now"))) } else { Ok(found) }
}

/// The way of a number through a gateway; `None` until it was found.
fn way_of_number(exchange: &mut Exchange, id: i64, number: &str) -> Option<Way> {
    let gateway = exchange.directory.gateway(id)?;
    let mut uri = SipUri::new(Some(number), gateway.uri.host.clone(), gateway.uri.port);
    uri.params = gateway.uri.params.clone();
    way_through(exchange, id, uri)
}

/// A way through a gateway; `None` until it was found.
fn way_through(exchange: &mut Exchange, id: i64, uri: SipUri) -> Option<Way> {
    let destinations = exchange.directory.gateway(id)?.draw(&mut exchange.rng);
    (!destinations.is_empty()).then_some(Way { uri: Uri::Sip(uri), destinations, gateway: Some(id) })
}

/// Sends a message one way.
fn request(exchange: &mut Exchange, message: &TextMessage, way: Way) -> Result<(RequestId, Option<ClientAuth>), String> {
    let first = way.destinations.first().copied().ok_or("nowhere to send the message")?;
    let named = outgoing::named_to(exchange, first);
    let (_, host) = named.ok_or_else(|| format!("no address of this machine leads to {}", first.remote))?;
    let from = SipUri::new(Some(message.from.as_deref().unwrap_or("anonymous")), host, None);
    let to = NameAddr::new(outgoing::without_params(&way.uri));
    let destinations = outgoing::with_local(exchange, way.destinations);
    let mut request = OutgoingRequest::new(Method::Message, way.uri, NameAddr::new(Uri::Sip(from)), to, destinations);
    // A user is reached where the phone's messages come from.
    request.symmetric = way.gateway.is_none();
    request.body = Some(Body::new(message.content_type.as_str(), message.body.clone().into_bytes()));
    let auth = outgoing::credentials_of(exchange, way.gateway);
    let now = exchange.now.instant;
    let id = exchange.endpoint.request_out_of_dialog(now, request).map_err(|error| error.to_string())?;
    Ok((id, auth))
}
