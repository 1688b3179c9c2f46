//! Which message of a dialog carries an offer and which an answer (RFC 3264, RFC 3261 13.2.1, RFC 6337). Bodies are opaque here.
//!
//! ```text
//!  Stable ──offer sent──────► LocalOffer  ──answer received, or request refused──► Stable
//!  Stable ──offer received──► RemoteOffer ──answer sent, or request refused──────► Stable
//! ```

use bytes::Bytes;

/// What a session description means where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Offer,
    Answer,
    /// A further description after the answer in the same INVITE exchange: a 2xx repeats the one of the 183. It should be the same;
    /// peers that change it expect the new one to count. Once an UPDATE of the peer has renewed what was agreed, none is told.
    AnswerAgain,
}

/// A session description received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    pub role: Role,
    pub sdp: Bytes,
}

/// Where the exchange stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Stable,
    LocalOffer,
    RemoteOffer,
}

/// The peer's offer came at a moment when none is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferRefused {
    /// Ours is unanswered: 491 (RFC 3261 14.2, RFC 3311 5.2).
    #[error("an offer of ours is pending")]
    LocalPending,
    /// An earlier one of the peer is unanswered: 500 with Retry-After.
    #[error("an earlier offer of the peer is pending")]
    RemotePending,
}

/// The offer/answer state of one dialog.
#[derive(Clone, Debug, Default)]
pub struct OfferAnswer {
    state: State,
    /// We have accepted an offer of the peer since our last one was answered: what repeats that answer is out of date.
    is_renewed: bool,
}

impl OfferAnswer {
    /// Whether neither side waits for an answer.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.state == State::Stable
    }

    /// We send an offer: in an INVITE or UPDATE, or in the 2xx of an INVITE that had none.
    pub fn send_offer(&mut self) {
        self.state = State::LocalOffer;
        self.is_renewed = false;
    }

    /// The peer's INVITE or UPDATE arrived. An INVITE without an offer asks for one of ours, so it counts like one that has it.
    ///
    /// # Errors
    /// When an exchange is needed while another is unfinished; the request must be refused.
    pub fn receive_request(&mut self, sdp: Option<Bytes>, is_invite: bool) -> Result<Option<Description>, OfferRefused> {
        if sdp.is_none() && !is_invite {
            return Ok(None);
        }
        match self.state {
            State::LocalOffer => Err(OfferRefused::LocalPending),
            State::RemoteOffer => Err(OfferRefused::RemotePending),
            State::Stable => Ok(sdp.map(|sdp| {
                self.state = State::RemoteOffer;
                Description { role: Role::Offer, sdp }
            })),
        }
    }

    /// We send the final response to the peer's INVITE or UPDATE, which `had_offer` or not.
    ///
    /// A description in the 2xx of an INVITE without an offer is the offer.
    pub fn send_final(&mut self, had_offer: bool, success: bool, has_description: bool, is_invite: bool) {
        let makes_offer = !had_offer && is_invite && success && has_description;
        self.state = match self.state {
            State::RemoteOffer if had_offer => {
                self.is_renewed |= success;
                State::Stable
            }
            State::Stable if makes_offer => State::LocalOffer,
            unchanged @ (State::Stable | State::LocalOffer | State::RemoteOffer) => unchanged,
        };
    }

    /// A response to our INVITE or UPDATE arrived: what its description means.
    ///
    /// A provisional response cannot carry an offer, as nothing makes it arrive (RFC 3261 13.2.1); such a description is left alone.
    pub fn receive_response(
        &mut self,
        sdp: Option<Bytes>,
        is_final: bool,
        success: bool,
        had_offer: bool,
    ) -> Option<Description> {
        if is_final && !success {
            if had_offer {
                self.state = State::Stable;
            }
            return None;
        }
        let role = match (self.state, had_offer, sdp.is_some()) {
            (State::LocalOffer, true, true) => {
                self.state = State::Stable;
                Role::Answer
            }
            (State::LocalOffer, true, false) => {
                // A 2xx without the answer ends the exchange all the same; nothing else can.
                if success {
                    self.state = State::Stable;
                }
                return None;
            }
            (State::Stable | State::RemoteOffer, true, true) if self.is_renewed => return None,
            (State::Stable | State::RemoteOffer, true, true) => Role::AnswerAgain,
            (State::Stable, false, true) if success => {
                self.state = State::RemoteOffer;
                Role::Offer
            }
            (State::Stable | State::RemoteOffer | State::LocalOffer, _, _) => return None,
        };
        sdp.map(|sdp| Description { role, sdp })
    }

    /// We send the ACK of a 2xx: an offer in it is answered now, or never.
    pub fn send_ack(&mut self) {
        if self.state == State::RemoteOffer {
            self.state = State::Stable;
        }
    }

    /// The ACK for our 2xx arrived.
    pub fn receive_ack(&mut self, sdp: Option<Bytes>) -> Option<Description> {
        match self.state {
            State::LocalOffer => {
                self.state = State::Stable;
                sdp.map(|sdp| Description { role: Role::Answer, sdp })
            }
            State::Stable | State::RemoteOffer => None,
        }
    }

    /// The exchange ended without its answer: the request timed out or was cancelled.
    pub fn abandon(&mut self) {
        self.state = State::Stable;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp() -> Option<Bytes> {
        Some(Bytes::from_static(b"v=0\r\n"))
    }

    fn role(description: Option<Description>) -> Option<Role> {
        description.map(|d| d.role)
    }

    #[test]
    fn an_offer_in_the_invite_is_answered_once_and_then_repeated() {
        let mut oa = OfferAnswer::default();
        oa.send_offer();
        assert_eq!(role(oa.receive_response(None, false, false, true)), None);
        assert_eq!(role(oa.receive_response(sdp(), false, false, true)), Some(Role::Answer));
        assert_eq!(role(oa.receive_response(sdp(), true, true, true)), Some(Role::AnswerAgain));
        assert!(oa.is_stable());
    }

    #[test]
    fn an_answer_that_is_repeated_after_an_offer_of_the_peer_is_out_of_date() {
        for accepted in [true, false] {
            let mut oa = OfferAnswer::default();
            oa.send_offer();
            assert_eq!(role(oa.receive_response(sdp(), false, false, true)), Some(Role::Answer));
            assert_eq!(role(oa.receive_request(sdp(), false).expect("allowed")), Some(Role::Offer));
            oa.send_final(true, accepted, accepted, false);
            let repeated = oa.receive_response(sdp(), true, true, true);
            assert_eq!(role(repeated), (!accepted).then_some(Role::AnswerAgain));
        }
    }

    #[test]
    fn a_late_offer_comes_in_the_2xx_and_is_answered_by_the_ack() {
        let mut uac = OfferAnswer::default();
        assert_eq!(role(uac.receive_response(sdp(), false, false, false)), None);
        assert_eq!(role(uac.receive_response(sdp(), true, true, false)), Some(Role::Offer));
        assert!(!uac.is_stable());
        uac.send_ack();
        assert!(uac.is_stable());

        let mut uas = OfferAnswer::default();
        assert_eq!(uas.receive_request(None, true), Ok(None));
        uas.send_final(false, true, true, true);
        assert_eq!(uas.receive_request(sdp(), true), Err(OfferRefused::LocalPending));
        assert_eq!(role(uas.receive_ack(sdp())), Some(Role::Answer));
        assert!(uas.is_stable());
    }

    #[test]
    fn an_offer_on_an_unanswered_one_is_refused() {
        let mut oa = OfferAnswer::default();
        assert_eq!(role(oa.receive_request(sdp(), true).expect("allowed")), Some(Role::Offer));
        assert_eq!(oa.receive_request(sdp(), true), Err(OfferRefused::RemotePending));
        oa.send_final(true, false, false, true);
        assert!(oa.is_stable());
    }

    #[test]
    fn asking_for_an_offer_needs_a_finished_exchange_and_an_empty_update_does_not() {
        let mut oa = OfferAnswer::default();
        oa.send_offer();
        assert_eq!(oa.receive_request(None, true), Err(OfferRefused::LocalPending));
        assert_eq!(oa.receive_request(None, false), Ok(None));
    }

    #[test]
    fn a_refused_offer_leaves_things_as_they_were() {
        let mut oa = OfferAnswer::default();
        oa.send_offer();
        assert_eq!(role(oa.receive_response(None, true, false, true)), None);
        assert!(oa.is_stable());
    }
}
