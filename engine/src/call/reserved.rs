//! Header fields that run SIP.

/// Where a peer reaches us, or is sent to.
const CONTACT: [&str; 2] = ["contact", "m"];
/// The others, with their compact forms (RFC 3261, section 7.3.3; RFC 4028).
const RESERVED: [&str; 28] = [
    "via",
    "v",
    "from",
    "f",
    "to",
    "t",
    "call-id",
    "i",
    "cseq",
    "max-forwards",
    "content-length",
    "l",
    "content-type",
    "c",
    "content-encoding",
    "e",
    "route",
    "record-route",
    "require",
    "proxy-require",
    "supported",
    "k",
    "session-expires",
    "x",
    "min-se",
    "authorization",
    "proxy-authorization",
    "rack",
];

/// Whether a header field runs SIP: it is the endpoint's, whatever a script says.
pub(crate) fn runs_sip(name: &str) -> bool {
    is_contact(name) || is_one_of(&RESERVED, name)
}

/// Whether it is a Contact, which is a script's own word in a response that sends the caller elsewhere.
pub(crate) fn is_contact(name: &str) -> bool {
    is_one_of(&CONTACT, name)
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}
