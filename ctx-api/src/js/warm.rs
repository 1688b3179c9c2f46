//! Contexts that outlive their runs.
//!
//! A runtime takes longer to make than most routing scripts and jobs take to run. One frozen context serves runs of a script one
//! after another; the script's top level, and that of its siblings, is a function that is called anew each time.
//!
//! ```text
//!   pool ──start──► run ──over after this turn──► swept ──clean──► pool
//!                    │ ▲                            └──not clean──► freed
//!                    └─┘ it goes on: the context is its own meanwhile
//! ```
//!
//! A run of type `script` is always over after its first turn. The others mostly are; what makes one fit to share a context is
//! in its program's text ([`Program::can_share_a_context`]), so that a run may be rebuilt in either kind of context.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::prelude::Prelude;
use super::program::Program;
use super::run::Run;
use super::shared::Sinks;
use crate::wire::{RunHeader, ScriptType};

/// Contexts of one worker that wait for runs.
const MAX_CONTEXTS: usize = 64;
/// Contexts a synchronous script may spoil before each of its runs gets a runtime of its own.
const MAX_SPOILT: u32 = 3;
/// Runs of the other types that find no context before one is made: freezing takes as long as about so many runtimes do.
const PAYS_AFTER: u32 = 12;

/// The warm contexts of a worker.
#[derive(Default)]
pub(super) struct WarmContexts {
    bundles: BTreeMap<u64, Warm>,
    uses: u64,
}

/// Those of one bundle.
#[derive(Default)]
struct Warm {
    idle: Vec<Run>,
    spoilt: u32,
    /// Runs that found none since the last one was made.
    missed: u32,
    used_at: u64,
}

impl Warm {
    /// Whether another context is worth its making.
    fn is_worth_another(&mut self, is_synchronous: bool) -> bool {
        if is_synchronous {
            return self.spoilt < MAX_SPOILT;
        }
        self.missed = self.missed.saturating_add(1);
        self.missed > PAYS_AFTER << self.spoilt.min(10)
    }
}

impl WarmContexts {
    /// A context for a run that owns no call; `None` when it gets a runtime of its own.
    pub(super) fn context(
        &mut self,
        header: &Arc<RunHeader>,
        program: &Rc<Program>,
        prelude: &Rc<Prelude>,
        sinks: &Sinks,
    ) -> Option<Run> {
        let is_synchronous = header.script_type == ScriptType::Script;
        let may_share = match header.script_type {
            ScriptType::Script => true,
            // What serves connections and messages stays.
            ScriptType::App | ScriptType::Driver => !header.function.as_deref().is_some_and(|function| function.starts_with('@')),
            ScriptType::Worker => false,
        };
        if !may_share || !program.can_share_a_context() {
            return None;
        }
        self.uses += 1;
        let warm = self.bundles.entry(header.bundle).or_default();
        warm.used_at = self.uses;
        if let Some(context) = warm.idle.pop() {
            return Some(context);
        }
        if !warm.is_worth_another(is_synchronous) {
            return None;
        }
        warm.missed = 0;
        // What is wrong with the script is found out, and told, by a run with a runtime of its own.
        Run::warm(Arc::clone(header), Rc::clone(program), prelude, sinks.clone()).ok()
    }

    /// Takes a context back after a run.
    pub(super) fn give_back(&mut self, context: Run) {
        let Some(warm) = self.bundles.get_mut(&context.header().bundle) else { return };
        if context.is_clean() {
            warm.spoilt = warm.spoilt.saturating_sub(u32::from(context.header().script_type != ScriptType::Script));
            warm.idle.push(context);
            self.make_room();
        } else {
            warm.spoilt += 1;
        }
    }

    /// A context is not given back: its run was ended before it was over.
    pub(super) fn lose(&mut self, context: &Run) {
        if let Some(warm) = self.bundles.get_mut(&context.header().bundle) {
            warm.spoilt += 1;
        }
    }

    /// No run will use the bundle any more.
    pub(super) fn forget(&mut self, bundle: u64) {
        self.bundles.remove(&bundle);
    }

    /// Gives up a context of the bundle that was used longest ago when there are too many.
    fn make_room(&mut self) {
        if self.bundles.values().map(|warm| warm.idle.len()).sum::<usize>() <= MAX_CONTEXTS {
            return;
        }
        let holding = self.bundles.values_mut().filter(|warm| !warm.idle.is_empty());
        if let Some(oldest) = holding.min_by_key(|warm| warm.used_at) {
            oldest.idle.pop();
        }
    }
}
