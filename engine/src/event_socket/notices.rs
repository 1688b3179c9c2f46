//! The messages by which the server says that it is going.

use bytes::Bytes;

use crate::esl::{Headers, Message};

/// What every client knows a connection to end with.
const GOODBYE: &str = "Disconnected, goodbye.\n";

fn notice(fields: &[(&str, &str)], body: &str) -> Bytes {
    let mut headers: Headers = [("Content-Type", "text/disconnect-notice")].into_iter().collect();
    for (name, value) in fields {
        headers.push(name, value);
    }
    let mut bytes = Vec::new();
    Message::with_body(headers, body.as_bytes().to_vec()).write(&mut bytes);
    bytes.into()
}

/// A connection ends.
pub(super) fn goodbye() -> Bytes {
    notice(&[], GOODBYE)
}

/// A connection ends because its call is over.
pub(super) fn call_over(call: &str) -> Bytes {
    notice(&[("Controlled-Session-UUID", call), ("Content-Disposition", "disconnect")], GOODBYE)
}

/// The call is over; the connection stays for a while.
pub(super) fn lingers(call: &str, seconds: Option<u32>) -> Bytes {
    let seconds = seconds.map_or_else(|| "-1".to_owned(), |seconds| seconds.to_string());
    notice(&[("Controlled-Session-UUID", call), ("Content-Disposition", "linger"), ("Linger-Time", &seconds)], "")
}

/// A client has not read what was sent to it.
pub(super) fn too_slow() -> Bytes {
    notice(&[("Content-Disposition", "disconnect")], "Disconnected: events were not read as fast as they came.\n")
}

/// A client has sent what is no command.
pub(super) fn malformed(why: &str) -> Bytes {
    notice(&[("Content-Disposition", "disconnect")], &format!("Disconnected: {why}.\n"))
}

/// The address is not on the list, or no more clients are taken.
pub(super) fn rejection(why: &str) -> Vec<u8> {
    let headers: Headers = [("Content-Type", "text/rude-rejection")].into_iter().collect();
    let mut bytes = Vec::new();
    Message::with_body(headers, format!("{why}\n")).write(&mut bytes);
    bytes
}
