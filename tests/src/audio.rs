//! What was played against what was heard, octet by octet.

use bytes::Bytes;
use lockstep_media::codec::Codec;
use lockstep_media::prompt::decode::{Limits, decode};
use lockstep_media::prompt::encode::encode;
use lockstep_media::prompt::stock;

/// The µ-law octet of silence.
pub const SILENCE: u8 = 0xFF;

/// The µ-law octets that the engine caches of a stock prompt.
///
/// # Panics
/// When there is no such prompt.
pub fn prompt(name: &str) -> Vec<u8> {
    let file = stock::find(name).unwrap_or_else(|| panic!("there is no stock prompt {name}"));
    let audio = decode(&Bytes::from_static(file), "wav", 8_000, &Limits::default(), &mut || false)
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    encode(&audio, Codec::Pcmu).octets().to_vec()
}

/// The octets of several stock prompts, joined as a playlist joins them.
pub fn prompts(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| prompt(name)).collect()
}

/// A stretch of audio that is expected.
#[derive(Clone, Debug)]
pub enum Spoken {
    /// From its first to its last octet.
    Whole(Vec<u8>),
    /// From its first octet up to where it was cut off.
    Beginning(Vec<u8>),
}

impl Spoken {
    /// The same audio without its silent octets: what is left when it does not matter how long the pauses are.
    #[must_use]
    pub fn without_pauses(self) -> Self {
        let strip = |audio: Vec<u8>| audio.into_iter().filter(|octet| *octet != SILENCE).collect();
        match self {
            Self::Whole(audio) => Self::Whole(strip(audio)),
            Self::Beginning(audio) => Self::Beginning(strip(audio)),
        }
    }
}

/// Stock prompts played as one list, to the end.
pub fn whole(names: &[&str]) -> Spoken {
    Spoken::Whole(prompts(names))
}

/// A stock prompt that was cut off.
pub fn beginning(name: &str) -> Spoken {
    Spoken::Beginning(prompt(name))
}

/// Checks that `heard` is `expected` in that order, with nothing but silence around.
///
/// # Errors
/// What was heard instead, and when.
pub fn compare(heard: &[u8], expected: &[Spoken]) -> Result<(), String> {
    let mut rest = after_silence(heard);
    let at = |rest: &[u8]| (heard.len() - rest.len()) / 8;
    for (index, spoken) in expected.iter().enumerate() {
        let (Spoken::Whole(audio) | Spoken::Beginning(audio)) = spoken;
        let audio = after_silence(audio);
        let common = rest.iter().zip(audio).take_while(|(heard, played)| heard == played).count();
        if common == 0 {
            return Err(format!("stretch {index} of {} does not begin {} ms into the call", expected.len(), at(rest)));
        }
        if matches!(spoken, Spoken::Whole(_)) && common < audio.len() {
            return Err(format!(
                "stretch {index} of {} breaks off after {} of {} ms, {} ms into the call",
                expected.len(),
                common / 8,
                audio.len() / 8,
                at(rest) + common / 8
            ));
        }
        rest = after_silence(&rest[common..]);
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("something else was heard {} ms into the call", at(rest))) }
}

fn after_silence(audio: &[u8]) -> &[u8] {
    let start = audio.iter().position(|octet| *octet != SILENCE).unwrap_or(audio.len());
    &audio[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u8 = SILENCE;

    #[test]
    fn silence_is_free_and_all_else_is_not() {
        let expected = [Spoken::Whole(vec![1, S, 2]), Spoken::Beginning(vec![S, 3, 4, 5]), Spoken::Whole(vec![6])];
        assert_eq!(compare(&[S, S, 1, S, 2, S, 3, 4, S, S, 6, S], &expected), Ok(()));
        assert!(compare(&[1, S, 2, 3, 4, 6, 7], &expected).is_err(), "more than expected");
        assert!(compare(&[1, S, S, 2, 3, 6], &expected).is_err(), "a gap within");
        assert!(compare(&[1, S, 2, 6], &expected).is_err(), "one is missing");
        assert!(compare(&[1, S, 2, 1, S, 2, 3, 6], &expected).is_err(), "one was played twice");
    }

    #[test]
    fn stock_prompts_are_not_silent() {
        assert!(after_silence(&prompt("welcome.wav")).len() > 800);
    }
}
