//! Arguments of FreeSWITCH applications, made of texts that scripts and callers have chosen.
//!
//! FreeSWITCH reads an argument several times: it expands `${…}` (which can run any command of the server), splits it at blanks
//! or bars with quotes and escapes of its own, and takes `^^`, `%[` and braces at the start for instructions. Nothing of that may
//! come from a script: what has no harmless spelling is refused.

use lockstep_ctx_api::{ErrorCode, OpError};

/// The longest argument, bytes: a command must stay well below what the server reads at once.
const MAX_ARGUMENT: usize = 16 * 1024;

/// A text that is passed as it is, or not at all.
pub(crate) fn literal<'a>(operation: &str, what: &str, text: &'a str) -> Result<&'a str, OpError> {
    let refused = |why: &str| Err(OpError::new(ErrorCode::RangeError, format!("{operation}: {what}: {why}")));
    if text.len() > MAX_ARGUMENT {
        return refused(&format!("expected at most {MAX_ARGUMENT} bytes, found {}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return refused("expected text without control characters");
    }
    if text.contains("${") {
        return refused("FreeSWITCH would expand `${`");
    }
    Ok(text)
}

/// A text of letters, digits and `extra`, which no application reads anything into.
pub(crate) fn word<'a>(operation: &str, what: &str, text: &'a str, extra: &str) -> Result<&'a str, OpError> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    if text.is_empty() || text.len() > MAX_ARGUMENT || !text.chars().all(is_fine) {
        let shown: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
        let message = format!("{operation}: {what}: expected letters, digits and {extra:?}, found {shown:?}");
        return Err(OpError::new(ErrorCode::RangeError, message));
    }
    Ok(text)
}

/// A text that is read by people or spoken to them: what FreeSWITCH would read something into is left out.
pub(crate) fn spoken(text: &str) -> String {
    let calm: String =
        text.chars().map(|c| if c.is_control() || matches!(c, '|' | '\\' | '^' | '`') { ' ' } else { c }).collect();
    let calm = calm.replace("${", "$ {");
    let calm = calm.trim_start_matches(['%', '{', '[', '<', ' ']).trim_end();
    let end = (0..=MAX_ARGUMENT.min(calm.len())).rev().find(|end| calm.is_char_boundary(*end)).unwrap_or(0);
    calm.get(..end).unwrap_or_default().to_owned()
}

/// One of several words of an argument, in quotes: blanks, quotes and backslashes stay what they are.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

/// The name of a channel variable that scripts may set.
pub(crate) fn variable<'a>(operation: &str, name: &'a str) -> Result<&'a str, OpError> {
    let name = word(operation, "name of a variable", name, "_-.")?;
    let lower = name.to_ascii_lowercase();
    // Their values are commands of the server, or dial strings it would run later.
    let is_hook = lower.starts_with("api_")
        || lower.starts_with("transfer_")
        || lower.starts_with("app_")
        || ["exec", "hook", "group_confirm", "post_process", "fallback", "_script"].iter().any(|part| lower.contains(part));
    if is_hook {
        let message = format!("{operation}: {name} makes FreeSWITCH run commands; scripts may not set it");
        return Err(OpError::new(ErrorCode::RangeError, message));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_freeswitch_would_expand_is_refused() {
        for bad in ["a${system(reboot)}", "$${x}", "a\nb", "a\r\n\r\nexit", "a\0"] {
            assert_eq!(literal("set", "value", bad).unwrap_err().code, ErrorCode::RangeError, "{bad:?}");
        }
        for good in ["a$b", "{x}", "£5; \"a\", 'b'", "\\d"] {
            assert_eq!(literal("set", "value", good), Ok(good));
        }
    }

    #[test]
    fn hooks_are_not_for_scripts() {
        for bad in ["api_hangup_hook", "execute_on_answer", "EXEC_after_bridge_app", "transfer_ringback", "a b", "a=b", ""] {
            assert!(variable("set", bad).is_err(), "{bad}");
        }
        assert_eq!(variable("set", "sip_h_X-Customer-ID"), Ok("sip_h_X-Customer-ID"));
    }

    #[test]
    fn spoken_text_holds_no_instruction() {
        assert_eq!(spoken("{a}${b}|c\nd"), "a}$ {b} c d");
        assert_eq!(spoken("%[x]y"), "x]y");
        assert!(spoken(&"é".repeat(MAX_ARGUMENT)).len() <= MAX_ARGUMENT);
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(quoted(r"a 'b' \d"), r"'a \'b\' \\d'");
    }
}
