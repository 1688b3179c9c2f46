//! A softphone without a sound card: it dials, waits for calls, plays files, presses keys and keeps what it hears.
//!
//! It stands on the `sip` and `media` crates and on nothing else of the engine, so that it can test the engine from outside.
//!
//! ```text
//!   Phone, PhoneCall ──commands──► driver thread: sip::Endpoint, Transports ──► media task of each call: MediaStream, sockets
//!                    ◄──events────                                          ◄──
//! ```

mod call;
mod capture;
mod config;
mod driver;
mod event;
mod handle;
mod media;
mod outcome;
mod registration;
mod track;
mod upkeep;
mod wav;

pub use capture::{Capture, Continuity, Heard};
pub use config::{Credentials, Dial, PhoneConfig, PhoneError};
pub use event::{Ended, EndedBy, PhoneEvent};
pub use handle::{Phone, PhoneCall};
pub(crate) use outcome::{credentials, ended_by, terminated_by};
pub(crate) use track::Track;
pub(crate) use upkeep::{Change, Upkeep};
pub use wav::write_g711 as write_g711_wav;
