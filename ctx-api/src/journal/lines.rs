//! A journal as text: one JSON object a line, readable and, unredacted, readable back.
//!
//! ```text
//! {"journal":{"format":1,"script":"menu.js",…}}
//! {"bundle":{"entry":"menu.js","files":{"menu.js":"…"},…}}                 where the sources were asked for
//! {"turn":0,"start":{"at":1700000000000,"data":"{}","call":{…}}}
//! {"turn":0,"end":{"issued":[{"op":{"Answer":{…}},"at":{"file":"menu.js","line":2,"column":9}}],"awaited":[…],"state":"Running"}}
//! {"turn":1,"entry":{"at":1700000000350,"kind":{"Outcome":{…}}}}
//! ```

use std::io::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::entry::{FORMAT, Journal, JournalHeader, Mark, Tail, TurnRecord};
use super::redact::{Redactor, redact_json, redact_text};
use super::services;
use crate::host::HostReply;
use crate::outcome::Outcome;
use crate::wire::{Bundle, Entry, EntryKind, Start};

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Journal(JournalHeader),
    Bundle(Bundle),
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

/// Octets that most texts take.
const USUAL: usize = 4 << 10;

/// Renders `journal`, turn by turn, hiding what `redactor` says is secret.
pub fn render(journal: &Journal, redactor: Option<&dyn Redactor>) -> String {
    render_with(journal, None, redactor)
}

/// As [`render`], with the texts that were run.
pub fn render_with(journal: &Journal, bundle: Option<&Bundle>, redactor: Option<&dyn Redactor>) -> String {
    let mut page = Page::new(redactor);
    page.line(None, "journal", &journal.header);
    if let Some(bundle) = bundle {
        page.bundle(bundle);
    }
    page.line(Some(0), "start", &journal.start);
    page.turns(Mark::default(), &journal.entries, &journal.turns, journal.truncated_at);
    page.into_text()
}

/// The first lines of a journal, to which the [`render_tail`]s of all that follows are appended.
pub fn render_head(header: &JournalHeader, start: &Start) -> String {
    let mut page = Page::new(None);
    page.line(None, "journal", header);
    page.line(Some(0), "start", start);
    page.into_text()
}

/// The lines of what a journal holds past a mark.
pub fn render_tail(tail: &Tail) -> String {
    let mut page = Page::new(None);
    page.turns(tail.from, &tail.entries, &tail.turns, tail.truncated_at);
    page.into_text()
}

struct Page<'a> {
    text: Vec<u8>,
    redactor: Option<&'a dyn Redactor>,
}

impl<'a> Page<'a> {
    fn new(redactor: Option<&'a dyn Redactor>) -> Self {
        Self { text: Vec::with_capacity(USUAL), redactor }
    }

    fn into_text(self) -> String {
        // JSON is UTF-8.
        String::from_utf8(self.text).unwrap_or_default()
    }

    /// Entries and ends of turns in their order: a turn ends after its entry and before the next one, where its end is known.
    fn turns(&mut self, from: Mark, entries: &[Entry], ends: &[TurnRecord], truncated_at: Option<u32>) {
        let issued = ends;
        let (mut entry_at, mut end_at) = (from.entries, from.turns);
        let (mut entries, mut ends) = (entries.iter().peekable(), ends.iter().peekable());
        let number = |turn: usize| Some(u32::try_from(turn).unwrap_or(u32::MAX));
        loop {
            if let Some(end) = ends.next_if(|_| end_at <= entry_at) {
                self.line(number(end_at), "end", end);
                end_at += 1;
            } else if let Some(entry) = entries.next() {
                entry_at += 1;
                let shown = self.shown(entry, issued);
                self.line(number(entry_at), "entry", shown.as_ref().unwrap_or(entry));
            } else {
                break;
            }
        }
        if let Some(truncated_at) = truncated_at {
            self.line(None, "truncated_at", &truncated_at);
        }
    }

    /// What a service gave back is known by the names it was asked for; `None`: there is nothing to hide for that.
    fn shown(&self, entry: &Entry, turns: &[TurnRecord]) -> Option<Entry> {
        let redactor = self.redactor?;
        let (call, reply) = services::replied(entry, turns)?;
        let EntryKind::Outcome { op, .. } = &entry.kind else { return None };
        let value = services::shown_reply(redactor, call, &reply.value)?;
        let reply = HostReply { value, body: reply.body.clone() };
        Some(Entry { at: entry.at, kind: EntryKind::Outcome { op: *op, result: Ok(Outcome::Host(reply)) } })
    }

    /// Names of files say nothing of what is in them: `token.js` is no token.
    fn bundle(&mut self, bundle: &Bundle) {
        let Some(redactor) = self.redactor else { return self.line(None, "bundle", bundle) };
        let shown = |source: &Arc<str>| redact_text(redactor, "", source).map_or_else(|| Arc::clone(source), Arc::from);
        let files = bundle.files.iter().map(|(file, source)| (file.clone(), shown(source))).collect();
        let packages = serde_json::to_string(&bundle.packages).ok().and_then(|text| {
            let shown = redact_json(redactor, "", &text).unwrap_or(text);
            serde_json::from_str(&shown).ok()
        });
        let shown = Bundle { entry: bundle.entry.clone(), files, packages: packages.unwrap_or_default() };
        self.redactor = None;
        self.line(None, "bundle", &shown);
        self.redactor = Some(redactor);
    }

    fn line(&mut self, turn: Option<u32>, what: &str, value: &impl Serialize) {
        let begin = self.text.len();
        // Writing to a Vec cannot fail.
        let _ = match turn {
            None => write!(self.text, "{{\"{what}\":"),
            Some(turn) => write!(self.text, "{{\"turn\":{turn},\"{what}\":"),
        };
        let written = match self.redactor {
            None => serde_json::to_writer(&mut self.text, value),
            Some(redactor) => serde_json::to_string(value).map(|text| {
                let shown = redact_json(redactor, "", &text);
                self.text.extend_from_slice(shown.as_ref().unwrap_or(&text).as_bytes());
            }),
        };
        // Only a map key that is no string fails here, and the vocabulary has none.
        match written {
            Ok(()) => self.text.extend_from_slice(b"}\n"),
            Err(_) => self.text.truncate(begin),
        }
    }
}

/// Reads what [`render`] wrote.
pub fn parse(text: &str) -> Result<Journal, ParseError> {
    parse_with(text).map(|(journal, _)| journal)
}

/// Reads what [`render_with`] wrote.
pub fn parse_with(text: &str) -> Result<(Journal, Option<Bundle>), ParseError> {
    let mut journal: Option<Journal> = None;
    let mut bundle: Option<Bundle> = None;
    let mut header: Option<JournalHeader> = None;
    for (line, source) in (1..).zip(text.lines()).filter(|(_, source)| !source.trim().is_empty()) {
        let parsed = serde_json::from_str(source).map_err(|source| ParseError::Malformed { line, source })?;
        let order = |expected: String| Err(ParseError::Order { line, expected });
        match (&mut journal, header.take(), parsed) {
            (None, None, Line::Journal(read)) if read.format == FORMAT => header = Some(read),
            (None, None, Line::Journal(read)) => return Err(ParseError::Format { got: read.format }),
            (None, None, _) => return order("the journal's header".into()),
            (None, Some(pinned), Line::Bundle(read)) if bundle.is_none() => {
                bundle = Some(read);
                header = Some(pinned);
            }
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
    Ok((journal, bundle))
}
