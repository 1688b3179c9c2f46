//! Character classes and splitting rules of the RFC 3261 grammar (section 25).

/// `token` characters.
pub(crate) fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&b)
}

/// A non-empty token.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_token_byte(b))
}

/// Space, tab, and the line ends that folding leaves inside a value.
pub(crate) fn is_lws(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Trims linear white space at both ends.
pub(crate) fn trim(s: &str) -> &str {
    s.trim_matches(is_lws)
}

/// Splits at the first `separator` that stands outside quoted strings and angle brackets.
///
/// `None` when there is none; also when a quote or bracket is left open, as nothing after it can be trusted to be a separator.
pub(crate) fn split_outside(s: &str, separator: u8) -> Option<(&str, &str)> {
    let at = find_outside(s, |b| b == separator)?;
    Some((s.get(..at)?, s.get(at + 1..)?))
}

/// The first byte outside quoted strings and angle brackets for which `wanted` holds.
pub(crate) fn find_outside(s: &str, wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut quoted = false;
    let mut angle = false;
    let mut escaped = false;
    for (i, b) in s.bytes().enumerate() {
        if quoted {
            if escaped {
                escaped = false;
            } else if b == b'\\' {
                escaped = true;
            } else if b == b'"' {
                quoted = false;
            }
            continue;
        }
        if !angle && wanted(b) {
            return Some(i);
        }
        match b {
            b'"' if !angle => quoted = true,
            b'<' => angle = true,
            b'>' => angle = false,
            _ => {}
        }
    }
    None
}

/// The elements of a comma list, trimmed; empty elements are skipped.
pub(crate) fn split_list(s: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(s);
    std::iter::from_fn(move || {
        loop {
            let current = rest?;
            let element = match split_outside(current, b',') {
                Some((element, tail)) => {
                    rest = Some(tail);
                    element
                }
                None => {
                    rest = None;
                    current
                }
            };
            let element = trim(element);
            if !element.is_empty() {
                return Some(element);
            }
        }
    })
}

/// Reads a quoted string at the start of `s`: its text without quotes and escapes, and what follows it.
pub(crate) fn quoted_string(s: &str) -> Option<(String, &str)> {
    let inner = s.strip_prefix('"')?;
    let mut text = String::new();
    let mut chars = inner.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((text, inner.get(i + 1..)?)),
            '\\' => text.push(chars.next()?.1),
            _ => text.push(c),
        }
    }
    None
}

/// Writes `text` as a quoted string; control characters become spaces.
pub(crate) fn write_quoted(out: &mut impl std::fmt::Write, text: &str) -> std::fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.write_char('\\')?;
                out.write_char(c)?;
            }
            c if c.is_control() => out.write_char(' ')?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}

/// A decimal number of at most `max`; digits only, leading zeros allowed, any length.
pub(crate) fn decimal(s: &str, max: u32) -> Option<u32> {
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut value: u32 = 0;
    for b in s.bytes() {
        value = value.checked_mul(10)?.checked_add(u32::from(b - b'0')).filter(|v| *v <= max)?;
    }
    Some(value)
}

/// Like [`decimal`], but a number too large to hold counts as `u32::MAX` (RFC 3261 20.19: values past 2^32-1 are treated as that).
pub(crate) fn saturating_decimal(s: &str) -> Option<u32> {
    if s.is_empty() || !s.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(decimal(s, u32::MAX).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_outside_quotes_and_brackets_only() {
        let list = r#" "a, \"b" <sip:x@h?a=b,c> , , <sip:y>;p="q,r" ,z"#;
        let elements: Vec<_> = split_list(list).collect();
        assert_eq!(elements, [r#""a, \"b" <sip:x@h?a=b,c>"#, r#"<sip:y>;p="q,r""#, "z"]);
    }

    #[test]
    fn quoted_strings_lose_their_escapes() {
        assert_eq!(quoted_string(r#""J Rosen \\\"" rest"#), Some((r#"J Rosen \""#.to_owned(), " rest")));
        assert_eq!(quoted_string(r#""open"#), None);
        assert_eq!(quoted_string(r#""open\"#), None);
    }

    #[test]
    fn decimals_never_overflow() {
        assert_eq!(decimal("0070", 255), Some(70));
        assert_eq!(decimal("256", 255), None);
        assert_eq!(decimal("36893488147419103232", u32::MAX), None);
        assert_eq!(saturating_decimal("36893488147419103232"), Some(u32::MAX));
        assert_eq!(saturating_decimal("-1"), None);
    }
}
