//! The keys of a caller: blocked ones are dropped, the others wait as type-ahead for the next collecting operation.

use std::collections::VecDeque;

use lockstep_media::digit::{Digit, DigitSet};

/// The most keys kept as type-ahead. A caller who leans on the key pad loses the oldest.
const MAX_TYPE_AHEAD: usize = 128;

/// Whether `digit` is one of the sixteen keys of a telephone.
pub fn is_key(digit: char) -> bool {
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D')
}

/// Type-ahead and the keys that are blocked.
#[derive(Clone, Debug, Default)]
pub struct Digits {
    waiting: VecDeque<char>,
    blocked: DigitSet,
}

impl Digits {
    /// Takes a key; `false` when it is blocked and must not be seen by anybody.
    pub fn accepts(&self, digit: char) -> bool {
        Digit::from_char(digit).is_none_or(|digit| !self.blocked.contains(digit))
    }

    /// Keeps a key for the next collecting operation.
    pub fn keep(&mut self, digit: char) {
        if self.waiting.len() == MAX_TYPE_AHEAD {
            self.waiting.pop_front();
        }
        self.waiting.push_back(digit);
    }

    /// The oldest waiting key.
    pub fn take(&mut self) -> Option<char> {
        self.waiting.pop_front()
    }

    /// The oldest waiting key, left where it is.
    pub fn peek(&self) -> Option<char> {
        self.waiting.front().copied()
    }

    /// Drops what was keyed ahead.
    pub fn flush(&mut self) {
        self.waiting.clear();
    }

    /// Blocks these keys, and no others, from now on.
    pub fn block(&mut self, keys: DigitSet) {
        self.blocked = keys;
    }

    /// The keys that are blocked.
    pub fn blocked(&self) -> DigitSet {
        self.blocked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_ahead_is_bounded_and_loses_the_oldest() {
        let mut digits = Digits::default();
        digits.keep('9');
        for _ in 0..MAX_TYPE_AHEAD {
            digits.keep('1');
        }
        assert_eq!(digits.take(), Some('1'));
        assert_eq!(std::iter::from_fn(|| digits.take()).count(), MAX_TYPE_AHEAD - 1);
    }

    #[test]
    fn blocked_keys_are_refused_until_unblocked() {
        let mut digits = Digits::default();
        digits.block(DigitSet::from_keys("0a"));
        assert!(!digits.accepts('0') && !digits.accepts('A') && digits.accepts('1'));
        digits.block(DigitSet::NONE);
        assert!(digits.accepts('0'));
    }
}
