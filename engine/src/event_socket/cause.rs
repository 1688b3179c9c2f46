//! Hangup causes: their names on event sockets, their numbers in Q.850, and what they are in SIP (RFC 3398).

/// A cause by which a channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// `NORMAL_CLEARING`
    pub(super) name: &'static str,
    /// Its number; causes beyond Q.850 have ones from 487 on.
    pub(super) q850: u16,
    /// The final response that says it; `None`: the call was simply hung up.
    sip: Option<u16>,
}

const fn cause(name: &'static str, q850: u16, sip: u16) -> Cause {
    Cause { name, q850, sip: Some(sip) }
}

/// The cause of a call that was hung up without any trouble.
pub(super) const NORMAL_CLEARING: Cause = Cause { name: "NORMAL_CLEARING", q850: 16, sip: None };
const NORMAL_UNSPECIFIED: Cause = cause("NORMAL_UNSPECIFIED", 31, 480);

const CAUSES: &[Cause] = &[
    cause("UNALLOCATED_NUMBER", 1, 404),
    cause("NO_ROUTE_TRANSIT_NET", 2, 404),
    cause("NO_ROUTE_DESTINATION", 3, 404),
    cause("CHANNEL_UNACCEPTABLE", 6, 480),
    NORMAL_CLEARING,
    cause("USER_BUSY", 17, 486),
    cause("NO_USER_RESPONSE", 18, 408),
    cause("NO_ANSWER", 19, 480),
    cause("SUBSCRIBER_ABSENT", 20, 480),
    cause("CALL_REJECTED", 21, 603),
    cause("NUMBER_CHANGED", 22, 410),
    cause("REDIRECTION_TO_NEW_DESTINATION", 23, 410),
    cause("EXCHANGE_ROUTING_ERROR", 25, 483),
    cause("DESTINATION_OUT_OF_ORDER", 27, 502),
    cause("INVALID_NUMBER_FORMAT", 28, 484),
    cause("FACILITY_REJECTED", 29, 501),
    NORMAL_UNSPECIFIED,
    cause("NORMAL_CIRCUIT_CONGESTION", 34, 503),
    cause("NETWORK_OUT_OF_ORDER", 38, 503),
    cause("NORMAL_TEMPORARY_FAILURE", 41, 503),
    cause("SWITCH_CONGESTION", 42, 503),
    cause("REQUESTED_CHAN_UNAVAIL", 44, 503),
    cause("OUTGOING_CALL_BARRED", 52, 403),
    cause("INCOMING_CALL_BARRED", 54, 403),
    cause("BEARERCAPABILITY_NOTAUTH", 57, 403),
    cause("BEARERCAPABILITY_NOTAVAIL", 58, 503),
    cause("SERVICE_UNAVAILABLE", 63, 405),
    cause("BEARERCAPABILITY_NOTIMPL", 65, 488),
    cause("FACILITY_NOT_SUBSCRIBED", 50, 501),
    cause("SERVICE_NOT_IMPLEMENTED", 79, 501),
    cause("INCOMPATIBLE_DESTINATION", 88, 488),
    cause("RECOVERY_ON_TIMER_EXPIRE", 102, 504),
    cause("INTERWORKING", 127, 500),
    cause("ORIGINATOR_CANCEL", 487, 487),
    cause("ATTENDED_TRANSFER", 601, 480),
    cause("MANAGER_REQUEST", 503, 480),
    cause("ALLOTTED_TIMEOUT", 602, 480),
    cause("MEDIA_TIMEOUT", 604, 480),
    cause("PROGRESS_TIMEOUT", 607, 480),
    cause("GATEWAY_DOWN", 609, 503),
];

impl Cause {
    /// By its name, in any case of letters, or by its Q.850 number.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let number: Option<u16> = text.parse().ok();
        CAUSES.iter().find(|cause| cause.name.eq_ignore_ascii_case(text) || number == Some(cause.q850)).copied()
    }

    /// By exactly its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        CAUSES.iter().find(|cause| cause.name == name).copied()
    }

    /// The cause of a call that a SIP response, or the code of a Reason, has ended.
    pub(super) fn of_sip(code: u16) -> Self {
        let name = match code {
            200..300 => return NORMAL_CLEARING,
            300..400 => "REDIRECTION_TO_NEW_DESTINATION",
            401 | 402 | 403 | 407 | 603 | 608 => "CALL_REJECTED",
            404 => "UNALLOCATED_NUMBER",
            485 | 604 => "NO_ROUTE_DESTINATION",
            408 | 504 => "RECOVERY_ON_TIMER_EXPIRE",
            410 => "NUMBER_CHANGED",
            413 | 414 | 416 | 420 | 421 | 423 | 505 | 513 => "INTERWORKING",
            480 => "NO_USER_RESPONSE",
            400 | 481 | 500 | 503 => "NORMAL_TEMPORARY_FAILURE",
            486 | 600 => "USER_BUSY",
            484 => "INVALID_NUMBER_FORMAT",
            488 | 606 => "INCOMPATIBLE_DESTINATION",
            502 => "NETWORK_OUT_OF_ORDER",
            405 => "SERVICE_UNAVAILABLE",
            406 | 415 | 501 => "SERVICE_NOT_IMPLEMENTED",
            482 | 483 => "EXCHANGE_ROUTING_ERROR",
            487 => "ORIGINATOR_CANCEL",
            _ => return NORMAL_UNSPECIFIED,
        };
        Self::parse(name).unwrap_or(NORMAL_UNSPECIFIED)
    }

    /// The SIP code to end a call with, and the words for it; none: it is simply hung up. A call that was answered ends well
    /// by a normal cause, whichever it is; many clients name this one where they name none.
    pub(super) fn to_sip(self, is_answered: bool) -> (Option<u16>, Option<String>) {
        let code = if is_answered && self == NORMAL_UNSPECIFIED { Some(200) } else { self.sip };
        (code, code.map(|_| self.name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_have_their_names_and_numbers() {
        assert_eq!(Cause::parse("user_busy").map(|cause| (cause.q850, cause.to_sip(true).0)), Some((17, Some(486))));
        assert_eq!(Cause::parse("16"), Some(NORMAL_CLEARING));
        assert_eq!(NORMAL_CLEARING.to_sip(false), (None, None));
        assert_eq!(Cause::parse("NO_SUCH_CAUSE"), None);
    }

    #[test]
    fn a_normal_cause_is_no_failure_of_a_call_that_was_answered() {
        let words = Some("NORMAL_UNSPECIFIED".to_owned());
        assert_eq!(NORMAL_UNSPECIFIED.to_sip(true), (Some(200), words.clone()));
        assert_eq!(NORMAL_UNSPECIFIED.to_sip(false), (Some(480), words));
    }

    #[test]
    fn every_sip_code_has_a_cause_that_is_known() {
        for code in 200..700 {
            let name = Cause::of_sip(code).name;
            assert!(Cause::parse(name).is_some(), "{code} {name}");
        }
        assert_eq!(Cause::of_sip(486).name, "USER_BUSY");
        assert_eq!(Cause::of_sip(503).q850, 41);
    }
}
