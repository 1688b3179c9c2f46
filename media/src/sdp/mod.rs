//! SDP (RFC 8866) and what two sides agree on with it (RFC 3264).
//!
//! [`SessionDescription`] is the text, read leniently and written strictly. [`OfferAnswer`] is one side of the exchange
//! for one call leg. [`Negotiated`] is its result. Attributes of ICE, DTLS and BUNDLE are read over: a peer that insists
//! on them offers a profile that is refused.

mod description;
mod direction;
mod error;
mod negotiation;
mod offer_answer;
mod remote;
#[cfg(test)]
mod tests;

pub use description::{Attribute, ConnectionAddress, MediaDescription, Origin, SessionDescription};
pub use direction::Direction;
pub use error::SdpError;
pub use negotiation::{Negotiated, TelephoneEventTypes};
pub use offer_answer::{LocalMedia, OfferAnswer};
