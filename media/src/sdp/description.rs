//! The text of a session description, RFC 8866: lenient in, strict out.
//!
//! Reading takes any line ending, NULs at the end, lines in any order, fields that are missing and lines that are unknown;
//! it refuses what would have to be guessed, and whatever is larger than a telephone call needs.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use super::error::SdpError;

const MAX_OCTETS: usize = 65_536;
const MAX_MEDIA: usize = 32;
const MAX_ATTRIBUTES: usize = 512;
const MAX_FORMATS: usize = 128;

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionDescription {
    /// `o=`; absent in some that arrive.
    pub origin: Option<Origin>,
    /// `s=`.
    pub name: String,
    /// `c=` of the session.
    pub connection: Option<ConnectionAddress>,
    /// `t=`, the first: when the session begins and ends, in seconds since 1900; zeros for a permanent one.
    pub time: (u64, u64),
    /// `a=` lines of the session.
    pub attributes: Vec<Attribute>,
    /// `m=` sections in their order.
    pub media: Vec<MediaDescription>,
}

/// `o=`: who made this description, and which version of it this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `-` when there is none.
    pub username: String,
    /// Kept as text: some peers exceed 64 bits.
    pub session_id: String,
    /// Kept as text like the identifier.
    pub version: String,
    /// The machine it was made on.
    pub address: ConnectionAddress,
}

/// The address in `c=` or `o=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionAddress {
    /// IPv4 or IPv6.
    Ip(IpAddr),
    /// A host name, which media never waits to be resolved.
    Host(String),
}

/// One `a=` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Before the colon.
    pub name: String,
    /// After the colon; empty for a property attribute.
    pub value: String,
}

/// One `m=` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaDescription {
    /// `audio`, `video`, `image`, …
    pub kind: String,
    /// 0 means refused or removed.
    pub port: u16,
    /// `RTP/AVP`, …
    pub protocol: String,
    /// Payload types for RTP, anything for the rest.
    pub formats: Vec<String>,
    /// `c=` of this section.
    pub connection: Option<ConnectionAddress>,
    /// `a=` lines of this section.
    pub attributes: Vec<Attribute>,
}

/// `a=rtpmap` (RFC 8866 section 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RtpMap<'a> {
    pub(super) encoding: &'a str,
    pub(super) clock_rate: u32,
    pub(super) channels: u32,
}

impl SessionDescription {
    /// Reads a description. Octets that are not UTF-8 are replaced: they occur in names, which nobody needs.
    pub fn parse(body: &[u8]) -> Result<SessionDescription, SdpError> {
        if body.len() > MAX_OCTETS {
            return Err(SdpError::TooLarge { limit: MAX_OCTETS, got: body.len() });
        }
        let text = String::from_utf8_lossy(body);
        // Some count the end of a C string.
        let text = text.trim_end_matches('\0');
        let mut description = SessionDescription::default();
        let mut attributes = 0;
        for (index, line) in text.split(['\r', '\n']).filter(|line| !line.trim_ascii().is_empty()).enumerate() {
            let line = line.trim_ascii();
            let number = index + 1;
            let malformed = |expected| SdpError::Malformed { line: number, expected, got: line.chars().take(80).collect() };
            let Some((kind, value)) = line.split_once('=') else {
                return Err(malformed("type=value"));
            };
            let value = value.trim_ascii();
            match kind.trim_ascii() {
                // Version 0 is the only one there ever was; another is a different language.
                "v" if value != "0" => return Err(malformed("v=0")),
                "o" => description.origin = Origin::parse(value),
                "s" => description.name = value.to_owned(),
                "t" if description.time == (0, 0) => {
                    let (start, stop) = value.split_once(' ').unwrap_or_default();
                    description.time = start.parse().ok().zip(stop.trim_ascii().parse().ok()).unwrap_or_default();
                }
                "c" => {
                    let connection = Some(ConnectionAddress::parse(value).ok_or(malformed("c=IN IP4|IP6 address"))?);
                    match description.media.last_mut() {
                        Some(media) => media.connection = connection,
                        None => description.connection = connection,
                    }
                }
                "a" => {
                    attributes += 1;
                    if attributes > MAX_ATTRIBUTES {
                        return Err(SdpError::TooMany { what: "attributes", limit: MAX_ATTRIBUTES });
                    }
                    let attribute = Attribute::parse(value);
                    match description.media.last_mut() {
                        Some(media) => media.attributes.push(attribute),
                        None => description.attributes.push(attribute),
                    }
                }
                "m" => {
                    if description.media.len() == MAX_MEDIA {
                        return Err(SdpError::TooMany { what: "media sections", limit: MAX_MEDIA });
                    }
                    let media = MediaDescription::parse(value).ok_or(malformed("m=media port protocol formats"))?;
                    if media.formats.len() > MAX_FORMATS {
                        return Err(SdpError::TooMany { what: "formats", limit: MAX_FORMATS });
                    }
                    description.media.push(media);
                }
                _ => {}
            }
        }
        Ok(description)
    }
}

impl fmt::Display for SessionDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v=0\r\n")?;
        if let Some(origin) = &self.origin {
            let Origin { username, session_id, version, address } = origin;
            write!(f, "o={username} {session_id} {version} {address}\r\n")?;
        }
        let name = if self.name.is_empty() { "-" } else { &self.name };
        write!(f, "s={name}\r\n")?;
        if let Some(connection) = &self.connection {
            write!(f, "c={connection}\r\n")?;
        }
        write!(f, "t={} {}\r\n", self.time.0, self.time.1)?;
        for attribute in &self.attributes {
            write!(f, "{attribute}\r\n")?;
        }
        for media in &self.media {
            write!(f, "m={} {} {}", media.kind, media.port, media.protocol)?;
            for format in &media.formats {
                write!(f, " {format}")?;
            }
            f.write_str("\r\n")?;
            if let Some(connection) = &media.connection {
                write!(f, "c={connection}\r\n")?;
            }
            for attribute in &media.attributes {
                write!(f, "{attribute}\r\n")?;
            }
        }
        Ok(())
    }
}

impl Origin {
    fn parse(value: &str) -> Option<Origin> {
        let mut fields = value.split_ascii_whitespace();
        let (username, session_id, version) = (fields.next()?, fields.next()?, fields.next()?);
        let address = ConnectionAddress::from_fields(fields)?;
        Some(Origin { username: username.to_owned(), session_id: session_id.to_owned(), version: version.to_owned(), address })
    }
}

impl ConnectionAddress {
    fn parse(value: &str) -> Option<ConnectionAddress> {
        ConnectionAddress::from_fields(value.split_ascii_whitespace())
    }

    pub(super) fn from_fields<'a>(mut fields: impl Iterator<Item = &'a str>) -> Option<ConnectionAddress> {
        if !fields.next()?.eq_ignore_ascii_case("IN") {
            return None;
        }
        let family = fields.next()?;
        if !family.eq_ignore_ascii_case("IP4") && !family.eq_ignore_ascii_case("IP6") {
            return None;
        }
        // A multicast TTL or address count may follow a slash; a telephone call has no use for either.
        let address = fields.next()?.split('/').next().filter(|address| !address.is_empty())?;
        let unbracketed = address.trim_start_matches('[').trim_end_matches(']');
        Some(match unbracketed.parse() {
            Ok(ip) => ConnectionAddress::Ip(ip),
            Err(_) => ConnectionAddress::Host(address.to_owned()),
        })
    }
}

impl fmt::Display for ConnectionAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionAddress::Ip(ip @ IpAddr::V4(_)) => write!(f, "IN IP4 {ip}"),
            ConnectionAddress::Ip(ip @ IpAddr::V6(_)) => write!(f, "IN IP6 {ip}"),
            ConnectionAddress::Host(host) => write!(f, "IN IP4 {host}"),
        }
    }
}

impl Attribute {
    pub(super) fn property(name: &str) -> Attribute {
        Attribute { name: name.to_owned(), value: String::new() }
    }

    pub(super) fn new(name: &str, value: impl Into<String>) -> Attribute {
        Attribute { name: name.to_owned(), value: value.into() }
    }

    fn parse(line: &str) -> Attribute {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        Attribute::new(name.trim_ascii(), value.trim_ascii())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a={}", self.name)?;
        if !self.value.is_empty() {
            f.write_char(':')?;
            f.write_str(&self.value)?;
        }
        Ok(())
    }
}

impl MediaDescription {
    fn parse(value: &str) -> Option<MediaDescription> {
        let mut fields = value.split_ascii_whitespace();
        let kind = fields.next()?.to_owned();
        // `port/count` is for layered streams; only the first port is ours.
        let port = fields.next()?.split('/').next()?.parse().ok()?;
        let protocol = fields.next()?.to_owned();
        let formats = fields.map(str::to_owned).collect();
        Some(MediaDescription { kind, port, protocol, formats, connection: None, attributes: Vec::new() })
    }

    pub(super) fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    /// Plain RTP, with or without the feedback profile, whose extra packets nobody is obliged to send.
    pub(super) fn is_plain_rtp(&self) -> bool {
        self.protocol.eq_ignore_ascii_case("RTP/AVP") || self.protocol.eq_ignore_ascii_case("RTP/AVPF")
    }

    pub(super) fn attribute<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        find(&self.attributes, name)
    }

    /// What `a=rtpmap` says about a format.
    pub(super) fn rtpmap(&self, format: &str) -> Option<RtpMap<'_>> {
        self.attributes.iter().filter(|attribute| attribute.name.eq_ignore_ascii_case("rtpmap")).find_map(|attribute| {
            let (number, map) = attribute.value.split_once(char::is_whitespace)?;
            if number != format {
                return None;
            }
            let mut parts = map.trim_ascii().split('/');
            Some(RtpMap {
                encoding: parts.next()?.trim_ascii(),
                clock_rate: parts.next()?.trim_ascii().parse().ok()?,
                channels: parts.next().and_then(|count| count.trim_ascii().parse().ok()).unwrap_or(1),
            })
        })
    }
}

/// The value of the first attribute with this name.
pub(super) fn find<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name)).map(|attribute| attribute.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=alice 2890844526 2890844526 IN IP4 host.example.com\r\ns=call\r\n\
        c=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendrecv\r\nm=audio 49170 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=ptime:20\r\nm=video 51372 RTP/AVP 31\r\nc=IN IP6 2001:db8::1\r\na=inactive\r\n";

    #[test]
    fn what_is_read_is_written_again() {
        let description = SessionDescription::parse(OFFER.as_bytes()).unwrap();
        assert_eq!(description.to_string(), OFFER);
    }

    #[test]
    fn any_line_ending_and_stray_white_space_are_taken() {
        let expected = SessionDescription::parse(OFFER.as_bytes()).unwrap();
        for ending in ["\n", "\r", " \r\n", "\r\n\r\n"] {
            let text = OFFER.replace("\r\n", ending);
            assert_eq!(SessionDescription::parse(text.as_bytes()).unwrap(), expected, "{ending:?}");
        }
    }

    #[test]
    fn nuls_behind_the_last_line_are_left_out() {
        let expected = SessionDescription::parse(OFFER.as_bytes()).unwrap();
        for end in ["\0", "\0\0\0"] {
            assert_eq!(SessionDescription::parse(format!("{OFFER}{end}").as_bytes()).unwrap(), expected);
        }
        assert!(SessionDescription::parse(b"v=0\r\n\0\r\ns=-\r\n").is_err());
    }

    #[test]
    fn attributes_and_connections_belong_to_the_section_they_stand_in() {
        let description = SessionDescription::parse(OFFER.as_bytes()).unwrap();
        let [audio, video] = &description.media[..] else { panic!("two sections") };
        assert_eq!(audio.attribute("PTIME"), Some("20"));
        assert_eq!(audio.connection, None);
        assert_eq!(video.connection, Some(ConnectionAddress::Ip("2001:db8::1".parse().unwrap())));
        let map = audio.rtpmap("101").unwrap();
        assert_eq!((map.encoding, map.clock_rate, map.channels), ("telephone-event", 8000, 1));
        assert_eq!(audio.rtpmap("0"), None);
    }

    #[test]
    fn broken_lines_are_named() {
        let error = SessionDescription::parse(b"v=0\r\nm=audio seventy RTP/AVP 0\r\n").unwrap_err();
        assert_eq!(error.to_string(), "sdp line 2: expected m=media port protocol formats, got \"m=audio seventy RTP/AVP 0\"");
        assert!(error.is_malformed());
        assert!(SessionDescription::parse(b"v=0\r\nc=IN ATM 1\r\n").is_err());
        assert!(SessionDescription::parse(b"v=0\r\nc=IN IP4 /127\r\n").is_err());
        assert!(SessionDescription::parse(b"hello").is_err());
        assert!(SessionDescription::parse(b"v=1\r\n").is_err());
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let many = format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(MAX_MEDIA + 1));
        assert_eq!(
            SessionDescription::parse(many.as_bytes()),
            Err(SdpError::TooMany { what: "media sections", limit: MAX_MEDIA })
        );
        let long = "a".repeat(MAX_OCTETS + 1);
        assert!(matches!(SessionDescription::parse(long.as_bytes()), Err(SdpError::TooLarge { .. })));
    }

    #[test]
    fn octets_that_are_not_text_do_no_harm() {
        let mut body = b"v=0\r\ns=\xff\xfe\r\n".to_vec();
        body.extend_from_slice(b"m=audio 4000 RTP/AVP 0\r\n");
        assert_eq!(SessionDescription::parse(&body).unwrap().media.len(), 1);
    }
}
