//! Programs: scripts as they lie in the scripts folder, each with its settings, its siblings and its version.

mod findings;
mod loader;
mod program;
mod reach;
mod save;
mod set;
mod watch;

pub use loader::{Loader, Reload, ScriptText};
pub(crate) use loader::{is_script, local_time_zone, zone_name};
pub use program::{Program, ProgramLimits, digest_of, version_of};
pub(crate) use reach::{means, of_another_app};
pub use save::{SaveError, SaveScript};
pub use set::{ProgramSet, ScriptProblem, have_same_name, is_called, share_a_name};
pub use watch::{Asked, Change, Order, SaveAnswer, Watch, watch};
