//! The core's thread: sockets, timers, media reports, script output and API requests, one at a time into the [`Switch`].
#![expect(clippy::disallowed_methods, reason = "the driver is where the core meets the clock")]

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lockstep_media::io::{MediaPool, PoolConfig as MediaPoolConfig, PoolEvents};
use lockstep_media::prompt::{Folders, PromptConfig, PromptLibrary};
use lockstep_sip::auth::Authenticator;
use lockstep_sip::endpoint::Endpoint;
use lockstep_sip::net::Protocol;
use lockstep_sip::registrar::Registrar;
use lockstep_sip::resolve::{HickoryDns, ResolveConfig, Resolver};
use lockstep_sip::transport::{Listen, TransportConfig, TransportEvent, Transports};
use rand::Rng as _;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot, watch as latest};
use tokio::task::LocalSet;

use super::broken_off::{self, Presence};
use super::directory::Directory;
use super::exchange::{Exchange, ExchangeParts};
use super::freeswitch_listener;
use super::handle::{EngineHandle, Request};
use super::named_scripts::NamedScripts;
use super::real_world::RealWorld;
use super::recordings::Recordings;
use super::setup;
use super::switch::{Switch, SwitchParts};
use super::world::{ApplicationCall, Arrival};
use crate::background;
use crate::block_on::block_on;
use crate::cdr;
use crate::config::{self, Config, Loaded};
use crate::fetch::{EgressPolicy, Fetcher};
use crate::freeswitch::Fleet;
use crate::jobs::{JobsConfig, JobsThread};
use crate::platform::{Platform, PlatformError};
use crate::provisioning::put_away;
use crate::runs::{RunsConfig, RunsHandle, RunsThread, ScriptPlace};
use crate::script::programs::{Asked, Change, Loader, Reload, ScriptText, Watch, watch};
use crate::script::{Moment, PoolConfig, ProgramSet, WorkerPool};
use crate::store::Store;
use crate::store::script_versions::{self, Noted, Origin};
use crate::tts::Tts;

/// Reports of one kind taken before the others get their turn.
const BATCH: usize = 256;
/// How long the last responses may take once every call is over.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Threads that load prompts.
const LOADERS: usize = 2;
/// Calls that may wait for their applications to be called.
const APPLICATION_QUEUE: usize = 1_024;

/// Why an engine does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Listen(io::Error),
    #[error("{0} is not available yet; expected udp or tcp")]
    Transport(String),
    #[error("media threads: {0}")]
    Media(io::Error),
    #[error("cannot read the folder {}: {error}", dir.display())]
    Scripts { dir: PathBuf, error: io::Error },
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("prompts: {0}")]
    Prompts(io::Error),
    #[error("speech: {0}")]
    Speech(String),
    #[error("HTTP client: {0}")]
    Http(String),
    #[error("name servers: {0}")]
    Names(String),
    #[error("{what} {}: {error}", path.display())]
    Folder { what: &'static str, path: PathBuf, error: io::Error },
    #[error("cannot listen on {address}: {error}")]
    EventSocket { address: SocketAddr, error: io::Error },
    #[error("core thread: {0}")]
    Thread(io::Error),
    #[error("lock beside the store: {0}")]
    Lock(io::Error),
    #[error("thread for jobs: {0}")]
    Jobs(io::Error),
    #[error("thread for runs: {0}")]
    Runs(io::Error),
}

impl StartError {
    /// The key of the configuration whose value cannot be used.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Listen(_) | Self::Transport(_) => Some("sip.listen"),
            Self::Scripts { .. } => Some("scripts.dir"),
            Self::Platform(PlatformError::Store(_)) => Some("store.path"),
            Self::EventSocket { .. } => Some("event_socket.freeswitch_outbound"),
            _ => None,
        }
    }
}

/// A started engine.
#[derive(Debug)]
pub struct Engine {
    pub handle: EngineHandle,
    applications: Option<mpsc::Receiver<ApplicationCall>>,
    /// Where FreeSWITCH hands calls over.
    pub freeswitch: Option<SocketAddr>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Opens sockets, starts threads and workers, loads scripts. `program` is the `lockstep` binary that workers are
    /// started from.
    ///
    /// # Errors
    /// What keeps it from starting; nothing is left running then.
    pub fn start(loaded: Loaded, program: PathBuf) -> Result<Self, StartError> {
        let (report, started) = std::sync::mpsc::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(StartError::Thread(error)))),
            };
            LocalSet::new().block_on(&runtime, async move {
                match Core::build(&loaded, program) {
                    Ok(Built { core, handle, applications, freeswitch }) => {
                        // The starter waits for this; were it gone, the dropped handle would end the engine.
                        let _ = report.send(Ok((handle, applications, freeswitch)));
                        core.run().await;
                    }
                    Err(error) => drop(report.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("core".to_owned()).spawn(run).map_err(StartError::Thread)?;
        match started.recv() {
            Ok(Ok((handle, applications, freeswitch))) => {
                Ok(Self { handle, applications: Some(applications), freeswitch, thread })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StartError::Thread(io::Error::other("it ended before it had begun"))),
        }
    }

    /// Calls that applications on event sockets are to take over. Where nobody receives them, they go elsewhere. Gives them
    /// out once.
    pub fn take_applications(&mut self) -> Option<mpsc::Receiver<ApplicationCall>> {
        self.applications.take()
    }

    /// Waits until the engine has stopped: after [`EngineHandle::halt`], or when every handle is gone and every call over.
    pub fn wait(self) {
        let Self { handle, applications, thread, .. } = self;
        drop((handle, applications));
        if thread.join().is_err() {
            tracing::error!("the core thread panicked");
        }
    }
}

/// A core, and the other ends of its channels.
struct Built {
    core: Core,
    handle: EngineHandle,
    applications: mpsc::Receiver<ApplicationCall>,
    freeswitch: Option<SocketAddr>,
}

/// Everything the core's thread owns.
struct Core {
    switch: Rc<RefCell<Switch>>,
    transports: Rc<RefCell<Transports>>,
    media: PoolEvents,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    requests: mpsc::Receiver<Request>,
    scripts: Watch,
    named_scripts: NamedScripts,
    /// Tells those who run scripts outside calls which there are.
    programs: latest::Sender<Arc<ProgramSet>>,
    /// Dropped before the runs: jobs under way go back to the store rather than fail.
    _jobs: JobsThread,
    /// Ends with the core: runs outside calls are made for it and through its handle.
    _runs: RunsThread,
    _presence: Presence,
    platform: Platform,
    /// Something outside the loop has pumped the switch: its next deadline may be nearer.
    rearm: Rc<Notify>,
}

impl Core {
    fn build(loaded: &Loaded, program: PathBuf) -> Result<Built, StartError> {
        let platform = Platform::open(loaded)?;
        let config = Arc::clone(&platform.provisioning.current().config);
        let now = Moment::now();
        let listen = listen_addresses(&config)?;
        let mut transports = Transports::bind(&listen, TransportConfig::default()).map_err(StartError::Listen)?;
        let listening: Vec<(Protocol, SocketAddr)> =
            transports.listening().iter().map(|listen| (listen.protocol, listen.address)).collect();
        let addresses = transports.listening().iter().map(ToString::to_string).collect();
        let sent_by =
            listening.iter().map(|(protocol, bound)| (*protocol, concrete(&mut transports, *protocol, *bound))).collect();

        let (media, media_events) = MediaPool::new(media_config(&config)).map_err(StartError::Media)?;
        let fetcher =
            Fetcher::new(EgressPolicy::new(config.security.clone())).map_err(|error| StartError::Http(error.to_string()))?;
        let scripts_dir = loaded.resolve(&config.scripts.dir);
        let folders = Folders::beneath(&scripts_dir);
        let prompt_config = PromptConfig {
            folders: folders.clone(),
            cache_bytes: usize::try_from(config.media.cache_mb).unwrap_or(256) << 20,
            threads: LOADERS,
            ..PromptConfig::default()
        };
        let prompts = PromptLibrary::new(prompt_config, Some(Arc::new(fetcher.clone()))).map_err(StartError::Prompts)?;
        let mut tts_config = config.tts.clone();
        tts_config.cache_dir = tts_config.cache_dir.map(|dir| loaded.resolve(&dir));
        let tts = Tts::new(&tts_config).map_err(|error| StartError::Speech(error.to_string()))?;
        let resolve_config = ResolveConfig {
            protocols: protocols(&listening),
            ipv4: listening.iter().any(|(_, bound)| bound.is_ipv4()),
            ipv6: listening.iter().any(|(_, bound)| bound.is_ipv6()),
            ..ResolveConfig::default()
        };
        let dns = HickoryDns::from_system(&resolve_config).map_err(|error| StartError::Names(error.to_string()))?;

        let mut loader = Loader::new(&loaded.dir, &config).with_environment(&platform.environment).with_program(&program);
        let kept = |file: &str| kept_text(&platform.store, file);
        let reload = loader.load_or(kept).map_err(|error| StartError::Scripts { dir: scripts_dir.clone(), error })?;
        report(&reload);
        let named_scripts = NamedScripts::new(&loaded.named_scripts);
        named_scripts.look(&reload.set, &platform.provisioning.current());
        tokio::task::spawn_local(keep_texts(platform.store.clone(), reload.texts.clone(), None));
        let scripts = watch(loader).map_err(|error| StartError::Scripts { dir: scripts_dir, error })?;

        let workers = match config.scripts.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => usize::from(workers),
        };
        let (programs, latest_programs) = latest::channel(Arc::clone(&reload.set));
        let (runs, runs_inbox) = RunsHandle::new(latest_programs);
        let services = platform.services.clone();
        let place = ScriptPlace::Workers { program: program.clone(), workers };
        let runs_config = RunsConfig {
            place,
            fetcher: fetcher.clone(),
            services: services.clone(),
            events: platform.events.clone(),
            journals: Some(platform.journals.clone()),
        };
        let runs = RunsThread::start(runs_config, runs, runs_inbox).map_err(StartError::Runs)?;
        let jobs_config = JobsConfig {
            concurrency: config.jobs.concurrency.into(),
            keep: Duration::from_secs(u64::from(config.jobs.keep_days) * 86_400),
        };
        let jobs = JobsThread::start(jobs_config, &platform.jobs, runs.handle()).map_err(StartError::Jobs)?;

        let (arrived, arrivals) = mpsc::unbounded_channel();
        let (applications, application_calls) = mpsc::channel(APPLICATION_QUEUE);
        let transports = Rc::new(RefCell::new(transports));
        let world = RealWorld {
            transports: Rc::clone(&transports),
            media,
            prompts,
            tts,
            fetcher,
            services,
            resolver: Resolver::new(Arc::new(dns), resolve_config),
            runs: runs.handle(),
            records: (platform.cdr_ms > 0).then(|| cdr::Keeper::new(&platform.store)),
            arrivals: arrived,
            tasks: BTreeMap::new(),
            listening: listening.clone(),
            applications,
        };
        let (handle, requests, events) = EngineHandle::new(addresses, runs.handle(), platform.clone());

        let rearm = Rc::new(Notify::new());
        let switch_cell: Rc<OnceCell<Weak<RefCell<Switch>>>> = Rc::default();
        let host = {
            let (switch, rearm) = (Rc::clone(&switch_cell), Rc::clone(&rearm));
            // A worker's frames are handled right where they were read: no other task has to be woken for them.
            let on_output = move || {
                if let Some(switch) = switch.get().and_then(Weak::upgrade) {
                    let mut switch = switch.borrow_mut();
                    let before = switch.next_deadline();
                    switch.set_time(Moment::now());
                    switch.pump();
                    // The loop also looks whether the last call has gone.
                    if switch.next_deadline() != before || switch.is_draining() {
                        rearm.notify_one();
                    }
                }
            };
            WorkerPool::new(PoolConfig { program, workers, bounds: Default::default() }, on_output)
        };

        let recordings = Recordings::new(folders, config.media.recordings.as_deref().map(|dir| loaded.resolve(dir)));
        let presence = broken_off::end_all(&platform, recordings.clone())?;
        let lists = Arc::clone(&platform.provisioning.current().lists);
        let directory = Directory::with(lists, &config, listening.iter().map(|(_, bound)| bound.ip()));
        let mut exchange = Exchange::new(ExchangeParts {
            now,
            codecs: setup::codecs(&config),
            recordings,
            world: Box::new(world),
            endpoint: Endpoint::new(setup::endpoint_config(&config, sent_by, &listening), random_seed()),
            registrar: Registrar::new(setup::registrar_config(&config)),
            authenticator: Authenticator::new(setup::authenticator_config(&config), random_seed(), now.instant),
            directory,
            table: Arc::clone(&platform.provisioning.current().routes),
            programs: reload.set,
            rng: ChaCha12Rng::from_seed(random_seed()),
            config: Arc::clone(&config),
        });
        // What was spent today before this start counts, too.
        let spent = block_on(platform.store.read(|connection, now| cdr::spent_since(connection, now - now % cdr::DAY_MS)));
        for (customer, cost) in spent.map_err(PlatformError::from)? {
            exchange.guard.spend(now, customer, cost);
        }
        let max_calls = match config.sip.max_calls {
            0 => usize::try_from(config.media.ports.pairs()).unwrap_or(usize::MAX),
            max => usize::try_from(max).unwrap_or(usize::MAX),
        };
        let journals = Some(platform.journals.clone()).filter(crate::journals::Journals::is_on);
        let ringback = setup::RINGBACK.to_owned();
        let parts = SwitchParts { exchange, host: Box::new(host), events, max_calls, ringback, journals };
        let switch = Rc::new(RefCell::new(Switch::new(parts)));
        // Set exactly once: the cell was made above.
        let _ = switch_cell.set(Rc::downgrade(&switch));
        let core = Self {
            switch,
            transports,
            media: media_events,
            arrivals,
            requests,
            scripts,
            named_scripts,
            programs,
            _jobs: jobs,
            _runs: runs,
            _presence: presence,
            platform,
            rearm,
        };
        let fleet = Rc::new(OnceCell::new());
        let freeswitch = core.take_channels(loaded, &config, Rc::clone(&fleet))?;
        if !config.freeswitches.is_empty() {
            handle.set_freeswitch(fleet.get_or_init(|| Fleet::connect(&config.freeswitches, freeswitch)).clone());
        }
        Ok(Built { core, handle, applications: application_calls, freeswitch })
    }

    /// Opens the socket that media servers hand calls over at.
    fn take_channels(
        &self,
        loaded: &Loaded,
        config: &Config,
        fleet: Rc<OnceCell<Fleet>>,
    ) -> Result<Option<SocketAddr>, StartError> {
        let Some(address) = config.event_socket.freeswitch_outbound else { return Ok(None) };
        let failed = |error| StartError::EventSocket { address, error };
        let listener = freeswitch_listener::bind(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        self.switch.borrow_mut().accept_channels(setup::media_servers(loaded, config), !config.freeswitches.is_empty());
        let core = freeswitch_listener::Core { switch: Rc::downgrade(&self.switch), rearm: Rc::clone(&self.rearm), fleet };
        tokio::task::spawn_local(freeswitch_listener::listen(listener, core));
        Ok(Some(bound))
    }

    async fn run(mut self) {
        // Not before: threads have the niceness of the one that starts them, and those of media go ahead of everybody.
        background::step_back(background::WAITED_FOR);
        tokio::task::spawn_local(self.platform.clone().keep_house());
        let mut handles_left = true;
        let mut drained_at: Option<Instant> = None;
        // Whoever waits for the calls to be over.
        let mut draining: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            let deadline = {
                let mut switch = self.switch.borrow_mut();
                switch.set_time(Moment::now());
                switch.pump();
                if switch.is_drained() {
                    let since = *drained_at.get_or_insert_with(Instant::now);
                    if switch.transactions() == 0 || since.elapsed() >= LAST_WORDS {
                        if !handles_left {
                            switch.close_events();
                            return;
                        }
                        for drained in draining.drain(..) {
                            // Whoever asked may have gone away.
                            let _ = drained.send(());
                        }
                    }
                }
                let is_awaited = !handles_left || !draining.is_empty();
                let last_words = drained_at.filter(|_| is_awaited).map(|since| since + LAST_WORDS);
                [switch.next_deadline(), last_words].into_iter().flatten().min()
            };
            let sleep = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = receive(&self.transports, &self.switch) => {}
                Some(event) = self.media.recv() => {
                    let mut switch = self.switch.borrow_mut();
                    switch.set_time(Moment::now());
                    switch.media_report(event);
                    for _ in 0..BATCH {
                        let Some(event) = self.media.try_recv() else { break };
                        switch.media_report(event);
                    }
                }
                Some(arrival) = self.arrivals.recv() => {
                    let mut switch = self.switch.borrow_mut();
                    switch.set_time(Moment::now());
                    switch.arrived(arrival);
                }
                request = self.requests.recv(), if handles_left => {
                    let mut switch = self.switch.borrow_mut();
                    switch.set_time(Moment::now());
                    match request {
                        Some(Request::Provisioned(done)) => {
                            put_away(switch.set_provisioning(&self.platform.provisioning.current()));
                            // Whoever asked may have gone away.
                            let _ = done.send(());
                        }
                        Some(Request::ChangeScripts(order, answer)) => self.scripts.order(order, answer),
                        Some(Request::Drain(grace, drained)) => {
                            switch.drain(grace);
                            draining.push(drained);
                        }
                        Some(Request::Halt) => {
                            switch.close_events();
                            return;
                        }
                        Some(request) => switch.request(request),
                        None => {
                            handles_left = false;
                            if !switch.is_draining() {
                                switch.drain(Duration::ZERO);
                            }
                        }
                    }
                }
                Some(change) = self.scripts.changed() => self.reloaded(change),
                () = self.rearm.notified() => {}
                () = sleep => {
                    let mut switch = self.switch.borrow_mut();
                    switch.set_time(Moment::now());
                    switch.handle_timeout();
                }
            }
        }
    }

    fn reloaded(&mut self, Change { reload, asked }: Change) {
        report(&reload);
        let (named, set, current) = (self.named_scripts.clone(), Arc::clone(&reload.set), self.platform.provisioning.current());
        drop(tokio::task::spawn_blocking(move || named.look(&set, &current)));
        tracing::info!(scripts = reload.set.iter().count(), "scripts reloaded");
        self.programs.send_replace(Arc::clone(&reload.set));
        self.switch.borrow_mut().set_programs(reload.set, &reload.retired);
        tokio::task::spawn_local(keep_texts(self.platform.store.clone(), reload.texts, asked));
    }
}

/// The text of a script that was live when the last engine ran.
fn kept_text(store: &Store, file: &str) -> Option<String> {
    let name = file.to_owned();
    let read = store.read(move |connection, _| script_versions::live_source(connection, &name));
    block_on(read).inspect_err(|error| tracing::error!(file, %error, "what was live cannot be read")).ok().flatten()
}

/// Writes down the texts that are live now, then tells whoever asked for them.
async fn keep_texts(store: Store, texts: Vec<ScriptText>, asked: Option<Asked>) {
    let known = asked.as_ref().and_then(|asked| asked.version);
    let origin = if asked.is_some() { Origin::Http } else { Origin::Folder };
    for ScriptText { file, account, source, sha256 } in texts {
        let name = file.clone();
        let kept = store.write(move |connection, now| {
            let noted = Noted { file: &file, account: &account, source: &source, sha256: &sha256 };
            script_versions::record(connection, now, noted, known, origin)
        });
        if let Err(error) = kept.await {
            tracing::error!(file = name, %error, "the script is live, but its version is not kept");
        }
    }
    if let Some(Asked { findings, answer, .. }) = asked {
        // Whoever asked may have gone away.
        let _ = answer.send(Ok(findings));
    }
}

/// Logs what is wrong with scripts.
fn report(reload: &Reload) {
    for problem in &reload.new_problems {
        let live =
            if reload.set.iter().any(|program| program.file == problem.file) { "an earlier text is" } else { "no text is" };
        tracing::error!(%problem, live, "a script's newest text cannot be run");
    }
    for warning in &reload.new_warnings {
        tracing::warn!("script {warning}");
    }
}

/// Waits for SIP, and hands over what there is.
async fn receive(transports: &RefCell<Transports>, switch: &RefCell<Switch>) {
    poll_fn(|cx| {
        let mut first = true;
        let mut handle = |event: TransportEvent<'_>| {
            let mut switch = switch.borrow_mut();
            if std::mem::take(&mut first) {
                switch.set_time(Moment::now());
            }
            match event {
                TransportEvent::Received(received) => switch.received(received),
                TransportEvent::FlowClosed(flow) => switch.flow_closed(flow),
                TransportEvent::SendFailed(transmit) => switch.send_failed(transmit),
            }
        };
        transports.borrow_mut().poll_receive(cx, &mut handle)
    })
    .await;
}

fn listen_addresses(config: &Config) -> Result<Vec<Listen>, StartError> {
    config
        .sip
        .listen
        .iter()
        .map(|listen| match listen.protocol {
            config::Protocol::Udp => Ok(Listen { protocol: Protocol::Udp, address: listen.addr }),
            config::Protocol::Tcp => Ok(Listen { protocol: Protocol::Tcp, address: listen.addr }),
            config::Protocol::Tls | config::Protocol::Ws | config::Protocol::Wss => {
                Err(StartError::Transport(listen.to_string()))
            }
        })
        .collect()
}

/// An address a peer can be told, also when listening on all of them.
fn concrete(transports: &mut Transports, protocol: Protocol, bound: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    // Documentation addresses (RFC 5737, RFC 3849): nothing is sent there, only the default route is asked for.
    let elsewhere: IpAddr = if bound.is_ipv4() { [192, 0, 2, 1].into() } else { [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into() };
    let loopback: IpAddr = if bound.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    transports.local_for(protocol, SocketAddr::new(elsewhere, 5060)).unwrap_or_else(|| SocketAddr::new(loopback, bound.port()))
}

fn protocols(listening: &[(Protocol, SocketAddr)]) -> Vec<Protocol> {
    [Protocol::Udp, Protocol::Tcp]
        .into_iter()
        .filter(|protocol| listening.iter().any(|(listens, _)| listens == protocol))
        .collect()
}

fn media_config(config: &Config) -> MediaPoolConfig {
    let default = MediaPoolConfig::default();
    MediaPoolConfig {
        // Connections of both addresses of the HTTP interface leave as much to all else.
        spare_descriptors: default.spare_descriptors + 2 * u64::from(config.api.max_connections),
        threads: usize::from(config.media.threads),
        ports: config.media.ports.first..=config.media.ports.last,
        media_timeout: setup::media_timeout(config),
        recordings_keep_free: u64::from(config.media.recordings_keep_free_mb) << 20,
        cname: format!("{:016x}@lockstep", rand::rng().next_u64()),
        ..default
    }
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    rand::rng().fill_bytes(&mut seed);
    seed
}
