//! npm packages as a program carries them: bundled to one text each, found by what scripts write in `require`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The package that stands in for Node's built-in modules.
pub const NODE: &str = "node";

/// The packages a program can load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Packages {
    /// Every module of the allow-list by its name (`axios`, `csv-parse/lib/sync`, `node:fs`).
    pub modules: BTreeMap<String, PackageModule>,
    /// Texts by package: those that the program's scripts name, and what these need.
    pub bundles: BTreeMap<String, PackageBundle>,
    /// Names of the allow-list, Node's modules with `node:`, that cannot be loaded, with what is to be done about it.
    pub absent: BTreeMap<String, String>,
}

/// Where a module is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageModule {
    pub package: String,
    /// Its name among the modules of the package's bundle.
    pub entry: String,
    /// Whether scripts may load it; packages may load every module.
    pub public: bool,
}

/// One package as one text: the body of a function of `exports, require, module, process, global`, which sets `module.exports` to an
/// object of functions, one a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageBundle {
    /// Of the text, in hexadecimal.
    pub sha256: String,
    pub source: Arc<str>,
}

impl Packages {
    /// The module a script means by `name`: its own name, or that of a built-in one with or without `node:`.
    pub fn find(&self, name: &str) -> Option<(&str, &PackageModule)> {
        let found = self.modules.get_key_value(name).or_else(|| self.modules.get_key_value(format!("{NODE}:{name}").as_str()));
        found.map(|(name, module)| (name.as_str(), module))
    }
}
