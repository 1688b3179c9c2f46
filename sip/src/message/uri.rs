//! `sip:`, `sips:` and `tel:` URIs, and other schemes kept as text (RFC 3261 19.1, RFC 3966).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::scan::{decimal, trim};
use super::{Malformed, Params, limits};

/// A URI as it stands in a request line or header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    Sip(SipUri),
    Tel(TelUri),
    /// A scheme we do not route on; answered with 416 in a Request-URI.
    Other {
        scheme: String,
        rest: String,
    },
}

/// A `sip:` or `sips:` URI. `==` compares the text; use [`SipUri::is_equivalent`] for RFC 3261 19.1.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipUri {
    /// `sips:`.
    pub secure: bool,
    /// As written, escapes included.
    pub user: Option<String>,
    /// As written, escapes included.
    pub password: Option<String>,
    pub host: Host,
    pub port: Option<u16>,
    pub params: Params,
    /// `?name=value&…`, as written, escapes included.
    pub headers: Vec<(String, String)>,
}

/// A `tel:` URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelUri {
    /// The number as written, visual separators and a leading `+` included.
    pub number: String,
    pub params: Params,
}

/// A host part: name or address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Name(String),
    V4(Ipv4Addr),
    /// Written in brackets.
    V6(Ipv6Addr),
}

impl Uri {
    /// Reads a URI; no angle brackets, no white space inside.
    ///
    /// # Errors
    /// When there is no scheme, or a `sip:`, `sips:` or `tel:` URI does not follow its grammar.
    pub fn parse(s: &str) -> Result<Uri, Malformed> {
        let (scheme, rest) = s.split_once(':').ok_or(Malformed::expected("a URI scheme followed by a colon"))?;
        if s.bytes().any(|b| b.is_ascii_whitespace() || b == b'<' || b == b'>' || b == b'"' || b < 0x20) {
            return Err(Malformed::expected("a URI without spaces or brackets"));
        }
        if scheme.eq_ignore_ascii_case("sip") {
            return SipUri::parse_rest(false, rest).map(Uri::Sip);
        }
        if scheme.eq_ignore_ascii_case("sips") {
            return SipUri::parse_rest(true, rest).map(Uri::Sip);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            return TelUri::parse_rest(rest).map(Uri::Tel);
        }
        let valid = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !valid {
            return Err(Malformed::expected("a URI scheme"));
        }
        Ok(Uri::Other { scheme: scheme.to_owned(), rest: rest.to_owned() })
    }

    /// Reads the URI of an address field. Gateways write `sip:@host` for a caller without a number: it is `sip:host` there.
    pub(super) fn parse_in_address(s: &str) -> Result<Uri, Malformed> {
        match s.split_once(":@") {
            Some((scheme, host))
                if ["sip", "sips"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) && !host.contains('@') =>
            {
                Uri::parse(&format!("{scheme}:{host}"))
            }
            Some(_) | None => Uri::parse(s),
        }
    }

    #[must_use]
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(uri) => Some(uri),
            Uri::Tel(_) | Uri::Other { .. } => None,
        }
    }

    /// The user part or telephone number without escapes.
    #[must_use]
    pub fn user(&self) -> Option<Cow<'_, str>> {
        match self {
            Uri::Sip(uri) => uri.user.as_deref().map(unescape),
            Uri::Tel(uri) => Some(Cow::Borrowed(&uri.number)),
            Uri::Other { .. } => None,
        }
    }

    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        self.as_sip().map(|uri| &uri.host)
    }

    /// Without what may not stand in a request line: header fields and the `method` parameter (RFC 3261 19.1.1, table 1).
    #[must_use]
    pub fn into_request_uri(mut self) -> Uri {
        if let Uri::Sip(uri) = &mut self {
            uri.headers.clear();
            uri.params.remove("method");
        }
        self
    }

    /// Whether both name the same resource (RFC 3261 19.1.4; telephone numbers without their visual separators).
    #[must_use]
    pub fn is_equivalent(&self, other: &Uri) -> bool {
        match (self, other) {
            (Uri::Sip(a), Uri::Sip(b)) => a.is_equivalent(b),
            (Uri::Tel(a), Uri::Tel(b)) => a.is_equivalent(b),
            (Uri::Other { scheme, rest }, Uri::Other { scheme: scheme_b, rest: rest_b }) => {
                scheme.eq_ignore_ascii_case(scheme_b) && rest == rest_b
            }
            (Uri::Sip(_), _) | (Uri::Tel(_), _) | (Uri::Other { .. }, _) => false,
        }
    }
}

impl SipUri {
    /// The header fields that a request made from the URI is to have, without escapes (RFC 3261 19.1.5).
    pub fn fields(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let fields = self.headers.iter().map(|(name, value)| (unescape(name), unescape(value)));
        fields.filter(|(name, _)| !name.eq_ignore_ascii_case("body"))
    }

    /// `sip:user@host`; characters that need it are escaped in the user part.
    #[must_use]
    pub fn new(user: Option<&str>, host: Host, port: Option<u16>) -> SipUri {
        SipUri {
            secure: false,
            user: user.map(escape_user),
            password: None,
            host,
            port,
            params: Params::new(),
            headers: Vec::new(),
        }
    }

    fn parse_rest(secure: bool, rest: &str) -> Result<SipUri, Malformed> {
        let (rest, headers) = match rest.split_once('?') {
            // A question mark may stand in the user part.
            Some((_, after)) if after.contains('@') => match rest.rsplit_once('@') {
                Some((_, host)) => match host.split_once('?') {
                    Some((_, headers)) => (rest.strip_suffix(headers).and_then(|r| r.strip_suffix('?')).unwrap_or(rest), headers),
                    None => (rest, ""),
                },
                None => (rest, ""),
            },
            Some((before, after)) => (before, after),
            None => (rest, ""),
        };
        let (userinfo, hostport) = match rest.rsplit_once('@') {
            Some((userinfo, hostport)) => (Some(userinfo), hostport),
            None => (None, rest),
        };
        let (user, password) = match userinfo {
            None => (None, None),
            Some("") => return Err(Malformed::expected("a user before @")),
            Some(userinfo) => {
                check_escapes(userinfo)?;
                match userinfo.split_once(':') {
                    Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
                    None => (Some(userinfo.to_owned()), None),
                }
            }
        };
        let (hostport, params) = match hostport.split_once(';') {
            Some((hostport, params)) => (hostport, Params::parse(params)?),
            None => (hostport, Params::new()),
        };
        let (host, port) = Host::parse_with_port(hostport)?;
        Ok(SipUri { secure, user, password, host, port, params, headers: parse_headers(headers)? })
    }

    /// The user part up to parameters of its own (RFC 3261 19.1.6), without escapes, and whether there are any.
    #[must_use]
    pub fn user_and_whether_params(&self) -> Option<(Cow<'_, str>, bool)> {
        let user = self.user.as_deref()?;
        Some(match user.split_once(';') {
            Some((user, _)) => (unescape(user), true),
            None => (unescape(user), false),
        })
    }

    /// The `transport` parameter.
    #[must_use]
    pub fn transport(&self) -> Option<&str> {
        self.params.get("transport")
    }

    /// Whether it carries `lr`, so that a proxy behind it routes loosely (RFC 3261 19.1.1).
    #[must_use]
    pub fn is_loose_router(&self) -> bool {
        self.params.contains("lr")
    }

    /// Whether both name the same resource (RFC 3261 19.1.4).
    #[must_use]
    pub fn is_equivalent(&self, other: &SipUri) -> bool {
        // These must match even when only one side has them; any other parameter counts only when both have it.
        const STRICT: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];
        if self.secure != other.secure
            || self.user.as_deref().map(unescape) != other.user.as_deref().map(unescape)
            || self.password.as_deref().map(unescape) != other.password.as_deref().map(unescape)
            || !self.host.is_equivalent(&other.host)
            || self.port != other.port
        {
            return false;
        }
        let same = |name: &str| match (self.params.get(name), other.params.get(name)) {
            (Some(a), Some(b)) => unescape(a).eq_ignore_ascii_case(&unescape(b)),
            (None, None) => self.params.contains(name) == other.params.contains(name),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !STRICT.iter().all(|name| same(name)) {
            return false;
        }
        if !self.params.iter().filter(|p| other.params.contains(&p.name)).all(|p| same(&p.name)) {
            return false;
        }
        self.headers.len() == other.headers.len()
            && self.headers.iter().all(|(name, value)| {
                other
                    .headers
                    .iter()
                    .any(|(n, v)| unescape(n).eq_ignore_ascii_case(&unescape(name)) && unescape(v) == unescape(value))
            })
    }
}

impl TelUri {
    fn parse_rest(rest: &str) -> Result<TelUri, Malformed> {
        let (number, params) = match rest.split_once(';') {
            Some((number, params)) => (number, Params::parse(params)?),
            None => (rest, Params::new()),
        };
        let digits = number.strip_prefix('+').unwrap_or(number);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit() || b"*#-.()".contains(&b)) {
            return Err(Malformed::expected("a telephone number"));
        }
        Ok(TelUri { number: number.to_owned(), params })
    }

    /// The number without visual separators.
    #[must_use]
    pub fn digits(&self) -> String {
        self.number.chars().filter(|c| !"-.()".contains(*c)).collect()
    }

    fn is_equivalent(&self, other: &TelUri) -> bool {
        // By name, so that a parameter repeated against the grammar still equals itself.
        let same = |name: &str| {
            self.params.contains(name) == other.params.contains(name) && self.params.get(name) == other.params.get(name)
        };
        self.digits().eq_ignore_ascii_case(&other.digits())
            && self.params.iter().chain(other.params.iter()).all(|p| same(&p.name))
    }
}

impl Host {
    /// Reads a host name or address; IPv6 in brackets.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(s: &str) -> Result<Host, Malformed> {
        if let Some(inner) = s.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Malformed::expected("] after an IPv6 address"))?;
            // The grammar of RFC 3261 allows a colon too many (RFC 5118 4.10).
            let address = inner.parse().or_else(|_| inner.replacen(":::", "::", 1).parse());
            return address.map(Host::V6).map_err(|_| Malformed::expected("an IPv6 address"));
        }
        if let Ok(address) = s.parse() {
            return Ok(Host::V4(address));
        }
        // Underscores are not in the grammar, but in real host names.
        let valid = !s.is_empty() && s.len() <= 255 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if valid { Ok(Host::Name(s.to_owned())) } else { Err(Malformed::expected("a host name or address")) }
    }

    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; spaces around the colon are allowed, as in Via.
    pub(crate) fn parse_with_port(s: &str) -> Result<(Host, Option<u16>), Malformed> {
        let s = trim(s);
        let colon = match s.rfind(']') {
            Some(bracket) => s.get(bracket..).and_then(|t| t.find(':')).map(|i| i + bracket),
            None => s.find(':'),
        };
        let Some((host, port)) = colon.and_then(|i| Some((s.get(..i)?, s.get(i + 1..)?))) else {
            return Ok((Host::parse(s)?, None));
        };
        let port = decimal(trim(port), u32::from(u16::MAX))
            .and_then(|p| u16::try_from(p).ok())
            .ok_or(Malformed::expected("a port number"))?;
        Ok((Host::parse(trim(host))?, Some(port)))
    }

    /// The address, when it is not a name.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    fn is_equivalent(&self, other: &Host) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a == b,
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Host {
        match address {
            IpAddr::V4(address) => Host::V4(address),
            IpAddr::V6(address) => Host::V6(address),
        }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel(uri) => write!(f, "tel:{}{}", uri.number, uri.params),
            Uri::Other { scheme, rest } => write!(f, "{scheme}:{rest}"),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        self.host.fmt(f)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        for (i, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => address.fmt(f),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl std::str::FromStr for Uri {
    type Err = Malformed;

    fn from_str(s: &str) -> Result<Uri, Malformed> {
        Uri::parse(s)
    }
}

fn parse_headers(s: &str) -> Result<Vec<(String, String)>, Malformed> {
    let mut headers = Vec::new();
    for pair in s.split('&').filter(|pair| !pair.is_empty()) {
        if headers.len() == limits::PARAMS {
            return Err(Malformed::expected("at most 64 URI headers"));
        }
        let (name, value) = pair.split_once('=').ok_or(Malformed::expected("= in a URI header"))?;
        check_escapes(name)?;
        check_escapes(value)?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(headers)
}

/// Every `%` must start a two-digit hexadecimal escape.
fn check_escapes(s: &str) -> Result<(), Malformed> {
    let mut parts = s.split('%');
    parts.next();
    for part in parts {
        let hex = part.as_bytes().get(..2);
        if !hex.is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit)) {
            return Err(Malformed::expected("two hexadecimal digits after %"));
        }
    }
    Ok(())
}

/// Decodes `%hh`; what is not a valid escape stays as it is.
fn unescape(s: &str) -> Cow<'_, str> {
    if !s.contains('%') {
        return Cow::Borrowed(s);
    }
    let mut out = Vec::with_capacity(s.len());
    let mut bytes = s.bytes();
    while let Some(b) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        let mut ahead = bytes.clone();
        match (b, hex(ahead.next()), hex(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits always fit an octet.
                out.push(u8::try_from(high * 16 + low).unwrap_or_default());
                bytes = ahead;
            }
            _ => out.push(b),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn escape_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for b in user.bytes() {
        if b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(s: &str) -> Uri {
        Uri::parse(s).unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn parts_are_told_apart() {
        let Uri::Sip(u) = uri("sips:user;par=u%40example.net:pw@[2001:db8::9:1]:5070;lr;transport=TCP?a=b&C=%20") else {
            panic!("not a sip uri");
        };
        assert!(u.secure && u.is_loose_router());
        assert_eq!(u.user.as_deref(), Some("user;par=u%40example.net"));
        assert_eq!(u.password.as_deref(), Some("pw"));
        assert_eq!(u.host.to_string(), "[2001:db8::9:1]");
        assert_eq!(u.port, Some(5070));
        assert_eq!(u.transport(), Some("TCP"));
        assert_eq!(u.headers.len(), 2);
        let fields: Vec<_> = u.fields().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(fields, ["a=b", "C= "]);
        let Uri::Sip(u) = uri("sip:a@b?body=v%3D0&X%2DId=%C3%BC") else { panic!("not a sip uri") };
        assert_eq!(u.fields().collect::<Vec<_>>(), [("X-Id".into(), "ü".into())]);
    }

    #[test]
    fn a_request_line_carries_neither_header_fields_nor_a_method() {
        let written = uri("sips:bob:pw@example.net:5070;method=BYE;user=phone;lr?X-Evil=1&Route=%3Csip:x%3E");
        assert_eq!(written.into_request_uri().to_string(), "sips:bob:pw@example.net:5070;user=phone;lr");
        assert_eq!(uri("tel:+44;method=x").into_request_uri().to_string(), "tel:+44;method=x");
    }

    #[test]
    fn writing_gives_back_what_was_read() {
        for s in [
            "sip:alice@example.com",
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
            "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            "sip:[::1]:5060;maddr=1.2.3.4",
            "tel:+358-555-1234567;postd=pp22",
            "urn:service:sos",
        ] {
            assert_eq!(uri(s).to_string(), s);
        }
    }

    #[test]
    fn what_is_not_a_uri_is_refused() {
        for s in [
            "",
            "alice",
            "sip:",
            "sip:@host",
            "sip:a b@host",
            "<sip:a@host>",
            "sip:a@host:99999",
            "sip:a@host:",
            "sip:a@[::1",
            "sip:a@[nope]",
            "sip:a%4@host",
            "tel:",
            "tel:none",
            "1x:y",
        ] {
            assert!(Uri::parse(s).is_err(), "{s}");
        }
    }

    #[test]
    fn equivalence_follows_the_examples_of_rfc_3261() {
        for (a, b) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtlanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+1-201-555-0123", "tel:+12015550123"),
        ] {
            assert!(uri(a).is_equivalent(&uri(b)), "{a} {b}");
            assert!(uri(b).is_equivalent(&uri(a)), "{b} {a}");
        }
        for (a, b) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=off", "sip:carol@chicago.com;security=on"),
            ("sip:a@h", "sips:a@h"),
        ] {
            assert!(!uri(a).is_equivalent(&uri(b)), "{a} {b}");
        }
    }

    #[test]
    fn users_are_escaped_when_built_and_read_back() {
        let built = Uri::Sip(SipUri::new(Some("a b@c"), Host::Name("h".into()), None));
        assert_eq!(built.to_string(), "sip:a%20b%40c@h");
        assert_eq!(uri(&built.to_string()).user().as_deref(), Some("a b@c"));
    }
}
