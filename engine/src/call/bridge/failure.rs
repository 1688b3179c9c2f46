//! What a bridge came to without anybody joined: which failure decides, and what it means for the script.

use lockstep_ctx_api::EndedBy;
use lockstep_ctx_api::outcome::BridgeStatus;

/// What a target, or a leg, came to.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) reason: String,
    pub(super) by: EndedBy,
}

impl Failure {
    /// Somebody has answered, or nobody can, and it led to nothing.
    pub(super) fn unavailable(by: EndedBy) -> Self {
        Self { code: 480, reason: "Temporarily Unavailable".to_owned(), by }
    }

    pub(super) fn too_late() -> Self {
        Self { code: 408, reason: "Request Timeout".to_owned(), by: EndedBy::Engine }
    }
}

/// Whether a final response is the callee's, whichever gateway it comes through: busy, taken back, declined, or taken for
/// unwanted (RFC 8197, RFC 8688). Of numbers that are not found and of all else gateways often speak for themselves.
pub(crate) fn is_callees_word(code: u16) -> bool {
    matches!(code, 486 | 487 | 600 | 603 | 607 | 608)
}

/// What a final response means for the script.
pub(crate) fn status_of(code: u16) -> BridgeStatus {
    match code {
        486 | 600 => BridgeStatus::Busy,
        408 | 480 => BridgeStatus::NoAnswer,
        487 => BridgeStatus::Cancelled,
        _ => BridgeStatus::Failed,
    }
}

/// Which of several failures is told (RFC 3261 16.7 step 6): 6xx, then the lowest class; within 4xx busy before no answer
/// before the rest, because that is what the caller can act upon.
pub(crate) fn preference(code: u16) -> u16 {
    match code {
        600.. => 0,
        486 => 1,
        480 | 408 => 2,
        300..500 => 3,
        _ => 4,
    }
}
