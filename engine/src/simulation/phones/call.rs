//! One call of a phone: its dialog, its media, what it heard, and what happened to it.
//!
//! ```text
//!  dial ──► Calling ──2xx──► Up ──BYE──► Over       ring, answer ──► Offered ──2xx──► Answering ──ACK──► Up
//!              └──── CANCEL, final response ──► Over         └── reject, CANCEL ──► Over
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_media::codec::Codec;
use lockstep_media::digit::Digit;
use lockstep_media::playout::{EncodedPrompt, PlayId, Playlist, Repeat};
use lockstep_media::rtp::MAX_PACKET;
use lockstep_media::sdp::{Direction, LocalMedia, Negotiated, OfferAnswer, SdpError};
use lockstep_media::stream::{
    Channel, Command, DtmfId, DtmfMethod, DtmfRequest, MediaEvent, MediaStream, Output, StreamConfig, StreamStats,
};
use lockstep_sip::auth::ClientAuth;
use lockstep_sip::endpoint::{DialogId, IncomingId, RequestId};

use super::PhoneId;
use super::hearing::Hearing;
use super::room::Room;
use crate::phone::Ended;
use crate::simulation::network::Packet;

/// Where the signalling stands.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Our INVITE is out.
    Calling {
        request: RequestId,
    },
    /// An INVITE came in; `offer` is what it carried.
    Offered {
        id: IncomingId,
        dialog: DialogId,
        offer: Option<Vec<u8>>,
    },
    /// Our 2xx waits for its ACK.
    Answering {
        id: IncomingId,
        dialog: DialogId,
    },
    Up {
        dialog: DialogId,
    },
    Over(Ended),
}

/// Something a phone saw, for a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    pub at: Instant,
    pub what: String,
}

/// A key that the other side pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub at: Instant,
    pub key: char,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Call {
    pub phone: PhoneId,
    pub outgoing: bool,
    pub state: State,
    /// User parts of the two addresses as the INVITE had them.
    pub from: String,
    pub to: String,
    pub sip_call_id: String,
    /// Header fields of an INVITE that came in.
    pub headers: Vec<(String, String)>,
    pub began: Instant,
    pub answered: Option<Instant>,
    pub over: Option<Instant>,
    pub sights: Vec<Sight>,
    /// Keys that the other side pressed.
    pub keys: Vec<Key>,
    pub heard: Hearing,
    pub sent: Hearing,
    /// Provisional responses, in order.
    pub progress: Vec<(u16, String)>,
    /// The other side put us on hold.
    pub held: bool,
    pub(super) auth: Option<ClientAuth>,
    /// Our re-INVITE under way.
    pub(super) reinvite: Option<RequestId>,
    sdp: OfferAnswer,
    rtp: SocketAddr,
    stream: Option<Box<MediaStream>>,
    negotiated: Option<Box<Negotiated>>,
    due: Option<Instant>,
    room: Room,
    /// What is being said; the noise of the room is not.
    speaking: Option<PlayId>,
    last_play: u64,
    /// Keys that are still to be pressed, of each request, by its number; none once they are all out.
    pressing: BTreeMap<u64, usize>,
    last_dtmf: u64,
    stats: StreamStats,
    /// While only time can move its media, a packet is no reason to look at it.
    is_lazy: bool,
}

/// What phones send, and where their packets are built.
pub(super) struct Outbox {
    pub packets: VecDeque<Packet>,
    scratch: Box<[u8; MAX_PACKET]>,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self { packets: VecDeque::new(), scratch: Box::new([0; MAX_PACKET]) }
    }
}

/// What a call begins with.
pub(super) struct CallParts {
    pub phone: PhoneId,
    pub outgoing: bool,
    pub state: State,
    pub from: String,
    pub to: String,
    pub sip_call_id: String,
    pub headers: Vec<(String, String)>,
    pub rtp: SocketAddr,
    pub codecs: Vec<Codec>,
    pub packet_time: Duration,
    pub stream: StreamConfig,
    pub auth: Option<ClientAuth>,
    pub is_lazy: bool,
}

impl Call {
    pub(super) fn new(now: Instant, parts: CallParts) -> Self {
        let CallParts { phone, outgoing, state, from, to, sip_call_id, headers, rtp, codecs, packet_time, stream, auth, is_lazy } =
            parts;
        let local = LocalMedia {
            address: rtp.ip(),
            rtp_port: rtp.port(),
            codecs,
            packet_time,
            offer_rtcp_mux: false,
            session_id: stream.seed >> 1,
        };
        Self {
            phone,
            outgoing,
            state,
            from,
            to,
            sip_call_id,
            headers,
            began: now,
            answered: None,
            over: None,
            sights: Vec::new(),
            keys: Vec::new(),
            heard: Hearing::default(),
            sent: Hearing::default(),
            progress: Vec::new(),
            held: false,
            auth,
            reinvite: None,
            sdp: OfferAnswer::new(local),
            rtp,
            room: Room::new(stream.seed),
            stream: Some(Box::new(MediaStream::new(now, stream))),
            negotiated: None,
            due: None,
            speaking: None,
            last_play: 0,
            pressing: BTreeMap::new(),
            last_dtmf: 0,
            stats: StreamStats::default(),
            is_lazy,
        }
    }

    /// The dialog, once there is one.
    pub(crate) fn dialog(&self) -> Option<DialogId> {
        match &self.state {
            State::Calling { .. } | State::Over(_) => None,
            State::Offered { dialog, .. } | State::Answering { dialog, .. } | State::Up { dialog } => Some(*dialog),
        }
    }

    /// Whether a new offer of its own waits for its answer.
    pub(crate) fn reoffers(&self) -> bool {
        self.reinvite.is_some()
    }

    /// How the call ended, once it has.
    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Over(ended) => Some(ended),
            State::Calling { .. } | State::Offered { .. } | State::Answering { .. } | State::Up { .. } => None,
        }
    }

    /// Whether `id` is a request of ours for this call.
    pub(super) fn sent_request(&self, id: RequestId) -> bool {
        self.reinvite == Some(id) || matches!(self.state, State::Calling { request } if request == id)
    }

    /// Whether `id` is the INVITE that this call came in with.
    pub(super) fn came_as(&self, incoming: IncomingId) -> bool {
        matches!(self.state, State::Offered { id, .. } | State::Answering { id, .. } if id == incoming)
    }

    pub(crate) fn rtp(&self) -> SocketAddr {
        self.rtp
    }

    /// What both sides have agreed on.
    pub(crate) fn negotiated(&self) -> Option<&Negotiated> {
        self.negotiated.as_deref()
    }

    /// Figures of its media.
    pub(crate) fn stats(&self) -> StreamStats {
        self.stream.as_ref().map_or(self.stats, |stream| stream.stats())
    }

    pub(super) fn see(&mut self, at: Instant, what: impl Into<String>) {
        self.sights.push(Sight { at, what: what.into() });
    }

    pub(super) fn want(&mut self, direction: Direction) {
        self.sdp.want(direction);
    }

    pub(super) fn offer(&mut self) -> String {
        self.sdp.offer()
    }

    pub(super) fn withdraw_offer(&mut self) {
        self.sdp.withdraw_offer();
    }

    /// Answers an offer; media goes on as agreed.
    pub(super) fn answer(&mut self, now: Instant, offer: &[u8]) -> Result<String, SdpError> {
        let (answer, negotiated) = self.sdp.answer(offer)?;
        self.agreed(now, negotiated);
        Ok(answer)
    }

    /// Takes the answer to our offer; media goes on as agreed.
    pub(super) fn take_answer(&mut self, now: Instant, answer: &[u8]) -> Result<(), SdpError> {
        let negotiated = self.sdp.take_answer(answer)?;
        self.agreed(now, negotiated);
        Ok(())
    }

    fn agreed(&mut self, now: Instant, negotiated: Negotiated) {
        if negotiated.held != self.held {
            self.held = negotiated.held;
            self.see(now, if self.held { "put on hold" } else { "taken back from hold" });
        }
        let known = self.negotiated.as_ref().map(|before| before.codec);
        self.command(now, Command::SetRemote(Box::new(negotiated.clone())));
        let codec = negotiated.codec;
        self.negotiated = Some(Box::new(negotiated));
        if known != Some(codec) && self.speaking.is_none() {
            self.be_quiet(now);
        }
    }

    /// Sends nothing but the noise of the room.
    fn be_quiet(&mut self, now: Instant) {
        let Some(codec) = self.negotiated.as_ref().map(|negotiated| negotiated.codec) else { return };
        let noise = self.room.noise(codec);
        self.last_play += 1;
        let playlist = Playlist { repeat: Repeat::Forever, ..Playlist::once(vec![noise]) };
        self.command(now, Command::Play { id: PlayId(self.last_play), playlist: Box::new(playlist) });
    }

    /// Says something; see [`Self::is_speaking`].
    pub(super) fn say(&mut self, now: Instant, prompts: Vec<Arc<EncodedPrompt>>) {
        self.last_play += 1;
        let id = PlayId(self.last_play);
        self.speaking = Some(id);
        self.command(now, Command::Play { id, playlist: Box::new(Playlist::once(prompts)) });
    }

    /// Whether what was to be said has not been said yet.
    pub(crate) fn is_speaking(&self) -> bool {
        self.speaking.is_some()
    }

    /// Presses keys, one after another; the number by which [`Self::has_pressed`] knows them.
    pub(super) fn press(
        &mut self,
        now: Instant,
        digits: Vec<Digit>,
        duration: Duration,
        gap: Duration,
        method: DtmfMethod,
    ) -> u64 {
        self.last_dtmf += 1;
        self.pressing.insert(self.last_dtmf, digits.len());
        let request = DtmfRequest { digits, duration, gap, method };
        self.command(now, Command::SendDtmf { id: DtmfId(self.last_dtmf), request });
        self.last_dtmf
    }

    /// Whether the keys of this number are out.
    pub(crate) fn has_pressed(&self, number: u64) -> bool {
        !self.pressing.contains_key(&number)
    }

    fn command(&mut self, now: Instant, command: Command) {
        if let Some(stream) = &mut self.stream {
            stream.command(now, command);
            // Whatever follows from it comes out at the next poll, which is now.
            self.due = Some(now);
        }
    }

    /// Takes a packet; `false` when nothing follows from it before [`Self::due`] but that it was heard.
    pub(super) fn handle_packet(&mut self, now: Instant, channel: Channel, from: SocketAddr, bytes: &[u8]) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        match channel {
            Channel::Rtp => {
                self.heard.take(self.negotiated.as_deref(), bytes);
                // A phone passes nothing on.
                stream.handle_packet(now, from, bytes);
                if self.is_lazy && stream.awaits_only_time() {
                    return false;
                }
            }
            Channel::Rtcp => stream.handle_rtcp(now, from, bytes),
        }
        self.due = Some(now);
        true
    }

    /// When the media wants to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(stream) = &mut self.stream {
            stream.handle_timeout(now);
        }
    }

    /// Sends what the media wants sent, and takes note of what it reports.
    pub(super) fn drain(&mut self, now: Instant, outbox: &mut Outbox) {
        let Outbox { packets: outbox, scratch } = outbox;
        let mut events = Vec::new();
        loop {
            let Some(stream) = &mut self.stream else { return };
            match stream.poll_output(scratch.as_mut_slice()) {
                Output::Transmit(transmit) => {
                    let from = match transmit.channel {
                        Channel::Rtp => self.rtp,
                        Channel::Rtcp => rtcp_of(self.rtp),
                    };
                    if let (Some(negotiated), Channel::Rtp) = (&self.negotiated, transmit.channel) {
                        self.sent.take_sent(negotiated, transmit.bytes);
                    }
                    outbox.push_back(Packet { from, to: transmit.to, bytes: transmit.bytes.into() });
                }
                Output::Event(event) => events.push(event),
                Output::Recording { .. } => {}
                Output::Timeout(due) => {
                    self.due = due;
                    if events.is_empty() {
                        return;
                    }
                }
            }
            for event in events.drain(..) {
                self.media_event(now, event);
            }
        }
    }

    fn media_event(&mut self, now: Instant, event: MediaEvent) {
        match event {
            MediaEvent::Digit { digit, .. } => {
                self.keys.push(Key { at: now, key: digit.as_char() });
                self.see(now, format!("got key {}", digit.as_char()));
            }
            MediaEvent::PlayoutFinished { id, .. } if self.speaking == Some(id) => {
                self.speaking = None;
                self.be_quiet(now);
            }
            // A call may end upon its last key: then there is no gap after it.
            MediaEvent::DtmfSent { id, sent } => {
                self.pressing.retain(|number, wanted| *number != id.0 || *wanted > sent);
            }
            MediaEvent::MediaStarted { .. } => self.see(now, "first audio"),
            MediaEvent::PlayoutFinished { .. }
            | MediaEvent::RecordingFinished { .. }
            | MediaEvent::MediaTimeout { .. }
            | MediaEvent::RemoteBye => {}
        }
    }

    /// Ends the call: nothing more is sent but a goodbye.
    pub(super) fn end(&mut self, now: Instant, ended: Ended, outbox: &mut Outbox) {
        if self.ended().is_some() {
            return;
        }
        self.see(now, format!("ended by {}: {} {}", ended.by.in_words(), ended.code, ended.reason));
        self.state = State::Over(ended);
        self.over = Some(now);
        self.speaking = None;
        if let Some(stream) = &mut self.stream {
            stream.close(now);
        }
        self.drain(now, outbox);
        if let Some(stream) = self.stream.take() {
            self.stats = stream.stats();
        }
        self.due = None;
    }
}

/// Where RTCP goes that does not share the port of RTP (RFC 3550 section 11).
pub(crate) fn rtcp_of(rtp: SocketAddr) -> SocketAddr {
    SocketAddr::new(rtp.ip(), rtp.port().saturating_add(1))
}
