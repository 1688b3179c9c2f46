//! Reason: why a request was sent (RFC 3326).

use std::fmt;

use super::scan::{decimal, trim, write_quoted};
use super::{Malformed, Params};

/// One Reason element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `SIP`, `Q.850`, …
    pub protocol: String,
    pub cause: Option<u16>,
    /// Without quotes.
    pub text: Option<String>,
}

impl Reason {
    /// # Errors
    /// When the protocol is missing.
    pub fn parse(s: &str) -> Result<Reason, Malformed> {
        let (protocol, params) = s.split_once(';').unwrap_or((s, ""));
        let protocol = trim(protocol);
        if protocol.is_empty() {
            return Err(Malformed::expected("a reason protocol"));
        }
        let params = Params::parse(params)?;
        Ok(Reason {
            protocol: protocol.to_owned(),
            cause: params.get("cause").and_then(|c| decimal(c, u32::from(u16::MAX))).and_then(|c| u16::try_from(c).ok()),
            text: params.get_unquoted("text"),
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        if let Some(cause) = self.cause {
            write!(f, ";cause={cause}")?;
        }
        if let Some(text) = &self.text {
            f.write_str(";text=")?;
            write_quoted(f, text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_and_text_survive_a_round_trip() {
        let s = r#"Q.850;cause=16;text="Normal \"clearing\"""#;
        let reason = Reason::parse(s).expect("a reason");
        assert_eq!(reason.cause, Some(16));
        assert_eq!(reason.text.as_deref(), Some(r#"Normal "clearing""#));
        assert_eq!(reason.to_string(), s);
    }
}
