//! What the endpoint tells the engine.

use std::sync::Arc;
use std::time::Instant;

use super::{DialogId, IncomingId, RequestId};
use crate::message::{Request, Response};
use crate::net::{Source, Transmit};
use crate::offer_answer::Description;

/// One result of [`Endpoint::poll_output`](super::Endpoint::poll_output).
#[derive(Debug)]
pub enum Output {
    /// Put this on the wire; tell failures of streams and ports with `handle_transport_error`.
    Transmit(Transmit),
    Event(Event),
    /// Nothing is left to do before this time, or before the next input.
    Timeout(Option<Instant>),
}

/// Something the engine must know, in the order it happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new call. Answer with `provisional`, `accept` or `reject`. The dialog can be used for UPDATE and INFO after a provisional
    /// response with a tag.
    Invite {
        id: IncomingId,
        dialog: DialogId,
        request: Arc<Request>,
        source: Source,
        /// `None`: the peer expects our offer in the 2xx (late offer).
        offer: Option<Description>,
    },
    /// The caller gave up before our final response, or its Expires ran out; 487 has been sent, the dialog is gone.
    Cancelled {
        id: IncomingId,
        dialog: DialogId,
        /// The CANCEL, or the BYE some callers send instead: its Reason says why. The INVITE itself when it expired.
        request: Arc<Request>,
    },
    /// The ACK for our 2xx arrived: of the first INVITE or of a later one.
    Acked {
        dialog: DialogId,
        /// The INVITE it acknowledges.
        id: IncomingId,
        request: Arc<Request>,
        /// The answer to the offer our 2xx carried, or a late repetition.
        description: Option<Description>,
    },
    /// No ACK within 64·T1 (RFC 3261 13.3.1.4); a BYE has been sent, `Terminated` follows.
    AckTimeout { dialog: DialogId, id: IncomingId },
    /// A provisional response to our INVITE, 100 excepted. Forking gives one dialog per To tag.
    Progress {
        id: RequestId,
        /// `None` when the response has no To tag.
        dialog: Option<DialogId>,
        response: Arc<Response>,
        description: Option<Description>,
    },
    /// A 2xx for our first INVITE. Other early dialogs of it are gone; later 2xx of others are acknowledged and ended silently.
    Answered {
        id: RequestId,
        dialog: DialogId,
        response: Arc<Response>,
        /// An offer here (the INVITE had none) must be answered with `ack`; otherwise the ACK has been sent.
        description: Option<Description>,
    },
    /// 401 or 407. Call `resend_with` or `abandon`; without either, `Failed` or `Response` follows after a while.
    ///
    /// An id that no command gave is that of a session refresh, or of a BYE of the endpoint's own accord, whose outcome is not told.
    Challenged {
        id: RequestId,
        /// The request as it was sent, for the digest's URI and body.
        request: Arc<Request>,
        response: Arc<Response>,
    },
    /// Our INVITE is over without a call; `Terminated` came before for each of its early dialogs.
    Failed { id: RequestId, failure: Failure },
    /// A request of the peer other than a first INVITE. Answer with `respond`.
    ///
    /// BYE, CANCEL, ACK, OPTIONS and UPDATE without a body within a dialog, and whatever must be refused, are answered before they get
    /// here.
    Request {
        id: IncomingId,
        dialog: Option<DialogId>,
        request: Arc<Request>,
        source: Source,
        /// An offer in a re-INVITE or UPDATE.
        description: Option<Description>,
    },
    /// The peer cancelled a re-INVITE before our final response; 487 has been sent, the dialog goes on as before. One whose `Request`
    /// has not been polled by then is not told at all.
    RequestCancelled { id: IncomingId, dialog: DialogId },
    /// A response to a request of ours other than a first INVITE. After a final one or a failure the id is gone.
    ///
    /// An id that no command gave is that of a session refresh of the endpoint's own (RFC 4028).
    Response {
        id: RequestId,
        dialog: Option<DialogId>,
        outcome: Result<Arc<Response>, Failure>,
        /// The answer, or, in a 2xx for a re-INVITE without an offer, the offer that `ack` must answer.
        description: Option<Description>,
    },
    /// A re-INVITE or UPDATE of ours may be sent again: it met one of the peer (491), and the RFC's wait is over (RFC 3261 14.1), or
    /// what it was refused for as `Pending` is over.
    GlareOver { dialog: DialogId },
    /// The dialog is over. Nothing more can be sent in it.
    Terminated { dialog: DialogId, cause: TerminationCause },
}

/// Why a request of ours got no useful answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// A final response other than 2xx, from the last destination tried.
    Response(Arc<Response>),
    /// No final response in time, from any destination.
    Timeout,
    /// No destination could be reached.
    Transport,
    /// Cancelled by us, and nobody answered in between (or the 2xx that crossed was acknowledged and ended).
    Cancelled,
    /// The INVITE was answered by a 2xx that makes no dialog: it cannot be read, or comes from one branch too many. As far as it tells
    /// where to, it has been acknowledged and ended.
    Unusable,
    /// The dialog ended while the request was under way.
    DialogEnded,
}

/// Why a dialog is over.
#[derive(Clone, Debug)]
pub enum TerminationCause {
    /// The peer's BYE; its Reason header says more.
    Bye(Arc<Request>),
    /// Our BYE was sent.
    LocalBye,
    /// No ACK arrived for a 2xx of ours.
    AckTimeout,
    /// The session timer ran out; a BYE has been sent (RFC 4028 10).
    SessionExpired,
    /// A request of ours got 481, 408 or no response at all (RFC 3261 12.2.1.2, RFC 5057).
    Lost,
    /// The early dialog's INVITE failed, was cancelled, or was answered by another branch.
    InviteOver,
}
