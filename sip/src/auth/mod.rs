//! Digest access authentication, both ways (RFC 3261 §22, RFC 7616, RFC 8760).
//!
//! [`Authenticator`] challenges and verifies what arrives; [`ClientAuth`] answers challenges to what we send.

mod client;
mod digest;
mod params;
mod place;
mod server;

pub use client::{ClientAuth, Refusal, Side};
pub use digest::Algorithm;
pub use params::ParamsError;
pub use server::{Authenticator, AuthenticatorConfig, Verdict};
