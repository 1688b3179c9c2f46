//! What is asked for, and what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::op::Vars;
use lockstep_ctx_api::wire::{Location, LogLine, ScriptError, ScriptErrorKind};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::host::{Channel, Scratch, WorkerMessages};
use crate::script::{Program, ProgramSet, ScriptStats};

/// Why a script is run (contract, section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunKind {
    /// In the way of a call that is being routed.
    Hook,
    Form,
    Driver,
    /// A function served at `/f/{uuid}/{fn}`.
    Public,
    Job,
    Schedule,
    /// Asked for by name, through the API or the command line.
    Api,
    /// Serves a WebSocket for as long as that lives.
    WebSocket,
    /// A script of type `worker`, which stays up.
    Worker,
}

/// As good as no limit.
const NO_LIMIT: Duration = Duration::from_secs(366 * 24 * 3_600);

impl RunKind {
    /// Wall time of a run where neither script nor request says otherwise.
    pub fn timeout(self) -> Duration {
        match self {
            Self::Hook => Duration::from_secs(2),
            Self::Form | Self::Driver | Self::Public | Self::Api => Duration::from_secs(10),
            Self::Job | Self::Schedule => Duration::from_secs(60),
            Self::WebSocket | Self::Worker => NO_LIMIT,
        }
    }

    /// Whether a script's `concurrency` counts the run: jobs have queues of their own, connections and workers live long, and who
    /// asks by name is a person.
    pub fn is_counted(self) -> bool {
        match self {
            Self::Hook | Self::Form | Self::Driver | Self::Public => true,
            Self::Job | Self::Schedule | Self::Api | Self::WebSocket | Self::Worker => false,
        }
    }

    /// Whether somebody waits for the result. Where nobody does, nothing that a function has left behind is in anybody's way: a job is
    /// over when all of it is, and fails by what fails of it.
    pub(super) fn is_awaited(self) -> bool {
        match self {
            Self::Hook | Self::Form | Self::Driver | Self::Public | Self::Api => true,
            Self::Job | Self::Schedule | Self::WebSocket | Self::Worker => false,
        }
    }

    /// As it is written in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Form => "form",
            Self::Driver => "driver",
            Self::Public => "public",
            Self::Job => "job",
            Self::Schedule => "schedule",
            Self::Api => "api",
            Self::WebSocket => "websocket",
            Self::Worker => "worker",
        }
    }

    /// Whether anybody at all may make the run, and name its function.
    pub(super) fn is_anybodys(self) -> bool {
        matches!(self, Self::Public | Self::WebSocket)
    }

    /// Whether the result is handed over as soon as it is known. For the others it comes with everything the run has logged,
    /// once what the script did not await is done too.
    pub(super) fn is_urgent(self) -> bool {
        self == Self::Hook
    }
}

/// A run to be made.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Names the run, for [`RunsHandle::cancel`](super::RunsHandle::cancel) and in logs; it is also its `CORRELATION_ID`.
    pub id: Arc<str>,
    /// Name, file, uuid or number of the script.
    pub script: String,
    /// `script` is its name, and not what others are called.
    pub is_name: bool,
    /// Whose script it has to be; `None`: anybody's.
    pub account: Option<String>,
    pub kind: RunKind,
    /// Exported function to call; `None`: `main`.
    pub function: Option<String>,
    /// Its first argument, as JSON.
    pub data: String,
    /// Wall time, waiting included; `None`: what the script says, or the kind.
    pub timeout: Option<Duration>,
    /// What `process.env` holds besides the script's own variables.
    pub env: Vars,
    /// Told of console lines as they are written, as far as it keeps up.
    pub lines: Option<mpsc::Sender<LogLine>>,
    /// The run's own files.
    pub scratch: Scratch,
    /// The WebSocket the run serves.
    pub channel: Option<Channel>,
    /// The messages of the worker that the run is.
    pub messages: Option<WorkerMessages>,
}

impl RunRequest {
    /// A run of `main` with `data`, JSON.
    pub fn new(script: impl Into<String>, kind: RunKind, data: impl Into<String>) -> Self {
        Self {
            // As good as `new_v4`, which asks the kernel each time.
            id: uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string().into(),
            script: script.into(),
            is_name: false,
            account: None,
            kind,
            function: None,
            data: data.into(),
            timeout: None,
            env: Vars::new(),
            lines: None,
            scratch: Scratch::default(),
            channel: None,
            messages: None,
        }
    }

    /// The same of the script of this very name.
    pub fn named(name: impl Into<String>, kind: RunKind, data: impl Into<String>) -> Self {
        Self { is_name: true, ..Self::new(name, kind, data) }
    }

    /// The script that is run.
    pub(crate) fn program<'a>(&self, programs: &'a ProgramSet) -> Option<&'a Arc<Program>> {
        let found = if self.is_name { programs.named(&self.script) } else { programs.by_name(&self.script) };
        found.filter(|program| self.account.as_ref().is_none_or(|account| *account == program.account))
    }

    /// Takes only a script of `account`: the name may have become another's by the time of the run.
    #[must_use]
    pub fn of_account(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Calls `function` instead of `main`.
    #[must_use]
    pub fn function(mut self, function: Option<String>) -> Self {
        self.function = function;
        self
    }

    /// Ends the run after `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }
}

/// A run that gave a result.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSuccess {
    pub run: Arc<str>,
    /// JSON; `None`: the function returned `undefined`.
    pub result: Option<String>,
    /// From the request to the result, waiting included.
    pub took: Duration,
    /// From the run's start to its result: the contract's `sandbox_time`.
    pub sandbox_time: Duration,
    pub log: RunLog,
}

/// A run that did not.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{error}")]
pub struct RunFailure {
    pub run: Arc<str>,
    pub error: RunError,
    pub took: Duration,
    pub log: RunLog,
}

/// What a run wrote to its console.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunLog {
    pub lines: Vec<LogLine>,
    /// Lines past the bound.
    pub dropped: u64,
}

/// Lines of a run that are kept for its result.
const MAX_LINES: usize = 1_000;
/// Octets of them.
const MAX_LINE_BYTES: usize = 1 << 20;

impl RunLog {
    pub(super) fn push(&mut self, line: LogLine) {
        let bytes = || self.lines.iter().map(|line| line.text.len()).sum::<usize>();
        // Of a log that is full nothing is counted any more: a script may write without end.
        if self.lines.len() < MAX_LINES && bytes() + line.text.len() <= MAX_LINE_BYTES {
            self.lines.push(line);
        } else {
            self.dropped += 1;
        }
    }
}

/// Why a run gave no result.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RunError {
    #[error("no script {0}")]
    NoSuchScript(String),
    /// The script's own doing, or a limit it ran into.
    #[error(transparent)]
    Script(Box<ScriptError>),
    #[error("the run was ended: it took longer than {} s{}", .limit.as_secs_f64(), had_waited(.waited))]
    TimedOut { limit: Duration, waited: Duration },
    #[error("the run did not come to its turn within {} s: earlier runs of the script took too long", .limit.as_secs_f64())]
    TimedOutWaiting { limit: Duration },
    #[error("the run was cancelled")]
    Cancelled,
    #[error("{waiting} runs of the script are waiting already")]
    Busy { waiting: usize },
    #[error("the script waits for something that nothing can bring about")]
    Stuck,
    #[error("the engine is shutting down")]
    Stopped,
}

/// How much of its time a run had spent before it began.
fn had_waited(waited: &Duration) -> String {
    if *waited < Duration::from_millis(1) {
        return String::new();
    }
    format!(", {:.3} s of which it waited for earlier runs of the script", waited.as_secs_f64())
}

impl RunError {
    /// The SIP reply the error stands for (contract, sections 1 and 4).
    pub fn sip(&self) -> (u16, String) {
        let (code, text) = match self {
            Self::Script(error) => match &error.sip {
                Some((code, text)) => return (*code, text.clone()),
                None => (500, "Script Error"),
            },
            Self::NoSuchScript(_) | Self::Stuck => (500, "Script Error"),
            Self::TimedOut { .. } | Self::TimedOutWaiting { .. } => (500, "ScriptForge Timeout"),
            Self::Busy { .. } | Self::Cancelled | Self::Stopped => (503, "Service Unavailable"),
        };
        (code, text.to_owned())
    }

    /// Where the script stood.
    pub fn at(&self) -> Option<&Location> {
        match self {
            Self::Script(error) => error.at.as_ref(),
            _ => None,
        }
    }

    /// What was asked for is not there.
    pub fn is_no_function(&self) -> bool {
        matches!(self, Self::Script(error) if error.kind == ScriptErrorKind::NoFunction)
    }

    /// The script asked for this SIP reply itself: not an error in it.
    pub fn is_deliberate(&self) -> bool {
        matches!(self, Self::Script(error) if error.sip.is_some())
    }
}

/// What runs outside calls have done and hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunsStats {
    /// Of their workers.
    pub scripts: ScriptStats,
    /// Operations that they have issued.
    pub operations: u64,
    /// Those that were rejected.
    pub operations_failed: u64,
    /// Runs that have ended.
    pub ended: BTreeMap<RunKind, RunsEnded>,
}

/// Runs of one kind that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunsEnded {
    pub all: u64,
    /// By an error that the script did not mean, or because they took too long.
    pub failed: u64,
}

/// A run that has not ended, in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunSummary {
    pub run: Arc<str>,
    pub script: String,
    /// Whose script it is.
    pub account: String,
    #[serde(rename = "fn")]
    pub function: Option<String>,
    pub kind: RunKind,
    /// It waits for its turn.
    pub waiting: bool,
    /// Milliseconds since it was asked for.
    pub age_ms: u64,
}

/// Why something could not be done to a run.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RunsError {
    #[error("no run {0} is under way")]
    NoSuchRun(String),
    #[error("the engine is shutting down")]
    Stopped,
}
