//! JSON that every reader takes: a script may cut a character of two UTF-16 units in half, and JSON can write half of one.

/// The text with U+FFFD for each half of a surrogate pair that is escaped without its other half (RFC 8259, section 8.2), as
/// JavaScript's `toWellFormed` has it. Of anything but JSON nothing is changed that is no such escape.
pub fn well_formed(mut json: String) -> String {
    let mut at = 0;
    let mut lone = Vec::new();
    // Mostly there is no backslash at all.
    while let Some(found) = json.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        at += match (half(&json, at), half(&json, at + ESCAPE)) {
            (Some(Half::High), Some(Half::Low)) => 2 * ESCAPE,
            (Some(_), _) => {
                lone.push(at);
                ESCAPE
            }
            // Whatever is escaped, a backslash above all.
            (None, _) => 2,
        };
    }
    for at in lone {
        json.replace_range(at..at + ESCAPE, "\\ufffd");
    }
    json
}

/// Octets of `\ud83d`.
const ESCAPE: usize = 6;

#[derive(Clone, Copy)]
enum Half {
    High,
    Low,
}

/// The half that is escaped there.
fn half(json: &str, at: usize) -> Option<Half> {
    match json.as_bytes().get(at..)? {
        [b'\\', b'u', b'd' | b'D', kind, one, other, ..] if one.is_ascii_hexdigit() && other.is_ascii_hexdigit() => match kind {
            b'8' | b'9' | b'a' | b'b' | b'A' | b'B' => Some(Half::High),
            b'c'..=b'f' | b'C'..=b'F' => Some(Half::Low),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(json: &str) -> String {
        well_formed(json.to_owned())
    }

    #[test]
    fn halves_without_their_other_half_are_replaced() {
        for (json, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uD83Dx\uDE00""#, r#""\ufffdx\ufffd""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#"{"a\udbff":["\\\udfff"]}"#, r#"{"a\ufffd":["\\\ufffd"]}"#),
        ] {
            assert_eq!(mended(json), expected);
            assert!(serde_json::from_str::<serde_json::Value>(json).is_err());
            assert!(serde_json::from_str::<serde_json::Value>(expected).is_ok());
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for json in [
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00""#,
            r#""\\ud83d""#,
            r#""\ud7ff\ue000😀\n""#,
            "",
            "\\",
            r"\ud8",
            r"\ud83é",
            r"\é",
        ] {
            assert_eq!(mended(json), json);
        }
    }
}
