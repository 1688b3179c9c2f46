//! The non-INVITE client transaction (RFC 3261 17.1.2).
//!
//! ```text
//!  Trying ──1xx──► Proceeding                    E: retransmit (unreliable)   F: timed out
//!  Trying, Proceeding ──200-699──► Completed     K: terminated
//! ```

use std::time::{Duration, Instant};

use super::timer::Running;
use super::{ClientTimeout, ResponseAction, Timer, TimerConfig};
use crate::message::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying { interval: Duration },
    Proceeding,
    Completed,
    Terminated,
}

/// State machine of one request we sent, INVITE and ACK excepted.
#[derive(Clone, Debug)]
pub struct ClientNonInviteTransaction {
    state: State,
    timers: Running,
    config: TimerConfig,
    reliable: bool,
}

impl ClientNonInviteTransaction {
    /// Starts when the request is sent the first time.
    #[must_use]
    pub fn start(now: Instant, config: TimerConfig, reliable: bool) -> ClientNonInviteTransaction {
        let mut timers = Running::default();
        if !reliable {
            timers.start(Timer::E, now + config.duration(Timer::E, reliable));
        }
        timers.start(Timer::F, now + config.duration(Timer::F, reliable));
        ClientNonInviteTransaction { state: State::Trying { interval: config.t1 }, timers, config, reliable }
    }

    pub fn handle_response(&mut self, now: Instant, status: StatusCode) -> ResponseAction {
        match self.state {
            State::Trying { .. } | State::Proceeding => {
                if status.is_final() {
                    self.timers.stop_all();
                    self.timers.start(Timer::K, now + self.config.duration(Timer::K, self.reliable));
                    self.state = State::Completed;
                } else {
                    self.state = State::Proceeding;
                }
                ResponseAction::Deliver
            }
            State::Completed | State::Terminated => ResponseAction::Ignore,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<ClientTimeout> {
        let timer = self.timers.expired(now)?;
        match (timer, self.state) {
            (Timer::E, State::Trying { interval }) => {
                let interval = (interval * 2).min(self.config.t2);
                self.state = State::Trying { interval };
                self.timers.start(Timer::E, now + interval);
                Some(ClientTimeout::Retransmit)
            }
            (Timer::E, State::Proceeding) => {
                self.timers.start(Timer::E, now + self.config.t2);
                Some(ClientTimeout::Retransmit)
            }
            (Timer::F, State::Trying { .. } | State::Proceeding) => {
                self.terminate();
                Some(ClientTimeout::TimedOut)
            }
            (Timer::K, State::Completed) => {
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
    pub fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    fn terminate(&mut self) {
        self.timers.stop_all();
        self.state = State::Terminated;
    }
}
