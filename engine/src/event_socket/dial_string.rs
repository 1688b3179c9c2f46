//! Dial strings: `{vars}sofia/gateway/7/441234|user/1001,user/1002`.

use std::collections::BTreeMap;

use super::cause::Cause;

/// The most targets of one string.
const MAX_TARGETS: usize = 32;

/// Variables in brackets.
pub(super) type LegVars = BTreeMap<String, String>;

/// One target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// As `ctx.bridge` takes it.
    pub(super) uri: String,
    /// `[…]` before it.
    pub(super) vars: LegVars,
}

/// A whole string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DialString {
    /// `{…}` before it.
    pub(super) vars: LegVars,
    /// Groups that are tried in turn; the targets of one ring together.
    pub(super) groups: Vec<Vec<Target>>,
}

/// Why a string names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) Cause);

impl DialString {
    /// Reads a string. `gateway` gives the host of a gateway by its name.
    pub(super) fn parse(text: &str, gateway: impl Fn(&str) -> Option<String>) -> Result<Self, Unusable> {
        let (vars, rest) = brackets(text.trim(), '{', '}').ok_or_else(invalid)?;
        let mut groups = Vec::new();
        for group in split_outside(rest, '|') {
            let mut targets = Vec::new();
            for part in split_outside(group, ',') {
                let (vars, endpoint) = brackets(part.trim(), '[', ']').ok_or_else(invalid)?;
                targets.push(Target { uri: target(endpoint, &gateway)?, vars });
            }
            groups.push(targets);
        }
        let count: usize = groups.iter().map(Vec::len).sum();
        if count == 0 || count > MAX_TARGETS { Err(invalid()) } else { Ok(Self { vars, groups }) }
    }
}

fn invalid() -> Unusable {
    Unusable(Cause::parse("INVALID_NUMBER_FORMAT").unwrap_or(super::cause::NORMAL_CLEARING))
}

/// An endpoint as a target of this engine.
fn target(endpoint: &str, gateway: &impl Fn(&str) -> Option<String>) -> Result<String, Unusable> {
    if endpoint.is_empty() || endpoint.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(invalid());
    }
    let (kind, rest) = endpoint.split_once('/').unwrap_or(("", endpoint));
    let found = match kind {
        "" => rest.to_owned(),
        "user" => rest.split('@').next().unwrap_or(rest).to_owned(),
        "loopback" => rest.split('/').next().unwrap_or(rest).to_owned(),
        "error" => return Err(Unusable(Cause::parse(rest).ok_or_else(invalid)?)),
        "sofia" => {
            let (profile, address) = rest.split_once('/').ok_or_else(invalid)?;
            if profile == "gateway" {
                let (name, number) = address.split_once('/').ok_or_else(invalid)?;
                let down = Unusable(Cause::parse("GATEWAY_DOWN").unwrap_or(super::cause::NORMAL_CLEARING));
                format!("sip:{number}@{}", gateway(name).ok_or(down)?)
            } else if let Some((user, _)) = address.split_once('%') {
                // A user who has registered with this profile.
                user.to_owned()
            } else if address.starts_with("sip:") || address.starts_with("sips:") || !address.contains('@') {
                address.to_owned()
            } else {
                format!("sip:{address}")
            }
        }
        _ => return Err(Unusable(Cause::parse("CHANNEL_UNACCEPTABLE").unwrap_or(super::cause::NORMAL_CLEARING))),
    };
    if found.is_empty() { Err(invalid()) } else { Ok(found) }
}

/// Variables in brackets at the beginning, and the rest.
fn brackets(text: &str, open: char, close: char) -> Option<(LegVars, &str)> {
    let mut vars = LegVars::new();
    let mut rest = text;
    while let Some(inside) = rest.strip_prefix(open) {
        let end = inside.find(close)?;
        let (list, after) = inside.split_at(end);
        // `^^:` names another separator than the comma.
        let (separator, list) = match list.strip_prefix("^^").and_then(|rest| rest.chars().next().zip(Some(rest))) {
            Some((separator, rest)) => (separator, rest.get(separator.len_utf8()..).unwrap_or_default()),
            None => (',', list),
        };
        for pair in split_quoted(list, separator) {
            if let Some((name, value)) = pair.split_once('=') {
                let value = value.trim();
                let value = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\'')).unwrap_or(value);
                set(&mut vars, name.trim(), value);
            }
        }
        rest = after.get(close.len_utf8()..).unwrap_or_default().trim_start();
    }
    Some((vars, rest))
}

/// Sets a variable. Names of header fields have no case: the last one counts.
pub(super) fn set(vars: &mut LegVars, name: &str, value: &str) {
    if name.starts_with("sip_h_") {
        vars.retain(|known, _| !known.eq_ignore_ascii_case(name));
    }
    vars.insert(name.to_owned(), value.to_owned());
}

/// Splits where no bracket is open.
fn split_outside(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    text.split(move |c: char| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c == separator
    })
    .filter(|part| !part.trim().is_empty())
}

/// Splits where no quotation is open.
pub(super) fn split_quoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '\'';
        !quoted && c == separator
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DialString, Unusable> {
        DialString::parse(text, |name| (name == "7").then(|| "sbc.example.net".to_owned()))
    }

    fn uris(text: &str) -> Vec<Vec<String>> {
        let groups = parse(text).unwrap().groups.into_iter();
        groups.map(|group| group.into_iter().map(|target| target.uri).collect()).collect()
    }

    #[test]
    fn endpoints_become_targets() {
        for (written, uri) in [
            ("user/1001", "1001"),
            ("user/1001@example.net", "1001"),
            ("sofia/gateway/7/441234", "sip:441234@sbc.example.net"),
            ("sofia/internal/1001%example.net", "1001"),
            ("sofia/internal/a@192.0.2.1:5080", "sip:a@192.0.2.1:5080"),
            ("sofia/external/sip:a@b", "sip:a@b"),
            ("loopback/2000/default", "2000"),
            ("1001", "1001"),
            ("sip:a@b", "sip:a@b"),
        ] {
            assert_eq!(uris(written), [[uri]], "{written}");
        }
    }

    #[test]
    fn groups_are_tried_in_turn_and_their_targets_together() {
        assert_eq!(uris("user/1,user/2|user/3"), [vec!["1", "2"], vec!["3"]]);
    }

    #[test]
    fn variables_stand_in_brackets() {
        let dial = parse("{a=1,b='x,y'}[c=2]user/1,[^^:d=3:e=4,5]user/2").unwrap();
        assert_eq!(dial.vars, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "x,y".to_owned())].into());
        assert_eq!(dial.groups[0][0].vars, [("c".to_owned(), "2".to_owned())].into());
        assert_eq!(dial.groups[0][1].vars.get("e").map(String::as_str), Some("4,5"));
    }

    #[test]
    fn of_a_header_field_that_is_written_in_two_ways_the_last_counts() {
        let dial = parse("{sip_h_x-a=1,sip_h_X-A=2,sip_h_x-A=3,b=1,B=2}user/1").unwrap();
        let vars: Vec<(&str, &str)> = dial.vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(vars, [("B", "2"), ("b", "1"), ("sip_h_x-A", "3")]);
    }

    #[test]
    fn what_names_nobody_has_a_cause() {
        for (written, cause) in [
            ("", "INVALID_NUMBER_FORMAT"),
            ("{a=1", "INVALID_NUMBER_FORMAT"),
            ("user/", "INVALID_NUMBER_FORMAT"),
            ("user/a b", "INVALID_NUMBER_FORMAT"),
            ("sofia/gateway/9/44", "GATEWAY_DOWN"),
            ("error/USER_BUSY", "USER_BUSY"),
            ("verto.rtc/1", "CHANNEL_UNACCEPTABLE"),
        ] {
            assert_eq!(parse(written).unwrap_err().0.name, cause, "{written}");
        }
    }
}
