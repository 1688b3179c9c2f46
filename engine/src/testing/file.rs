//! Test files: which there are, what project each belongs to, and the tests in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_ctx_api::js;
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::packages::Packages;
use lockstep_ctx_api::wire::{Bundle, ScriptType};

use super::options::{Listed, TestOptions};
use super::session::{Assignment, Ending, Session};
use crate::config::{Config, DEFAULT_ACCOUNT, FILE_NAME, Loaded, ScriptEntry};
use crate::script::programs::{digest_of, version_of};
use crate::script::{Program, ProgramLimits};
use crate::simulation::Project;
use crate::typescript;

/// What the name of a test file ends with.
const ENDINGS: [&str; 4] = [".test.js", ".test.mjs", ".test.cjs", ".test.ts"];
/// Folders that hold no tests of ours.
const SKIPPED: [&str; 2] = ["node_modules", "target"];
/// How deep folders are searched.
const MAX_DEPTH: usize = 8;
/// The largest test file, in bytes.
const MAX_SOURCE: u64 = 4 << 20;
/// What a test may use.
const LIMITS: ProgramLimits = ProgramLimits { memory_bytes: 256 << 20, turn_ms: 10_000, after_end_ms: 0 };

/// A test file, loaded.
#[derive(Clone)]
pub(crate) struct TestFile {
    /// As it was named on the command line.
    pub name: String,
    pub project: Project,
    pub program: Arc<Program>,
    pub tests: Vec<Listed>,
}

/// Whether a file is a test file, by its name.
pub(crate) fn is_test_file(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    ENDINGS.iter().any(|ending| name.ends_with(ending) && name.len() > ending.len())
}

/// The test files below these paths, by name; a path that is itself a file is one whatever its name.
///
/// # Errors
/// A path that is not there.
pub(crate) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        let meta = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if !meta.is_dir() {
            if !is_test_file(path) {
                return Err(format!("{}: expected a file named *.test.js", path.display()));
            }
            found.push(path.clone());
            continue;
        }
        found.extend(below(path, is_test_file)?);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The files below a folder that are wanted, by name; hidden folders and those of packages are passed over.
///
/// # Errors
/// A folder that cannot be read.
pub(crate) fn below(folder: &Path, is_wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    walk(folder, 0, is_wanted, &mut found).map_err(|error| format!("{}: {error}", folder.display()))?;
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, depth: usize, is_wanted: fn(&Path) -> bool, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let hidden = name.to_str().is_none_or(|name| name.starts_with('.') || SKIPPED.contains(&name));
        let path = entry.path();
        if path.is_dir() {
            if !hidden && depth < MAX_DEPTH {
                walk(&path, depth + 1, is_wanted, found)?;
            }
        } else if is_wanted(&path) {
            found.push(path);
        }
    }
    Ok(())
}

/// The project that a test file belongs to: the nearest folder above it with a `lockstep.toml`; without one, the scripts beside
/// the test file, or beside the `tests` folder it lies in.
///
/// # Errors
/// A configuration that is not sound.
pub(crate) fn project_of(test: &Path, config: Option<&Path>) -> Result<Loaded, String> {
    let load = |dir: &Path| Config::load(dir).map_err(|error| error.to_string());
    if let Some(dir) = config {
        return load(dir);
    }
    let whole = std::path::absolute(test).map_err(|error| format!("{}: {error}", test.display()))?;
    if let Some(dir) = whole.ancestors().skip(1).find(|dir| dir.join(FILE_NAME).is_file()) {
        return load(dir);
    }
    let folder = whole.parent().unwrap_or(Path::new("/"));
    let scripts = if folder.ends_with("tests") { folder.parent().unwrap_or(folder) } else { folder };
    let mut loaded = load(scripts)?;
    loaded.config.scripts.dir = scripts.to_owned();
    Ok(loaded)
}

impl TestFile {
    /// Reads a test file and lists its tests. `number` tells its bundle from others.
    ///
    /// # Errors
    /// Why its tests cannot be told.
    pub(crate) fn load(path: &Path, project: Project, number: u64) -> Result<Self, String> {
        let name = path.display().to_string();
        let unreadable = |error: std::io::Error| format!("{name}: {error}");
        let size = std::fs::metadata(path).map_err(unreadable)?.len();
        if size > MAX_SOURCE {
            return Err(format!("{name} has {size} bytes, at most {MAX_SOURCE} expected"));
        }
        let source = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::of_source(name, &source, project, number)
    }

    /// As [`Self::load`], of a text.
    ///
    /// # Errors
    /// Why its tests cannot be told.
    pub(crate) fn of_source(name: String, source: &str, project: Project, number: u64) -> Result<Self, String> {
        let source: Arc<str> = if name.ends_with(".ts") {
            let refused = |refused: typescript::Refused| format!("{}: {}", refused.at, refused.message);
            typescript::strip(&name, source).map_err(refused)?.into()
        } else {
            source.into()
        };
        let mut files: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut packages = Packages::default();
        for program in project.programs.iter() {
            let own = &program.bundle.packages;
            packages.modules.extend(own.modules.iter().map(|(name, module)| (name.clone(), module.clone())));
            packages.bundles.extend(own.bundles.iter().map(|(name, bundle)| (name.clone(), bundle.clone())));
            packages.absent.extend(own.absent.iter().map(|(name, why)| (name.clone(), why.clone())));
            files.extend(program.bundle.files.iter().map(|(file, source)| (file.clone(), Arc::clone(source))));
        }
        let own = Bundle { entry: name.clone(), files: [(name.clone(), Arc::clone(&source))].into(), ..Bundle::default() };
        if let Some(error) = js::check(&own).into_iter().next() {
            let at = error.at.map_or_else(|| name.clone(), |at| at.to_string());
            return Err(format!("{at}: {}", error.message));
        }
        let digests = BTreeMap::from([(name.clone(), digest_of(&source))]);
        files.insert(name.clone(), source);
        let program = Arc::new(Program {
            name: name.to_lowercase(),
            file: name.clone(),
            uuid: "00000000-0000-8000-8000-000000000000".to_owned(),
            id: 0,
            script_type: ScriptType::App,
            account: DEFAULT_ACCOUNT.to_owned(),
            settings: ScriptEntry::new(name.clone()),
            limits: LIMITS,
            time_zone: project.programs.iter().next().map_or_else(|| "UTC".to_owned(), |program| program.time_zone.clone()),
            env: Vars::new(),
            environment: Default::default(),
            bundle_id: u64::MAX - number,
            version: version_of(&name, &digests),
            sources: digests,
            bundle: Arc::new(Bundle { entry: name.clone(), files, packages }),
        });
        let mut file = Self { name, project, program, tests: Vec::new() };
        file.tests = file.list()?;
        Ok(file)
    }

    fn list(&self) -> Result<Vec<Listed>, String> {
        let options = TestOptions::default();
        let assignment =
            Assignment { project: &self.project, program: &self.program, test: None, options: &options, realtime: false };
        match Session::start(&assignment).and_then(|mut session| session.complete()) {
            Ok(Ending::Listed(tests)) => Ok(tests),
            Ok(Ending::Finished(_) | Ending::Skipped(_)) => Err(format!("{}: its tests cannot be told", self.name)),
            Err(wrong) => Err(format!("{}: {}\n{}", self.name, wrong.message, wrong.stack).trim_end().to_owned()),
        }
    }
}
