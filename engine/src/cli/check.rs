//! `lockstep check FILE…`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::out;
use crate::check::{self, Finding, MAX_SOURCE, Modules};
use crate::config::Config;
use crate::packages::Library;

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

/// Looks at one script, with the other files of its folder as its siblings.
pub(super) fn look(file: &Path, source: &str) -> Vec<Finding> {
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let siblings = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let shown = file.display().to_string();
    let mut config = Config::default();
    config.scripts.dir = folder.to_owned();
    let packages = Library::of(Path::new(""), &config).names();
    check::check(&shown, source, &Modules::with_siblings(siblings).and_packages(packages))
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
