//! Who asks.

use super::{Channel, Scratch, WorkerMessages};
use crate::config::DEFAULT_ACCOUNT;
use crate::script::Program;

/// The run that calls a service: what it may see, and what it is called in logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunContext {
    /// Whose keys, records, files and limits.
    pub account: String,
    /// Name of the script.
    pub script: String,
    pub script_id: u32,
    pub script_uuid: String,
    pub app: Option<String>,
    /// The call the run owns.
    pub call_id: Option<String>,
    /// Names a run outside any call.
    pub run_id: Option<String>,
    /// The run's own files. The same for every operation of a run.
    pub scratch: Scratch,
    /// The WebSocket the run serves.
    pub channel: Option<Channel>,
    /// The messages of the worker that the run is.
    pub messages: Option<WorkerMessages>,
}

impl RunContext {
    /// A run of `program`, of no call yet.
    pub fn of(program: &Program) -> Self {
        Self {
            account: program.account.clone(),
            script: program.name.clone(),
            script_id: program.id,
            script_uuid: program.uuid.clone(),
            app: program.settings.app.clone(),
            call_id: None,
            run_id: None,
            scratch: Scratch::default(),
            channel: None,
            messages: None,
        }
    }
}

impl Default for RunContext {
    fn default() -> Self {
        Self {
            account: DEFAULT_ACCOUNT.to_owned(),
            script: String::new(),
            script_id: 0,
            script_uuid: String::new(),
            app: None,
            call_id: None,
            run_id: None,
            scratch: Scratch::default(),
            channel: None,
            messages: None,
        }
    }
}
