//! The sixteen keys of a telephone, and sets of them.

use std::fmt;

/// One DTMF key: `0`–`9`, `*`, `#`, `A`–`D`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digit(u8);

/// Keys in the order of their telephone-event codes (RFC 4733 section 3.2).
const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

impl Digit {
    /// The key with this telephone-event code, 0–15. Other events (flash, fax tones) are not keys.
    pub const fn from_event(event: u8) -> Option<Digit> {
        if event < 16 { Some(Digit(event)) } else { None }
    }

    /// The key written as `key`; `a`–`d` are taken as `A`–`D`.
    pub fn from_char(key: char) -> Option<Digit> {
        let key = key.to_ascii_uppercase();
        (0..16).zip(KEYS).find(|&(_, known)| known == key).map(|(event, _)| Digit(event))
    }

    /// The telephone-event code, 0–15.
    pub const fn event(self) -> u8 {
        self.0
    }

    /// The key as it is written.
    pub fn as_char(self) -> char {
        KEYS.get(usize::from(self.0)).copied().unwrap_or('?')
    }

    /// Row and column frequency in Hz (ITU-T Q.23).
    pub const fn frequencies(self) -> (u16, u16) {
        match self.0 {
            1 => (697, 1209),
            2 => (697, 1336),
            3 => (697, 1477),
            12 => (697, 1633),
            4 => (770, 1209),
            5 => (770, 1336),
            6 => (770, 1477),
            13 => (770, 1633),
            7 => (852, 1209),
            8 => (852, 1336),
            9 => (852, 1477),
            14 => (852, 1633),
            10 => (941, 1209),
            0 => (941, 1336),
            11 => (941, 1477),
            _ => (941, 1633),
        }
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digit({})", self.as_char())
    }
}

impl fmt::Display for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

/// A set of keys.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct DigitSet(u16);

impl DigitSet {
    /// No key.
    pub const NONE: DigitSet = DigitSet(0);
    /// All sixteen keys.
    pub const ALL: DigitSet = DigitSet(u16::MAX);

    /// The keys named in `keys`; characters that name no key are left out.
    pub fn from_keys(keys: &str) -> DigitSet {
        keys.chars().filter_map(Digit::from_char).collect()
    }

    /// Whether `digit` is in the set.
    pub const fn contains(self, digit: Digit) -> bool {
        self.0 & (1 << digit.0) != 0
    }

    /// Whether the set has no key.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with `digit` in it.
    #[must_use]
    pub const fn with(self, digit: Digit) -> DigitSet {
        DigitSet(self.0 | 1 << digit.0)
    }
}

impl FromIterator<Digit> for DigitSet {
    fn from_iter<I: IntoIterator<Item = Digit>>(digits: I) -> Self {
        digits.into_iter().fold(DigitSet::NONE, DigitSet::with)
    }
}

impl fmt::Debug for DigitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: String = (0..16).map(Digit).filter(|&digit| self.contains(digit)).map(Digit::as_char).collect();
        write!(f, "DigitSet({keys:?})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_code_of_a_key_has_a_character_that_leads_back_to_it() {
        for event in 0..16 {
            let digit = Digit::from_event(event).unwrap();
            assert_eq!(Digit::from_char(digit.as_char()), Some(digit));
        }
        assert_eq!(Digit::from_event(16), None);
        assert_eq!(Digit::from_char('w'), None);
        assert_eq!(Digit::from_char('d'), Digit::from_event(15));
    }

    #[test]
    fn no_two_keys_share_their_frequencies() {
        let pairs: std::collections::BTreeSet<_> = (0..16).map(|event| Digit(event).frequencies()).collect();
        assert_eq!(pairs.len(), 16);
    }

    #[test]
    fn a_set_holds_the_keys_it_was_given() {
        let set = DigitSet::from_keys("12x#");
        assert_eq!(format!("{set:?}"), "DigitSet(\"12#\")");
        assert!(!set.contains(Digit(0)));
        assert!(DigitSet::default().is_empty());
    }
}
