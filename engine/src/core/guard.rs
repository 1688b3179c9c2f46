//! Limits of what customers may call, so that a stolen password or a runaway script costs no fortune.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::exchange::CallKey;
use crate::call::LookupId;
use crate::cdr::DAY_MS;
use crate::config::{Customer, CustomerLimits};
use crate::script::Moment;

/// Which limit a call would go past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exceeded {
    Rate,
    Concurrent,
    Spend,
}

impl Exceeded {
    /// Reply, and after how many seconds another try makes sense.
    pub(crate) fn reply(self) -> (u16, &'static str, Option<u32>) {
        match self {
            Self::Rate => (503, "Call Rate Exceeded", Some(1)),
            Self::Concurrent => (503, "Too Many Concurrent Calls", Some(5)),
            Self::Spend => (403, "Spending Limit Reached", None),
        }
    }
}

/// What one customer is doing.
#[derive(Debug)]
struct Book {
    /// Calls that may begin at once: what has gathered of `calls_per_second`, up to a second's worth.
    tokens: f64,
    filled: Instant,
    live: BTreeMap<CallKey, Live>,
    /// Days since the Unix epoch, UTC, that `spent` is of.
    day: u64,
    spent: f64,
}

/// A call under way.
#[derive(Debug, Default)]
struct Live {
    /// The next number it dials was counted when it was let in.
    prepaid: bool,
    /// Numbers that it dials or talks to.
    numbers: BTreeSet<LookupId>,
}

impl Live {
    /// How much of `concurrent` it takes.
    fn weight(&self) -> usize {
        self.numbers.len().max(1)
    }
}

/// All customers with limits.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    books: BTreeMap<i64, Book>,
}

impl Guard {
    /// A customer spends, or had spent before the engine started.
    pub(crate) fn spend(&mut self, now: Moment, customer: i64, cost: f64) {
        let book = self.book(now, customer);
        book.spent += cost;
    }

    /// Lets a call in that is to dial a number at once.
    pub(crate) fn admit(&mut self, now: Moment, customer: &Customer, call: CallKey) -> Result<(), Exceeded> {
        self.count(now, customer, call)?;
        self.book(now, customer.id).live.insert(call, Live { prepaid: true, ..Live::default() });
        Ok(())
    }

    /// Lets a call dial a number.
    pub(crate) fn dial(&mut self, now: Moment, customer: &Customer, call: CallKey, number: LookupId) -> Result<(), Exceeded> {
        let live = self.book(now, customer.id).live.get_mut(&call);
        if !live.is_some_and(|live| std::mem::take(&mut live.prepaid)) {
            self.count(now, customer, call)?;
        }
        self.book(now, customer.id).live.entry(call).or_default().numbers.insert(number);
        Ok(())
    }

    /// A number is neither dialled nor talked to any more.
    pub(crate) fn number_over(&mut self, customer: i64, call: CallKey, number: LookupId) {
        if let Some(live) = self.books.get_mut(&customer).and_then(|book| book.live.get_mut(&call)) {
            live.numbers.remove(&number);
        }
    }

    /// A call is over.
    pub(crate) fn release(&mut self, customer: i64, call: CallKey) {
        if let Some(book) = self.books.get_mut(&customer) {
            book.live.remove(&call);
        }
    }

    fn count(&mut self, now: Moment, customer: &Customer, call: CallKey) -> Result<(), Exceeded> {
        let CustomerLimits { calls_per_second, concurrent, spend_per_day } = customer.limits;
        let book = self.book(now, customer.id);
        if spend_per_day.is_some_and(|most| book.spent >= most) {
            return Err(Exceeded::Spend);
        }
        let weight = |(key, live): (&CallKey, &Live)| if *key == call { live.numbers.len() } else { live.weight() };
        let under_way = || book.live.iter().map(weight).sum::<usize>();
        if concurrent.is_some_and(|most| under_way() >= usize::try_from(most).unwrap_or(usize::MAX)) {
            return Err(Exceeded::Concurrent);
        }
        if let Some(rate) = calls_per_second {
            let burst = rate.max(1.0);
            let gathered = now.instant.saturating_duration_since(book.filled).as_secs_f64() * rate;
            book.tokens = (book.tokens + gathered).min(burst);
            book.filled = now.instant;
            if book.tokens < 1.0 {
                return Err(Exceeded::Rate);
            }
            book.tokens -= 1.0;
        }
        Ok(())
    }

    fn book(&mut self, now: Moment, customer: i64) -> &mut Book {
        let day = now.unix_ms / DAY_MS;
        // A burst of any size is a second's worth at most: what is full here is cut to the rate when it is used.
        let new = || Book { tokens: f64::INFINITY, filled: now.instant, live: BTreeMap::new(), day, spent: 0.0 };
        let book = self.books.entry(customer).or_insert_with(new);
        if book.day != day {
            (book.day, book.spent) = (day, 0.0);
        }
        book
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn customer(limits: &str) -> Customer {
        toml::from_str(&format!("id = 12\nlimits = {{ {limits} }}")).unwrap()
    }

    fn start() -> Moment {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
        let instant = Instant::now();
        Moment { instant, unix_ms: 10 * DAY_MS }
    }

    fn later(now: Moment, ms: u64) -> Moment {
        Moment { instant: now.instant + Duration::from_millis(ms), unix_ms: now.unix_ms + ms }
    }

    #[test]
    fn calls_come_at_their_rate_and_a_seconds_worth_at_once() {
        let (mut guard, customer, now) = (Guard::default(), customer("calls_per_second = 2"), start());
        let mut begin = |now, call| guard.admit(now, &customer, CallKey(call));
        assert_eq!([begin(now, 1), begin(now, 2), begin(now, 3)], [Ok(()), Ok(()), Err(Exceeded::Rate)]);
        assert_eq!(begin(later(now, 499), 3), Err(Exceeded::Rate));
        assert_eq!(begin(later(now, 500), 3), Ok(()));
        assert_eq!(begin(later(now, 999), 4), Err(Exceeded::Rate));
    }

    #[test]
    fn slow_rates_let_the_first_call_in() {
        let (mut guard, customer, now) = (Guard::default(), customer("calls_per_second = 0.1"), start());
        assert_eq!(guard.admit(now, &customer, CallKey(1)), Ok(()));
        assert_eq!(guard.admit(later(now, 9_000), &customer, CallKey(2)), Err(Exceeded::Rate));
        assert_eq!(guard.admit(later(now, 10_001), &customer, CallKey(2)), Ok(()));
    }

    #[test]
    fn a_call_that_was_let_in_is_counted_once_and_frees_its_place() {
        let (mut guard, customer, now) = (Guard::default(), customer("concurrent = 1, calls_per_second = 1"), start());
        assert_eq!(guard.admit(now, &customer, CallKey(1)), Ok(()));
        assert_eq!(guard.dial(now, &customer, CallKey(1), LookupId(1)), Ok(()), "its first number");
        let second = (CallKey(1), LookupId(2));
        assert_eq!(guard.dial(now, &customer, second.0, second.1), Err(Exceeded::Concurrent), "its second, beside the first");
        guard.number_over(12, CallKey(1), LookupId(1));
        assert_eq!(guard.dial(now, &customer, second.0, second.1), Err(Exceeded::Rate), "its second, after the first");
        assert_eq!(guard.admit(later(now, 1_000), &customer, CallKey(2)), Err(Exceeded::Concurrent));
        guard.release(12, CallKey(1));
        assert_eq!(guard.admit(later(now, 2_000), &customer, CallKey(2)), Ok(()));
    }

    #[test]
    fn spending_is_limited_a_day() {
        let (mut guard, customer, now) = (Guard::default(), customer("spend_per_day = 5"), start());
        guard.spend(now, 12, 4.99);
        assert_eq!(guard.admit(now, &customer, CallKey(1)), Ok(()));
        guard.spend(now, 12, 0.01);
        assert_eq!(guard.admit(now, &customer, CallKey(2)), Err(Exceeded::Spend));
        assert_eq!(guard.admit(later(now, DAY_MS), &customer, CallKey(2)), Ok(()), "another day");
    }
}
