//! Texts of a picture: short, on one line.

/// Longest text of a box, in characters.
const MAX_CHARS: usize = 44;

/// A piece of source on one line, cut where it is too long.
pub(super) fn of_source(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&line, MAX_CHARS)
}

/// At most so many characters.
pub(super) fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}
