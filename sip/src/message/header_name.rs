//! Header field names, their canonical spelling and compact forms.

use std::fmt;

use super::HeaderValue;

macro_rules! header_names {
    ($($name:ident = $canonical:literal $(, $compact:literal)?;)*) => {
        /// A header field name. Known names compare by identity, others without case.
        #[derive(Clone, Debug)]
        pub enum HeaderName {
            $($name,)*
            /// Any other token, as written.
            Other(HeaderValue),
        }

        /// Canonical and compact spelling of each known name.
        const KNOWN: &[(HeaderName, &str, Option<u8>)] = &[
            $((HeaderName::$name, $canonical, header_names!(@compact $($compact)?)),)*
        ];

        impl HeaderName {
            /// The name as it is written.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(HeaderName::$name => $canonical.as_bytes(),)*
                    HeaderName::Other(name) => name.as_bytes(),
                }
            }
        }
    };
    (@compact) => { None };
    (@compact $compact:literal) => { Some($compact) };
}

header_names! {
    Via = "Via", b'v';
    MaxForwards = "Max-Forwards";
    Route = "Route";
    RecordRoute = "Record-Route";
    From = "From", b'f';
    To = "To", b't';
    CallId = "Call-ID", b'i';
    CSeq = "CSeq";
    Contact = "Contact", b'm';
    ContentType = "Content-Type", b'c';
    ContentLength = "Content-Length", b'l';
    ContentEncoding = "Content-Encoding", b'e';
    ContentDisposition = "Content-Disposition";
    Allow = "Allow";
    AllowEvents = "Allow-Events", b'u';
    Accept = "Accept";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    Supported = "Supported", b'k';
    Unsupported = "Unsupported";
    Require = "Require";
    ProxyRequire = "Proxy-Require";
    Expires = "Expires";
    MinExpires = "Min-Expires";
    SessionExpires = "Session-Expires", b'x';
    MinSe = "Min-SE";
    UserAgent = "User-Agent";
    Server = "Server";
    Date = "Date";
    Timestamp = "Timestamp";
    Subject = "Subject", b's';
    Authorization = "Authorization";
    WwwAuthenticate = "WWW-Authenticate";
    ProxyAuthorization = "Proxy-Authorization";
    ProxyAuthenticate = "Proxy-Authenticate";
    AuthenticationInfo = "Authentication-Info";
    Reason = "Reason";
    RetryAfter = "Retry-After";
    Warning = "Warning";
    RSeq = "RSeq";
    RAck = "RAck";
    Event = "Event", b'o';
    SubscriptionState = "Subscription-State";
    ReferTo = "Refer-To", b'r';
    ReferredBy = "Referred-By", b'b';
    Replaces = "Replaces";
    Path = "Path";
    ServiceRoute = "Service-Route";
    PAssertedIdentity = "P-Asserted-Identity";
    PPreferredIdentity = "P-Preferred-Identity";
    Privacy = "Privacy";
    Identity = "Identity", b'y';
    Diversion = "Diversion";
    HistoryInfo = "History-Info";
    AlertInfo = "Alert-Info";
    CallInfo = "Call-Info";
    MimeVersion = "MIME-Version";
}

impl HeaderName {
    /// The known name for a spelling, canonical or compact, in any case.
    pub(crate) fn known(name: &[u8]) -> Option<HeaderName> {
        if let [letter] = name {
            let letter = letter.to_ascii_lowercase();
            return KNOWN.iter().find(|(_, _, compact)| *compact == Some(letter)).map(|(known, _, _)| known.clone());
        }
        KNOWN.iter().find(|(_, canonical, _)| canonical.as_bytes().eq_ignore_ascii_case(name)).map(|(known, _, _)| known.clone())
    }

    /// Whether the protocol machinery writes it: a script's value would break the message or the dialog.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        matches!(
            self,
            HeaderName::Via
                | HeaderName::From
                | HeaderName::To
                | HeaderName::CallId
                | HeaderName::CSeq
                | HeaderName::MaxForwards
                | HeaderName::Route
                | HeaderName::RecordRoute
                | HeaderName::ContentLength
                | HeaderName::ContentType
        )
    }

    /// The name for a spelling, canonical or compact, in any case.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        HeaderName::known(name)
            .unwrap_or_else(|| HeaderName::Other(HeaderValue::from(String::from_utf8_lossy(name).into_owned())))
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &HeaderName) -> bool {
        match (self, other) {
            (HeaderName::Other(a), HeaderName::Other(b)) => a.as_bytes().eq_ignore_ascii_case(b.as_bytes()),
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }
}

impl Eq for HeaderName {}

impl From<&str> for HeaderName {
    fn from(name: &str) -> HeaderName {
        HeaderName::from_bytes(name.as_bytes())
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}
