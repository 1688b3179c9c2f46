//! The seam between the lockstep rules and a media server.

use std::time::Instant;

use crate::error::CallEndedCause;
use crate::event::Event;
use crate::op::{Op, OpId};
use crate::outcome::OpResult;

/// Carries out the operations of one call on one media server.
///
/// The caller drains [`poll_output`](Self::poll_output) until it yields [`BackendOutput::Timeout`] after every other method.
/// Every submitted operation yields exactly one [`BackendOutput::Completed`], cancelled or not; after
/// [`BackendOutput::Ended`] no operation is pending any more.
pub trait CallBackend {
    /// Starts `op`. Never blocks; whether two operations may run at once is the queue's business, not the backend's.
    fn submit(&mut self, now: Instant, id: OpId, op: Op);
    /// Asks that operation `id` stop within one packet time. Exactly one `Completed` still follows.
    fn cancel(&mut self, now: Instant, id: OpId);
    /// Tells that time has passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The next thing that happened, or when to call again.
    fn poll_output(&mut self) -> BackendOutput;
}

/// What a backend reports.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendOutput {
    Completed {
        id: OpId,
        result: OpResult,
    },
    Event(Event),
    /// A line for the call's log: what went wrong and cost the script nothing.
    Warning(String),
    /// The call is over; said once, after the last `Completed`.
    Ended(CallEndedCause),
    /// Nothing more now; call `handle_timeout` then, if ever.
    Timeout(Option<Instant>),
}
