//! From places in an instrumented text to places in the text as it was written.
//!
//! Marks are inserted without line breaks, so that lines stay true by themselves and only columns move.

use std::collections::BTreeMap;

use lockstep_ctx_api::wire::{Location, ScriptError};

/// What was inserted into each line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Columns {
    /// By line, from 1: columns of the original text (from 1, UTF-16), and how many columns were inserted before them.
    lines: BTreeMap<u32, Vec<(u32, u32)>>,
}

impl Columns {
    /// Says that `length` columns were inserted before `column` of `line`; from the beginning of the text to its end.
    pub(super) fn insert(&mut self, line: u32, column: u32, length: u32) {
        self.lines.entry(line).or_default().push((column, length));
    }

    /// The column of the original text.
    pub(super) fn original(&self, line: u32, column: u32) -> u32 {
        let mut shift = 0;
        for (at, length) in self.lines.get(&line).into_iter().flatten() {
            // Within what was inserted: where it was inserted.
            if column < at + shift + length {
                return if column < at + shift { column - shift } else { *at };
            }
            shift += length;
        }
        column - shift
    }
}

/// Leads positions back, by the name of their file.
pub(super) fn restore(files: &BTreeMap<String, Columns>, at: &mut Location) {
    if let Some(columns) = files.get(at.file.as_ref()) {
        at.column = columns.original(at.line, at.column);
    }
}

/// Leads an error's positions back, those of its stack included.
pub(super) fn restore_error(files: &BTreeMap<String, Columns>, error: &mut ScriptError) {
    if let Some(at) = &mut error.at {
        restore(files, at);
    }
    for frame in &mut error.stack {
        if let Some(restored) = frame_restored(files, frame) {
            *frame = restored;
        }
    }
}

/// `name (file:line:column)` or `file:line:column`.
fn frame_restored(files: &BTreeMap<String, Columns>, frame: &str) -> Option<String> {
    let (before, place, after) = match frame.rsplit_once(" (") {
        Some((name, place)) => (format!("{name} ("), place.strip_suffix(')')?, ")"),
        None => (String::new(), frame, ""),
    };
    let (file, line, column) = place_of(place)?;
    let column = files.get(file)?.original(line, column);
    Some(format!("{before}{file}:{line}:{column}{after}"))
}

fn place_of(place: &str) -> Option<(&str, u32, u32)> {
    let mut parts = place.rsplitn(3, ':');
    let (column, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((parts.next()?, line, column))
}

#[cfg(test)]
mod tests {
    use lockstep_ctx_api::wire::ScriptErrorKind;

    use super::*;

    fn columns() -> Columns {
        let mut columns = Columns::default();
        // `AAa();BBBb();` for `a();b();`
        columns.insert(3, 1, 2);
        columns.insert(3, 5, 3);
        columns
    }

    #[test]
    fn columns_after_insertions_move_back() {
        let columns = columns();
        let original = |column| columns.original(3, column);
        assert_eq!((original(3), original(6)), (1, 4), "a and its semicolon");
        assert_eq!(original(10), 5, "b");
        assert_eq!((original(1), original(8)), (1, 5), "what was inserted itself");
        assert_eq!(columns.original(4, 9), 9, "another line");
    }

    #[test]
    fn an_error_and_its_stack_move_back() {
        let files = BTreeMap::from([("a.js".to_owned(), columns())]);
        let at = Location { file: "a.js".into(), line: 3, column: 10 };
        let stack = vec!["main (a.js:3:10)".to_owned(), "b.js:3:10".to_owned(), "native".to_owned()];
        let mut error = ScriptError { sip: None, kind: ScriptErrorKind::Thrown, message: String::new(), at: Some(at), stack };
        restore_error(&files, &mut error);
        assert_eq!(error.at.map(|at| at.column), Some(5));
        assert_eq!(error.stack, ["main (a.js:3:5)", "b.js:3:10", "native"]);
    }
}
