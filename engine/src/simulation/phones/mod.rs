//! Softphones without sockets or a clock: they dial, register, ring, answer, press keys, speak and listen.
//!
//! The same phones serve a simulation, which carries their packets itself, and tests against a running engine, where
//! sockets do. Order of calls: commands and `handle_*`, then [`Phones::drain`], then [`Phones::next_deadline`].

mod call;
mod hearing;
mod registration;
mod room;
mod signalling;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::playout::EncodedPrompt;
use lockstep_media::sdp::Direction;
use lockstep_media::stream::{Channel, DtmfMethod, StreamConfig, WallClock};
use lockstep_sip::auth::ClientAuth;
use lockstep_sip::endpoint::{Body, Config as EndpointConfig, DialogRequest, Endpoint, OutgoingRequest, Reply, RequestId};
use lockstep_sip::message::{Headers, Host, Method, NameAddr, SipUri, StatusCode, Uri};
use lockstep_sip::net::{Destination, Protocol, Received, Source};
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rustc_hash::FxHashMap;
use thiserror::Error;

pub(crate) use call::{Call, State, rtcp_of};
pub(crate) use hearing::Hearing;
pub(crate) use registration::RegistrationState;
pub(crate) use room::is_quiet;

use call::{CallParts, Outbox};
use registration::Registration;

use super::clock::earlier;
use super::network::Packet;
use crate::phone::{Ended, EndedBy};

/// Names a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PhoneId(pub usize);

/// Names a call of a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PhoneCallId(pub usize);

/// Where phones are: addresses of a simulation, or sockets.
pub(crate) trait Places {
    /// An address for a phone's SIP.
    fn phone(&mut self) -> Result<SocketAddr, String>;
    /// An even port for a call's RTP, the next one for RTCP, on the host of a phone.
    fn media(&mut self, phone: SocketAddr) -> Result<SocketAddr, String>;
    /// A call does not need its ports any more.
    fn close(&mut self, rtp: SocketAddr);
}

/// Why a phone does not do what it is told.
#[derive(Debug, Error)]
pub(crate) enum PhoneError {
    #[error("{0}")]
    NoPlace(String),
    #[error("{target:?} cannot be dialled: expected a number, a name or a sip: URI")]
    BadTarget { target: String },
    #[error("{0}")]
    BadHeader(String),
    #[error("{0}")]
    Refused(String),
    #[error("{what}: the call {state}")]
    WrongState { what: &'static str, state: String },
}

/// How a phone is set up.
#[derive(Clone, Debug)]
pub(crate) struct PhoneSettings {
    /// The user part of its addresses.
    pub user: String,
    pub password: Option<String>,
    pub codecs: Vec<Codec>,
    pub packet_time: Duration,
}

impl PhoneSettings {
    /// A phone that speaks every codec, in packets of 20 ms.
    pub(crate) fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), password: None, codecs: Codec::ALL.to_vec(), packet_time: Duration::from_millis(20) }
    }
}

/// A phone.
pub(super) struct Phone {
    settings: PhoneSettings,
    address: SocketAddr,
    endpoint: Endpoint,
    deadline: Option<Instant>,
    registration: Option<Registration>,
    /// Calls that came in and were not taken up by [`Phones::next_incoming`].
    incoming: VecDeque<PhoneCallId>,
    /// Something was handed to the endpoint: it may have something to say.
    dirty: bool,
}

/// See the module.
pub(crate) struct Phones {
    places: Box<dyn Places>,
    /// Where the engine listens.
    engine: SocketAddr,
    clock: WallClock,
    rng: ChaCha12Rng,
    phones: Vec<Phone>,
    calls: Vec<Call>,
    /// Calls that are not over.
    live: Vec<PhoneCallId>,
    sip: BTreeMap<SocketAddr, PhoneId>,
    media: FxHashMap<SocketAddr, (PhoneCallId, Channel)>,
    outbox: Outbox,
    is_lazy: bool,
}

impl Phones {
    /// No phone yet. `engine` is where they send their requests.
    pub(crate) fn new(places: Box<dyn Places>, engine: SocketAddr, clock: WallClock, seed: [u8; 32]) -> Self {
        Self {
            places,
            engine,
            clock,
            rng: ChaCha12Rng::from_seed(seed),
            phones: Vec::new(),
            calls: Vec::new(),
            live: Vec::new(),
            sip: BTreeMap::new(),
            media: FxHashMap::default(),
            outbox: Outbox::new(),
            is_lazy: true,
        }
    }

    /// Calls from now on look at their media after each packet.
    #[cfg(test)]
    pub(crate) fn look_always(&mut self) {
        self.is_lazy = false;
    }

    /// Adds a phone at `address`, or wherever there is room.
    pub(crate) fn add(&mut self, settings: PhoneSettings, address: Option<SocketAddr>) -> Result<PhoneId, PhoneError> {
        let address = match address {
            Some(address) => address,
            None => self.places.phone().map_err(PhoneError::NoPlace)?,
        };
        let config = EndpointConfig {
            sent_by: vec![(Protocol::Udp, address)],
            has_tcp: false,
            user_agent: concat!("Lockstep-phone/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::new(config, self.seed());
        let id = PhoneId(self.phones.len());
        self.phones.push(Phone {
            settings,
            address,
            endpoint,
            deadline: None,
            registration: None,
            incoming: VecDeque::new(),
            dirty: false,
        });
        self.sip.insert(address, id);
        Ok(id)
    }

    pub(crate) fn address(&self, phone: PhoneId) -> Option<SocketAddr> {
        self.phones.get(phone.0).map(|phone| phone.address)
    }

    /// Every call so far, the first one first.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (PhoneCallId, &Call)> {
        self.calls.iter().enumerate().map(|(index, call)| (PhoneCallId(index), call))
    }

    pub(crate) fn call(&self, id: PhoneCallId) -> Option<&Call> {
        self.calls.get(id.0)
    }

    /// The user a phone is set up for.
    pub(crate) fn user(&self, phone: PhoneId) -> &str {
        self.phones.get(phone.0).map_or("", |phone| &phone.settings.user)
    }

    /// Whether somebody is at this address.
    pub(crate) fn is_at(&self, address: SocketAddr) -> bool {
        self.sip.contains_key(&address)
    }

    /// The next call that has come in to a phone.
    pub(crate) fn next_incoming(&mut self, phone: PhoneId) -> Option<PhoneCallId> {
        self.phones.get_mut(phone.0)?.incoming.pop_front()
    }

    /// How a phone's registration stands.
    pub(crate) fn registration(&self, phone: PhoneId) -> RegistrationState {
        self.phones.get(phone.0).and_then(|phone| phone.registration.as_ref()).map_or_else(Default::default, Registration::state)
    }

    /// Whether a phone's registration is under way.
    pub(crate) fn is_registering(&self) -> bool {
        let mut registrations = self.phones.iter().filter_map(|phone| phone.registration.as_ref());
        registrations.any(|registration| registration.state() == RegistrationState::Pending)
    }

    /// Registers a phone at the engine; it refreshes by itself.
    pub(crate) fn register(&mut self, now: Instant, phone: PhoneId) {
        let seed = self.seed();
        let engine = self.engine;
        let Some(phone) = self.phones.get_mut(phone.0) else { return };
        let mut registration = Registration::new(now, &phone.settings, phone.address, engine, seed);
        registration.handle_timeout(now, &mut phone.endpoint);
        phone.registration = Some(registration);
        phone.dirty = true;
    }

    /// Takes a phone's registration back.
    pub(crate) fn unregister(&mut self, now: Instant, phone: PhoneId) {
        let Some(phone) = self.phones.get_mut(phone.0) else { return };
        if let Some(registration) = &mut phone.registration {
            registration.unregister(now, &mut phone.endpoint);
            phone.dirty = true;
        }
    }

    /// Dials. The call stands in [`Self::call`] at once; what becomes of it shows there.
    pub(crate) fn dial(
        &mut self,
        now: Instant,
        phone: PhoneId,
        target: &str,
        headers: &[(String, String)],
    ) -> Result<PhoneCallId, PhoneError> {
        let bad_target = || PhoneError::BadTarget { target: target.to_owned() };
        let engine_host = host_of(self.engine);
        let uri = if target.starts_with("sip:") || target.starts_with("sips:") {
            Uri::parse(target).map_err(|_| bad_target())?
        } else if target.is_empty() || target.contains(char::is_whitespace) {
            return Err(bad_target());
        } else {
            Uri::Sip(SipUri::new(Some(target), engine_host.clone(), Some(self.engine.port())))
        };
        let mut given = Headers::new();
        for (name, value) in headers {
            given.try_push(name, value).map_err(|error| PhoneError::BadHeader(format!("header {name:?}: {error}")))?;
        }
        let address = self.address(phone).ok_or_else(|| PhoneError::NoPlace("no such phone".to_owned()))?;
        let user = self.user(phone).to_owned();
        let to = uri.user().map(|user| user.into_owned()).unwrap_or_default();
        let state = State::Calling { request: RequestId(0) };
        let id = self.open_call(now, phone, true, state, user.clone(), to, String::new(), Vec::new())?;

        let from = NameAddr::new(Uri::Sip(SipUri::new(Some(&user), engine_host, Some(self.engine.port()))));
        let destination = Destination { local: Some(address), ..Destination::new(Protocol::Udp, self.engine) };
        let mut request = OutgoingRequest::new(Method::Invite, uri.clone(), from, NameAddr::new(uri), vec![destination]);
        request.contact = Some(NameAddr::new(contact(&user, address)));
        request.headers = given;
        let (Some(phone), Some(call)) = (self.phones.get_mut(phone.0), self.calls.get_mut(id.0)) else {
            return Err(PhoneError::NoPlace("no such phone".to_owned()));
        };
        request.body = Some(Body::sdp(call.offer()));
        phone.dirty = true;
        match phone.endpoint.invite(now, request) {
            Ok(request) => {
                call.state = State::Calling { request };
                let sent = phone.endpoint.sent_request(request).and_then(|sent| sent.headers.call_id());
                call.sip_call_id = sent.map(|value| value.text().into_owned()).unwrap_or_default();
                call.see(now, format!("dialled {target}"));
                Ok(id)
            }
            Err(error) => {
                let ended = Ended::new(500, error.to_string(), EndedBy::Local);
                call.end(now, ended, &mut self.outbox);
                Err(PhoneError::Refused(error.to_string()))
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what an INVITE says, once for each direction")]
    fn open_call(
        &mut self,
        now: Instant,
        phone_id: PhoneId,
        outgoing: bool,
        state: State,
        from: String,
        to: String,
        sip_call_id: String,
        headers: Vec<(String, String)>,
    ) -> Result<PhoneCallId, PhoneError> {
        let (media_seed, auth_seed) = (self.rng.next_u64(), self.seed());
        let Some(phone) = self.phones.get(phone_id.0) else { return Err(PhoneError::NoPlace("no such phone".to_owned())) };
        let rtp = self.places.media(phone.address).map_err(PhoneError::NoPlace)?;
        let auth = phone.settings.password.as_ref().map(|password| ClientAuth::new(&phone.settings.user, password, auth_seed));
        let id = PhoneCallId(self.calls.len());
        let stream = StreamConfig {
            seed: media_seed,
            cname: Arc::from(format!("{media_seed:016x}")),
            wall_clock: self.clock,
            media_timeout: None,
        };
        let parts = CallParts {
            phone: phone_id,
            outgoing,
            state,
            from,
            to,
            sip_call_id,
            headers,
            rtp,
            codecs: phone.settings.codecs.clone(),
            packet_time: phone.settings.packet_time,
            stream,
            auth,
            is_lazy: self.is_lazy,
        };
        self.calls.push(Call::new(now, parts));
        self.live.push(id);
        self.media.insert(rtp, (id, Channel::Rtp));
        self.media.insert(rtcp_of(rtp), (id, Channel::Rtcp));
        Ok(id)
    }

    /// Says that it rings (180).
    pub(crate) fn ring(&mut self, now: Instant, call: PhoneCallId) -> Result<(), PhoneError> {
        self.respond_to_offer(now, call, "ring", Reply::new(StatusCode::RINGING)).map(|_| ())
    }

    /// Answers a call that rings.
    pub(crate) fn answer(&mut self, now: Instant, id: PhoneCallId) -> Result<(), PhoneError> {
        let (call, phone) = self.both(id)?;
        let State::Offered { id: invite, dialog, offer } = call.state.clone() else { return Err(wrong("answer", call)) };
        let body = match offer {
            Some(offer) => call.answer(now, &offer),
            None => Ok(call.offer()),
        };
        match body {
            Ok(sdp) => {
                call.state = State::Answering { id: invite, dialog };
                respond(now, phone, invite, Reply::new(StatusCode::OK).body(Body::sdp(sdp)))
            }
            Err(error) => {
                respond(now, phone, invite, Reply::new(StatusCode::NOT_ACCEPTABLE_HERE))?;
                let ended = Ended::new(488, error.to_string(), EndedBy::Local);
                self.end(now, id, ended);
                Err(PhoneError::Refused(format!("no common codec: {error}")))
            }
        }
    }

    /// Refuses a call that rings.
    pub(crate) fn reject(&mut self, now: Instant, id: PhoneCallId, code: u16) -> Result<(), PhoneError> {
        let status = StatusCode::new(code).filter(|status| status.code() >= 300);
        let status = status.ok_or_else(|| PhoneError::Refused(format!("{code} refuses nothing: expected 300–699")))?;
        self.respond_to_offer(now, id, "reject", Reply::new(status))?;
        self.end(now, id, Ended::new(code, status.default_reason(), EndedBy::Local));
        Ok(())
    }

    fn respond_to_offer(&mut self, now: Instant, id: PhoneCallId, what: &'static str, reply: Reply) -> Result<(), PhoneError> {
        let (call, phone) = self.both(id)?;
        let State::Offered { id: invite, .. } = call.state else { return Err(wrong(what, call)) };
        respond(now, phone, invite, reply)
    }

    /// Hangs up, gives up, or declines.
    pub(crate) fn hang_up(&mut self, now: Instant, id: PhoneCallId) -> Result<(), PhoneError> {
        let (call, phone) = self.both(id)?;
        phone.dirty = true;
        match call.state {
            // `Failed` follows and ends the call.
            State::Calling { request } => {
                let _ = phone.endpoint.cancel(now, request, Headers::new());
                Ok(())
            }
            State::Offered { .. } => self.reject(now, id, 603),
            State::Answering { dialog, .. } | State::Up { dialog } => {
                // `Terminated` follows and ends the call, unless the dialog is gone already.
                if phone.endpoint.bye(now, dialog, Headers::new()).is_err() {
                    self.end(now, id, Ended::new(200, "OK", EndedBy::Local));
                }
                Ok(())
            }
            State::Over(_) => Ok(()),
        }
    }

    /// Holds the other side, or takes it back (RFC 3264 section 8.4).
    pub(crate) fn hold(&mut self, now: Instant, id: PhoneCallId, hold: bool) -> Result<(), PhoneError> {
        let (call, phone) = self.both(id)?;
        let State::Up { dialog } = call.state else { return Err(wrong("hold", call)) };
        call.want(if hold { Direction::SendOnly } else { Direction::SendRecv });
        let request = DialogRequest::new(Method::Invite).with_body(Body::sdp(call.offer()));
        phone.dirty = true;
        match phone.endpoint.request(now, dialog, request) {
            Ok(request) => {
                call.reinvite = Some(request);
                Ok(())
            }
            Err(error) => {
                call.withdraw_offer();
                Err(PhoneError::Refused(error.to_string()))
            }
        }
    }

    /// Presses keys; the number to ask [`Call::has_pressed`] about.
    pub(crate) fn press(
        &mut self,
        now: Instant,
        id: PhoneCallId,
        digits: Vec<Digit>,
        duration: Duration,
        gap: Duration,
        method: DtmfMethod,
    ) -> Result<u64, PhoneError> {
        let (call, _) = self.both(id)?;
        if call.negotiated().is_none() || call.ended().is_some() {
            return Err(wrong("press", call));
        }
        Ok(call.press(now, digits, duration, gap, method))
    }

    /// Speaks; see [`Call::is_speaking`].
    pub(crate) fn say(&mut self, now: Instant, id: PhoneCallId, prompts: Vec<Arc<EncodedPrompt>>) -> Result<(), PhoneError> {
        let (call, _) = self.both(id)?;
        if call.negotiated().is_none() || call.ended().is_some() {
            return Err(wrong("says", call));
        }
        call.say(now, prompts);
        Ok(())
    }

    fn both(&mut self, id: PhoneCallId) -> Result<(&mut Call, &mut Phone), PhoneError> {
        let call = self.calls.get_mut(id.0);
        let both = call.and_then(|call| self.phones.get_mut(call.phone.0).map(|phone| (call, phone)));
        both.ok_or_else(|| PhoneError::Refused("no such call".to_owned()))
    }

    /// A datagram arrived. `false` when nothing follows from it before the next deadline but that it was heard.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: &Packet) -> bool {
        if let Some((call, channel)) = self.media.get(&packet.to).copied() {
            self.calls.get_mut(call.0).is_some_and(|call| call.handle_packet(now, channel, packet.from, &packet.bytes))
        } else if let Some(phone) = self.sip.get(&packet.to).and_then(|id| self.phones.get_mut(id.0)) {
            let source = Source { protocol: Protocol::Udp, local: packet.to, remote: packet.from, flow: None };
            phone.endpoint.handle_received(now, Received { source, bytes: &packet.bytes });
            phone.dirty = true;
            true
        } else {
            false
        }
    }

    /// The time of [`Self::next_deadline`] has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for phone in &mut self.phones {
            if phone.deadline.is_some_and(|due| due <= now) {
                phone.endpoint.handle_timeout(now);
                phone.dirty = true;
            }
            if let Some(registration) = &mut phone.registration
                && registration.deadline().is_some_and(|due| due <= now)
            {
                registration.handle_timeout(now, &mut phone.endpoint);
                phone.dirty = true;
            }
        }
        for id in &self.live {
            if let Some(call) = self.calls.get_mut(id.0)
                && call.due().is_some_and(|due| due <= now)
            {
                call.handle_timeout(now);
            }
        }
    }

    /// Carries on until nothing is left to do but wait; [`Self::next_packet`] then has what is to be sent.
    pub(crate) fn drain(&mut self, now: Instant) {
        for index in 0..self.phones.len() {
            while self.phones.get(index).is_some_and(|phone| phone.dirty) {
                self.drain_phone(now, PhoneId(index));
            }
        }
        for id in &self.live {
            if let Some(call) = self.calls.get_mut(id.0)
                && call.due().is_some_and(|due| due <= now)
            {
                call.drain(now, &mut self.outbox);
            }
        }
    }

    /// The next packet to send.
    pub(crate) fn next_packet(&mut self) -> Option<Packet> {
        self.outbox.packets.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let phones = self.phones.iter().fold(None, |due, phone| {
            let registration = phone.registration.as_ref().and_then(Registration::deadline);
            earlier(due, earlier(phone.deadline, registration))
        });
        self.live.iter().fold(phones, |due, id| earlier(due, self.calls.get(id.0).and_then(Call::due)))
    }

    fn end(&mut self, now: Instant, id: PhoneCallId, ended: Ended) {
        let Some(call) = self.calls.get_mut(id.0) else { return };
        call.end(now, ended, &mut self.outbox);
        let rtp = call.rtp();
        self.live.retain(|live| *live != id);
        self.media.remove(&rtp);
        self.media.remove(&rtcp_of(rtp));
        self.places.close(rtp);
    }

    fn seed(&mut self) -> [u8; 32] {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        seed
    }
}

fn wrong(what: &'static str, call: &Call) -> PhoneError {
    let state = match &call.state {
        State::Calling { .. } => "has not been answered yet".to_owned(),
        State::Offered { .. } => "still rings".to_owned(),
        State::Answering { .. } => "is being answered".to_owned(),
        State::Up { .. } => "is up already".to_owned(),
        State::Over(ended) => format!("is over ({} {})", ended.code, ended.reason),
    };
    PhoneError::WrongState { what, state }
}

fn respond(now: Instant, phone: &mut Phone, invite: lockstep_sip::endpoint::IncomingId, reply: Reply) -> Result<(), PhoneError> {
    phone.dirty = true;
    phone.endpoint.respond(now, invite, reply).map_err(|error| PhoneError::Refused(error.to_string()))
}

fn contact(user: &str, address: SocketAddr) -> Uri {
    Uri::Sip(SipUri::new(Some(user), host_of(address), Some(address.port())))
}

fn host_of(address: SocketAddr) -> Host {
    match address {
        SocketAddr::V4(v4) => Host::V4(*v4.ip()),
        SocketAddr::V6(v6) => Host::V6(*v6.ip()),
    }
}
