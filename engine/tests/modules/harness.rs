//! Scripts, the thread that runs them in this process, and the services they call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::wire::{Bundle, ScriptError, ScriptType};
use lockstep_engine::config::{Config, ScriptEntry};
use lockstep_engine::fetch::{EgressPolicy, Fetcher};
use lockstep_engine::jobs::{JobsConfig, JobsThread};
use lockstep_engine::platform::Platform;
use lockstep_engine::runs::{RunError, RunKind, RunRequest, RunsConfig, RunsHandle, RunsThread, ScriptPlace};
use lockstep_engine::script::{Program, ProgramLimits, ProgramSet};
use tokio::sync::watch;

/// An engine's way to run scripts, without calls and with a store in memory.
pub(crate) struct Scripts {
    handle: RunsHandle,
    _jobs: JobsThread,
    _thread: RunsThread,
    _programs: watch::Sender<Arc<ProgramSet>>,
}

impl Scripts {
    /// Scripts by name: `(name, source)`.
    pub(crate) fn new(sources: &[(&str, &str)]) -> Self {
        Self::of_type(ScriptType::App, sources)
    }

    /// Scripts of a type by name.
    pub(crate) fn of_type(script_type: ScriptType, sources: &[(&str, &str)]) -> Self {
        let config = Config::default();
        let platform = Platform::in_memory(&config).unwrap();
        let programs =
            (1u32..).zip(sources).map(|(id, (name, source))| program(id, name, source, script_type)).collect::<Vec<_>>();
        let (programs, latest) = watch::channel(Arc::new(ProgramSet::new(programs, Vec::new())));
        let (handle, inbox) = RunsHandle::new(latest);
        let fetcher = Fetcher::new(EgressPolicy::new(config.security)).unwrap();
        let runs = RunsConfig {
            place: ScriptPlace::InProcess,
            fetcher,
            services: platform.services.clone(),
            events: platform.events.clone(),
            journals: None,
        };
        let thread = RunsThread::start(runs, handle.clone(), inbox).unwrap();
        let jobs = JobsConfig { concurrency: 10, keep: Duration::from_secs(60) };
        let jobs = JobsThread::start(jobs, &platform.jobs, handle.clone()).unwrap();
        Self { _jobs: jobs, handle, _thread: thread, _programs: programs }
    }

    /// Runs `main` of a script: JSON of the result.
    pub(crate) async fn run(&self, name: &str, data: &str) -> Result<String, ScriptError> {
        self.run_function(name, None, data).await
    }

    /// Runs an exported function of a script: JSON of the result.
    pub(crate) async fn run_function(&self, name: &str, function: Option<&str>, data: &str) -> Result<String, ScriptError> {
        let request = RunRequest::new(name, RunKind::Api, data.to_owned()).function(function.map(str::to_owned));
        match self.handle.run(request).await {
            Ok(success) => Ok(success.result.unwrap_or_else(|| "undefined".to_owned())),
            Err(failure) => match failure.error {
                RunError::Script(error) => Err(*error),
                other => panic!("{other}"),
            },
        }
    }
}

/// The result of one script's `main`.
pub(crate) async fn result(source: &str) -> String {
    Scripts::new(&[("main", source)]).run("main", "{}").await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// The message of the error that one script ends with.
pub(crate) async fn failure(source: &str) -> String {
    match Scripts::new(&[("main", source)]).run("main", "{}").await {
        Ok(result) => panic!("expected an error, got {result}"),
        Err(error) => error.message,
    }
}

fn program(id: u32, name: &str, source: &str, script_type: ScriptType) -> Arc<Program> {
    let file = format!("{name}.js");
    let bundle = Bundle { entry: file.clone(), files: [(file.clone(), source.into())].into(), ..Bundle::default() };
    Arc::new(Program {
        name: name.to_owned(),
        file: file.clone(),
        uuid: format!("00000000-0000-8000-8000-{id:012}"),
        id,
        account: "default".to_owned(),
        script_type,
        settings: ScriptEntry::new(file),
        limits: ProgramLimits { memory_bytes: 32 << 20, turn_ms: 2_000, after_end_ms: 10_000 },
        time_zone: "UTC".to_owned(),
        env: BTreeMap::new(),
        environment: Default::default(),
        bundle_id: id.into(),
        bundle: Arc::new(bundle),
        version: "0123456789abcdef".to_owned(),
        sources: BTreeMap::new(),
    })
}
