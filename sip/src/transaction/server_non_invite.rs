//! The non-INVITE server transaction (RFC 3261 17.2.2).
//!
//! ```text
//!  Trying ──1xx──► Proceeding                    J: terminated, as nobody waits any longer
//!  Trying, Proceeding ──200-699──► Completed     J: terminated
//! ```

use std::time::Instant;

use super::timer::Running;
use super::{ServerTimeout, Timer, TimerConfig};
use crate::message::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// State machine of one request we received, INVITE and ACK excepted.
#[derive(Clone, Debug)]
pub struct ServerNonInviteTransaction {
    state: State,
    timers: Running,
    config: TimerConfig,
    reliable: bool,
}

impl ServerNonInviteTransaction {
    /// Starts when the request arrives the first time.
    #[must_use]
    pub fn start(now: Instant, config: TimerConfig, reliable: bool) -> ServerNonInviteTransaction {
        let mut timers = Running::default();
        timers.start(Timer::J, now + config.patience());
        ServerNonInviteTransaction { state: State::Trying, timers, config, reliable }
    }

    /// The request again: whether to repeat the last response.
    #[must_use]
    pub fn handle_retransmission(&self) -> bool {
        match self.state {
            State::Proceeding | State::Completed => true,
            State::Trying | State::Terminated => false,
        }
    }

    /// The user sends a response: whether it may go out.
    pub fn respond(&mut self, now: Instant, status: StatusCode) -> bool {
        match self.state {
            State::Trying | State::Proceeding => {
                if status.is_final() {
                    self.state = State::Completed;
                    self.timers.start(Timer::J, now + self.config.duration(Timer::J, self.reliable));
                } else {
                    self.state = State::Proceeding;
                }
                true
            }
            State::Completed | State::Terminated => false,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<ServerTimeout> {
        let timer = self.timers.expired(now)?;
        match (timer, self.state) {
            (Timer::J, State::Trying | State::Proceeding | State::Completed) => {
                self.timers.stop_all();
                self.state = State::Terminated;
                Some(ServerTimeout::Terminated)
            }
            // Entering a state stops the timers of the one that was left.
            (_, _) => None,
        }
    }

    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether no final response has been sent.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self.state, State::Trying | State::Proceeding)
    }
}
