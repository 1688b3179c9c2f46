//! The packages that an engine can give its programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockstep_ctx_api::packages::{NODE, PackageBundle, Packages};

use super::BUNDLES;
use super::manifest::{AllowList, Manifest, PackageJson};
use crate::config::Config;
use crate::script::programs::digest_of;

/// What the product ships: its allow-list names what is missing where there is no `package.json` to ask.
const SHIPPED: &str = include_str!("../../../scripts/package.json");

/// Bundled packages, read when a script first names them.
#[derive(Debug)]
pub struct Library {
    dir: PathBuf,
    bundled: Mutex<Bundled>,
    /// Why packages of the allow-list are not there, by module.
    absent: BTreeMap<String, String>,
    warnings: Vec<String>,
}

/// What lies in the folder of bundles, as far as it was read.
#[derive(Debug, Default)]
struct Bundled {
    manifest: Option<Manifest>,
    texts: BTreeMap<String, PackageBundle>,
}

impl Library {
    /// The library of an engine that is configured in `base`: in the folder that `[scripts] packages` names, else in the scripts
    /// folder, else where the product is installed.
    pub fn of(base: &Path, config: &Config) -> Self {
        match &config.scripts.packages {
            Some(dir) => Self::open(&[base.join(dir)]),
            None => {
                let mut places = vec![base.join(&config.scripts.dir)];
                places.extend(installed_places());
                Self::open(&places)
            }
        }
    }

    /// The library of the first of `places` that has bundles, else of the first that has a `package.json`.
    pub fn open(places: &[PathBuf]) -> Self {
        let mut library = Self {
            dir: places.first().cloned().unwrap_or_default(),
            bundled: Mutex::default(),
            absent: BTreeMap::new(),
            warnings: Vec::new(),
        };
        for dir in places {
            match Manifest::read(dir) {
                Ok(Some(manifest)) => {
                    library.dir.clone_from(dir);
                    library.warnings.extend(outdated(dir, &manifest));
                    library.bundled = Mutex::new(Bundled { manifest: Some(manifest), texts: BTreeMap::new() });
                    return library;
                }
                Ok(None) => {}
                Err(problem) => library.warnings.push(problem),
            }
        }
        let listed = places.iter().find_map(|dir| Some((dir, PackageJson::read(dir).ok()??.lockstep?)));
        let (list, sentence) = match listed {
            Some((dir, list)) => {
                let dir = dir.display();
                let sentence =
                    format!("the npm packages are not installed; run `npm ci --prefix {dir}` and then `lockstep bundle {dir}`");
                (list, sentence)
            }
            None => {
                let sentence = "the npm packages are not installed, and no folder with their package.json was found; \
                                [scripts] packages names it (docs/modules.md)";
                (shipped(), sentence.to_owned())
            }
        };
        let builtins = list.builtins.iter().map(|name| format!("{NODE}:{name}"));
        library.absent = list.modules.iter().cloned().chain(builtins).map(|name| (name, sentence.clone())).collect();
        library
    }

    /// What should be said of it when the engine starts.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The packages for scripts that name `modules`.
    pub fn select(&self, modules: &BTreeSet<String>) -> Packages {
        let mut bundled = self.bundled();
        let (packages, is_whole) = self.select_from(&mut bundled, modules);
        // They may have been bundled anew since the manifest was read.
        if !is_whole
            && let Ok(Some(manifest)) = Manifest::read(&self.dir)
            && bundled.manifest.as_ref() != Some(&manifest)
        {
            *bundled = Bundled { manifest: Some(manifest), texts: BTreeMap::new() };
            return self.select_from(&mut bundled, modules).0;
        }
        packages
    }

    /// The packages, and whether all that are wanted are among them.
    fn select_from(&self, bundled: &mut Bundled, modules: &BTreeSet<String>) -> (Packages, bool) {
        let Bundled { manifest: Some(manifest), texts } = bundled else {
            return (Packages { absent: self.absent.clone(), ..Packages::default() }, true);
        };
        let mut packages = Packages { modules: manifest.modules.clone(), ..Packages::default() };
        let mut wanted: Vec<String> =
            modules.iter().filter_map(|name| packages.find(name)).map(|(_, module)| module.package.clone()).collect();
        let mut is_whole = true;
        while let Some(package) = wanted.pop() {
            if packages.bundles.contains_key(&package) {
                continue;
            }
            match self.text(manifest, texts, &package) {
                Ok(bundle) => {
                    packages.bundles.insert(package.clone(), bundle);
                    wanted.extend(manifest.packages.get(&package).into_iter().flat_map(|bundled| bundled.requires.clone()));
                }
                Err(problem) => {
                    is_whole = false;
                    let broken = packages.modules.extract_if(.., |_, module| module.package == package);
                    packages.absent.extend(broken.map(|(name, _)| (name, problem.clone())));
                }
            }
        }
        (packages, is_whole)
    }

    /// Everything that scripts may name, without the texts: to see what would be found.
    pub fn names(&self) -> Packages {
        let bundled = self.bundled();
        let modules = bundled.manifest.as_ref().map(|manifest| manifest.modules.clone()).unwrap_or_default();
        let packages = bundled.manifest.iter().flat_map(|manifest| &manifest.packages);
        let bundles = packages
            .map(|(name, bundled)| (name.clone(), PackageBundle { sha256: bundled.sha256.clone(), source: Arc::from("") }));
        Packages { modules, bundles: bundles.collect(), absent: self.absent.clone() }
    }

    fn bundled(&self) -> MutexGuard<'_, Bundled> {
        self.bundled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bundle of a package, if it is what the manifest says.
    fn text(
        &self,
        manifest: &Manifest,
        texts: &mut BTreeMap<String, PackageBundle>,
        package: &str,
    ) -> Result<PackageBundle, String> {
        if let Some(bundle) = texts.get(package) {
            return Ok(bundle.clone());
        }
        let again = format!("run `lockstep bundle {}`", self.dir.display());
        let Some(bundled) = manifest.packages.get(package) else {
            return Err(format!("the package '{package}' is not bundled; {again}"));
        };
        let path = self.dir.join(BUNDLES).join(&bundled.file);
        let source = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}; {again}", path.display()))?;
        if digest_of(&source).sha256 != bundled.sha256 {
            return Err(format!("{} is not what was bundled; {again}", path.display()));
        }
        let bundle = PackageBundle { sha256: bundled.sha256.clone(), source: source.into() };
        texts.insert(package.to_owned(), bundle.clone());
        Ok(bundle)
    }
}

/// Bundles of other versions than the lock file names are used, but spoken of.
fn outdated(dir: &Path, manifest: &Manifest) -> Option<String> {
    let lock = std::fs::read_to_string(dir.join("package-lock.json")).ok()?;
    let is_current = digest_of(&lock).sha256 == manifest.lock_sha256;
    let dir = dir.display();
    (!is_current)
        .then(|| format!("{dir}/package-lock.json has changed since the packages were bundled; run `lockstep bundle {dir}`"))
}

fn shipped() -> AllowList {
    serde_json::from_str::<PackageJson>(SHIPPED).ok().and_then(|package| package.lockstep).unwrap_or_default()
}

/// Where the packages lie beside an installed binary, or in the tree it was built in.
fn installed_places() -> Vec<PathBuf> {
    let Ok(exe) = std::env::current_exe() else { return Vec::new() };
    let folders = exe.ancestors().skip(1).take(5);
    folders.flat_map(|folder| [folder.join("share/lockstep/scripts"), folder.join("scripts")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_bundle(dir: &Path, source: &str) {
        let manifest = serde_json::json!({
            "format": 1, "lock_sha256": "",
            "modules": { "left-pad": { "package": "left-pad", "entry": "left-pad", "public": true } },
            "packages": { "left-pad": {
                "version": "1.0.0", "file": "p.js", "bytes": source.len(), "sha256": digest_of(source).sha256, "requires": [],
            } },
        });
        std::fs::create_dir_all(dir.join(BUNDLES)).unwrap();
        std::fs::write(dir.join(BUNDLES).join("manifest.json"), manifest.to_string()).unwrap();
        std::fs::write(dir.join(BUNDLES).join("p.js"), source).unwrap();
    }

    #[test]
    fn packages_that_were_bundled_anew_are_those_of_the_new_manifest() {
        let dir = std::env::temp_dir().join(format!("lockstep-library-{}", uuid::Uuid::new_v4()));
        write_bundle(&dir, "module.exports = 1;");
        let library = Library::open(std::slice::from_ref(&dir));
        write_bundle(&dir, "module.exports = 2;");
        let wanted = BTreeSet::from(["left-pad".to_owned()]);
        let selected = library.select(&wanted);
        assert_eq!(selected.bundles["left-pad"].source.as_ref(), "module.exports = 2;", "{:?}", selected.absent);
        std::fs::write(dir.join(BUNDLES).join("p.js"), "other").unwrap();
        assert_eq!(library.select(&wanted).bundles.len(), 1, "what was read counts");
        let another = Library::open(std::slice::from_ref(&dir)).select(&wanted);
        assert!(another.absent["left-pad"].contains("is not what was bundled"), "{:?}", another.absent);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn without_packages_all_of_the_list_is_absent() {
        let absent = Library::open(&[]).names().absent;
        for name in ["axios", "csv-parse/lib/sync", "node:url", "node:timers/promises"] {
            assert!(
                absent.get(name).is_some_and(|why| why.starts_with("the npm packages are not installed")),
                "{name}: {absent:?}"
            );
        }
        assert!(!absent.contains_key("knex") && !absent.contains_key("node:tty"), "not for scripts: {absent:?}");
    }
}
