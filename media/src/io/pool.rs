//! The engine's side of the media threads.
#![expect(clippy::disallowed_methods, reason = "the pool ties the media threads' clock to the wall clock once, at its start")]

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rand::RngExt as _;
use tokio::sync::mpsc;

use super::{
    LegId, PoolEvent,
    admission::{Refusal, Watches},
    lateness::Lateness,
    leg::LegSlot,
    mailbox::{Sender, mailbox},
    outbox::Outbox,
    port_pool::{PortError, PortPool},
    recorder::{Recorder, RecorderThread, RecordingFile},
    sockets::LegSockets,
    sys,
    thread::{Counters, MediaThread, Order},
};
use crate::{
    codec::Codec,
    recording::{RecordingId, RecordingOptions},
    stream::{Command, MediaStream, StreamConfig, WallClock},
};

/// Orders that may wait for a thread. Past it the thread is not coming back soon, and new work is refused.
const MAILBOX: usize = 16_384;
/// Orders that may wait for room there, before further ones are lost.
const MAX_LATE: usize = 4 * MAILBOX;
/// Events that may wait for the core; what comes on top waits on the media threads.
const EVENTS: usize = 16_384;
/// Descriptors of a leg: RTP and RTCP.
const DESCRIPTORS: u64 = 2;

/// How media is carried.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Media threads; 0 for one on each core the process may use.
    pub threads: usize,
    /// Ports for RTP and RTCP.
    pub ports: RangeInclusive<u16>,
    /// How long a port rests after a call at least; those that have rested longest are used first.
    pub quarantine: Duration,
    /// Report a leg from which nothing came for this long although it should.
    pub media_timeout: Option<Duration>,
    /// Calls are refused while there is no thread whose packets leave within this of their time, 9 of 10.
    pub max_lateness: Duration,
    /// Octets of the disk that recordings leave free.
    pub recordings_keep_free: u64,
    /// Descriptors kept free for signalling, workers and files.
    pub spare_descriptors: u64,
    /// The class of RTP in the network (RFC 4594: 46, expedited forwarding).
    pub dscp: u8,
    /// The canonical name in RTCP (RFC 3550, section 6.5.1).
    pub cname: String,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            ports: 20_000..=29_999,
            quarantine: Duration::from_secs(1),
            media_timeout: None,
            max_lateness: Duration::from_millis(10),
            recordings_keep_free: 0,
            spare_descriptors: 1024,
            dscp: 46,
            cname: "lockstep".to_owned(),
        }
    }
}

/// A leg that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leg {
    /// Its name.
    pub id: LegId,
    /// Where it receives RTP; RTCP is one port above.
    pub rtp: SocketAddr,
}

/// Why an order did not reach a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The leg was closed.
    #[error("the leg is closed")]
    Gone,
    /// Its thread has too many orders waiting.
    #[error("the media thread is overloaded")]
    Overloaded,
}

/// Figures of all threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Legs that are open.
    pub legs: usize,
    /// Media threads.
    pub threads: usize,
    /// How late legs were called.
    pub lateness: Lateness,
    /// Datagrams that arrived.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams the system would not take.
    pub send_failures: u64,
    /// Times a thread woke up.
    pub wakeups: u64,
    /// Blocks of recordings lost because the disk fell behind; each is half a second replaced by silence.
    pub recording_blocks_dropped: u64,
    /// Descriptors the process may have.
    pub descriptor_limit: u64,
}

/// The media threads, as the engine's core thread sees them.
pub struct MediaPool {
    threads: Vec<Thread>,
    ports: PortPool,
    legs: BTreeMap<LegId, Home>,
    /// Legs that were closed and still have their sockets.
    closing: BTreeMap<LegId, Home>,
    next_leg: u64,
    gone: Arc<Mutex<Vec<LegId>>>,
    watches: Watches,
    descriptor_limit: u64,
    spare_descriptors: u64,
    dscp: u8,
    stream: StreamConfig,
    recorder: RecorderThread,
}

struct Thread {
    mailbox: Sender<Order>,
    /// Orders that must not be lost, while the mailbox is full.
    late: VecDeque<Order>,
    counters: Arc<Counters>,
    legs: usize,
    handle: Option<JoinHandle<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Home {
    thread: usize,
    rtp: SocketAddr,
}

/// The receiving end of what media threads report.
pub struct PoolEvents {
    events: mpsc::Receiver<PoolEvent>,
    gone: Arc<Mutex<Vec<LegId>>>,
}

impl PoolEvents {
    /// The next event; `None` once the pool is gone.
    pub async fn recv(&mut self) -> Option<PoolEvent> {
        let event = self.events.recv().await;
        event.inspect(|event| self.note(event))
    }

    /// The next event, if one is waiting.
    pub fn try_recv(&mut self) -> Option<PoolEvent> {
        self.events.try_recv().ok().inspect(|event| self.note(event))
    }

    /// The next event, waited for on this thread: for tools without an async runtime.
    pub fn blocking_recv(&mut self) -> Option<PoolEvent> {
        let event = self.events.blocking_recv();
        event.inspect(|event| self.note(event))
    }

    fn note(&self, event: &PoolEvent) {
        if let PoolEvent::Closed { leg, .. } = event {
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(*leg);
        }
    }
}

impl MediaPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system refuses a thread or a descriptor.
    pub fn new(config: PoolConfig) -> io::Result<(Self, PoolEvents)> {
        let cores = sys::allowed_cores();
        let count = if config.threads == 0 { cores.len() } else { config.threads };
        let (to_core, events) = mpsc::channel(EVENTS);
        let recorder = RecorderThread::start(Outbox::new(to_core.clone()), config.recordings_keep_free)?;
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            // More threads than cores are left to the system's scheduler.
            let core = if count <= cores.len() { cores.get(number).copied() } else { None };
            threads.push(Thread::start(number, core, &to_core, recorder.handle())?);
        }
        let now = Instant::now();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let gone = Arc::new(Mutex::new(Vec::new()));
        let pool = Self {
            threads,
            ports: PortPool::new(config.ports, config.quarantine, rand::rng().random()),
            legs: BTreeMap::new(),
            closing: BTreeMap::new(),
            next_leg: 1,
            gone: Arc::clone(&gone),
            watches: Watches::new(now, config.max_lateness, count),
            descriptor_limit: sys::raise_descriptor_limit()?,
            spare_descriptors: config.spare_descriptors,
            dscp: config.dscp,
            stream: StreamConfig {
                seed: 0,
                cname: config.cname.into(),
                wall_clock: WallClock { instant: now, since_epoch },
                media_timeout: config.media_timeout,
            },
            recorder,
        };
        Ok((pool, PoolEvents { events, gone }))
    }

    /// Opens a leg on `local_ip`, on the thread of the leg `near`, or else on the one with the fewest legs of those in time.
    ///
    /// # Errors
    /// No port, no descriptor, or an address that is not this machine's.
    pub fn open_leg(&mut self, now: Instant, local_ip: IpAddr, near: Option<LegId>) -> Result<Leg, PortError> {
        self.tidy(now);
        let thread = near.and_then(|near| self.legs.get(&near)).map(|home| home.thread).or_else(|| self.idlest());
        // There is always a thread; were there none, there would be no port to serve either.
        let thread = thread.unwrap_or(0);
        let dscp = self.dscp;
        let (rtp, sockets) = self.ports.take(now, local_ip, |address| LegSockets::bind(address, dscp))?;
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        let stream = MediaStream::new(now, StreamConfig { seed: rand::rng().random(), ..self.stream.clone() });
        self.legs.insert(id, Home { thread, rtp });
        if let Some(thread) = self.threads.get_mut(thread) {
            thread.legs += 1;
            thread.must(Order::Open(Box::new(LegSlot::new(id, stream, sockets))));
        }
        Ok(Leg { id, rtp })
    }

    /// Gives a command to a leg's stream.
    ///
    /// # Errors
    /// The leg is closed, or its thread so far behind that even orders that wait for it are too many.
    pub fn send(&mut self, leg: LegId, command: Command) -> Result<(), SendError> {
        let thread = self.thread_of(leg).ok_or(SendError::Gone)?;
        thread.later(Order::Leg { leg, command })
    }

    /// Starts a recording into a file; `codec` is the leg's, whose sample rate the recording has.
    /// `RecordingStarted` or `RecordingFailed` follows; it ends by [`Command::StopRecording`] or with the leg.
    ///
    /// # Errors
    /// The leg is closed, or its thread overloaded.
    pub fn record(
        &mut self,
        leg: LegId,
        id: RecordingId,
        options: RecordingOptions,
        file: RecordingFile,
        codec: Codec,
    ) -> Result<(), SendError> {
        let thread = self.thread_of(leg).ok_or(SendError::Gone)?;
        thread.may(Order::Record { leg, id, options, file, rate: codec.sample_rate() })
    }

    /// Joins two legs: from now on each sends what the other receives. A join either was in before ends.
    ///
    /// # Errors
    /// One of them is closed.
    pub fn join(&mut self, a: LegId, b: LegId) -> Result<(), SendError> {
        let to = self.legs.get(&a).ok_or(SendError::Gone)?.thread;
        let from = self.legs.get(&b).ok_or(SendError::Gone)?.thread;
        if from != to {
            self.relocate(b, from, to);
        }
        if let Some(thread) = self.threads.get_mut(to) {
            thread.must(Order::Join { a, b });
        }
        Ok(())
    }

    /// Ends the join of a leg, on both sides.
    ///
    /// # Errors
    /// The leg is closed.
    pub fn leave(&mut self, leg: LegId) -> Result<(), SendError> {
        let thread = self.thread_of(leg).ok_or(SendError::Gone)?;
        thread.must(Order::Leave { leg });
        Ok(())
    }

    /// Closes a leg; `PoolEvent::Closed` follows. Closing twice does nothing.
    pub fn close(&mut self, leg: LegId) {
        let Some(home) = self.legs.remove(&leg) else { return };
        self.closing.insert(leg, home);
        if let Some(thread) = self.threads.get_mut(home.thread) {
            thread.must(Order::Close { leg });
        }
    }

    /// Whether another leg on `local_ip` can be carried without harm to those that are open.
    ///
    /// # Errors
    /// What stands against it.
    pub fn admit(&mut self, now: Instant, local_ip: IpAddr) -> Result<(), Refusal> {
        self.tidy(now);
        let used = (self.legs.len() + self.closing.len() + 1) as u64 * DESCRIPTORS;
        let limit = self.descriptor_limit.saturating_sub(self.spare_descriptors.min(self.descriptor_limit / 4));
        if used > limit {
            return Err(Refusal::Descriptors { used, limit });
        }
        if !self.ports.has_free(now, local_ip) {
            return Err(Refusal::Ports(local_ip));
        }
        self.watches.check(now, self.threads.iter().map(|thread| thread.counters.lateness.read()))
    }

    /// Figures for `/metrics`.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let sum = |read: fn(&Counters) -> u64| self.threads.iter().map(|thread| read(&thread.counters)).sum();
        Gauges {
            legs: self.legs.len(),
            threads: self.threads.len(),
            lateness: self.lateness(),
            received: sum(|counters| counters.received.load(Relaxed)),
            sent: sum(|counters| counters.sent.load(Relaxed)),
            send_failures: sum(|counters| counters.lost.load(Relaxed)),
            wakeups: sum(|counters| counters.wakeups.load(Relaxed)),
            recording_blocks_dropped: self.recorder.handle().blocks_dropped.load(Relaxed),
            descriptor_limit: self.descriptor_limit,
        }
    }

    fn lateness(&self) -> Lateness {
        let each = self.threads.iter().map(|thread| thread.counters.lateness.read());
        each.fold(Lateness::default(), |sum, one| sum.and(&one))
    }

    /// Moves a leg to another thread. Orders sent from now on wait there until it arrives.
    fn relocate(&mut self, leg: LegId, from: usize, to: usize) {
        let Some(destination) = self.threads.get_mut(to) else { return };
        let mailbox = destination.mailbox.clone();
        destination.must(Order::Expect { leg });
        destination.legs += 1;
        if let Some(origin) = self.threads.get_mut(from) {
            origin.legs = origin.legs.saturating_sub(1);
            origin.must(Order::Depart { leg, to: mailbox });
        }
        if let Some(home) = self.legs.get_mut(&leg) {
            home.thread = to;
        }
    }

    fn thread_of(&mut self, leg: LegId) -> Option<&mut Thread> {
        let home = self.legs.get(&leg)?;
        self.threads.get_mut(home.thread)
    }

    /// Of the threads that are in time, the one with the fewest legs.
    fn idlest(&self) -> Option<usize> {
        let load = |number: usize| self.threads.get(number).map(|thread| (self.watches.is_late(number), thread.legs));
        (0..self.threads.len()).min_by_key(|&number| load(number))
    }

    /// Takes back what closed legs held, and sends orders that found a mailbox full.
    fn tidy(&mut self, now: Instant) {
        for leg in std::mem::take(&mut *self.gone.lock().unwrap_or_else(PoisonError::into_inner)) {
            if let Some(home) = self.closing.remove(&leg) {
                self.ports.release(now, home.rtp);
                if let Some(thread) = self.threads.get_mut(home.thread) {
                    thread.legs = thread.legs.saturating_sub(1);
                }
            }
        }
        for thread in &mut self.threads {
            thread.send_late();
        }
    }
}

impl Drop for MediaPool {
    /// Ends the threads: every leg says goodbye, every recording is completed.
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.mailbox.send_last(Order::Stop);
        }
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                let _ = handle.join();
            }
        }
        self.recorder.stop();
    }
}

impl Thread {
    fn start(number: usize, core: Option<usize>, to_core: &mpsc::Sender<PoolEvent>, recorder: &Recorder) -> io::Result<Self> {
        let (mailbox, inbox) = mailbox(MAILBOX)?;
        let counters = Arc::<Counters>::default();
        let thread = MediaThread::new(inbox, Outbox::new(to_core.clone()), recorder.clone(), Arc::clone(&counters))?;
        let handle = thread::Builder::new().name(format!("media-{number}")).spawn(move || thread.run(core))?;
        Ok(Self { mailbox, late: VecDeque::new(), counters, legs: 0, handle: Some(handle) })
    }

    /// Sends an order that may be refused.
    fn may(&mut self, order: Order) -> Result<(), SendError> {
        self.send_late();
        if !self.late.is_empty() {
            return Err(SendError::Overloaded);
        }
        self.mailbox.send(order).map_err(|_| SendError::Overloaded)
    }

    /// Sends an order of which there may be any number; a full mailbox gets it later, in its turn.
    fn later(&mut self, order: Order) -> Result<(), SendError> {
        if self.late.len() >= MAX_LATE {
            return Err(SendError::Overloaded);
        }
        self.must(order);
        Ok(())
    }

    /// Sends an order that must arrive; a full mailbox gets it later, in its turn.
    fn must(&mut self, order: Order) {
        self.late.push_back(order);
        self.send_late();
    }

    fn send_late(&mut self) {
        while let Some(order) = self.late.pop_front() {
            // A new leg has nothing to do before it is told something.
            let sent = match order {
                Order::Open(_) => self.mailbox.leave(order),
                order => self.mailbox.send(order),
            };
            if let Err(order) = sent {
                self.late.push_front(order);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_to_a_full_mailbox_arrives_in_its_turn() {
        let (mailbox, inbox) = mailbox(1).unwrap();
        let mut thread = Thread { mailbox, late: VecDeque::new(), counters: Arc::default(), legs: 0, handle: None };
        for leg in 1..=3 {
            thread.later(Order::Leg { leg: LegId(leg), command: Command::Join }).unwrap();
        }
        for expected in 1..=3 {
            assert!(matches!(inbox.receive(), Ok(Some(Order::Leg { leg, .. })) if leg == LegId(expected)), "{expected}");
            thread.send_late();
        }
        assert!(matches!(inbox.receive(), Ok(None)));
    }

    #[test]
    fn orders_that_nobody_takes_are_bounded() {
        let (mailbox, _inbox) = mailbox(1).unwrap();
        let mut thread = Thread { mailbox, late: VecDeque::new(), counters: Arc::default(), legs: 0, handle: None };
        let mut send = || thread.later(Order::Leg { leg: LegId(1), command: Command::Join });
        for _ in 0..=MAX_LATE {
            send().unwrap();
        }
        assert_eq!(send(), Err(SendError::Overloaded));
    }
}
