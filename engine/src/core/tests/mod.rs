//! Whole calls in memory: the switch, a script runtime and phones on one clock, without a socket or a thread.

mod accounts;
mod branches;
mod challenges;
mod class4;
mod incoming;
mod joining;
pub(crate) mod lab;
mod lab_world;
mod leading;
mod limits;
mod outgoing;
mod scripts;
mod torture;
mod trunks;
mod watching;
