//! Counting marks while scripts run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lockstep_ctx_api::js;
use lockstep_ctx_api::wire::{Bundle, FromWorker, RunState};

use super::columns::{self, Columns};
use super::instrument::{Instrumented, instrument};
use crate::script::{Program, ProgramSet};

/// The scripts of a project with marks in them, and how often each mark was passed.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    files: BTreeMap<String, Covered>,
    columns: BTreeMap<String, Columns>,
    counters: Vec<AtomicU64>,
    /// Marks that are passed with the key of a table, and what each key counts for.
    keys: BTreeMap<u32, Vec<(String, u32)>>,
}

/// One script.
#[derive(Debug)]
struct Covered {
    source: Arc<str>,
    made: Instrumented,
    first: u32,
}

/// How often the marks of one script were passed, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts(pub(super) Vec<u64>);

impl Counts {
    /// The count of each of so many marks.
    #[cfg(test)]
    pub(crate) fn from_fn(marks: u32, count: impl Fn(u32) -> u64) -> Self {
        Self((0..marks).map(count).collect())
    }

    pub(crate) fn of(&self, mark: u32) -> u64 {
        self.0.get(mark as usize).copied().unwrap_or_default()
    }
}

impl Coverage {
    /// Puts marks into the scripts of a set; those whose text cannot be marked stay as they are.
    pub(crate) fn of(programs: &ProgramSet) -> (Self, ProgramSet) {
        let mut coverage = Self::default();
        let mut next = 0;
        for program in programs.iter() {
            for (file, source) in &program.bundle.files {
                if coverage.files.contains_key(file) {
                    continue;
                }
                let made = instrument(file, source, next).filter(|made| {
                    let files = [(file.clone(), made.text.as_str().into())].into();
                    js::check(&Bundle { entry: file.clone(), files, ..Bundle::default() }).is_empty()
                });
                let Some(made) = made else { continue };
                let keys = made.keys().into_iter();
                coverage.keys.extend(
                    keys.map(|(mark, keys)| (next + mark, keys.into_iter().map(|(key, mark)| (key, next + mark)).collect())),
                );
                coverage.columns.insert(file.clone(), made.columns.clone());
                let first = next;
                next += made.marks;
                coverage.files.insert(file.clone(), Covered { source: Arc::clone(source), made, first });
            }
        }
        coverage.counters.resize_with(next as usize, AtomicU64::default);
        let marked = programs.iter().map(|program| coverage.marked(program)).collect::<Vec<_>>();
        let problems = programs.problems().cloned().collect();
        (coverage, ProgramSet::new(marked, problems))
    }

    fn marked(&self, program: &Arc<Program>) -> Arc<Program> {
        let mut program = program.as_ref().clone();
        let mut bundle = program.bundle.as_ref().clone();
        for (file, text) in &mut bundle.files {
            if let Some(covered) = self.files.get(file) {
                *text = covered.made.text.as_str().into();
            }
        }
        program.bundle = Arc::new(bundle);
        Arc::new(program)
    }

    /// A mark was passed, with this value if it is the mark of a key.
    pub(crate) fn passed(&self, mark: u32, value: Option<&str>) {
        self.count(mark);
        let arm = self.keys.get(&mark).zip(value).and_then(|(keys, value)| keys.iter().find(|(key, _)| key == value));
        if let Some((_, mark)) = arm {
            self.count(*mark);
        }
    }

    fn count(&self, mark: u32) {
        if let Some(counter) = self.counters.get(mark as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Leads every position in a worker's frame back to the text as it was written.
    pub(crate) fn restore(&self, frame: &mut FromWorker) {
        match frame {
            FromWorker::Ready { .. } => {}
            FromWorker::Log { line, .. } => {
                if let Some(at) = &mut line.at {
                    columns::restore(&self.columns, at);
                }
            }
            FromWorker::TurnEnd(end) => {
                for at in end.issued.iter_mut().filter_map(|issued| issued.at.as_mut()) {
                    columns::restore(&self.columns, at);
                }
                if let RunState::Failed(error) = &mut end.state {
                    columns::restore_error(&self.columns, error);
                }
            }
        }
    }

    /// Each script by its file name: its text, what it consists of, and its counts so far.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str, &Instrumented, Counts)> {
        self.files.iter().map(|(file, covered)| {
            let own = self.counters.iter().skip(covered.first as usize).take(covered.made.marks as usize);
            let counts = Counts(own.map(|counter| counter.load(Relaxed)).collect());
            (file.as_str(), covered.source.as_ref(), &covered.made, counts)
        })
    }
}
