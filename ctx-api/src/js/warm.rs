//! Contexts that outlive their runs.
//!
//! A runtime takes longer to make than most routing scripts take to run. A script of type `script` runs from beginning to end in
//! one turn, so that one frozen context can serve its runs one after another; its top level is a function that is called anew
//! each time. A run that leaves something behind costs its own script the context; one that keeps doing so loses the privilege.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::prelude::Prelude;
use super::program::Program;
use super::run::Run;
use super::shared::Sinks;
use crate::wire::{RunHeader, ScriptType};

/// Contexts of one worker.
const MAX_CONTEXTS: usize = 64;
/// Contexts a script may spoil before each of its runs gets a runtime of its own.
const MAX_SPOILT: u32 = 3;

/// The warm contexts of a worker, at most one a bundle.
#[derive(Default)]
pub(super) struct WarmContexts {
    bundles: BTreeMap<u64, Warm>,
    uses: u64,
}

#[derive(Default)]
struct Warm {
    /// Absent before the first run, during one, and after one that spoilt it.
    context: Option<Run>,
    spoilt: u32,
    used_at: u64,
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
        if header.script_type != ScriptType::Script {
            return None;
        }
        self.uses += 1;
        let warm = self.bundles.entry(header.bundle).or_default();
        warm.used_at = self.uses;
        if let Some(context) = warm.context.take() {
            return Some(context);
        }
        if warm.spoilt >= MAX_SPOILT || !program.can_share_a_context() {
            return None;
        }
        // What is wrong with the script is found out, and told, by a run with a runtime of its own.
        let made = Run::warm(Arc::clone(header), Rc::clone(program), prelude, sinks.clone()).ok()?;
        self.make_room(header.bundle);
        Some(made)
    }

    /// Takes a context back after a run.
    pub(super) fn give_back(&mut self, bundle: u64, context: Run) {
        let Some(warm) = self.bundles.get_mut(&bundle) else { return };
        if context.is_clean() {
            warm.context = Some(context);
        } else {
            warm.spoilt += 1;
        }
    }

    /// No run will use the bundle any more.
    pub(super) fn forget(&mut self, bundle: u64) {
        self.bundles.remove(&bundle);
    }

    /// Gives up the context that was used longest ago when there are too many.
    fn make_room(&mut self, except: u64) {
        let held = self.bundles.iter().filter(|(_, warm)| warm.context.is_some());
        if held.clone().count() < MAX_CONTEXTS {
            return;
        }
        let oldest = held.filter(|(bundle, _)| **bundle != except).min_by_key(|(_, warm)| warm.used_at);
        if let Some(bundle) = oldest.map(|(bundle, _)| *bundle)
            && let Some(warm) = self.bundles.get_mut(&bundle)
        {
            warm.context = None;
        }
    }
}
