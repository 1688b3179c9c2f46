//! Finding a tone in what was heard (Goertzel's algorithm).

use std::f64::consts::TAU;

/// Samples that are looked at together: 40 ms.
pub(crate) const WINDOW: usize = 320;
/// The share of the energy that must lie in the tone's frequencies.
const SHARE: f64 = 0.7;
/// Windows in a row.
const WINDOWS: usize = 3;
/// A tone is louder than this, as the mean square of its samples: about −45 dBFS.
const LOUD: f64 = 34_000.0;

/// Why a text names no tone.
pub(crate) fn frequencies(text: &str) -> Result<Vec<f64>, String> {
    let wrong = || format!("{text:?} is no tone: expected frequencies such as 440 or 350+440");
    let parse = |part: &str| part.trim().parse::<f64>().ok().filter(|hz| (100.0..=3_800.0).contains(hz)).ok_or_else(wrong);
    let found: Result<Vec<f64>, String> = text.split('+').map(parse).collect();
    found.and_then(|found| if found.is_empty() || found.len() > 4 { Err(wrong()) } else { Ok(found) })
}

/// Where these frequencies sound, and little else: the sample at which they have been heard for long enough.
pub(crate) fn find(samples: &[i16], frequencies: &[f64]) -> Option<usize> {
    let mut in_a_row = 0;
    for (number, window) in samples.chunks_exact(WINDOW).enumerate() {
        in_a_row = if sounds(window, frequencies) { in_a_row + 1 } else { 0 };
        if in_a_row >= WINDOWS {
            return Some((number + 1) * WINDOW);
        }
    }
    None
}

fn sounds(window: &[i16], frequencies: &[f64]) -> bool {
    let count = window.len() as f64;
    let total: f64 = window.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    if total / count < LOUD {
        return false;
    }
    let powers: Vec<f64> = frequencies.iter().map(|hz| power(window, *hz)).collect();
    // A sine of amplitude A has the energy A²n/2 and the Goertzel power (An/2)².
    let energy = |power: f64| power * 2.0 / count;
    let within: f64 = powers.iter().map(|power| energy(*power)).sum();
    within / total >= SHARE && powers.iter().all(|power| energy(*power) / total >= SHARE / (3.0 * powers.len() as f64))
}

fn power(window: &[i16], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / 8_000.0).cos();
    let (mut before, mut last) = (0.0, 0.0);
    for sample in window {
        let next = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    last * last + before * before - coefficient * last * before
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_media::tone::Tone;

    fn rendered(text: &str) -> Vec<i16> {
        text.parse::<Tone>().unwrap().render(8_000)
    }

    #[test]
    fn a_tone_is_told_from_others() {
        let samples = rendered("350+440,1000/0");
        assert!(find(&samples, &[350.0, 440.0]).is_some());
        assert!(find(&samples, &[425.0]).is_none());
        assert!(find(&samples, &[350.0]).is_none());
        assert!(find(&[0; 8_000], &[440.0]).is_none());
    }

    #[test]
    fn what_is_no_tone_says_what_one_looks_like() {
        assert_eq!(frequencies("350+440").unwrap(), [350.0, 440.0]);
        for text in ["", "x", "440+", "9000"] {
            assert!(frequencies(text).unwrap_err().contains("350+440"), "{text}");
        }
    }
}
