//! Which lines and branches of a script its tests have reached.
//!
//! [`instrument`] puts marks into a script's text, found by its syntax tree; the runtime tells of each mark that a run passes
//! (`lockstep_ctx_api::js::MARK`); [`Coverage`] counts them and leads the positions that the runtime speaks of back to the
//! text as it was written.

mod columns;
mod counts;
mod html;

mod instrument;
mod lcov;
mod marker;
mod summary;

pub(crate) use counts::{Counts, Coverage};

pub(crate) use html::write as write_html;
pub(crate) use instrument::{ArmKind, Branch, BranchKind, Instrumented, instrument};
pub(crate) use lcov::{read as read_lcov, write as write_lcov};
pub(crate) use summary::table;
