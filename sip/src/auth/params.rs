//! `auth-param` lists: what follows the scheme in a challenge or in credentials (RFC 3261 §25.1).

use std::borrow::Cow;

use thiserror::Error;

/// More parameters than this are no digest of anyone's.
const MAX_PARAMS: usize = 32;

/// Why an authentication header could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParamsError {
    #[error("expected a scheme followed by parameters")]
    NoParameters,
    #[error("expected name=value after the scheme, got {got:?}")]
    NotAParameter { got: String },
    #[error("quoted value of {name:?} is not closed")]
    UnclosedQuote { name: String },
    #[error("parameter {name:?} appears twice")]
    Duplicate { name: String },
    #[error("more than {MAX_PARAMS} parameters")]
    TooMany,
    #[error("parameter {name:?} is missing")]
    Missing { name: &'static str },
    #[error("parameter {name:?} is {got:?}, expected {expected}")]
    Invalid { name: &'static str, got: String, expected: &'static str },
}

/// The parameters after the scheme, values unquoted and unescaped.
#[derive(Debug)]
pub(super) struct Params<'a> {
    list: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Params<'a> {
    pub(super) fn parse(value: &'a str) -> Result<Self, ParamsError> {
        let value = value.trim_matches(is_lws);
        let (_, mut rest) = value.split_once(is_lws).ok_or(ParamsError::NoParameters)?;
        let mut list: Vec<(&str, Cow<'_, str>)> = Vec::with_capacity(12);
        loop {
            rest = rest.trim_start_matches(|c| is_lws(c) || c == ',');
            if rest.is_empty() {
                return Ok(Params { list });
            }
            if list.len() == MAX_PARAMS {
                return Err(ParamsError::TooMany);
            }
            let (name, after) = rest.split_once('=').ok_or_else(|| ParamsError::NotAParameter { got: excerpt(rest) })?;
            let name = name.trim_end_matches(is_lws);
            if name.is_empty() || !name.bytes().all(is_token_byte) {
                return Err(ParamsError::NotAParameter { got: excerpt(rest) });
            }
            if list.iter().any(|(seen, _)| seen.eq_ignore_ascii_case(name)) {
                return Err(ParamsError::Duplicate { name: excerpt(name) });
            }
            let after = after.trim_start_matches(is_lws);
            let value = match after.strip_prefix('"') {
                Some(quoted) => {
                    let (value, tail) = unquote(quoted).ok_or_else(|| ParamsError::UnclosedQuote { name: excerpt(name) })?;
                    rest = tail;
                    value
                }
                None => {
                    let end = after.find(',').unwrap_or(after.len());
                    let (value, tail) = after.split_at(end);
                    rest = tail;
                    Cow::Borrowed(value.trim_end_matches(is_lws))
                }
            };
            list.push((name, value));
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.list.iter().find(|(seen, _)| seen.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }

    pub(super) fn require(&self, name: &'static str) -> Result<&str, ParamsError> {
        self.find(name).ok_or(ParamsError::Missing { name })
    }
}

/// Whether a challenge or credentials are of the Digest scheme.
pub(super) fn is_digest(value: &str) -> bool {
    value.trim_start_matches(is_lws).split(is_lws).next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("Digest"))
}

/// Reads up to the closing quote; gives the unescaped value and what follows the quote.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut unescaped: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let (raw, tail) = text.split_at(at);
                let tail = tail.strip_prefix('"')?;
                return Some((unescaped.map_or(Cow::Borrowed(raw), Cow::Owned), tail));
            }
            '\\' => {
                let (_, escaped) = chars.next()?;
                let (before, _) = text.split_at(at);
                unescaped.get_or_insert_with(|| before.to_owned()).push(escaped);
            }
            other => {
                if let Some(value) = &mut unescaped {
                    value.push(other);
                }
            }
        }
    }
    None
}

/// Writes a quoted-string (RFC 3261 §25.1); CR and LF, which no quoted-string can carry, are left out.
pub(super) fn quote(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '\r' | '\n' => {}
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn is_lws(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte)
}

/// Keeps error texts short whatever the peer sent.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quoted_escaped_and_bare_values() {
        let params =
            Params::parse("DIGEST username=\"a\\\"b\\\\c\", realm = \"x, y\" ,nc=00000001,\r\n qop=auth ,, uri=\"sip:a\"")
                .unwrap();
        assert_eq!(params.find("username"), Some("a\"b\\c"));
        assert_eq!(params.find("REALM"), Some("x, y"));
        assert_eq!(params.find("nc"), Some("00000001"));
        assert_eq!(params.find("qop"), Some("auth"));
        assert_eq!(params.find("uri"), Some("sip:a"));
        assert_eq!(params.find("cnonce"), None);
    }

    #[test]
    fn refuses_what_is_no_parameter_list() {
        assert_eq!(Params::parse("  ").unwrap_err(), ParamsError::NoParameters);
        assert_eq!(Params::parse("Digest").unwrap_err(), ParamsError::NoParameters);
        assert_eq!(Params::parse("Digest foo").unwrap_err(), ParamsError::NotAParameter { got: "foo".into() });
        assert_eq!(Params::parse("Digest realm=\"abc").unwrap_err(), ParamsError::UnclosedQuote { name: "realm".into() });
        assert_eq!(Params::parse("Digest realm=\"abc\\").unwrap_err(), ParamsError::UnclosedQuote { name: "realm".into() });
        assert_eq!(Params::parse("Digest nc=1, NC=2").unwrap_err(), ParamsError::Duplicate { name: "NC".into() });
        let many: String = (0..40).map(|n| format!("p{n}=1,")).collect();
        assert_eq!(Params::parse(&format!("Digest {many}")).unwrap_err(), ParamsError::TooMany);
    }

    #[test]
    fn the_scheme_is_known_in_any_case() {
        assert!(is_digest(" dIGEST realm=x"));
        assert!(!is_digest("Digestive realm=x"));
        assert!(!is_digest(""));
    }

    #[test]
    fn quoting_round_trips_and_never_carries_a_line_break() {
        for value in ["plain", "q\"uo\\te", "é ü", ""] {
            let quoted = format!("Digest x={}", quote(value));
            assert_eq!(Params::parse(&quoted).unwrap().find("x"), Some(value));
        }
        assert_eq!(quote("a\r\nVia: x"), "\"aVia: x\"");
    }
}
