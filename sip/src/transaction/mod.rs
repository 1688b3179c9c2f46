//! The four transactions of RFC 3261 section 17, with RFC 6026, as state machines that hold neither messages nor sockets.
//!
//! Each takes `now` and what happened, and says what its owner must do. Its next deadline is `next_timeout()`; at that time call
//! `handle_timeout` until it gives `None`.

mod client_invite;
mod client_non_invite;
mod server_invite;
mod server_non_invite;
mod timer;

pub use self::client_invite::ClientInviteTransaction;
pub use self::client_non_invite::ClientNonInviteTransaction;
pub use self::server_invite::{AckAction, ServerInviteTransaction};
pub use self::server_non_invite::ServerNonInviteTransaction;
pub use self::timer::{Timer, TimerConfig};

/// What to do with a response that matched a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseAction {
    /// Hand it to the user.
    Deliver,
    /// Hand it to the user and send the ACK of a non-2xx (RFC 3261 17.1.1.3).
    DeliverAndAck,
    /// A repeated final response: send the ACK again, tell nobody.
    AckAgain,
    /// Drop it.
    Ignore,
}

/// What a client transaction wants when a timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientTimeout {
    /// Send the request again.
    Retransmit,
    /// No response came; tell the user. The transaction is terminated.
    TimedOut,
    /// The transaction is terminated; forget it.
    Terminated,
}

/// What a server transaction wants when a timer fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerTimeout {
    /// The user has been silent for 200 ms: send 100 Trying.
    SendTrying,
    /// Send the last response again.
    Retransmit,
    /// No ACK came for a non-2xx. The transaction is terminated.
    NoAck,
    /// The transaction is terminated; forget it.
    Terminated,
}

#[cfg(test)]
mod test_clock {
    use std::time::{Duration, Instant};

    /// Some time to count from.
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock; all later times are computed")]
    pub(super) fn epoch() -> Instant {
        Instant::now()
    }

    /// Runs a transaction's timers for `length`: what each wake-up gave, with its time in milliseconds.
    pub(super) fn run<A>(
        start: Instant,
        length: Duration,
        mut next: impl FnMut(Option<Instant>) -> (Option<Instant>, Option<A>),
    ) -> Vec<(u128, A)> {
        let mut seen = Vec::new();
        let (mut at, _) = next(None);
        while let Some(now) = at.filter(|at| *at <= start + length) {
            let (after, action) = next(Some(now));
            if let Some(action) = action {
                seen.push(((now - start).as_millis(), action));
            }
            at = after;
        }
        seen
    }
}
