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

    /// Sends no more, though a response may come until timer B: whoever sent it has gone elsewhere.
    pub fn fall_silent(&mut self) {
        self.timers.stop(Timer::A);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::test_clock::{epoch, run};
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn wake_ups(t: &mut ClientInviteTransaction, start: Instant) -> Vec<(u128, ClientTimeout)> {
        run(start, DAY, |now| {
            let action = now.and_then(|now| t.handle_timeout(now));
            (t.next_timeout(), action)
        })
    }

    fn start(reliable: bool) -> (Instant, ClientInviteTransaction) {
        let now = epoch();
        (now, ClientInviteTransaction::start(now, TimerConfig::default(), reliable))
    }

    #[test]
    fn timer_a_doubles_until_timer_b_gives_up() {
        let (now, mut t) = start(false);
        let seen = wake_ups(&mut t, now);
        let retransmissions: Vec<_> = seen.iter().filter(|(_, a)| *a == ClientTimeout::Retransmit).map(|(at, _)| *at).collect();
        assert_eq!(retransmissions, [500, 1500, 3500, 7500, 15_500, 31_500]);
        assert_eq!(seen.last(), Some(&(32_000, ClientTimeout::TimedOut)));
    }

    #[test]
    fn reliable_transports_run_timer_b_alone() {
        let (now, mut t) = start(true);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ClientTimeout::TimedOut)]);
    }

    #[test]
    fn one_that_has_fallen_silent_takes_a_response_until_timer_b() {
        let (now, mut t) = start(false);
        t.fall_silent();
        assert_eq!(wake_ups(&mut t, now), [(32_000, ClientTimeout::TimedOut)]);
        let (now, mut t) = start(false);
        t.fall_silent();
        assert_eq!(t.handle_response(now, StatusCode::TRYING), ResponseAction::Deliver);
        t.cancelled(now);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ClientTimeout::TimedOut)]);
    }

    #[test]
    fn a_provisional_response_stops_both() {
        let (now, mut t) = start(false);
        assert_eq!(t.handle_response(now, StatusCode::RINGING), ResponseAction::Deliver);
        assert!(t.is_proceeding() && !t.is_calling());
        assert_eq!(wake_ups(&mut t, now), []);
    }

    #[test]
    fn a_failure_is_acknowledged_again_until_timer_d() {
        for (reliable, timer_d) in [(false, 32_000), (true, 0)] {
            let (now, mut t) = start(reliable);
            assert_eq!(t.handle_response(now, StatusCode::BUSY_HERE), ResponseAction::DeliverAndAck);
            assert_eq!(t.handle_response(now, StatusCode::BUSY_HERE), ResponseAction::AckAgain);
            assert_eq!(t.handle_response(now, StatusCode::RINGING), ResponseAction::Ignore);
            assert_eq!(t.handle_response(now, StatusCode::OK), ResponseAction::Ignore);
            assert_eq!(wake_ups(&mut t, now), [(timer_d, ClientTimeout::Terminated)]);
            assert_eq!(t.handle_response(now, StatusCode::BUSY_HERE), ResponseAction::Ignore);
        }
    }

    #[test]
    fn every_2xx_is_delivered_until_timer_m() {
        let (now, mut t) = start(false);
        t.handle_response(now, StatusCode::RINGING);
        for _ in 0..3 {
            assert_eq!(t.handle_response(now, StatusCode::OK), ResponseAction::Deliver);
        }
        assert_eq!(t.handle_response(now, StatusCode::BUSY_HERE), ResponseAction::Ignore);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ClientTimeout::Terminated)]);
    }

    #[test]
    fn timer_c_ends_a_cancelled_invite() {
        let (now, mut t) = start(false);
        t.handle_response(now, StatusCode::RINGING);
        t.cancelled(now);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ClientTimeout::TimedOut)]);
    }
}
