//! Says which names of scripts lead to none: at the start, and again when scripts have changed.

use std::collections::BTreeSet;

use crate::config::NamedScript;
use crate::provisioning::Current;
use crate::script::ProgramSet;

/// What was told already.
#[derive(Debug)]
pub(super) struct NamedScripts {
    of_file: Vec<NamedScript>,
    told: BTreeSet<String>,
}

impl NamedScripts {
    /// For the keys of the configuration file.
    pub(super) fn new(of_file: &[NamedScript]) -> Self {
        Self { of_file: of_file.to_vec(), told: BTreeSet::new() }
    }

    /// Logs the names that lead nowhere now and did not before. The engine runs on: a script may come any time.
    pub(super) fn look(&mut self, programs: &ProgramSet, current: &Current) {
        let of_file = self.of_file.iter().filter_map(|named| Some(named.problem(programs.lacks(&named.wanted)?).to_string()));
        let put = current.named_scripts().into_iter();
        let put = put.filter_map(|(key, wanted)| Some(format!("put over HTTP: {key}: {}", programs.lacks(&wanted)?)));
        let found: BTreeSet<String> = of_file.chain(put).collect();
        for problem in found.difference(&self.told) {
            tracing::error!("{problem}");
        }
        self.told = found;
    }
}
