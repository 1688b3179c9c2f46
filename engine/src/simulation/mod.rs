//! The engine in virtual time: its real SIP, media, call and script code on one clock and one network that a seed decides.
//!
//! ```text
//!   Phones ──► Network (seeded) ──► Switch ─ scripts in process
//!      ▲            ▲   │             │ orders
//!      └────────────┘   └─► EngineMedia ◄┘
//! ```
//!
//! What a running engine has threads and sockets for is done here by one loop: it delivers what arrives at a moment, lets
//! everybody act until nobody has anything left to do, and sets the clock to the next moment at which somebody has.
//! Time in which nothing happens costs nothing. Only transports are replaced: operations, prompts, digits, jitter and
//! retransmissions are the engine's own.

mod audio;
mod bench;
mod clock;
mod hosts;
mod http;
mod media;
mod network;
mod outside;
mod phones;
mod project;
pub(crate) mod rehearsal;
mod simulated;
#[cfg(test)]
mod tests;
mod world;

pub(crate) use audio::{ClipKind, speech};
pub use bench::simulate_calls;
pub(crate) use http::{Answer, LATENCY, Reply, UrlMatch};
pub(crate) use network::Conditions;
pub(crate) use phones::{Call, Hearing, PhoneCallId, PhoneError, PhoneId, PhoneSettings, RegistrationState, State, is_quiet};
pub(crate) use project::Project;
pub(crate) use simulated::{Options, Simulation};
