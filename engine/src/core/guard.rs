//! Limits of what customers may call, so that a stolen password or a runaway script costs no fortune.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::directory::Directory;
use super::exchange::{CallKey, LegKey};
use crate::call::{LegId, LookupId};
use crate::cdr::{CdrAttempt, DAY_MS};
use crate::config::{Customer, CustomerLimits};
use crate::script::Moment;

/// How often calls are looked at that are ended once too much is spent.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a call that is put through costs at least, as far as letting others in is concerned.
const RESERVED_MS: u64 = 60_000;

/// Attempts of one call that are kept; past that, the oldest that came to nothing gives way to a new one.
const MAX_ATTEMPTS: usize = 200;
/// Attempts of one call that were answered or are under way: beyond them it dials no gateway.
const MAX_COSTLY: usize = 5_000;

/// INVITEs to gateways, of calls under way.
pub(crate) type Attempts = BTreeMap<CallKey, Vec<(LegId, CdrAttempt)>>;

/// Whether another attempt of a call can be kept.
pub(crate) fn has_room(attempts: &Attempts, call: CallKey) -> bool {
    attempts.get(&call).is_none_or(|kept| kept.len() < MAX_COSTLY || kept.iter().any(came_to_nothing))
}

/// Keeps an attempt for the record of its call, and for what its customer spends.
pub(crate) fn keep(attempts: &mut Attempts, (call, leg): LegKey, attempt: CdrAttempt) {
    let kept = attempts.entry(call).or_default();
    if kept.len() >= MAX_ATTEMPTS
        && let Some(oldest) = kept.iter().position(came_to_nothing)
    {
        kept.remove(oldest);
    }
    kept.push((leg, attempt));
}

fn came_to_nothing((_, attempt): &(LegId, CdrAttempt)) -> bool {
    attempt.ended_at.is_some() && attempt.answered_at.is_none()
}

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
    /// By calls that are over.
    spent: f64,
}

impl Book {
    /// What calls under way have cost; what is about to be dialled, rings or talks counts as though it had talked for `least` ms.
    fn under_way(&self, now: Moment, attempts: &Attempts, least: u64) -> f64 {
        let at_least = |price: f64| price * least as f64 / 60_000.0;
        let of_call = |(call, live): (&CallKey, &Live)| {
            let (mut over, mut open) = (0.0_f64, 0.0_f64);
            for (_, attempt) in attempts.get(call).into_iter().flatten() {
                let Some((price, cost)) = attempt.price.zip(attempt.cost(now.unix_ms)) else { continue };
                match attempt.ended_at {
                    Some(_) => over += cost,
                    None => open += cost.max(at_least(price)),
                }
            }
            over + open + live.numbers.values().map(|price| at_least(*price)).sum::<f64>()
        };
        self.live.iter().map(of_call).sum()
    }

    fn is_spent(&self, now: Moment, limits: &CustomerLimits, attempts: &Attempts) -> bool {
        limits.spend_per_day.is_some_and(|most| self.spent + self.under_way(now, attempts, RESERVED_MS) >= most)
    }
}

/// A call under way.
#[derive(Debug, Default)]
struct Live {
    /// The next number it dials was counted when it was let in.
    prepaid: bool,
    /// Numbers that it dials or talks to, with the price of a minute that is set aside for each until its first INVITE.
    numbers: BTreeMap<LookupId, f64>,
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
    /// When calls are looked at that may have to be ended.
    look_at: Option<Instant>,
}

impl Guard {
    /// A customer spends, or had spent before the engine started.
    pub(crate) fn spend(&mut self, now: Moment, customer: i64, cost: f64) {
        let book = self.book(now, customer);
        book.spent += cost;
    }

    /// Lets a call in that is to dial a number at once.
    pub(crate) fn admit(&mut self, now: Moment, customer: &Customer, call: CallKey, attempts: &Attempts) -> Result<(), Exceeded> {
        self.count(now, customer, call, attempts)?;
        self.book(now, customer.id).live.insert(call, Live { prepaid: true, ..Live::default() });
        Ok(())
    }

    /// Lets a call dial a number.
    pub(crate) fn dial(
        &mut self,
        now: Moment,
        customer: &Customer,
        call: CallKey,
        number: LookupId,
        attempts: &Attempts,
    ) -> Result<(), Exceeded> {
        let live = self.book(now, customer.id).live.get_mut(&call);
        if !live.is_some_and(|live| std::mem::take(&mut live.prepaid)) {
            self.count(now, customer, call, attempts)?;
        }
        self.book(now, customer.id).live.entry(call).or_default().numbers.insert(number, 0.0);
        Ok(())
    }

    /// Lets a call dial a number whose price of a minute is known now. Of calls that were let in together, routing scripts may have
    /// taken their time over each.
    pub(crate) fn reserve(
        &mut self,
        now: Moment,
        customer: &Customer,
        (call, number): (CallKey, LookupId),
        price: f64,
        attempts: &Attempts,
    ) -> Result<(), Exceeded> {
        let book = self.book(now, customer.id);
        if book.is_spent(now, &customer.limits, attempts) {
            return Err(Exceeded::Spend);
        }
        if let Some(reserved) = book.live.get_mut(&call).and_then(|live| live.numbers.get_mut(&number)) {
            *reserved = price;
        }
        Ok(())
    }

    /// A number's first INVITE is among the attempts: that counts from now on, and nothing is set aside.
    pub(crate) fn invited(&mut self, customer: i64, call: CallKey, number: LookupId) {
        let live = self.books.get_mut(&customer).and_then(|book| book.live.get_mut(&call));
        if let Some(reserved) = live.and_then(|live| live.numbers.get_mut(&number)) {
            *reserved = 0.0;
        }
    }

    /// A call talks to one of its numbers: no other is about to be dialled.
    pub(crate) fn joined(&mut self, customer: i64, call: CallKey) {
        let live = self.books.get_mut(&customer).and_then(|book| book.live.get_mut(&call));
        live.into_iter().flat_map(|live| live.numbers.values_mut()).for_each(|reserved| *reserved = 0.0);
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

    /// When [`overspent`](Self::overspent) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// Calls to carriers that are to be ended, each with its customer: as much is spent as may be.
    pub(crate) fn overspent(&mut self, now: Moment, directory: &Directory, attempts: &Attempts) -> Vec<(CallKey, i64)> {
        if self.look_at.is_none_or(|at| at > now.instant) {
            return Vec::new();
        }
        self.look_at = None;
        let ids: Vec<i64> = self.books.keys().copied().collect();
        let mut found = Vec::new();
        for id in ids {
            let limits = directory.customer(id).map(|customer| &customer.limits).filter(|limits| limits.cut_off);
            let Some(most) = limits.and_then(|limits| limits.spend_per_day) else { continue };
            let book = self.book(now, id);
            if book.live.is_empty() {
                continue;
            }
            if book.spent + book.under_way(now, attempts, 0) >= most {
                let costs = |(_, attempt): &(LegId, CdrAttempt)| attempt.price.is_some() && attempt.ended_at.is_none();
                let costly = book.live.keys().filter(|call| attempts.get(call).into_iter().flatten().any(costs));
                found.extend(costly.map(|call| (*call, id)));
            }
            self.look_at = Some(now.instant + LOOK_EVERY);
        }
        found
    }

    fn count(&mut self, now: Moment, customer: &Customer, call: CallKey, attempts: &Attempts) -> Result<(), Exceeded> {
        let CustomerLimits { calls_per_second, concurrent, cut_off, .. } = customer.limits;
        if cut_off {
            self.look_at.get_or_insert(now.instant + LOOK_EVERY);
        }
        let book = self.book(now, customer.id);
        if book.is_spent(now, &customer.limits, attempts) {
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
    use super::*;

    fn customer(limits: &str) -> Customer {
        toml::from_str(&format!("id = 12\nlimits = {{ {limits} }}")).unwrap()
    }

    fn none() -> Attempts {
        Attempts::new()
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
        let mut begin = |now, call| guard.admit(now, &customer, CallKey(call), &none());
        assert_eq!([begin(now, 1), begin(now, 2), begin(now, 3)], [Ok(()), Ok(()), Err(Exceeded::Rate)]);
        assert_eq!(begin(later(now, 499), 3), Err(Exceeded::Rate));
        assert_eq!(begin(later(now, 500), 3), Ok(()));
        assert_eq!(begin(later(now, 999), 4), Err(Exceeded::Rate));
    }

    #[test]
    fn slow_rates_let_the_first_call_in() {
        let (mut guard, customer, now) = (Guard::default(), customer("calls_per_second = 0.1"), start());
        assert_eq!(guard.admit(now, &customer, CallKey(1), &none()), Ok(()));
        assert_eq!(guard.admit(later(now, 9_000), &customer, CallKey(2), &none()), Err(Exceeded::Rate));
        assert_eq!(guard.admit(later(now, 10_001), &customer, CallKey(2), &none()), Ok(()));
    }

    #[test]
    fn a_call_that_was_let_in_is_counted_once_and_frees_its_place() {
        let (mut guard, customer, now) = (Guard::default(), customer("concurrent = 1, calls_per_second = 1"), start());
        assert_eq!(guard.admit(now, &customer, CallKey(1), &none()), Ok(()));
        assert_eq!(guard.dial(now, &customer, CallKey(1), LookupId(1), &none()), Ok(()), "its first number");
        let second = (CallKey(1), LookupId(2));
        assert_eq!(
            guard.dial(now, &customer, second.0, second.1, &none()),
            Err(Exceeded::Concurrent),
            "its second, beside the first"
        );
        guard.number_over(12, CallKey(1), LookupId(1));
        assert_eq!(guard.dial(now, &customer, second.0, second.1, &none()), Err(Exceeded::Rate), "its second, after the first");
        assert_eq!(guard.admit(later(now, 1_000), &customer, CallKey(2), &none()), Err(Exceeded::Concurrent));
        guard.release(12, CallKey(1));
        assert_eq!(guard.admit(later(now, 2_000), &customer, CallKey(2), &none()), Ok(()));
    }

    #[test]
    fn spending_is_limited_a_day() {
        let (mut guard, customer, now) = (Guard::default(), customer("spend_per_day = 5"), start());
        guard.spend(now, 12, 4.99);
        assert_eq!(guard.admit(now, &customer, CallKey(1), &none()), Ok(()));
        guard.spend(now, 12, 0.01);
        assert_eq!(guard.admit(now, &customer, CallKey(2), &none()), Err(Exceeded::Spend));
        assert_eq!(guard.admit(later(now, DAY_MS), &customer, CallKey(2), &none()), Ok(()), "another day");
    }

    /// An attempt at 60 a minute, one a second.
    fn talking(from: Moment) -> (LegId, CdrAttempt) {
        let attempt = CdrAttempt { answered_at: Some(from.unix_ms), price: Some(60.0), ..CdrAttempt::default() };
        (LegId(1), attempt)
    }

    #[test]
    fn calls_under_way_count_by_what_they_have_cost_and_for_a_minute_at_least() {
        let (mut guard, customer, now) = (Guard::default(), customer("spend_per_day = 150"), start());
        let mut attempts = none();
        let mut begin = |now, call, attempts: &Attempts| guard.admit(now, &customer, CallKey(call), attempts);
        assert_eq!(begin(now, 1, &attempts), Ok(()));
        attempts.insert(CallKey(1), vec![talking(now)]);
        assert_eq!(begin(now, 2, &attempts), Ok(()), "a minute is spoken for");
        let ringing = CdrAttempt { price: Some(60.0), ..CdrAttempt::default() };
        attempts.insert(CallKey(2), vec![(LegId(1), ringing.clone())]);
        assert_eq!(begin(now, 3, &attempts), Ok(()), "two minutes");
        attempts.insert(CallKey(3), vec![(LegId(1), ringing)]);
        assert_eq!(begin(now, 4, &attempts), Err(Exceeded::Spend), "three");
        attempts.remove(&CallKey(3));
        assert_eq!(begin(later(now, 89_000), 4, &attempts), Ok(()));
        assert_eq!(begin(later(now, 90_000), 5, &attempts), Err(Exceeded::Spend), "89 s, 90 s and a minute");
    }

    #[test]
    fn calls_whose_price_comes_to_be_known_together_are_let_in_as_far_as_it_goes() {
        let (mut guard, customer, now) = (Guard::default(), customer("spend_per_day = 1"), start());
        let calls: Vec<_> = (1..=4).map(|call| (CallKey(call), LookupId(1))).collect();
        for (call, number) in &calls {
            guard.admit(now, &customer, *call, &none()).unwrap();
            guard.dial(now, &customer, *call, *number, &none()).unwrap();
        }
        let mut attempts = none();
        let decided: Vec<_> = calls.iter().map(|call| guard.reserve(now, &customer, *call, 0.6, &attempts)).collect();
        assert_eq!(decided, [Ok(()), Ok(()), Err(Exceeded::Spend), Err(Exceeded::Spend)]);
        let ringing = CdrAttempt { price: Some(0.6), ..CdrAttempt::default() };
        attempts.insert(CallKey(1), vec![(LegId(1), ringing)]);
        guard.invited(12, CallKey(1), LookupId(1));
        guard.number_over(12, CallKey(2), LookupId(1));
        assert_eq!(guard.reserve(now, &customer, calls[2], 0.6, &attempts), Ok(()), "an INVITE is not counted twice");
        assert_eq!(guard.reserve(now, &customer, calls[3], 0.6, &attempts), Err(Exceeded::Spend));
    }

    #[test]
    fn the_number_that_is_talked_to_counts_and_what_is_about_to_be_dialled_beside_it() {
        let (mut guard, customer, now) = (Guard::default(), customer("spend_per_day = 170"), start());
        let (call, numbers) = (CallKey(1), [1, 2, 3].map(LookupId));
        for number in numbers {
            guard.dial(now, &customer, call, number, &none()).unwrap();
            guard.reserve(now, &customer, (call, number), 60.0, &none()).unwrap();
        }
        let over = CdrAttempt { ended_at: Some(now.unix_ms), price: Some(60.0), ..CdrAttempt::default() };
        let attempts = Attempts::from([(call, vec![talking(now), (LegId(2), over.clone()), (LegId(3), over)])]);
        numbers.into_iter().for_each(|number| guard.invited(12, call, number));
        assert_eq!(guard.admit(now, &customer, CallKey(2), &attempts), Ok(()), "a minute of the one that has answered");
        guard.number_over(12, call, LookupId(2));
        guard.number_over(12, call, LookupId(3));
        let (now, next) = (later(now, 120_000), LookupId(4));
        guard.dial(now, &customer, call, next, &attempts).unwrap();
        guard.reserve(now, &customer, (call, next), 60.0, &attempts).unwrap();
        assert_eq!(guard.admit(now, &customer, CallKey(3), &attempts), Err(Exceeded::Spend), "two minutes, and one of the next");
        guard.joined(12, call);
        assert_eq!(guard.admit(now, &customer, CallKey(3), &attempts), Ok(()), "the next one's turn does not come");
    }

    #[test]
    fn what_has_cost_something_is_kept_and_what_came_to_nothing_gives_way() {
        let (now, call, mut attempts) = (start(), CallKey(1), none());
        let refused =
            |number: usize| CdrAttempt { number: number.to_string(), ended_at: Some(now.unix_ms), ..CdrAttempt::default() };
        keep(&mut attempts, (call, LegId(1)), talking(now).1);
        for number in 0..300 {
            keep(&mut attempts, (call, LegId(2)), refused(number));
        }
        let numbers: Vec<&str> = attempts[&call].iter().map(|(_, attempt)| attempt.number.as_str()).collect();
        assert_eq!((numbers.len(), numbers[0], numbers[1], numbers[199]), (MAX_ATTEMPTS, "", "101", "299"));
        for _ in 1..MAX_COSTLY {
            assert!(has_room(&attempts, call));
            keep(&mut attempts, (call, LegId(3)), talking(now).1);
        }
        assert!(!has_room(&attempts, call));
        assert_eq!(attempts[&call].len(), MAX_COSTLY);
    }

    #[test]
    fn calls_are_ended_when_too_much_is_spent_where_that_is_wanted() {
        let config = |limits: &str| format!("[[customer]]\nid = 12\nlimits = {{ spend_per_day = 10{limits} }}");
        for (limits, expected) in [(", cut_off = true", vec![(CallKey(1), 12)]), ("", vec![])] {
            let config: crate::config::Config = toml::from_str(&config(limits)).unwrap();
            let directory = Directory::new(&config, []);
            let (mut guard, now, mut attempts) = (Guard::default(), start(), none());
            let customer = directory.customer(12).unwrap();
            for call in [1, 2] {
                guard.admit(now, customer, CallKey(call), &attempts).unwrap();
            }
            attempts.insert(CallKey(1), vec![talking(now)]);
            let mut ended = Vec::new();
            for second in 1..=10 {
                assert_eq!(ended, [], "after {second} s");
                ended = guard.overspent(later(now, second * 1_000), &directory, &attempts);
            }
            assert_eq!(ended, expected, "the other one has no carrier");
            guard.release(12, CallKey(1));
            guard.release(12, CallKey(2));
            guard.overspent(later(now, 20_000), &directory, &attempts);
            assert_eq!(guard.poll_timeout(), None, "nobody is left");
        }
    }
}
