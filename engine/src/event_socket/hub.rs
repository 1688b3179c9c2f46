//! Where events come together and are handed to every client that wants them: each is written once per format, however many
//! clients there are.
#![expect(clippy::disallowed_methods, reason = "an IO edge: events carry the time at which they are told")]

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::channel_headers::{gmt, local_time};
use super::events::{self, LogLine};
use super::listeners::{Concern, Listener, Listeners};
use super::schedule::Schedule;
use super::wants::Format;
use crate::config::Config;
use crate::core::{EngineError, EngineEvent, EngineHandle, Missed, Published};
use crate::esl::{Event, Headers, Message};

/// How often the engine says that it lives, and how many calls it has.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// Events handed over at once.
const BATCH: usize = 128;

/// What every event says of the engine.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) core_uuid: String,
    pub(super) hostname: String,
    pub(super) ipv4: IpAddr,
    pub(super) realm: String,
    pub(super) started: Instant,
    pub(super) max_calls: usize,
}

impl Identity {
    pub(super) fn of(config: &Config) -> Self {
        let max_calls = match config.sip.max_calls {
            0 => usize::try_from(config.media.ports.pairs()).unwrap_or(usize::MAX),
            max => usize::try_from(max).unwrap_or(usize::MAX),
        };
        let bound = config.sip.listen.iter().map(|listen| listen.addr.ip()).find(|ip| !ip.is_unspecified());
        Self {
            core_uuid: super::client::new_uuid(),
            hostname: hostname(),
            ipv4: config.sip.external_ip.or(bound).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
            realm: config.sip.realm.clone(),
            started: Instant::now(),
            max_calls,
        }
    }
}

/// The host of `sip:user@host;parameters`.
fn host_of(address: &str) -> &str {
    let host = address.split_once(':').map_or(address, |(_, rest)| rest);
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.split([';', '?']).next().unwrap_or(host)
}

/// The machine's name.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "lockstep".to_owned() } else { name.to_owned() }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) engine: EngineHandle,
    pub(super) identity: Identity,
    listeners: Mutex<Listeners>,
    sequence: AtomicU64,
    pub(super) schedule: Schedule,
    /// A client has gone.
    left: tokio::sync::Notify,
    /// Events were missed.
    missed: tokio::sync::Notify,
    /// Calls since the start, for `status`.
    pub(super) calls_seen: AtomicUsize,
}

/// An event, and whom it concerns; `None`: everybody.
struct Told {
    event: Event,
    account: Option<Arc<str>>,
}

/// An event, written in the formats that were asked for so far.
struct Written<'a> {
    told: &'a Told,
    plain: Option<Bytes>,
    json: Option<Bytes>,
    xml: Option<Bytes>,
}

impl Written<'_> {
    fn in_format(&mut self, format: Format) -> Bytes {
        let (kept, message): (_, fn(&Event) -> Message) = match format {
            Format::Plain => (&mut self.plain, Message::event_plain),
            Format::Json => (&mut self.json, Message::event_json),
            Format::Xml => (&mut self.xml, Message::event_xml),
        };
        let event = &self.told.event;
        kept.get_or_insert_with(|| {
            let mut bytes = Vec::with_capacity(4_096);
            message(event).write(&mut bytes);
            bytes.into()
        })
        .clone()
    }
}

impl Hub {
    pub(super) fn new(engine: EngineHandle, identity: Identity) -> Self {
        Self {
            engine,
            identity,
            listeners: Mutex::default(),
            sequence: AtomicU64::new(0),
            schedule: Schedule::default(),
            left: tokio::sync::Notify::new(),
            missed: tokio::sync::Notify::new(),
            calls_seen: AtomicUsize::new(0),
        }
    }

    /// The host of a gateway.
    pub(super) fn gateway(&self, id: &str) -> Option<String> {
        // Written as the list writes it: `09` names none.
        let id = id.parse().ok().filter(|number: &i64| number.to_string() == id)?;
        let current = self.engine.platform().provisioning.current();
        let gateway = current.config.gateways.iter().find(|gateway| gateway.id == id)?;
        Some(host_of(gateway.address.as_str()).to_owned())
    }

    /// Nothing in here panics while it holds the lock.
    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client.
    pub(super) fn join(&self, listener: Arc<Listener>) {
        self.listeners().add(listener);
    }

    /// Forgets a client.
    pub(super) fn leave(&self, listener: &Arc<Listener>) {
        self.listeners().remove(listener);
        self.left.notify_one();
    }

    /// The application of a call has asked for more than what happens to it.
    pub(super) fn widen(&self, listener: &Arc<Listener>) {
        self.listeners().widen(listener);
    }

    /// Resolves when no client is left.
    pub(super) async fn all_gone(&self) {
        while !self.listeners().is_empty() {
            self.left.notified().await;
        }
    }

    /// Hands over what happens, until the engine stops.
    pub(super) async fn run(&self) {
        tokio::select! {
            () = self.hand_over_what_happens() => {}
            () = self.look_for_ends() => {}
        }
    }

    async fn hand_over_what_happens(&self) {
        let mut watcher = self.engine.subscribe();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            tokio::select! {
                published = watcher.recv() => {
                    let mut batch = Vec::with_capacity(BATCH);
                    let mut next = Some(published);
                    while let Some(published) = next {
                        match published {
                            Ok(published) => batch.push(published),
                            Err(Missed::Lagged(missed)) => {
                                tracing::error!(missed, "event sockets have missed events");
                                self.missed.notify_one();
                            }
                            Err(Missed::Closed) => {
                                self.hand_over(&batch);
                                return self.close();
                            }
                        }
                        next = if batch.len() < BATCH { watcher.try_recv() } else { None };
                    }
                    self.hand_over(&batch);
                    // What was handed over is written before there is more of it.
                    tokio::task::yield_now().await;
                }
                _ = heartbeat.tick() => {
                    let event = self.heartbeat().await;
                    self.publish(event, None);
                }
            }
        }
    }

    /// The end of an application's call, or of one that commands wait for, may have been among what was missed: nothing else would ever
    /// end its connection, or take the commands away. What is missed while that is found out is looked for afterwards.
    async fn look_for_ends(&self) {
        loop {
            self.missed.notified().await;
            let applications: Vec<_> = self.listeners().iter().filter(|listener| listener.own_call.is_some()).cloned().collect();
            let waited_for = self.schedule.calls();
            for own in applications.iter().filter_map(|listener| listener.own_call.as_ref()) {
                if let Err(EngineError::NoSuchCall(_) | EngineError::CallOver(_)) = self.engine.channel(&own.id).await {
                    own.over.notify_one();
                }
            }
            if waited_for.is_empty() {
                continue;
            }
            let Ok(channels) = self.engine.channels().await else { continue };
            let live: HashSet<&str> = channels.iter().map(|channel| channel.call.as_str()).collect();
            for call in waited_for.iter().filter(|call| !live.contains(call.as_str())) {
                self.schedule.call_over(call);
            }
        }
    }

    /// Tells every client that wants to know what concerns an account, or everybody.
    pub(super) fn publish(&self, event: Event, account: Option<Arc<str>>) {
        self.deliver(&[Told { event: self.stamped(event, unix_ms()), account }], &[]);
    }

    fn hand_over(&self, batch: &[Arc<Published>]) {
        let mut stamped = Vec::with_capacity(batch.len() * 2);
        let mut lines = Vec::new();
        let nobody_listens = self.listeners().is_empty();
        for published in batch {
            match &published.event {
                EngineEvent::CallStarted { .. } => drop(self.calls_seen.fetch_add(1, Ordering::Relaxed)),
                EngineEvent::CallEnded { call, .. } => self.schedule.call_over(call),
                _ => {}
            }
            if nobody_listens {
                continue;
            }
            let account = &published.account;
            lines.extend(events::log_line(&published.event).map(|line| (line, account.clone())));
            let events = events::of_engine(&published.event, &self.identity.realm).into_iter();
            stamped.extend(events.map(|event| Told { event: self.stamped(event, published.at_ms), account: account.clone() }));
        }
        self.deliver(&stamped, &lines);
    }

    fn deliver(&self, told: &[Told], lines: &[(LogLine, Option<Arc<str>>)]) {
        if told.is_empty() && lines.is_empty() {
            return;
        }
        let mut written: Vec<Written<'_>> =
            told.iter().map(|told| Written { told, plain: None, json: None, xml: None }).collect();
        // Outside the lock: who comes or goes meanwhile does not wait.
        let concerned = self.listeners().concerned(told.iter().map(|told| &told.event));
        for (listener, concern) in concerned {
            match concern {
                Concern::Everything => tell(&listener, &mut written.iter_mut(), lines),
                Concern::These(at) => {
                    let mut theirs =
                        written.iter_mut().enumerate().filter(|(place, _)| at.contains(place)).map(|(_, written)| written);
                    tell(&listener, &mut theirs, &[]);
                }
            }
        }
    }

    /// The event with the headers that every event has after its name.
    pub(super) fn stamped(&self, event: Event, at_ms: u64) -> Event {
        let mut headers = Headers::new();
        headers.push("Event-Name", event.name());
        headers.push("Core-UUID", &self.identity.core_uuid);
        headers.push("FreeSWITCH-Hostname", &self.identity.hostname);
        headers.push("FreeSWITCH-Switchname", &self.identity.hostname);
        headers.push("FreeSWITCH-IPv4", &self.identity.ipv4.to_string());
        headers.push("FreeSWITCH-IPv6", "::1");
        headers.push("Event-Date-Local", &local_time(at_ms));
        headers.push("Event-Date-GMT", &gmt(at_ms));
        headers.push("Event-Date-Timestamp", &at_ms.saturating_mul(1_000).to_string());
        headers.push("Event-Calling-File", "lockstep");
        headers.push("Event-Calling-Function", "event_socket");
        headers.push("Event-Calling-Line-Number", "0");
        headers.push("Event-Sequence", &(self.sequence.fetch_add(1, Ordering::Relaxed) + 1).to_string());
        for (name, value) in event.headers.iter().skip(1) {
            headers.push(name, value);
        }
        Event { headers, body: event.body }
    }

    async fn heartbeat(&self) -> Event {
        let (calls, most) =
            self.engine.readiness().await.map_or((0, 0), |readiness| (readiness.live_calls, readiness.most_calls));
        let up = self.identity.started.elapsed();
        let mut event = Event::new("HEARTBEAT");
        for (name, value) in [
            ("Event-Info", "System Ready".to_owned()),
            ("Up-Time", super::api::status::up_time(up)),
            ("FreeSWITCH-Version", super::api::status::version()),
            ("Uptime-msec", up.as_millis().to_string()),
            ("Session-Count", calls.to_string()),
            ("Max-Sessions", self.identity.max_calls.to_string()),
            ("Session-Since-Startup", self.calls_seen.load(Ordering::Relaxed).to_string()),
            ("Session-Peak-Max", most.to_string()),
            ("Heartbeat-Interval", HEARTBEAT.as_secs().to_string()),
        ] {
            event.push(name, &value);
        }
        event
    }

    /// The engine has stopped: every client is told.
    fn close(&self) {
        for listener in self.listeners().iter() {
            listener.outbox.events([super::notices::goodbye()]);
            listener.outbox.close();
        }
    }
}

/// Hands one client what it wants of a batch.
fn tell<'a, 'b: 'a>(
    listener: &Listener,
    batch: &mut dyn Iterator<Item = &'a mut Written<'b>>,
    lines: &[(LogLine, Option<Arc<str>>)],
) {
    let mut frames = Vec::new();
    let mut over = false;
    {
        let wants = listener.wants();
        let concerns = |account: &Option<Arc<str>>| listener.account.is_none() || listener.account == *account;
        for written in batch {
            let event = &written.told.event;
            let own = listener.owns(event);
            let destroyed = own && event.name() == "CHANNEL_DESTROY";
            over |= destroyed;
            // The last an application hears of its call is how it ended.
            if (own || concerns(&written.told.account)) && wants.wants(event) && !destroyed {
                frames.push(written.in_format(wants.format));
            }
        }
        let lines = lines.iter().filter(|(line, account)| concerns(account) && wants.wants_line(line));
        frames.extend(lines.map(|(line, _)| log_data(line)));
    }
    if !frames.is_empty() {
        listener.outbox.events(frames);
    }
    if let Some(own) = listener.own_call.as_ref().filter(|_| over) {
        own.over.notify_one();
    }
}

/// A line of a log as clients of `log` get it.
fn log_data(line: &LogLine) -> Bytes {
    let (file, number) = line.at.as_deref().and_then(|at| at.split_once(':')).unwrap_or(("lockstep", "0"));
    let level = line.level.to_string();
    let headers: Headers = [
        ("Content-Type", "log/data"),
        ("Log-Level", level.as_str()),
        ("Text-Channel", "3"),
        ("Log-File", file),
        ("Log-Func", "script"),
        ("Log-Line", number.split(':').next().unwrap_or("0")),
        ("User-Data", line.call.as_str()),
    ]
    .into_iter()
    .collect();
    let mut bytes = Vec::new();
    Message::with_body(headers, format!("{}\n", line.text)).write(&mut bytes);
    bytes.into()
}

pub(super) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    crate::call::millis(since)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Channel;
    use crate::core::handle::Request;
    use crate::event_socket::schedule;

    #[tokio::test]
    async fn the_end_of_a_call_that_was_missed_ends_its_application_and_what_waits_for_it() {
        let config = Config::default();
        let platform = crate::platform::Platform::in_memory(&config).unwrap();
        let (engine, mut requests, log) = EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), platform);
        let hub = Arc::new(Hub::new(engine, Identity::of(&config)));
        let listener = Arc::new(Listener::of_call("one", None));
        hub.join(Arc::clone(&listener));
        for call in [Some("one"), Some("two"), None] {
            schedule::add(&hub, schedule::tests::wanted(call)).unwrap();
        }
        let running = hub.run();
        tokio::pin!(running);
        // It watches from now on, and then falls behind.
        tokio::select! { biased; () = &mut running => unreachable!("the engine lives"), () = std::future::ready(()) => {} }
        while log.watch_since(0).try_recv().is_none_or(|first| first.is_ok()) {
            log.publish(0, None, EngineEvent::ScriptsLoaded { scripts: 1 });
        }
        let answering = async {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Channel(id, reply) => reply.send(Err(EngineError::NoSuchCall(id))).unwrap(),
                    Request::Channels(reply) => {
                        let live = Channel { uuid: "two".to_owned(), call: "two".to_owned(), ..Channel::default() };
                        reply.send(vec![Arc::new(live)]).unwrap();
                    }
                    _ => {}
                }
            }
        };
        let over = async {
            listener.own_call.as_ref().unwrap().over.notified().await;
            while hub.schedule.calls().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = over => {}, () = running => unreachable!("the engine lives"), () = answering => unreachable!("it asks") }
        assert_eq!(hub.schedule.calls(), ["two"]);
    }

    #[tokio::test]
    async fn what_was_missed_is_looked_for_once_at_a_time() {
        let config = Config::default();
        let platform = crate::platform::Platform::in_memory(&config).unwrap();
        let (engine, mut requests, log) = EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), platform);
        let hub = Arc::new(Hub::new(engine, Identity::of(&config)));
        schedule::add(&hub, schedule::tests::wanted(Some("one"))).unwrap();
        let unanswered = std::cell::RefCell::new(Vec::new());
        let asked = async {
            while let Some(request) = requests.recv().await {
                if let Request::Channels(reply) = request {
                    unanswered.borrow_mut().push(reply);
                }
            }
        };
        let running = hub.run();
        tokio::pin!(asked, running);
        for _ in 0..3 {
            let turns = async {
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                biased;
                () = &mut running => unreachable!("the engine lives"),
                () = &mut asked => unreachable!("it may ask again"),
                () = turns => {}
            }
            // More than are kept.
            for _ in 0..20_000 {
                log.publish(0, None, EngineEvent::ScriptsLoaded { scripts: 1 });
            }
        }
        assert_eq!(unanswered.borrow().len(), 1);
    }

    #[tokio::test]
    async fn gateways_are_those_in_force_now() {
        let platform = crate::platform::Platform::in_memory(&Config::default()).unwrap();
        let provisioning = platform.provisioning.clone();
        let (engine, _requests, _log) = EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), platform);
        let hub = Hub::new(engine, Identity::of(&Config::default()));
        assert_eq!(hub.gateway("9"), None);
        let serde_json::Value::Object(entry) = serde_json::json!({ "address": "sip:trunk@carrier.example:5070;transport=tcp" })
        else {
            unreachable!("it is one")
        };
        provisioning.turn().await.put(crate::provisioning::Kind::Gateway, "9", entry).await.unwrap();
        assert_eq!(hub.gateway("9").as_deref(), Some("carrier.example:5070"));
        for unknown in ["8", "09", "+9", "nine", ""] {
            assert_eq!(hub.gateway(unknown), None, "{unknown}");
        }
    }
}
