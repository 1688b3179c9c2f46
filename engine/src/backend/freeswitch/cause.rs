//! Hangup causes: Q.850 by FreeSWITCH's names, and the SIP codes they stand for (RFC 3398).

use lockstep_sip::message::StatusCode;

/// Name, and SIP code that a caller gets for it; the first of a code is the one sent for it.
const CAUSES: [(&str, u16); 40] = [
    ("NORMAL_CLEARING", 200),
    ("UNALLOCATED_NUMBER", 404),
    ("NO_ROUTE_TRANSIT_NET", 404),
    ("NO_ROUTE_DESTINATION", 404),
    ("USER_BUSY", 486),
    ("USER_BUSY", 600),
    ("NO_USER_RESPONSE", 408),
    ("NO_ANSWER", 480),
    ("USER_NOT_REGISTERED", 480),
    ("SUBSCRIBER_ABSENT", 480),
    ("NORMAL_UNSPECIFIED", 480),
    ("ALLOTTED_TIMEOUT", 480),
    ("PROGRESS_TIMEOUT", 480),
    ("CALL_REJECTED", 603),
    ("CALL_REJECTED", 403),
    ("NUMBER_CHANGED", 410),
    ("REDIRECTION_TO_NEW_DESTINATION", 410),
    ("EXCHANGE_ROUTING_ERROR", 483),
    ("DESTINATION_OUT_OF_ORDER", 502),
    ("INVALID_NUMBER_FORMAT", 484),
    ("FACILITY_REJECTED", 501),
    ("NORMAL_CIRCUIT_CONGESTION", 503),
    ("NETWORK_OUT_OF_ORDER", 503),
    ("NORMAL_TEMPORARY_FAILURE", 503),
    ("SWITCH_CONGESTION", 503),
    ("REQUESTED_CHAN_UNAVAIL", 503),
    ("GATEWAY_DOWN", 503),
    ("OUTGOING_CALL_BARRED", 403),
    ("INCOMING_CALL_BARRED", 403),
    ("BEARERCAPABILITY_NOTAUTH", 403),
    ("BEARERCAPABILITY_NOTAVAIL", 503),
    ("SERVICE_NOT_IMPLEMENTED", 501),
    ("INCOMPATIBLE_DESTINATION", 488),
    ("RECOVERY_ON_TIMER_EXPIRE", 504),
    ("MANDATORY_IE_MISSING", 400),
    ("ORIGINATOR_CANCEL", 487),
    ("LOSE_RACE", 487),
    ("MANAGER_REQUEST", 487),
    ("MEDIA_TIMEOUT", 408),
    ("INTERWORKING", 500),
];

/// The SIP code a cause stands for.
pub(super) fn code_of(cause: &str) -> u16 {
    CAUSES.iter().find(|(name, _)| *name == cause).map_or(500, |(_, code)| *code)
}

/// The cause sent for a SIP code.
pub(super) fn cause_of(code: u16) -> &'static str {
    let exact = CAUSES.iter().find(|(_, own)| *own == code).map(|(name, _)| *name);
    exact.unwrap_or(match code {
        200..300 => "NORMAL_CLEARING",
        400..500 => "NORMAL_UNSPECIFIED",
        600..700 => "CALL_REJECTED",
        _ => "NORMAL_TEMPORARY_FAILURE",
    })
}

/// A code's standard phrase, or the one for clearing a call in order.
pub(super) fn phrase(code: u16) -> &'static str {
    if code == 200 { "Normal Clearing" } else { StatusCode::new(code).map_or("", StatusCode::default_reason) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_codes_match_both_ways() {
        for (code, cause) in [(404, "UNALLOCATED_NUMBER"), (486, "USER_BUSY"), (480, "NO_ANSWER"), (603, "CALL_REJECTED")] {
            assert_eq!((cause_of(code), code_of(cause)), (cause, code));
        }
        assert_eq!(
            (cause_of(499), cause_of(600), cause_of(599)),
            ("NORMAL_UNSPECIFIED", "USER_BUSY", "NORMAL_TEMPORARY_FAILURE")
        );
        assert_eq!(code_of("SOMETHING_NEW"), 500);
    }
}
