//! Running a script again from its journal, turn by turn, beside what was recorded.
//!
//! A runtime in this process is fed the recorded entries; nothing is carried out. Every turn it takes is compared with the recorded
//! one: the first that differs ends the replay. A second runtime, fed the same, runs the same text with its variables laid open.

mod former;
mod hidden;
mod instrument;
mod show;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_ctx_api::journal::{Divergence, Journal, Redactor, TurnRecord, redact_json};
use lockstep_ctx_api::js::{PRELUDE_VERSION, Worker};
use lockstep_ctx_api::wire::{Bundle, Entry, EntryKind, FromWorker, LogLine, RunId, ScriptError, ToWorker, TurnEnd};

pub(crate) use show::{divergence, step};
pub(crate) use sources::replace;

const RUN: RunId = RunId(1);
const EPOCH: u32 = 1;

/// One turn of a replay.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub turn: u32,
    /// Milliseconds since the run began.
    pub at_ms: u64,
    /// What came in; `None` for the start.
    pub entry: Option<EntryKind>,
    pub lines: Vec<LogLine>,
    /// What the turn asked for.
    pub end: TurnRecord,
    /// Variables that have other values than a turn ago: scope, name, value.
    pub changed: Vec<(String, String, String)>,
    /// How it differs from what was recorded.
    pub divergence: Option<Divergence>,
    /// The journal has no end of this turn: the engine died before it came.
    pub is_new: bool,
}

/// Where variables stand: scope → name → value.
pub(crate) type Variables = BTreeMap<String, BTreeMap<String, String>>;

/// A script and its journal, on their way through it.
pub(crate) struct Replay<'a> {
    journal: &'a Journal,
    /// Hides on both sides what the journal's readers do not get to see.
    redactor: Option<&'a dyn Redactor>,
    plain: Worker,
    open: Option<Worker>,
    variables: Variables,
    next: u32,
    is_over: bool,
}

impl<'a> Replay<'a> {
    /// A replay of `journal` with these sources. With a redactor, turns are compared as its readers see them: what a redacted
    /// journal is good for.
    ///
    /// # Errors
    /// When no runtime can be made.
    pub(crate) fn new(journal: &'a Journal, bundle: &Bundle, redactor: Option<&'a dyn Redactor>) -> Result<Self, ScriptError> {
        let worker = |sources: Bundle| {
            let mut worker = Worker::new()?;
            let frame = ToWorker::Bundle { bundle: journal.header.run.bundle, sources: Arc::new(sources) };
            worker.handle(frame, &mut Vec::new());
            Ok(worker)
        };
        let plain = worker(bundle.clone())?;
        let open = instrument::bundle(bundle).map(worker).transpose()?;
        Ok(Self { journal, redactor, plain, open, variables: Variables::new(), next: 0, is_over: false })
    }

    /// What the recording was made with, where it is not what replays it.
    pub(crate) fn warning(&self) -> Option<String> {
        let recorded = self.journal.header.run.prelude;
        (recorded != PRELUDE_VERSION).then(|| {
            format!("recorded with version {recorded} of the runtime, replayed with version {PRELUDE_VERSION}: it may differ")
        })
    }

    /// All variables as they are now.
    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Takes the next turn; `None` at the end of the journal, and after a turn that differed.
    pub(crate) fn step(&mut self) -> Option<Step> {
        if self.is_over {
            return None;
        }
        let turn = self.next;
        let entry = match turn.checked_sub(1) {
            None => None,
            Some(index) => Some(self.journal.entries.get(usize::try_from(index).ok()?)?.clone()),
        };
        self.next += 1;
        let (lines, end) = self.turn(entry.clone())?;
        let recorded = self.journal.turn(turn);
        let divergence = recorded.and_then(|recorded| {
            let recorded = self.shown(recorded.clone());
            let mut attempted = TurnEnd { turn, ..self.shown_end(&recorded, &end) };
            former::overlook(self.journal, &recorded.state, &mut attempted.state);
            Divergence::find(&recorded, &attempted)
        });
        self.is_over = divergence.is_some();
        let at = entry.as_ref().map_or(self.journal.start.at, |entry| entry.at);
        Some(Step {
            turn,
            at_ms: at.saturating_sub(self.journal.start.at),
            entry: entry.map(|entry| entry.kind),
            lines,
            end: end.into(),
            changed: self.changed(),
            divergence,
            is_new: recorded.is_none(),
        })
    }

    fn turn(&mut self, entry: Option<Entry>) -> Option<(Vec<LogLine>, TurnEnd)> {
        let frame = || match entry.clone() {
            Some(entry) => ToWorker::Entry { run: RUN, epoch: EPOCH, entry },
            None => {
                let (header, start) = (Arc::clone(&self.journal.header.run), Arc::clone(&self.journal.start));
                ToWorker::Start { run: RUN, epoch: EPOCH, header, start }
            }
        };
        let frames = [frame(), frame()];
        let [first, second] = frames;
        if let Some(open) = &mut self.open {
            open.handle(second, &mut Vec::new());
        }
        let mut out = Vec::new();
        self.plain.handle(first, &mut out);
        let (mut lines, mut end) = (Vec::new(), None);
        for frame in out {
            match frame {
                FromWorker::Log { line, .. } => lines.push(line),
                FromWorker::TurnEnd(turn) => end = Some(turn),
                FromWorker::Ready { .. } => {}
            }
        }
        end.map(|end| (lines, end))
    }

    /// Variables that are not what they were.
    fn changed(&mut self) -> Vec<(String, String, String)> {
        let told = self.open.as_mut().and_then(|open| open.ask(RUN, instrument::VARIABLES));
        let Some(now) = told.and_then(|told| serde_json::from_str::<Variables>(&told).ok()) else { return Vec::new() };
        let mut changed = Vec::new();
        for (scope, variables) in &now {
            let before = self.variables.get(scope);
            for (name, value) in variables {
                if before.and_then(|before| before.get(name)) != Some(value) {
                    changed.push((scope.clone(), name.clone(), value.clone()));
                }
            }
        }
        self.variables = now;
        changed
    }

    /// A turn as readers of the journal see it.
    fn shown(&self, record: TurnRecord) -> TurnRecord {
        let Some(redactor) = self.redactor else { return record };
        let Ok(text) = serde_json::to_string(&record) else { return record };
        let mut shown = redact_json(redactor, "", &text);
        if former::is_former(self.journal) {
            shown = former::in_order(shown.as_deref().unwrap_or(&text));
        }
        shown.and_then(|shown| serde_json::from_str(&shown).ok()).unwrap_or(record)
    }

    /// The same of a turn that was taken again.
    fn shown_end(&self, recorded: &TurnRecord, end: &TurnEnd) -> TurnEnd {
        let mut shown = self.shown(end.clone().into());
        if self.redactor.is_some() {
            shown = hidden::hidden_alike(recorded, shown);
        }
        let TurnRecord { issued, awaited, cancels, wake_at, state } = shown;
        TurnEnd { issued, awaited, cancels, wake_at, state, ..*end }
    }
}

/// Runs a journal to its end, and tells where it differs.
///
/// # Errors
/// The first difference, or why there is no runtime.
pub(crate) fn repeats(journal: &Journal, bundle: &Bundle, redactor: Option<&dyn Redactor>) -> Result<u32, String> {
    let mut replay = Replay::new(journal, bundle, redactor).map_err(|error| error.to_string())?;
    // Nobody looks at variables.
    replay.open = None;
    let mut turns = 0;
    while let Some(step) = replay.step() {
        if let Some(difference) = &step.divergence {
            let warning = replay.warning().map(|warning| format!("\n{warning}")).unwrap_or_default();
            return Err(divergence(difference) + &warning);
        }
        turns += 1;
    }
    Ok(turns)
}
