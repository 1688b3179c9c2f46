//! Media types of Content-Type and Accept (RFC 3261 20.15, 20.1).

use std::fmt;

use super::scan::{is_token, trim};
use super::{Malformed, Params};

/// A media type; type and subtype in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentType {
    pub kind: String,
    pub subtype: String,
    pub params: Params,
}

impl ContentType {
    /// # Errors
    /// When it is not `type/subtype`.
    pub fn parse(s: &str) -> Result<ContentType, Malformed> {
        let (media, params) = s.split_once(';').unwrap_or((s, ""));
        let expected = Malformed::expected("type/subtype");
        let (kind, subtype) = media.split_once('/').ok_or(expected)?;
        let (kind, subtype) = (trim(kind), trim(subtype));
        if !is_token(kind.as_bytes()) || !is_token(subtype.as_bytes()) {
            return Err(expected);
        }
        Ok(ContentType { kind: kind.to_ascii_lowercase(), subtype: subtype.to_ascii_lowercase(), params: Params::parse(params)? })
    }

    #[must_use]
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        self.kind == kind && self.subtype == subtype
    }

    /// As an element of Accept: whether it admits `kind/subtype`, wildcards included.
    #[must_use]
    pub fn admits(&self, kind: &str, subtype: &str) -> bool {
        self.kind == "*" || (self.kind == kind && (self.subtype == "*" || self.subtype == subtype))
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.kind, self.subtype, self.params)
    }
}
