//! Programs: scripts as they lie in the scripts folder, each with its settings, its siblings and its version.

mod program;
mod set;

pub use program::{Program, ProgramLimits, version_of};
pub use set::{ProgramSet, ScriptProblem};
