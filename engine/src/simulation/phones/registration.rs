//! The registration of a phone: kept up, refreshed, taken back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lockstep_sip::endpoint::{Endpoint, Failure, RequestId};
use lockstep_sip::message::{Response, SipUri, Uri};
use lockstep_sip::net::{Destination, Protocol};
use lockstep_sip::outbound_registration::OutboundRegistrationConfig;

use super::{PhoneSettings, contact, host_of};
use crate::phone::{Change, Upkeep};

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
    upkeep: Upkeep,
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
        let destination = Destination { local: Some(address), ..Destination::new(Protocol::Udp, engine) };
        let upkeep = Upkeep::new(now, config, contact(&settings.user, address), vec![destination], seed);
        Self { upkeep, state: RegistrationState::Pending }
    }

    pub(super) fn state(&self) -> RegistrationState {
        self.state.clone()
    }

    /// Whether `id` is its REGISTER.
    pub(super) fn sent(&self, id: RequestId) -> bool {
        self.upkeep.sent(id)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.upkeep.deadline()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.upkeep.handle_timeout(now);
        self.drain(now, endpoint);
    }

    pub(super) fn handle_response(&mut self, now: Instant, endpoint: &mut Endpoint, response: &Response) {
        self.upkeep.handle_response(now, response);
        self.drain(now, endpoint);
    }

    pub(super) fn handle_failure(&mut self, now: Instant, endpoint: &mut Endpoint, failure: &Failure) {
        self.upkeep.handle_failure(now, failure);
        self.drain(now, endpoint);
    }

    pub(super) fn unregister(&mut self, now: Instant, endpoint: &mut Endpoint) {
        self.upkeep.unregister(now);
        self.drain(now, endpoint);
    }

    fn drain(&mut self, now: Instant, endpoint: &mut Endpoint) {
        while let Some(change) = self.upkeep.poll_change(now, endpoint) {
            self.state = match change {
                Change::Registered => RegistrationState::Registered,
                Change::Failed(why) => RegistrationState::Failed(why),
                Change::Unregistered => RegistrationState::Absent,
            };
        }
    }
}
