//! The timers of RFC 3261 (table in appendix A) and RFC 6026, and the few an individual transaction keeps running.

use std::time::{Duration, Instant};

/// A transaction timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// INVITE client: retransmit the request; starts at T1, doubles. Unreliable transports only.
    A,
    /// INVITE client: give up without any response; 64·T1.
    B,
    /// INVITE client: give up a proceeding INVITE after CANCEL; 64·T1 (RFC 3261 9.1). Takes the place of the proxies' timer C.
    C,
    /// INVITE client: absorb repeated non-2xx; at least 32 s, 0 for reliable transports.
    D,
    /// Non-INVITE client: retransmit the request; starts at T1, doubles up to T2. Unreliable transports only.
    E,
    /// Non-INVITE client: give up; 64·T1.
    F,
    /// INVITE server: retransmit a non-2xx; starts at T1, doubles up to T2. Unreliable transports only.
    G,
    /// INVITE server: give up waiting for the ACK of a non-2xx; 64·T1.
    H,
    /// INVITE server: absorb repeated ACKs; T4, 0 for reliable transports.
    I,
    /// Non-INVITE server: absorb repeated requests; 64·T1, 0 for reliable transports. Before a response, the time after which nobody
    /// waits for one any more (RFC 4320).
    J,
    /// Non-INVITE client: absorb repeated responses; T4, 0 for reliable transports.
    K,
    /// INVITE server: absorb repeated INVITEs after a 2xx; 64·T1 (RFC 6026).
    L,
    /// INVITE client: collect further 2xx; 64·T1 (RFC 6026).
    M,
    /// INVITE server: 100 Trying when the user has not answered; 200 ms (RFC 3261 17.2.1).
    Trying,
}

/// The base values all timers derive from (RFC 3261 17.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerConfig {
    /// Round-trip time estimate.
    pub t1: Duration,
    /// The longest retransmission interval for non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// The longest time a message stays in the network.
    pub t4: Duration,
}

impl Default for TimerConfig {
    fn default() -> TimerConfig {
        TimerConfig { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

impl TimerConfig {
    /// 64·T1: how long a transaction waits for the other side.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.t1 * 64
    }

    /// The first value of a timer.
    #[must_use]
    pub fn duration(&self, timer: Timer, reliable: bool) -> Duration {
        let unless_reliable = |d| if reliable { Duration::ZERO } else { d };
        match timer {
            Timer::A | Timer::E | Timer::G => self.t1,
            Timer::B | Timer::C | Timer::F | Timer::H | Timer::L | Timer::M => self.patience(),
            Timer::D => unless_reliable(self.patience().max(Duration::from_secs(32))),
            Timer::I | Timer::K => unless_reliable(self.t4),
            Timer::J => unless_reliable(self.patience()),
            Timer::Trying => Duration::from_millis(200),
        }
    }
}

/// The running timers of one transaction: never more than two at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Running([Option<(Timer, Instant)>; 2]);

impl Running {
    /// Starts or restarts a timer.
    pub(super) fn start(&mut self, timer: Timer, at: Instant) {
        self.stop(timer);
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some((timer, at));
        } else {
            debug_assert!(false, "a transaction runs at most two timers");
        }
    }

    pub(super) fn stop(&mut self, timer: Timer) {
        for slot in &mut self.0 {
            if slot.is_some_and(|(running, _)| running == timer) {
                *slot = None;
            }
        }
    }

    pub(super) fn stop_all(&mut self) {
        self.0 = [None; 2];
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().map(|(_, at)| *at).min()
    }

    /// Takes the earliest timer that is due.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let slot =
            self.0.iter_mut().filter(|slot| slot.is_some_and(|(_, at)| at <= now)).min_by_key(|slot| slot.map(|(_, at)| at))?;
        slot.take().map(|(timer, _)| timer)
    }
}
