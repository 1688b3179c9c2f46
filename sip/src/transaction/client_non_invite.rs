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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_clock::{epoch, run};
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn wake_ups(t: &mut ClientNonInviteTransaction, start: Instant) -> Vec<(u128, ClientTimeout)> {
        run(start, DAY, |now| {
            let action = now.and_then(|now| t.handle_timeout(now));
            (t.next_timeout(), action)
        })
    }

    fn start(reliable: bool) -> (Instant, ClientNonInviteTransaction) {
        let now = epoch();
        (now, ClientNonInviteTransaction::start(now, TimerConfig::default(), reliable))
    }

    #[test]
    fn timer_e_doubles_up_to_t2_until_timer_f_gives_up() {
        let (now, mut t) = start(false);
        let seen = wake_ups(&mut t, now);
        let retransmissions: Vec<_> = seen.iter().filter(|(_, a)| *a == ClientTimeout::Retransmit).map(|(at, _)| *at).collect();
        assert_eq!(retransmissions, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(seen.last(), Some(&(32_000, ClientTimeout::TimedOut)));
    }

    #[test]
    fn reliable_transports_run_timer_f_alone() {
        let (now, mut t) = start(true);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ClientTimeout::TimedOut)]);
    }

    #[test]
    fn proceeding_retransmits_every_t2() {
        let (now, mut t) = start(false);
        assert_eq!(t.handle_response(now, StatusCode::TRYING), ResponseAction::Deliver);
        assert!(!t.is_trying());
        let seen = wake_ups(&mut t, now);
        assert_eq!(
            seen.get(..3),
            Some(&[(500, ClientTimeout::Retransmit), (4500, ClientTimeout::Retransmit), (8500, ClientTimeout::Retransmit)][..])
        );
        assert_eq!(seen.last(), Some(&(32_000, ClientTimeout::TimedOut)));
    }

    #[test]
    fn repeated_responses_are_absorbed_until_timer_k() {
        for (reliable, timer_k) in [(false, 5000), (true, 0)] {
            let (now, mut t) = start(reliable);
            assert_eq!(t.handle_response(now, StatusCode::OK), ResponseAction::Deliver);
            assert_eq!(t.handle_response(now, StatusCode::OK), ResponseAction::Ignore);
            assert_eq!(wake_ups(&mut t, now), [(timer_k, ClientTimeout::Terminated)]);
        }
    }
}
