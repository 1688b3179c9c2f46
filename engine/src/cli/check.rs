//! `lockstep check FILE…`

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::out;
use crate::check::{self, Code, Finding, MAX_SOURCE, Modules};
use crate::config::{Config, DEFAULT_ACCOUNT, FILE_NAME, Loaded, header_comment};
use crate::packages::{Library, named_modules};
use crate::script::programs::{is_script, means, of_another_app};
use crate::testing::{below, is_test_file, project_of};
use crate::typescript::bound_process;

/// Find syntax errors, operations nobody awaits, races and unknown modules; exit 1 when there are any.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scripts; a folder stands for those below it, the folder of a `lockstep.toml` for the project's.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the findings as one JSON array.
    #[arg(long)]
    json: bool,
    /// The folder of the scripts' `lockstep.toml`; otherwise the nearest one above each script.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Internal: the scripts may be anybody's.
    #[arg(long, hide = true)]
    bounded: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    if args.bounded
        && let Err(error) = bound_process()
    {
        return out::failed(error);
    }
    let given = match args.config.as_deref().map(Config::load).transpose() {
        Ok(given) => given,
        Err(error) => return out::failed(error),
    };
    let (mut findings, mut projects) = (Vec::new(), Projects::default());
    let tell = |why: &str| out::error(format!("{why}\nscripts of that project are checked as if they had no configuration"));
    let files = match args.files.iter().map(|path| scripts_of(path)).collect::<Result<Vec<_>, _>>() {
        Ok(files) => files.concat(),
        Err(error) => return out::failed(error),
    };
    for file in &files {
        match read(file) {
            Ok(source) => {
                let project = if given.is_some() { given.as_ref() } else { projects.of(file, tell) };
                findings.extend(look(file, &source, project));
            }
            Err(error) => return out::failed(format!("{}: {error}", file.display())),
        }
    }
    if args.json {
        out::line(serde_json::json!(findings));
    } else {
        for finding in &findings {
            out::line(finding);
        }
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The scripts and test files that a path stands for.
fn scripts_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = if path.join(FILE_NAME).is_file() {
        let project = Config::load(path).map_err(|error| error.to_string())?;
        project.resolve(&project.config.scripts.dir)
    } else {
        path.to_owned()
    };
    let found = below(&folder, |file| is_test_file(file) || file.file_name().and_then(OsStr::to_str).is_some_and(is_script))?;
    if found.is_empty() { Err(format!("{}: there are no scripts in this folder", folder.display())) } else { Ok(found) }
}

/// The projects of the scripts that have been looked at, each read once for a folder.
#[derive(Default)]
struct Projects {
    /// By the folder of scripts; `None`: its configuration cannot be loaded.
    known: BTreeMap<PathBuf, Option<Loaded>>,
    told: BTreeSet<String>,
}

impl Projects {
    /// The project that a script belongs to. `tell` hears why there is none, unless it has been told.
    fn of(&mut self, file: &Path, tell: impl FnOnce(&str)) -> Option<&Loaded> {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let load = || match project_of(file, None) {
            Ok(project) => Some(project),
            Err(why) => {
                if self.told.insert(why.clone()) {
                    tell(&why);
                }
                None
            }
        };
        self.known.entry(folder).or_insert_with(load).as_ref()
    }
}

/// The modules that a script of a project asks for and cannot have.
pub(super) fn missing_modules(file: &Path, source: &str, project: &Loaded) -> Vec<Finding> {
    look(file, source, Some(project)).into_iter().filter(|finding| finding.code == Code::Module).collect()
}

/// Looks at one script, with the scripts that it can require as its siblings, and the packages of its project.
fn look(file: &Path, source: &str, project: Option<&Loaded>) -> Vec<Finding> {
    let folder = folder_of(file, project);
    let files = std::fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut siblings: Vec<String> = files.collect();
    let apart = apart(file, source, (folder.as_path(), siblings.as_slice()), project);
    siblings.retain(|file| !apart.contains_key(file));
    let apart = apart.into_iter().filter_map(|(file, why)| Some((file, why?))).collect();
    let shown = file.display().to_string();
    let library = match project {
        Some(project) => Library::of(&project.dir, &project.config),
        None => {
            let mut config = Config::default();
            config.scripts.dir = folder;
            Library::of(Path::new(""), &config)
        }
    };
    let modules = Modules::with_siblings(siblings).and_apart(apart).and_packages(library.names());
    let mut findings = check::check(&shown, source, &modules);
    findings.extend(unknown_app(file, source, project));
    findings
}

/// An app that a script's header comment names, and its project does not know.
fn unknown_app(file: &Path, source: &str, project: Option<&Loaded>) -> Option<Finding> {
    let name = file.file_name().and_then(OsStr::to_str).filter(|name| is_script(name))?;
    let app = app_of(name, source, project)??;
    project?.config.apps.iter().all(|known| known.name != app).then(|| Finding {
        file: file.display().to_string(),
        line: header_comment::find(source).map_or(1, |(line, _)| line),
        column: 1,
        code: Code::Header,
        message: format!("app: expected the name of an [[app]], found `{app}`"),
    })
}

/// The scripts that a script names and that are of other apps than it is, each with why it cannot be required; of those of another
/// account there is nothing to say.
fn apart(
    file: &Path,
    source: &str,
    (folder, files): (&Path, &[String]),
    project: Option<&Loaded>,
) -> BTreeMap<String, Option<String>> {
    let Some(name) = file.file_name().and_then(OsStr::to_str).filter(|name| is_script(name)) else { return BTreeMap::new() };
    let Some(app) = app_of(name, source, project) else { return BTreeMap::new() };
    let modules = named_modules(source);
    let others = files.iter().filter(|other| is_script(other) && modules.iter().any(|module| means(module, other)));
    let apart = others.filter_map(|other| {
        let of = app_of(other, &read(&folder.join(other)).ok()?, project)?;
        let is_own = || account_of(of.as_deref(), project) == account_of(app.as_deref(), project);
        (of != app).then(|| (other.clone(), is_own().then(|| of_another_app((other, of.as_deref()), app.as_deref()))))
    });
    apart.collect()
}

/// The account of the scripts of an app.
fn account_of<'p>(app: Option<&str>, project: Option<&'p Loaded>) -> &'p str {
    let known = project.and_then(|project| project.config.apps.iter().find(|known| Some(known.name.as_str()) == app));
    known.map_or(DEFAULT_ACCOUNT, |app| &app.account)
}

/// The app that a script is of, if any; `None`: its header comment cannot be read.
fn app_of(file: &str, source: &str, project: Option<&Loaded>) -> Option<Option<String>> {
    let entry = project.and_then(|project| project.config.script_entries.iter().find(|entry| entry.file == file));
    match entry.and_then(|entry| entry.app.clone()) {
        Some(app) => Some(Some(app)),
        None => header_comment::read(file, source).ok().map(|entry| entry.app),
    }
}

/// Where the siblings of a script lie: beside it, and those of a test where the scripts are that it tests.
fn folder_of(file: &Path, project: Option<&Loaded>) -> PathBuf {
    let is_test = file.file_stem().and_then(OsStr::to_str).is_some_and(|stem| stem.ends_with(".test"));
    match project.filter(|_| is_test) {
        Some(project) => project.resolve(&project.config.scripts.dir),
        None => file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned(),
    }
}

/// Reads a script, within the size the checker looks at.
pub(super) fn read(file: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(file)?.len();
    if size > MAX_SOURCE as u64 {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("the script has {size} bytes, at most {MAX_SOURCE} expected"),
        ));
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many findings a file has.
    fn found(file: &Path, source: &str) -> usize {
        look(file, source, Projects::default().of(file, |why| panic!("{why}"))).len()
    }

    #[test]
    fn a_test_requires_the_scripts_that_it_tests() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts/tests")).unwrap();
        std::fs::write(project.join("lockstep.toml"), "").unwrap();
        std::fs::write(project.join("scripts/lib.js"), "exports.a = 1").unwrap();
        let found = |file: &str| found(&project.join(file), "const { a } = require('lib')");
        assert_eq!(["scripts/tests/a.test.js", "scripts/a.js", "scripts/tests/a.js"].map(found), [0, 0, 1]);
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn a_folder_stands_for_the_scripts_below_it_and_a_project_for_its_own() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("apps/tests")).unwrap();
        std::fs::create_dir_all(project.join("apps/node_modules/pad")).unwrap();
        let files = ["build.js", "apps/menu.js", "apps/tests/menu.test.js", "apps/ctx.d.ts", "apps/node_modules/pad/a.js"];
        for file in files {
            std::fs::write(project.join(file), "").unwrap();
        }
        std::fs::write(project.join("lockstep.toml"), "[scripts]\ndir = \"apps\"").unwrap();
        let scripts = ["apps/menu.js", "apps/tests/menu.test.js"].map(|file| project.join(file));
        assert_eq!(scripts_of(&project).unwrap(), scripts);
        assert_eq!(scripts_of(&project.join("apps/tests")).unwrap(), scripts[1..]);
        assert_eq!(scripts_of(&project.join("build.js")).unwrap(), [project.join("build.js")]);
        let named = scripts_of(&project.join("apps/node_modules")).unwrap();
        assert_eq!(named, [project.join("apps/node_modules/pad/a.js")], "what is named is looked at");
        std::fs::remove_file(&scripts[1]).unwrap();
        let refused = scripts_of(&project.join("apps/tests")).unwrap_err();
        assert!(refused.ends_with("apps/tests: there are no scripts in this folder"), "{refused}");
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn scripts_of_another_app_cannot_be_required() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts/tests")).unwrap();
        let config = "[[app]]\nname = \"sales\"\n[[script]]\nfile = \"tax.js\"\napp = \"sales\"";
        std::fs::write(project.join("lockstep.toml"), config).unwrap();
        for file in ["calc.js", "tax.js", "rate.js"] {
            std::fs::write(project.join("scripts").join(file), "exports.a = 1").unwrap();
        }
        let of_sales = "// @lockstep app=sales\nexports.tax = require('tax'); exports.calc = require('./calc')";
        let mut projects = Projects::default();
        let rate = project.join("scripts/rate.js");
        let findings = look(&rate, of_sales, projects.of(&rate, |why| panic!("{why}")));
        let said = "Cannot require 'calc.js': it is of no app, and the script of app 'sales'; both must be of the same";
        assert_eq!(findings.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>(), [said]);
        assert_eq!(found(&project.join("scripts/tests/a.test.js"), of_sales), 0, "a test is of no app");
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn of_scripts_of_another_account_nothing_is_told() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts")).unwrap();
        let account =
            |name: &str, app: &str| format!("[[account]]\nname = \"{name}\"\n[[app]]\nname = \"{app}\"\naccount = \"{name}\"\n");
        std::fs::write(project.join("lockstep.toml"), account("t1", "sales") + &account("t2", "secret")).unwrap();
        std::fs::write(project.join("scripts/tax.js"), "// @lockstep app=secret\nexports.a = 1").unwrap();
        let file = project.join("scripts/a.js");
        let mut projects = Projects::default();
        let findings = look(&file, "// @lockstep app=sales\nrequire('tax')", projects.of(&file, |why| panic!("{why}")));
        let said: Vec<_> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(said, ["Cannot find module 'tax' (not on the allow-list; see docs/modules.md)"]);
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn an_app_that_the_project_does_not_know_is_a_finding() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts")).unwrap();
        std::fs::write(project.join("lockstep.toml"), "[[app]]\nname = \"sales\"").unwrap();
        let of = |app: &str| found(&project.join("scripts/a.js"), &format!("// @lockstep app={app}\nexports.main = () => 1"));
        assert_eq!(["sales", "slaes"].map(of), [0, 1]);
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn packages_are_those_of_the_project() {
        let place = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(place.join("mine/scripts/tests")).unwrap();
        std::fs::create_dir_all(place.join("shared/.bundles")).unwrap();
        std::fs::write(place.join("mine/lockstep.toml"), "[scripts]\npackages = \"../shared\"").unwrap();
        let manifest = serde_json::json!({
            "format": 1, "lock_sha256": "",
            "modules": { "left-pad": { "package": "left-pad", "entry": "left-pad", "public": true } },
            "packages": { "left-pad": { "version": "1.0.0", "file": "left-pad.js", "bytes": 0, "sha256": "", "requires": [] } },
        });
        std::fs::write(place.join("shared/.bundles/manifest.json"), manifest.to_string()).unwrap();
        let found = |file: &str| found(&place.join(file), "const pad = require('left-pad')");
        assert_eq!(["mine/scripts/a.js", "mine/scripts/tests/a.test.js", "b.js"].map(found), [0, 0, 1]);
        std::fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_configuration_that_cannot_be_loaded_is_told_once() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts/tests")).unwrap();
        let user = "[[user]]\nname = \"1001\"\npassword = \"env:NOBODY_HAS_SET_THIS_PASSWORD\"";
        std::fs::write(project.join("lockstep.toml"), user).unwrap();
        let (mut projects, mut told) = (Projects::default(), Vec::new());
        for file in ["scripts/a.js", "scripts/b.js", "scripts/tests/a.test.js"] {
            assert!(projects.of(&project.join(file), |why| told.push(why.to_owned())).is_none(), "{file}");
        }
        assert!(matches!(told.as_slice(), [why] if why.contains("NOBODY_HAS_SET_THIS_PASSWORD")), "{told:?}");
        std::fs::remove_dir_all(&project).unwrap();
    }
}
