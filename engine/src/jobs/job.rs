//! A job, and what is asked of one.

use serde::Serialize;

/// Where a job stands.
///
/// ```text
/// add ──► delayed ──► waiting, prioritized ──► active ──► completed
///             ▲            │ ▲ pause, resume      │
///             │            ▼ │                    ├──► failed
///             │           paused                  │
///             └────── back-off, no script ────────┘ retry ──► waiting
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It runs as soon as there is room.
    Waiting,
    /// The same, with a priority.
    Prioritized,
    /// Its time has not come.
    Delayed,
    /// Its script runs.
    Active,
    Completed,
    Failed,
    /// It waits in a queue that is paused.
    Paused,
}

impl JobState {
    /// As the store keeps it.
    pub(super) fn from_row(state: u8, priority: u32) -> Option<Self> {
        Some(match state {
            READY if priority == 0 => Self::Waiting,
            READY => Self::Prioritized,
            ACTIVE => Self::Active,
            COMPLETED => Self::Completed,
            FAILED => Self::Failed,
            DELAYED => Self::Delayed,
            PAUSED => Self::Paused,
            _ => return None,
        })
    }

    /// The state called `name`.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::Waiting, Self::Prioritized, Self::Delayed, Self::Active, Self::Completed, Self::Failed, Self::Paused];
        all.into_iter().find(|state| state.name() == name)
    }

    /// As scripts and the API spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Prioritized => "prioritized",
            Self::Delayed => "delayed",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Paused => "paused",
        }
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

pub(super) const READY: u8 = 0;
pub(super) const ACTIVE: u8 = 1;
pub(super) const COMPLETED: u8 = 2;
pub(super) const FAILED: u8 = 3;
pub(super) const DELAYED: u8 = 4;
pub(super) const PAUSED: u8 = 5;

/// What a job came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    Job,
    /// A script's schedule.
    Schedule,
}

/// The longest delay, back-off or time-out of a job: ten years.
pub const MAX_MS: u64 = 315_576_000_000;
/// The most tries.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// The last of the priorities.
pub const MAX_PRIORITY: u32 = 2_097_152;

/// A job to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    pub account: String,
    /// Whose pausing holds it back; jobs of a script are in the queue of its name unless they say otherwise.
    pub queue: String,
    /// Name of the script.
    pub script: String,
    /// Exported function; `None`: `main`.
    pub function: Option<String>,
    pub kind: JobKind,
    /// JSON.
    pub data: String,
    /// 0: ahead of all that have one; then 1, 2, …
    pub priority: u32,
    /// How often it is tried, at least once.
    pub attempts: u32,
    /// Between the first two tries; doubled each time.
    pub backoff_ms: u64,
    pub timeout_ms: Option<u64>,
    /// How long it waits before its first try.
    pub delay_ms: u64,
}

impl NewJob {
    /// A job of a script's `main`, tried once, at once.
    pub fn new(account: impl Into<String>, script: impl Into<String>, data: impl Into<String>) -> Self {
        let script = script.into();
        Self {
            account: account.into(),
            queue: script.clone(),
            script,
            function: None,
            kind: JobKind::Job,
            data: data.into(),
            priority: 0,
            attempts: 1,
            backoff_ms: 1_000,
            timeout_ms: None,
            delay_ms: 0,
        }
    }
}

/// A job as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    pub id: i64,
    #[serde(skip)]
    pub account: String,
    pub queue: String,
    pub script: String,
    #[serde(rename = "fn")]
    pub function: Option<String>,
    pub kind: JobKind,
    pub state: JobState,
    #[serde(serialize_with = "as_json")]
    pub data: String,
    pub priority: u32,
    pub attempts: u32,
    /// Tries that have begun.
    pub attempt: u32,
    /// How often a try was lost with the process it ran in; the job ran again.
    pub redelivered: u32,
    pub backoff_ms: u64,
    pub timeout_ms: Option<u64>,
    /// When it may run.
    pub due_ms: u64,
    #[serde(serialize_with = "as_json_if_any")]
    pub progress: Option<String>,
    #[serde(serialize_with = "as_json_if_any")]
    pub result: Option<String>,
    /// Why the last try failed.
    pub error: Option<String>,
    pub created_ms: u64,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// Since when its script has not been there.
    #[serde(skip)]
    pub absent_ms: Option<u64>,
}

fn as_json<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    // As it was written: a script's keys keep their order.
    let raw: Result<&serde_json::value::RawValue, _> = serde_json::from_str(text);
    raw.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

fn as_json_if_any<S: serde::Serializer>(text: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => as_json(text, serializer),
        None => serializer.serialize_none(),
    }
}
