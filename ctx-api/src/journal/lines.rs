//! A journal as text: one JSON object a line, readable and, unredacted, readable back.
//!
//! ```text
//! {"journal":{"format":1,"script":"menu.js",…}}
//! {"turn":0,"start":{"at":1700000000000,"data":"{}","call":{…}}}
//! {"turn":0,"end":{"issued":[{"op":{"Answer":{…}},"at":{"file":"menu.js","line":2,"column":9}}],"awaited":[…],"state":"Running"}}
//! {"turn":1,"entry":{"at":1700000000350,"kind":{"Outcome":{…}}}}
//! ```

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::{FORMAT, Journal, JournalHeader, TurnRecord};
use super::redact::{Redactor, redact};
use crate::wire::{Entry, Start};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Journal(JournalHeader),
    #[serde(untagged)]
    Start {
        turn: u32,
        start: Arc<Start>,
    },
    #[serde(untagged)]
    Entry {
        turn: u32,
        entry: Entry,
    },
    #[serde(untagged)]
    End {
        turn: u32,
        end: TurnRecord,
    },
    #[serde(untagged)]
    Truncated {
        truncated_at: u32,
    },
}

/// Why text is not a journal.
#[derive(Debug, Error)]
pub enum ParseError {
    #[error("line {line}: {source}")]
    Malformed { line: usize, source: serde_json::Error },
    #[error("line {line}: expected {expected}")]
    Order { line: usize, expected: String },
    #[error("journal format {got}, expected {FORMAT}")]
    Format { got: u32 },
    #[error("no journal: the text is empty")]
    Empty,
}

/// Renders `journal`, turn by turn, hiding what `redactor` says is secret.
pub fn render(journal: &Journal, redactor: Option<&dyn Redactor>) -> String {
    let mut page = Page { text: String::new(), redactor };
    page.line(None, "journal", &journal.header);
    page.line(Some(0), "start", &journal.start);
    let mut ends = journal.turns.iter();
    let mut entries = journal.entries.iter();
    for turn in 0.. {
        if let Some(end) = ends.next() {
            page.line(Some(turn), "end", end);
        }
        let Some(entry) = entries.next() else { break };
        page.line(Some(turn + 1), "entry", entry);
    }
    if let Some(truncated_at) = journal.truncated_at {
        page.line(None, "truncated_at", &truncated_at);
    }
    page.text
}

struct Page<'a> {
    text: String,
    redactor: Option<&'a dyn Redactor>,
}

impl Page<'_> {
    fn line(&mut self, turn: Option<u32>, what: &str, value: &impl Serialize) {
        // Only a map key that is no string fails here, and the vocabulary has none.
        let Ok(mut value) = serde_json::to_value(value) else { return };
        if let Some(redactor) = self.redactor {
            redact(redactor, "", &mut value);
        }
        let turn = turn.map_or_else(String::new, |turn| format!("\"turn\":{turn},"));
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{{{turn}\"{what}\":{value}}}");
    }
}

/// Reads what [`render`] wrote without a redactor.
pub fn parse(text: &str) -> Result<Journal, ParseError> {
    let mut journal: Option<Journal> = None;
    let mut header: Option<JournalHeader> = None;
    for (line, source) in (1..).zip(text.lines()).filter(|(_, source)| !source.trim().is_empty()) {
        let parsed = serde_json::from_str(source).map_err(|source| ParseError::Malformed { line, source })?;
        let order = |expected: String| Err(ParseError::Order { line, expected });
        match (&mut journal, header.take(), parsed) {
            (None, None, Line::Journal(read)) if read.format == FORMAT => header = Some(read),
            (None, None, Line::Journal(read)) => return Err(ParseError::Format { got: read.format }),
            (None, None, _) => return order("the journal's header".into()),
            (None, Some(header), Line::Start { turn: 0, start }) => journal = Some(Journal::new(header, start)),
            (None, Some(_), _) => return order("the start of turn 0".into()),
            (Some(journal), _, Line::Entry { turn, entry }) if turn == journal.next_turn() => journal.entries.push(entry),
            (Some(journal), _, Line::End { turn, end })
                if turn == journal.turns_ended() && journal.turns.len() <= journal.entries.len() =>
            {
                journal.turns.push(end);
            }
            (Some(journal), _, Line::Truncated { truncated_at }) => journal.truncated_at = Some(truncated_at),
            (Some(journal), _, _) => {
                let (entry, end) = (journal.next_turn(), journal.turns_ended());
                return order(format!("the entry of turn {entry} or the end of turn {end}"));
            }
        }
    }
    let mut journal = journal.ok_or(ParseError::Empty)?;
    journal.bytes = text.len();
    Ok(journal)
}
