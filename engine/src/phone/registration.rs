//! An address the softphone keeps registered.

use std::time::Instant;

use lockstep_sip::endpoint::{Endpoint, Failure, RequestId};
use lockstep_sip::message::{Response, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::outbound_registration::OutboundRegistrationConfig;
use tokio::sync::oneshot;

use super::config::PhoneError;
use super::handle::RegisterCommand;
use super::upkeep::{Change, Upkeep};

/// One registration and who waits for its first outcome.
pub(super) struct Registration {
    upkeep: Upkeep,
    user: String,
    reply: Option<oneshot::Sender<Result<(), PhoneError>>>,
    over: bool,
}

impl Registration {
    pub(super) fn new(command: RegisterCommand, contact: Uri, destinations: Vec<Destination>, now: Instant) -> Self {
        let user = command.credentials.username.clone();
        let config = OutboundRegistrationConfig {
            registrar: command.registrar,
            address: command.address,
            username: command.credentials.username,
            password: command.credentials.password,
            expires: command.expires,
        };
        let upkeep = Upkeep::new(now, config, contact, destinations, rand::random());
        Self { upkeep, user, reply: Some(command.reply), over: false }
    }

    /// Whether `id` is its REGISTER.
    pub(super) fn sent(&self, id: RequestId) -> bool {
        self.upkeep.sent(id)
    }

    /// Unregistered, or refused before it ever was registered.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// When it wants to refresh.
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
            match change {
                Change::Registered => self.reply(Ok(())),
                Change::Failed(reason) => {
                    // Whoever asked is told; a registration that was up before goes on trying.
                    if self.reply.is_some() {
                        self.over = true;
                        let user = self.user.clone();
                        self.reply(Err(PhoneError::Registration { user, reason }));
                    }
                }
                Change::Unregistered => self.over = true,
            }
        }
    }

    fn reply(&mut self, outcome: Result<(), PhoneError>) {
        if let Some(reply) = self.reply.take() {
            // The caller may have stopped waiting.
            let _ = reply.send(outcome);
        }
    }
}
