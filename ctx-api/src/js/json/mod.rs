//! A run's data as JavaScript sees it: objects whose members are made when a script first touches them, and which go back as the
//! text they came in where nothing was changed (docs/decisions/0045-lazy-data.md).

mod members;
mod object;
mod parts;
mod print;
mod tape;

pub(super) use object::{install, read, touch};
pub use parts::{Branch, Part, Parts, Tree};
pub(super) use print::print;
