//! The sending half of a stream: what goes into the next packet, and when it leaves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::command::{DtmfId, DtmfMethod, DtmfRequest};
use super::output::{Channel, Forward, ForwardKind, MediaEvent, Transmit};
use super::{Life, MediaStream};
use crate::codec::{Codec, g711};
use crate::digit::Digit;
use crate::dtmf_sender::{DtmfFinished, DtmfSender, DtmfStep};
use crate::forward::Splice;
use crate::playout::{EncodedPrompt, PlayId, Playlist, Playout, PlayoutEnd, Repeat};
use crate::recording::Audio;
use crate::rtcp_session::Sent;
use crate::rtp::{HEADER_LEN, PayloadType, RtpHeader, RtpTimestamp, SequenceNumber};
use crate::sender::RtpSender;
use crate::telephone_event::TelephoneEvent;

/// The joined leg counts as silent after this long without a packet.
const FORWARD_GAP: Duration = Duration::from_millis(200);

/// A stream that is further behind its clock than this leaves out what it missed instead of sending it in a burst.
const TOO_LATE: Duration = Duration::from_millis(100);

/// A key relayed as a tone sounds at least this long.
const SHORTEST_RELAYED_KEY: Duration = Duration::from_millis(80);

/// The sending half of a stream.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) rtp: RtpSender,
    playout: Option<Box<Playout>>,
    pub(super) dtmf: Option<Box<DtmfSender>>,
    ring_back: Option<Box<Playout>>,
    pub(super) is_joined: bool,
    splice: Option<Splice>,
    last_forwarded: Option<Instant>,
    /// Start of the last telephone event that was relayed as a tone.
    relayed_event: Option<RtpTimestamp>,
    /// How far packets leave ahead of their place on the clock; `None` while nothing is paced.
    lead: Option<Duration>,
    /// The next packet begins a talkspurt.
    marker: bool,
}

/// What the next packet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Dtmf,
    Playout,
    Echo,
    RingBack,
    Silence,
}

impl Sending {
    pub(super) fn new(now: Instant, rng: &mut ChaCha8Rng) -> Self {
        Sending {
            rtp: RtpSender::new(now, Codec::Pcmu.clock_rate(), rng),
            playout: None,
            dtmf: None,
            ring_back: None,
            is_joined: false,
            splice: None,
            last_forwarded: None,
            relayed_event: None,
            lead: None,
            marker: true,
        }
    }

    fn is_forwarding(&self, now: Instant) -> bool {
        self.is_joined && self.last_forwarded.is_some_and(|last| now < last + FORWARD_GAP)
    }
}

impl MediaStream {
    pub(super) fn play(&mut self, id: PlayId, playlist: Playlist) {
        self.end_playout(PlayoutEnd::Replaced);
        let playout = Playout::new(id, playlist);
        self.sending.playout = Some(Box::new(playout));
        self.finish_playout();
        self.begin_talkspurt();
    }

    pub(super) fn stop_playout(&mut self, id: PlayId) {
        if self.sending.playout.as_ref().is_some_and(|playout| playout.id == id) {
            self.end_playout(PlayoutEnd::Stopped);
        }
    }

    /// Ends the playout if this key is one of those that end it.
    pub(super) fn stop_playout_on(&mut self, digit: Digit) {
        if self.sending.playout.as_ref().is_some_and(|playout| playout.stops_on(digit)) {
            self.end_playout(PlayoutEnd::Digit(digit));
        }
    }

    pub(super) fn end_playout(&mut self, end: PlayoutEnd) {
        if let Some(playout) = self.sending.playout.take() {
            self.events.push_back(MediaEvent::PlayoutFinished { id: playout.id, played: playout.played(), end });
        }
    }

    fn finish_playout(&mut self) {
        if self.sending.playout.as_ref().is_some_and(|playout| playout.is_finished()) {
            self.end_playout(PlayoutEnd::Completed);
        }
    }

    pub(super) fn send_dtmf(&mut self, id: Option<DtmfId>, request: DtmfRequest) {
        let is_idle = self.sending.dtmf.is_none() && self.sending.playout.is_none();
        self.sending.dtmf.get_or_insert_default().push(id, request);
        if is_idle {
            self.begin_talkspurt();
        }
    }

    pub(super) fn report_dtmf(&mut self, run: DtmfFinished) {
        if let Some(id) = run.id {
            self.events.push_back(MediaEvent::DtmfSent { id, sent: run.sent });
        }
    }

    pub(super) fn set_ring_back(&mut self, prompt: Option<Arc<EncodedPrompt>>) {
        self.sending.ring_back = prompt.map(|prompt| {
            let playlist = Playlist { repeat: Repeat::Forever, ..Playlist::once(vec![prompt]) };
            Box::new(Playout::new(PlayId(0), playlist))
        });
    }

    pub(super) fn set_joined(&mut self, joined: bool) {
        self.sending.is_joined = joined;
        self.sending.splice = None;
        self.sending.last_forwarded = None;
    }

    /// Lets the first packet of what has just begun leave at once, unless that would put the stream further ahead of its
    /// clock than one packet; one more after forwarding, which may be as far ahead by itself.
    fn begin_talkspurt(&mut self) {
        let Some(remote) = &self.remote else { return };
        let packet_time = remote.packet_time;
        self.catch_up_if_behind(packet_time);
        let ahead = self.sending.rtp.due().saturating_duration_since(self.now);
        let furthest = if self.sending.splice.is_some() { packet_time * 2 } else { packet_time };
        self.sending.lead = Some(ahead.min(furthest));
        self.sending.marker = true;
    }

    /// Where packets go, when the other side wants any.
    fn send_target(&self) -> Option<SocketAddr> {
        let remote = self.remote.as_ref()?;
        self.latch.destination().filter(|_| remote.direction.sends() && self.life == Life::Open)
    }

    /// What the next packet is made of; `None` while nothing is paced here.
    fn activity(&self) -> Option<Activity> {
        self.remote.as_ref()?;
        let sending = &self.sending;
        if sending.dtmf.is_some() {
            Some(Activity::Dtmf)
        } else if sending.playout.is_some() {
            Some(Activity::Playout)
        } else if self.send_target().is_none() {
            None
        } else if self.receiver.has_echo() {
            Some(Activity::Echo)
        } else if sending.is_forwarding(self.now) {
            None
        } else if sending.ring_back.is_some() {
            Some(Activity::RingBack)
        } else {
            Some(Activity::Silence)
        }
    }

    pub(super) fn rtp_deadline(&self) -> Option<Instant> {
        match self.activity() {
            Some(_) => {
                let due = self.sending.rtp.due();
                Some(self.sending.lead.and_then(|lead| due.checked_sub(lead)).unwrap_or(due))
            }
            None => self.sending.last_forwarded.filter(|_| self.sending.is_forwarding(self.now)).map(|last| last + FORWARD_GAP),
        }
    }

    /// Builds the next packet if its time has come; returns where it goes and its length.
    pub(super) fn poll_rtp(&mut self, scratch: &mut [u8]) -> Option<(SocketAddr, usize)> {
        if self.life != Life::Open {
            return None;
        }
        loop {
            self.finish_dtmf();
            let Some(activity) = self.activity() else {
                self.sending.lead = None;
                return None;
            };
            let remote = self.remote.as_ref()?;
            let (codec, payload_type, packet_time) = (remote.codec, remote.payload_type, remote.packet_time);
            if self.sending.lead.is_none() {
                self.catch_up_if_behind(packet_time);
                self.sending.lead = Some(Duration::ZERO);
                self.sending.marker = true;
            }
            if self.rtp_deadline().is_none_or(|due| due > self.now) {
                return None;
            }
            if self.catch_up_if_behind(TOO_LATE) {
                self.sending.lead = Some(Duration::ZERO);
            }
            let target = self.send_target();
            let payload = scratch.get_mut(HEADER_LEN..HEADER_LEN + codec.payload_len(packet_time))?;
            let header = match activity {
                Activity::Dtmf => self.fill_dtmf(payload),
                Activity::Playout | Activity::Echo | Activity::RingBack | Activity::Silence => {
                    self.fill_audio(activity, payload, target.is_some());
                    None
                }
            };
            // An event packet that others follow at once does not move the clock.
            let (header, len, is_tick) = match header {
                Some((event, is_last)) => (Some(event), 4, is_last),
                None => (None, payload.len(), true),
            };
            let header = target.map(|_| header.unwrap_or_else(|| self.audio_header(payload_type, len)));
            if let Some(header) = header {
                self.record_sent(codec, header, scratch.get(HEADER_LEN..HEADER_LEN + len).unwrap_or_default());
            }
            if is_tick {
                self.sending.rtp.skip(codec.ticks(packet_time));
            }
            self.settle_after(activity, packet_time);
            if let (Some(to), Some(header)) = (target, header) {
                scratch.get_mut(..HEADER_LEN)?.copy_from_slice(&header.to_bytes());
                return Some((to, HEADER_LEN + len));
            }
        }
    }

    fn fill_audio(&mut self, activity: Activity, payload: &mut [u8], is_sent: bool) {
        let Some(remote) = &self.remote else { return };
        let codec = remote.codec;
        let sending = &mut self.sending;
        match activity {
            Activity::Playout if !is_sent => {
                // Held by the other side: time passes for the prompt as for a listener who has put down the receiver.
                if let Some(playout) = &mut sending.playout {
                    playout.pass(remote.packet_time);
                }
            }
            Activity::Playout => sending.playout.iter_mut().for_each(|playout| playout.fill(codec, payload)),
            Activity::RingBack => sending.ring_back.iter_mut().for_each(|tone| tone.fill(codec, payload)),
            Activity::Echo => self.receiver.fill_echo(codec, payload),
            Activity::Dtmf | Activity::Silence => payload.fill(codec.silence()),
        }
    }

    /// The packet of a telephone event, and whether it is the last one now; `None` when the payload holds audio.
    fn fill_dtmf(&mut self, payload: &mut [u8]) -> Option<(RtpHeader, bool)> {
        let remote = self.remote.as_ref()?;
        let codec = remote.codec;
        let types = remote.telephone_event;
        let rtp = &mut self.sending.rtp;
        let position = rtp.next_position();
        let dtmf = self.sending.dtmf.as_mut()?;
        // A key that began as an event goes on as silence when a new session description has taken events away.
        payload.fill(codec.silence());
        let encode = |sample| codec.encode_sample(sample);
        let step = dtmf.step(position, codec.clock_rate(), remote.packet_time, types.is_some(), payload, encode);
        let (DtmfStep::Event { marker, position, event, is_last }, Some(types)) = (step, types) else { return None };
        if let Some((place, _)) = payload.split_first_chunk_mut::<4>() {
            *place = event.to_bytes();
        }
        // With nobody to send to, the step passes and no packet is counted.
        self.send_target()?;
        Some((self.sending.rtp.header(types.send, marker, position, 4), is_last))
    }

    fn audio_header(&mut self, payload_type: PayloadType, octets: usize) -> RtpHeader {
        let marker = std::mem::take(&mut self.sending.marker);
        let position = self.sending.rtp.next_position();
        self.sending.rtp.header(payload_type, marker, position, octets)
    }

    fn settle_after(&mut self, activity: Activity, packet_time: Duration) {
        // Sequence and clock have moved on by themselves: the joined leg joins anew.
        self.sending.splice = None;
        match activity {
            Activity::Playout => self.finish_playout(),
            Activity::Dtmf => self.finish_dtmf(),
            // Back to the clock in steps that no listener takes for a gap.
            Activity::Echo | Activity::RingBack | Activity::Silence => {
                self.sending.lead = self.sending.lead.map(|lead| lead.saturating_sub(packet_time / 4));
            }
        }
    }

    fn finish_dtmf(&mut self) {
        let Some(dtmf) = &mut self.sending.dtmf else { return };
        let mut finished = Vec::new();
        while let Some(run) = dtmf.finished() {
            finished.push(run);
        }
        if dtmf.is_idle() {
            self.sending.dtmf = None;
        }
        for run in finished {
            self.report_dtmf(run);
        }
    }

    /// Leaves out time in which nothing was sent, when it is more than jitter of our own timer.
    /// Returns whether it was.
    fn catch_up_if_behind(&mut self, tolerance: Duration) -> bool {
        let is_behind = self.now.saturating_duration_since(self.sending.rtp.due()) >= tolerance;
        if is_behind {
            self.sending.rtp.catch_up(self.now);
        }
        is_behind
    }

    fn record_sent(&mut self, codec: Codec, header: RtpHeader, payload: &[u8]) {
        let is_audio = self.remote.as_ref().is_some_and(|remote| remote.payload_type == header.payload_type);
        if is_audio {
            let audio = Audio { codec, generation: 0, timestamp: header.timestamp, payload };
            for recorder in &mut self.recordings {
                recorder.write_sent(self.now, audio);
            }
        }
    }

    /// Sends a packet of the joined leg as part of this leg's own stream. `scratch` is where packets are built
    /// ([`crate::rtp::MAX_PACKET`] octets); `transmit` is called for each.
    ///
    /// Nothing is sent while this leg plays, sends keys or echoes, or while its other side holds the call. Audio in
    /// another codec is translated. A packet longer than the other side takes is sent as several. Keys go as telephone
    /// events when the other side speaks them, else as tones.
    pub fn forward(&mut self, now: Instant, packet: Forward<'_>, scratch: &mut [u8], mut transmit: impl FnMut(Transmit<'_>)) {
        self.advance(now);
        let is_busy = self.sending.dtmf.is_some() || self.sending.playout.is_some() || self.receiver.has_echo();
        let Some(to) = self.send_target().filter(|_| self.sending.is_joined && !is_busy) else {
            self.sending.splice = None;
            return;
        };
        let Some(remote) = &self.remote else { return };
        match packet.kind {
            ForwardKind::Audio(codec) => {
                let longest = remote.max_packet_time.map_or(usize::MAX, |time| remote.codec.payload_len(time).max(1));
                self.forward_audio(to, codec, longest, packet, scratch, &mut transmit);
            }
            ForwardKind::TelephoneEvent { clock_rate } => {
                let Some(event) = TelephoneEvent::parse(packet.payload) else { return };
                match remote.telephone_event {
                    Some(types) if remote.codec.clock_rate() == clock_rate => {
                        self.forward_event(to, types.send, event, packet, scratch, &mut transmit);
                    }
                    _ => self.relay_as_tone(clock_rate, event, packet),
                }
            }
        }
    }

    fn forward_audio(
        &mut self,
        to: SocketAddr,
        codec: Codec,
        longest: usize,
        packet: Forward<'_>,
        scratch: &mut [u8],
        transmit: &mut impl FnMut(Transmit<'_>),
    ) {
        let Some(remote) = &self.remote else { return };
        let (ours, payload_type, packet_time) = (remote.codec, remote.payload_type, remote.packet_time);
        let Some((sequence, mut position)) = self.place(&packet, true) else { return };
        let is_whole = packet.payload.len() <= longest;
        let mut marker = std::mem::take(&mut self.sending.marker) || packet.marker;
        for part in packet.payload.chunks(longest) {
            let Some(room) = scratch.get_mut(HEADER_LEN..HEADER_LEN + part.len()) else { return };
            room.copy_from_slice(part);
            translate(codec, ours, room);
            let sequence = if is_whole { sequence } else { self.sending.rtp.next_sequence() };
            let marker = std::mem::take(&mut marker);
            let header = self.sending.rtp.header_with(payload_type, marker, sequence, position, part.len());
            self.record_sent(ours, header, part_of(scratch, part.len()));
            position += part.len() as u64;
            emit(to, header, scratch, part.len(), transmit);
        }
        if let Some(splice) = self.sending.splice.as_mut().filter(|_| !is_whole) {
            splice.renumber(&packet, &self.sending.rtp);
        }
        self.sending.rtp.advance_to(position);
        self.sending.rtp.limit_lead(self.now, packet_time * 2);
    }

    fn forward_event(
        &mut self,
        to: SocketAddr,
        payload_type: PayloadType,
        event: TelephoneEvent,
        packet: Forward<'_>,
        scratch: &mut [u8],
        transmit: &mut impl FnMut(Transmit<'_>),
    ) {
        let Some((sequence, position)) = self.place(&packet, false) else { return };
        let payload = event.to_bytes();
        let Some(room) = scratch.get_mut(HEADER_LEN..HEADER_LEN + payload.len()) else { return };
        room.copy_from_slice(&payload);
        let header = self.sending.rtp.header_with(payload_type, packet.marker, sequence, position, payload.len());
        emit(to, header, scratch, payload.len(), transmit);
        self.sending.rtp.advance_to(position + u64::from(event.duration));
    }

    /// The other side of this leg has no telephone events: at the first end packet the key begins as a tone.
    fn relay_as_tone(&mut self, clock_rate: u32, event: TelephoneEvent, packet: Forward<'_>) {
        self.sending.last_forwarded = Some(self.now);
        let Some(digit) = Digit::from_event(event.event) else { return };
        if !event.end || self.sending.relayed_event == Some(packet.timestamp) {
            return;
        }
        self.sending.relayed_event = Some(packet.timestamp);
        let held = Duration::from_micros(u64::from(event.duration) * 1_000_000 / u64::from(clock_rate.max(1)));
        let duration = held.max(SHORTEST_RELAYED_KEY);
        let gap = Duration::ZERO;
        self.send_dtmf(None, DtmfRequest { digits: vec![digit], duration, gap, method: DtmfMethod::InBand });
    }

    /// The packet's place in our stream, which it joins if it is the first. `None` when its place has passed, or has not
    /// come yet.
    fn place(&mut self, packet: &Forward<'_>, follows_clock: bool) -> Option<(SequenceNumber, u64)> {
        let remote = self.remote.as_ref()?;
        let (clock_rate, packet_time) = (remote.codec.clock_rate(), remote.packet_time);
        let Sending { rtp, splice, marker, lead, last_forwarded, .. } = &mut self.sending;
        *last_forwarded = Some(self.now);
        let known = splice.filter(|splice| splice.covers(packet)).filter(|splice| {
            // An event keeps the timestamp of its start, however long it is held.
            !follows_clock
                || splice.position(packet).is_some_and(|at| !Splice::has_leapt(self.now, at, clock_rate, rtp))
                || splice.sequence(packet).is_none_or(|sequence| sequence.distance(rtp.next_sequence()) < 0)
        });
        let mut current = match known {
            Some(splice) => splice,
            // One packet is left out when the prompt before has run ahead: else every switch would add to the lead.
            None if rtp.due().saturating_duration_since(self.now) > packet_time => return None,
            None => {
                *marker = true;
                Splice::new(self.now, packet, rtp)
            }
        };
        let place = current.sequence(packet).zip(current.position(packet));
        if let Some((_, position)) = place.filter(|_| follows_clock) {
            current.follow(packet, position);
        }
        *splice = Some(current);
        *lead = None;
        place
    }

    /// Builds an RTCP datagram if one is due.
    pub(super) fn poll_rtcp(&mut self, scratch: &mut [u8]) -> Option<(SocketAddr, Channel, usize)> {
        if self.life == Life::Open && self.rtcp.deadline().is_none_or(|due| due > self.now) {
            return None;
        }
        let rtp = &self.sending.rtp;
        let sent = Sent {
            ssrc: rtp.ssrc(),
            packets: rtp.packets(),
            octets: rtp.octets(),
            rtp_timestamp: rtp.timestamp(rtp.position_at(self.now)).0,
        };
        let source = self.receiver.source_mut();
        let len = match self.life {
            Life::Open => self.rtcp.poll(self.now, &mut self.rng, sent, source, scratch),
            Life::Closing => {
                self.life = Life::Closed;
                // Whoever never sent anything leaves without a word (RFC 3550 section 6.3.7).
                let is_known = sent.packets > 0;
                if is_known { self.rtcp.bye(self.now, sent, source, scratch) } else { None }
            }
            Life::Closed => None,
        }?;
        let (to, channel) = self.rtcp_target()?;
        Some((to, channel, len))
    }

    fn rtcp_target(&self) -> Option<(SocketAddr, Channel)> {
        // An address of nowhere stands for RTCP as well (RFC 3264 section 8.4).
        let remote = self.remote.as_ref().filter(|remote| remote.remote.is_some() || !remote.held)?;
        let rtp = self.latch.destination()?;
        if remote.rtcp_mux {
            return Some((rtp, Channel::Rtp));
        }
        if let Some(source) = self.rtcp_source {
            return Some((source, Channel::Rtcp));
        }
        // Packets come from elsewhere than announced: so will RTCP, on the port above.
        let moved = |announced: IpAddr| self.latch.locked().is_some_and(|locked| locked.ip() != announced);
        let announced = remote.remote_rtcp.filter(|address| !moved(address.ip()));
        let to = announced.or_else(|| Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)))?;
        Some((to, Channel::Rtcp))
    }
}

fn translate(from: Codec, to: Codec, octets: &mut [u8]) {
    let table = match (from, to) {
        (Codec::Pcmu, Codec::Pcma) => &g711::ULAW_TO_ALAW,
        (Codec::Pcma, Codec::Pcmu) => &g711::ALAW_TO_ULAW,
        (Codec::Pcmu, Codec::Pcmu) | (Codec::Pcma, Codec::Pcma) => return,
    };
    for octet in octets {
        *octet = table[usize::from(*octet)];
    }
}

fn part_of(scratch: &[u8], len: usize) -> &[u8] {
    scratch.get(HEADER_LEN..HEADER_LEN + len).unwrap_or_default()
}

fn emit(to: SocketAddr, header: RtpHeader, scratch: &mut [u8], len: usize, transmit: &mut impl FnMut(Transmit<'_>)) {
    if let Some(place) = scratch.first_chunk_mut::<HEADER_LEN>() {
        *place = header.to_bytes();
    }
    if let Some(bytes) = scratch.get(..HEADER_LEN + len) {
        transmit(Transmit { to, channel: Channel::Rtp, bytes });
    }
}
