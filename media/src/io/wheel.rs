//! The wheel that says which legs are due: 256 slots of 1 ms.
//!
//! ```text
//! tick   … 511 │ 512  513  514 … 767 │ 768 …
//! slot     255 │  0    1    2  …  255│  0          an entry whose tick is a later round stays in its slot
//! ```
//!
//! A leg has at most one deadline. Moving it leaves the old entry behind; whoever takes an entry out compares its tick with
//! the leg's own and ignores what is out of date. Of a later round, such an entry is dropped when its slot is passed.

use std::time::{Duration, Instant};

const SLOTS: usize = 256;
const STEP: Duration = Duration::from_millis(1);

/// An entry that came due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) leg: u32,
    pub(super) tick: u64,
}

pub(super) struct Wheel {
    origin: Instant,
    /// The first tick that has not been taken out.
    next: u64,
    slots: Vec<Vec<Due>>,
    occupied: [u64; SLOTS / 64],
    later: Vec<Due>,
}

impl Wheel {
    pub(super) fn new(origin: Instant) -> Self {
        Self { origin, next: 0, slots: vec![Vec::new(); SLOTS], occupied: [0; SLOTS / 64], later: Vec::new() }
    }

    /// The tick at or after `deadline`: a leg is never called early.
    pub(super) fn tick_of(&self, deadline: Instant) -> u64 {
        let nanos = deadline.saturating_duration_since(self.origin).as_nanos();
        let tick = u64::try_from(nanos.div_ceil(STEP.as_nanos())).unwrap_or(u64::MAX);
        tick.max(self.next)
    }

    /// When a tick is.
    pub(super) fn instant_of(&self, tick: u64) -> Instant {
        self.origin + Duration::from_millis(tick)
    }

    /// Puts a leg in; `tick` comes from [`Self::tick_of`].
    pub(super) fn schedule(&mut self, leg: u32, tick: u64) {
        let slot = slot_of(tick);
        if let (Some(entries), Some(word)) = (self.slots.get_mut(slot), self.occupied.get_mut(slot / 64)) {
            entries.push(Due { leg, tick });
            *word |= 1 << (slot % 64);
        }
    }

    /// When to look again: the first occupied slot, `None` when all are empty.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let distance = (0..SLOTS as u64).find(|distance| self.is_occupied(slot_of(self.next + distance)))?;
        Some(self.instant_of(self.next + distance))
    }

    /// Appends everything due at `now` to `due`, earliest tick first. Of the entries in between that are due later, those stay
    /// that `is_current`.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<Due>, is_current: impl Fn(Due) -> bool) {
        let elapsed = now.saturating_duration_since(self.origin).as_millis();
        let current = u64::try_from(elapsed).unwrap_or(u64::MAX);
        if current < self.next {
            return;
        }
        // After a long sleep one round visits every slot; what is due is told by the entry, not by its slot.
        let first = due.len();
        for tick in self.next..=current.min(self.next + SLOTS as u64 - 1) {
            let slot = slot_of(tick);
            if !self.is_occupied(slot) {
                continue;
            }
            if let (Some(entries), Some(word)) = (self.slots.get_mut(slot), self.occupied.get_mut(slot / 64)) {
                for entry in entries.drain(..) {
                    if entry.tick <= current {
                        due.push(entry);
                    } else if is_current(entry) {
                        self.later.push(entry);
                    }
                }
                *word &= !(1 << (slot % 64));
                if !self.later.is_empty() {
                    entries.append(&mut self.later);
                    *word |= 1 << (slot % 64);
                }
            }
        }
        if current - self.next >= SLOTS as u64
            && let Some(new) = due.get_mut(first..)
        {
            new.sort_by_key(|entry| entry.tick);
        }
        self.next = current + 1;
    }

    fn is_occupied(&self, slot: usize) -> bool {
        self.occupied.get(slot / 64).is_some_and(|word| word & 1 << (slot % 64) != 0)
    }
}

fn slot_of(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin; time moves by addition")]
mod tests {
    use super::*;

    fn expire(wheel: &mut Wheel, at: Instant) -> Vec<(u32, u64)> {
        let mut due = Vec::new();
        wheel.expire(at, &mut due, |_| true);
        due.into_iter().map(|due| (due.leg, due.tick)).collect()
    }

    #[test]
    fn a_leg_is_due_at_the_step_after_its_deadline_and_never_before() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        let deadline = origin + Duration::from_micros(20_300);
        let tick = wheel.tick_of(deadline);
        wheel.schedule(7, tick);
        assert_eq!(wheel.next_wake(), Some(origin + Duration::from_millis(21)));
        assert_eq!(expire(&mut wheel, origin + Duration::from_micros(20_999)), []);
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(21)), [(7, 21)]);
        assert_eq!(wheel.next_wake(), None);
    }

    #[test]
    fn a_deadline_that_has_passed_is_due_at_the_next_step() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        expire(&mut wheel, origin + Duration::from_millis(100));
        let tick = wheel.tick_of(origin);
        assert_eq!(tick, 101);
        wheel.schedule(1, tick);
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(101)), [(1, 101)]);
    }

    #[test]
    fn deadlines_of_later_rounds_wait_for_their_round() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        for (leg, tick) in [(1, 5), (2, 5 + 256), (3, 5 + 512)] {
            wheel.schedule(leg, tick);
        }
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(5)), [(1, 5)]);
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(260)), []);
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(261)), [(2, 261)]);
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(600)), [(3, 517)]);
    }

    #[test]
    fn an_entry_that_is_out_of_date_is_dropped_before_its_round() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        for leg in 0..100 {
            wheel.schedule(leg, 5 + 256 * 10);
        }
        wheel.expire(origin + Duration::from_millis(5), &mut Vec::new(), |later| later.leg == 7);
        assert_eq!(wheel.slots.iter().map(Vec::len).sum::<usize>(), 1);
        wheel.expire(origin + Duration::from_millis(5 + 256), &mut Vec::new(), |_| false);
        assert_eq!(wheel.next_wake(), None);
    }

    #[test]
    fn after_a_long_sleep_everything_due_comes_once_in_order() {
        let origin = Instant::now();
        let mut wheel = Wheel::new(origin);
        let ticks = [3, 700, 256, 999, 1000, 1001];
        for (leg, tick) in (0..).zip(ticks) {
            wheel.schedule(leg, tick);
        }
        let due = expire(&mut wheel, origin + Duration::from_secs(1));
        assert_eq!(due, [(0, 3), (2, 256), (1, 700), (3, 999), (4, 1000)]);
        assert_eq!(expire(&mut wheel, origin + Duration::from_millis(1001)), [(5, 1001)]);
    }
}
