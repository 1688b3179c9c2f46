//! Reads the scripts folder, over and over; only what is sound becomes live.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lockstep_ctx_api::journal::SourceDigest;
use lockstep_ctx_api::js;
use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::packages::PackageBundle;
use lockstep_ctx_api::wire::{Bundle, Location};

use super::program::{Program, ProgramLimits, digest_of, id_of, uuid_of, version_of};
use super::reach::{means, of_another_app, reach};
use super::set::{ProgramSet, ScriptProblem};
use crate::config::{App, Config, DEFAULT_ACCOUNT, DEFAULT_MEMORY_MB, DEFAULT_TURN_MS, ScriptEntry, header_comment};
use crate::packages::{Library, computes_names, named_modules};
use crate::script::Environment;
use crate::typescript;

/// Extensions of files that are scripts.
const EXTENSIONS: [&str; 4] = ["js", "mjs", "cjs", "ts"];
/// The largest source that is read, in bytes.
pub(super) const MAX_SOURCE: u64 = 4 << 20;

/// Reads scripts and keeps what is live.
#[derive(Debug)]
pub struct Loader {
    /// Of the configuration.
    base: PathBuf,
    dir: PathBuf,
    entries: BTreeMap<String, ScriptEntry>,
    apps: BTreeMap<String, App>,
    /// Header comments may name apps that are not among them: there is no configuration.
    takes_any_app: bool,
    after_end_ms: u32,
    exec_host: String,
    time_zone: String,
    library: Library,
    environment: Environment,
    /// The `lockstep` binary, where texts may be anybody's.
    program: Option<PathBuf>,
    files: BTreeMap<String, SourceFile>,
    live: BTreeMap<String, Arc<Program>>,
    next_bundle: u64,
    /// Problems that a reload has told already, by file.
    reported: BTreeMap<String, ScriptProblem>,
    /// What was live last.
    pub(super) set: Arc<ProgramSet>,
    /// What the next reload tells of files that were read.
    warnings: Vec<String>,
    texts: Vec<ScriptText>,
}

/// A text of the folder that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptText {
    pub file: String,
    /// Whose script it is.
    pub account: String,
    pub source: Arc<str>,
    pub sha256: String,
}

/// The programs after a look at the folder.
#[derive(Clone, Debug)]
pub struct Reload {
    pub set: Arc<ProgramSet>,
    /// Bundles that no new run uses; for [`ScriptHost::retire`](crate::script::ScriptHost::retire).
    pub retired: Vec<u64>,
    /// Those of the set's problems that no earlier reload has told, or whose file has changed since.
    pub new_problems: Vec<ScriptProblem>,
    /// Keys without effect in header comments of files that were read.
    pub new_warnings: Vec<String>,
    /// Texts that were read and are live.
    pub texts: Vec<ScriptText>,
}

/// What is known of one file.
#[derive(Debug)]
struct SourceFile {
    stamp: Stamp,
    /// The newest text that compiles, with its settings.
    sound: Option<Sound>,
    problem: Option<ScriptProblem>,
}

#[derive(Clone, Debug)]
struct Sound {
    /// What is run: the file's text, without its types.
    source: Arc<str>,
    /// Of the file's text.
    digest: SourceDigest,
    settings: ScriptEntry,
    /// Modules that the text names.
    names: BTreeSet<String>,
    /// Whether it names others that it makes up.
    computes_names: bool,
}

/// What tells a changed file from an unchanged one without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// What siblings get in place of a file that cannot be run: it says what is wrong with it, and where.
fn stand_in(problem: &ScriptProblem) -> Arc<str> {
    let place = problem.at.as_ref().map_or_else(|| problem.file.clone(), ToString::to_string);
    let before = problem.at.as_ref().map_or(0, |at| at.line.saturating_sub(1));
    let lines = usize::try_from(before).unwrap_or(0);
    format!("{}{}", "\n".repeat(lines), throwing(format!("{place}: {}", problem.message))).into()
}

fn throwing(message: String) -> String {
    format!("throw new Error({})", serde_json::Value::from(message))
}

impl Loader {
    /// A loader for the scripts folder of `config`, which lies within `base` unless its path is absolute.
    pub fn new(base: &Path, config: &Config) -> Self {
        let library = Library::of(base, config);
        Self {
            base: base.to_owned(),
            dir: base.join(&config.scripts.dir),
            entries: config.script_entries.iter().map(|entry| (entry.file.clone(), entry.clone())).collect(),
            apps: config.apps.iter().map(|app| (app.name.clone(), app.clone())).collect(),
            takes_any_app: false,
            after_end_ms: config.scripts.after_end_s.saturating_mul(1_000),
            exec_host: host_name(),
            time_zone: local_time_zone(),
            warnings: library.warnings().to_vec(),
            library,
            environment: Environment::default(),
            program: None,
            files: BTreeMap::new(),
            live: BTreeMap::new(),
            next_bundle: 1,
            reported: BTreeMap::new(),
            set: Arc::default(),
            texts: Vec::new(),
        }
    }

    /// Has scripts be of whatever apps their header comments name, where no configuration says which there are.
    #[must_use]
    pub fn with_any_app(self) -> Self {
        Self { takes_any_app: true, ..self }
    }

    /// Has programs find what has been set of their apps.
    #[must_use]
    pub fn with_environment(self, environment: &Environment) -> Self {
        Self { environment: environment.clone(), ..self }
    }

    /// Has TypeScript read, and texts checked, in processes of the `lockstep` binary `program`: a text can end only its own.
    #[must_use]
    pub fn with_program(self, program: &Path) -> Self {
        Self { program: Some(program.to_owned()), ..self }
    }

    /// Where the scripts lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The `lockstep` binary that checks texts, and the folder of their configuration.
    pub(super) fn checker(&self) -> Option<(&Path, &Path)> {
        Some((self.program.as_deref()?, &self.base))
    }

    /// Reads what has changed since the last time.
    ///
    /// A file that cannot be read, whose header comment is wrong or whose text does not compile keeps its last good version.
    ///
    /// # Errors
    /// When the folder cannot be listed. A folder that does not exist is empty.
    pub fn load(&mut self) -> io::Result<Reload> {
        self.load_or(|_| None)
    }

    /// The same for an engine that starts: a file that has no good version has the text that `kept` says was live last.
    ///
    /// # Errors
    /// As above.
    pub fn load_or(&mut self, kept: impl Fn(&str) -> Option<String>) -> io::Result<Reload> {
        let found = self.scan()?;
        self.files.retain(|file, _| found.contains_key(file));
        for (file, stamp) in found {
            if self.files.get(&file).is_none_or(|known| known.stamp != stamp) {
                self.read(&file, stamp);
                self.fall_back(&file, &kept);
            }
        }
        Ok(self.publish())
    }

    /// Reads one file that has just been written or removed. Others may be half written.
    pub(super) fn load_one(&mut self, file: &str) -> io::Result<Reload> {
        match self.scan()?.remove(file) {
            Some(stamp) => self.read(file, stamp),
            None => drop(self.files.remove(file)),
        }
        Ok(self.publish())
    }

    /// Has a file without a text that can be run have the one that is kept.
    fn fall_back(&mut self, file: &str, kept: impl Fn(&str) -> Option<String>) {
        if self.files.get(file).is_none_or(|known| known.sound.is_some()) {
            return;
        }
        let sound = kept(file).and_then(|source| self.compile(file, &source.into()).ok()).map(|(sound, _)| sound);
        if let Some(known) = self.files.get_mut(file) {
            known.sound = sound;
        }
    }

    /// Every script in the folder with what identifies its content.
    pub(super) fn scan(&self) -> io::Result<BTreeMap<String, Stamp>> {
        let listing = match fs::read_dir(&self.dir) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        let mut found = BTreeMap::new();
        for item in listing {
            let item = item?;
            let Ok(file) = item.file_name().into_string() else { continue };
            // Follows links: whoever may write into the folder may write scripts. A file may vanish between two looks.
            if is_script(&file)
                && let Ok(metadata) = fs::metadata(item.path())
                && metadata.is_file()
            {
                found.insert(file, Stamp { modified: metadata.modified().ok(), bytes: metadata.len() });
            }
        }
        Ok(found)
    }

    /// The files that were read last, with what identified their content.
    pub(super) fn stamps(&self) -> BTreeMap<String, Stamp> {
        self.files.iter().map(|(file, known)| (file.clone(), known.stamp.clone())).collect()
    }

    /// The scripts of the folder as it was read last.
    pub(super) fn known_files(&self) -> impl Iterator<Item = &String> {
        self.files.keys()
    }

    /// The account that a text would belong to as the script `file`, and its settings.
    ///
    /// # Errors
    /// Why it would not be live.
    pub(super) fn claims_of(&self, file: &str, source: &Arc<str>) -> Result<(String, ScriptEntry), ScriptProblem> {
        let (sound, _) = self.compile(file, source)?;
        Ok((self.owner_of(&sound.settings).to_owned(), sound.settings))
    }

    /// What the configuration says of the script `file`.
    pub(super) fn entry_of(&self, file: &str) -> Option<&ScriptEntry> {
        self.entries.get(file)
    }

    /// The account that a script belongs to.
    fn owner_of(&self, settings: &ScriptEntry) -> &str {
        let app = settings.app.as_ref().and_then(|app| self.apps.get(app));
        app.map_or(DEFAULT_ACCOUNT, |app| &app.account)
    }

    fn read(&mut self, file: &str, stamp: Stamp) {
        let before = self.files.remove(file).and_then(|known| known.sound);
        // A changed file is spoken of again, even where its problem is the same.
        self.reported.remove(file);
        let (sound, problem) = match self.examine(file, &stamp) {
            Ok((source, sound, warnings)) => {
                self.warnings.extend(warnings);
                let (account, sha256) = (self.owner_of(&sound.settings).to_owned(), sound.digest.sha256.clone());
                self.texts.push(ScriptText { file: file.to_owned(), account, source, sha256 });
                (Some(sound), None)
            }
            Err(problem) => (before, Some(problem)),
        };
        self.files.insert(file.to_owned(), SourceFile { stamp, sound, problem });
    }

    /// What is sound, with what deserves a word all the same.
    fn examine(&self, file: &str, stamp: &Stamp) -> Result<(Arc<str>, Sound, Vec<String>), ScriptProblem> {
        let problem = |message: String, at: Option<Location>| ScriptProblem { file: file.to_owned(), message, at };
        if stamp.bytes > MAX_SOURCE {
            return Err(problem(format!("{} bytes, at most {MAX_SOURCE} are read", stamp.bytes), None));
        }
        let source: Arc<str> =
            fs::read_to_string(self.dir.join(file)).map_err(|error| problem(format!("cannot be read: {error}"), None))?.into();
        let (sound, warnings) = self.compile(file, &source)?;
        Ok((source, sound, warnings))
    }

    /// What a text is as a script, with what deserves a word all the same.
    fn compile(&self, file: &str, source: &Arc<str>) -> Result<(Sound, Vec<String>), ScriptProblem> {
        let problem = |message: String, at: Option<Location>| ScriptProblem { file: file.to_owned(), message, at };
        let of_header = |line: usize, message: String| {
            let at = Location { file: file.into(), line: u32::try_from(line).unwrap_or(u32::MAX), column: 1 };
            problem(format!("@lockstep: {message}"), Some(at))
        };
        let header = header_comment::read(file, source).map_err(|error| of_header(error.line, error.message))?;
        let header_line = header_comment::find(source).map_or(1, |(line, _)| line);
        let digest = digest_of(source);
        let parse = |source: &str| match &self.program {
            Some(program) => typescript::strip_apart(program, file, source),
            None => typescript::strip(file, source),
        };
        let source = if typescript::is_typescript(file) {
            parse(source).map_err(|refused| problem(refused.message, Some(refused.at)))?.into()
        } else {
            Arc::clone(source)
        };
        let bundle =
            Bundle { entry: file.to_owned(), files: [(file.to_owned(), Arc::clone(&source))].into(), ..Bundle::default() };
        if let Some(error) = js::check(&bundle).into_iter().next() {
            // Of a wrong pattern the compiler does not say where it stands.
            let at = error.at.or_else(|| parse(&source).err().map(|refused| refused.at));
            return Err(problem(error.message, at));
        }
        let idle = header.without_effect().into_iter();
        let mut warnings: Vec<String> = idle.map(|(key, sentence)| format!("{file}: @lockstep: {key}: {sentence}")).collect();
        if let Some(line) = header_comment::unread(&source) {
            warnings.push(format!("{file}:{line}: @lockstep: is not read: one comment says all, before any code"));
        }
        let settings = match self.entries.get(file) {
            Some(entry) => ScriptEntry { run_is_configured: entry.run.is_some(), ..entry.clone().or(header) },
            None => header,
        };
        // Else it would be an app of its own, and the operator's. Those that the configuration names have been looked for.
        if let Some(app) = settings.app.as_ref().filter(|app| !self.takes_any_app && !self.apps.contains_key(*app)) {
            return Err(of_header(header_line, format!("app: expected the name of an [[app]], found `{app}`")));
        }
        // Each may be right by itself.
        if let Some((key, sentence)) = settings.problems().into_iter().next() {
            return Err(problem(format!("{key}: {sentence}"), None));
        }
        let (names, computes_names) = (named_modules(&source), computes_names(&source));
        Ok((Sound { digest, names, computes_names, source, settings }, warnings))
    }

    /// Makes programs of what is sound, keeping those whose sources and settings are what they were.
    fn publish(&mut self) -> Reload {
        let mut problems: Vec<ScriptProblem> = self.files.values().filter_map(|file| file.problem.clone()).collect();
        let mut apps: BTreeMap<Option<&str>, BTreeMap<String, &Sound>> = BTreeMap::new();
        for (file, state) in &self.files {
            if let Some(sound) = &state.sound {
                apps.entry(sound.settings.app.as_deref()).or_default().insert(file.clone(), sound);
            }
        }
        let broken: Vec<(Option<String>, &ScriptProblem)> = self
            .files
            .values()
            .filter(|file| file.sound.is_none())
            .filter_map(|file| file.problem.as_ref())
            .map(|problem| (self.app_of(&problem.file), problem))
            .collect();
        let mut by_name: BTreeMap<String, Vec<(&str, &Sound)>> = BTreeMap::new();
        for (file, sound) in apps.values().flatten() {
            by_name.entry(name_of(file)).or_default().push((file.as_str(), *sound));
        }
        let mut live: BTreeMap<String, Arc<Program>> = BTreeMap::new();
        for (app, siblings) in &apps {
            let sound_names: BTreeSet<String> = siblings.keys().map(|file| name_of(file)).collect();
            let broken = broken.iter().filter(|(of, problem)| {
                // A name leads to what is sound.
                of.as_deref() == *app && !sound_names.contains(&name_of(&problem.file))
            });
            let broken: Vec<&ScriptProblem> = broken.map(|(_, problem)| *problem).collect();
            let sources: BTreeMap<String, SourceDigest> =
                siblings.iter().map(|(file, sound)| (file.clone(), sound.digest.clone())).collect();
            let names = siblings.iter().map(|(file, sound)| (file.as_str(), &sound.names)).collect();
            for (file, sound) in siblings {
                let reached = reach(file, &names);
                let packages = self.library.select(&reached.modules);
                let is_open = reached.files.iter().any(|file| siblings.get(*file).is_some_and(|sibling| sibling.computes_names));
                let mut stand_ins: BTreeMap<String, Arc<str>> = broken
                    .iter()
                    .filter(|problem| is_open || reached.modules.iter().any(|module| means(module, &problem.file)))
                    .map(|problem| (problem.file.clone(), stand_in(problem)))
                    .collect();
                // Whoever puts a script into an app leaves behind those that it requires. What another account has is nobody's business.
                let owner = self.owner_of(&sound.settings);
                for module in &reached.modules {
                    let others = by_name.get(&name_of(module.strip_prefix("./").unwrap_or(module))).into_iter().flatten();
                    let mut others = others.map(|(file, sound)| (*file, &sound.settings));
                    let Some((other, of)) =
                        others.find(|(_, other)| other.app.as_deref() != *app && self.owner_of(other) == owner)
                    else {
                        continue;
                    };
                    let files = siblings.keys().chain(stand_ins.keys()).map(String::as_str);
                    if js::module_problem(module, files, &packages).is_some() {
                        let text = throwing(of_another_app((other, of.app.as_deref()), *app));
                        stand_ins.insert(other.to_owned(), text.into());
                    }
                }
                let mut sources = sources.clone();
                sources.extend(packages.bundles.iter().map(|(name, bundle)| (format!("npm:{name}"), digest_of_package(bundle))));
                let name = name_of(file);
                if let Some(first) = live.get(&name) {
                    let message = format!("has the same name as {}", first.file);
                    problems.push(ScriptProblem { file: file.clone(), message, at: None });
                    continue;
                }
                let version = version_of(file, &sources);
                let program = match self.live.get(&name) {
                    Some(program)
                        if program.file == *file
                            && program.version == version
                            && program.settings == sound.settings
                            && program.bundle.files.len() == siblings.len() + stand_ins.len()
                            && stand_ins.iter().all(|(file, text)| program.bundle.files.get(file) == Some(text)) =>
                    {
                        Arc::clone(program)
                    }
                    Some(_) | None => {
                        tracing::info!(script = name, version, "script is live");
                        let bundle_id = self.next_bundle;
                        self.next_bundle += 1;
                        let texts = siblings.iter().map(|(file, sound)| (file, &sound.source)).chain(&stand_ins);
                        let files = texts.map(|(file, source)| (file.clone(), Arc::clone(source))).collect();
                        let bundle = Arc::new(Bundle { entry: file.clone(), files, packages });
                        Arc::new(self.program(&name, file, sound, (bundle_id, bundle), (version, &sources)))
                    }
                };
                live.insert(name, program);
            }
        }
        let in_use = |bundle: u64| live.values().any(|program| program.bundle_id == bundle);
        let retired = self.live.values().map(|program| program.bundle_id).filter(|bundle| !in_use(*bundle)).collect();
        self.live = live;
        let set = self.set.followed_by(self.live.values().cloned(), problems);
        let known = std::mem::take(&mut self.reported);
        self.reported = set.problems().map(|problem| (problem.file.clone(), problem.clone())).collect();
        let new_problems = set.problems().filter(|problem| known.get(&problem.file) != Some(*problem)).cloned().collect();
        self.set = Arc::new(set);
        Reload {
            set: Arc::clone(&self.set),
            retired,
            new_problems,
            new_warnings: std::mem::take(&mut self.warnings),
            texts: std::mem::take(&mut self.texts),
        }
    }

    /// The app that a file without a text that can be run would belong to, as far as its header comment can be read.
    fn app_of(&self, file: &str) -> Option<String> {
        let entry = self.entries.get(file).and_then(|entry| entry.app.clone());
        let header = || {
            self.files.get(file).filter(|known| known.stamp.bytes <= MAX_SOURCE)?;
            header_comment::read(file, &fs::read_to_string(self.dir.join(file)).ok()?).ok()?.app
        };
        entry.or_else(header)
    }

    fn program(
        &self,
        name: &str,
        file: &str,
        sound: &Sound,
        (bundle_id, bundle): (u64, Arc<Bundle>),
        (version, sources): (String, &BTreeMap<String, SourceDigest>),
    ) -> Program {
        let settings = sound.settings.clone();
        let uuid = uuid_of(name);
        let id = id_of(&uuid);
        let limits = ProgramLimits {
            memory_bytes: u64::from(settings.memory_mb.unwrap_or(DEFAULT_MEMORY_MB)) << 20,
            turn_ms: settings.turn_ms.unwrap_or(DEFAULT_TURN_MS),
            after_end_ms: self.after_end_ms,
        };
        let mut account = DEFAULT_ACCOUNT.to_owned();
        let mut env = Vars::new();
        if let Some(app) = settings.app.as_deref() {
            if let Some(app) = self.apps.get(app) {
                account.clone_from(&app.account);
                env.extend(app.env.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())));
            }
            env.insert("APP_ID".to_owned(), app.to_owned());
        }
        // After the app's own, so that no app can pass itself off as another script.
        env.insert("SCRIPTFORGE_ID".to_owned(), id.to_string());
        env.insert("SCRIPTFORGE_UUID".to_owned(), uuid.clone());
        env.insert("SCRIPTFORGE_NAME".to_owned(), name.to_owned());
        env.insert("EXEC_HOST".to_owned(), self.exec_host.clone());
        Program {
            name: name.to_owned(),
            file: file.to_owned(),
            uuid,
            id,
            script_type: settings.kind.unwrap_or_default(),
            account,
            settings,
            limits,
            time_zone: self.time_zone.clone(),
            env,
            environment: self.environment.clone(),
            bundle_id,
            bundle,
            version,
            sources: sources.clone(),
        }
    }
}

fn digest_of_package(bundle: &PackageBundle) -> SourceDigest {
    SourceDigest { bytes: bundle.source.len(), sha256: bundle.sha256.clone() }
}

/// Whether a file of the scripts folder is a script, by its name.
pub(crate) fn is_script(file: &str) -> bool {
    let Some((stem, extension)) = file.rsplit_once('.') else { return false };
    let is_test = stem.ends_with(".test");
    let is_types = extension == "ts" && stem.ends_with(".d");
    EXTENSIONS.contains(&extension) && !stem.is_empty() && !stem.starts_with('.') && !is_test && !is_types
}

pub(super) fn name_of(file: &str) -> String {
    file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_lowercase()
}

/// The name of a time zone as the database spells it, in whatever case it is written; `None` for one that is not there.
pub(crate) fn zone_name(zone: &str) -> Option<String> {
    jiff::tz::TimeZone::get(zone).ok()?.iana_name().map(str::to_owned)
}

/// The machine's time zone by its IANA name, as Node would show it; UTC where nothing names one.
pub(crate) fn local_time_zone() -> String {
    let spelled = |zone: &str| zone_name(zone).unwrap_or_else(|| zone.to_owned());
    let named = std::env::var("TZ").ok().map(|zone| spelled(zone.trim_start_matches(':')));
    let linked = || {
        let target = fs::read_link("/etc/localtime").ok()?;
        target.to_str()?.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
    };
    let is_name = |zone: &String| {
        zone.starts_with(|first: char| first.is_ascii_uppercase())
            && zone.chars().all(|c| c.is_ascii_alphanumeric() || "/_+-".contains(c))
    };
    named.filter(is_name).or_else(linked).filter(is_name).unwrap_or_else(|| "UTC".to_owned())
}

fn host_name() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map_or_else(|_| "localhost".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests;
