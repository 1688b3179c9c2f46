//! Journals of calls on their way to disk: a little at a time while a call lives, the rest when it is over.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_ctx_api::journal::{Journal, Mark};
use lockstep_ctx_api::wire::RunId;
use serde::Serialize;

use super::exchange::CallKey;
use super::former::Former;
use super::handle::CallSummary;
use super::past_calls::PastCall;
use super::switch::Switch;
use super::timeline::Timeline;
use crate::journals::{Begin, JournalId, Journals, Piece, ScriptStart};
use crate::script::Program;

/// How much of a live call's journal a power cut may cost.
const SAVE_AFTER: Duration = Duration::from_millis(200);
/// What a piece takes besides its journal, roughly: timeline and bookkeeping.
const PIECE_BYTES: usize = 4_096;
/// What an entry of a timeline takes, roughly.
const ENTRY_BYTES: usize = 256;

/// Calls whose journals hold more than the disk does.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) journals: Option<Journals>,
    unsaved: BTreeSet<CallKey>,
    due: Option<Instant>,
}

/// How much of a call's journal was handed over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    journal: Option<JournalId>,
    run: Option<RunId>,
    mark: Mark,
    bytes: usize,
}

impl Kept {
    /// What is kept of a run; besides it the journal of another script, which has lost the call to this one.
    pub(super) fn of_run(self, run: RunId) -> (Self, Option<JournalId>) {
        if self.run == Some(run) { (self, None) } else { (Self::default(), self.journal) }
    }
}

/// How a call came out, as it is kept.
#[derive(Serialize)]
pub(super) struct Outcome<'a> {
    pub(super) summary: &'a CallSummary,
    pub(super) timeline: &'a Timeline,
    pub(super) recordings: &'a [PathBuf],
}

impl Outcome<'_> {
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Keys are text: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Keeping {
    pub(super) fn new(journals: Option<Journals>) -> Self {
        Self { journals, unsaved: BTreeSet::new(), due: None }
    }

    /// Calls and pieces that are not on disk yet.
    pub(super) fn behind(&self) -> usize {
        self.unsaved.len() + self.journals.as_ref().map_or(0, Journals::waiting)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }
}

impl Switch {
    /// Something has happened to a call: its journal is written before long.
    pub(super) fn keep_soon(&mut self, key: CallKey) {
        let now = self.now().instant;
        if self.keeping.journals.is_some() && self.calls.get(&key).is_some_and(|call| call.run.is_some()) {
            self.keeping.unsaved.insert(key);
            self.keeping.due.get_or_insert(now + SAVE_AFTER);
        }
    }

    /// Hands over what the journals of live calls have gained.
    pub(super) fn keep_what_is_due(&mut self) {
        let now = self.now().instant;
        if self.keeping.due.is_none_or(|due| due > now) {
            return;
        }
        if self.keeping.journals.as_ref().is_some_and(|journals| !journals.has_room()) {
            self.keeping.due = Some(now + SAVE_AFTER);
            return;
        }
        let unsaved = std::mem::take(&mut self.keeping.unsaved);
        // Without room they wait for the next time.
        self.keeping.unsaved = unsaved.into_iter().filter(|key| !self.keep_call(*key)).collect();
        self.keeping.due = (!self.keeping.unsaved.is_empty()).then(|| now + SAVE_AFTER);
    }

    /// Hands over what a call's journal has gained; `false` when there is no room for it.
    pub(super) fn keep_call(&mut self, key: CallKey) -> bool {
        let (Some(journals), Some(call)) = (&self.keeping.journals, self.calls.get_mut(&key)) else { return true };
        let (Some(run), Some(program)) = (call.run, call.program.clone()) else { return true };
        let (mut kept, closes) = call.kept.of_run(run);
        // One that still has its script hands over its last itself.
        let closes = closes.filter(|closed| call.former.iter().all(|former| former.kept.journal != Some(*closed)));
        let (name, account, started_ms) = (&call.facts.id, &call.account, call.facts.started_at);
        let mut piece = None;
        self.host.read_journal(run, &mut |journal| {
            if kept.journal.is_none() || kept.mark != journal.mark() {
                let begin = kept.journal.is_none().then(|| begin((name, account), started_ms, &program, journal));
                piece = Some((begin, journal.since(kept.mark), journal.bytes));
            }
        });
        let Some((begin, tail, bytes)) = piece else { return true };
        let journal = *kept.journal.get_or_insert_with(|| journals.open());
        let grown = PIECE_BYTES + bytes.saturating_sub(kept.bytes);
        let to = tail.to();
        let piece = Piece { journal, begin, tail: Some(tail), outcome: None, closes, bytes: grown };
        let sent = journals.keep(piece);
        if sent {
            kept = Kept { run: Some(run), mark: to, bytes, ..kept };
            call.kept = kept;
        }
        sent
    }

    /// Hands over what was left of the journal of a script that its call was taken from.
    pub(super) fn keep_former(&mut self, key: CallKey, former: &Former, journal: &Journal) {
        let (Some(journals), Some(call)) = (&self.keeping.journals, self.calls.get_mut(&key)) else { return };
        let Kept { journal: Some(id), mark, bytes, .. } = former.kept else { return };
        // How the call comes out is told in the journal of its last script.
        let is_last = call.kept.run == Some(former.run);
        let grown = PIECE_BYTES + journal.bytes.saturating_sub(bytes);
        let closes = (!is_last).then_some(id);
        let tail = Some(journal.since(mark));
        if !journals.keep(Piece { journal: id, begin: None, tail, outcome: None, closes, bytes: grown }) {
            journals.lost();
        } else if is_last {
            call.kept = Kept { mark: journal.mark(), bytes: journal.bytes, ..call.kept };
        }
    }

    /// Hands over what is left of a call that is over, and how it came out.
    pub(super) fn keep_past(&mut self, key: CallKey, kept: Kept, run: Option<(RunId, &Program)>, past: &PastCall) {
        self.keeping.unsaved.remove(&key);
        let Some(journals) = &self.keeping.journals else { return };
        let (kept, closes) = run.map_or((kept, None), |(run, _)| kept.of_run(run));
        let facts = &past.summary.facts;
        // A journal of a script that the call was taken away from was handed over then.
        let journal = past.journal.as_deref().zip(run);
        let begin = kept.journal.is_none().then(|| match journal {
            Some((journal, (_, program))) => begin((&facts.id, &past.summary.account), facts.started_at, program, journal),
            None => {
                let account = past.summary.account.to_string();
                Box::new(Begin { name: facts.id.clone(), account, started_ms: facts.started_at, script: None })
            }
        });
        let tail = journal.map(|(journal, _)| journal.since(kept.mark));
        let grown = journal.map_or(0, |(journal, _)| journal.bytes.saturating_sub(kept.bytes));
        let bytes = PIECE_BYTES + grown + past.timeline.entries.len() * ENTRY_BYTES;
        let (summary, timeline, recordings) = (past.summary.clone(), Arc::clone(&past.timeline), past.recordings.clone());
        let outcome = Box::new(move || Outcome { summary: &summary, timeline: &timeline, recordings: &recordings }.to_json());
        let journal = kept.journal.unwrap_or_else(|| journals.open());
        if !journals.keep(Piece { journal, begin, tail, outcome: Some(outcome), closes, bytes }) {
            journals.lost();
        }
    }
}

fn begin((name, account): (&str, &str), started_ms: u64, program: &Program, journal: &Journal) -> Box<Begin> {
    Box::new(Begin {
        name: name.to_owned(),
        account: account.to_owned(),
        started_ms,
        script: Some(ScriptStart {
            header: journal.header.clone(),
            start: Arc::clone(&journal.start),
            bundle_id: program.bundle_id,
            bundle: Arc::clone(&program.bundle),
        }),
    })
}
