//! Call progress tones: `350+440,1000/0` is both frequencies for a second, `400+450,400/200/400/2000` a British ring.

use std::f64::consts::TAU;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// One round of a longer tone than this is refused.
const LONGEST: Duration = Duration::from_secs(60);
const MAX_FREQUENCIES: usize = 4;
const MAX_STEPS: usize = 16;
/// Peak of all frequencies together: -9 dBm0, what exchanges send tones at.
const PEAK: f64 = 8000.0;
/// A tone that starts or stops at full level clicks.
const RAMP: Duration = Duration::from_millis(3);

/// A tone and its cadence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tone {
    /// Sounded together, in Hz. Empty is silence.
    frequencies: Vec<u32>,
    /// How long it sounds and how long it then pauses, in turn.
    cadence: Vec<(Duration, Duration)>,
}

/// Why the text describes no tone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ToneError {
    /// The part before the comma.
    #[error("tone {got:?}: expected frequencies from 1 to 3999 Hz like 350+440, at most {MAX_FREQUENCIES}")]
    Frequencies {
        /// What was given.
        got: String,
    },
    /// The part after the comma.
    #[error("tone {got:?}: expected milliseconds on/off like 1000/0 after a comma, in pairs, at most {MAX_STEPS} of them")]
    Cadence {
        /// What was given.
        got: String,
    },
    /// All steps together.
    #[error("tone of {got:?}, expected between 1 ms and {LONGEST:?}")]
    Length {
        /// What was given.
        got: Duration,
    },
}

impl FromStr for Tone {
    type Err = ToneError;

    /// Reads what follows `tone:`.
    fn from_str(text: &str) -> Result<Tone, ToneError> {
        let got = || text.chars().take(80).collect::<String>();
        let (frequencies, cadence) = text.split_once(',').ok_or_else(|| ToneError::Cadence { got: got() })?;
        let frequencies: Vec<u32> = frequencies
            .split('+')
            .map(|frequency| frequency.trim().parse().ok().filter(|frequency| (1..4000).contains(frequency)))
            .collect::<Option<_>>()
            .filter(|frequencies: &Vec<u32>| frequencies.len() <= MAX_FREQUENCIES)
            .ok_or_else(|| ToneError::Frequencies { got: got() })?;
        let steps: Vec<Duration> = cadence
            .split('/')
            .map(|step| step.trim().parse::<u32>().ok().map(|step| Duration::from_millis(u64::from(step))))
            .collect::<Option<_>>()
            .filter(|steps: &Vec<Duration>| steps.len().is_multiple_of(2) && steps.len() <= MAX_STEPS)
            .ok_or_else(|| ToneError::Cadence { got: got() })?;
        let length = steps.iter().sum();
        if length == Duration::ZERO || length > LONGEST {
            return Err(ToneError::Length { got: length });
        }
        let cadence = steps.as_chunks::<2>().0.iter().map(|&[on, off]| (on, off)).collect();
        Ok(Tone { frequencies, cadence })
    }
}

impl Tone {
    /// Sounded together, in Hz. Empty is silence.
    pub fn frequencies(&self) -> &[u32] {
        &self.frequencies
    }

    /// How long it sounds and how long it then pauses, in turn.
    pub fn cadence(&self) -> &[(Duration, Duration)] {
        &self.cadence
    }

    /// Length of one round.
    pub fn duration(&self) -> Duration {
        self.cadence.iter().map(|&(on, off)| on + off).sum()
    }

    /// One round as mono samples.
    pub fn render(&self, sample_rate: u32) -> Vec<i16> {
        let samples = |duration: Duration| (duration.as_micros() * u128::from(sample_rate) / 1_000_000) as usize;
        let ramp = samples(RAMP).max(1);
        let level = PEAK / self.frequencies.len().max(1) as f64;
        let mut out = Vec::with_capacity(samples(self.duration()));
        for &(on, off) in &self.cadence {
            let count = samples(on);
            // A step without a pause joins the next round: ramps would make it pulse.
            let is_steady = off.is_zero();
            for index in 0..count {
                let edge = index.min(count - 1 - index).min(ramp) as f64 / ramp as f64;
                let time = index as f64 / f64::from(sample_rate);
                let sum: f64 = self.frequencies.iter().map(|&frequency| (TAU * f64::from(frequency) * time).sin()).sum();
                out.push((sum * level * if is_steady { 1.0 } else { edge }) as i16);
            }
            out.resize(out.len() + samples(off), 0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_and_cadence_are_read() {
        let tone: Tone = "400+450,400/200/400/2000".parse().unwrap();
        assert_eq!(tone.duration(), Duration::from_secs(3));
        let samples = tone.render(8000);
        assert_eq!(samples.len(), 24_000);
        assert!(samples[100..3100].iter().any(|sample| sample.abs() > 7000));
        assert!(samples[3200..4800].iter().all(|&sample| sample == 0));
        assert!(samples[8000..].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn a_tone_without_a_pause_is_steady_to_its_end() {
        let samples = "1000,1000/0".parse::<Tone>().unwrap().render(8000);
        assert_eq!(samples.len(), 8000);
        assert!(samples[7990..].iter().any(|sample| sample.abs() > 7000));
    }

    #[test]
    fn what_is_not_a_tone_is_refused_with_the_reason() {
        for (text, expected) in [
            ("350+440", "Cadence"),
            ("350+x,1000/0", "Frequencies"),
            ("0,1000/0", "Frequencies"),
            ("4000,1000/0", "Frequencies"),
            ("1+2+3+4+5,1000/0", "Frequencies"),
            ("350,1000", "Cadence"),
            ("350,-1/0", "Cadence"),
            ("350,0/0", "Length"),
            ("350,4000000000/4000000000", "Length"),
        ] {
            let error = text.parse::<Tone>().unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{text}: {error:?}");
        }
    }
}
