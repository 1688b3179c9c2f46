//! JSON of requests, parts of which are handed on as they came.

use serde::de::DeserializeOwned;

/// Levels of lists and objects within one another.
const MAX_DEPTH: usize = 128;

/// Why a body is not the JSON that is taken, and where. Both count from 1.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JsonError {
    message: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What `json` says.
///
/// # Errors
/// It is none, is nested too deep, or is not what is wanted.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, JsonError> {
    if let Some((line, column)) = too_deep(json) {
        let message = format!("nested deeper than {MAX_DEPTH} levels at line {line} column {column}");
        return Err(JsonError { message, line, column });
    }
    serde_json::from_slice(json).map_err(|error| JsonError {
        message: error.to_string(),
        line: error.line(),
        column: error.column(),
    })
}

/// JSON without the byte order mark that some put before it (RFC 8259 8.1).
pub(crate) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Where JSON is nested too deep. Parts that are handed on as they are would otherwise reach a script's parser unseen.
fn too_deep(json: &[u8]) -> Option<(usize, usize)> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    let (mut line, mut column) = (1, 0);
    for byte in json {
        column += 1;
        match byte {
            b'\n' => (line, column, escaped) = (line + 1, 0, false),
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some((line, column));
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let deep = |levels: usize| format!("\n{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(too_deep(deep(MAX_DEPTH).as_bytes()), None);
        assert_eq!(too_deep(deep(MAX_DEPTH + 1).as_bytes()), Some((2, MAX_DEPTH + 1)));
        assert_eq!(too_deep(format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(200), "{".repeat(200)).as_bytes()), None);
        assert_eq!(too_deep("[[]],".repeat(1_000).as_bytes()), None, "side by side");
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        let wrong = |json: &str| read::<Vec<u8>>(json.as_bytes()).map_err(|error| (error.line, error.column)).unwrap_err();
        assert_eq!(wrong("[1,\n 2"), (2, 2));
        assert_eq!(wrong(&"[".repeat(MAX_DEPTH + 1)), (1, MAX_DEPTH + 1));
    }
}
