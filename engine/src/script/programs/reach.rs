//! What of an app one of its scripts gets at, by the look of the texts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_ctx_api::journal::SourceDigest;

use super::loader::name_of;
use super::program::Program;
use crate::packages::{computes_names, named_modules};

/// What a script gets at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reach<'a> {
    /// The script and those of its siblings that it names, or that one of these names.
    pub(super) files: BTreeSet<&'a str>,
    /// Modules that any of them names.
    pub(super) modules: BTreeSet<String>,
}

/// What the script in `entry` gets at. `names`: the modules that each script of the app names.
pub(super) fn reach<'a>(entry: &'a str, names: &BTreeMap<&'a str, &BTreeSet<String>>) -> Reach<'a> {
    let mut reached = Reach { files: BTreeSet::from([entry]), ..Reach::default() };
    let mut next = vec![entry];
    while let Some(named) = next.pop().and_then(|file| names.get(file)) {
        for name in *named {
            let found = names.keys().copied().filter(|file| means(name, file));
            next.extend(found.filter(|file| reached.files.insert(*file)));
        }
        reached.modules.extend(named.iter().cloned());
    }
    reached
}

/// Whether a script that names `module` may mean the sibling `file`.
pub(crate) fn means(module: &str, file: &str) -> bool {
    name_of(file) == name_of(module.strip_prefix("./").unwrap_or(module)) || file.eq_ignore_ascii_case(module)
}

/// Why a script of `app` cannot require `file`, which is of another.
pub(crate) fn of_another_app((file, of): (&str, Option<&str>), app: Option<&str>) -> String {
    let named = |app: Option<&str>| app.map_or_else(|| "no app".to_owned(), |app| format!("app '{app}'"));
    format!("Cannot require '{file}': it is of {}, and the script of {}; both must be of the same", named(of), named(app))
}

impl Program {
    /// Whether a run of `other` would be what one of this is: a sibling that neither of them names makes no difference.
    pub fn runs_as(&self, other: &Self) -> bool {
        let is_same_but_for_sources = self.file == other.file
            && self.account == other.account
            && self.settings == other.settings
            && self.limits == other.limits
            && self.env == other.env;
        self.bundle_id == other.bundle_id || is_same_but_for_sources && self.own_sources() == other.own_sources()
    }

    /// The sources that the script gets at; where it makes names up, all of its app's.
    fn own_sources(&self) -> BTreeMap<&str, &SourceDigest> {
        let texts: BTreeMap<&str, &Arc<str>> = self.bundle.files.iter().map(|(file, text)| (file.as_str(), text)).collect();
        let names: BTreeMap<&str, BTreeSet<String>> = texts.iter().map(|(file, text)| (*file, named_modules(text))).collect();
        let reached = reach(&self.file, &names.iter().map(|(file, names)| (*file, names)).collect()).files;
        let is_open = reached.iter().any(|file| texts.get(file).is_some_and(|text| computes_names(text)));
        let is_own = |file: &str| is_open || reached.contains(file) || !texts.contains_key(file);
        self.sources.iter().map(|(file, digest)| (file.as_str(), digest)).filter(|(file, _)| is_own(file)).collect()
    }
}
