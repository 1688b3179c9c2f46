//! The softphone as its user holds it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::playout::{EncodedPrompt, Playlist};
use lockstep_media::sdp::Direction;
use lockstep_media::stream::DtmfMethod;
use lockstep_sip::message::{NameAddr, Uri};
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::resolve::{HickoryDns, ResolveConfig, ResolveError, Resolver, Target};
use tokio::sync::{mpsc, oneshot};

use super::capture::Heard;
use super::config::{Credentials, Dial, PhoneConfig, PhoneError};
use super::driver;
use super::event::{Ended, EndedBy, PhoneEvent};

/// Names a call of one phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallId(pub(super) u64);

/// What the driver is told.
#[derive(Debug)]
pub(super) enum Command {
    Dial { uri: Uri, destinations: Vec<Destination>, dial: Dial, reply: oneshot::Sender<Result<PhoneCall, PhoneError>> },
    Call(CallId, CallCommand),
    Register(Box<RegisterCommand>),
    Stop(oneshot::Sender<()>),
}

/// An address to be kept registered.
#[derive(Debug)]
pub(super) struct RegisterCommand {
    pub(super) address: Uri,
    pub(super) registrar: Uri,
    pub(super) credentials: Credentials,
    pub(super) expires: Duration,
    pub(super) destinations: Vec<Destination>,
    pub(super) reply: oneshot::Sender<Result<(), PhoneError>>,
}

/// What one call is told.
#[derive(Debug)]
pub(super) enum CallCommand {
    Ring,
    Answer,
    Reject(u16),
    Play(Box<Playlist>),
    StopPlaying,
    Press { digits: Vec<Digit>, duration: Duration, gap: Duration, method: DtmfMethod },
    Direction(Direction),
    Hangup,
}

/// A softphone. Dropping it ends its calls and its registrations, without waiting for the other side.
#[derive(Debug)]
pub struct Phone {
    commands: mpsc::UnboundedSender<Command>,
    incoming: mpsc::UnboundedReceiver<PhoneCall>,
    listening: Vec<lockstep_sip::transport::Listen>,
    resolver: Resolver4And6,
    user: String,
    thread: Option<JoinHandle<()>>,
}

/// The resolver is made when a name has to be looked up: a phone that calls addresses needs no working DNS.
struct Resolver4And6 {
    config: ResolveConfig,
}

impl std::fmt::Debug for Resolver4And6 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver4And6 {
    async fn resolve(&self, uri: &Uri) -> Result<Vec<Destination>, PhoneError> {
        let Some(sip) = uri.as_sip() else { return Err(PhoneError::NotSip { target: uri.to_string() }) };
        let target = Target::from_uri(sip)?;
        let dns_failed = |error| ResolveError::Dns { host: sip.host.to_string(), error };
        let dns = HickoryDns::from_system(&self.config).map_err(dns_failed)?;
        Ok(Resolver::new(Arc::new(dns), self.config.clone()).resolve(&target, rand::random()).await?.destinations())
    }
}

impl Phone {
    /// Opens the phone's sockets and starts its thread.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub async fn start(config: PhoneConfig) -> Result<Self, PhoneError> {
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (incoming_sender, incoming) = mpsc::unbounded_channel();
        let (ready, started) = oneshot::channel();
        let has = |protocol| config.listen.iter().any(|listen| listen.protocol == protocol);
        let resolver = Resolver4And6 {
            config: ResolveConfig {
                protocols: [Protocol::Udp, Protocol::Tcp].into_iter().filter(|protocol| has(*protocol)).collect(),
                ipv4: config.listen.iter().any(|listen| listen.address.is_ipv4()),
                ipv6: config.listen.iter().any(|listen| listen.address.is_ipv6()),
                ..ResolveConfig::default()
            },
        };
        let user = config.user.clone();
        let own_commands = commands.clone();
        let thread = std::thread::Builder::new()
            .name("phone".to_owned())
            .spawn(move || driver::run(config, own_commands, command_receiver, incoming_sender, ready))?;
        let listening = started.await.map_err(|_| PhoneError::Stopped)??;
        Ok(Self { commands, incoming, listening, resolver, user, thread: Some(thread) })
    }

    /// Where the phone listens for a protocol, with the port the system chose.
    pub fn address(&self, protocol: Protocol) -> Option<SocketAddr> {
        self.listening.iter().find(|listen| listen.protocol == protocol).map(|listen| listen.address)
    }

    /// The phone's user name.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Calls `target`, a `sip:` URI. Comes back as soon as the INVITE is on its way; see [`PhoneCall::answered`].
    ///
    /// # Errors
    /// When the target is no SIP URI, cannot be resolved, or the INVITE cannot be sent.
    pub async fn dial(&self, target: &str, dial: Dial) -> Result<PhoneCall, PhoneError> {
        let uri = parse_target(target)?;
        let destinations = self.resolver.resolve(&uri).await?;
        let (reply, answer) = oneshot::channel();
        self.tell(Command::Dial { uri, destinations, dial, reply })?;
        answer.await.map_err(|_| PhoneError::Stopped)?
    }

    /// Registers `address` (`sip:1001@pbx.example`) and keeps it registered; comes back when it is.
    ///
    /// # Errors
    /// When the registrar cannot be reached or refuses.
    pub async fn register(&self, address: &str, password: &str, expires: Duration) -> Result<(), PhoneError> {
        let address = parse_target(address)?;
        let destinations = self.resolver.resolve(&address).await?;
        let username = address.user().map(std::borrow::Cow::into_owned).unwrap_or_default();
        let mut registrar = address.clone();
        if let Uri::Sip(uri) = &mut registrar {
            uri.user = None;
            uri.password = None;
        }
        let credentials = Credentials { username, password: password.to_owned() };
        let (reply, answer) = oneshot::channel();
        let command = RegisterCommand { address, registrar, credentials, expires, destinations, reply };
        self.tell(Command::Register(Box::new(command)))?;
        answer.await.map_err(|_| PhoneError::Stopped)?
    }

    /// The next call that comes in; `None` once the phone has stopped.
    pub async fn incoming(&mut self) -> Option<PhoneCall> {
        self.incoming.recv().await
    }

    /// Ends calls and registrations, waits shortly for the other side to confirm, and stops the phone.
    pub async fn stop(mut self) {
        let (reply, done) = oneshot::channel();
        if self.tell(Command::Stop(reply)).is_ok() {
            // An error here means that the driver has gone already.
            let _ = done.await;
        }
        if let Some(thread) = self.thread.take() {
            // The driver said that it is done: the thread ends at once.
            let _ = tokio::task::spawn_blocking(|| thread.join()).await;
        }
    }

    fn tell(&self, command: Command) -> Result<(), PhoneError> {
        self.commands.send(command).map_err(|_| PhoneError::Stopped)
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let (reply, _) = oneshot::channel();
        // The driver may be gone already.
        let _ = self.tell(Command::Stop(reply));
    }
}

fn parse_target(target: &str) -> Result<Uri, PhoneError> {
    let uri = Uri::parse(target).map_err(|error| PhoneError::BadTarget { target: target.to_owned(), error })?;
    if uri.as_sip().is_some() { Ok(uri) } else { Err(PhoneError::NotSip { target: target.to_owned() }) }
}

/// A call of the phone. Dropping it hangs up.
#[derive(Debug)]
pub struct PhoneCall {
    pub(super) id: CallId,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) events: mpsc::UnboundedReceiver<PhoneEvent>,
    pub(super) heard: Heard,
    pub(super) from: NameAddr,
    pub(super) to: NameAddr,
    pub(super) sip_call_id: String,
    pub(super) headers: Vec<(String, String)>,
}

impl PhoneCall {
    /// Who calls.
    pub fn from(&self) -> &NameAddr {
        &self.from
    }

    /// Who is called.
    pub fn to(&self) -> &NameAddr {
        &self.to
    }

    /// The Call-ID; empty for a call of ours that has not been answered by anybody yet.
    pub fn sip_call_id(&self) -> &str {
        &self.sip_call_id
    }

    /// A header field of the INVITE that came in.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The next thing that happens; `None` after [`PhoneEvent::Ended`].
    pub async fn event(&mut self) -> Option<PhoneEvent> {
        self.events.recv().await
    }

    /// Waits until the call is up.
    ///
    /// # Errors
    /// How it ended instead.
    pub async fn answered(&mut self) -> Result<(), Ended> {
        self.wait(|event| match event {
            PhoneEvent::Answered { .. } => Some(()),
            _ => None,
        })
        .await
    }

    /// Waits for the next key of the other side.
    ///
    /// # Errors
    /// How the call ended instead.
    pub async fn digit(&mut self) -> Result<char, Ended> {
        self.wait(|event| match event {
            PhoneEvent::Digit { digit, .. } => Some(*digit),
            _ => None,
        })
        .await
    }

    /// Waits until the call is over.
    pub async fn ended(&mut self) -> Ended {
        let never: Result<std::convert::Infallible, Ended> = self.wait(|_| None).await;
        match never {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    /// Waits for an event that `look` finds something in; events before it are passed over.
    ///
    /// # Errors
    /// How the call ended instead.
    pub async fn wait<T>(&mut self, mut look: impl FnMut(&PhoneEvent) -> Option<T>) -> Result<T, Ended> {
        while let Some(event) = self.events.recv().await {
            if let Some(found) = look(&event) {
                return Ok(found);
            }
            if let PhoneEvent::Ended(ended) = event {
                return Err(ended);
            }
        }
        Err(Ended::new(0, "the phone has stopped", EndedBy::Local))
    }

    /// What the call has heard so far.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Sends 180.
    pub fn ring(&self) {
        self.tell(CallCommand::Ring);
    }

    /// Sends 200.
    pub fn answer(&self) {
        self.tell(CallCommand::Answer);
    }

    /// Refuses a call that came in.
    pub fn reject(&self, code: u16) {
        self.tell(CallCommand::Reject(code));
    }

    /// Plays to the other side; `Played` follows.
    pub fn play(&self, prompts: Vec<Arc<EncodedPrompt>>) {
        self.tell(CallCommand::Play(Box::new(Playlist::once(prompts))));
    }

    /// Plays mono samples at 8 kHz.
    pub fn play_samples(&self, codec: Codec, samples: &[i16]) {
        self.play(vec![Arc::new(EncodedPrompt::from_samples(codec, samples))]);
    }

    /// Stops playing.
    pub fn stop_playing(&self) {
        self.tell(CallCommand::StopPlaying);
    }

    /// Presses keys, 100 ms each with 100 ms between; characters that are no keys are left out. `Pressed` follows.
    pub fn press(&self, keys: &str) {
        self.press_as(keys, Duration::from_millis(100), Duration::from_millis(100), DtmfMethod::TelephoneEvent);
    }

    /// Presses keys.
    pub fn press_as(&self, keys: &str, duration: Duration, gap: Duration, method: DtmfMethod) {
        let digits = keys.chars().filter_map(Digit::from_char).collect();
        self.tell(CallCommand::Press { digits, duration, gap, method });
    }

    /// Puts the other side on hold with a re-INVITE, or takes it back.
    pub fn hold(&self, held: bool) {
        self.tell(CallCommand::Direction(if held { Direction::SendOnly } else { Direction::SendRecv }));
    }

    /// Ends the call: CANCEL, a final response or BYE, as its state asks for. `Ended` follows.
    pub fn hangup(&self) {
        self.tell(CallCommand::Hangup);
    }

    fn tell(&self, command: CallCommand) {
        // A phone that has stopped has ended its calls.
        let _ = self.commands.send(Command::Call(self.id, command));
    }
}

impl Drop for PhoneCall {
    fn drop(&mut self) {
        self.tell(CallCommand::Hangup);
    }
}
