//! `lockstep test`

#![expect(clippy::disallowed_methods, reason = "how long the tests took is told in the machine's time")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use super::client::Target;
use super::{block_on, out, recording, zone};
use crate::config::Config;
use crate::coverage::{self, Coverage};
use crate::journals::Redaction;
use crate::script::programs::zone_name;
use crate::simulation::Project;
use crate::testing::{
    Mutant, Plan, Report, Tally, TestFile, count, find, junit, project_of, run as run_tests, run_mutants, tap, write_recorded,
};

/// How often `--watch` looks for changes.
const LOOK: Duration = Duration::from_millis(500);
/// Files that `--watch` looks at.
const MAX_WATCHED: usize = 10_000;

/// Run test files (`*.test.js`) in virtual time; the report is TAP.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Test files, or folders that are searched for them.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// Only tests whose file and name contain this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Tests at once; as many as there are cores unless given.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Write the report as JUnit's XML, too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write what the phones of failed tests heard and sent, as WAV files.
    #[arg(long, value_name = "DIR")]
    audio: Option<PathBuf>,
    /// The folder of the lockstep.toml to test with; otherwise the nearest one above each test file.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// The time zone that scripts see.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// Break each script on purpose, one change at a time, and tell which changes its tests (`name.test.js`) do not notice.
    #[arg(long)]
    mutate: bool,
    /// Tell which lines and branches of the scripts the tests reach.
    #[arg(long, conflicts_with_all = ["mutate"])]
    coverage: bool,
    /// Write the coverage as pages for a browser, with a picture of each script's flow.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["mutate"])]
    coverage_html: Option<PathBuf>,
    /// Write the coverage as an lcov tracefile, which `lockstep flow --coverage` reads.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mutate"])]
    lcov: Option<PathBuf>,
    /// Run the tests in real time: each against an engine of its own, over SIP and RTP on this machine.
    #[arg(long, conflicts_with_all = ["mutate", "coverage", "coverage_html", "lcov"])]
    realtime: bool,
    /// Run the tests again whenever a file of the project changes.
    #[arg(long)]
    watch: bool,
    /// Make a test of a recorded call instead of running any: a file with its journal, or its id in the store of the
    /// configuration's folder or with a running engine. It is written into the scripts' folder `tests`, or into the one given.
    #[arg(long, value_name = "FILE|CALL_ID", conflicts_with_all = ["watch", "mutate"])]
    from_journal: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &Args) -> ExitCode {
    if let Some(what) = &args.from_journal {
        return match from_journal(args, what) {
            Ok(code) => code,
            Err(error) => out::failed(error),
        };
    }
    let Some(zone) = zone_name(&args.timezone) else {
        let zone = &args.timezone;
        return out::failed(format!("--timezone: expected an IANA name such as `Europe/London`, found `{zone}`"));
    };
    if let Err(code) = zone::enter(&zone) {
        return code;
    }
    if let Err(error) = crate::log::init(crate::log::LogFormat::Text, "off") {
        return out::failed(error);
    }
    if args.mutate {
        return match mutate(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => out::failed(error),
        };
    }
    if !args.watch {
        return match run_once(args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => out::failed(error),
        };
    }
    loop {
        let before = stamps(args);
        if let Err(error) = run_once(args) {
            out::error(error);
        }
        out::line("# waiting for changes");
        while stamps(args) == before {
            std::thread::sleep(LOOK);
        }
    }
}

/// Makes a test of a recorded call.
fn from_journal(args: &Args, what: &str) -> Result<ExitCode, String> {
    let dir = args.config.clone().unwrap_or_else(|| PathBuf::from("."));
    let recording = block_on(recording::find(what, &dir, &args.target))??;
    if let Err(code) = zone::enter(&recording.journal.header.run.time_zone) {
        return Ok(code);
    }
    let loaded = Config::load(&dir).map_err(|error| error.to_string())?;
    let folder = match args.paths.as_slice() {
        [folder] if folder != Path::new(".") => folder.clone(),
        _ => loaded.resolve(&loaded.config.scripts.dir).join("tests"),
    };
    let journal = &recording.journal;
    let config = recording.config.as_deref().unwrap_or(&loaded.config);
    let redaction = Redaction::of(config).for_journal(journal, recording.bundle.as_ref());
    let call = journal.start.call.as_ref().map(|call| call.facts.id.clone()).filter(|id| !id.is_empty());
    let name = call.unwrap_or_else(|| what.to_owned());
    let written = write_recorded(&folder, &name, journal, recording.bundle.as_ref(), &redaction)?;
    out::line(written.display());
    Ok(ExitCode::SUCCESS)
}

fn run_once(args: &Args) -> Result<bool, String> {
    let started = Instant::now();
    let Loaded { files, projects } = load(args)?;
    let plan = Plan { filter: args.filter.as_deref(), jobs: jobs(args), audio: args.audio.as_deref(), realtime: args.realtime };
    let wanted = count(&files, &plan);
    if let Some(filter) = plan.filter.filter(|_| wanted == 0) {
        return Err(format!("no test has a name with `{filter}` in it"));
    }
    out::line("TAP version 14");
    out::line(format!("1..{wanted}"));
    let (mut tally, mut reports, mut passed) = (Tally::default(), Vec::new(), Duration::ZERO);
    run_tests(&files, &plan, |report: Report| {
        tally.count(&report);
        passed += report.passed;
        out::text(&tap(reports.len() + 1, &report));
        reports.push(report);
    });
    let Tally { passed: good, failed, skipped } = tally;
    out::line(format!(
        "# {good} passed, {failed} failed, {skipped} skipped; {:.0} s of calls in {:.2} s",
        passed.as_secs_f64(),
        started.elapsed().as_secs_f64()
    ));
    if let Some(path) = &args.junit {
        write(path, &junit(&reports))?;
    }
    tell_coverage(args, &projects)?;
    Ok(failed == 0)
}

/// What the tests have reached, on the console and wherever else it is wanted.
fn tell_coverage(args: &Args, projects: &[Project]) -> Result<(), String> {
    let mut tracefile = String::new();
    for project in projects {
        let Some(coverage) = &project.coverage else { continue };
        out::text(&coverage::table(coverage));
        tracefile.push_str(&coverage::write_lcov(coverage, &project.scripts_dir));
    }
    if let Some(folder) = &args.coverage_html {
        let covered: Vec<&Coverage> = projects.iter().filter_map(|project| project.coverage.as_deref()).collect();
        coverage::write_html(&covered, folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    if let Some(path) = &args.lcov {
        write(path, &tracefile)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn wants_coverage(args: &Args) -> bool {
    args.coverage || args.coverage_html.is_some() || args.lcov.is_some()
}

/// How many of the changes are noticed, and which are not.
fn mutate(args: &Args) -> Result<(), String> {
    let Loaded { files, .. } = load(args)?;
    let mut mutants = run_mutants(&files, jobs(args), |mutant: &Mutant| {
        if !mutant.noticed {
            out::line(format!("survives  {}  {}", mutant.place, mutant.what));
        }
    });
    let all = mutants.len();
    mutants.retain(|mutant| mutant.noticed);
    out::line(noticed(mutants.len(), all)?);
    Ok(())
}

fn noticed(some: usize, all: usize) -> Result<String, String> {
    if all == 0 {
        return Err("nothing to change: --mutate breaks the script that a test file is named after (`name.test.js`: `name.js`)"
            .to_owned());
    }
    let share = some as f64 * 100.0 / all as f64;
    Ok(format!("# {some} of {all} changes were noticed ({share:.1} %)"))
}

fn jobs(args: &Args) -> usize {
    // In real time tests would be in each other's way.
    args.jobs.unwrap_or_else(|| if args.realtime { 1 } else { cores() })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The test files, and the projects they belong to.
struct Loaded {
    files: Vec<TestFile>,
    projects: Vec<Project>,
}

/// Reads every test file; what is wrong with one is said together with what is wrong with the others.
fn load(args: &Args) -> Result<Loaded, String> {
    let paths = find(&args.paths)?;
    if paths.is_empty() {
        return Err(format!("no test files (*.test.js) in {}", shown(&args.paths)));
    }
    let mut projects: BTreeMap<PathBuf, Project> = BTreeMap::new();
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    for (number, path) in (0..).zip(&paths) {
        let loaded = project_of(path, args.config.as_deref())?;
        let key = loaded.resolve(&loaded.config.scripts.dir);
        let project = match projects.get(&key) {
            Some(project) => project.clone(),
            None => {
                let project = Project::load(&loaded).map_err(|error| format!("{}: {error}", key.display()))?;
                let project = if wants_coverage(args) { project.covered() } else { project };
                for problem in project.problems() {
                    out::error(format!("{problem}: no test reaches this script"));
                }
                projects.insert(key, project.clone());
                project
            }
        };
        match TestFile::load(path, project, number) {
            Ok(file) => files.push(file),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(Loaded { files, projects: projects.into_values().collect() }) } else { Err(problems.join("\n")) }
}

fn shown(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    shown.join(", ")
}

/// What tells that a file of the tests or their projects has changed.
fn stamps(args: &Args) -> BTreeMap<PathBuf, Option<SystemTime>> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = args.paths.iter().chain(&args.config).cloned().collect();
    if let Ok(tests) = find(&args.paths) {
        for test in &tests {
            if let Ok(loaded) = project_of(test, args.config.as_deref()) {
                folders.push(loaded.resolve(&loaded.config.scripts.dir));
                folders.push(loaded.dir.join(crate::config::FILE_NAME));
            }
        }
    }
    for folder in folders {
        gather(&folder, &mut found);
    }
    found
}

fn gather(path: &Path, found: &mut BTreeMap<PathBuf, Option<SystemTime>>) {
    let hidden = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.len() > 1 && name.starts_with('.'));
    if hidden || found.len() >= MAX_WATCHED || found.contains_key(path) {
        return;
    }
    let Ok(meta) = std::fs::metadata(path) else { return };
    found.insert(path.to_owned(), meta.modified().ok());
    if meta.is_dir()
        && let Ok(entries) = std::fs::read_dir(path)
    {
        entries.flatten().for_each(|entry| gather(&entry.path(), found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_cannot_be_broken_is_no_script_whose_tests_notice_all() {
        assert_eq!(noticed(3, 4).unwrap(), "# 3 of 4 changes were noticed (75.0 %)");
        assert!(noticed(0, 0).unwrap_err().starts_with("nothing to change"));
    }
}
