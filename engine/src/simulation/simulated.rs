//! The loop of a simulation.

mod orders;

use std::cell::{OnceCell, Ref, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use lockstep_ctx_api::OpResult;
use lockstep_ctx_api::journal::{SecretNames, lines};
use lockstep_sip::auth::Authenticator;
use lockstep_sip::endpoint::Endpoint;
use lockstep_sip::net::{Protocol, Received, Source};
use lockstep_sip::registrar::Registrar;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::sync::oneshot;

use super::audio::Audio;
use super::clock::{Clock, earlier};
use super::hosts::Hosts;
use super::http::Http;
use super::media::{EngineMedia, Taken};
use super::network::{Conditions, Network, Packet};
use super::outside::Outside;
use super::phones::{Phones, Places};
use super::project::{Project, engine_address};
use super::rehearsal::{self, Stage};
use super::world::{Shared, SimulatedWorld};
use crate::block_on::block_on;
use crate::class4::{Class4, Given, Rejection, RouteTable, RoutingObject};
use crate::core::EventLog;
use crate::core::directory::Directory;
use crate::core::exchange::{Exchange, ExchangeParts};
use crate::core::handle::{CallFilter, CallSummary, Request};
use crate::core::recordings::Recordings;
use crate::core::setup;
use crate::core::switch::{Switch, SwitchParts};
use crate::core::timeline::Timeline;
use crate::core::world::{Arrival, Arrived, Ticket};
use crate::host::HostServices;
use crate::jobs::Jobs;
use crate::platform::Platform;
use crate::script::InProcess;
use crate::script::supervisor::RunBounds;
use crate::store::Clock as StoreClock;

/// How long loading audio takes, or a name server's answer: short, and always the same.
const BACKGROUND: Duration = Duration::from_millis(2);
/// How long a service of the engine takes to answer.
const SERVICE: Duration = Duration::from_millis(1);
/// Rounds at one moment after which something must be going in circles.
const MAX_ROUNDS: u32 = 100_000;

/// How a simulation is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    pub conditions: Conditions,
    /// What the clock shows first, ms since the Unix epoch.
    pub unix_ms: u64,
    /// Calls at once.
    pub max_calls: usize,
}

impl Default for Options {
    fn default() -> Self {
        // Monday, 5 January 2026, 10:00 UTC: a working hour.
        Self { seed: 1, conditions: Conditions::CLEAN, unix_ms: 1_767_607_200_000, max_calls: 10_000 }
    }
}

/// A call of a service that has not answered.
struct Waiting {
    ticket: Ticket,
    answer: Pin<Box<dyn Future<Output = OpResult> + Send>>,
}

/// See the module.
pub(crate) struct Simulation {
    clock: Clock,
    switch: Switch,
    shared: Rc<RefCell<Shared>>,
    media: EngineMedia,
    network: Network,
    /// In place of all that, where the phones dial a running engine.
    outside: Option<Outside>,
    pub(crate) phones: Phones,
    pub(crate) http: Http,
    /// Results of background work, by when they come and in which order they were asked for.
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    last_arrival: u64,
    waiting: Vec<Waiting>,
    /// Made for the first script that asks for one, with the jobs of their stores.
    services: OnceCell<(HostServices, Option<Jobs>)>,
    /// What the clock of the stores shows.
    wall_ms: Arc<AtomicU64>,
    project: Project,
    names: BTreeMap<String, SocketAddr>,
    rng: ChaCha12Rng,
    /// The switch was given something.
    touched: bool,
    switch_deadline: Option<Instant>,
}

impl Simulation {
    /// An engine without calls, and nobody to call it.
    pub(crate) fn new(project: &Project, options: &Options) -> Self {
        Self::with(project, options, None)
    }

    /// Phones that dial a running engine of their own, in real time. What is simulated besides has no part in it.
    ///
    /// # Errors
    /// Why the engine does not start.
    pub(crate) fn outside(project: &Project, options: &Options) -> Result<Self, String> {
        let outside = Outside::start(project)?;
        Ok(Self::with(project, options, Some(outside)))
    }

    fn with(project: &Project, options: &Options, outside: Option<Outside>) -> Self {
        let clock = Clock::new(options.unix_ms);
        let mut rng = ChaCha12Rng::seed_from_u64(options.seed);
        let engine = engine_address();
        let listening = vec![(Protocol::Udp, engine)];
        let config = &project.config;
        let audio = Audio::new(project.library.clone(), project.folders());
        let shared = Rc::new(RefCell::new(Shared::new(audio)));
        let world = SimulatedWorld { shared: Rc::clone(&shared), listening: listening.clone() };
        let now = clock.moment();
        let exchange = Exchange::new(ExchangeParts {
            now,
            codecs: setup::codecs(config),
            recordings: Recordings::new(project.folders(), None),
            world: Box::new(world),
            endpoint: Endpoint::new(setup::endpoint_config(config, listening.clone(), &listening), seed(&mut rng)),
            registrar: Registrar::new(setup::registrar_config(config)),
            authenticator: Authenticator::new(setup::authenticator_config(config), seed(&mut rng), now.instant),
            directory: Directory::new(config, [engine.ip()]),
            table: Arc::new(RouteTable::new(config)),
            programs: project.programs.clone(),
            rng: ChaCha12Rng::from_seed(seed(&mut rng)),
            config: config.clone(),
        });
        let parts = SwitchParts {
            exchange,
            host: Box::new(InProcess::covered(now, RunBounds::default(), project.coverage.clone())),
            events: EventLog::default(),
            max_calls: options.max_calls,
            ringback: setup::RINGBACK.to_owned(),
            journals: None,
        };
        let (places, dialled) = match &outside {
            Some(outside) => (outside.places(), outside.address()),
            None => (Box::new(Hosts::default()) as Box<dyn Places>, engine),
        };
        let phones = Phones::new(places, dialled, clock.wall_clock(), seed(&mut rng));
        let mut simulation = Self {
            switch: Switch::new(parts),
            shared,
            media: EngineMedia::new(clock.wall_clock(), setup::media_timeout(config)),
            network: Network::new(clock.now(), options.seed, options.conditions),
            outside,
            phones,
            http: Http::default(),
            arrivals: BTreeMap::new(),
            last_arrival: 0,
            waiting: Vec::new(),
            services: OnceCell::new(),
            wall_ms: Arc::new(AtomicU64::new(options.unix_ms)),
            project: project.clone(),
            names: BTreeMap::new(),
            rng,
            touched: true,
            switch_deadline: None,
            clock,
        };
        simulation.settle();
        simulation
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn project(&self) -> &Project {
        &self.project
    }

    pub(crate) fn audio(&self) -> Ref<'_, Audio> {
        Ref::map(self.shared.borrow(), |shared| &shared.audio)
    }

    pub(crate) fn audio_mut(&mut self) -> RefMut<'_, Audio> {
        RefMut::map(self.shared.borrow_mut(), |shared| &mut shared.audio)
    }

    /// Whether the phones dial a running engine.
    pub(crate) fn is_real(&self) -> bool {
        self.outside.is_some()
    }

    /// The services of the engine, over stores that hold nothing yet.
    pub(crate) fn services(&self) -> &HostServices {
        if let Some(outside) = &self.outside {
            return &outside.handle().platform().services;
        }
        let (services, _) = self.services.get_or_init(|| {
            self.wall_ms.store(self.clock.moment().unix_ms, Relaxed);
            let clock = StoreClock::manual(Arc::clone(&self.wall_ms));
            Platform::in_memory_at(&self.project.config, clock).map_or_else(
                |error| {
                    tracing::error!(%error, "a simulation has no stores");
                    (HostServices::default(), None)
                },
                |platform| {
                    platform.jobs.run_by_hand(Arc::clone(&self.project.programs));
                    (platform.services, Some(platform.jobs))
                },
            )
        });
        services
    }

    /// The jobs of those stores, which whoever has the clock is to run. There are none before a script asks for a service; a running engine
    /// runs its own.
    pub(crate) fn jobs(&self) -> Option<&Jobs> {
        self.services.get()?.1.as_ref()
    }

    /// From now on nothing is skipped that changes nothing: the media of a call is looked at after each of its packets.
    #[cfg(test)]
    pub(crate) fn skip_nothing(&mut self) {
        self.media.look_always();
        self.phones.look_always();
    }

    /// How often the media of a leg was looked at.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> u64 {
        self.media.looks
    }

    /// Hashes every packet from now on; see [`Self::digest`].
    #[cfg(test)]
    pub(crate) fn keep_trace(&mut self) {
        self.network.keep_trace();
    }

    /// The hash of every packet sent so far, with its time.
    #[cfg(test)]
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        self.network.digest()
    }

    /// Gives a host a line of its own.
    pub(crate) fn set_line(&mut self, host: IpAddr, conditions: Conditions) {
        self.network.set_host(host, conditions);
    }

    /// Where a host of this name is, for gateways and `sip:` URIs: the same address each time.
    pub(crate) fn address_of_name(&mut self, name: &str, port: u16) -> SocketAddr {
        let next = u8::try_from(self.names.len() + 1).unwrap_or(u8::MAX);
        let known = self.names.entry(name.trim_end_matches('.').to_ascii_lowercase());
        let address = *known.or_insert_with(|| SocketAddr::new(Ipv4Addr::new(127, 0, 2, next).into(), port));
        SocketAddr::new(address.ip(), port)
    }

    /// Calls, the newest first.
    pub(crate) fn calls(&mut self) -> Vec<CallSummary> {
        let filter = CallFilter { limit: usize::MAX, ..CallFilter::default() };
        if let Some(outside) = &self.outside {
            return block_on(outside.handle().calls(filter)).unwrap_or_default();
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Calls(filter, reply), answer).unwrap_or_default()
    }

    /// What happened to a call of the engine, by its id.
    pub(crate) fn timeline(&mut self, id: &str) -> Option<Arc<Timeline>> {
        if let Some(outside) = &self.outside {
            return block_on(outside.handle().timeline(id)).ok();
        }
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Timeline(id.to_owned(), reply), answer)?.ok()
    }

    /// The journal of a call as JSON lines, secrets redacted.
    pub(crate) fn journal(&mut self, id: &str) -> Option<String> {
        if let Some(outside) = &self.outside {
            let journal = block_on(outside.handle().journal(id)).ok()?.journal?;
            return Some(lines::render(&journal, Some(&SecretNames)));
        }
        let (reply, answer) = oneshot::channel();
        let journal = self.ask(Request::Journal(id.to_owned(), reply), answer)?.ok()?.journal?;
        Some(lines::render(&journal, Some(&SecretNames)))
    }

    fn ask<T>(&mut self, request: Request, mut answer: oneshot::Receiver<T>) -> Option<T> {
        self.switch.set_time(self.clock.moment());
        self.switch.request(request);
        self.touched = true;
        answer.try_recv().ok()
    }

    /// Media legs of the engine that are open, and SIP transactions under way.
    #[cfg(test)]
    pub(crate) fn leftovers(&self) -> (usize, usize) {
        (self.media.legs(), self.switch.transactions())
    }

    /// The next moment at which anything happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let due = earlier(self.network.next_arrival(), self.next_deadline_beside_network());
        due.map(|due| due.max(self.clock.now()))
    }

    fn next_deadline_beside_network(&self) -> Option<Instant> {
        let arrival = self.arrivals.first_key_value().map(|((due, _), _)| *due);
        [self.switch_deadline, self.media.next_deadline(), self.phones.next_deadline()].into_iter().fold(arrival, earlier)
    }

    /// Sets the clock to `now` and lets happen what happens then. Nothing before it may be left to do. Where the phones dial a
    /// running engine, waits for `now`, or for what arrives before.
    pub(crate) fn advance_to(&mut self, now: Instant) {
        let arrived = self.outside.as_ref().map(|outside| (outside.wait(now), outside.now()));
        if let Some((packets, now)) = arrived {
            self.clock.set(now);
            for packet in &packets {
                self.phones.handle_packet(now, packet);
            }
        } else {
            self.clock.set(now);
        }
        if self.services.get().is_some() {
            self.wall_ms.store(self.clock.moment().unix_ms, Relaxed);
        }
        let now = self.clock.now();
        while let Some(packet) = self.network.arrival(now) {
            self.deliver(now, &packet);
        }
        while let Some(entry) = self.arrivals.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let arrival = entry.remove();
            if !self.shared.borrow_mut().abandoned.remove(&arrival.ticket) {
                self.switch.set_time(self.clock.moment());
                let ticket = arrival.ticket;
                self.switch.arrived(arrival);
                self.touched = true;
                // The core says of everything that has come that it wants it no more.
                self.shared.borrow_mut().abandoned.remove(&ticket);
            }
        }
        if self.switch_deadline.is_some_and(|due| due <= now) {
            self.switch.set_time(self.clock.moment());
            self.switch.handle_timeout();
            self.touched = true;
        }
        self.media.handle_timeout(now);
        self.phones.handle_timeout(now);
        self.settle();
    }

    /// Goes on until `until`, from one thing that happens to the next.
    pub(crate) fn run_until(&mut self, until: Instant) {
        // What was commanded since the last step happens now.
        self.settle();
        while let Some(due) = self.next_deadline().filter(|due| *due <= until) {
            self.advance_to(due);
            self.hear_until(until);
        }
        self.advance_to(until);
    }

    /// Delivers what arrives before anything else happens, as long as nothing follows from it: most packets of a call are heard
    /// and that is all. What [`Self::advance_to`] would do, without asking everybody else each time.
    fn hear_until(&mut self, until: Instant) {
        if self.outside.is_some() {
            return;
        }
        let others = self.next_deadline_beside_network();
        let is_next = |due: &Instant| *due <= until && others.is_none_or(|others| *due < others);
        while let Some(due) = self.network.next_arrival().filter(is_next) {
            self.clock.set(due);
            let Some(packet) = self.network.arrival(due) else { return };
            if self.deliver(due, &packet) {
                return self.advance_to(due);
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.clock.now() + time);
    }

    /// Hands a packet over; `false` when nothing follows from it before the next deadline but that it was heard.
    fn deliver(&mut self, now: Instant, packet: &Packet) -> bool {
        if packet.to == engine_address() {
            let source = Source { protocol: Protocol::Udp, local: packet.to, remote: packet.from, flow: None };
            self.switch.set_time(self.clock.moment());
            self.switch.received(Received { source, bytes: &packet.bytes });
            self.touched = true;
            // One after another, as datagrams are read.
            self.pump();
            return true;
        }
        match self.media.handle_packet(now, packet) {
            Taken::NotMine => self.phones.handle_packet(now, packet),
            Taken::Quietly => false,
            Taken::Looked => {
                self.report();
                true
            }
        }
    }

    fn pump(&mut self) {
        if std::mem::take(&mut self.touched) {
            self.switch.set_time(self.clock.moment());
            self.switch.pump();
            self.switch_deadline = self.switch.next_deadline();
        }
    }

    fn report(&mut self) {
        if self.media.reports.is_empty() {
            return;
        }
        self.switch.set_time(self.clock.moment());
        while let Some(report) = self.media.reports.pop_front() {
            self.switch.media_report(report);
        }
        self.touched = true;
    }

    /// Lets everybody act until nobody has anything left to do at this moment.
    pub(crate) fn settle(&mut self) {
        let now = self.clock.now();
        for _ in 0..MAX_ROUNDS {
            self.pump();
            let ordered = self.carry_out(now);
            self.report();
            self.phones.drain(now);
            while let Some(packet) = self.phones.next_packet() {
                match &self.outside {
                    Some(outside) => outside.send(&packet),
                    None => self.network.send(now, packet),
                }
            }
            while let Some(packet) = self.media.outbox.pop_front() {
                self.network.send(now, packet);
            }
            while let Some(recorded) = self.media.recorded.pop_front() {
                self.shared.borrow_mut().audio.keep(&recorded);
            }
            self.poll_waiting(now);
            if !ordered && !self.touched {
                return;
            }
        }
        tracing::error!("something goes in circles at one moment of virtual time");
    }

    /// Sets the stage for runs outside calls.
    fn rehearse<T>(&mut self, run: impl FnOnce(Stage<'_>) -> T) -> T {
        let seed = seed(&mut self.rng);
        let programs = self.project.programs.clone();
        let services = self.services().clone();
        let coverage = self.project.coverage.clone();
        let http = &mut self.http;
        run(Stage { programs: &programs, services: &services, fetch: &mut |args| http.answer(args), seed, coverage })
    }

    /// The Class 4 hook: a routing object, in JSON, as `script` leaves it, or those that apply to it, or the SIP reply they ask for;
    /// and the virtual time it takes, which has not passed yet.
    pub(crate) fn hook(&mut self, data: &str, script: Option<&str>) -> (Result<String, Rejection>, Duration) {
        let (changed, took) = match Given::read(data) {
            Ok(given) => self.change(given, script),
            Err(rejection) => (Err(rejection), Duration::ZERO),
        };
        (changed.map(|changed| changed.print()), took)
    }

    fn change(&mut self, given: Given, script: Option<&str>) -> (Result<RoutingObject, Rejection>, Duration) {
        if let Some(outside) = &self.outside {
            let engine = outside.handle();
            let current = engine.platform().provisioning.current();
            let changed = block_on(Class4::new(&current.routes, engine.runs()).hook(given, script, None));
            return (changed, Duration::ZERO);
        }
        let table = Arc::new(RouteTable::new(&self.project.config));
        let moment = self.clock.moment();
        self.rehearse(|stage| rehearsal::hook(stage, &table, given, script, moment))
    }

    /// Asks services that wait for something to happen whether it has.
    fn poll_waiting(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            return;
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut answered = Vec::new();
        let abandoned: BTreeSet<Ticket> = self.shared.borrow().abandoned.clone();
        self.waiting.retain_mut(|waiting| {
            if abandoned.contains(&waiting.ticket) {
                return false;
            }
            match waiting.answer.as_mut().poll(&mut context) {
                Poll::Ready(answer) => {
                    answered.push((waiting.ticket, answer));
                    false
                }
                Poll::Pending => true,
            }
        });
        for (ticket, answer) in answered {
            self.arrive(now + SERVICE, ticket, Arrived::Answered(answer));
        }
    }

    fn arrive(&mut self, at: Instant, ticket: Ticket, what: Arrived) {
        self.last_arrival += 1;
        self.arrivals.insert((at, self.last_arrival), Arrival { ticket, what });
    }

    /// Adds a phone; somebody is at its address from now on.
    pub(crate) fn add_phone(
        &mut self,
        settings: super::PhoneSettings,
        address: Option<SocketAddr>,
    ) -> Result<super::PhoneId, super::PhoneError> {
        let id = self.phones.add(settings, address)?;
        if let Some(address) = self.phones.address(id) {
            self.shared.borrow_mut().reachable.insert(address);
        }
        Ok(id)
    }
}

fn seed(rng: &mut ChaCha12Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}
