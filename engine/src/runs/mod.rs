//! Runs of scripts outside calls: routing hooks, forms, drivers, public functions, jobs, schedules, and runs that the API or the
//! command line asks for.
//!
//! ```text
//!   api, class4, jobs, cli ── RunsHandle ──► actor thread ── Desk ── ScriptHost ── worker processes, or this process
//!                                              │    ▲
//!                                              ▼    │ outcomes
//!                                         host operations
//! ```
//!
//! [`Desk`] decides: who waits, who runs, when a run has taken too long, when it is over. It knows neither thread nor clock. The
//! actor gives it both, and carries out what scripts ask for.

mod actor;
mod desk;
mod handle;
mod host_ops;
mod lines;
mod request;
#[cfg(test)]
mod tests;
mod workers;

pub use actor::{RunsConfig, RunsThread, ScriptPlace};
pub use desk::{Desk, DeskOutput, Order, Ticket};
pub use handle::{RunsHandle, RunsInbox};
pub use request::{RunError, RunFailure, RunKind, RunLog, RunRequest, RunSuccess, RunSummary, RunsEnded, RunsError, RunsStats};
pub use workers::{keep_workers, worker_topic};
