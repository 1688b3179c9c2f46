//! What the other side's audio section asks for.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::description::{ConnectionAddress, MediaDescription, SessionDescription, find};
use super::direction::Direction;
use super::error::SdpError;
use super::offer_answer::LocalMedia;
use crate::codec::Codec;
use crate::rtp::PayloadType;

/// What the other side's section says, as far as both sides understand it.
pub(super) struct Remote {
    /// The first of `codecs`: what we send.
    pub(super) preferred: (PayloadType, Codec),
    pub(super) codecs: Vec<(PayloadType, Codec)>,
    pub(super) telephone_event: Option<PayloadType>,
    pub(super) address: Option<SocketAddr>,
    pub(super) rtcp_address: Option<SocketAddr>,
    pub(super) rtcp_mux: bool,
    pub(super) direction: Direction,
    pub(super) packet_time: Option<Duration>,
    pub(super) max_packet_time: Option<Duration>,
}

impl Remote {
    /// Reads an audio section as far as the codecs we speak go.
    pub(super) fn read(
        description: &SessionDescription,
        media: &MediaDescription,
        local: &LocalMedia,
    ) -> Result<Remote, SdpError> {
        let ours = local.codecs.as_slice();
        let mut codecs: Vec<(PayloadType, Codec)> = Vec::new();
        let mut telephone_events = Vec::new();
        for format in &media.formats {
            let Some(payload_type) = format.parse().ok().and_then(PayloadType::new) else { continue };
            let map = media.rtpmap(format);
            let codec = match &map {
                Some(map) if map.encoding.eq_ignore_ascii_case("telephone-event") => {
                    telephone_events.push((payload_type, map.clock_rate));
                    None
                }
                Some(map) => Codec::from_rtpmap(map.encoding, map.clock_rate, map.channels),
                None => Codec::from_static_payload_type(payload_type.value()),
            };
            if let Some(codec) = codec
                && ours.contains(&codec)
                && !codecs.iter().any(|&(_, known)| known == codec)
            {
                codecs.push((payload_type, codec));
            }
        }
        let Some(&preferred) = codecs.first() else {
            return Err(SdpError::NoCommonCodec { theirs: formats_of(media), ours: names_of(ours) });
        };
        // Events run on the clock of the audio they stand in for (RFC 4733 section 2).
        let clock_rate = preferred.1.clock_rate();
        let telephone_event =
            telephone_events.iter().find(|&&(_, rate)| rate == clock_rate).map(|&(payload_type, _)| payload_type);
        let ip = match media.connection.as_ref().or(description.connection.as_ref()) {
            Some(ConnectionAddress::Ip(ip)) => Some(*ip),
            Some(ConnectionAddress::Host(_)) | None => None,
        };
        // The unspecified address only says that nothing is to be sent.
        if let Some(ip) = ip.filter(|ip| !ip.is_unspecified())
            && family(ip) != family(local.address)
        {
            return Err(SdpError::AddressFamily { got: family(ip), expected: family(local.address) });
        }
        if let Some(got) = ip.filter(|&ip| is_group(ip)) {
            return Err(SdpError::NotUnicast { got });
        }
        let said = [&media.attributes, &description.attributes]
            .into_iter()
            .find_map(|attributes| attributes.iter().find_map(|attribute| Direction::from_attribute(&attribute.name)))
            .unwrap_or_default();
        let black_hole = ip.is_some_and(|ip| ip.is_unspecified());
        let direction = if black_hole { said.and(Direction::SendOnly) } else { said };
        let address = ip.filter(|ip| !ip.is_unspecified()).map(|ip| SocketAddr::new(ip, media.port));
        let rtcp_mux = media.attribute("rtcp-mux").is_some();
        let rtcp_address = if rtcp_mux { address } else { rtcp_address(media, address) };
        let packet_time = milliseconds(media.attribute("ptime").or(find(&description.attributes, "ptime")));
        let max_packet_time = milliseconds(media.attribute("maxptime").or(find(&description.attributes, "maxptime")));
        Ok(Remote {
            preferred,
            codecs,
            telephone_event,
            address,
            rtcp_address,
            rtcp_mux,
            direction,
            packet_time,
            max_packet_time,
        })
    }
}

fn family(ip: IpAddr) -> &'static str {
    match ip.to_canonical() {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

fn is_group(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}

/// `a=rtcp` (RFC 3605), else the port above.
fn rtcp_address(media: &MediaDescription, address: Option<SocketAddr>) -> Option<SocketAddr> {
    let Some(value) = media.attribute("rtcp") else { return address.and_then(next_port) };
    let mut fields = value.split_ascii_whitespace();
    let port = fields.next().and_then(|port| port.parse().ok()).filter(|&port| port != 0);
    let ip = match ConnectionAddress::from_fields(fields) {
        Some(ConnectionAddress::Ip(ip)) if !ip.is_unspecified() && !is_group(ip) => Some(ip),
        _ => address.map(|address| address.ip()),
    };
    match (ip, port) {
        (Some(ip), Some(port)) => Some(SocketAddr::new(ip, port)),
        _ => address.and_then(next_port),
    }
}

pub(super) fn next_port(address: SocketAddr) -> Option<SocketAddr> {
    Some(SocketAddr::new(address.ip(), address.port().checked_add(1)?))
}

fn milliseconds(value: Option<&str>) -> Option<Duration> {
    // Some write `20.0`; the fraction means nothing for a packet.
    let whole: u64 = value?.split('.').next()?.trim().parse().ok()?;
    (1..=1000).contains(&whole).then(|| Duration::from_millis(whole))
}

fn formats_of(media: &MediaDescription) -> String {
    let mut text = String::new();
    for format in media.formats.iter().take(16) {
        let separator = if text.is_empty() { "" } else { ", " };
        match media.rtpmap(format) {
            Some(map) => write!(text, "{separator}{}/{}", map.encoding, map.clock_rate),
            None => write!(text, "{separator}{format}"),
        }
        .unwrap_or_default();
    }
    text
}

fn names_of(codecs: &[Codec]) -> String {
    codecs.iter().map(|codec| codec.name()).collect::<Vec<_>>().join(", ")
}
