//! The JavaScript side: one QuickJS runtime per run, fed entry by entry.
//!
//! [`Worker`] is sans-IO: frames in, frames out, used by simulations and `lockstep run` as it is. [`run_worker`] puts it behind
//! a socket in a process of its own. Nothing here reads a clock, a network, or a file but those of the system's time zones: whatever
//! a script learns arrives in an entry, which is what makes a run a function of its journal.

mod boot;
mod compile;
mod compiled;
mod convert;
mod cost;
mod deadline;
mod errors;
mod globals;
mod heap;
mod host;
mod hosted;
mod image;
mod imports;
mod json;
mod marks;
mod memory;
mod modules;
mod natives;
mod ops;
mod packages;
mod prelude;
mod process;
mod program;
mod rest;
mod run;
mod sandbox;
mod shareable;
mod shared;
mod time_zone;
mod tokens;
mod value;
mod warm;
pub mod worker;

pub use compiled::Compiled;
pub use cost::{FixedCost, fixed_cost};
pub use json::{Branch as JsonBranch, Part as JsonPart, Parts as JsonParts, Tree as JsonTree};
pub use marks::MARK;
pub use process::{WorkerExit, run_worker};
pub use program::{check, module_problem};
pub use worker::{NoProbe, TurnProbe, Worker};

/// Version of the prelude's behaviour. A journal recorded under another one may not replay to the same operations.
pub const PRELUDE_VERSION: u32 = 9;

/// Operations one turn may issue; the next one rejects with `LimitError`.
pub const MAX_OPS_PER_TURN: usize = crate::wire::MAX_ISSUED;

/// What the arguments of one turn's operations may take, in bytes; the next one rejects with `LimitError`. They lie outside of the
/// script's own memory, and the frame that carries them takes no more.
pub const MAX_ASKED_BYTES: usize = 15 << 20;
