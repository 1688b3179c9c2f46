//! What lies in the folder of bundles, and what `package.json` says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lockstep_ctx_api::packages::{NODE, PackageModule};
use serde::{Deserialize, Serialize};

use super::BUNDLES;

/// Changes when bundles of before cannot be used any more.
const FORMAT: u32 = 1;
const FILE_NAME: &str = "manifest.json";

/// `.bundles/manifest.json`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// SHA-256 of the lock file that the packages were installed from.
    pub lock_sha256: String,
    pub modules: BTreeMap<String, PackageModule>,
    pub packages: BTreeMap<String, BundledPackage>,
}

/// One bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BundledPackage {
    /// As npm installed it; of the built-in modules that of the engine.
    pub version: String,
    /// Within the folder of bundles.
    pub file: String,
    pub bytes: usize,
    pub sha256: String,
    /// Packages whose modules it loads.
    pub requires: BTreeSet<String>,
}

impl Manifest {
    pub(super) fn new(lock_sha256: String) -> Self {
        Self { format: FORMAT, lock_sha256, modules: BTreeMap::new(), packages: BTreeMap::new() }
    }

    /// The manifest of the package folder `dir`; `None` when nothing is bundled there.
    ///
    /// # Errors
    /// A sentence, when there is one that cannot be used.
    pub fn read(dir: &Path) -> Result<Option<Self>, String> {
        let path = dir.join(BUNDLES).join(FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        match serde_json::from_str::<Self>(&text) {
            Ok(manifest) if manifest.format == FORMAT => Ok(Some(manifest)),
            Ok(_) | Err(_) => Err(format!("{} is of another version; run `lockstep bundle {}`", path.display(), dir.display())),
        }
    }

    pub(super) fn write(&self, bundles: &Path) -> std::io::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(std::io::Error::other)?;
        std::fs::write(bundles.join(FILE_NAME), text + "\n")
    }
}

/// The parts of `package.json` that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PackageJson {
    pub(super) version: String,
    #[serde(rename = "peerDependencies")]
    pub(super) peer_dependencies: BTreeMap<String, String>,
    pub(super) lockstep: Option<AllowList>,
}

/// The section `lockstep` of `package.json`: the allow-list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AllowList {
    /// What scripts may load: packages, and files within them.
    pub(super) modules: Vec<String>,
    /// Modules of Node that have a stand-in and that scripts may load too.
    pub(super) builtins: Vec<String>,
    /// What only packages and the engine's own modules may load: other packages, and with `node:` other modules of Node.
    pub(super) internal: Vec<String>,
    /// What packages name and is never there, such as drivers of databases.
    pub(super) external: Vec<String>,
    /// Folders of packages whose files these load by names that they make up: `moment/locale` of `moment`.
    pub(super) folders: Vec<String>,
}

impl AllowList {
    /// The modules of Node: without `node:`, and whether scripts may load them.
    pub(super) fn builtins(&self) -> impl Iterator<Item = (&str, bool)> {
        let internal = self.internal.iter().filter_map(|name| name.strip_prefix(NODE)?.strip_prefix(':'));
        self.builtins.iter().map(|name| (name.as_str(), true)).chain(internal.map(|name| (name, false)))
    }

    /// All others: their names, and whether scripts may load them.
    pub(super) fn modules(&self) -> impl Iterator<Item = (&str, bool)> {
        let internal = self.internal.iter().filter(|name| !name.starts_with("node:"));
        self.modules.iter().map(|name| (name.as_str(), true)).chain(internal.map(|name| (name.as_str(), false)))
    }

    /// The `folders` of a package, by their names within it.
    pub(super) fn folders_of(&self, package: &str) -> impl Iterator<Item = &str> {
        self.folders.iter().filter_map(move |folder| folder.strip_prefix(package)?.strip_prefix('/'))
    }
}

impl PackageJson {
    /// Reads `dir/package.json`; `None` when there is none.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, String> {
        let path = dir.join("package.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| format!("{}: {error}", path.display()))
    }
}
