//! Header fields in their order, with raw values and typed accessors.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::scan::{decimal, is_token, saturating_decimal, split_list, trim};
use super::{
    CSeq, Contacts, ContentType, HeaderName, Malformed, Method, NameAddr, Reason, SessionExpires, StatusCode, Via, limits,
};

/// A header field value: octets without CR or LF. Usually UTF-8, but what arrived otherwise is kept, even a quoted NUL (RFC 4475 3.1.1.2).
#[derive(Clone, Default)]
pub struct HeaderValue {
    octets: Bytes,
    /// What the octets say, once it was asked for: several places ask for the same few fields of each message.
    read: OnceLock<Arc<Read>>,
}

/// A value that was read.
#[derive(Debug)]
enum Read {
    Address(NameAddr),
    /// The first element.
    Via(Via),
}

/// A header field name or value that must not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    #[error("a header name must be a token")]
    Name,
    /// See [`HeaderName::is_reserved`].
    #[error("this header belongs to the protocol and cannot be set")]
    Reserved,
    #[error("a header value must not contain CR, LF or NUL")]
    Value,
}

/// One header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub name: HeaderName,
    pub value: HeaderValue,
}

/// All header fields of a message, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<Header>);

fn is_line_break(b: u8) -> bool {
    matches!(b, b'\r' | b'\n')
}

impl HeaderValue {
    const fn of(octets: Bytes) -> HeaderValue {
        HeaderValue { octets, read: OnceLock::new() }
    }

    #[must_use]
    pub const fn from_static(value: &'static str) -> HeaderValue {
        HeaderValue::of(Bytes::from_static(value.as_bytes()))
    }

    /// A value from outside, refused where it would break the message apart.
    ///
    /// # Errors
    /// When it contains CR, LF or NUL.
    pub fn try_new(value: &str) -> Result<HeaderValue, InvalidHeader> {
        if value.bytes().any(|b| is_line_break(b) || b == 0) {
            return Err(InvalidHeader::Value);
        }
        Ok(HeaderValue::of(Bytes::copy_from_slice(trim(value).as_bytes())))
    }

    /// Octets from the parser, line breaks already gone.
    pub(crate) fn from_parser(value: Bytes) -> HeaderValue {
        HeaderValue::of(value)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets
    }

    /// A copy that does not keep the packet alive it was read from.
    #[must_use]
    pub fn detached(&self) -> HeaderValue {
        HeaderValue::of(Bytes::copy_from_slice(&self.octets))
    }

    /// The text; octets that are not UTF-8 show as U+FFFD.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.octets) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(&self.octets),
        }
    }

    /// The one address it holds.
    pub(crate) fn address(&self) -> Result<&NameAddr, Malformed> {
        let read = match self.read.get() {
            Some(read) => read,
            None => {
                let address = NameAddr::parse(&self.text())?;
                self.read.get_or_init(|| Arc::new(Read::Address(address)))
            }
        };
        match &**read {
            Read::Address(address) => Ok(address),
            Read::Via(_) => Err(Malformed::expected("an address")),
        }
    }

    /// Its first Via element.
    fn via(&self) -> Result<&Via, Malformed> {
        let read = match self.read.get() {
            Some(read) => read,
            None => {
                let text = self.text();
                let element = split_list(&text).next().ok_or(Malformed::expected("a Via element"))?;
                let via = Via::parse(element)?;
                self.read.get_or_init(|| Arc::new(Read::Via(via)))
            }
        };
        match &**read {
            Read::Via(via) => Ok(via),
            Read::Address(_) => Err(Malformed::expected("a Via element")),
        }
    }
}

impl PartialEq for HeaderValue {
    fn eq(&self, other: &HeaderValue) -> bool {
        self.octets == other.octets
    }
}

impl Eq for HeaderValue {}

impl Hash for HeaderValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.octets.hash(state);
    }
}

impl fmt::Debug for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text(), f)
    }
}

impl fmt::Display for HeaderValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Line breaks become spaces, so that no value can ever start a header field of its own.
impl From<String> for HeaderValue {
    fn from(value: String) -> HeaderValue {
        let mut bytes = value.into_bytes();
        for b in &mut bytes {
            if is_line_break(*b) {
                *b = b' ';
            }
        }
        HeaderValue::of(Bytes::from(bytes))
    }
}

impl From<&str> for HeaderValue {
    fn from(value: &str) -> HeaderValue {
        HeaderValue::from(value.to_owned())
    }
}

impl Headers {
    #[must_use]
    pub fn new() -> Headers {
        Headers::default()
    }

    /// Appends a field.
    pub fn push(&mut self, name: impl Into<HeaderName>, value: impl Into<HeaderValue>) {
        self.0.push(Header { name: name.into(), value: value.into() });
    }

    /// Puts a field before all others.
    pub fn push_front(&mut self, name: impl Into<HeaderName>, value: impl Into<HeaderValue>) {
        self.0.insert(0, Header { name: name.into(), value: value.into() });
    }

    /// Appends a field whose name and value come from a script or configuration.
    ///
    /// # Errors
    /// When the name is no token or reserved for the protocol, or the value has line breaks.
    pub fn try_push(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        if !is_token(name.as_bytes()) {
            return Err(InvalidHeader::Name);
        }
        let name = HeaderName::from(name);
        if name.is_reserved() {
            return Err(InvalidHeader::Reserved);
        }
        self.push(name, HeaderValue::try_new(value)?);
        Ok(())
    }

    /// Replaces every field of that name by one, at the place of the first.
    pub fn set(&mut self, name: impl Into<HeaderName>, value: impl Into<HeaderValue>) {
        let (name, value) = (name.into(), value.into());
        let at = self.0.iter().position(|h| h.name == name);
        self.0.retain(|h| h.name != name);
        self.0.insert(at.unwrap_or(self.0.len()), Header { name, value });
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: impl Into<HeaderName>) {
        let name = name.into();
        self.0.retain(|h| h.name != name);
    }

    /// Appends all fields of `other`.
    pub fn extend(&mut self, other: &Headers) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Appends the fields of `other` that the protocol machinery does not write itself.
    pub(crate) fn extend_unreserved(&mut self, other: &Headers) {
        self.0.extend(other.0.iter().filter(|h| !h.name.is_reserved()).cloned());
    }

    /// The first raw value of that name.
    #[must_use]
    pub fn get(&self, name: impl Into<HeaderName>) -> Option<&HeaderValue> {
        let name = name.into();
        self.0.iter().find(|h| h.name == name).map(|h| &h.value)
    }

    /// All raw values of that name, one per field.
    pub fn get_all(&self, name: impl Into<HeaderName>) -> impl Iterator<Item = &HeaderValue> {
        let name = name.into();
        self.0.iter().filter(move |h| h.name == name).map(|h| &h.value)
    }

    #[must_use]
    pub fn contains(&self, name: impl Into<HeaderName>) -> bool {
        self.get(name).is_some()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.0.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements of a comma list, over all fields of that name, at most [`limits::LIST`].
    #[must_use]
    pub fn list(&self, name: impl Into<HeaderName>) -> Vec<String> {
        let mut elements = Vec::new();
        for value in self.get_all(name) {
            let text = value.text();
            elements.extend(split_list(&text).take(limits::LIST - elements.len()).map(str::to_owned));
        }
        elements
    }

    /// Whether a comma list of tokens (Supported, Require, Allow …) holds `token`, in any case.
    #[must_use]
    pub fn list_contains(&self, name: impl Into<HeaderName>, token: &str) -> bool {
        self.get_all(name).any(|value| split_list(&value.text()).any(|e| e.eq_ignore_ascii_case(token)))
    }

    /// The topmost Via.
    #[must_use]
    pub fn top_via(&self) -> Option<Result<&Via, Malformed>> {
        Some(self.get(HeaderName::Via)?.via())
    }

    /// Replaces the topmost Via element, leaving what follows it.
    pub fn set_top_via(&mut self, via: &Via) {
        let Some(header) = self.0.iter_mut().find(|h| h.name == HeaderName::Via) else {
            return;
        };
        let text = header.value.text();
        let value = match super::scan::split_outside(&text, b',') {
            Some((_, rest)) => format!("{via}, {}", trim(rest)),
            None => via.to_string(),
        };
        header.value = HeaderValue::from(value);
    }

    /// How many Via elements there are.
    #[must_use]
    pub fn via_count(&self) -> usize {
        self.get_all(HeaderName::Via).map(|value| split_list(&value.text()).count()).sum()
    }

    #[must_use]
    pub fn from(&self) -> Option<Result<&NameAddr, Malformed>> {
        self.name_addr(HeaderName::From)
    }

    #[must_use]
    pub fn to(&self) -> Option<Result<&NameAddr, Malformed>> {
        self.name_addr(HeaderName::To)
    }

    /// A header field that holds one address: From, To, Refer-To, Referred-By …
    #[must_use]
    pub fn name_addr(&self, name: impl Into<HeaderName>) -> Option<Result<&NameAddr, Malformed>> {
        Some(self.get(name)?.address())
    }

    /// A header field that holds a list of addresses: Route, Record-Route, P-Asserted-Identity, Path …
    ///
    /// # Errors
    /// When an element is malformed, or there are more than [`limits::LIST`].
    pub fn name_addrs(&self, name: impl Into<HeaderName>) -> Result<Vec<NameAddr>, Malformed> {
        let mut addresses = Vec::new();
        for value in self.get_all(name) {
            for element in split_list(&value.text()) {
                if addresses.len() == limits::LIST {
                    return Err(Malformed::expected("at most 128 elements"));
                }
                addresses.push(NameAddr::parse(element)?);
            }
        }
        Ok(addresses)
    }

    /// What the Contact fields say; an empty list when there is none.
    ///
    /// # Errors
    /// When an element is malformed, or `*` stands beside another.
    pub fn contacts(&self) -> Result<Contacts, Malformed> {
        let wildcards = self.get_all(HeaderName::Contact).filter(|value| trim(&value.text()) == "*").count();
        if wildcards == 0 {
            return self.name_addrs(HeaderName::Contact).map(Contacts::List);
        }
        if wildcards == 1 && self.get_all(HeaderName::Contact).count() == 1 {
            return Ok(Contacts::Wildcard);
        }
        Err(Malformed::expected("* alone"))
    }

    /// The first Contact address; `None` when there is none, or it is `*` or malformed.
    #[must_use]
    pub fn contact(&self) -> Option<NameAddr> {
        let text = self.get(HeaderName::Contact)?.text();
        NameAddr::parse(split_list(&text).next()?).ok()
    }

    #[must_use]
    pub fn call_id(&self) -> Option<&HeaderValue> {
        self.get(HeaderName::CallId)
    }

    #[must_use]
    pub fn cseq(&self) -> Option<Result<CSeq, Malformed>> {
        Some(CSeq::parse(&self.get(HeaderName::CSeq)?.text()))
    }

    #[must_use]
    pub fn max_forwards(&self) -> Option<Result<u8, Malformed>> {
        let text = self.get(HeaderName::MaxForwards)?.text();
        Some(decimal(trim(&text), 255).and_then(|n| u8::try_from(n).ok()).ok_or(Malformed::expected("a number up to 255")))
    }

    #[must_use]
    pub fn content_type(&self) -> Option<Result<ContentType, Malformed>> {
        Some(ContentType::parse(&self.get(HeaderName::ContentType)?.text()))
    }

    /// Seconds of the Expires field.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        self.seconds(HeaderName::Expires)
    }

    /// Seconds of the Min-Expires field.
    #[must_use]
    pub fn min_expires(&self) -> Option<u32> {
        self.seconds(HeaderName::MinExpires)
    }

    /// Seconds of the Retry-After field, without its comment and parameters.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.seconds(HeaderName::RetryAfter)
    }

    /// Seconds of the Min-SE field (RFC 4028).
    #[must_use]
    pub fn min_se(&self) -> Option<u32> {
        self.seconds(HeaderName::MinSe)
    }

    #[must_use]
    pub fn session_expires(&self) -> Option<Result<SessionExpires, Malformed>> {
        Some(SessionExpires::parse(&self.get(HeaderName::SessionExpires)?.text()))
    }

    /// All readable Reason elements (RFC 3326).
    #[must_use]
    pub fn reasons(&self) -> Vec<Reason> {
        self.list(HeaderName::Reason).iter().filter_map(|element| Reason::parse(element).ok()).collect()
    }

    /// The methods of the Allow fields; `None` without the field.
    #[must_use]
    pub fn allow(&self) -> Option<Vec<Method>> {
        self.contains(HeaderName::Allow)
            .then(|| self.list(HeaderName::Allow).iter().filter_map(|token| Method::parse(token).ok()).collect())
    }

    /// A number at the start of a field; what follows (comments, parameters) is left.
    fn seconds(&self, name: HeaderName) -> Option<u32> {
        let text = self.get(name)?.text();
        let text = trim(&text);
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        saturating_decimal(text.get(..end)?)
    }

    /// The fields a response takes from its request (RFC 3261 8.2.6.2), plus Record-Route where it may create a dialog (12.1.1).
    pub(crate) fn copy_for_response(&mut self, request: &Headers, status: StatusCode, to_tag: Option<&str>) {
        for header in &request.0 {
            let value = match header.name {
                HeaderName::Via | HeaderName::From | HeaderName::CallId | HeaderName::CSeq => header.value.clone(),
                HeaderName::Timestamp if status == StatusCode::TRYING => header.value.clone(),
                HeaderName::To => match to_tag {
                    Some(tag) if status != StatusCode::TRYING => with_tag(&header.value, tag),
                    Some(_) | None => header.value.clone(),
                },
                _ => continue,
            };
            self.push(header.name.clone(), value);
        }
    }
}

/// Appends a tag to a raw From or To value that has none; the rest stays octet for octet.
pub(crate) fn with_tag(value: &HeaderValue, tag: &str) -> HeaderValue {
    if value.address().is_ok_and(|address| address.tag().is_some()) {
        return value.clone();
    }
    let mut bytes = Vec::with_capacity(value.as_bytes().len() + 5 + tag.len());
    bytes.extend_from_slice(value.as_bytes());
    bytes.extend_from_slice(b";tag=");
    bytes.extend_from_slice(tag.as_bytes());
    HeaderValue::of(Bytes::from(bytes))
}

impl FromIterator<Header> for Headers {
    fn from_iter<T: IntoIterator<Item = Header>>(headers: T) -> Headers {
        Headers(headers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_all_at_the_place_of_the_first() {
        let mut headers = Headers::new();
        for (name, value) in [("X-A", "1"), ("X-B", "2"), ("X-C", "3"), ("x-b", "4")] {
            headers.push(name, value);
        }
        headers.set("X-B", "5");
        headers.set("X-D", "6");
        let all: Vec<_> = headers.iter().map(|h| format!("{}={}", h.name, h.value)).collect();
        assert_eq!(all, ["X-A=1", "X-B=5", "X-C=3", "X-D=6"]);
    }

    #[test]
    fn line_breaks_are_refused_from_outside_and_defused_inside() {
        let mut headers = Headers::new();
        assert_eq!(headers.try_push("X-A", "b\r\nEvil: 1"), Err(InvalidHeader::Value));
        assert_eq!(headers.try_push("X A", "b"), Err(InvalidHeader::Name));
        assert_eq!(headers.try_push("call-id", "b"), Err(InvalidHeader::Reserved));
        assert_eq!(headers.try_push("v", "b"), Err(InvalidHeader::Reserved));
        assert_eq!(headers.try_push("X-A\r\n", "b"), Err(InvalidHeader::Name));
        headers.push("X-B", "c\r\nEvil: 1");
        assert_eq!(headers.get("X-B"), Some(&"c  Evil: 1".into()));
    }

    #[test]
    fn the_topmost_via_is_replaced_within_its_list() {
        let mut headers = Headers::new();
        headers.push("Via", "SIP/2.0/UDP a;branch=z9hG4bK1, SIP/2.0/UDP b;branch=z9hG4bK2");
        headers.push("Via", "SIP/2.0/UDP c");
        let mut via = headers.top_via().expect("a Via").expect("a Via").clone();
        via.params.set("received", Some("192.0.2.1"));
        headers.set_top_via(&via);
        assert_eq!(headers.via_count(), 3);
        assert_eq!(
            headers.list("Via")[..2],
            ["SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1", "SIP/2.0/UDP b;branch=z9hG4bK2"]
        );
    }

    #[test]
    fn contact_lists_and_the_wildcard_are_told_apart() {
        let contacts = |values: &[&str]| {
            let mut headers = Headers::new();
            for value in values {
                headers.push("m", *value);
            }
            headers.contacts()
        };
        assert_eq!(contacts(&["*"]), Ok(Contacts::Wildcard));
        assert!(contacts(&["*", "<sip:a@b>"]).is_err());
        assert!(matches!(contacts(&["<sip:a@b>, \"x,y\" <sip:c@d>"]), Ok(Contacts::List(l)) if l.len() == 2));
        assert_eq!(contacts(&[]), Ok(Contacts::List(Vec::new())));
    }
}
