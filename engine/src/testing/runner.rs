//! Running many tests, several at a time, and what became of each.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use lockstep_ctx_api::wire::LogLine;

use super::file::TestFile;
use super::options::{Listed, Wrong};
use super::session::{Assignment, Ending, Session};
use crate::simulation::PhoneCallId;

/// What became of a test.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    /// Why, unless it says so itself.
    Skipped {
        why: Option<String>,
    },
    Failed {
        wrongs: Vec<Wrong>,
        story: String,
        audio: Vec<PathBuf>,
    },
}

/// A test that has been run, or left out.
#[derive(Debug)]
pub(crate) struct Report {
    pub file: String,
    pub name: String,
    pub verdict: Verdict,
    /// Virtual time it took.
    pub passed: Duration,
    pub lines: Vec<LogLine>,
}

/// What is run, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan<'a> {
    /// Tests whose names contain this.
    pub filter: Option<&'a str>,
    /// Tests at once; at least one.
    pub jobs: usize,
    /// Where the audio of failed tests goes.
    pub audio: Option<&'a Path>,
    /// Against a running engine, in real time.
    pub realtime: bool,
}

/// Runs the tests of these files; `told` gets each report in the order of the tests.
pub(crate) fn run(files: &[TestFile], plan: &Plan<'_>, mut told: impl FnMut(Report)) {
    let fits = |file: &TestFile, test: &Listed| {
        plan.filter.is_none_or(|filter| format!("{} {}", file.name, test.name()).contains(filter))
    };
    let tests: Vec<(&TestFile, usize)> = files
        .iter()
        .flat_map(|file| file.tests.iter().enumerate().filter(|(_, test)| fits(file, test)).map(move |(index, _)| (file, index)))
        .collect();
    let next = AtomicUsize::new(0);
    let (send, reports) = mpsc::channel();
    let send = Mutex::new(send);
    std::thread::scope(|scope| {
        let work = || {
            let Ok(send) = send.lock().map(|send| send.clone()) else { return };
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some((file, index)) = tests.get(number) else { return };
                // One that brings its thread down is a report like any other: the rest is run all the same.
                let report = catch_unwind(AssertUnwindSafe(|| run_one(file, *index, plan)));
                let report = report.unwrap_or_else(|_| broken(file, *index));
                if send.send((number, report)).is_err() {
                    return;
                }
            }
        };
        for _ in 0..plan.jobs.clamp(1, tests.len().max(1)) {
            scope.spawn(work);
        }
        let mut early = std::collections::BTreeMap::new();
        for expected in 0..tests.len() {
            while !early.contains_key(&expected) {
                let Ok((number, report)) = reports.recv() else { return };
                early.insert(number, report);
            }
            if let Some(report) = early.remove(&expected) {
                told(report);
            }
        }
    });
}

/// How many tests [`run`] will report.
pub(crate) fn count(files: &[TestFile], plan: &Plan<'_>) -> usize {
    let fits = |file: &TestFile, test: &Listed| {
        plan.filter.is_none_or(|filter| format!("{} {}", file.name, test.name()).contains(filter))
    };
    files.iter().map(|file| file.tests.iter().filter(|test| fits(file, test)).count()).sum()
}

/// A test of which nothing is known but that the engine panicked.
fn broken(file: &TestFile, index: usize) -> Report {
    let message = "the engine panicked: that is its own fault, not the test's".to_owned();
    let wrong = Wrong { name: "Error".to_owned(), message, stack: String::new() };
    Report {
        file: file.name.clone(),
        name: file.tests.get(index).map(Listed::name).unwrap_or_default(),
        verdict: Verdict::Failed { wrongs: vec![wrong], story: String::new(), audio: Vec::new() },
        passed: Duration::ZERO,
        lines: Vec::new(),
    }
}

/// Runs one test on a stage of its own.
pub(crate) fn run_one(file: &TestFile, index: usize, plan: &Plan<'_>) -> Report {
    let Some(test) = file.tests.get(index) else {
        return Report {
            file: file.name.clone(),
            name: String::new(),
            verdict: Verdict::Skipped { why: None },
            passed: Duration::ZERO,
            lines: Vec::new(),
        };
    };
    let mut report = Report {
        file: file.name.clone(),
        name: test.name(),
        verdict: Verdict::Passed,
        passed: Duration::ZERO,
        lines: Vec::new(),
    };
    if test.skip {
        report.verdict = Verdict::Skipped { why: test.todo.then(|| "to be written".to_owned()) };
        return report;
    }
    if let Some(why) = test.options.virtual_only().filter(|_| plan.realtime) {
        report.verdict = Verdict::Skipped { why: Some(why.to_owned()) };
        return report;
    }
    let assignment = Assignment {
        project: &file.project,
        program: &file.program,
        test: Some(index),
        options: &test.options,
        realtime: plan.realtime,
    };
    let mut session = match Session::start(&assignment) {
        Ok(session) => session,
        Err(wrong) => {
            report.verdict = Verdict::Failed { wrongs: vec![wrong], story: String::new(), audio: Vec::new() };
            return report;
        }
    };
    let ending = session.complete();
    report.lines = session.take_lines();
    report.passed = session.passed();
    let wrongs = match ending {
        Ok(Ending::Finished(wrongs)) => wrongs,
        Ok(Ending::Listed(_)) => Vec::new(),
        Ok(Ending::Skipped(why)) => {
            report.verdict = Verdict::Skipped { why: Some(why) };
            Vec::new()
        }
        Err(wrong) => vec![wrong],
    };
    if !wrongs.is_empty() {
        let story = super::story(&mut session);
        let audio = plan.audio.map(|folder| write_audio(&session, folder, &report)).unwrap_or_default();
        report.verdict = Verdict::Failed { wrongs, story, audio };
    }
    report
}

/// Writes what each phone heard (left) and sent (right).
fn write_audio(session: &Session, folder: &Path, report: &Report) -> Vec<PathBuf> {
    let mut written = Vec::new();
    if let Err(error) = std::fs::create_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "audio cannot be written");
        return written;
    }
    let name: String =
        report.name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).take(80).collect();
    for (PhoneCallId(number), call) in session.stage.phones.calls() {
        let path = folder.join(format!("{name}-{}-{}.wav", number + 1, call.to));
        let (heard, sent) = (call.heard.samples(), call.sent.samples());
        match std::fs::write(&path, super::wav::stereo(&heard, &sent)) {
            Ok(()) => written.push(path),
            Err(error) => tracing::warn!(%error, path = %path.display(), "audio cannot be written"),
        }
    }
    written
}
