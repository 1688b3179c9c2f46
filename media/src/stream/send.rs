//! The sending half of a stream: what goes into the next packet, and when it leaves.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::command::{DtmfId, DtmfRequest};
use super::output::{Channel, MediaEvent};
use super::{Life, MediaStream};
use crate::codec::Codec;
use crate::digit::Digit;
use crate::dtmf_sender::{DtmfFinished, DtmfSender, DtmfStep};
use crate::forward::{Press, Splice};
use crate::playout::{PlayId, Playlist, Playout, PlayoutEnd};
use crate::recording::Audio;
use crate::rtcp_session::Sent;
use crate::rtp::{HEADER_LEN, PayloadType, RtpHeader};
use crate::sender::RtpSender;

/// How many packets a stream may be ahead of its clock when a prompt begins: two prompts cut short by keys, one after the other,
/// start at once; a jitter buffer of 60 ms takes them as early packets.
const FURTHEST_AHEAD: u32 = 3;

/// The joined leg counts as silent after this long without a packet.
const FORWARD_GAP: Duration = Duration::from_millis(200);

/// A stream that is further behind its clock than this leaves out what it missed instead of sending it in a burst.
const TOO_LATE: Duration = Duration::from_millis(100);

/// The sending half of a stream.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) rtp: RtpSender,
    pub(super) playout: Option<Box<Playout>>,
    pub(super) dtmf: Option<Box<DtmfSender>>,
    pub(super) is_joined: bool,
    pub(super) splice: Option<Splice>,
    /// The press of the joined leg that passed last.
    pub(super) press: Option<Press>,
    pub(super) last_forwarded: Option<Instant>,
    /// How far packets leave ahead of their place on the clock; `None` while nothing is paced.
    pub(super) lead: Option<Duration>,
    /// The next packet begins a talkspurt.
    pub(super) marker: bool,
}

/// What the next packet is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Dtmf,
    Playout,
    Echo,
    Silence,
}

impl Sending {
    pub(super) fn new(now: Instant, rng: &mut ChaCha8Rng) -> Self {
        Sending {
            rtp: RtpSender::new(now, Codec::Pcmu.clock_rate(), rng),
            playout: None,
            dtmf: None,
            is_joined: false,
            splice: None,
            press: None,
            last_forwarded: None,
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
        let refused = self.sending.dtmf.get_or_insert_default().push(id, request);
        refused.into_iter().for_each(|run| self.report_dtmf(run));
        if is_idle {
            self.begin_talkspurt();
        }
    }

    pub(super) fn report_dtmf(&mut self, run: DtmfFinished) {
        if let Some(id) = run.id {
            self.events.push_back(MediaEvent::DtmfSent { id, sent: run.sent });
        }
    }

    pub(super) fn set_joined(&mut self, joined: bool) {
        self.sending.is_joined = joined;
        self.sending.splice = None;
        self.sending.press = None;
        self.sending.last_forwarded = None;
    }

    /// Lets the first packet of what has just begun leave at once, unless that would put the stream further ahead of its
    /// clock than [`FURTHEST_AHEAD`] packets: each prompt cut short by a key adds up to one.
    fn begin_talkspurt(&mut self) {
        let Some(remote) = &self.remote else { return };
        let packet_time = remote.packet_time;
        self.catch_up_if_behind(packet_time);
        let ahead = self.sending.rtp.due().saturating_duration_since(self.now);
        self.sending.lead = Some(ahead.min(packet_time * FURTHEST_AHEAD));
        self.sending.marker = true;
    }

    /// Where packets go, when the other side wants any.
    pub(super) fn send_target(&self) -> Option<SocketAddr> {
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
                // What was left out is no loss (RFC 3551 section 4.1).
                self.sending.marker = true;
            }
            let target = self.send_target();
            let payload = scratch.get_mut(HEADER_LEN..HEADER_LEN + codec.payload_len(packet_time))?;
            let event = match activity {
                Activity::Dtmf => self.fill_dtmf(payload),
                Activity::Playout | Activity::Echo | Activity::Silence => {
                    self.fill_audio(activity, payload, target.is_some());
                    None
                }
            };
            // An event packet that others follow at once does not move the clock.
            let (len, is_tick) = event.map_or((payload.len(), true), |(_, is_last)| (4, is_last));
            let event = event.map(|(header, _)| header);
            let header = target.map(|_| event.unwrap_or_else(|| self.audio_header(payload_type, len)));
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
            Activity::Echo | Activity::Silence => {
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

    pub(super) fn record_sent(&mut self, codec: Codec, header: RtpHeader, payload: &[u8]) {
        let is_audio = self.remote.as_ref().is_some_and(|remote| remote.payload_type == header.payload_type);
        if is_audio {
            let audio = Audio { codec, generation: 0, timestamp: header.timestamp, payload };
            for recorder in &mut self.recordings {
                recorder.write_sent(self.now, audio);
            }
        }
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
        // A side that has moved since has left that place as well.
        let is_there = |rtp: Option<SocketAddr>| rtp.is_none() || rtp == self.latch.locked();
        if let Some((source, _)) = self.rtcp_source.filter(|(_, rtp)| is_there(*rtp)) {
            return Some((source, Channel::Rtcp));
        }
        // Packets come from elsewhere than announced: so will RTCP, on the port above.
        let moved = |announced: IpAddr| self.latch.locked().is_some_and(|locked| locked.ip() != announced);
        let announced = remote.remote_rtcp.filter(|address| !moved(address.ip()));
        let to = announced.or_else(|| Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)))?;
        Some((to, Channel::Rtcp))
    }
}
