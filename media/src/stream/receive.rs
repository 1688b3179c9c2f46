//! The receiving half of a stream: which packets are the other side's, and what becomes of them.
//!
//! A packet is dropped and counted unless, in this order, it is RTP, has a payload type that was agreed on, comes from
//! the address the latch accepts, is from the source that is heard (a second source proves itself with two packets in
//! sequence), and the other side may send at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::command::DtmfMethod;
use super::decoding::Decoding;
use super::output::{DropStats, Forward, ForwardKind, MediaEvent, StreamStats};
use super::{Life, MediaStream, earlier};
use crate::codec::Codec;
use crate::digit::{Digit, DigitSet};
use crate::dtmf::{DtmfDetector, HeardDigit};
use crate::echo::EchoLine;
use crate::reception::{Arrival, PAUSE, Reception};
use crate::recording::Audio;
use crate::rtp::{PayloadType, RtpHeader, RtpPacket, SequenceNumber, Ssrc, is_rtcp};
use crate::sdp::Negotiated;
use crate::telephone_event::{FinishedEvent, TelephoneEvent, TelephoneEventReceiver};

/// The receiving half of a stream.
#[derive(Debug)]
pub(super) struct Receiver {
    source: Option<Source>,
    /// Another source needs no proof: the other side has moved, or this one has said goodbye.
    is_open: bool,
    /// A second source, and the sequence number that would prove it.
    candidate: Option<(Ssrc, SequenceNumber)>,
    /// Changes whenever sequence and timestamps start anew.
    generation: u32,
    events: TelephoneEventReceiver,
    pub(super) blocked: DigitSet,
    decoding: Option<Box<Decoding>>,
    media_timeout: Option<Duration>,
    /// Since when packets should be coming.
    expected_since: Option<Instant>,
    last_packet: Option<Instant>,
    /// No packet yet from where the other side is now, or a time-out was reported: the next packet is news.
    is_silent: bool,
    is_timed_out: bool,
    /// Figures of sources that are gone.
    earlier: StreamStats,
    drops: DropStats,
}

/// The source that is heard.
#[derive(Debug)]
struct Source {
    ssrc: Ssrc,
    reception: Reception,
    /// Packets kept from the joined leg, which must not look lost to it.
    withheld: u64,
    /// The last of them: packets from before it have no number left.
    withheld_until: u64,
}

#[derive(Debug, Clone, Copy)]
enum Content {
    Audio(Codec),
    TelephoneEvent { clock_rate: u32 },
    ComfortNoise,
}

impl Receiver {
    pub(super) fn new(media_timeout: Option<Duration>) -> Self {
        Receiver {
            source: None,
            is_open: true,
            candidate: None,
            generation: 0,
            events: TelephoneEventReceiver::default(),
            blocked: DigitSet::NONE,
            decoding: None,
            media_timeout,
            expected_since: None,
            last_packet: None,
            is_silent: true,
            is_timed_out: false,
            earlier: StreamStats::default(),
            drops: DropStats::default(),
        }
    }

    /// Whether packets should be coming from now on.
    pub(super) fn expect(&mut self, now: Instant, is_expected: bool) {
        if is_expected {
            self.expected_since.get_or_insert(now);
        } else {
            self.expected_since = None;
            self.is_timed_out = false;
        }
    }

    /// The next packet may come from any source; from the same one, it goes on where that was.
    pub(super) fn open(&mut self) {
        self.is_open = true;
        self.candidate = None;
        self.is_silent = true;
    }

    fn forget_source(&mut self) {
        self.earlier = self.stats();
        self.source = None;
        self.open();
        self.start_anew();
    }

    pub(super) fn has_echo(&self) -> bool {
        self.decoding.as_ref().is_some_and(|decoding| decoding.echo.is_some())
    }

    pub(super) fn fill_echo(&mut self, codec: Codec, payload: &mut [u8]) {
        if let Some(echo) = self.decoding.as_mut().and_then(|decoding| decoding.echo.as_mut()) {
            echo.fill(codec, payload);
        }
    }

    /// The source that is heard, for reports on it.
    pub(super) fn source_mut(&mut self) -> Option<(Ssrc, &mut Reception)> {
        let source = self.source.as_mut().filter(|_| !self.is_open)?;
        Some((source.ssrc, &mut source.reception))
    }

    pub(super) fn stats(&self) -> StreamStats {
        let mut stats = StreamStats { dropped: self.drops, ..self.earlier };
        if let Some(source) = &self.source {
            stats.packets_lost += source.reception.lost();
            stats.jitter = source.reception.jitter();
        }
        stats
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let decoding = self.decoding.as_ref();
        let gap = decoding.and_then(|decoding| decoding.buffer.deadline());
        let tone = decoding.and_then(|decoding| decoding.tone_deadline());
        earlier(earlier(self.events.deadline(), gap), earlier(tone, self.timeout_deadline()))
    }

    /// Whether a packet of audio can only have moved the deadline further away.
    pub(super) fn awaits_only_time(&self) -> bool {
        self.decoding.is_none() && self.events.deadline().is_none()
    }

    fn timeout_deadline(&self) -> Option<Instant> {
        let (timeout, since) = self.media_timeout.zip(self.expected_since).filter(|_| !self.is_timed_out)?;
        Some(self.last_packet.map_or(since, |last| last.max(since)) + timeout)
    }

    fn start_anew(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.events.forget_sequence();
        if let Some(decoding) = &mut self.decoding {
            decoding.reset();
        }
    }

    /// Whether the packet is of the source that is heard, which it becomes if it can.
    fn admit(&mut self, header: RtpHeader, clock_rate: u32) -> bool {
        match &self.source {
            Some(source) if source.ssrc == header.ssrc && (!self.is_open || source.reception.is_followed_by(header.sequence)) => {
                self.is_open = false;
                return true;
            }
            Some(_) if !self.is_open && self.candidate != Some((header.ssrc, header.sequence)) => {
                self.candidate = Some((header.ssrc, header.sequence.plus(1)));
                return false;
            }
            Some(_) => self.forget_source(),
            None => {}
        }
        self.candidate = None;
        self.is_open = false;
        let reception = Reception::new(header.sequence, clock_rate);
        self.source = Some(Source { ssrc: header.ssrc, reception, withheld: 0, withheld_until: 0 });
        true
    }

    /// Whether the tone of a blocked key sounds.
    fn hears_blocked_tone(&self) -> bool {
        let sounding = self.decoding.as_ref().and_then(|decoding| decoding.sounding());
        sounding.is_some_and(|digit| self.blocked.contains(digit))
    }

    fn content_of(&self, payload_type: PayloadType, remote: &Negotiated) -> Option<Content> {
        if let Some(&(_, codec)) = remote.receive.iter().find(|(known, _)| *known == payload_type) {
            return Some(Content::Audio(codec));
        }
        match remote.telephone_event {
            Some(types) if types.receive == payload_type || types.send == payload_type => {
                Some(Content::TelephoneEvent { clock_rate: remote.codec.clock_rate() })
            }
            _ => (payload_type == PayloadType::COMFORT_NOISE).then_some(Content::ComfortNoise),
        }
    }
}

impl Source {
    /// The sequence number the joined leg sees; `None` when a packet withheld later has taken it.
    fn forwarded_sequence(&self, sequence: u64) -> Option<u64> {
        (sequence > self.withheld_until).then(|| sequence - self.withheld)
    }

    fn withhold(&mut self, sequence: u64, arrival: Arrival) {
        if arrival != Arrival::Reordered {
            self.withheld += 1;
            self.withheld_until = sequence;
        }
    }
}

impl MediaStream {
    /// Takes a datagram from the RTP port. What is returned belongs to the leg this one is joined with: give it to
    /// that leg's [`Self::forward`] before polling either.
    pub fn handle_packet<'p>(&mut self, now: Instant, source: SocketAddr, datagram: &'p [u8]) -> Option<Forward<'p>> {
        self.advance(now);
        if self.life != Life::Open {
            return None;
        }
        if is_rtcp(datagram) {
            self.accept_rtcp(source, datagram);
            return None;
        }
        let Ok(RtpPacket { header, payload }) = RtpPacket::parse(datagram) else {
            self.receiver.drops.malformed += 1;
            return None;
        };
        let Some(remote) = &self.remote else {
            self.receiver.drops.unexpected += 1;
            return None;
        };
        let Some(content) = self.receiver.content_of(header.payload_type, remote) else {
            self.receiver.drops.wrong_payload_type += 1;
            return None;
        };
        if !self.latch.admit(self.now, source) {
            self.receiver.drops.wrong_source += 1;
            return None;
        }
        if !remote.direction.receives() {
            self.receiver.drops.unexpected += 1;
            return None;
        }
        if !self.receiver.admit(header, remote.codec.clock_rate()) {
            self.receiver.drops.wrong_ssrc += 1;
            return None;
        }
        let heard = self.receiver.source.as_mut()?;
        let after_pause = self.receiver.last_packet.is_some_and(|last| self.now >= last + PAUSE);
        let (sequence, arrival) = heard.reception.count(header.sequence, after_pause);
        match arrival {
            Arrival::Newest => {}
            Arrival::Reordered => self.receiver.earlier.packets_reordered += 1,
            Arrival::Restarted => self.receiver.start_anew(),
            Arrival::Implausible => {
                self.receiver.drops.unexpected += 1;
                return None;
            }
        }
        self.receiver.earlier.packets_received += 1;
        self.receiver.earlier.octets_received += payload.len() as u64;
        self.note_life(source);
        match content {
            Content::Audio(codec) => self.receive_audio(codec, header, sequence, arrival, payload),
            Content::TelephoneEvent { clock_rate } => self.receive_event(clock_rate, header, sequence, arrival, payload),
            Content::ComfortNoise => {
                self.hold_place(header, sequence);
                // The other leg did not agree to it; where it falls silent, its stream gets silence from us.
                if let Some(source) = self.receiver.source.as_mut().filter(|_| self.sending.is_joined) {
                    source.withhold(sequence, arrival);
                }
                None
            }
        }
    }

    /// Takes a datagram from the RTCP port.
    pub fn handle_rtcp(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        self.advance(now);
        if self.life == Life::Open && self.accept_rtcp(source, datagram) {
            self.rtcp_source = Some((source, self.latch.locked()));
        }
    }

    pub(super) fn set_echo(&mut self, delay: Option<Duration>) {
        let codec = self.remote.as_ref().map_or(Codec::Pcmu, |remote| remote.codec);
        match (delay, &mut self.receiver.decoding) {
            (Some(delay), decoding) => {
                decoding.get_or_insert_default().echo = Some(EchoLine::new(codec, delay));
            }
            (None, Some(decoding)) => decoding.echo = None,
            (None, None) => {}
        }
        self.refresh_decoding();
    }

    /// Keeps just what someone needs decoded audio for.
    pub(super) fn refresh_decoding(&mut self) {
        let receiver = &mut self.receiver;
        if self.remote.as_ref().is_some_and(|remote| remote.in_band_dtmf()) {
            receiver.decoding.get_or_insert_default().detector.get_or_insert_default();
        } else if let Some(decoding) = &mut receiver.decoding {
            decoding.detector = None;
        }
        receiver.decoding.take_if(|decoding| decoding.is_needless());
    }

    pub(super) fn receive_timeouts(&mut self) {
        let now = self.now;
        if let Some(event) = self.receiver.events.handle_timeout(now) {
            self.hear_event(event);
        }
        self.drain_decoding();
        if let Some(decoding) = &mut self.receiver.decoding
            && decoding.tone_deadline().is_some_and(|deadline| deadline <= now)
            && let Some(digit) = decoding.detector.as_mut().and_then(DtmfDetector::flush)
        {
            self.hear_tone(digit);
        }
        if self.receiver.timeout_deadline().is_some_and(|deadline| deadline <= now) {
            self.receiver.is_timed_out = true;
            self.receiver.is_silent = true;
            let last_heard = self.receiver.last_packet.unwrap_or(self.started);
            self.events.push_back(MediaEvent::MediaTimeout { silent_for: now.saturating_duration_since(last_heard) });
        }
    }

    fn note_life(&mut self, source: SocketAddr) {
        self.receiver.last_packet = Some(self.now);
        self.receiver.is_timed_out = false;
        if std::mem::take(&mut self.receiver.is_silent) {
            self.events.push_back(MediaEvent::MediaStarted { source });
        }
    }

    fn receive_audio<'p>(
        &mut self,
        codec: Codec,
        header: RtpHeader,
        sequence: u64,
        arrival: Arrival,
        payload: &'p [u8],
    ) -> Option<Forward<'p>> {
        let elapsed = self.now.saturating_duration_since(self.started);
        let generation = self.receiver.generation;
        let source = self.receiver.source.as_mut()?;
        if arrival != Arrival::Reordered {
            source.reception.time(elapsed, header.timestamp);
        }
        let audio = Audio { codec, generation, timestamp: header.timestamp, payload };
        for recorder in &mut self.recordings {
            recorder.write_received(self.now, audio);
        }
        if let Some(decoding) = &mut self.receiver.decoding {
            decoding.buffer.insert(self.now, sequence, codec, header.timestamp, payload);
            self.drain_decoding();
        }
        // Empty packets keep a NAT open and say nothing.
        let is_withheld = payload.is_empty() || self.receiver.hears_blocked_tone();
        self.hand_over(ForwardKind::Audio(codec), header, sequence, arrival, payload, is_withheld)
    }

    fn receive_event<'p>(
        &mut self,
        clock_rate: u32,
        header: RtpHeader,
        sequence: u64,
        arrival: Arrival,
        payload: &'p [u8],
    ) -> Option<Forward<'p>> {
        let Some(event) = TelephoneEvent::parse(payload) else {
            self.receiver.drops.malformed += 1;
            return None;
        };
        self.hold_place(header, sequence);
        let finished = self.receiver.events.handle_packet(self.now, sequence, header.marker, header.timestamp, clock_rate, event);
        for event in finished {
            self.hear_event(event);
        }
        let is_blocked = Digit::from_event(event.event).is_some_and(|digit| self.receiver.blocked.contains(digit));
        self.hand_over(ForwardKind::TelephoneEvent { clock_rate }, header, sequence, arrival, payload, is_blocked)
    }

    fn hand_over<'p>(
        &mut self,
        kind: ForwardKind,
        header: RtpHeader,
        sequence: u64,
        arrival: Arrival,
        payload: &'p [u8],
        is_withheld: bool,
    ) -> Option<Forward<'p>> {
        if !self.sending.is_joined {
            return None;
        }
        let source = self.receiver.source.as_mut()?;
        if is_withheld {
            source.withhold(sequence, arrival);
            return None;
        }
        let sequence = source.forwarded_sequence(sequence)?;
        Some(Forward {
            kind,
            generation: self.receiver.generation,
            ssrc: header.ssrc,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
        })
    }

    /// A packet that is not audio must not look like missing audio.
    fn hold_place(&mut self, header: RtpHeader, sequence: u64) {
        let codec = self.remote.as_ref().map_or(Codec::Pcmu, |remote| remote.codec);
        if let Some(decoding) = &mut self.receiver.decoding {
            decoding.buffer.insert(self.now, sequence, codec, header.timestamp, &[]);
            self.drain_decoding();
        }
    }

    fn drain_decoding(&mut self) {
        let heard = self.receiver.decoding.as_mut().map(|decoding| decoding.drain(self.now));
        for digit in heard.into_iter().flatten() {
            self.hear_tone(digit);
        }
    }

    fn hear_event(&mut self, event: FinishedEvent) {
        if let Some(digit) = Digit::from_event(event.event) {
            self.hear(digit, event.duration, DtmfMethod::TelephoneEvent);
        }
    }

    fn hear_tone(&mut self, heard: HeardDigit) {
        self.hear(heard.digit, heard.duration, DtmfMethod::InBand);
    }

    fn hear(&mut self, digit: Digit, duration: Duration, method: DtmfMethod) {
        if !self.receiver.blocked.contains(digit) {
            self.events.push_back(MediaEvent::Digit { digit, duration, method });
            self.stop_playout_on(digit);
        }
    }

    /// Returns whether the datagram was RTCP from the other side.
    fn accept_rtcp(&mut self, source: SocketAddr, datagram: &[u8]) -> bool {
        let announced = self.remote.as_ref().and_then(|remote| remote.remote_rtcp);
        let is_known = [self.latch.destination(), announced].into_iter().flatten().any(|known| known.ip() == source.ip());
        if !is_known {
            self.receiver.drops.wrong_source += 1;
            return false;
        }
        let heard = self.receiver.source_mut().map(|(ssrc, _)| ssrc);
        match self.rtcp.handle(self.now, self.sending.rtp.ssrc(), heard, datagram) {
            Ok(false) => true,
            Ok(true) => {
                self.receiver.open();
                self.events.push_back(MediaEvent::RemoteBye);
                true
            }
            Err(_) => {
                self.receiver.drops.malformed += 1;
                false
            }
        }
    }
}
