//! The registration of a phone: kept up, refreshed, taken back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lockstep_sip::endpoint::{Endpoint, Failure, RequestId};
use lockstep_sip::message::{Response, SipUri, Uri};
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::outbound_registration::{
    Failure as RegistrationFailure, OutboundRegistration, OutboundRegistrationConfig, RegistrationOutput,
};

use super::{PhoneSettings, contact, host_of};

/// The lifetime asked for.
const EXPIRES: Duration = Duration::from_secs(3_600);

/// How a registration stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RegistrationState {
    #[default]
    Absent,
    Pending,
    Registered,
    Failed(String),
}

/// See the module.
pub(super) struct Registration {
    core: OutboundRegistration,
    contact: Uri,
    from_tag: String,
    destination: Destination,
    /// The REGISTER under way, with its CSeq.
    under_way: Option<(RequestId, u32)>,
    state: RegistrationState,
}

impl Registration {
    pub(super) fn new(now: Instant, settings: &PhoneSettings, address: SocketAddr, engine: SocketAddr, seed: [u8; 32]) -> Self {
        let config = OutboundRegistrationConfig {
            registrar: Uri::Sip(SipUri::new(None, host_of(engine), Some(engine.port()))),
            address: Uri::Sip(SipUri::new(Some(&settings.user), host_of(engine), Some(engine.port()))),
            username: settings.user.clone(),
            password: settings.password.clone().unwrap_or_default(),
            expires: EXPIRES,
        };
        let from_tag = seed.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self {
            core: OutboundRegistration::new(config, seed, now),
            contact: contact(&settings.user, address),
            from_tag,
            destination: Destination { local: Some(address), ..Destination::new(Protocol::Udp, engine) },
            under_way: None,
            state: RegistrationState::Pending,
        }
    }

    pub(super) fn state(&self) -> RegistrationState {
        self.state.clone()
    }

    /// Whether `id` is its REGISTER.
    pub(super) fn sent(&self, id: RequestId) -> bool {
        self.under_way.is_some_and(|(request, _)| request == id)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.core.handle_timeout(now);
        self.drain(now, endpoint);
    }

    pub(super) fn handle_response(&mut self, now: Instant, endpoint: &mut Endpoint, response: &Response) {
        if let Some((_, cseq)) = self.under_way.take() {
            self.core.handle_response(now, cseq, &self.contact, response);
            self.drain(now, endpoint);
        }
    }

    pub(super) fn handle_failure(&mut self, now: Instant, endpoint: &mut Endpoint, failure: &Failure) {
        if let Failure::Response(response) = failure {
            return self.handle_response(now, endpoint, response);
        }
        if let Some((_, cseq)) = self.under_way.take() {
            let failure = match failure {
                Failure::Transport => RegistrationFailure::Unreachable,
                Failure::Response(_) | Failure::Timeout | Failure::Cancelled | Failure::DialogEnded => {
                    RegistrationFailure::Timeout
                }
            };
            self.core.handle_failure(now, cseq, failure);
            self.drain(now, endpoint);
        }
    }

    pub(super) fn unregister(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.core.unregister(now);
        self.drain(now, endpoint);
    }

    fn drain(&mut self, now: Instant, endpoint: &mut Endpoint) {
        while let Some(output) = self.core.poll_output() {
            match output {
                RegistrationOutput::Send(register) => {
                    let cseq = register.cseq;
                    let request = register.into_request(self.contact.clone(), &self.from_tag, vec![self.destination]);
                    match endpoint.request_out_of_dialog(now, request) {
                        Ok(id) => self.under_way = Some((id, cseq)),
                        Err(_) => self.core.handle_failure(now, cseq, RegistrationFailure::Unreachable),
                    }
                }
                RegistrationOutput::Registered { .. } => self.state = RegistrationState::Registered,
                RegistrationOutput::Failed { failure, .. } => self.state = RegistrationState::Failed(failure.to_string()),
                RegistrationOutput::Unregistered => self.state = RegistrationState::Absent,
            }
        }
    }
}
