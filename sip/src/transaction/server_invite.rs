//! The INVITE server transaction (RFC 3261 17.2.1, RFC 6026 7.1, 8.5).
//!
//! ```text
//!  Proceeding ──300-699──► Completed ──ACK──► Confirmed     G: retransmit (unreliable)  H: no ACK   I: terminated
//!  Proceeding ──2xx──► Accepted                             L: terminated
//! ```

use std::time::{Duration, Instant};

use super::timer::Running;
use super::{ServerTimeout, Timer, TimerConfig};
use crate::message::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding { responded: bool },
    Completed { interval: Duration },
    Confirmed,
    Accepted,
    Terminated,
}

/// What to do with an ACK that matched the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckAction {
    /// It acknowledges a 2xx: the user's to handle.
    Deliver,
    /// It acknowledged a non-2xx, or is stray.
    Absorb,
}

/// State machine of one INVITE we received.
#[derive(Clone, Debug)]
pub struct ServerInviteTransaction {
    state: State,
    timers: Running,
    config: TimerConfig,
    reliable: bool,
}

impl ServerInviteTransaction {
    /// Starts when the request arrives the first time.
    #[must_use]
    pub fn start(now: Instant, config: TimerConfig, reliable: bool) -> ServerInviteTransaction {
        let mut timers = Running::default();
        timers.start(Timer::Trying, now + config.duration(Timer::Trying, reliable));
        ServerInviteTransaction { state: State::Proceeding { responded: false }, timers, config, reliable }
    }

    /// The INVITE again: whether to repeat the last response. A 2xx is repeated by its own clock, not here (RFC 6026 7.1).
    #[must_use]
    pub fn handle_retransmission(&self) -> bool {
        match self.state {
            State::Proceeding { responded } => responded,
            State::Completed { .. } => true,
            State::Accepted | State::Confirmed | State::Terminated => false,
        }
    }

    pub fn handle_ack(&mut self, now: Instant) -> AckAction {
        match self.state {
            State::Completed { .. } => {
                self.enter(State::Confirmed, Timer::I, now);
                AckAction::Absorb
            }
            State::Accepted => AckAction::Deliver,
            State::Proceeding { .. } | State::Confirmed | State::Terminated => AckAction::Absorb,
        }
    }

    /// The user sends a response: whether it may go out.
    pub fn respond(&mut self, now: Instant, status: StatusCode) -> bool {
        match self.state {
            State::Proceeding { .. } => {
                if status.is_provisional() {
                    self.timers.stop(Timer::Trying);
                    self.state = State::Proceeding { responded: true };
                } else if status.is_success() {
                    self.enter(State::Accepted, Timer::L, now);
                } else {
                    self.enter(State::Completed { interval: self.config.t1 }, Timer::H, now);
                    if !self.reliable {
                        self.timers.start(Timer::G, now + self.config.duration(Timer::G, self.reliable));
                    }
                }
                true
            }
            State::Accepted => status.is_success(),
            State::Completed { .. } | State::Confirmed | State::Terminated => false,
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<ServerTimeout> {
        let timer = self.timers.expired(now)?;
        match (timer, self.state) {
            (Timer::Trying, State::Proceeding { .. }) => {
                self.state = State::Proceeding { responded: true };
                Some(ServerTimeout::SendTrying)
            }
            (Timer::G, State::Completed { interval }) => {
                let interval = (interval * 2).min(self.config.t2);
                self.state = State::Completed { interval };
                self.timers.start(Timer::G, now + interval);
                Some(ServerTimeout::Retransmit)
            }
            (Timer::H, State::Completed { .. }) => {
                self.terminate();
                Some(ServerTimeout::NoAck)
            }
            (Timer::I, State::Confirmed) | (Timer::L, State::Accepted) => {
                self.terminate();
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
    pub fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
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

    fn wake_ups(t: &mut ServerInviteTransaction, start: Instant) -> Vec<(u128, ServerTimeout)> {
        run(start, DAY, |now| {
            let action = now.and_then(|now| t.handle_timeout(now));
            (t.next_timeout(), action)
        })
    }

    fn start(reliable: bool) -> (Instant, ServerInviteTransaction) {
        let now = epoch();
        (now, ServerInviteTransaction::start(now, TimerConfig::default(), reliable))
    }

    #[test]
    fn trying_comes_after_200_ms_of_silence_only() {
        let (now, mut t) = start(false);
        assert!(!t.handle_retransmission(), "nothing to repeat yet");
        assert_eq!(wake_ups(&mut t, now), [(200, ServerTimeout::SendTrying)]);
        assert!(t.handle_retransmission());
        let (now, mut t) = start(false);
        assert!(t.respond(now, StatusCode::RINGING));
        assert_eq!(wake_ups(&mut t, now), []);
    }

    #[test]
    fn timer_g_repeats_a_failure_up_to_t2_until_timer_h() {
        let (now, mut t) = start(false);
        assert!(t.respond(now, StatusCode::BUSY_HERE));
        assert!(!t.respond(now, StatusCode::OK), "answered already");
        assert!(t.handle_retransmission());
        let seen = wake_ups(&mut t, now);
        let repeats: Vec<_> = seen.iter().filter(|(_, a)| *a == ServerTimeout::Retransmit).map(|(at, _)| *at).collect();
        assert_eq!(repeats, [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
        assert_eq!(seen.last(), Some(&(32_000, ServerTimeout::NoAck)));
    }

    #[test]
    fn reliable_transports_run_timer_h_alone() {
        let (now, mut t) = start(true);
        t.respond(now, StatusCode::BUSY_HERE);
        assert_eq!(wake_ups(&mut t, now), [(32_000, ServerTimeout::NoAck)]);
    }

    #[test]
    fn the_ack_of_a_failure_is_absorbed_until_timer_i() {
        for (reliable, timer_i) in [(false, 5000), (true, 0)] {
            let (now, mut t) = start(reliable);
            t.respond(now, StatusCode::BUSY_HERE);
            assert_eq!(t.handle_ack(now), AckAction::Absorb);
            assert_eq!(t.handle_ack(now), AckAction::Absorb);
            assert!(!t.handle_retransmission());
            assert_eq!(wake_ups(&mut t, now), [(timer_i, ServerTimeout::Terminated)]);
        }
    }

    #[test]
    fn after_a_2xx_invites_are_absorbed_and_acks_delivered_until_timer_l() {
        let (now, mut t) = start(false);
        assert!(t.respond(now, StatusCode::OK));
        assert!(!t.handle_retransmission());
        assert_eq!(t.handle_ack(now), AckAction::Deliver);
        assert!(!t.is_proceeding());
        assert_eq!(wake_ups(&mut t, now), [(32_000, ServerTimeout::Terminated)]);
        assert_eq!(t.handle_ack(now), AckAction::Absorb);
    }
}
