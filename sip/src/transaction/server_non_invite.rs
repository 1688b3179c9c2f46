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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_clock::{epoch, run};
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn wake_ups(t: &mut ServerNonInviteTransaction, start: Instant) -> Vec<(u128, ServerTimeout)> {
        run(start, DAY, |now| {
            let action = now.and_then(|now| t.handle_timeout(now));
            (t.next_timeout(), action)
        })
    }

    fn start(reliable: bool) -> (Instant, ServerNonInviteTransaction) {
        let now = epoch();
        (now, ServerNonInviteTransaction::start(now, TimerConfig::default(), reliable))
    }

    #[test]
    fn the_response_is_repeated_until_timer_j() {
        for (reliable, timer_j) in [(false, 32_000), (true, 0)] {
            let (now, mut t) = start(reliable);
            assert!(!t.handle_retransmission(), "nothing to repeat yet");
            assert!(t.respond(now, StatusCode::OK));
            assert!(!t.respond(now, StatusCode::OK), "answered already");
            assert!(t.handle_retransmission());
            assert_eq!(wake_ups(&mut t, now), [(timer_j, ServerTimeout::Terminated)]);
            assert!(!t.handle_retransmission());
        }
    }

    #[test]
    fn a_provisional_response_is_repeated_too() {
        let (now, mut t) = start(false);
        assert!(t.respond(now, StatusCode::TRYING));
        assert!(t.handle_retransmission() && t.is_unanswered());
    }

    #[test]
    fn an_answer_nobody_waits_for_is_not_sent() {
        let (now, mut t) = start(true);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ServerTimeout::Terminated)]);
        assert!(!t.respond(now, StatusCode::OK));
    }
}
