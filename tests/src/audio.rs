//! What was played against what was heard, octet by octet.

use std::collections::HashSet;

use bytes::Bytes;
use lockstep_engine::phone::Capture;
use lockstep_media::codec::Codec;
use lockstep_media::prompt::decode::{Limits, decode};
use lockstep_media::prompt::encode::encode;
use lockstep_media::prompt::stock;

/// The µ-law octet of silence.
pub const SILENCE: u8 = 0xFF;
/// Octets of 20 ms.
const PIECE: usize = 160;
/// A piece with no more different octets than this may stand in any audio.
const COMMON: usize = 20;

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
    pub fn without_pauses(&self) -> Self {
        match self {
            Self::Whole(audio) => Self::Whole(without_pauses(audio, SILENCE)),
            Self::Beginning(audio) => Self::Beginning(without_pauses(audio, SILENCE)),
        }
    }
}

/// Audio without its octets of silence.
pub fn without_pauses(audio: &[u8], silence: u8) -> Vec<u8> {
    audio.iter().copied().filter(|octet| *octet != silence).collect()
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

/// Whether a call has heard `audio`, whatever silence came between: whoever forwards a stream that pauses goes on by itself.
pub fn is_spoken(capture: &Capture, audio: &[u8]) -> bool {
    let silence = capture.codec().map_or(SILENCE, Codec::silence);
    let (heard, audio) = (without_pauses(capture.in_order(), silence), without_pauses(audio, silence));
    !audio.is_empty() && heard.windows(audio.len()).any(|window| window == audio)
}

/// How many octets of the beginning of `audio`, silence before it aside, stand in `heard` at most: for the text of a failure.
pub fn longest_beginning(heard: &[u8], audio: &[u8]) -> usize {
    let audio = after_silence(audio);
    let common = |from: usize| heard.iter().skip(from).zip(audio).take_while(|(heard, played)| heard == played).count();
    (0..heard.len()).map(common).max().unwrap_or(0)
}

/// How much of `audio` stands in `heard`, from 0 to 1, by pieces of 20 ms: audio that is placed by the clock has silence in it
/// where its sender was late.
pub fn share(heard: &[u8], audio: &[u8]) -> f64 {
    let there: HashSet<&[u8]> = heard.windows(PIECE).collect();
    let is_common = |piece: &&[u8]| piece.iter().collect::<HashSet<_>>().len() <= COMMON;
    let pieces: Vec<&[u8]> = audio.chunks_exact(PIECE).filter(|piece| !is_common(piece)).collect();
    let found = pieces.iter().filter(|piece| there.contains(**piece)).count();
    found as f64 / pieces.len().max(1) as f64
}

/// Checks that a stock prompt is in a recording.
///
/// # Panics
/// When less than half of it is there: a machine that is late loses some of a recording, a fault of ours nearly all or nothing.
pub fn assert_holds(recorded: &[u8], name: &str) {
    let share = share(recorded, &prompt(name));
    assert!(share >= 0.5, "{:.0} % of {name} are in {} ms of audio", share * 100.0, recorded.len() / 8);
}

/// Checks that a stock prompt is not in a recording.
///
/// # Panics
/// When more than a tenth of it is there.
pub fn assert_lacks(recorded: &[u8], name: &str) {
    let share = share(recorded, &prompt(name));
    assert!(share <= 0.1, "{:.0} % of {name} are in {} ms of audio", share * 100.0, recorded.len() / 8);
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
        let expected = expected.map(|spoken| spoken.without_pauses());
        assert_eq!(compare(&without_pauses(&[1, S, S, S, 2, 3, S, 4, 6], S), &expected), Ok(()));
    }

    #[test]
    fn a_recording_may_pause_within_a_prompt_and_holds_no_other() {
        let (said, other) = (prompt("welcome.wav"), prompt("goodbye.wav"));
        let paused = [&said[..1_600], &[S; 900], &said[1_600..]].concat();
        assert_holds(&paused, "welcome.wav");
        assert_lacks(&paused, "goodbye.wav");
        let half = &said[..said.len() / 2];
        assert!((0.2..0.8).contains(&share(half, &said)), "{}", share(half, &said));
        assert_eq!((share(&other, &said), share(&[], &said)), (0.0, 0.0));
    }

    #[test]
    fn a_failure_tells_how_much_was_heard() {
        assert_eq!(longest_beginning(&[S, 1, 2, S, 1, 2, 3, 9], &[S, 1, 2, 3, 4]), 3);
        assert_eq!(longest_beginning(&[], &[1]), 0);
    }

    #[test]
    fn stock_prompts_are_not_silent() {
        assert!(after_silence(&prompt("welcome.wav")).len() > 800);
    }
}
