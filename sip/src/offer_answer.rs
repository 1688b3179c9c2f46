//! Which message of a dialog carries an offer and which an answer (RFC 3264, RFC 3261 13.2.1, RFC 6337). Bodies are opaque here.

use bytes::Bytes;

/// What a session description means where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Offer,
    Answer,
    /// A further description after the answer in the same INVITE exchange: a 2xx repeats the one of the 183. It should be the same;
    /// peers that change it expect the new one to count.
    AnswerAgain,
}

/// A session description received or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub role: Role,
    pub sdp: Bytes,
}
