//! Session-Expires and Min-SE (RFC 4028).

use std::fmt;

use super::scan::{saturating_decimal, trim};
use super::{Malformed, Params};

/// Which side sends the refreshes, seen from the request that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The sender of the request.
    Uac,
    /// The sender of the response.
    Uas,
}

/// A Session-Expires value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds.
    pub interval: u32,
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// # Errors
    /// When it does not start with a number.
    pub fn parse(s: &str) -> Result<SessionExpires, Malformed> {
        let (interval, params) = s.split_once(';').unwrap_or((s, ""));
        let interval = saturating_decimal(trim(interval)).ok_or(Malformed::expected("a number of seconds"))?;
        let refresher = match Params::parse(params)?.get("refresher") {
            Some(r) if r.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
            Some(r) if r.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
            Some(_) | None => None,
        };
        Ok(SessionExpires { interval, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.interval)?;
        match self.refresher {
            Some(Refresher::Uac) => f.write_str(";refresher=uac"),
            Some(Refresher::Uas) => f.write_str(";refresher=uas"),
            None => Ok(()),
        }
    }
}
