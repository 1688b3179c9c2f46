//! The endpoint against another endpoint, or against hand-written messages, over a network in memory whose clock jumps.

mod calls;
mod cancel;
mod challenge;
mod chaos;
mod destinations;
mod forking;
mod in_dialog;
mod lossy;
mod net;
mod refusals;
mod session_timers;
