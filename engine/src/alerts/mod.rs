//! Alerts: what somebody should look at, told to clients of `/v1/events` and to the alert driver, once and not a thousand times.
//!
//! ```text
//!   calls, runs, jobs ── EventLog::raise ──► [ 1,024 ] ── Gate ──► event `alert`, driver's alert({name, severity, text, data})
//! ```

mod deliver;
mod gate;

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

pub use deliver::deliver;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something may be wrong.
    Warning,
    /// Something did not work.
    Error,
}

/// What somebody should look at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// What kind of thing: `call-failed`, `script-error`, `job-failed`.
    pub name: &'static str,
    pub severity: Severity,
    /// A sentence for people.
    pub text: String,
    /// The facts behind it.
    pub data: Map<String, Value>,
    /// Alerts of one name about one subject are the same: a script's name, a SIP code.
    #[serde(skip)]
    pub subject: String,
    /// Whom it concerns.
    #[serde(skip)]
    pub account: Arc<str>,
}

impl Alert {
    /// Something did not work; `facts` is an object.
    pub(crate) fn error(name: &'static str, account: &Arc<str>, text: String, subject: String, facts: Value) -> Self {
        let data = facts.as_object().cloned().unwrap_or_default();
        Self { name, severity: Severity::Error, text, data, subject, account: Arc::clone(account) }
    }
}
