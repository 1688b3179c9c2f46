//! An address the softphone keeps registered.

use std::time::Instant;

use lockstep_sip::endpoint::{Endpoint, Failure, RequestId};
use lockstep_sip::message::{Response, Uri};
use lockstep_sip::net::Destination;
use lockstep_sip::outbound_registration::{
    Failure as RegistrationFailure, OutboundRegistration, OutboundRegistrationConfig, RegistrationOutput,
};
use tokio::sync::oneshot;

use super::config::PhoneError;
use super::handle::RegisterCommand;

/// One registration and who waits for its first outcome.
pub(super) struct Registration {
    core: OutboundRegistration,
    user: String,
    contact: Uri,
    from_tag: String,
    destinations: Vec<Destination>,
    /// The REGISTER under way, with its CSeq.
    under_way: Option<(RequestId, u32)>,
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
        Self {
            core: OutboundRegistration::new(config, rand::random(), now),
            user,
            contact,
            from_tag: format!("{:016x}", rand::random::<u64>()),
            destinations,
            under_way: None,
            reply: Some(command.reply),
            over: false,
        }
    }

    /// Whether `id` is its REGISTER.
    pub(super) fn sent(&self, id: RequestId) -> bool {
        self.under_way.is_some_and(|(request, _)| request == id)
    }

    /// Unregistered, or refused before it ever was registered.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// When it wants to refresh.
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
                    let request = register.into_request(self.contact.clone(), &self.from_tag, self.destinations.clone());
                    match endpoint.request_out_of_dialog(now, request) {
                        Ok(id) => self.under_way = Some((id, cseq)),
                        Err(_) => self.core.handle_failure(now, cseq, RegistrationFailure::Unreachable),
                    }
                }
                RegistrationOutput::Registered { .. } => self.reply(Ok(())),
                RegistrationOutput::Failed { failure, .. } => {
                    // Whoever asked is told; a registration that was up before goes on trying.
                    if self.reply.is_some() {
                        self.over = true;
                        let user = self.user.clone();
                        self.reply(Err(PhoneError::Registration { user, reason: failure.to_string() }));
                    }
                }
                RegistrationOutput::Unregistered => self.over = true,
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
