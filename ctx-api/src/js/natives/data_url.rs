//! What a `data:` URL holds (Fetch standard, section 6).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rquickjs::{ArrayBuffer, Ctx, Object};

use crate::js::hosted::function;

/// Without padding, and whatever the bits are that do not make a whole octet (Infra standard, forgiving-base64 decode).
static FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// What counts as white space around the parts of a media type (MIME Sniffing standard, HTTP whitespace).
const BLANKS: [char; 4] = ['\t', '\n', '\r', ' '];

/// `read(url)` → `{type, body}`, the type as a header field has it; `undefined` for one that cannot be read.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set(
        "read",
        function(ctx, |ctx: Ctx<'js>, url: String| {
            let Some((media_type, body)) = read(&url) else { return Ok(None) };
            let read = Object::new(ctx.clone())?;
            read.set("type", media_type)?;
            read.set("body", ArrayBuffer::new_copy(ctx, body)?)?;
            Ok::<_, rquickjs::Error>(Some(read))
        })?,
    )?;
    Ok(natives)
}

fn read(url: &str) -> Option<(String, Vec<u8>)> {
    let (media_type, body) = url.split('#').next()?.strip_prefix("data:")?.split_once(',')?;
    let media_type = media_type.trim_matches(|char: char| char.is_ascii_whitespace());
    let body = percent_decoded(body.as_bytes());
    let (media_type, body) = match without_base64(media_type) {
        Some(media_type) => (media_type, from_base64(body)?),
        None => (media_type, body),
    };
    let media_type = if media_type.starts_with(';') { format!("text/plain{media_type}") } else { media_type.to_owned() };
    Some((serialized(&media_type).unwrap_or_else(|| "text/plain;charset=US-ASCII".to_owned()), body))
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        match (*first == b'%').then(|| Some((digit(0)?, digit(1)?))).flatten() {
            Some((high, low)) => {
                octets.push((high << 4 | low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    octets
}

/// A media type without the word that says how the body is coded; `None`: it is not there.
fn without_base64(media_type: &str) -> Option<&str> {
    let (rest, word) = media_type.split_at_checked(media_type.len().checked_sub("base64".len())?)?;
    word.eq_ignore_ascii_case("base64").then(|| rest.trim_end_matches(' ').strip_suffix(';')).flatten()
}

fn from_base64(mut text: Vec<u8>) -> Option<Vec<u8>> {
    text.retain(|octet| !octet.is_ascii_whitespace());
    let padding = text.iter().rev().take(2).take_while(|octet| **octet == b'=').count();
    if text.len().is_multiple_of(4) {
        text.truncate(text.len() - padding);
    }
    FORGIVING.decode(text).ok()
}

/// A media type as it is written (MIME Sniffing standard, section 4); `None`: it is none.
fn serialized(text: &str) -> Option<String> {
    let (kind, rest) = text.trim_matches(BLANKS).split_once('/')?;
    let (subtype, mut rest) = rest.split_once(';').unwrap_or((rest, ""));
    let subtype = subtype.trim_end_matches(BLANKS);
    if !is_token(kind) || !is_token(subtype) {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    let mut written = format!("{kind}/{subtype}").to_ascii_lowercase();
    while !rest.is_empty() {
        let parameter = rest.trim_start_matches(BLANKS);
        let end = parameter.find([';', '=']).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(end);
        let Some(value) = after.strip_prefix('=') else {
            rest = after.strip_prefix(';').unwrap_or_default();
            continue;
        };
        let value = match value.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = unquoted(quoted);
                rest = after.split_once(';').map_or("", |(_, rest)| rest);
                value
            }
            None => {
                let (value, after) = value.split_once(';').unwrap_or((value, ""));
                rest = after;
                let value = value.trim_end_matches(BLANKS);
                if value.is_empty() {
                    continue;
                }
                value.to_owned()
            }
        };
        let name = name.to_ascii_lowercase();
        let is_quotable = value.chars().all(|char| matches!(char, '\t' | ' '..='~' | '\u{80}'..='\u{ff}'));
        if !is_token(&name) || !is_quotable || names.contains(&name) {
            continue;
        }
        let shown = if is_token(&value) { value } else { format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")) };
        written.push_str(&format!(";{name}={shown}"));
        names.push(name);
    }
    Some(written)
}

/// What a quoted string says, whose first quotation mark is gone, and what comes behind it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => value.push(chars.next().unwrap_or('\\')),
            char => value.push(char),
        }
    }
    (value, chars.as_str())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_the_standard_has_them() {
        for (url, media_type, body) in [
            ("data:,hello%20w%C3%B6rld", "text/plain;charset=US-ASCII", "hello wörld"),
            ("data:text/html,<b>%3c%zz%4", "text/html", "<b><%zz%4"),
            ("data:text/plain;base64,aGVsbG8=", "text/plain", "hello"),
            ("data:text/plain;base64,aGV%20sbG%38", "text/plain", "hello"),
            ("data:;Base64,aGk#fragment", "text/plain;charset=US-ASCII", "hi"),
            ("data:;charset=utf-8; base64,aGk=", "text/plain;charset=utf-8", "hi"),
            ("data:application/json;base64=1,{}", "application/json;base64=1", "{}"),
            ("data: Image/SVG+xml ;a;B=1;b=2;c=\"x \\\"y\" z;d= ,<svg/>", "image/svg+xml;b=1;c=\"x \\\"y\"", "<svg/>"),
            ("data:nonsense,a,b", "text/plain;charset=US-ASCII", "a,b"),
            ("data:text/plain;base64,", "text/plain", ""),
        ] {
            let expected = (media_type.to_owned(), body.as_bytes().to_vec());
            assert_eq!(read(url), Some(expected), "{url}");
        }
        for url in
            ["data:text/plain", "data:text/plain#,a", "data:;base64,a", "data:;base64,aGk*", "data:;base64,aG=k", "http://h/,"]
        {
            assert_eq!(read(url), None, "{url}");
        }
    }
}
