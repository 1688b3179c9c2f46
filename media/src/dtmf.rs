//! Keys as tones in the audio, ITU-T Q.23 and Q.24: detection that speech does not fool, and generation.
//!
//! Blocks of 205 samples, one every half block, are measured at the eight frequencies (Goertzel). A block is a hit when
//! one row and one column stand out from the rest, are about as strong as each other, and hold most of the energy there
//! is. Two hits in a row begin a key, two misses end it.
//!
//! ```text
//!   block   0    1    2    3    4    5    6    7    8
//!           ·    5    5    5    5    5    ·    ·    ·        reported at 7, as held from 1 to 5
//!           ·    5    5    ·    5    5    ·    ·    ·        a drop-out of one block does not split it
//! ```

use std::f32::consts::TAU;
use std::time::Duration;

use crate::digit::Digit;

/// The audio both halves of this file work on, in Hz.
const SAMPLE_RATE: u32 = 8000;
/// 25.6 ms: the eight frequencies fall close to multiples of 39 Hz, and 40 ms of tone fill a block and a half.
const BLOCK: usize = 205;
const HOP: usize = 103;
const ROWS: [u16; 4] = [697, 770, 852, 941];
const COLUMNS: [u16; 4] = [1209, 1336, 1477, 1633];
/// Mean square below this is silence to everybody: about -42 dBm0.
const QUIETEST: f32 = 15_000.0;
/// Row and column must hold this much of the energy. A tone that fills a block by four fifths does.
const PURITY: f32 = 0.72;
/// How much stronger than the others of its group a frequency has to be: 6 dB.
const STANDOUT: f32 = 4.0;
/// The column may be this much stronger than the row: 8 dB, and 2 dB for the codec.
const TWIST: f32 = 10.0;
/// The row may be this much stronger than the column: 4 dB, and 3 dB for the codec.
const REVERSE_TWIST: f32 = 5.0;
/// Of the energy of a frequency, at twice the frequency: voices have harmonics, keys do not.
const HARMONIC: f32 = 0.1;
const HITS_TO_BEGIN: u32 = 2;
const MISSES_TO_END: u32 = 2;

/// A key that was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardDigit {
    /// The key.
    pub digit: Digit,
    /// How long it sounded, to about a block.
    pub duration: Duration,
}

/// Finds keys in audio of 8 kHz.
#[derive(Debug)]
pub struct DtmfDetector {
    window: [i16; BLOCK],
    filled: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing, or too little to tell.
    Idle,
    /// Heard this often in a row.
    Rising { digit: Digit, hits: u32 },
    /// A key is down.
    Down { digit: Digit, hits: u32, misses: u32 },
}

impl Default for DtmfDetector {
    fn default() -> Self {
        DtmfDetector { window: [0; BLOCK], filled: 0, state: State::Idle }
    }
}

impl DtmfDetector {
    /// The key that is sounding, or seems to begin.
    pub fn sounding(&self) -> Option<Digit> {
        match self.state {
            State::Idle => None,
            State::Rising { digit, .. } | State::Down { digit, .. } => Some(digit),
        }
    }

    /// Takes samples; calls `heard` for every key that ends in them.
    pub fn push(&mut self, samples: impl IntoIterator<Item = i16>, mut heard: impl FnMut(HeardDigit)) {
        for sample in samples {
            if let Some(place) = self.window.get_mut(self.filled) {
                *place = sample;
            }
            self.filled += 1;
            if self.filled == BLOCK {
                if let Some(digit) = self.step(measure(&self.window)) {
                    heard(digit);
                }
                self.window.copy_within(HOP.., 0);
                self.filled = BLOCK - HOP;
            }
        }
    }

    /// Silence without end: whatever key is down has ended.
    pub fn flush(&mut self) -> Option<HeardDigit> {
        self.filled = 0;
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Down { digit, hits, .. } => Some(heard(digit, hits)),
            State::Idle | State::Rising { .. } => None,
        }
    }

    fn step(&mut self, block: Option<Digit>) -> Option<HeardDigit> {
        let (next, ended) = match (self.state, block) {
            (State::Idle, None) | (State::Rising { .. }, None) => (State::Idle, None),
            (State::Idle, Some(digit)) => (State::Rising { digit, hits: 1 }, None),
            (State::Rising { digit, hits }, Some(now)) if now == digit && hits + 1 >= HITS_TO_BEGIN => {
                (State::Down { digit, hits: hits + 1, misses: 0 }, None)
            }
            (State::Rising { digit, hits }, Some(now)) if now == digit => (State::Rising { digit, hits: hits + 1 }, None),
            (State::Rising { .. }, Some(digit)) => (State::Rising { digit, hits: 1 }, None),
            (State::Down { digit, hits, misses }, Some(now)) if now == digit => {
                (State::Down { digit, hits: hits + misses + 1, misses: 0 }, None)
            }
            (State::Down { digit, hits, misses }, None) if misses + 1 < MISSES_TO_END => {
                (State::Down { digit, hits, misses: misses + 1 }, None)
            }
            (State::Down { digit, hits, .. }, None) => (State::Idle, Some(heard(digit, hits))),
            // Another key without a pause between: the block in which they meet is neither.
            (State::Down { digit, hits, .. }, Some(other)) => (State::Rising { digit: other, hits: 1 }, Some(heard(digit, hits))),
        };
        self.state = next;
        ended
    }
}

fn heard(digit: Digit, hits: u32) -> HeardDigit {
    // The first and the last block of a tone are hits when it fills most of them.
    let samples = (hits.saturating_sub(1)) * HOP as u32 + BLOCK as u32;
    HeardDigit { digit, duration: Duration::from_micros(u64::from(samples) * 1_000_000 / u64::from(SAMPLE_RATE)) }
}

fn measure(block: &[i16; BLOCK]) -> Option<Digit> {
    let energy: f32 = block.iter().map(|&sample| f32::from(sample) * f32::from(sample)).sum();
    if energy < QUIETEST * BLOCK as f32 {
        return None;
    }
    let (row, column) = (strongest(block, ROWS)?, strongest(block, COLUMNS)?);
    let (row_power, column_power) = (power_near(block, row), power_near(block, column));
    let is_balanced = column_power <= row_power * TWIST && row_power <= column_power * REVERSE_TWIST;
    // A sine of power P in the block's energy E shows as P·N/2 here, so that two pure ones give E·N/2.
    let is_pure = row_power + column_power >= PURITY * energy * BLOCK as f32 / 2.0;
    if !is_balanced || !is_pure {
        return None;
    }
    let is_voice = power_at(block, f32::from(row) * 2.0) > row_power * HARMONIC
        || power_at(block, f32::from(column) * 2.0) > column_power * HARMONIC;
    if is_voice {
        return None;
    }
    (0..16).filter_map(Digit::from_event).find(|digit| digit.frequencies() == (row, column))
}

fn strongest(block: &[i16; BLOCK], frequencies: [u16; 4]) -> Option<u16> {
    let powers = frequencies.map(|frequency| (frequency, power_at(block, f32::from(frequency))));
    let best = powers.into_iter().max_by(|left, right| left.1.total_cmp(&right.1))?;
    let stands_out = powers.iter().all(|other| other.0 == best.0 || best.1 >= other.1 * STANDOUT);
    stands_out.then_some(best.0)
}

/// The power of a sine that is at most 1.5 % off, which is far enough to fall between the block's lines.
fn power_near(block: &[i16; BLOCK], frequency: u16) -> f32 {
    [0.985, 0.9925, 1.0, 1.0075, 1.015]
        .into_iter()
        .map(|factor| power_at(block, f32::from(frequency) * factor))
        .fold(0.0, f32::max)
}

/// The squared magnitude of the block's spectrum at a frequency (Goertzel).
fn power_at(block: &[i16; BLOCK], frequency: f32) -> f32 {
    let coefficient = 2.0 * (TAU * frequency / SAMPLE_RATE as f32).cos();
    let (mut last, mut before) = (0.0f32, 0.0f32);
    for &sample in block {
        let next = f32::from(sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    last * last + before * before - coefficient * last * before
}

/// Makes the tones of one key.
#[derive(Debug, Clone)]
pub struct DtmfGenerator {
    row_step: f32,
    column_step: f32,
    sample: u32,
}

/// -10 dBm0 and -8 dBm0: the column is a little stronger, because lines weaken high frequencies more.
const ROW_PEAK: f32 = 7100.0;
const COLUMN_PEAK: f32 = 8900.0;

impl DtmfGenerator {
    /// Begins a key.
    pub fn new(digit: Digit) -> Self {
        let (row, column) = digit.frequencies();
        let step = |frequency: u16| f32::from(frequency) / SAMPLE_RATE as f32;
        DtmfGenerator { row_step: step(row), column_step: step(column), sample: 0 }
    }

    /// The next sample at 8 kHz.
    pub fn next_sample(&mut self) -> i16 {
        // Whole turns are taken off before the sine, so that a long tone stays exact.
        let at = |step: f32| (TAU * (step * self.sample as f32).fract()).sin();
        let level = at(self.row_step) * ROW_PEAK + at(self.column_step) * COLUMN_PEAK;
        // Every frequency is a whole number of Hz: one second later all begins again.
        self.sample = (self.sample + 1) % SAMPLE_RATE;
        level as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    fn tone(digit: char, milliseconds: usize) -> Vec<i16> {
        let mut generator = DtmfGenerator::new(Digit::from_char(digit).unwrap());
        (0..milliseconds * 8).map(|_| generator.next_sample()).collect()
    }

    fn silence(milliseconds: usize) -> Vec<i16> {
        vec![0; milliseconds * 8]
    }

    fn two_tones(row: f32, column: f32, row_peak: f32, column_peak: f32, milliseconds: usize) -> Vec<i16> {
        let turn = TAU / SAMPLE_RATE as f32;
        (0..milliseconds * 8)
            .map(|n| (row_peak * (turn * row * n as f32).sin() + column_peak * (turn * column * n as f32).sin()) as i16)
            .collect()
    }

    fn keys(parts: &[Vec<i16>]) -> Vec<HeardDigit> {
        let mut detector = DtmfDetector::default();
        let mut keys = Vec::new();
        detector.push(parts.concat().into_iter().chain(silence(100)), |digit| keys.push(digit));
        keys
    }

    fn text(parts: &[Vec<i16>]) -> String {
        keys(parts).iter().map(|key| key.digit.as_char()).collect()
    }

    #[test]
    fn every_key_is_heard_and_measured() {
        for event in 0..16 {
            let digit = Digit::from_event(event).unwrap();
            let heard = keys(&[silence(33), tone(digit.as_char(), 100)]);
            let [key] = heard[..] else { panic!("{digit}: {heard:?}") };
            assert_eq!(key.digit, digit);
            assert!((80..=120).contains(&key.duration.as_millis()), "{digit}: {:?}", key.duration);
        }
    }

    #[test]
    fn forty_milliseconds_are_enough_wherever_they_begin() {
        for lead in 0..BLOCK {
            assert_eq!(text(&[vec![0; lead], tone('5', 40)]), "5", "{lead}");
        }
    }

    #[test]
    fn twenty_milliseconds_are_not_a_key() {
        for lead in 0..BLOCK {
            assert_eq!(text(&[vec![0; lead], tone('5', 20)]), "", "{lead}");
        }
    }

    #[test]
    fn a_key_pressed_twice_is_two_keys_and_a_drop_out_is_none() {
        assert_eq!(text(&[tone('7', 60), silence(50), tone('7', 60)]), "77");
        assert_eq!(text(&[tone('7', 60), silence(8), tone('7', 60)]), "7");
        assert_eq!(text(&[tone('1', 50), silence(40), tone('2', 50), silence(40), tone('3', 50)]), "123");
    }

    #[test]
    fn both_laws_of_g711_pass_keys() {
        for codec in Codec::ALL {
            let coded: Vec<i16> =
                tone('9', 60).into_iter().map(|sample| codec.decode_sample(codec.encode_sample(sample / 8))).collect();
            assert_eq!(text(&[coded]), "9", "{codec}");
        }
    }

    #[test]
    fn frequencies_may_be_off_by_a_percent_and_a_half_but_not_by_three_and_a_half() {
        for factor in [0.985, 1.015] {
            assert_eq!(text(&[two_tones(852.0 * factor, 1336.0 * factor, 7000.0, 7000.0, 80)]), "8");
        }
        assert_eq!(text(&[two_tones(852.0 * 1.045, 1336.0 * 1.035, 7000.0, 7000.0, 80)]), "");
    }

    #[test]
    fn twist_is_allowed_within_limits() {
        let decibels = |level: f32| 10f32.powf(level / 20.0);
        assert_eq!(text(&[two_tones(770.0, 1209.0, 3000.0, 3000.0 * decibels(8.0), 80)]), "4");
        assert_eq!(text(&[two_tones(770.0, 1209.0, 3000.0 * decibels(4.0), 3000.0, 80)]), "4");
        assert_eq!(text(&[two_tones(770.0, 1209.0, 1000.0, 1000.0 * decibels(14.0), 80)]), "");
        assert_eq!(text(&[two_tones(770.0, 1209.0, 1000.0 * decibels(12.0), 1000.0, 80)]), "");
    }

    #[test]
    fn noise_fifteen_decibels_below_does_not_hide_a_key() {
        let mut state = 12345u32;
        let mut noise = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i16) / 10
        };
        let noisy: Vec<i16> = tone('3', 80).into_iter().map(|sample| sample.saturating_add(noise())).collect();
        assert_eq!(text(&[noisy]), "3");
    }

    #[test]
    fn voices_and_call_progress_tones_are_not_keys() {
        // A voiced sound: a pitch that glides, with harmonics that fall off, over several seconds.
        let mut phase = 0.0f32;
        let voice: Vec<i16> = (0..8000 * 8)
            .map(|n| {
                let pitch = 110.0 + 90.0 * (n as f32 / 5000.0).sin();
                phase += TAU * pitch / 8000.0;
                (1..14).map(|harmonic| (phase * harmonic as f32).sin() * 9000.0 / harmonic as f32).sum::<f32>() as i16
            })
            .collect();
        assert_eq!(text(&[voice]), "");
        for (low, high) in [(350.0, 440.0), (440.0, 480.0), (480.0, 620.0), (697.0, 697.0), (1400.0, 2060.0), (941.0, 2200.0)] {
            assert_eq!(text(&[two_tones(low, high, 8000.0, 8000.0, 500)]), "", "{low}+{high}");
        }
    }

    #[test]
    fn a_key_still_down_is_reported_when_the_audio_ends() {
        let mut detector = DtmfDetector::default();
        detector.push(tone('6', 100), |digit| panic!("{digit:?} has not ended"));
        assert!(detector.sounding().is_some());
        assert_eq!(detector.flush().map(|key| key.digit), Digit::from_char('6'));
        assert_eq!(detector.flush(), None);
    }
}
