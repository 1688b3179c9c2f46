//! CSeq and RAck: sequence numbers of requests (RFC 3261 20.16, RFC 3262 7.2).

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

/// A RAck value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RAck {
    pub response_number: u32,
    pub cseq: CSeq,
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

impl RAck {
    /// # Errors
    /// When it is not two numbers and a method.
    pub fn parse(s: &str) -> Result<RAck, Malformed> {
        let expected = Malformed::expected("two numbers and a method");
        let (response_number, cseq) = trim(s).split_once(is_lws).ok_or(expected)?;
        Ok(RAck { response_number: decimal(response_number, u32::MAX).ok_or(expected)?, cseq: CSeq::parse(cseq)? })
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
