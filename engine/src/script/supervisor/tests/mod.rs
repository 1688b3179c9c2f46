//! The supervisor under a manual clock, with workers that only pretend.

mod bounds;
mod deaths;
mod fleet;
mod placing;
mod stalls;
mod timers;
