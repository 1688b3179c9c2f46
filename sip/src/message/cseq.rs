//! CSeq: the sequence number of a request (RFC 3261 20.16).

use std::fmt;

use super::scan::{decimal, is_lws, trim};
use super::{Malformed, Method};

/// The largest sequence number RFC 3261 8.1.1.5 allows.
const MAX: u32 = (1 << 31) - 1;

/// A CSeq value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    /// # Errors
    /// When the number is missing or 2^31 or more, or no method follows.
    pub fn parse(s: &str) -> Result<CSeq, Malformed> {
        let expected = Malformed::expected("a number below 2^31 and a method");
        let (number, method) = trim(s).split_once(is_lws).ok_or(expected)?;
        Ok(CSeq { number: decimal(number, MAX).ok_or(expected)?, method: Method::parse(trim(method))? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_bounded_and_spacing_is_free() {
        assert_eq!(CSeq::parse("0009\r\n  INVITE"), Ok(CSeq { number: 9, method: Method::Invite }));
        for s in ["", "1", "INVITE", "2147483648 INVITE", "-1 INVITE", "1 IN VITE"] {
            assert!(CSeq::parse(s).is_err(), "{s}");
        }
    }
}
