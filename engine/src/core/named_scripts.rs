//! Says which names of scripts lead to none: at the start, and again when scripts have changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::NamedScript;
use crate::provisioning::Current;
use crate::script::ProgramSet;

/// What was told already. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct NamedScripts {
    of_file: Arc<[NamedScript]>,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl NamedScripts {
    /// For the keys of the configuration file.
    pub(super) fn new(of_file: &[NamedScript]) -> Self {
        Self { of_file: of_file.into(), told: Arc::default() }
    }

    /// Logs the names that lead nowhere now and did not before. The engine runs on: a script may come any time. With long lists it takes
    /// its time.
    pub(super) fn look(&self, programs: &ProgramSet, current: &Current) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let of_file = self.of_file.iter().filter_map(|named| Some(named.problem(programs.lacks(&named.wanted)?).to_string()));
        let put = current.named_scripts().into_iter();
        let put = put.filter_map(|(key, wanted)| Some(format!("put over HTTP: {key}: {}", programs.lacks(&wanted)?)));
        let found: BTreeSet<String> = of_file.chain(put).collect();
        for problem in found.difference(&told) {
            tracing::error!("{problem}");
        }
        *told = found;
    }
}
