//! The bridge: packets of the joined leg, as part of this leg's own stream.
//!
//! They leave when they arrive, with nothing decoded: for the codecs there are, one law is translated into the other octet
//! by octet, so that a bridge needs no jitter buffer and adds no delay.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::MediaStream;
use super::command::{DtmfMethod, DtmfRequest};
use super::output::{Channel, Forward, ForwardKind, Transmit};
use super::send::Sending;
use crate::codec::{Codec, g711};
use crate::digit::Digit;
use crate::forward::{Press, Splice};
use crate::rtp::{HEADER_LEN, MAX_PACKET, PayloadType, RtpHeader, SequenceNumber};
use crate::telephone_event::TelephoneEvent;

/// A key relayed as a tone sounds at least this long.
const SHORTEST_RELAYED_KEY: Duration = Duration::from_millis(80);

/// Keys that wait for the tone of the one before; more than that no hand presses.
const MAX_RELAYED: usize = 32;

/// Packets that come in a burst may take the stream this far ahead of its clock; the rest of the burst is left out. It is what the
/// network held back, and silence was sent in its place: sent as well, it would delay all that follows by as much. Networks that
/// deliver in bursts all the time (power saving, handovers) mostly hold back less than this, and lose nothing.
const BURST: Duration = Duration::from_millis(300);

/// A joined stream that is further behind the clock than jitter explains runs on a slower one.
const LAG: Duration = Duration::from_millis(100);

/// Of each packet time, the share that the clock may be moved to follow another: more than any two clocks differ.
const DRIFT: u32 = 16;

impl MediaStream {
    /// Sends a packet of the joined leg as part of this leg's own stream. `scratch` is where packets are built
    /// ([`crate::rtp::MAX_PACKET`] octets); `transmit` is called for each.
    ///
    /// Nothing is sent while this leg plays, sends keys or echoes, or while its other side holds the call. Audio in
    /// another codec is translated. A packet longer than the other side takes is sent as several. Telephone events go to a
    /// side that speaks them; to another, [`super::Command::RelayKey`] brings the key.
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
                let most = MAX_PACKET - HEADER_LEN;
                let longest = remote.max_packet_time.map_or(most, |time| remote.codec.payload_len(time).clamp(1, most));
                self.forward_audio(to, codec, longest, packet, scratch, &mut transmit);
            }
            ForwardKind::TelephoneEvent { clock_rate } => {
                let types = remote.telephone_event.filter(|_| remote.codec.clock_rate() == clock_rate);
                if let Some((event, types)) = TelephoneEvent::parse(packet.payload).zip(types) {
                    self.forward_event(to, types.send, event, packet, scratch, &mut transmit);
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
        let audio = codec.duration_of(packet.payload.len());
        let is_burst = self.sending.last_forwarded.is_some_and(|last| self.now < last + audio * 3 / 4);
        let Some((sequence, mut position)) = self.place(&packet, None) else { return };
        if is_burst && self.sending.leaves_out(self.now, &packet, position, u64::from(ours.ticks(BURST))) {
            return;
        }
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
        let drift = packet_time / DRIFT;
        self.sending.rtp.limit_lead(self.now, packet_time * 2, if is_burst { drift } else { Duration::MAX });
        self.sending.rtp.limit_lag(self.now, LAG, drift);
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
        let Some((sequence, position)) = self.place(&packet, Some(event)) else { return };
        let payload = event.to_bytes();
        let Some(room) = scratch.get_mut(HEADER_LEN..HEADER_LEN + payload.len()) else { return };
        room.copy_from_slice(&payload);
        let header = self.sending.rtp.header_with(payload_type, packet.marker, sequence, position, payload.len());
        emit(to, header, scratch, payload.len(), transmit);
        // However long the key is said to be held, what we send next must not have to wait for it.
        let Some(remote) = &self.remote else { return };
        let furthest = self.sending.rtp.position_at(self.now) + u64::from(remote.codec.ticks(remote.packet_time * 2));
        self.sending.rtp.advance_to(furthest.min(position + u64::from(event.duration)));
    }

    /// A key of the joined leg becomes a tone where the other side has no telephone events, after those that came before.
    pub(super) fn relay_key(&mut self, digit: Digit, held: Duration) {
        let has_events = self.remote.as_ref().is_none_or(|remote| remote.telephone_event.is_some());
        let is_busy = self.sending.playout.is_some() || self.receiver.has_echo();
        let waiting = self.sending.dtmf.as_ref().map_or(0, |dtmf| dtmf.waiting());
        if has_events || is_busy || !self.sending.is_joined || self.send_target().is_none() || waiting >= MAX_RELAYED {
            return;
        }
        let duration = held.max(SHORTEST_RELAYED_KEY);
        self.send_dtmf(None, DtmfRequest { digits: vec![digit], duration, gap: Duration::ZERO, method: DtmfMethod::InBand });
    }

    /// The packet's place in our stream, which it joins if it is the first. `None` when its place has passed, or has not
    /// come yet.
    fn place(&mut self, packet: &Forward<'_>, event: Option<TelephoneEvent>) -> Option<(SequenceNumber, u64)> {
        let remote = self.remote.as_ref()?;
        let (clock_rate, packet_time) = (remote.codec.clock_rate(), remote.packet_time);
        let Sending { rtp, splice, marker, last_forwarded, .. } = &mut self.sending;
        *last_forwarded = Some(self.now);
        // The timestamps of events may be no audio's; their place in the sequence is one among the audio.
        let known = splice.filter(|splice| splice.covers(packet)).filter(|splice| {
            event.is_some()
                || splice.position(packet).is_some_and(|at| !Splice::has_leapt(self.now, at..=at, clock_rate, rtp))
                || splice.is_late(packet, rtp)
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
        let position = match event {
            Some(event) => self.sending.place_event(self.now, clock_rate, packet, event, &current),
            None => current.position(packet),
        };
        let place = current.sequence(packet).zip(position);
        if let Some((_, position)) = place.filter(|_| event.is_none()) {
            current.follow(packet, position);
        }
        self.sending.splice = Some(current);
        self.sending.lead = None;
        place
    }
}

impl Sending {
    /// Leaves out a packet whose audio is for `position`, more than `lead` ticks ahead of the clock.
    fn leaves_out(&mut self, now: Instant, packet: &Forward<'_>, position: u64, lead: u64) -> bool {
        let Sending { rtp, splice, marker, .. } = self;
        let Some(splice) = splice else { return false };
        let is_left_out = !splice.is_late(packet, rtp) && position > rtp.position_at(now) + lead;
        if is_left_out {
            splice.leave_out(now, packet, rtp);
            *marker = true;
        }
        is_left_out
    }

    /// Where a telephone event lies on our clock: with the press it belongs to, else where its timestamp says, else where we
    /// are. `None` for a late one of a press that nobody knows.
    fn place_event(
        &mut self,
        now: Instant,
        clock_rate: u32,
        packet: &Forward<'_>,
        event: TelephoneEvent,
        splice: &Splice,
    ) -> Option<u64> {
        let is_late = splice.is_late(packet, &self.rtp);
        if let Some(position) = self.press.as_mut().and_then(|press| press.holds(packet, event, is_late)) {
            return Some(position);
        }
        // An event keeps the timestamp of its start, however long it is held.
        let lasts = u64::from(event.duration);
        let is_near = |at: &u64| !Splice::has_leapt(now, *at..=*at + lasts, clock_rate, &self.rtp);
        let by_press = || self.press.and_then(|press| press.position(packet)).filter(is_near);
        let told = splice.position(packet).filter(is_near).or_else(by_press);
        if is_late {
            return told;
        }
        let position = told.unwrap_or_else(|| {
            self.rtp.catch_up(now);
            self.rtp.next_position()
        });
        self.press = Some(Press::new(packet, event, position));
        Some(position)
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
