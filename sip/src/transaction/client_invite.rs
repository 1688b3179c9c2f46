//! The INVITE client transaction (RFC 3261 17.1.1, RFC 6026 7.2, 8.4).
//!
//! ```text
//!  Calling ──1xx──► Proceeding        A: retransmit (unreliable)      B: timed out
//!  Calling, Proceeding ──2xx──► Accepted                              M: terminated
//!  Calling, Proceeding ──300-699──► Completed (ACK)                   D: terminated
//!  Proceeding, cancelled                                              C: timed out
//! ```

use std::time::{Duration, Instant};

use super::timer::Running;
use super::{ClientTimeout, ResponseAction, Timer, TimerConfig};
use crate::message::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling { interval: Duration },
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

/// State machine of one INVITE we sent.
#[derive(Clone, Debug)]
pub struct ClientInviteTransaction {
    state: State,
    timers: Running,
    config: TimerConfig,
    reliable: bool,
}

impl ClientInviteTransaction {
    /// Starts when the request is sent the first time.
    #[must_use]
    pub fn start(now: Instant, config: TimerConfig, reliable: bool) -> ClientInviteTransaction {
        let mut timers = Running::default();
        if !reliable {
            timers.start(Timer::A, now + config.duration(Timer::A, reliable));
        }
        timers.start(Timer::B, now + config.duration(Timer::B, reliable));
        ClientInviteTransaction { state: State::Calling { interval: config.t1 }, timers, config, reliable }
    }

    pub fn handle_response(&mut self, now: Instant, status: StatusCode) -> ResponseAction {
        match self.state {
            State::Calling { .. } | State::Proceeding => {
                if status.is_provisional() {
                    if matches!(self.state, State::Calling { .. }) {
                        self.timers.stop_all();
                        self.state = State::Proceeding;
                    }
                    ResponseAction::Deliver
                } else if status.is_success() {
                    self.enter(State::Accepted, Timer::M, now);
                    ResponseAction::Deliver
                } else {
                    self.enter(State::Completed, Timer::D, now);
                    ResponseAction::DeliverAndAck
                }
            }
            State::Completed => {
                if status.is_final() && !status.is_success() {
                    ResponseAction::AckAgain
                } else {
                    ResponseAction::Ignore
                }
            }
            // Every further 2xx, a repeated one or one of another branch, is the user's to acknowledge.
            State::Accepted => {
                if status.is_success() {
                    ResponseAction::Deliver
                } else {
                    ResponseAction::Ignore
                }
            }
            State::Terminated => ResponseAction::Ignore,
        }
    }

    /// The CANCEL was sent: the INVITE must end within 64·T1, final response or not (RFC 3261 9.1).
    pub fn cancelled(&mut self, now: Instant) {
        match self.state {
            State::Proceeding => self.timers.start(Timer::C, now + self.config.duration(Timer::C, self.reliable)),
            State::Calling { .. } | State::Completed | State::Accepted | State::Terminated => {}
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<ClientTimeout> {
        let timer = self.timers.expired(now)?;
        match (timer, self.state) {
            (Timer::A, State::Calling { interval }) => {
                let interval = interval * 2;
                self.state = State::Calling { interval };
                self.timers.start(Timer::A, now + interval);
                Some(ClientTimeout::Retransmit)
            }
            (Timer::B, State::Calling { .. }) | (Timer::C, State::Proceeding) => {
                self.terminate();
                Some(ClientTimeout::TimedOut)
            }
            (Timer::D, State::Completed) | (Timer::M, State::Accepted) => {
                self.terminate();
                Some(ClientTimeout::Terminated)
            }
            // Entering a state stops the timers of the one that was left.
            (_, _) => None,
        }
    }

    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether no response has come yet, so that another destination may be tried.
    #[must_use]
    pub fn is_calling(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    /// Whether only provisional responses have come, so that a CANCEL makes sense.
    #[must_use]
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    fn enter(&mut self, state: State, timer: Timer, now: Instant) {
        self.timers.stop_all();
        self.timers.start(timer, now + self.config.duration(timer, self.reliable));
        self.state = state;
    }

    fn terminate(&mut self) {
        self.timers.stop_all();
        self.state = State::Terminated;
    }
}
