//! `--dtmf DIGITS@SECONDS`

use std::str::FromStr;
use std::time::Duration;

use lockstep_media::digit::Digit;

/// Keys, and when they are pressed after the call was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) digits: String,
    pub(super) at: Duration,
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected DIGITS@SECONDS such as 42#@5, found `{text}`");
        let (digits, seconds) = text.rsplit_once('@').ok_or_else(expected)?;
        let seconds: f64 = seconds.parse().map_err(|_| expected())?;
        if digits.is_empty() || !digits.chars().all(|digit| Digit::from_char(digit).is_some()) {
            return Err(expected());
        }
        let at = Duration::try_from_secs_f64(seconds).map_err(|_| expected())?;
        Ok(Self { digits: digits.to_owned(), at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_before_the_last_at() {
        assert_eq!("42#@5".parse(), Ok(Keys { digits: "42#".to_owned(), at: Duration::from_secs(5) }));
        assert_eq!("*A@0.25".parse(), Ok(Keys { digits: "*A".to_owned(), at: Duration::from_millis(250) }));
    }

    #[test]
    fn what_is_no_key_or_no_time_is_refused() {
        for text in ["42", "@5", "4x@5", "4@", "4@-1", "4@inf", "4@nan", "4@1e300"] {
            assert!(text.parse::<Keys>().is_err(), "{text}");
        }
    }
}
