//! `lockstep test`: test files of scripts, run in virtual time.
//!
//! A test file is evaluated anew for each of its tests, on a stage of its own: an engine, phones and a network that nothing
//! has happened to yet, at the same virtual time. So tests do not depend on each other, and can run side by side.

mod file;
mod jobs;
mod listen;
mod mutate;
mod narrate;
mod options;
mod recorded;
mod runner;
mod session;
mod steps;
mod tap;
#[cfg(test)]
mod tests;
mod tone;
mod wait;
mod wav;

pub(crate) use file::{TestFile, below, find, is_test_file, project_of};
pub(crate) use mutate::{Mutant, run as run_mutants};
pub(crate) use narrate::story;
#[cfg(test)]
pub(crate) use options::Listed;
pub(crate) use recorded::write as write_recorded;
#[cfg(test)]
pub(crate) use runner::Verdict;
pub(crate) use runner::{Plan, Report, count, run};
pub(crate) use tap::{Tally, junit, tap};
