//! Keeping an address registered: the REGISTERs of a phone through its endpoint, the same for every phone.

use std::time::Instant;

use lockstep_sip::endpoint::{Endpoint, Failure, RequestId};
use lockstep_sip::message::{Response, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::outbound_registration::{
    Failure as RegistrationFailure, OutboundRegistration, OutboundRegistrationConfig, RegistrationOutput,
};

/// A registration that is kept up until it is taken back. After every call of a method [`Upkeep::poll_change`] tells what came of it.
pub(crate) struct Upkeep {
    core: OutboundRegistration,
    contact: Uri,
    from_tag: String,
    destinations: Vec<Destination>,
    /// The REGISTER under way, with its CSeq.
    under_way: Option<(RequestId, u32)>,
}

/// How a registration stands now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Registered,
    /// Why; it goes on trying.
    Failed(String),
    Unregistered,
}

impl Upkeep {
    /// A registration of `contact`, to be begun by [`Self::handle_timeout`].
    pub(crate) fn new(
        now: Instant,
        config: OutboundRegistrationConfig,
        contact: Uri,
        destinations: Vec<Destination>,
        seed: [u8; 32],
    ) -> Self {
        let from_tag = seed.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { core: OutboundRegistration::new(config, seed, now), contact, from_tag, destinations, under_way: None }
    }

    /// Whether `id` is its REGISTER.
    pub(crate) fn sent(&self, id: RequestId) -> bool {
        self.under_way.is_some_and(|(request, _)| request == id)
    }

    /// When it wants to refresh.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    /// The time of [`Self::deadline`] has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(now);
    }

    /// Its REGISTER was answered.
    pub(crate) fn handle_response(&mut self, now: Instant, response: &Response) {
        if let Some((_, cseq)) = self.under_way.take() {
            self.core.handle_response(now, cseq, &self.contact, response);
        }
    }

    /// Its REGISTER was refused, or not answered.
    pub(crate) fn handle_failure(&mut self, now: Instant, failure: &Failure) {
        if let Failure::Response(response) = failure {
            return self.handle_response(now, response);
        }
        if let Some((_, cseq)) = self.under_way.take() {
            let failure = match failure {
                Failure::Transport => RegistrationFailure::Unreachable,
                Failure::Response(_) | Failure::Timeout | Failure::Cancelled | Failure::Unusable | Failure::DialogEnded => {
                    RegistrationFailure::Timeout
                }
            };
            self.core.handle_failure(now, cseq, failure);
        }
    }

    /// Takes it back.
    pub(crate) fn unregister(&mut self, now: Instant) {
        self.core.unregister(now);
    }

    /// What has changed; sends what is to be sent on the way.
    pub(crate) fn poll_change(&mut self, now: Instant, endpoint: &mut Endpoint) -> Option<Change> {
        loop {
            return match self.core.poll_output()? {
                RegistrationOutput::Send(register) => {
                    let cseq = register.cseq;
                    let request = register.into_request(self.contact.clone(), &self.from_tag, self.destinations.clone());
                    match endpoint.request_out_of_dialog(now, request) {
                        Ok(id) => self.under_way = Some((id, cseq)),
                        Err(_) => self.core.handle_failure(now, cseq, RegistrationFailure::Unreachable),
                    }
                    continue;
                }
                RegistrationOutput::Registered { .. } => Some(Change::Registered),
                RegistrationOutput::Failed { failure, .. } => Some(Change::Failed(failure.to_string())),
                RegistrationOutput::Unregistered => Some(Change::Unregistered),
            };
        }
    }
}
