//! The softphone's thread: sockets and timers below, the SIP endpoint and its calls between, commands and events above.

#![expect(clippy::disallowed_methods, reason = "this is the edge where the softphone meets clock and sockets")]

mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lockstep_media::playout::PlayId;
use lockstep_media::sdp::LocalMedia;
use lockstep_media::stream::{Command as StreamCommand, DtmfId, DtmfRequest, MediaEvent};
use lockstep_sip::auth::ClientAuth;
use lockstep_sip::endpoint::{
    Body, Config, DialogId, DialogRequest, Endpoint, IncomingId, OutgoingRequest, Output, Reply, RequestId,
};
use lockstep_sip::message::{Headers, Host, Method, NameAddr, SipUri, StatusCode, Uri};
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::transport::{Listen, TcpConfig, TransportConfig, TransportEvent, Transports};
use tokio::sync::{mpsc, oneshot};

use super::call::{Call, State};
use super::capture::Heard;
use super::config::{Dial, PhoneConfig, PhoneError};
use super::event::{Ended, EndedBy};
use super::handle::{CallCommand, CallId, Command, PhoneCall, RegisterCommand};
use super::media::{self, Ports};
use super::registration::Registration;

/// How long a stopping phone waits for its BYEs to be answered.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Whoever connects to a phone may rest: nobody vouches for callers here.
fn transport_config() -> TransportConfig {
    let tcp = TcpConfig::default();
    TransportConfig { tcp: TcpConfig { stranger_timeout: tcp.idle_timeout, ..tcp }, ..TransportConfig::default() }
}

/// Runs a phone until it is stopped; says through `ready` where it listens.
pub(super) fn run(
    config: PhoneConfig,
    commands: mpsc::UnboundedSender<Command>,
    receiver: mpsc::UnboundedReceiver<Command>,
    incoming: mpsc::UnboundedSender<PhoneCall>,
    ready: oneshot::Sender<Result<Vec<Listen>, PhoneError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // The starter has gone: nobody wants a phone any more.
            let _ = ready.send(Err(error.into()));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let transports = match Transports::bind(&config.listen, transport_config()) {
            Ok(transports) => transports,
            Err(error) => {
                let _ = ready.send(Err(error.into()));
                return;
            }
        };
        let listening = transports.listening();
        let (media_sender, media_events) = mpsc::unbounded_channel();
        let endpoint_config = Config {
            sent_by: listening.iter().map(|listen| (listen.protocol, listen.address)).collect(),
            has_tcp: listening.iter().any(|listen| listen.protocol == Protocol::Tcp),
            user_agent: concat!("Lockstep-phone/", env!("CARGO_PKG_VERSION")).to_owned(),
            ..Config::default()
        };
        let driver = Driver {
            endpoint: Endpoint::new(endpoint_config, rand::random()),
            transports,
            config,
            calls: BTreeMap::new(),
            registrations: Vec::new(),
            outstanding: BTreeSet::new(),
            last_id: 0,
            commands,
            incoming,
            media_sender,
            stopping: None,
        };
        if ready.send(Ok(listening)).is_ok() {
            driver.run(receiver, media_events).await;
        }
    });
}

/// Calls are looked up by walking through all of them: a phone has a handful.
struct Driver {
    endpoint: Endpoint,
    transports: Transports,
    config: PhoneConfig,
    calls: BTreeMap<CallId, Call>,
    registrations: Vec<Registration>,
    /// BYEs that were not answered yet.
    outstanding: BTreeSet<RequestId>,
    last_id: u64,
    commands: mpsc::UnboundedSender<Command>,
    incoming: mpsc::UnboundedSender<PhoneCall>,
    media_sender: mpsc::UnboundedSender<(CallId, MediaEvent)>,
    stopping: Option<(Instant, oneshot::Sender<()>)>,
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut media_events: mpsc::UnboundedReceiver<(CallId, MediaEvent)>,
    ) {
        loop {
            let deadline = self.drain(Instant::now());
            if self.is_done(Instant::now()) {
                break;
            }
            let Self { transports, endpoint, .. } = &mut self;
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(Instant::now(), command),
                    None => break,
                },
                Some((id, event)) = media_events.recv() => {
                    if let Some(call) = self.calls.get(&id) {
                        call.media_event(event);
                    }
                }
                () = transports.receive(|event| {
                    let now = Instant::now();
                    match event {
                        TransportEvent::Received(received) => endpoint.handle_received(now, received),
                        TransportEvent::FlowClosed(flow) => endpoint.handle_flow_closed(now, flow),
                        TransportEvent::SendFailed(id) => endpoint.handle_transport_error(now, id),
                    }
                }) => {}
                () = sleep_until(deadline) => self.timeout(Instant::now()),
            }
        }
        if let Some((_, reply)) = self.stopping.take() {
            // A phone that was dropped does not wait.
            let _ = reply.send(());
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        let Some((deadline, _)) = &self.stopping else { return false };
        let quiet = self.calls.is_empty() && self.outstanding.is_empty() && self.registrations.iter().all(Registration::is_over);
        quiet || now >= *deadline
    }

    /// Carries out what the endpoint wants done; returns the next deadline of anything.
    fn drain(&mut self, now: Instant) -> Option<Instant> {
        let endpoint = loop {
            match self.endpoint.poll_output() {
                Output::Transmit(transmit) => {
                    let id = transmit.id;
                    match self.transports.send(transmit) {
                        Ok(Some(flow)) => self.endpoint.sent_over(id, flow),
                        Ok(None) => {}
                        Err(_) => self.endpoint.handle_transport_error(now, id),
                    }
                }
                Output::Event(event) => self.event(now, event),
                Output::Timeout(deadline) => break deadline,
            }
        };
        self.registrations.retain(|registration| !registration.is_over());
        let registrations = self.registrations.iter().filter_map(Registration::deadline);
        let stopping = self.stopping.as_ref().map(|(deadline, _)| *deadline);
        registrations.chain(endpoint).chain(stopping).min()
    }

    fn timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        for registration in &mut self.registrations {
            if registration.deadline().is_some_and(|deadline| deadline <= now) {
                registration.handle_timeout(now, &mut self.endpoint);
            }
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Dial { uri, destinations, dial, reply } => {
                let outcome = self.dial(now, uri, destinations, &dial);
                // A caller that has gone drops the call, which hangs it up.
                let _ = reply.send(outcome);
            }
            Command::Call(id, command) => self.call_command(now, id, command),
            Command::Register(command) => self.register(now, *command),
            Command::Stop(reply) => {
                let ids: Vec<CallId> = self.calls.keys().copied().collect();
                for id in ids {
                    self.hangup(now, id);
                }
                for registration in &mut self.registrations {
                    registration.unregister(now, &mut self.endpoint);
                }
                self.stopping = Some((now + STOP_PATIENCE, reply));
            }
        }
    }

    fn new_id(&mut self) -> CallId {
        self.last_id += 1;
        CallId(self.last_id)
    }

    /// Fills in the local address each destination is reached from, and gives the first of them.
    fn local_towards(&mut self, destinations: &mut [Destination]) -> Option<(Protocol, SocketAddr)> {
        let mut first = None;
        for destination in destinations {
            destination.local = self.transports.local_for(destination.protocol, destination.remote);
            first = first.or(destination.local.map(|local| (destination.protocol, local)));
        }
        first
    }

    fn contact(&self, protocol: Protocol, local: SocketAddr) -> Uri {
        let mut uri = SipUri::new(Some(&self.config.user), host(local), Some(local.port()));
        if protocol != Protocol::Udp {
            uri.params.set("transport", Some(&protocol.as_str().to_ascii_lowercase()));
        }
        Uri::Sip(uri)
    }

    /// The media of a new call, with the channel to it.
    fn open_media(
        &self,
        id: CallId,
        local: SocketAddr,
    ) -> Result<(LocalMedia, mpsc::UnboundedSender<media::MediaCommand>, Heard), PhoneError> {
        let ports = Ports::open(local.ip())?;
        let seed: u64 = rand::random();
        let description = LocalMedia {
            address: local.ip(),
            rtp_port: ports.rtp_port(),
            codecs: self.config.codecs.clone(),
            packet_time: self.config.packet_time,
            offer_rtcp_mux: false,
            session_id: seed >> 1,
        };
        let heard = Heard::default();
        let (sender, receiver) = mpsc::unbounded_channel();
        let events = self.media_sender.clone();
        media::start(ports, seed, heard.clone(), receiver, move |event| {
            // The driver outlives the media tasks of its thread.
            let _ = events.send((id, event));
        })?;
        Ok((description, sender, heard))
    }

    fn dial(&mut self, now: Instant, uri: Uri, mut destinations: Vec<Destination>, dial: &Dial) -> Result<PhoneCall, PhoneError> {
        let unreachable = || PhoneError::Io(std::io::Error::new(std::io::ErrorKind::HostUnreachable, "no way to the target"));
        let (protocol, local) = self.local_towards(&mut destinations).ok_or_else(unreachable)?;
        let id = self.new_id();
        let (description, media, heard) = self.open_media(id, local)?;
        let (events_sender, events) = mpsc::unbounded_channel();

        let domain = uri.as_sip().map(|sip| (sip.host.clone(), sip.port));
        let (domain, port) = domain.unwrap_or_else(|| (host(local), None));
        let user = dial.from.as_deref().unwrap_or(&self.config.user);
        let from = NameAddr::new(Uri::Sip(SipUri::new(Some(user), domain, port)));
        let to = NameAddr::new(uri.clone());
        let mut request = OutgoingRequest::new(Method::Invite, uri, from.clone(), to.clone(), destinations);
        request.contact = Some(NameAddr::new(self.contact(protocol, local)));
        request.symmetric = true;
        for (name, value) in &dial.headers {
            let bad = |error: lockstep_sip::message::InvalidHeader| PhoneError::BadHeader {
                name: name.clone(),
                reason: error.to_string(),
            };
            request.headers.try_push(name, value).map_err(bad)?;
        }
        let mut call = Call::new(State::Calling { request: RequestId(0) }, description, media, events_sender);
        call.auth = self
            .config
            .credentials
            .as_ref()
            .map(|credentials| ClientAuth::new(&credentials.username, &credentials.password, rand::random()));
        if !dial.late_offer {
            request.body = Some(Body::sdp(call.offer()));
        }
        call.state = State::Calling { request: self.endpoint.invite(now, request)? };
        self.calls.insert(id, call);
        Ok(PhoneCall {
            id,
            commands: self.commands.clone(),
            events,
            heard,
            from,
            to,
            sip_call_id: String::new(),
            headers: Vec::new(),
        })
    }

    fn register(&mut self, now: Instant, mut command: RegisterCommand) {
        let mut destinations = std::mem::take(&mut command.destinations);
        let Some((protocol, local)) = self.local_towards(&mut destinations) else {
            let user = command.credentials.username;
            let reason = "no way to the registrar".to_owned();
            // The caller may have stopped waiting.
            let _ = command.reply.send(Err(PhoneError::Registration { user, reason }));
            return;
        };
        let mut registration = Registration::new(command, self.contact(protocol, local), destinations, now);
        registration.handle_timeout(now, &mut self.endpoint);
        self.registrations.push(registration);
    }

    fn call_command(&mut self, now: Instant, id: CallId, command: CallCommand) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        match command {
            CallCommand::Ring => {
                if let State::Offered { id, .. } = call.state {
                    self.respond(now, id, Reply::new(StatusCode::RINGING));
                }
            }
            CallCommand::Answer => self.answer(now, id),
            CallCommand::Reject(code) => {
                if let State::Offered { id: invite, .. } = call.state {
                    let status = StatusCode::new(code).filter(|status| status.code() >= 300).unwrap_or(StatusCode::DECLINE);
                    self.respond(now, invite, Reply::new(status));
                    self.end(id, Ended::new(status.code(), status.default_reason(), EndedBy::Local));
                }
            }
            CallCommand::Play(playlist) => call.stream(StreamCommand::Play { id: PlayId(id.0), playlist }),
            CallCommand::StopPlaying => call.stream(StreamCommand::Stop(PlayId(id.0))),
            CallCommand::Press { digits, duration, gap, method } => {
                let request = DtmfRequest { digits, duration, gap, method };
                call.stream(StreamCommand::SendDtmf { id: DtmfId(id.0), request });
            }
            CallCommand::Direction(direction) => {
                call.want(direction);
                self.reinvite(now, id);
            }
            CallCommand::Hangup => self.hangup(now, id),
        }
    }

    fn answer(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let State::Offered { id: invite, dialog, offer } = call.state.clone() else { return };
        let body = match offer {
            Some(offer) => call.answer(&offer),
            None => Ok(call.offer()),
        };
        match body {
            Ok(sdp) => {
                call.state = State::Answering { id: invite, dialog };
                self.respond(now, invite, Reply::new(StatusCode::OK).body(Body::sdp(sdp)));
            }
            Err(error) => {
                self.respond(now, invite, Reply::new(StatusCode::NOT_ACCEPTABLE_HERE));
                self.end(id, Ended::new(488, error.to_string(), EndedBy::Local));
            }
        }
    }

    fn reinvite(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let State::Up { dialog } = call.state else { return };
        if call.reinvite.is_some() || call.glare {
            call.reinvite_again = call.reinvite.is_some();
            return;
        }
        let request = DialogRequest::new(Method::Invite).with_body(Body::sdp(call.offer()));
        match self.endpoint.request(now, dialog, request) {
            Ok(request) => call.reinvite = Some(request),
            Err(_) => call.withdraw_offer(),
        }
    }

    fn hangup(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        match call.state {
            // `Failed` follows and ends the call.
            State::Calling { request } => {
                let _ = self.endpoint.cancel(now, request, Headers::new());
            }
            State::Offered { id: invite, .. } => {
                self.respond(now, invite, Reply::new(StatusCode::DECLINE));
                self.end(id, Ended::new(603, StatusCode::DECLINE.default_reason(), EndedBy::Local));
            }
            State::Answering { dialog, .. } | State::Up { dialog } => self.bye(now, id, dialog),
        }
    }

    fn bye(&mut self, now: Instant, id: CallId, dialog: DialogId) {
        match self.endpoint.bye(now, dialog, Headers::new()) {
            // `Terminated` follows and ends the call.
            Ok(request) => {
                self.outstanding.insert(request);
            }
            Err(_) => self.end(id, Ended::new(200, "OK", EndedBy::Local)),
        }
    }

    /// A request that was answered in the meantime needs no answer of ours.
    fn respond(&mut self, now: Instant, id: IncomingId, reply: Reply) {
        let _ = self.endpoint.respond(now, id, reply);
    }

    fn end(&mut self, id: CallId, ended: Ended) {
        if let Some(call) = self.calls.remove(&id) {
            call.ended(ended);
        }
    }

    fn find(&self, is_it: impl Fn(&Call) -> bool) -> Option<CallId> {
        self.calls.iter().find(|(_, call)| is_it(call)).map(|(id, _)| *id)
    }
}

fn host(address: SocketAddr) -> Host {
    match address {
        SocketAddr::V4(v4) => Host::V4(*v4.ip()),
        SocketAddr::V6(v6) => Host::V6(*v6.ip()),
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
