//! A media thread: it owns legs, calls each at its time, and moves packets between them and the network.
//!
//! Packets are waited for with epoll, so that a key is seen at once and a joined leg's packet goes on at once. Only a
//! leg that plays a prompt no key can interrupt is left out of epoll: its packets are read at the ticks at which it
//! sends anyway. `docs/decisions/0007-media-threads.md` has what either costs.
#![expect(clippy::disallowed_methods, reason = "the media thread is where real time enters")]

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{
    LegId, PoolEvent,
    lateness::LatenessHistogram,
    leg::{LegSlot, Peer, PressedKey, Surroundings},
    legs::{Legs, place_of},
    mailbox::{Closed, Inbox, Sender},
    outbox::Outbox,
    recorder::{Message, Recorder, RecordingFile},
    sockets::Sent,
    sys::{self, Epoll, Readiness},
    wheel::{Due, Wheel},
};
use crate::{
    cache::Step,
    recording::{RecordingId, RecordingOptions},
    rtp::MAX_PACKET,
    stream::{Channel, Command},
};

/// Descriptors reported by one epoll call.
const EVENTS: usize = 256;
/// Commands carried out before packets and ticks get their turn again.
const COMMANDS_A_TURN: usize = 256;
/// How soon an event that the core had no room for is tried again.
const RETRY: Duration = Duration::from_millis(1);
/// The epoll token of the mailbox.
const MAILBOX: u64 = u64::MAX;
/// The largest datagram read; a longer one is cut, and dropped by the parser or by its length.
const RECEIVE_BUFFER: usize = 2048;

/// What a thread is told by the pool, and by other threads.
pub(super) enum Order {
    /// A new leg.
    Open(Box<LegSlot>),
    /// A command to a leg's stream.
    Leg { leg: LegId, command: Command },
    /// Starts writing a recording, then starts it in the stream.
    Record { leg: LegId, id: RecordingId, options: RecordingOptions, file: RecordingFile, rate: u32 },
    /// Joins two legs of this thread.
    Join { a: LegId, b: LegId },
    /// Ends the join of a leg, on both sides.
    Leave { leg: LegId },
    /// Ends a leg.
    Close { leg: LegId },
    /// A leg will arrive from another thread: orders for it wait until then.
    Expect { leg: LegId },
    /// Hands a leg over to another thread.
    Depart { leg: LegId, to: Sender<Order> },
    /// A leg from another thread.
    Arrive { leg: LegId, slot: Option<Box<LegSlot>> },
    /// Ends the thread: every leg says goodbye, every recording is handed over.
    Stop,
}

/// Figures written by a thread, read by the pool.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lateness: LatenessHistogram,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) wakeups: AtomicU64,
}

impl Counters {
    pub(super) fn count(&self, sent: Sent) {
        match sent {
            Sent::Yes => self.sent.fetch_add(1, Relaxed),
            Sent::Lost => self.lost.fetch_add(1, Relaxed),
        };
    }
}

/// Everything a thread owns.
pub(super) struct MediaThread {
    inbox: Inbox<Order>,
    epoll: Epoll,
    wheel: Wheel,
    outbox: Outbox,
    recorder: Recorder,
    counters: Arc<Counters>,
    legs: Legs,
    /// Orders for legs that are on their way here.
    expected: BTreeMap<LegId, Vec<Order>>,
    /// Legs on their way to a thread whose mailbox was full.
    departing: VecDeque<(Sender<Order>, Order)>,
    due: Vec<Due>,
    /// Keys on their way to joined legs.
    keys: VecDeque<PressedKey>,
    /// Whether epoll has refused a socket.
    refused: bool,
    scratch: Box<[u8; MAX_PACKET]>,
    buffer: Box<[u8; RECEIVE_BUFFER]>,
}

impl MediaThread {
    pub(super) fn new(inbox: Inbox<Order>, outbox: Outbox, recorder: Recorder, counters: Arc<Counters>) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(inbox.as_raw_fd(), MAILBOX)?;
        Ok(Self {
            inbox,
            epoll,
            wheel: Wheel::new(Instant::now()),
            outbox,
            recorder,
            counters,
            legs: Legs::default(),
            expected: BTreeMap::new(),
            departing: VecDeque::new(),
            due: Vec::new(),
            keys: VecDeque::new(),
            refused: false,
            scratch: Box::new([0; MAX_PACKET]),
            buffer: Box::new([0; RECEIVE_BUFFER]),
        })
    }

    /// Runs until the pool is dropped.
    pub(super) fn run(mut self, core: Option<usize>) {
        if let Some(core) = core
            && let Err(error) = sys::pin_this_thread(core)
        {
            tracing::warn!(core, %error, "a media thread could not be pinned");
        }
        match sys::prefer_this_thread() {
            sys::Priority::Default => {
                tracing::warn!("no privilege for real-time or raised priority: packets may leave late under load");
            }
            priority => tracing::info!(%priority, ?core, "media thread started"),
        }
        let mut ready = [Readiness { events: 0, u64: 0 }; EVENTS];
        while let Some(count) = self.turn(&mut ready) {
            let ready = ready.get(..count).unwrap_or_default();
            self.in_turn(ready, |event| place_of(event.u64), |thread, event| thread.handle_readiness(event.u64));
        }
        self.close_all();
    }

    /// Orders, then legs that are due, then sleep; returns how many descriptors are ready, `None` at the end.
    fn turn(&mut self, ready: &mut [Readiness]) -> Option<usize> {
        let hurry = self.take_orders().ok()?;
        self.call_due();
        self.outbox.flush();
        self.depart();
        self.inbox.arm();
        // What came before the bell was armed rang nothing.
        let hurry = self.take_orders().ok()? || hurry;
        let timeout = if hurry { Some(Duration::ZERO) } else { self.until_next() };
        let count = match self.epoll.wait(ready, timeout) {
            Ok(count) => count,
            Err(error) => {
                tracing::error!(%error, "a media thread cannot wait for packets and ends");
                return None;
            }
        };
        self.counters.wakeups.fetch_add(1, Relaxed);
        self.inbox.disarm(ready.iter().take(count).any(|event| event.u64 == MAILBOX));
        Some(count)
    }

    /// Carries out orders that wait; says whether more are left. `Err` at the end.
    fn take_orders(&mut self) -> Result<bool, Closed> {
        for _ in 0..COMMANDS_A_TURN {
            match self.inbox.receive()? {
                Some(Order::Stop) => return Err(Closed),
                Some(order) => self.carry_out(order),
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    fn until_next(&self) -> Option<Duration> {
        let now = Instant::now();
        let next = self.wheel.next_wake().map(|at| at.saturating_duration_since(now));
        let retry = (self.outbox.is_waiting() || !self.departing.is_empty()).then_some(RETRY);
        next.into_iter().chain(retry).min()
    }

    /// Calls every leg whose tick has come.
    fn call_due(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(Instant::now(), &mut due, |later| self.legs.awaits(later));
        self.in_turn(&due, |due| due.leg, Self::call);
        due.clear();
        self.due = due;
    }

    /// Calls a leg whose tick has come.
    fn call(&mut self, Due { leg: index, tick }: Due) {
        let Some(leg) = self.legs.at(index).filter(|leg| leg.tick == Some(tick)) else { return };
        leg.tick = None;
        let now = Instant::now();
        self.counters.lateness.record(now.saturating_duration_since(self.wheel.instant_of(tick)));
        if !leg.watched {
            leg.receive_waiting(now, self.buffer.as_mut_slice(), &self.counters);
        }
        leg.handle_timeout(now);
        self.settle(index, now);
    }

    /// Gives each of `items`, which are about the legs at `place`, its turn. The processor fetches the legs of those that follow meanwhile.
    fn in_turn<T: Copy>(&mut self, items: &[T], place: impl Fn(T) -> u32, mut turn: impl FnMut(&mut Self, T)) {
        for number in 0..items.len() + Step::TURNS {
            let before = |turns: usize| number.checked_sub(turns).and_then(|number| items.get(number).copied());
            for (step, turns) in Step::ALL {
                if let Some(item) = before(turns) {
                    self.legs.fetch(place(item), step);
                }
            }
            if let Some(item) = before(Step::TURNS) {
                turn(self, item);
            }
        }
    }

    fn handle_readiness(&mut self, token: u64) {
        let Some((index, channel)) = self.legs.resolve(token) else { return };
        let now = Instant::now();
        let Some(leg) = self.legs.at(index) else { return };
        let peer = leg.peer;
        let forward = leg.receive(now, channel, self.buffer.as_mut_slice(), &self.counters).flatten();
        if let (Some(packet), Some(peer)) = (forward, peer) {
            let mut around = Surroundings {
                outbox: &mut self.outbox,
                recorder: &self.recorder,
                counters: &self.counters,
                scratch: self.scratch.as_mut_slice(),
                keys: &mut self.keys,
            };
            if let Some(leg) = self.legs.at(peer.place).filter(|leg| leg.id == peer.id) {
                leg.forward(now, packet, &mut around);
                self.settle(peer.place, now);
            }
        }
        self.settle(index, now);
    }

    /// After anything was done to a leg: sends what it wants sent, and sees to its next call.
    fn settle(&mut self, index: u32, now: Instant) {
        let mut around = Surroundings {
            outbox: &mut self.outbox,
            recorder: &self.recorder,
            counters: &self.counters,
            scratch: self.scratch.as_mut_slice(),
            keys: &mut self.keys,
        };
        let Some(leg) = self.legs.at(index) else { return };
        let again = leg.flush(now, &mut around);
        if leg.closing {
            self.remove(index);
            return;
        }
        let tick = again.map(|again| self.wheel.tick_of(again));
        if leg.tick != tick {
            leg.tick = tick;
            tick.into_iter().for_each(|tick| self.wheel.schedule(index, tick));
        }
        let wanted = leg.wants_watching();
        if wanted != leg.watched {
            let fd = leg.descriptor(Channel::Rtp);
            let token = self.legs.token(index, Channel::Rtp);
            let changed = if wanted { self.epoll.add(fd, token) } else { self.epoll.remove(fd) };
            if let Some(leg) = self.legs.at(index) {
                leg.watched = wanted;
            }
            self.note_refusal(changed);
        }
        while let Some(PressedKey { to, relay }) = self.keys.pop_front() {
            self.with(to, now, |leg| leg.command(now, relay));
        }
    }

    /// Says once that epoll is out of room; the legs concerned are deaf to what needs it.
    fn note_refusal(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && !std::mem::replace(&mut self.refused, true)
        {
            tracing::error!(%error, "epoll refused a media socket");
        }
    }

    fn close_all(&mut self) {
        let now = Instant::now();
        for index in 0..self.legs.places() {
            if let Some(leg) = self.legs.at(index) {
                leg.close(now);
                self.settle(index, now);
            }
        }
    }

    fn carry_out(&mut self, order: Order) {
        let now = Instant::now();
        let order = match self.park(order) {
            Some(order) => order,
            None => return,
        };
        match order {
            Order::Open(slot) => self.install(slot, now),
            Order::Leg { leg, command } => {
                self.with(leg, now, |leg| leg.command(now, command));
            }
            Order::Record { leg, id, options, file, rate } => self.record(leg, id, options, file, rate, now),
            Order::Join { a, b } => self.join(a, b, now),
            Order::Leave { leg } => self.leave(leg, now),
            Order::Close { leg } => {
                self.leave(leg, now);
                self.with(leg, now, |leg| leg.close(now));
            }
            Order::Expect { leg } => {
                self.expected.entry(leg).or_default();
            }
            Order::Depart { leg, to } => {
                self.leave(leg, now);
                let slot = self.legs.find(leg).and_then(|index| self.take(index));
                self.departing.push_back((to, Order::Arrive { leg, slot }));
            }
            Order::Arrive { leg, slot } => {
                if let Some(slot) = slot {
                    self.install(slot, now);
                }
                for order in self.expected.remove(&leg).unwrap_or_default() {
                    self.carry_out(order);
                }
            }
            // Taken out of the queue before it gets here.
            Order::Stop => {}
        }
    }

    /// Keeps an order back if it is for a leg that is still on its way here.
    fn park(&mut self, order: Order) -> Option<Order> {
        if self.expected.is_empty() {
            return Some(order);
        }
        let waits_for = match &order {
            Order::Leg { leg, .. }
            | Order::Record { leg, .. }
            | Order::Leave { leg }
            | Order::Close { leg }
            | Order::Depart { leg, .. } => Some(*leg),
            Order::Join { a, b } => [*a, *b].into_iter().find(|leg| self.expected.contains_key(leg)),
            Order::Open(_) | Order::Expect { .. } | Order::Arrive { .. } | Order::Stop => None,
        };
        match waits_for.and_then(|leg| self.expected.get_mut(&leg)) {
            Some(orders) => {
                orders.push(order);
                None
            }
            None => Some(order),
        }
    }

    /// Does something to a leg, if it is still there, and sees to what follows from it.
    fn with(&mut self, leg: LegId, now: Instant, act: impl FnOnce(&mut LegSlot)) {
        let Some(index) = self.legs.find(leg) else { return };
        if let Some(slot) = self.legs.at(index) {
            act(slot);
        }
        self.settle(index, now);
    }

    fn install(&mut self, mut slot: Box<LegSlot>, now: Instant) {
        slot.tick = None;
        slot.watched = false;
        let fd = slot.descriptor(Channel::Rtcp);
        let index = self.legs.insert(slot);
        let added = self.epoll.add(fd, self.legs.token(index, Channel::Rtcp));
        self.note_refusal(added);
        self.settle(index, now);
    }

    fn join(&mut self, a: LegId, b: LegId, now: Instant) {
        let Some((at_a, at_b)) = self.legs.find(a).zip(self.legs.find(b)) else { return };
        self.leave(a, now);
        self.leave(b, now);
        self.with(a, now, |leg| leg.join(now, Peer { id: b, place: at_b }));
        self.with(b, now, |leg| leg.join(now, Peer { id: a, place: at_a }));
    }

    fn leave(&mut self, leg: LegId, now: Instant) {
        let peer = self.legs.find(leg).and_then(|index| self.legs.at(index)).and_then(|leg| leg.peer);
        if let Some(peer) = peer {
            self.with(leg, now, |leg| leg.leave(now));
            self.with(peer.id, now, |leg| leg.leave(now));
        }
    }

    fn record(&mut self, leg: LegId, id: RecordingId, options: RecordingOptions, file: RecordingFile, rate: u32, now: Instant) {
        if self.legs.find(leg).is_none() {
            return;
        }
        let channels = if options.stereo { 2 } else { 1 };
        let path = file.path.clone();
        if !self.recorder.send(Message::Open { key: (leg, id), file, channels, rate }) {
            self.outbox.push(PoolEvent::recorder_busy(leg, id, path));
            return;
        }
        self.with(leg, now, |leg| {
            leg.open_recording(id, channels);
            leg.command(now, Command::Record { id, options });
        });
    }

    /// Ends a leg whose stream has said its goodbye.
    fn remove(&mut self, index: u32) {
        if let Some(slot) = self.legs.remove(index) {
            let closed = PoolEvent::Closed { leg: slot.id, stats: slot.stream().stats() };
            // Whoever hears of it may open its ports. Sockets that are closed leave the epoll set by themselves.
            drop(slot);
            self.outbox.push(closed);
        }
    }

    /// Takes a leg out of this thread; its sockets stay open.
    fn take(&mut self, index: u32) -> Option<Box<LegSlot>> {
        let slot = self.legs.remove(index)?;
        let _ = self.epoll.remove(slot.descriptor(Channel::Rtcp));
        if slot.watched {
            let _ = self.epoll.remove(slot.descriptor(Channel::Rtp));
        }
        Some(slot)
    }

    fn depart(&mut self) {
        while let Some((to, order)) = self.departing.pop_front() {
            if let Err(order) = to.send(order) {
                self.departing.push_front((to, order));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        io::{mailbox::mailbox, recorder::RecordingFormat, sockets::LegSockets},
        stream::{MediaStream, StreamConfig, WallClock},
    };

    /// A leg on a free even port, and its address.
    fn leg(id: LegId) -> (Box<LegSlot>, SocketAddr) {
        let now = Instant::now();
        let wall_clock = WallClock { instant: now, since_epoch: Duration::ZERO };
        let config = StreamConfig { seed: 1, cname: "test".into(), wall_clock, media_timeout: None };
        loop {
            let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() & !1;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if let Ok(sockets) = LegSockets::bind(address, 0) {
                return (Box::new(LegSlot::new(id, MediaStream::new(now, config), sockets)), address);
            }
        }
    }

    #[test]
    fn a_polled_socket_is_emptied_at_every_fifth_tick_and_while_more_than_one_datagram_comes_a_tick() {
        let (mut leg, address) = leg(LegId(1));
        let (peer, counters) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Counters::default());
        let mut read = |came: u64| {
            (0..came).for_each(|_| assert_eq!(peer.send_to(b"x", address).unwrap(), 1));
            leg.receive_waiting(Instant::now(), &mut [0; 64], &counters);
            counters.received.swap(0, Relaxed)
        };
        assert_eq!([3, 2, 0].map(&mut read), [3, 2, 0]);
        assert_eq!([2, 1, 1, 1, 1, 1].map(&mut read), [1, 1, 1, 1, 2, 1]);
    }

    #[test]
    fn a_disk_that_hangs_keeps_no_leg_from_being_closed() {
        let (to_core, mut events) = mpsc::channel(16);
        let (recorder, hung) = Recorder::new();
        let (orders, inbox) = mailbox(1).unwrap();
        let mut thread = MediaThread::new(inbox, Outbox::new(to_core), recorder, Arc::default()).unwrap();
        thread.carry_out(Order::Open(leg(LegId(1)).0));
        let mut seen = |thread: &mut MediaThread, wanted: fn(&PoolEvent) -> bool| {
            thread.outbox.flush();
            std::iter::from_fn(|| events.try_recv().ok()).any(|event| wanted(&event))
        };
        let is_refused = (0..100_000).any(|id| {
            let file = RecordingFile {
                within: "user".into(),
                path: "user/x.wav".into(),
                format: RecordingFormat::Wav,
                mark: String::new(),
            };
            let (id, options) = (RecordingId(id), RecordingOptions::default());
            thread.carry_out(Order::Record { leg: LegId(1), id, options, file, rate: 8000 });
            seen(&mut thread, |event| matches!(event, PoolEvent::RecordingFailed { .. }))
        });
        assert!(is_refused, "the queue is full");
        thread.carry_out(Order::Close { leg: LegId(1) });
        assert!(seen(&mut thread, |event| matches!(event, PoolEvent::Closed { .. })));
        drop((hung, orders));
    }
}
