//! The laboratory: an engine and phones whose packets are carried by the test.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::wire::{Bundle, ScriptType};
use lockstep_ctx_api::{ErrorCode, OpError, Outcome};
use lockstep_media::codec::Codec;
use lockstep_media::io::{LegId as MediaLeg, PoolEvent};
use lockstep_media::playout::PlayoutEnd;
use lockstep_media::prompt::Folders;
use lockstep_media::recording::RecordingId;
use lockstep_media::sdp::{LocalMedia, OfferAnswer};
use lockstep_media::stream::MediaEvent;
use lockstep_sip::auth::{Authenticator, AuthenticatorConfig, ClientAuth, Side};
use lockstep_sip::endpoint::{
    Body, Config as EndpointConfig, DialogId, DialogRequest, Endpoint, Event, Failure, IncomingId, OutgoingRequest, Output,
    Reply, RequestId, TerminationCause,
};
use lockstep_sip::message::{Headers, Message, Method, NameAddr, Request, Response, StatusCode, Uri, parse};
use lockstep_sip::net::{Destination, Protocol, Received, Source, Transmit};
use lockstep_sip::registrar::{Registrar, RegistrarConfig};
use lockstep_sip::resolve::NextHops;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use super::lab_world::{Book, LabWorld};
use crate::class4::{Facts, RouteTable};
use crate::config::{Config, GlobalRun};
use crate::core::EventLog;
use crate::core::directory::Directory;
use crate::core::exchange::{Exchange, ExchangeParts};
use crate::core::recordings::Recordings;
use crate::core::setup;
use crate::core::switch::{Switch, SwitchParts};
use crate::core::timeline::Timeline;
use crate::core::world::{Arrival, Arrived, Ticket};
use crate::host::HostServices;
use crate::platform::Platform;
use crate::script::supervisor::RunBounds;
use crate::script::{InProcess, Moment, Program, ProgramLimits, ProgramSet, digest_of, version_of};
use crate::simulation::rehearsal::{self, Stage};

pub(super) const ENGINE: &str = "127.0.0.1:5060";

/// A SIP phone.
pub(super) struct Phone {
    pub(super) address: SocketAddr,
    /// What its From calls it.
    pub(super) name: Option<String>,
    pub(super) endpoint: Endpoint,
    media: OfferAnswer,
    /// What it has seen since the last look.
    seen: Vec<String>,
    pub(super) invite: Option<RequestId>,
    pub(super) ringing: Option<IncomingId>,
    pub(super) dialog: Option<DialogId>,
    offer: Option<Bytes>,
    auth: Option<ClientAuth>,
    /// The last INVITE that came in.
    pub(super) invited: Option<Arc<Request>>,
    pub(super) last_response: Option<Arc<Response>>,
}

/// An engine, phones, and a clock that only the test moves.
pub(super) struct Lab {
    began: Moment,
    pub(super) now: Moment,
    pub(super) switch: Switch,
    pub(super) book: Rc<RefCell<Book>>,
    phones: Vec<Phone>,
    programs: Arc<ProgramSet>,
    /// Routing scripts run at once; else their decisions wait.
    pub(super) decides: bool,
    /// What routing scripts reach.
    pub(super) services: HostServices,
    /// Requests of the engine to where there is no phone.
    pub(super) unclaimed: Vec<Request>,
}

/// Names a phone of the laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PhoneId(usize);

impl Lab {
    /// An engine with this configuration and these scripts: (Class 5 destination, source).
    pub(super) fn new(config: &str, scripts: &[(&str, &str)]) -> Self {
        let config: Config = toml::from_str(config).expect("the test's configuration is sound");
        let programs = programs(scripts);
        let services = Platform::in_memory(&config).expect("SQLite makes a database in memory").services;
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
        let now = Moment { instant: Instant::now(), unix_ms: 1_700_000_000_000 };
        let book = Rc::new(RefCell::new(Book::default()));
        let engine: SocketAddr = ENGINE.parse().unwrap();
        let listening = || vec![(Protocol::Udp, engine)];
        let world = LabWorld { book: Rc::clone(&book), listening: listening() };
        let exchange = Exchange::new(ExchangeParts {
            now,
            codecs: Codec::ALL.to_vec(),
            recordings: Recordings::new(Folders::beneath(Path::new("scripts")), None),
            world: Box::new(world),
            endpoint: Endpoint::new(setup::endpoint_config(&config, listening(), &listening()), [1; 32]),
            registrar: Registrar::new(RegistrarConfig::default()),
            authenticator: Authenticator::new(AuthenticatorConfig::new("lockstep"), [2; 32], now.instant),
            directory: Directory::new(&config, [engine.ip()]),
            table: Arc::new(RouteTable::new(&config)),
            programs: Arc::clone(&programs),
            rng: ChaCha12Rng::from_seed([3; 32]),
            config: Arc::new(config),
        });
        let events = EventLog::default();
        let host = Box::new(InProcess::new(now, RunBounds::default()));
        let parts = SwitchParts { exchange, host, events, max_calls: 100, ringback: "tone:ringback".to_owned(), journals: None };
        let switch = Switch::new(parts);
        Self { began: now, now, switch, book, phones: Vec::new(), programs, decides: true, services, unclaimed: Vec::new() }
    }

    /// A phone at an address.
    pub(super) fn phone(&mut self, address: &str) -> PhoneId {
        let address: SocketAddr = address.parse().unwrap();
        let seed = [10 + u8::try_from(self.phones.len()).unwrap(); 32];
        self.phones.push(Phone {
            address,
            name: None,
            endpoint: Endpoint::new(endpoint_config(address), seed),
            media: OfferAnswer::new(LocalMedia {
                address: Ipv4Addr::LOCALHOST.into(),
                rtp_port: 40_000,
                codecs: Codec::ALL.to_vec(),
                packet_time: Duration::from_millis(20),
                offer_rtcp_mux: false,
                session_id: 1,
            }),
            seen: Vec::new(),
            invite: None,
            ringing: None,
            dialog: None,
            offer: None,
            auth: None,
            invited: None,
            last_response: None,
        });
        PhoneId(self.phones.len() - 1)
    }

    /// Whose script it is from now on, and whether anybody can dial it.
    pub(super) fn give_script(&mut self, name: &str, account: &str, is_dialled: bool) {
        self.programs = given_to(account, &self.programs, name, is_dialled);
        self.switch.set_programs(Arc::clone(&self.programs), &[]);
    }

    pub(super) fn at(&mut self, phone: PhoneId) -> &mut Phone {
        &mut self.phones[phone.0]
    }

    /// The phone answers challenges with these credentials.
    pub(super) fn knows_password(&mut self, phone: PhoneId, user: &str, password: &str) {
        self.at(phone).auth = Some(ClientAuth::new(user, password, [7; 32]));
    }

    /// Dials, and lets everything happen that needs no time.
    pub(super) fn dial(&mut self, phone: PhoneId, to: &str) {
        let sdp = self.at(phone).media.offer();
        self.dial_with(phone, to, &sdp);
    }

    pub(super) fn dial_with_headers(&mut self, phone: PhoneId, to: &str, headers: &[(&str, &str)]) {
        let sdp = self.at(phone).media.offer();
        self.invite(phone, to, &sdp, headers);
    }

    pub(super) fn dial_with(&mut self, phone: PhoneId, to: &str, sdp: &str) {
        self.invite(phone, to, sdp, &[]);
    }

    fn invite(&mut self, phone: PhoneId, to: &str, sdp: &str, headers: &[(&str, &str)]) {
        let now = self.now.instant;
        let phone = self.at(phone);
        phone.auth.iter_mut().for_each(ClientAuth::begin_request);
        let mut request = outgoing(phone.address, Method::Invite, to, Some(Body::sdp(sdp.as_bytes().to_vec())));
        request.from.display_name.clone_from(&phone.name);
        headers.iter().for_each(|(name, value)| request.headers.push(*name, *value));
        phone.invite = Some(phone.endpoint.invite(now, request).unwrap());
        self.settle();
    }

    pub(super) fn register(&mut self, phone: PhoneId, user: &str) {
        let contact = address_of(user, &self.at(phone).address.to_string());
        self.register_contact(phone, user, contact);
    }

    pub(super) fn register_contact(&mut self, phone: PhoneId, user: &str, contact: NameAddr) {
        let now = self.now.instant;
        let phone = self.at(phone);
        phone.auth.iter_mut().for_each(ClientAuth::begin_request);
        let mut request = outgoing(phone.address, Method::Register, user, None);
        request.from = address_of(user, ENGINE);
        request.contact = Some(contact);
        request.headers.push("Expires", "3600");
        phone.endpoint.request_out_of_dialog(now, request).unwrap();
        self.settle();
    }

    pub(super) fn options(&mut self, phone: PhoneId) {
        let now = self.now.instant;
        let phone = self.at(phone);
        let request = outgoing(phone.address, Method::Options, "lockstep", None);
        phone.endpoint.request_out_of_dialog(now, request).unwrap();
        self.settle();
    }

    /// Sends a re-INVITE with what was offered before.
    pub(super) fn offer_again(&mut self, phone: PhoneId) {
        let now = self.now.instant;
        let phone = self.at(phone);
        let request = DialogRequest::new(Method::Invite).with_body(Body::sdp(phone.media.offer().into_bytes()));
        phone.endpoint.request(now, phone.dialog.expect("a call is up"), request).unwrap();
        self.settle();
    }

    /// A re-INVITE arrives and is answered; its ACK comes with whatever is carried next.
    pub(super) fn offer_without_ack(&mut self, phone: PhoneId) {
        let now = self.now.instant;
        let caller = self.at(phone);
        let request = DialogRequest::new(Method::Invite).with_body(Body::sdp(caller.media.offer().into_bytes()));
        caller.endpoint.request(now, caller.dialog.expect("a call is up"), request).unwrap();
        let mut packets = Vec::new();
        self.poll_phone(phone.0, &mut packets);
        for (from, transmit) in packets {
            self.carry(from, &transmit);
        }
        self.switch.set_time(self.now);
        self.switch.pump();
    }

    /// Answers the call that rings.
    pub(super) fn pick_up(&mut self, phone: PhoneId) {
        self.pick_up_at_once(&[phone]);
    }

    /// All answer at the same time: the engine reads their answers together before it acts on any.
    pub(super) fn pick_up_at_once(&mut self, phones: &[PhoneId]) {
        phones.iter().for_each(|phone| self.answer(*phone));
        self.settle();
    }

    fn answer(&mut self, phone: PhoneId) {
        let now = self.now.instant;
        let phone = self.at(phone);
        let offer = phone.offer.take().expect("an INVITE with an offer came");
        let (answer, _) = phone.media.answer(&offer).unwrap();
        let reply = Reply::new(StatusCode::OK).body(Body::sdp(answer.into_bytes()));
        phone.endpoint.respond(now, phone.ringing.take().unwrap(), reply).unwrap();
    }

    pub(super) fn respond(&mut self, phone: PhoneId, code: u16) {
        self.respond_with(phone, Reply::new(StatusCode::new(code).unwrap()));
    }

    pub(super) fn respond_with(&mut self, phone: PhoneId, reply: Reply) {
        let now = self.now.instant;
        let phone = self.at(phone);
        let id = phone.ringing.expect("an INVITE came");
        phone.endpoint.respond(now, id, reply).unwrap();
        self.settle();
    }

    /// A packet comes that the test has written.
    pub(super) fn packet_from(&mut self, remote: SocketAddr, packet: &[u8]) {
        self.packet_over(Source { protocol: Protocol::Udp, local: ENGINE.parse().unwrap(), remote, flow: None }, packet);
    }

    pub(super) fn packet_over(&mut self, source: Source, packet: &[u8]) {
        self.switch.set_time(self.now);
        self.switch.received(Received { source, bytes: packet });
        self.settle();
    }

    pub(super) fn hang_up(&mut self, phone: PhoneId) {
        let now = self.now.instant;
        let phone = self.at(phone);
        let dialog = phone.dialog.expect("a call is up");
        phone.endpoint.bye(now, dialog, Headers::new()).unwrap();
        self.settle();
    }

    pub(super) fn give_up(&mut self, phone: PhoneId) {
        self.cancel(phone);
        self.settle();
    }

    /// Gives up; the CANCEL is carried with whatever is carried next.
    pub(super) fn cancel(&mut self, phone: PhoneId) {
        let now = self.now.instant;
        let phone = self.at(phone);
        let id = phone.invite.expect("an INVITE was sent");
        phone.endpoint.cancel(now, id, Headers::new()).unwrap();
    }

    /// Whatever plays on the engine's legs plays to its end.
    pub(super) fn audio_ends(&mut self) {
        let playing: Vec<_> = std::mem::take(&mut self.book.borrow_mut().playing).into_iter().collect();
        self.switch.set_time(self.now);
        for (leg, id) in playing {
            let event = MediaEvent::PlayoutFinished { id, played: Duration::from_millis(100), end: PlayoutEnd::Completed };
            self.switch.media_report(PoolEvent::Media { leg, at: self.now.instant, event });
        }
        self.settle();
    }

    /// Services answer all that scripts have asked of them.
    pub(super) fn services_answer(&mut self) {
        let called = std::mem::take(&mut self.book.borrow_mut().called);
        self.switch.set_time(self.now);
        for ticket in called {
            let what = Arrived::Answered(Ok(Outcome::Host(HostReply::undefined())));
            self.switch.arrived(Arrival { ticket, what });
        }
        self.settle();
    }

    /// The files of recordings have been opened.
    pub(super) fn recordings_start(&mut self) {
        self.recordings_report(|leg, id| PoolEvent::RecordingStarted { leg, id });
    }

    pub(super) fn recordings_report(&mut self, report: fn(MediaLeg, RecordingId) -> PoolEvent) {
        let started = std::mem::take(&mut self.book.borrow_mut().recordings);
        self.switch.set_time(self.now);
        for (leg, id) in started {
            self.switch.media_report(report(leg, id));
        }
        self.settle();
    }

    /// Lets time pass, from deadline to deadline.
    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.now.instant + Duration::from_millis(ms);
        loop {
            let phones = self.phones.iter_mut().filter_map(|phone| match phone.endpoint.poll_output() {
                Output::Timeout(deadline) => deadline,
                other => panic!("a phone still had something to do: {other:?}"),
            });
            let next = phones.chain(self.switch.next_deadline()).min().filter(|next| *next <= end);
            let to = next.unwrap_or(end).max(self.now.instant);
            let passed = to - self.began.instant;
            self.now = Moment { instant: to, unix_ms: self.began.unix_ms + u64::try_from(passed.as_millis()).unwrap() };
            self.switch.set_time(self.now);
            self.switch.handle_timeout();
            for phone in &mut self.phones {
                phone.endpoint.handle_timeout(to);
            }
            self.settle();
            if next.is_none() {
                return;
            }
        }
    }

    /// What a phone has seen since the last look.
    pub(super) fn seen(&mut self, phone: PhoneId) -> Vec<String> {
        std::mem::take(&mut self.at(phone).seen)
    }

    /// The timelines of all calls that are over, the newest first.
    pub(super) fn past(&self) -> Vec<&Timeline> {
        self.switch.past.newest_first().map(|call| &*call.timeline).collect()
    }

    /// Carries packets until nobody has anything left to say.
    pub(super) fn settle(&mut self) {
        loop {
            self.switch.set_time(self.now);
            self.switch.pump();
            let mut packets: Vec<(SocketAddr, Transmit)> =
                self.book.borrow_mut().wire.drain(..).map(|transmit| (ENGINE.parse().unwrap(), transmit)).collect();
            for index in 0..self.phones.len() {
                self.poll_phone(index, &mut packets);
            }
            let routed = if self.decides { std::mem::take(&mut self.book.borrow_mut().routed) } else { Vec::new() };
            let resolving = std::mem::take(&mut self.book.borrow_mut().resolving);
            if packets.is_empty() && routed.is_empty() && resolving.is_empty() {
                return;
            }
            for (ticket, target) in resolving {
                let hops = target.host.ip().map(|ip| SocketAddr::new(ip, target.port.unwrap_or(5060)));
                let hops = hops.map(|address| next_hops([address]));
                let what = Arrived::NextHops(hops.ok_or_else(|| "no such host".to_owned()));
                self.switch.set_time(self.now);
                self.switch.arrived(Arrival { ticket, what });
            }
            for (ticket, table, facts) in routed {
                self.decide(ticket, &table, &facts);
            }
            for (from, transmit) in packets {
                self.carry(from, &transmit);
            }
        }
    }

    /// Runs the routing scripts; what time they take does not pass for anybody else.
    fn decide(&mut self, ticket: Ticket, table: &Arc<RouteTable>, facts: &Facts) {
        let mut fetch = |_| (Err(OpError::new(ErrorCode::NetworkError, "the laboratory has no network")), Duration::ZERO);
        let stage =
            Stage { programs: &self.programs, services: &self.services, fetch: &mut fetch, seed: [5; 32], coverage: None };
        let (decision, _) = rehearsal::route(stage, table, facts, self.now);
        self.switch.set_time(self.now);
        self.switch.arrived(Arrival { ticket, what: Arrived::Routed(decision) });
    }

    fn carry(&mut self, from: SocketAddr, transmit: &Transmit) {
        let to = transmit.destination.remote;
        let source = Source { protocol: Protocol::Udp, local: to, remote: from, flow: None };
        let received = Received { source, bytes: &transmit.bytes };
        if to == ENGINE.parse().unwrap() {
            self.switch.received(received);
        } else if let Some(phone) = self.phones.iter_mut().find(|phone| phone.address == to) {
            phone.endpoint.handle_received(self.now.instant, received);
        } else if let Ok(Message::Request(request)) = parse(&transmit.bytes) {
            self.unclaimed.push(request);
        }
    }

    fn poll_phone(&mut self, index: usize, packets: &mut Vec<(SocketAddr, Transmit)>) {
        let now = self.now.instant;
        let phone = &mut self.phones[index];
        loop {
            match phone.endpoint.poll_output() {
                Output::Transmit(transmit) => packets.push((phone.address, transmit)),
                Output::Event(event) => phone.take(now, event),
                Output::Timeout(_) => return,
            }
        }
    }
}

impl Phone {
    fn take(&mut self, now: Instant, event: Event) {
        match event {
            Event::Progress { response, description, .. } => {
                let sdp = if description.is_some() { " sdp" } else { "" };
                self.seen.push(format!("{}{sdp}", response.status.code()));
            }
            Event::Answered { dialog, response, .. } => {
                self.dialog = Some(dialog);
                self.seen.push(response.status.code().to_string());
            }
            Event::Failed { failure, .. } => {
                self.seen.push(match &failure {
                    Failure::Response(response) => format!("{} {}", response.status.code(), response.reason.text()),
                    other => format!("{other:?}"),
                });
                if let Failure::Response(response) = failure {
                    self.last_response = Some(response);
                }
            }
            Event::Challenged { id, request, response } => self.challenged(now, id, &request, &response),
            Event::Invite { id, dialog, request, offer, .. } => {
                self.ringing = Some(id);
                self.dialog = Some(dialog);
                self.offer = offer.map(|offer| offer.sdp);
                self.seen.push("invite".to_owned());
                self.invited = Some(request);
            }
            Event::Cancelled { request, .. } => {
                let reason = request.headers.get("Reason").map(|value| format!(" {}", value.text())).unwrap_or_default();
                self.seen.push(format!("cancel{reason}"));
            }
            Event::Terminated { cause: TerminationCause::Bye(request), .. } => {
                let reason = request.headers.get("Reason").map(|value| format!(" {}", value.text())).unwrap_or_default();
                self.seen.push(format!("bye{reason}"));
            }
            Event::Response { outcome: Ok(response), .. } => {
                self.seen.push(format!("response {}", response.status.code()));
                self.last_response = Some(response);
            }
            Event::Response { outcome: Err(Failure::Response(response)), .. } => {
                self.seen.push(format!("response {}", response.status.code()));
                self.last_response = Some(response);
            }
            Event::Request { id, dialog: None, request, .. } if request.method == Method::Options => {
                self.endpoint.respond(now, id, Reply::new(StatusCode::OK)).unwrap();
            }
            Event::Request { id, request, .. } if request.method == Method::Info => {
                self.seen.push("info".to_owned());
                self.endpoint.respond(now, id, Reply::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)).unwrap();
            }
            Event::Request { id, dialog: Some(_), request, description, .. } if request.method == Method::Invite => {
                self.ringing = Some(id);
                self.offer = description.map(|offer| offer.sdp);
                self.seen.push("offer".to_owned());
            }
            Event::Acked { .. }
            | Event::AckTimeout { .. }
            | Event::Request { .. }
            | Event::RequestCancelled { .. }
            | Event::GlareOver { .. }
            | Event::Response { .. }
            | Event::Terminated { .. } => {}
        }
    }

    fn challenged(&mut self, now: Instant, id: RequestId, request: &Request, response: &Response) {
        let side = Side::of_status(response.status.code()).unwrap();
        let challenges: Vec<String> =
            response.headers.get_all(side.challenge_header()).map(|value| value.text().into_owned()).collect();
        let mut auth = self.auth.as_mut();
        auth = auth.take_if(|auth| auth.challenged(side, challenges.iter().map(String::as_str)).is_ok());
        let Some(auth) = auth else {
            self.seen.push("challenged".to_owned());
            return self.endpoint.abandon(now, id).unwrap();
        };
        let mut headers = Headers::new();
        for (name, value) in auth.authorize(request.method.as_str(), &request.uri.to_string(), &request.body) {
            headers.push(name, value);
        }
        self.endpoint.resend_with(now, id, &headers).unwrap();
    }
}

/// What a look-up has found: these addresses, by UDP.
pub(super) fn next_hops(addresses: impl IntoIterator<Item = SocketAddr>) -> NextHops {
    NextHops::certain(addresses.into_iter().map(|address| Destination::new(Protocol::Udp, address)).collect())
}

pub(super) fn address_of(user: &str, host: &str) -> NameAddr {
    NameAddr::new(Uri::parse(&format!("sip:{user}@{host}")).unwrap())
}

fn outgoing(from: SocketAddr, method: Method, to: &str, body: Option<Body>) -> OutgoingRequest {
    let uri = Uri::parse(&format!("sip:{to}@{ENGINE}")).unwrap();
    let destination = Destination { local: Some(from), ..Destination::new(Protocol::Udp, ENGINE.parse().unwrap()) };
    let caller = address_of("caller", &from.to_string());
    let mut request = OutgoingRequest::new(method, uri, caller.clone(), address_of(to, ENGINE), vec![destination]);
    request.contact = Some(caller);
    request.body = body;
    request
}

fn endpoint_config(address: SocketAddr) -> EndpointConfig {
    EndpointConfig { sent_by: vec![(Protocol::Udp, address)], has_tcp: false, ..EndpointConfig::default() }
}

/// The same programs, but for whose this one is and whether anybody can dial it.
pub(crate) fn given_to(account: &str, programs: &ProgramSet, name: &str, is_dialled: bool) -> Arc<ProgramSet> {
    let changed = programs.iter().map(|program| {
        let mut program = Program::clone(program);
        if program.name == name {
            program.account = account.to_owned();
            program.settings.class5_destination.take_if(|_| !is_dialled);
        }
        Arc::new(program)
    });
    Arc::new(ProgramSet::new(changed.collect::<Vec<_>>(), Vec::new()))
}

/// Programs of these scripts: (Class 5 destination, source). `first:` and `last:` before a destination make a global of it, `north@`
/// a script of that account.
pub(crate) fn programs(scripts: &[(&str, &str)]) -> Arc<ProgramSet> {
    let programs = (1..).zip(scripts).map(|(id, (destination, source))| {
        let file = format!("script-{destination}.js");
        let sources = BTreeMap::from([(file.clone(), digest_of(source))]);
        let mut settings = crate::config::ScriptEntry::new(file.clone());
        settings.run = match destination.split_once(':') {
            Some(("first", _)) => Some(GlobalRun::First),
            Some(("last", _)) => Some(GlobalRun::Last),
            _ => None,
        };
        let unmarked = ["first:", "last:"].iter().find_map(|mark| destination.strip_prefix(mark)).unwrap_or(*destination);
        let (account, dialled) = unmarked.split_once('@').unwrap_or(("default", unmarked));
        settings.class5_destination = Some(dialled.parse().unwrap());
        Arc::new(Program {
            name: format!("script-{destination}"),
            file: file.clone(),
            uuid: format!("00000000-0000-8000-8000-{id:012}"),
            id,
            script_type: ScriptType::App,
            account: account.to_owned(),
            settings,
            limits: ProgramLimits { memory_bytes: 32 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
            time_zone: "UTC".into(),
            env: Vars::new(),
            environment: Default::default(),
            bundle_id: u64::from(id),
            version: version_of(&file, &sources),
            sources,
            bundle: Arc::new(Bundle { entry: file.clone(), files: [(file, (*source).into())].into(), ..Bundle::default() }),
        })
    });
    Arc::new(ProgramSet::new(programs, Vec::new()))
}
