//! `lockstep run FILE`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use lockstep_ctx_api::wire::{LogLine, ScriptError, ScriptType};
use tokio::sync::{mpsc, watch};

use super::{block_on, out};
use crate::config::Config;
use crate::fetch::{EgressPolicy, Fetcher};
use crate::platform::Platform;
use crate::runs::{RunError, RunFailure, RunKind, RunRequest, RunsConfig, RunsHandle, RunsThread, ScriptPlace};
use crate::script::programs::Loader;
use crate::script::{Program, ProgramSet};

/// Console lines that may wait to be printed; a script that writes more at once loses some.
const MAX_LINES: usize = 10_000;
/// The longest `--data @FILE`, in bytes: what a frame to a worker holds, with room for the frame.
const MAX_DATA: u64 = 15 << 20;
/// Run a script once, outside any call: its result as JSON on stdout, its console on stderr.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The script; the other files of its folder are its siblings.
    file: PathBuf,
    /// Exported function to call instead of `main`.
    #[arg(long = "fn", value_name = "NAME")]
    function: Option<String>,
    /// Its first argument: JSON, or @FILE for a file that holds it.
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    data: String,
    /// Run it as this type, whatever its header says.
    #[arg(long = "type", value_enum)]
    kind: Option<Kind>,
    /// End the run after this many seconds; 10, or the script's own timeout_s.
    #[arg(long, value_name = "SECONDS", value_parser = super::some_seconds)]
    timeout: Option<Duration>,
    /// The folder of a lockstep.toml whose apps, variables and limits apply.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Script,
    App,
    Driver,
}

impl From<Kind> for ScriptType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Script => Self::Script,
            Kind::App => Self::App,
            Kind::Driver => Self::Driver,
        }
    }
}

pub(super) fn run(args: &Args) -> ExitCode {
    match block_on(work(args)) {
        Ok(Ok(result)) => {
            out::line(result.as_deref().unwrap_or("null"));
            ExitCode::SUCCESS
        }
        Ok(Err(Failure::Script(error))) => {
            report(&error);
            ExitCode::FAILURE
        }
        Ok(Err(Failure::Said(error))) | Err(error) => out::failed(error),
    }
}

/// Why there is no result.
enum Failure {
    /// The script's own doing: its SIP code, and where.
    Script(Box<ScriptError>),
    /// Anything else, as a sentence.
    Said(String),
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::Said(sentence)
    }
}

fn report(error: &ScriptError) {
    match &error.sip {
        Some((code, text)) => out::error(format!("{code} {text}")),
        None => out::error(format!("500 Script Error\n{}", error.message)),
    }
    if let Some(at) = &error.at {
        out::error(at);
    }
    for frame in &error.stack {
        out::error(format!("  {frame}"));
    }
}

async fn work(args: &Args) -> Result<Option<String>, Failure> {
    let data = read_data(&args.data)?;
    let Setup { programs, script, config, platform } = load(args)?;
    let fetcher =
        Fetcher::new(EgressPolicy::new(config.security)).map_err(|error| format!("cannot make HTTP requests: {error}"))?;
    let (_programs, latest) = watch::channel(programs);
    let (handle, inbox) = RunsHandle::new(latest);
    let runs_config = RunsConfig {
        place: ScriptPlace::InProcess,
        fetcher,
        services: platform.services,
        events: platform.events,
        journals: None,
    };
    let _thread = RunsThread::start(runs_config, handle.clone(), inbox)
        .map_err(|error| format!("cannot start the thread for the script: {error}"))?;
    let (written, mut lines) = mpsc::channel(MAX_LINES);
    let mut request = RunRequest::new(script, RunKind::Api, data).function(args.function.clone()).timeout(args.timeout);
    request.lines = Some(written);
    let run = handle.run(request);
    tokio::pin!(run);
    let outcome = loop {
        tokio::select! {
            biased;
            Some(line) = lines.recv() => print_log(&line),
            outcome = &mut run => break outcome,
        }
    };
    while let Ok(line) = lines.try_recv() {
        print_log(&line);
    }
    match outcome {
        Ok(success) => Ok(success.result),
        Err(RunFailure { error: RunError::Script(error), .. }) => Err(Failure::Script(error)),
        Err(failure) => {
            let (code, text) = failure.error.sip();
            Err(Failure::Said(format!("{code} {text}\n{}", failure.error)))
        }
    }
}

/// The JSON of `--data`: the text itself, or what the file of `@FILE` holds.
pub(super) fn read_data(data: &str) -> Result<String, String> {
    let text = match data.strip_prefix('@') {
        Some(path) => {
            let named = |error: std::io::Error| format!("--data: {path}: {error}");
            let size = std::fs::metadata(path).map_err(named)?.len();
            if size > MAX_DATA {
                return Err(format!("--data: {path} has {size} bytes, at most {MAX_DATA} expected"));
            }
            std::fs::read_to_string(path).map_err(named)?
        }
        None => data.to_owned(),
    };
    match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!("--data: expected JSON: {error}")),
    }
}

/// What a run is made of.
struct Setup {
    programs: Arc<ProgramSet>,
    /// Which of them is meant.
    script: String,
    config: Config,
    platform: Platform,
}

/// Loads the folder of the script, as an engine would. The store is that of the configuration; without one nothing stays.
fn load(args: &Args) -> Result<Setup, Failure> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", args.file.display());
    let file = std::fs::canonicalize(&args.file).map_err(unreadable)?;
    let (Some(dir), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Err(format!("{}: expected a file", args.file.display()).into());
    };
    // The project's scripts, unless they are those beside the script.
    let mut others = None;
    let (mut config, platform) = match &args.config {
        Some(project) => {
            let loaded = Config::load(project).map_err(|error| error.to_string())?;
            let platform = Platform::open(&loaded).map_err(|error| error.to_string())?;
            let folder = loaded.resolve(&loaded.config.scripts.dir);
            if !std::fs::canonicalize(&folder).is_ok_and(|folder| folder == dir) {
                let named = |error: std::io::Error| format!("{}: {error}", folder.display());
                others = Some(Loader::new(&loaded.dir, &loaded.config).load().map_err(named)?.set);
            }
            let packages = loaded.config.scripts.packages.as_ref().map(|packages| loaded.resolve(packages));
            let mut config = loaded.config;
            config.scripts.packages = packages;
            (config, platform)
        }
        None => {
            let config = Config::default();
            let platform = Platform::passing(&config, dir).map_err(|error| error.to_string())?;
            (config, platform)
        }
    };
    config.scripts.dir = dir.to_owned();
    let loader = Loader::new(Path::new("/"), &config);
    let mut loader = if args.config.is_some() { loader } else { loader.with_any_app() };
    let set = loader.load().map_err(unreadable)?.set;
    if args.config.is_some() {
        platform.jobs.knows(others.unwrap_or_else(|| Arc::clone(&set)));
    }
    if let Some(problem) = set.problem(name) {
        return Err(Failure::Said(format!("500 Script Error\n{problem}")));
    }
    let program = set.by_name(name).ok_or_else(|| format!("{}: is no script", args.file.display()))?;
    let mut program = Program::clone(program);
    if let Some(kind) = args.kind {
        program.script_type = kind.into();
    }
    let programs = Arc::new(ProgramSet::new([Arc::new(program)], Vec::new()));
    Ok(Setup { programs, script: name.to_owned(), config, platform })
}

fn print_log(line: &LogLine) {
    use lockstep_ctx_api::wire::LogLevel;
    match (line.level, &line.at) {
        (LogLevel::Warn | LogLevel::Error, Some(at)) => out::error(format!("{} ({at})", line.text)),
        _ => out::error(&line.text),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    /// The outcome of a script in a folder of its own.
    fn outcome(name: &str, source: &str, arguments: &[&str]) -> Result<Option<String>, Failure> {
        outcome_of("main.js", name, source, arguments)
    }

    fn outcome_of(file: &str, name: &str, source: &str, arguments: &[&str]) -> Result<Option<String>, Failure> {
        let dir = std::env::temp_dir().join(format!("lockstep-run-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join(file);
        std::fs::write(&file, source).unwrap();
        std::fs::write(dir.join("helper.js"), "module.exports = { twice: (n) => 2 * n };").unwrap();
        let line = ["run", file.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
        let outcome = block_on(work(&Line::parse_from(line).args)).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        outcome
    }

    fn result(name: &str, source: &str, arguments: &[&str]) -> String {
        match outcome(name, source, arguments) {
            Ok(result) => result.unwrap_or_default(),
            Err(Failure::Script(error)) => panic!("{error:?}"),
            Err(Failure::Said(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn what_main_returns_is_the_result() {
        assert_eq!(result("main", "function main(data) { return { n: data.n + 1 } }", &["--data", r#"{"n":1}"#]), r#"{"n":2}"#);
    }

    #[test]
    fn another_function_and_siblings_are_reached() {
        let source = "const { twice } = require('helper'); module.exports = { search: async (d) => twice(d.n) };";
        assert_eq!(result("fn", source, &["--fn", "search", "--data", r#"{"n":21}"#, "--type", "driver"]), "42");
    }

    #[test]
    fn a_job_is_added_only_for_a_script_of_the_project() {
        let project = std::env::temp_dir().join(format!("lockstep-run-project-{}", std::process::id()));
        std::fs::create_dir_all(project.join("scripts")).unwrap();
        std::fs::write(project.join("lockstep.toml"), "").unwrap();
        std::fs::write(project.join("scripts/work.js"), "exports.main = () => 1").unwrap();
        let source = "const { add } = require('cxJob'); exports.main = async (name) => typeof (await add(name, null, {})).id";
        let arguments = |data| ["--config", project.to_str().unwrap(), "--data", data];
        assert_eq!(result("job", source, &arguments("\"work\"")), "\"number\"");
        let Err(Failure::Script(error)) = outcome("no-job", source, &arguments("\"nope\"")) else {
            panic!("the project has no such script");
        };
        assert!(error.message.contains("no script 'nope'"), "{error:?}");
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn packages_are_those_of_the_project() {
        let project = std::env::temp_dir().join(format!("lockstep-run-packages-{}", std::process::id()));
        std::fs::create_dir_all(project.join("scripts")).unwrap();
        std::fs::create_dir_all(project.join("pk/.bundles")).unwrap();
        std::fs::write(project.join("lockstep.toml"), "[scripts]\npackages = \"pk\"").unwrap();
        let sha256 = "d934a4a9e2a69fe46e39a829f1904da5c71eb5d94066b016e3a8d0ee9a6fcf4d";
        let manifest = serde_json::json!({
            "format": 1, "lock_sha256": "",
            "modules": { "left-pad": { "package": "left-pad", "entry": "left-pad", "public": true } },
            "packages": { "left-pad": { "version": "1.0.0", "file": "p.js", "bytes": 19, "sha256": sha256, "requires": [] } },
        });
        std::fs::write(project.join("pk/.bundles/manifest.json"), manifest.to_string()).unwrap();
        std::fs::write(project.join("pk/.bundles/p.js"), "module.exports = 7;").unwrap();
        let file = project.join("scripts/a.js");
        std::fs::write(&file, "const pad = require('left-pad'); exports.main = () => pad").unwrap();
        let line = Line::parse_from(["run", file.to_str().unwrap(), "--config", project.to_str().unwrap()]);
        let Ok(setup) = block_on(async { load(&line.args) }).unwrap() else { panic!("it loads") };
        let program = Arc::clone(setup.programs.by_name("a").unwrap());
        assert_eq!(program.bundle.packages.bundles.keys().collect::<Vec<_>>(), ["left-pad"]);
        drop(setup);
        std::fs::remove_dir_all(&project).unwrap();
    }

    #[test]
    fn timers_run_on_the_clock() {
        assert_eq!(
            result("timer", "function main() { return new Promise((r) => setTimeout(() => r('late'), 5)) }", &[]),
            "\"late\""
        );
    }

    #[test]
    fn a_sip_error_keeps_its_code_and_its_place() {
        let Err(Failure::Script(error)) = outcome("throw", "function main() {\n  throw '604 On DNC List';\n}", &[]) else {
            panic!("the script throws");
        };
        assert_eq!(error.sip, Some((604, "On DNC List".to_owned())));
    }

    #[test]
    fn an_error_of_the_script_names_its_line() {
        let Err(Failure::Script(error)) = outcome("error", "function main() {\n  null.x;\n}", &[]) else {
            panic!("the script throws");
        };
        assert_eq!(error.at.as_ref().map(|at| (&*at.file, at.line)), Some(("main.js", 2)));
    }

    #[test]
    fn a_request_that_fails_names_its_line() {
        let source = "async function main() {\n  await fetch('http://127.0.0.1:1/');\n}";
        let Err(Failure::Script(error)) = outcome("fetch", source, &[]) else { panic!("nothing listens on that port") };
        assert_eq!(error.at.as_ref().map(ToString::to_string).as_deref(), Some("main.js:2:9"), "{error:?}");
    }

    #[test]
    fn typescript_runs_and_its_errors_are_where_the_file_has_them() {
        let source = "import { twice } from 'helper';\ninterface Data { n: number }\nexport function main(data: Data): number {\n  const n = twice(data.n as number); (null! as Data).n;\n}";
        let Err(Failure::Script(error)) = outcome_of("main.ts", "ts", source, &["--data", r#"{"n":1}"#]) else {
            panic!("null has no `n`");
        };
        assert_eq!(error.at.as_ref().map(ToString::to_string).as_deref(), Some("main.ts:4:38"), "{error:?}");
        let Err(Failure::Said(refused)) = outcome_of("main.ts", "ts-enum", "\n  enum A { B }", &[]) else {
            panic!("an enum is no type");
        };
        assert!(refused.contains("main.ts:2:3: enum A cannot be erased"), "{refused}");
    }

    #[test]
    fn a_promise_that_nothing_settles_is_reported() {
        let Err(Failure::Said(error)) = outcome("never", "function main() { return new Promise(() => {}) }", &[]) else {
            panic!("nothing settles the promise");
        };
        assert_eq!(error, "500 Script Error\nthe script waits for something that nothing can bring about");
    }

    #[test]
    fn data_that_is_no_json_is_refused_before_anything_runs() {
        assert!(
            matches!(outcome("data", "", &["--data", "{"]), Err(Failure::Said(error)) if error.starts_with("--data: expected JSON"))
        );
    }
}
