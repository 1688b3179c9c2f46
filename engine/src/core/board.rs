//! A call's [`Switchboard`] over the exchange: turns what legs want into SIP requests and orders for the media threads.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::op::Headers as ScriptHeaders;
use lockstep_ctx_api::{ErrorCode, OpError};
use lockstep_media::codec::Codec;
use lockstep_media::prompt::{PromptError, Source};
use lockstep_media::recording::RecordingId;
use lockstep_media::sdp::LocalMedia;
use lockstep_media::stream::Command;
use lockstep_sip::endpoint::{Body, CommandError, DialogRequest, IncomingId, Reply, RequestId};
use lockstep_sip::message::{HeaderValue, Headers, Method, StatusCode};
use rand_chacha::rand_core::Rng;

use super::exchange::{CallKey, Exchange, Invite, LegKey, Purpose, redirect_headers, script_headers};
use super::outgoing;
use super::routing;
use super::timeline::Direction;
use super::watching::LegStep;
use super::world::{RecordingOrder, Ticket, prompt_error};
use crate::call::{
    AudioSource, Dial, LegEvent, LegId, LoadId, Loading, Lookup, LookupId, RecordingFile, RouteId, Signal, Switchboard,
    info_of_digit,
};

/// The packet time we ask for.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// One call's hold on the exchange.
#[derive(Clone)]
pub(crate) struct Board {
    pub call: CallKey,
    pub exchange: Rc<RefCell<Exchange>>,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Board({:?})", self.call)
    }
}

impl Switchboard for Board {
    fn open_media(&mut self, leg: LegId, near: Option<LegId>, route: Option<RouteId>) -> Result<LocalMedia, OpError> {
        let mut exchange = self.exchange.borrow_mut();
        let exchange = &mut *exchange;
        let key = (self.call, leg);
        let now = exchange.now.instant;
        let unreachable = || OpError::new(ErrorCode::NetworkError, "no address of this machine leads to the peer");
        let (local, remote) = match route {
            Some(route) => {
                let route = exchange.routes.get(&(self.call, route));
                let destination = route.and_then(|route| route.destinations.first().copied()).ok_or_else(unreachable)?;
                let local = exchange.world.local_for(destination.protocol, destination.remote).ok_or_else(unreachable)?;
                (local.ip(), destination.remote.ip())
            }
            None => match exchange.links.get(&key).and_then(|link| link.invite.as_ref()) {
                Some(Invite::Incoming { source, .. }) => (source.local.ip(), source.remote.ip()),
                Some(Invite::Outgoing { .. }) | None => return Err(unreachable()),
            },
        };
        let near = near.and_then(|near| exchange.links.get(&(self.call, near))?.media);
        let refused = |why: String| OpError::new(ErrorCode::LimitError, why);
        let opened = exchange.world.open_media(now, local, near).map_err(refused)?;
        exchange.media.insert(opened.leg, key);
        exchange.links.entry(key).or_default().media = Some(opened.leg);
        Ok(LocalMedia {
            address: exchange.shown_ip(opened.rtp.ip(), remote),
            rtp_port: opened.rtp.port(),
            codecs: exchange.codecs.clone(),
            packet_time: PACKET_TIME,
            offer_rtcp_mux: false,
            session_id: exchange.rng.next_u64() >> 2,
        })
    }

    fn media(&mut self, leg: LegId, command: Command) {
        let mut exchange = self.exchange.borrow_mut();
        if let Some(media) = exchange.links.get(&(self.call, leg)).and_then(|link| link.media) {
            exchange.world.media(media, command);
        }
    }

    fn join(&mut self, a: LegId, b: LegId) {
        let mut exchange = self.exchange.borrow_mut();
        let media = |leg| exchange.links.get(&(self.call, leg)).and_then(|link| link.media);
        if let (Some(a), Some(b)) = (media(a), media(b)) {
            exchange.world.join(a, b);
        }
    }

    fn part(&mut self, a: LegId, _b: LegId) {
        let mut exchange = self.exchange.borrow_mut();
        if let Some(media) = exchange.links.get(&(self.call, a)).and_then(|link| link.media) {
            exchange.world.part(media);
        }
    }

    fn close_media(&mut self, leg: LegId) {
        let mut exchange = self.exchange.borrow_mut();
        if let Some(media) = exchange.links.get_mut(&(self.call, leg)).and_then(|link| link.media.take()) {
            exchange.close_media((self.call, leg), media);
        }
    }

    fn signal(&mut self, leg: LegId, signal: Signal) {
        self.exchange.borrow_mut().signal(self.call, leg, signal);
    }

    fn resolve(&mut self, lookup: LookupId, uri: &str, caller_id: Option<&str>) -> Lookup {
        routing::resolve(&mut self.exchange.borrow_mut(), self.call, lookup, uri, caller_id)
    }

    fn forget_routes(&mut self, lookup: LookupId, routes: &[RouteId]) {
        self.exchange.borrow_mut().forget_lookup(self.call, lookup, routes);
    }

    fn dial(&mut self, leg: LegId, dial: Dial, offer: String) {
        outgoing::invite(&mut self.exchange.borrow_mut(), (self.call, leg), dial, offer);
    }

    fn adopt(&mut self, leg: LegId) {
        self.exchange.borrow_mut().rename_leg((self.call, leg), (self.call, LegId::A));
    }

    fn load(&mut self, load: LoadId, source: &AudioSource, codec: Codec) -> Loading {
        let mut exchange = self.exchange.borrow_mut();
        let exchange = &mut *exchange;
        let now = exchange.now.instant;
        match source {
            AudioSource::Files(names) => {
                let sources = match exchange.sources(self.call, names) {
                    Ok(sources) => sources,
                    Err(error) => return Loading::Ready(Err(prompt_error(&error))),
                };
                if let Some(prompts) = exchange.world.audio_at_hand(now, &sources, codec) {
                    return Loading::Ready(Ok(prompts));
                }
                let ticket = exchange.loading(self.call, load);
                exchange.world.load_audio(now, ticket, sources, codec);
            }
            AudioSource::Speech(args) => {
                let ticket = exchange.loading(self.call, load);
                exchange.world.speak(now, ticket, (**args).clone(), codec);
            }
        }
        Loading::Later
    }

    fn forget(&mut self, load: LoadId) {
        let mut exchange = self.exchange.borrow_mut();
        if let Some(ticket) = exchange.loads.remove(&(self.call, load)) {
            exchange.abandon(ticket);
        }
    }

    fn record(&mut self, leg: LegId, id: RecordingId, file: &RecordingFile, codec: Codec) -> Result<String, OpError> {
        let mut exchange = self.exchange.borrow_mut();
        let account = exchange.audio_of(self.call);
        let (name, path) = exchange.recordings.file(account, &file.name, file.format)?;
        let within = exchange.recordings.within(account);
        let media = exchange.links.get(&(self.call, leg)).and_then(|link| link.media);
        let media = media.ok_or_else(|| OpError::new(ErrorCode::InvalidState, "the call has no media"))?;
        let call = exchange.ids.get(&self.call).cloned().unwrap_or_default();
        let RecordingFile { format, options, .. } = *file;
        let order = RecordingOrder { leg: media, id, options, within, path: path.clone(), format, codec, call };
        exchange.world.record(order)?;
        exchange.recorded.entry(self.call).or_default().push(path);
        Ok(name)
    }
}

impl Exchange {
    /// Whose `user/` a call's names are resolved in, where it is not that of the account without a name.
    fn audio_of(&self, call: CallKey) -> Option<&Arc<str>> {
        self.owners.get(&call)
    }

    fn sources(&self, call: CallKey, names: &[String]) -> Result<Vec<Source>, PromptError> {
        let account = self.audio_of(call);
        let parse = |name: &String| {
            let source = Source::parse(name)?;
            Ok(match account {
                Some(account) => source.of_account(account),
                None => source,
            })
        };
        names.iter().map(parse).collect()
    }

    fn loading(&mut self, call: CallKey, load: LoadId) -> Ticket {
        let ticket = self.ticket(Purpose::Audio(call, load));
        self.loads.insert((call, load), ticket);
        ticket
    }

    /// The result of background work is not wanted any more.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        if self.tickets.remove(&ticket).is_some() {
            self.world.abandon(ticket);
        }
    }

    fn signal(&mut self, call: CallKey, leg: LegId, signal: Signal) {
        let key = (call, leg);
        match signal {
            Signal::Provisional { code, headers, sdp } => self.reply_to_invite(key, code, None, &headers, sdp),
            Signal::Accept { headers, sdp } => {
                self.reply_to_invite(key, 200, None, &headers, Some(sdp));
                if let Some(link) = self.links.get_mut(&key) {
                    link.answered = true;
                }
            }
            Signal::Refuse { code, reason, headers } => self.reply_to_invite(key, code, reason, &headers, None),
            Signal::HangUp { headers } => self.hang_up(key, &headers),
            Signal::AcceptOffer { offer, sdp } => {
                let reply = Reply { body: sdp.map(Body::sdp), ..self.reply(key, StatusCode::OK) };
                self.answer_request(key, IncomingId(offer.0), reply);
            }
            Signal::RefuseOffer { offer, code } => {
                let status = StatusCode::new(code).unwrap_or(StatusCode::NOT_ACCEPTABLE_HERE);
                let mut reply = self.reply(key, status);
                if code == 500 {
                    reply = reply.header("Retry-After", "1");
                }
                self.answer_request(key, IncomingId(offer.0), reply);
            }
            Signal::Offer { sdp } => self.offer(key, sdp),
            Signal::InfoDigit { digit, duration_ms } => {
                let Some(dialog) = self.links.get(&key).and_then(|link| link.dialog) else { return };
                let body = Body::new("application/dtmf-relay", info_of_digit(digit, duration_ms));
                let request = DialogRequest::new(Method::Info).with_body(body);
                self.note(key, Direction::Out, "INFO");
                match self.endpoint.request(self.now.instant, dialog, request) {
                    Ok(id) => drop(self.infos.insert(id, key)),
                    Err(error) => tracing::debug!(%error, "an INFO was not sent"),
                }
            }
        }
    }

    fn offer(&mut self, key: LegKey, sdp: String) {
        let Some(dialog) = self.links.get(&key).and_then(|link| link.dialog) else { return };
        self.note(key, Direction::Out, "INVITE");
        let request = DialogRequest::new(Method::Invite).with_body(Body::sdp(sdp));
        match self.endpoint.request(self.now.instant, dialog, request) {
            Ok(id) => drop(self.offers.insert(id, key)),
            Err(error) => {
                // What is in the way passes: an offer of the peer's, or one of ours.
                let again = matches!(error, CommandError::Pending);
                self.post(key, LegEvent::OfferRefused { code: 500, reason: error.to_string(), again });
            }
        }
    }

    fn reply(&self, key: LegKey, status: StatusCode) -> Reply {
        Reply { contact: self.links.get(&key).and_then(|link| link.contact.clone()), ..Reply::new(status) }
    }

    fn reply_to_invite(&mut self, key: LegKey, code: u16, reason: Option<String>, headers: &ScriptHeaders, sdp: Option<String>) {
        let Some(Invite::Incoming { id, .. }) = self.links.get(&key).and_then(|link| link.invite.clone()) else { return };
        let status = StatusCode::new(code).unwrap_or(StatusCode::SERVER_INTERNAL_ERROR);
        let mut reply = self.reply(key, status);
        if status.is_final() && !status.is_success() {
            reply.contact = None;
        }
        reply.headers = if (300..400).contains(&code) { redirect_headers(headers) } else { script_headers(headers) };
        reply.reason = reason.filter(|reason| HeaderValue::try_new(reason).is_ok());
        reply.body = sdp.map(Body::sdp);
        let shown = reply.reason.clone().unwrap_or_else(|| status.default_reason().to_owned());
        self.note(key, Direction::Out, format!("{code} {shown}"));
        if let Err(error) = self.endpoint.respond(self.now.instant, id, reply) {
            // The peer was faster: a CANCEL has taken the INVITE away, and its event is on the way.
            tracing::debug!(%error, "a response was not sent");
        }
    }

    fn answer_request(&mut self, key: LegKey, id: IncomingId, reply: Reply) {
        self.note(key, Direction::Out, format!("{} {}", reply.status.code(), reply.status.default_reason()));
        if let Err(error) = self.endpoint.respond(self.now.instant, id, reply) {
            tracing::debug!(%error, "a response was not sent");
        }
    }

    fn hang_up(&mut self, key: LegKey, headers: &ScriptHeaders) {
        let Some(link) = self.links.get(&key) else { return };
        let (invite, dialog, answered) = (link.invite.clone(), link.dialog, link.answered);
        let (code, reason) = if answered { (200, "Normal Clearing") } else { (487, "Request Terminated") };
        self.leg_step(key, LegStep::Over { code, reason: reason.to_owned() });
        let headers: Headers = script_headers(headers);
        let now = self.now.instant;
        let sent = match (invite, dialog) {
            (_, Some(dialog)) if answered => {
                self.note(key, Direction::Out, "BYE");
                self.endpoint.bye(now, dialog, headers).map(|_| ())
            }
            (Some(Invite::Outgoing { id }), _) => self.cancel(key, id, headers),
            (Some(Invite::Incoming { id, .. }), _) => {
                self.note(key, Direction::Out, "480 Temporarily Unavailable");
                let reply = Reply { headers, ..Reply::new(StatusCode::TEMPORARILY_UNAVAILABLE) };
                self.endpoint.respond(now, id, reply)
            }
            (None, _) => Ok(()),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the dialog was over before we ended it");
        }
        // What still comes on this dialog concerns nobody any more; the endpoint ends it by itself.
        self.forget_leg(key);
    }

    /// Gives up an INVITE of ours.
    pub(super) fn cancel(&mut self, key: LegKey, id: RequestId, headers: Headers) -> Result<(), CommandError> {
        let cancelled = self.endpoint.cancel(self.now.instant, id, headers);
        if cancelled.is_ok() {
            self.note(key, Direction::Out, "CANCEL");
        }
        // Where the peer has answered, its answer is on the way to us and is met with BYE.
        if matches!(cancelled, Ok(()) | Err(CommandError::Answered)) {
            self.given_up.insert(id, key);
        }
        cancelled
    }

    /// Tells a leg something once the call that caused it has finished what it is doing.
    pub(crate) fn post(&mut self, leg: LegKey, event: LegEvent) {
        self.posted.push_back((leg, event));
    }
}
