//! JSON that is handed on as it came.

/// Levels of lists and objects within one another.
pub(crate) const MAX_DEPTH: usize = 128;

/// JSON without the byte order mark that some put before it (RFC 8259 8.1).
pub(crate) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Whether JSON is nested too deep. Parts that are handed on as they are would otherwise reach a script's parser unseen.
pub(crate) fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(deep(MAX_DEPTH).as_bytes()));
        assert!(is_too_deep(deep(MAX_DEPTH + 1).as_bytes()));
        assert!(!is_too_deep(format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(200), "{".repeat(200)).as_bytes()));
        assert!(!is_too_deep("[[]],".repeat(1_000).as_bytes()), "side by side");
    }
}
