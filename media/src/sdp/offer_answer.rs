//! One side of the offer/answer exchanges of a call leg, RFC 3264.
//!
//! ```text
//!   OfferAnswer::answer(offer)          their offer → our answer             (INVITE with SDP, re-INVITE, UPDATE)
//!   OfferAnswer::offer()                our offer                            (outgoing INVITE; 200 to one without SDP)
//!   OfferAnswer::take_answer(answer)    their answer to it                   (200 or ACK; early answers may differ)
//!   OfferAnswer::take_refresh(answer)   their answer to what is agreed       (re-INVITE of a session timer)
//!   OfferAnswer::withdraw_offer()       it was refused: all stays as it was  (4xx to a re-INVITE)
//! ```

use std::net::IpAddr;
use std::time::Duration;

use super::description::{Attribute, ConnectionAddress, MediaDescription, Origin, SessionDescription};
use super::direction::Direction;
use super::error::SdpError;
use super::negotiation::{Negotiated, TelephoneEventTypes};
use super::remote::{Remote, next_port};
use crate::codec::Codec;
use crate::rtp::PayloadType;

/// Keys and flash; what `telephone_event` understands.
const TELEPHONE_EVENTS: &str = "0-16";
const SHORTEST_PACKET: Duration = Duration::from_millis(10);
const LONGEST_PACKET: Duration = Duration::from_millis(60);

/// What we bring to the exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMedia {
    /// The address the other side reaches us at.
    pub address: IpAddr,
    /// Our RTP port; RTCP is on the next one unless rtcp-mux is agreed.
    pub rtp_port: u16,
    /// The codecs we speak, in order of preference for our own offers. Must not be empty.
    pub codecs: Vec<Codec>,
    /// The packet time we ask for, and send with when the other side does not say.
    pub packet_time: Duration,
    /// Whether our offers propose rtcp-mux; an offer that proposes it is always accepted.
    pub offer_rtcp_mux: bool,
    /// The identifier in `o=`: unique per leg, the same for its whole life.
    pub session_id: u64,
}

/// One side of the exchanges of a leg.
#[derive(Debug, Clone)]
pub struct OfferAnswer {
    local: LocalMedia,
    /// What we want to do with the stream; the other side may allow less.
    wanted: Direction,
    version: u64,
    /// `t=` of the other side's last offer, which our answer repeats (RFC 3264 section 6).
    time: (u64, u64),
    /// The description last sent, with its version, to tell whether the next one is new.
    sent: Option<SessionDescription>,
    /// The sections the two sides have used so far: none may ever disappear (RFC 3264 section 8).
    sections: Vec<Section>,
    offer: Option<Offer>,
    /// What we said in the last completed exchange.
    agreed: Option<Offer>,
    current: Option<Negotiated>,
}

/// A section as it must be repeated in later offers.
#[derive(Debug, Clone)]
struct Section {
    kind: String,
    protocol: String,
    formats: Vec<String>,
    is_ours: bool,
}

/// What an answer is measured against.
#[derive(Debug, Clone)]
struct Offer {
    codecs: Vec<(PayloadType, Codec)>,
    telephone_event: Option<PayloadType>,
    direction: Direction,
    rtcp_mux: bool,
    /// Made when something was agreed already.
    is_later: bool,
}

impl OfferAnswer {
    /// Nothing exchanged yet; we want to send and receive.
    pub fn new(local: LocalMedia) -> Self {
        OfferAnswer {
            local,
            wanted: Direction::SendRecv,
            version: 1,
            time: (0, 0),
            sent: None,
            sections: Vec::new(),
            offer: None,
            agreed: None,
            current: None,
        }
    }

    /// What the last completed exchange settled.
    pub fn current(&self) -> Option<&Negotiated> {
        self.current.as_ref()
    }

    /// Sets what we want from the next exchange on: `SendOnly` or `Inactive` puts the other side on hold.
    pub fn want(&mut self, direction: Direction) {
        self.wanted = direction;
    }

    /// Limits or reorders our codecs from the next exchange on. An empty list changes nothing.
    pub fn set_codecs(&mut self, codecs: Vec<Codec>) {
        if !codecs.is_empty() {
            self.local.codecs = codecs;
        }
    }

    /// Answers an offer: its codecs that we speak, in its order, with its payload types; further sections are refused
    /// in their place. On an error everything stays as it was.
    pub fn answer(&mut self, offer: &[u8]) -> Result<(String, Negotiated), SdpError> {
        let offer = SessionDescription::parse(offer)?;
        let chosen = self.choose(&offer)?;
        let media: Vec<MediaDescription> = offer
            .media
            .iter()
            .enumerate()
            .map(|(index, theirs)| match &chosen {
                Some((accepted, remote)) if *accepted == index => self.accepted_section(theirs, remote),
                _ => refused_section(&theirs.kind, &theirs.protocol, &theirs.formats),
            })
            .collect();
        let negotiated = match (&chosen, &self.current) {
            (Some((_, remote)), _) => self.settle(remote, &remote.codecs, remote.telephone_event, self.wanted),
            (None, Some(current)) => taken_away(current),
            (None, None) => return Err(SdpError::NoAudio),
        };
        self.sections = sections_of(&media, chosen.as_ref().map(|(index, _)| *index));
        self.time = offer.time;
        let text = self.write(media);
        self.agreed = chosen.map(|(_, remote)| Offer {
            direction: remote.direction.reversed().and(self.wanted),
            codecs: remote.codecs,
            telephone_event: remote.telephone_event,
            rtcp_mux: remote.rtcp_mux,
            is_later: false,
        });
        self.current = Some(negotiated.clone());
        Ok((text, negotiated))
    }

    /// Whether [`Self::answer`] would accept an offer, found out without writing the answer.
    ///
    /// # Errors
    /// Those of `answer`.
    pub fn probe(&self, offer: &[u8]) -> Result<(), SdpError> {
        match (self.choose(&SessionDescription::parse(offer)?)?, &self.current) {
            (Some(_), _) | (None, Some(_)) => Ok(()),
            (None, None) => Err(SdpError::NoAudio),
        }
    }

    /// Makes an offer: a first one, or one that keeps every section of what went before.
    pub fn offer(&mut self) -> String {
        let bound = self.current.as_ref().and_then(|current| current.telephone_event);
        let telephone_event = bound.map_or(PayloadType::TELEPHONE_EVENT, |types| types.receive);
        let codecs: Vec<(PayloadType, Codec)> =
            self.local.codecs.iter().filter_map(|&codec| Some((self.offered_payload_type(codec)?, codec))).collect();
        if !self.sections.iter().any(|section| section.is_ours) {
            let protocol = "RTP/AVP".to_owned();
            self.sections.push(Section { kind: "audio".to_owned(), protocol, formats: Vec::new(), is_ours: true });
        }
        let telephone_event = Some(telephone_event);
        let offer = Offer {
            codecs,
            telephone_event,
            direction: self.wanted,
            rtcp_mux: self.local.offer_rtcp_mux,
            is_later: self.current.is_some(),
        };
        let media = self
            .sections
            .iter()
            .map(|section| {
                if section.is_ours {
                    self.offered_section(section, &offer)
                } else {
                    refused_section(&section.kind, &section.protocol, &section.formats)
                }
            })
            .collect();
        self.offer = Some(offer);
        self.write(media)
    }

    /// Takes the answer to our offer. May be called again for the same offer: an answer in a 183 of one branch and the
    /// one in the 200 of another need not agree, even where the first has made an offer meanwhile. Port 0 refuses a first offer, and
    /// takes the stream away in answer to a later one (RFC 3264 section 6). On an error everything stays as it was.
    pub fn take_answer(&mut self, answer: &[u8]) -> Result<Negotiated, SdpError> {
        let offer = self.offer.clone().ok_or(SdpError::UnexpectedAnswer)?;
        let may_end = offer.is_later;
        self.agree(offer, answer, may_end)
    }

    /// Takes the answer to a repetition of what we said in the last completed exchange: a refresh of the session (RFC 4028 7.4). What
    /// it settles, when that is not what was agreed already. On an error everything stays as it was.
    pub fn take_refresh(&mut self, answer: &[u8]) -> Result<Option<Negotiated>, SdpError> {
        let agreed = self.agreed.clone().ok_or(SdpError::UnexpectedAnswer)?;
        let before = self.current.clone();
        let negotiated = self.agree(agreed, answer, false)?;
        Ok(Some(negotiated).filter(|negotiated| before.as_ref() != Some(negotiated)))
    }

    fn agree(&mut self, offer: Offer, answer: &[u8], may_end: bool) -> Result<Negotiated, SdpError> {
        let answer = SessionDescription::parse(answer)?;
        let ours = self.sections.iter().position(|section| section.is_ours).unwrap_or(0);
        // A peer that lost count of the sections still means the only audio it has.
        let theirs = answer
            .media
            .get(ours)
            .filter(|media| media.is_audio())
            .or_else(|| answer.media.iter().find(|media| media.is_audio()))
            .ok_or(SdpError::NoAudio)?;
        if theirs.port == 0 {
            let negotiated = self.current.as_ref().filter(|_| may_end).map(taken_away).ok_or(SdpError::NoAudio)?;
            self.agreed = Some(offer);
            self.current = Some(negotiated.clone());
            return Ok(negotiated);
        }
        if !theirs.is_plain_rtp() {
            return Err(SdpError::UnsupportedProfile { got: theirs.protocol.clone() });
        }
        let mut remote = Remote::read(&answer, theirs, &self.local)?;
        remote.rtcp_mux &= offer.rtcp_mux;
        if !remote.rtcp_mux && remote.rtcp_address == remote.address {
            remote.rtcp_address = remote.address.and_then(next_port);
        }
        let negotiated = self.settle(&remote, &offer.codecs, offer.telephone_event, offer.direction);
        self.agreed = Some(offer);
        self.current = Some(negotiated.clone());
        Ok(negotiated)
    }

    /// Forgets an offer the other side refused; what was agreed before goes on.
    pub fn withdraw_offer(&mut self) {
        self.offer = None;
    }

    /// The section to accept. `None` when every section has port 0 and there was audio before; an offer that has something else in
    /// its place, as of fax (T.38), is none that we can do anything with.
    fn choose(&self, offer: &SessionDescription) -> Result<Option<(usize, Remote)>, SdpError> {
        let mut problem = None;
        for (index, media) in offer.media.iter().enumerate().filter(|(_, media)| media.is_audio() && media.port != 0) {
            if !media.is_plain_rtp() {
                problem.get_or_insert(SdpError::UnsupportedProfile { got: media.protocol.clone() });
            } else {
                match Remote::read(offer, media, &self.local) {
                    Ok(remote) => return Ok(Some((index, remote))),
                    Err(error) => problem = Some(error),
                }
            }
        }
        let is_removed = offer.media.iter().any(MediaDescription::is_audio) && offer.media.iter().all(|media| media.port == 0);
        match problem {
            Some(error) => Err(error),
            None if self.current.is_some() && is_removed => Ok(None),
            None => Err(SdpError::NoAudio),
        }
    }

    /// `announced` are the payload types that we told the other side to send with.
    fn settle(
        &self,
        remote: &Remote,
        announced: &[(PayloadType, Codec)],
        announced_event: Option<PayloadType>,
        wanted: Direction,
    ) -> Negotiated {
        let (payload_type, codec) = remote.preferred;
        let mut receive = announced.to_vec();
        // An answerer may choose numbers of its own; some then also send with them.
        for entry in &remote.codecs {
            if !receive.iter().any(|(known, _)| *known == entry.0) {
                receive.push(*entry);
            }
        }
        let telephone_event = match (remote.telephone_event, announced_event) {
            (Some(send), Some(receive)) => Some(TelephoneEventTypes { send, receive }),
            _ => None,
        };
        Negotiated {
            remote: remote.address,
            remote_rtcp: remote.rtcp_address,
            rtcp_mux: remote.rtcp_mux,
            codec,
            payload_type,
            packet_time: self.packet_time(remote),
            max_packet_time: remote.max_packet_time,
            receive,
            telephone_event,
            direction: remote.direction.reversed().and(wanted),
            held: !remote.direction.receives(),
        }
    }

    /// What the other side asks for, within what it takes and what we can pace.
    fn packet_time(&self, remote: &Remote) -> Duration {
        let asked = remote.packet_time.unwrap_or(self.local.packet_time);
        asked.min(remote.max_packet_time.unwrap_or(LONGEST_PACKET)).clamp(SHORTEST_PACKET, LONGEST_PACKET)
    }

    fn offered_payload_type(&self, codec: Codec) -> Option<PayloadType> {
        // A number that was bound to this codec once stays bound (RFC 3264 section 8.3.2).
        let bound = self.current.iter().flat_map(|current| &current.receive).find(|(_, known)| *known == codec);
        bound.map(|&(payload_type, _)| payload_type).or_else(|| codec.static_payload_type().and_then(PayloadType::new))
    }

    fn accepted_section(&self, theirs: &MediaDescription, remote: &Remote) -> MediaDescription {
        let direction = remote.direction.reversed().and(self.wanted);
        let packet_time = self.packet_time(remote);
        self.our_section(theirs.protocol.clone(), &remote.codecs, remote.telephone_event, packet_time, direction, remote.rtcp_mux)
    }

    fn offered_section(&self, section: &Section, offer: &Offer) -> MediaDescription {
        let Offer { codecs, telephone_event, direction, rtcp_mux, .. } = offer;
        let packet_time = self.local.packet_time;
        self.our_section(section.protocol.clone(), codecs, *telephone_event, packet_time, *direction, *rtcp_mux)
    }

    fn our_section(
        &self,
        protocol: String,
        codecs: &[(PayloadType, Codec)],
        telephone_event: Option<PayloadType>,
        packet_time: Duration,
        direction: Direction,
        rtcp_mux: bool,
    ) -> MediaDescription {
        let mut formats = Vec::new();
        let mut attributes = Vec::new();
        for (payload_type, codec) in codecs {
            let number = payload_type.value();
            formats.push(number.to_string());
            attributes.push(Attribute::new("rtpmap", format!("{number} {}/{}", codec.name(), codec.clock_rate())));
        }
        if let (Some(payload_type), Some((_, codec))) = (telephone_event, codecs.first()) {
            let number = payload_type.value();
            formats.push(number.to_string());
            attributes.push(Attribute::new("rtpmap", format!("{number} telephone-event/{}", codec.clock_rate())));
            attributes.push(Attribute::new("fmtp", format!("{number} {TELEPHONE_EVENTS}")));
        }
        attributes.push(Attribute::new("ptime", packet_time.as_millis().to_string()));
        if rtcp_mux {
            attributes.push(Attribute::property("rtcp-mux"));
        }
        attributes.push(Attribute::property(direction.name()));
        let port = self.local.rtp_port;
        MediaDescription { kind: "audio".to_owned(), port, protocol, formats, connection: None, attributes }
    }

    /// The description with these sections; its version moves on only when something else has changed.
    fn write(&mut self, media: Vec<MediaDescription>) -> String {
        let address = ConnectionAddress::Ip(self.local.address);
        let origin = Origin {
            username: "-".to_owned(),
            session_id: self.local.session_id.to_string(),
            version: self.version.to_string(),
            address: address.clone(),
        };
        let mut description = SessionDescription {
            origin: Some(origin),
            name: "-".to_owned(),
            connection: Some(address),
            time: self.time,
            attributes: Vec::new(),
            media,
        };
        if self.sent.as_ref().is_some_and(|sent| *sent != description) {
            self.version += 1;
            if let Some(origin) = &mut description.origin {
                origin.version = self.version.to_string();
            }
        }
        let text = description.to_string();
        self.sent = Some(description);
        text
    }
}

fn sections_of(media: &[MediaDescription], accepted: Option<usize>) -> Vec<Section> {
    // With every audio section refused, the first is the one that a later offer of ours revives.
    let ours = accepted.or_else(|| media.iter().position(MediaDescription::is_audio));
    media
        .iter()
        .enumerate()
        .map(|(index, media)| Section {
            kind: media.kind.clone(),
            protocol: media.protocol.clone(),
            formats: media.formats.clone(),
            is_ours: ours == Some(index),
        })
        .collect()
}

/// Nothing flows until a later offer brings the stream back.
fn taken_away(current: &Negotiated) -> Negotiated {
    Negotiated { remote: None, remote_rtcp: None, direction: Direction::Inactive, held: true, ..current.clone() }
}

fn refused_section(kind: &str, protocol: &str, formats: &[String]) -> MediaDescription {
    MediaDescription {
        kind: kind.to_owned(),
        port: 0,
        protocol: protocol.to_owned(),
        formats: formats.to_vec(),
        connection: None,
        attributes: Vec::new(),
    }
}
