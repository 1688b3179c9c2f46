//! Counters for metrics.

/// What an endpoint has seen since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub requests_received: u64,
    pub responses_received: u64,
    /// Line breaks only, sent to keep a path open.
    pub keepalives: u64,
    /// Messages that could not be understood, answered or not.
    pub malformed: u64,
    /// Responses and ACKs that belong to nothing we know.
    pub unmatched: u64,
    /// Repeated requests that a transaction absorbed.
    pub retransmissions_received: u64,
    /// Requests and responses of ours that were sent again.
    pub retransmissions_sent: u64,
    /// Requests refused without state: malformed, unsupported or unroutable ones.
    pub refused: u64,
    /// Requests answered with 503 because a table was full or the engine asked for it.
    pub overloaded: u64,
    /// Requests of ours that went to another destination after one failed.
    pub failovers: u64,
    /// 2xx responses of ours that were never acknowledged.
    pub ack_timeouts: u64,
}
