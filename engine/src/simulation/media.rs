//! The media of the engine's legs on the simulation's clock: what the media threads do, without threads or sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_media::io::{LegId, PoolEvent};
use lockstep_media::recording::RecordingId;
use lockstep_media::rtp::MAX_PACKET;
use lockstep_media::stream::{Channel, Command, DtmfMethod, MediaEvent, MediaStream, Output, StreamConfig, WallClock};
use rustc_hash::FxHashMap;

use super::network::Packet;
use super::phones::rtcp_of;
use crate::core::world::RecordingOrder;

/// A recording that has ended, or that its call took down with it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub path: PathBuf,
    /// Left and right in turn when there are two channels.
    pub channels: u8,
    pub samples: Vec<i16>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is for none of the legs.
    NotMine,
    /// Nothing follows from it before the leg's next deadline.
    Quietly,
    /// The leg was looked at, and something may follow.
    Looked,
}

#[derive(Debug)]
struct Leg {
    stream: MediaStream,
    rtp: SocketAddr,
    peer: Option<LegId>,
    due: Option<Instant>,
    recordings: Vec<(RecordingId, Recorded)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct EngineMedia {
    legs: BTreeMap<LegId, Leg>,
    addresses: FxHashMap<SocketAddr, (LegId, Channel)>,
    timers: BTreeSet<(Instant, LegId)>,
    clock: WallClock,
    media_timeout: Option<Duration>,
    cname: Arc<str>,
    /// What the core is to be told.
    pub(super) reports: VecDeque<PoolEvent>,
    pub(super) outbox: VecDeque<Packet>,
    pub(super) recorded: VecDeque<Recorded>,
    scratch: Box<[u8; MAX_PACKET]>,
    /// Streams that only time can move are not looked at after each packet.
    is_lazy: bool,
    /// How often a stream was looked at.
    #[cfg(test)]
    pub(super) looks: u64,
}

impl EngineMedia {
    pub(super) fn new(clock: WallClock, media_timeout: Option<Duration>) -> Self {
        Self {
            legs: BTreeMap::new(),
            addresses: FxHashMap::default(),
            timers: BTreeSet::new(),
            clock,
            media_timeout,
            cname: Arc::from("simulation@lockstep"),
            reports: VecDeque::new(),
            outbox: VecDeque::new(),
            recorded: VecDeque::new(),
            scratch: Box::new([0; MAX_PACKET]),
            is_lazy: true,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// From now on every stream is looked at after each packet.
    #[cfg(test)]
    pub(super) fn look_always(&mut self) {
        self.is_lazy = false;
    }

    /// Legs that are open.
    #[cfg(test)]
    pub(super) fn legs(&self) -> usize {
        self.legs.len()
    }

    pub(super) fn open(&mut self, now: Instant, id: LegId, rtp: SocketAddr, seed: u64) {
        let config =
            StreamConfig { seed, cname: Arc::clone(&self.cname), wall_clock: self.clock, media_timeout: self.media_timeout };
        let stream = MediaStream::new(now, config);
        self.addresses.insert(rtp, (id, Channel::Rtp));
        self.addresses.insert(rtcp_of(rtp), (id, Channel::Rtcp));
        self.legs.insert(id, Leg { stream, rtp, peer: None, due: None, recordings: Vec::new() });
        self.settle(now, id);
    }

    pub(super) fn command(&mut self, now: Instant, id: LegId, command: Command) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.stream.command(now, command);
            self.settle(now, id);
        }
    }

    pub(super) fn join(&mut self, now: Instant, a: LegId, b: LegId) {
        if !self.legs.contains_key(&a) || !self.legs.contains_key(&b) {
            return;
        }
        self.part(now, a);
        self.part(now, b);
        for (leg, peer) in [(a, b), (b, a)] {
            if let Some(leg) = self.legs.get_mut(&leg) {
                leg.peer = Some(peer);
            }
            self.command(now, leg, Command::Join);
        }
    }

    pub(super) fn part(&mut self, now: Instant, id: LegId) {
        let Some(peer) = self.legs.get_mut(&id).and_then(|leg| leg.peer.take()) else { return };
        if let Some(peer) = self.legs.get_mut(&peer) {
            peer.peer = None;
        }
        self.command(now, id, Command::Leave);
        self.command(now, peer, Command::Leave);
    }

    pub(super) fn record(&mut self, now: Instant, order: RecordingOrder) {
        let RecordingOrder { leg: id, id: recording, options, path, .. } = order;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let channels = if options.stereo { 2 } else { 1 };
        leg.recordings.push((recording, Recorded { path, channels, samples: Vec::new() }));
        self.reports.push_back(PoolEvent::RecordingStarted { leg: id, id: recording });
        self.command(now, id, Command::Record { id: recording, options });
    }

    pub(super) fn close(&mut self, now: Instant, id: LegId) {
        self.part(now, id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.stream.close(now);
        self.settle(now, id);
        let Some(leg) = self.legs.remove(&id) else { return };
        self.disarm(id, leg.due);
        self.addresses.remove(&leg.rtp);
        self.addresses.remove(&rtcp_of(leg.rtp));
        // The stream has said everything: what it did not report as finished never will be.
        self.recorded.extend(leg.recordings.into_iter().map(|(_, recorded)| recorded));
        self.reports.push_back(PoolEvent::Closed { leg: id, stats: leg.stream.stats() });
    }

    /// Takes a packet.
    pub(super) fn handle_packet(&mut self, now: Instant, packet: &Packet) -> Taken {
        let Some((id, channel)) = self.addresses.get(&packet.to).copied() else { return Taken::NotMine };
        let Some(leg) = self.legs.get_mut(&id) else { return Taken::NotMine };
        let peer = leg.peer;
        let forward = match channel {
            Channel::Rtp => {
                let forward = leg.stream.handle_packet(now, packet.from, &packet.bytes);
                if self.is_lazy && leg.stream.awaits_only_time() {
                    return Taken::Quietly;
                }
                forward
            }
            Channel::Rtcp => {
                leg.stream.handle_rtcp(now, packet.from, &packet.bytes);
                None
            }
        };
        if let (Some(forward), Some(peer)) = (forward, peer)
            && let Some(leg) = self.legs.get_mut(&peer)
        {
            let (rtp, outbox) = (leg.rtp, &mut self.outbox);
            leg.stream.forward(now, forward, self.scratch.as_mut_slice(), |transmit| {
                outbox.push_back(Packet { from: rtp, to: transmit.to, bytes: transmit.bytes.into() });
            });
            self.settle(now, peer);
        }
        self.settle(now, id);
        Taken::Looked
    }

    /// The time of [`Self::next_deadline`] has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            if let Some(leg) = self.legs.get_mut(&id) {
                leg.due = None;
                leg.stream.handle_timeout(now);
                self.settle(now, id);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn disarm(&mut self, id: LegId, due: Option<Instant>) {
        if let Some(due) = due {
            self.timers.remove(&(due, id));
        }
    }

    /// Carries out everything the stream wants now.
    fn settle(&mut self, now: Instant, id: LegId) {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let mut keys = Vec::new();
        let due = loop {
            match leg.stream.poll_output(self.scratch.as_mut_slice()) {
                Output::Transmit(transmit) => {
                    let from = match transmit.channel {
                        Channel::Rtp => leg.rtp,
                        Channel::Rtcp => rtcp_of(leg.rtp),
                    };
                    self.outbox.push_back(Packet { from, to: transmit.to, bytes: transmit.bytes.into() });
                }
                Output::Event(event) => {
                    let finished = match &event {
                        MediaEvent::RecordingFinished { id, duration } => Some((*id, *duration)),
                        _ => None,
                    };
                    if let (MediaEvent::Digit { digit, duration, method: DtmfMethod::TelephoneEvent }, Some(peer)) =
                        (&event, leg.peer)
                    {
                        keys.push((peer, Command::RelayKey { digit: *digit, held: *duration }));
                    }
                    self.reports.push_back(PoolEvent::Media { leg: id, at: now, event });
                    let found = finished.and_then(|(recording, duration)| {
                        let index = leg.recordings.iter().position(|(known, _)| *known == recording)?;
                        Some((leg.recordings.remove(index), duration))
                    });
                    if let Some(((recording, recorded), duration)) = found {
                        let path = recorded.path.clone();
                        self.recorded.push_back(recorded);
                        self.reports.push_back(PoolEvent::RecordingSaved { leg: id, id: recording, path, duration });
                    }
                }
                Output::Recording { id, samples, .. } => {
                    if let Some((_, recorded)) = leg.recordings.iter_mut().find(|(known, _)| *known == id) {
                        recorded.samples.extend_from_slice(samples);
                    }
                }
                Output::Timeout(due) => break due,
            }
        };
        let before = std::mem::replace(&mut leg.due, due);
        if before != due {
            self.disarm(id, before);
            self.timers.extend(due.map(|due| (due, id)));
        }
        for (peer, relay) in keys {
            self.command(now, peer, relay);
        }
    }
}

/// Where the engine's legs receive: an even port each, counted up.
pub(super) fn leg_address(ip: IpAddr, number: u64) -> SocketAddr {
    let pairs = u64::from((u16::MAX - FIRST_PORT) / 2);
    let port = FIRST_PORT + 2 * u16::try_from(number % pairs).unwrap_or_default();
    SocketAddr::new(ip, port)
}

const FIRST_PORT: u16 = 20_000;
