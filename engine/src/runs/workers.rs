//! Scripts of type `worker`: started with the engine, kept up, restarted when they end or change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::wire::{ScriptType, WORKER_ENTRY};
use tokio::task::JoinHandle;

use super::handle::RunsHandle;
use super::request::{RunKind, RunRequest};
use crate::host::WorkerMessages;
use crate::script::Program;

/// Wait before a worker that has ended is started again, doubled each time it ends soon after.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A worker that has run so long has started well: its next failure is its first.
const SOUND: Duration = Duration::from_secs(60);

/// The topic whose messages a worker's `onMessage` gets; `cxPubSub.publish` reaches it as the API does.
pub fn worker_topic(name: &str) -> String {
    format!("worker:{name}")
}

/// One worker that is kept up; dropping it ends its run.
struct Kept {
    program: Arc<Program>,
    task: JoinHandle<()>,
    messages: WorkerMessages,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.messages.program_changed();
        self.task.abort();
    }
}

/// Keeps every script of type `worker` up, in its newest version, for as long as the future lives.
pub async fn keep_workers(runs: RunsHandle) {
    let mut changes = runs.changes();
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    // By account and name: they outlive the runs, and the versions of the script.
    let mut messages: BTreeMap<(String, String), WorkerMessages> = BTreeMap::new();
    loop {
        let programs = Arc::clone(&changes.borrow_and_update());
        let workers: BTreeMap<&str, &Arc<Program>> = programs
            .iter()
            .filter(|program| program.script_type == ScriptType::Worker)
            .map(|program| (program.name.as_str(), program))
            .collect();
        kept.retain(|name, worker| workers.get(name.as_str()).is_some_and(|program| program.runs_as(&worker.program)));
        messages.retain(|(account, name), _| workers.get(name.as_str()).is_some_and(|program| program.account == *account));
        for (name, program) in workers {
            kept.entry(name.to_owned()).or_insert_with(|| {
                tracing::info!(worker = name, "worker is started");
                let key = (program.account.clone(), name.to_owned());
                let messages = messages.entry(key).or_insert_with(|| WorkerMessages::of(worker_topic(name)));
                let task = tokio::spawn(keep(runs.clone(), name.to_owned(), messages.clone()));
                Kept { program: Arc::clone(program), task, messages: messages.clone() }
            });
        }
        if changes.changed().await.is_err() {
            // Nothing changes any more; what is up stays up for as long as this future is wanted.
            return std::future::pending().await;
        }
    }
}

async fn keep(runs: RunsHandle, name: String, messages: WorkerMessages) {
    let mut wait = FIRST_WAIT;
    while !runs.is_stopped() {
        let mut request = RunRequest::named(name.clone(), RunKind::Worker, "{}").function(Some(WORKER_ENTRY.to_owned()));
        request.messages = Some(messages.clone());
        let lasted = match runs.run(request).await {
            Ok(success) => {
                tracing::warn!(worker = name, "a worker has ended by itself and is started again");
                success.took
            }
            Err(failure) => {
                let (at, wait_s) = (failure.error.at().map(tracing::field::display), wait.as_secs());
                tracing::error!(worker = name, error = %failure, at, wait_s, "a worker has died and is started again");
                failure.took
            }
        };
        if lasted >= SOUND {
            wait = FIRST_WAIT;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
