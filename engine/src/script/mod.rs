//! Scripts: what runs them, and what keeps them running.
//!
//! [`ScriptHost`] is the core's view: start a run, feed it entries, get back what it asks for. [`WorkerPool`] runs scripts in
//! worker processes, which it watches, kills and replaces; [`InProcess`] runs them in this process, on anybody's clock. Both
//! stand on [`Supervisor`], which owns journals, epochs and rebuilds and knows neither process nor clock.
//!
//! ```text
//!   core ── ScriptHost ──┬── WorkerPool ── Supervisor ── frames ── worker processes
//!                        └── InProcess ─── Supervisor ── frames ── js::Worker
//! ```
//!
//! [`programs`] finds the scripts themselves, and new versions of them.

mod environment;
mod host;
mod in_process;
mod pool;
mod probe;
mod process;
pub mod programs;
pub mod supervisor;

pub use environment::Environment;
pub use host::{Moment, ScriptHost, ScriptOutput, ScriptStats, StartRun, TurnOutput};
pub use in_process::InProcess;
pub use pool::{PoolConfig, WorkerPool};
pub use process::{WorkerError, worker_main};
pub use programs::{Program, ProgramLimits, ProgramSet, digest_of, version_of};
pub use supervisor::Supervisor;
