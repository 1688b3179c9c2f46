//! Keys in INFO requests: `application/dtmf-relay` (`Signal=5`, `Duration=160`) and `application/dtmf` (the key alone).

use super::is_key;

/// How long a key counts as held when the INFO does not say, ms.
const DEFAULT_DURATION_MS: u32 = 100;
/// Longest hold that is believed, ms.
const MAX_DURATION_MS: u32 = 60_000;

/// The key in an INFO's body and how long it was held, ms; `None` when it carries none.
pub fn digit_of_info(content_type: &str, body: &[u8]) -> Option<(char, u32)> {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let text = std::str::from_utf8(body).ok()?;
    if media_type.eq_ignore_ascii_case("application/dtmf") {
        return Some((key(text.trim())?, DEFAULT_DURATION_MS));
    }
    if !media_type.eq_ignore_ascii_case("application/dtmf-relay") {
        return None;
    }
    let mut digit = None;
    let mut duration = DEFAULT_DURATION_MS;
    for line in text.lines() {
        let Some((name, value)) = line.split_once('=') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "signal" => digit = key(value.trim()),
            "duration" => duration = value.trim().parse().unwrap_or(DEFAULT_DURATION_MS).min(MAX_DURATION_MS),
            _ => {}
        }
    }
    Some((digit?, duration))
}

/// The body of an INFO of ours.
pub fn info_of_digit(digit: char, duration_ms: u32) -> String {
    format!("Signal={digit}\r\nDuration={duration_ms}\r\n")
}

/// Some phones number `*` and `#` as the telephone events 10 and 11.
fn key(text: &str) -> Option<char> {
    match text {
        "10" => Some('*'),
        "11" => Some('#'),
        _ => {
            let mut chars = text.chars();
            let digit = chars.next()?.to_ascii_uppercase();
            (chars.next().is_none() && is_key(digit)).then_some(digit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_media_types_are_read() {
        assert_eq!(digit_of_info("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n"), Some(('5', 160)));
        assert_eq!(digit_of_info("Application/DTMF-Relay;x=y", b"signal = *\nduration = 80"), Some(('*', 80)));
        assert_eq!(digit_of_info("application/dtmf", b" 7 \r\n"), Some(('7', 100)));
        assert_eq!(digit_of_info("application/dtmf-relay", b"Signal=11\r\n"), Some(('#', 100)));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for (content_type, body) in [
            ("application/dtmf-relay", &b"Duration=160\r\n"[..]),
            ("application/dtmf-relay", b"Signal=55\r\n"),
            ("application/dtmf", b"\xff"),
            ("application/dtmf", b""),
            ("text/plain", b"Signal=5"),
        ] {
            assert_eq!(digit_of_info(content_type, body), None, "{content_type} {body:?}");
        }
    }

    #[test]
    fn what_we_send_can_be_read() {
        assert_eq!(digit_of_info("application/dtmf-relay", info_of_digit('#', 250).as_bytes()), Some(('#', 250)));
    }
}
