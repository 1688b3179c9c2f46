//! The event socket's wire format, for both of its ends: frames, commands, replies, events. Sans-IO.
//!
//! ```text
//!   client ── command line, headers, blank line [, body] ──► server       "sendmsg\nevent-lock: true\n\n"
//!   client ◄── headers, blank line [, body] ──────────────── server       "Content-Type: command/reply\nReply-Text: +OK\n\n"
//!                                 └─ an event: headers [, blank line, body], percent-encoded, or JSON, or XML
//! ```
//!
//! Everything a peer sends is bounded by [`Limits`]; what breaks the format is a [`FrameError`], after which the connection
//! cannot be used any more.

mod command;
mod event;
mod frame;
mod headers;
mod message;
mod percent;

pub use command::{Command, Unsendable};
pub use event::{Event, EventError};
pub use frame::{Frame, FrameError, FrameReader, Limits};
pub use headers::Headers;
pub use message::{Kind, Message, Notice};
pub use percent::{decode, encode};

#[cfg(test)]
mod tests;
