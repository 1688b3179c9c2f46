//! How much of something the scripts of an account may do in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A minute's worth may be used at once, and comes back evenly.
#[derive(Debug)]
pub(super) struct Allowance {
    pub(super) per_minute: u32,
    /// What is left of each account's, and when that was reckoned. There are as many as accounts in the configuration.
    left: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Allowance {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, left: Mutex::default() }
    }

    /// Takes one, if the account has one left.
    pub(super) fn takes(&self, account: &str, now: Instant) -> bool {
        // Nothing in here panics while it holds the lock.
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let most = f64::from(self.per_minute);
        let (left, reckoned) = left.entry(account.to_owned()).or_insert((most, now));
        let regained = now.saturating_duration_since(*reckoned).as_secs_f64() / 60.0 * most;
        (*left, *reckoned) = ((*left + regained).min(most), now);
        let takes = *left >= 1.0;
        if takes {
            *left -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_account_has_so_many_a_minute_and_takes_none_of_anothers() {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
        let start = Instant::now();
        let allowance = Allowance::new(60);
        assert_eq!((0..100).filter(|_| allowance.takes("a", start)).count(), 60);
        assert!(allowance.takes("b", start));
        let later = start + Duration::from_millis(2_100);
        assert_eq!((0..100).filter(|_| allowance.takes("a", later)).count(), 2);
        let much_later = start + Duration::from_secs(3_600);
        assert_eq!((0..100).filter(|_| allowance.takes("a", much_later)).count(), 60, "no more gathers");
        assert!(!Allowance::new(0).takes("a", start));
    }
}
