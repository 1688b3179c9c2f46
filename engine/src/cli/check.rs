//! `lockstep check FILE…`

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::out;
use crate::check::{self, Finding, MAX_SOURCE, Modules};
use crate::config::Config;
use crate::packages::Library;
use crate::testing::project_of;

/// Find syntax errors, operations nobody awaits, races and unknown modules; exit 1 when there are any.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Scripts.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print the findings as one JSON array.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let mut findings = Vec::new();
    for file in &args.files {
        match read(file) {
            Ok(source) => findings.extend(look(file, &source)),
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

/// Looks at one script, with the scripts that it can require as its siblings.
pub(super) fn look(file: &Path, source: &str) -> Vec<Finding> {
    let folder = folder_of(file);
    let siblings =
        std::fs::read_dir(&folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let shown = file.display().to_string();
    let mut config = Config::default();
    config.scripts.dir = folder;
    let packages = Library::of(Path::new(""), &config).names();
    check::check(&shown, source, &Modules::with_siblings(siblings).and_packages(packages))
}

/// Where the siblings of a script lie: beside it, and those of a test where the scripts are that it tests.
fn folder_of(file: &Path) -> PathBuf {
    let is_test = file.file_stem().and_then(OsStr::to_str).is_some_and(|stem| stem.ends_with(".test"));
    let project = is_test.then(|| project_of(file, None).ok()).flatten();
    match project {
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

    #[test]
    fn a_test_requires_the_scripts_that_it_tests() {
        let project = std::env::temp_dir().join(format!("lockstep-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts/tests")).unwrap();
        std::fs::write(project.join("lockstep.toml"), "").unwrap();
        std::fs::write(project.join("scripts/lib.js"), "exports.a = 1").unwrap();
        let found = |file: &str| look(&project.join(file), "const { a } = require('lib')").len();
        assert_eq!(["scripts/tests/a.test.js", "scripts/a.js", "scripts/tests/a.js"].map(found), [0, 0, 1]);
        std::fs::remove_dir_all(&project).unwrap();
    }
}
