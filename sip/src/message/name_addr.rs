//! `"Display" <uri>;params`, the form of From, To, Contact, Route and their kin (RFC 3261 20.10).

use std::fmt;

use super::scan::{find_outside, is_lws, quoted_string, trim, write_quoted};
use super::{Malformed, Params, Uri};

/// An address with display name and header parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Without quotes and escapes.
    pub display_name: Option<String>,
    pub uri: Uri,
    /// Header parameters such as `tag`; those inside the brackets belong to the URI.
    pub params: Params,
}

/// What the Contact header fields of a message say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contacts {
    /// `*`: all bindings, in a REGISTER.
    Wildcard,
    List(Vec<NameAddr>),
}

impl NameAddr {
    #[must_use]
    pub fn new(uri: Uri) -> NameAddr {
        NameAddr { display_name: None, uri, params: Params::new() }
    }

    /// The same address with a `tag` parameter.
    #[must_use]
    pub fn with_tag(mut self, tag: &str) -> NameAddr {
        self.params.set("tag", Some(tag));
        self
    }

    /// Reads one address, in brackets or bare.
    ///
    /// # Errors
    /// When quotes or brackets are left open, when the URI is not one, or when a bare URI holds `?`, `,` (RFC 3261 20.10).
    pub fn parse(s: &str) -> Result<NameAddr, Malformed> {
        let s = trim(s);
        let (display_name, rest) = match quoted_string(s) {
            Some((text, rest)) => (Some(text), rest.trim_start_matches(is_lws)),
            None if s.starts_with('"') => return Err(Malformed::expected("a closing quote")),
            None => (None, s),
        };
        let bracket = match find_outside(rest, |b| b == b'<') {
            Some(at) => at,
            None if display_name.is_some() => {
                return Err(Malformed::expected("< after a display name"));
            }
            None => return NameAddr::parse_bare(rest),
        };
        let (before, rest) = (rest.get(..bracket), rest.get(bracket + 1..));
        let (Some(before), Some((uri, params))) = (before, rest.and_then(|rest| rest.split_once('>'))) else {
            return Err(Malformed::expected("> after a URI"));
        };
        let before = trim(before);
        let display_name = match display_name {
            Some(_) if !before.is_empty() => {
                return Err(Malformed::expected("< after a display name"));
            }
            Some(text) => Some(text),
            None if before.contains('"') => {
                return Err(Malformed::expected("a display name without stray quotes"));
            }
            None => (!before.is_empty()).then(|| before.to_owned()),
        };
        let params = trim(params);
        if !params.is_empty() && !params.starts_with(';') {
            return Err(Malformed::expected("; after an address"));
        }
        Ok(NameAddr {
            display_name: display_name.filter(|name| !name.is_empty()),
            uri: Uri::parse_in_address(trim(uri))?,
            params: Params::parse(params)?,
        })
    }

    /// Without brackets, everything after the first semicolon belongs to the header (RFC 3261 20).
    fn parse_bare(s: &str) -> Result<NameAddr, Malformed> {
        let (uri, params) = s.split_once(';').unwrap_or((s, ""));
        let uri = trim(uri);
        if uri.contains(['?', ',']) {
            return Err(Malformed::expected("< > around a URI with ? or ,"));
        }
        Ok(NameAddr { display_name: None, uri: Uri::parse_in_address(uri)?, params: Params::parse(params)? })
    }

    /// The `tag` parameter of From and To.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// The `expires` parameter of a Contact, in seconds.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        super::scan::saturating_decimal(self.params.get("expires")?)
    }

    /// The `q` parameter of a Contact in thousandths; absent or odd values count as 1.000.
    #[must_use]
    pub fn q_millis(&self) -> u16 {
        let Some(q) = self.params.get("q") else {
            return 1000;
        };
        let (whole, fraction) = q.split_once('.').unwrap_or((q, ""));
        let digits = format!("{fraction:0<3}");
        match (whole, digits.get(..3).and_then(|d| d.parse::<u16>().ok())) {
            ("0" | "", Some(thousandths)) => thousandths,
            _ => 1000,
        }
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.display_name {
            write_quoted(f, name)?;
            f.write_str(" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &str) -> NameAddr {
        NameAddr::parse(s).unwrap_or_else(|e| panic!("{s}: {e}"))
    }

    #[test]
    fn parameters_belong_to_the_header_without_brackets() {
        let bare = parse("sip:alice@example.com ;   tag    = 1918181833n");
        assert_eq!(bare.tag(), Some("1918181833n"));
        assert_eq!(bare.uri.to_string(), "sip:alice@example.com");
        let bracketed = parse("<sip:alice@example.com;tag=uri>");
        assert_eq!(bracketed.tag(), None);
    }

    #[test]
    fn display_names_lose_quotes_and_escapes_and_get_them_back() {
        let a = parse(r#""J Rosen \\\""  <sip:jdrosen@example.com> ; tag = 98asjd8"#);
        assert_eq!(a.display_name.as_deref(), Some(r#"J Rosen \""#));
        assert_eq!(a.to_string(), r#""J Rosen \\\"" <sip:jdrosen@example.com>;tag=98asjd8"#);
        assert_eq!(parse("Bell, Alexander <sip:a.g.bell@example.com>;tag=43").display_name, Some("Bell, Alexander".to_owned()));
        assert_eq!(parse("caller<sip:caller@example.com>").display_name, Some("caller".to_owned()));
    }

    #[test]
    fn an_address_without_a_number_before_its_at_sign_has_no_user() {
        for (s, uri) in [
            ("\"Unavailable\" <sip:@10.1.1.1:5060;user=phone>;tag=1", "sip:10.1.1.1:5060;user=phone"),
            ("sip:@10.1.1.1;tag=1", "sip:10.1.1.1"),
            ("<SIP:@10.1.1.1>;tag=1", "sip:10.1.1.1"),
            ("<sips:@h>;tag=1", "sips:h"),
        ] {
            let address = parse(s);
            assert_eq!((address.uri.to_string().as_str(), address.tag(), address.uri.user()), (uri, Some("1"), None), "{s}");
        }
        assert!(NameAddr::parse("<sip:@>").is_err());
    }

    #[test]
    fn broken_addresses_are_refused() {
        for s in [
            "",
            "\"Mr. J. User <sip:j.user@example.com>",
            "<sip:a@b",
            "\"x\" sip:a@b",
            "<sip:a@b> tag=1",
            "sip:a@b?Route=%3Csip:x%3E",
            "Joe",
        ] {
            assert!(NameAddr::parse(s).is_err(), "{s}");
        }
    }

    #[test]
    fn q_values_are_thousandths() {
        assert_eq!(parse("<sip:a@b>;q=0.33").q_millis(), 330);
        assert_eq!(parse("<sip:a@b>;q=1.0").q_millis(), 1000);
        assert_eq!(parse("<sip:a@b>").q_millis(), 1000);
        assert_eq!(parse("<sip:a@b>;q=0").q_millis(), 0);
    }
}
