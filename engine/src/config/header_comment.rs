//! The header comment of a script: `// @lockstep type=app class5_destination=1000 memory_mb=16`.
//!
//! Any key of `[[script]]` but `file`. Values are words, `"quoted strings"`, or TOML arrays and tables.

use serde::Deserialize;

use super::ScriptEntry;

/// How many lines at the top of a file are looked at.
const HEAD_LINES: usize = 20;
/// Characters of what is said of a comment.
const MAX_MESSAGE: usize = 400;

/// What is wrong with a header comment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: @lockstep: {message}")]
pub struct HeaderError {
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

/// Reads the header comment of a script; an entry that says nothing when there is none.
///
/// The comment stands on its own line, within the first twenty lines, before any code.
pub fn read(file: &str, source: &str) -> Result<ScriptEntry, HeaderError> {
    let Some((line, settings)) = find(source) else { return Ok(ScriptEntry::new(file)) };
    parse(file, settings).map_err(|message| HeaderError { file: file.to_owned(), line, message: shortened(message) })
}

/// The line, counted from 1, and the settings of the header comment.
pub(crate) fn find(source: &str) -> Option<(usize, &str)> {
    for (index, line) in source.lines().take(HEAD_LINES).enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        let comment = line.strip_prefix("//").or_else(|| line.strip_prefix("/*")).or_else(|| line.strip_prefix('*'));
        let Some(comment) = comment else {
            if line.is_empty() || line.starts_with("#!") || line == "'use strict';" || line == "\"use strict\";" {
                continue;
            }
            break;
        };
        // `*/` ends a block comment, but a line comment may end in a pattern: `class5_destination=/1.*/`.
        let comment = if line.starts_with("//") { comment } else { comment.strip_suffix("*/").unwrap_or(comment) }.trim();
        if let Some(settings) =
            comment.strip_prefix("@lockstep").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
        {
            return Some((index + 1, settings));
        }
    }
    None
}

/// The line, counted from 1, of a comment that looks like a header comment and is not read: a second one, or one behind code.
pub(crate) fn unread(source: &str) -> Option<usize> {
    let read = find(source).map(|(line, _)| line);
    let says = |line: &str| {
        let rest = line.trim_start_matches(|c: char| c.is_whitespace() || "/*".contains(c)).strip_prefix("@lockstep");
        rest.is_some_and(|rest| rest.starts_with(char::is_whitespace) && rest.contains('='))
    };
    let mut head = (1..).zip(source.lines().take(HEAD_LINES));
    head.find(|&(line, text)| Some(line) != read && says(text)).map(|(line, _)| line)
}

/// What is found is shown, but a line may be as long as a script.
fn shortened(message: String) -> String {
    match message.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

fn parse(file: &str, settings: &str) -> Result<ScriptEntry, String> {
    let mut table = toml::Table::new();
    let mut rest = settings.trim();
    // Another comment may follow the settings.
    while !rest.is_empty() && !rest.starts_with("//") {
        let Some((key, after)) = rest.split_once('=') else {
            return Err(format!("expected `key=value`, found `{rest}`"));
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) || key == "file" {
            return Err(format!("expected a key of [[script]], found `{key}`"));
        }
        let (value, remainder) = split_value(after.trim_start());
        // What callers dial is text, even where it looks like a number: `+44…`, `0800…`.
        let is_dialled = key == "class5_destination" && !value.starts_with(['"', '\'']);
        let value = if is_dialled { toml::Value::String(value.to_owned()) } else { interpret(value) };
        if table.insert(key.to_owned(), value).is_some() {
            return Err(format!("`{key}` is given twice"));
        }
        rest = remainder.trim_start();
    }
    table.insert("file".to_owned(), toml::Value::String(file.to_owned()));
    let entry = ScriptEntry::deserialize(table).map_err(|error| error.message().trim_end().to_owned())?;
    match entry.problems().into_iter().find(|(key, _)| *key != "file") {
        Some((key, sentence)) => Err(format!("{key}: {sentence}")),
        None => Ok(entry),
    }
}

/// Splits at the first whitespace outside quotes, slashes and brackets.
fn split_value(text: &str) -> (&str, &str) {
    let mut depth = 0usize;
    let mut quote = if text.starts_with('/') { Some('/') } else { None };
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if at == 0 && quote.is_some() {
            continue;
        }
        if escaped {
            escaped = false;
            continue;
        }
        match (quote, c) {
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, c) if c.is_whitespace() && depth == 0 => return text.split_at(at),
            (None, _) => {}
        }
    }
    (text, "")
}

/// A TOML value where the text is one, else the text itself.
fn interpret(text: &str) -> toml::Value {
    match toml::from_str::<toml::Table>(&format!("v = {text}")) {
        Ok(mut table) if table.len() == 1 => table.remove("v").unwrap_or_else(|| toml::Value::String(text.to_owned())),
        _ => toml::Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Class5Destination;
    use lockstep_ctx_api::wire::ScriptType;

    #[test]
    fn a_comment_may_follow_the_settings() {
        let entry = read("menu.js", "// @lockstep class5_destination=/10+/ // modules, x=1\n").unwrap();
        assert!(entry.class5_destination.unwrap().matches("100"));
        assert!(read("menu.js", "// @lockstep // nothing").unwrap().class5_destination.is_none());
        assert!(read("menu.js", "// @lockstep memory_mb=16 modules").is_err());
    }

    #[test]
    fn what_is_dialled_is_taken_as_it_stands() {
        for dialled in ["+441234567890", "0800", "1_000", "0x10", "1.10", "12e4", "true", "1000"] {
            let entry = read("menu.js", &format!("// @lockstep class5_destination={dialled}")).unwrap();
            assert_eq!(entry.class5_destination, Some(Class5Destination::Exact(dialled.to_owned())));
        }
        let quoted = read("menu.js", "// @lockstep class5_destination=\"front desk\"").unwrap();
        assert!(quoted.class5_destination.unwrap().matches("front desk"));
    }

    #[test]
    fn reads_the_keys_of_a_script_entry() {
        let source =
            "#!/usr/bin/env lockstep\n// A menu.\n// @lockstep type=app class5_destination=1000 memory_mb=16\nfunction main() {}";
        let entry = read("menu.js", source).unwrap();
        assert_eq!(entry.kind, Some(ScriptType::App));
        assert!(entry.class5_destination.unwrap().matches("1000"));
        assert_eq!(entry.memory_mb, Some(16));
    }

    #[test]
    fn patterns_arrays_and_tables_may_hold_blanks() {
        let source = r#"/* @lockstep class5_destination=/a b|c/ public=["hook", "x"] vars={ greeting = "hello you" } */"#;
        let entry = read("a.js", source).unwrap();
        assert!(entry.class5_destination.unwrap().matches("a b"));
        assert_eq!(entry.public, Some(crate::config::Public::Functions(vec!["hook".into(), "x".into()])));
        assert_eq!(entry.vars["greeting"].as_str(), Some("hello you"));
    }

    #[test]
    fn a_line_comment_may_end_in_a_pattern() {
        let entry = read("a.js", "// @lockstep class5_destination=/1.*/\n").unwrap();
        assert!(entry.class5_destination.unwrap().matches("123"));
    }

    #[test]
    fn a_comment_after_code_is_not_a_header() {
        assert_eq!(read("a.js", "let x;\n// @lockstep type=script").unwrap(), ScriptEntry::new("a.js"));
    }

    #[test]
    fn a_comment_that_is_not_read_is_known() {
        for (source, line) in [
            ("// @lockstep class5_destination=1000\n// @lockstep memory_mb=16", Some(2)),
            ("'use strict'\n// @lockstep memory_mb=16", Some(2)),
            ("/* A menu.\n   Of ours.\n   @lockstep memory_mb=16 */", Some(3)),
            ("// @lockstep memory_mb=16\n// what @lockstep does, and @lockstep", None),
            ("let x;", None),
        ] {
            assert_eq!(unread(source), line, "{source}");
        }
    }

    #[test]
    fn an_unknown_key_names_line_and_key() {
        let error = read("a.js", "\n// @lockstep tpye=app").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(error.message.contains("unknown field `tpye`"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_an_error() {
        assert!(read("a.js", "// @lockstep memory_mb=lots").is_err());
        assert!(read("a.js", "// @lockstep turn_ms=0").unwrap_err().message.contains("turn_ms"));
        assert!(read("a.js", "// @lockstep app").unwrap_err().message.contains("key=value"));
    }
}
