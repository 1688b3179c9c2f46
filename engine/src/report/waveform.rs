//! How loud a recording is, in as many steps as a picture has room for.
#![expect(clippy::disallowed_methods, reason = "an IO edge: bounds how long a file is decoded")]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep_media::prompt::decode::{Audio, Limits, decode};

/// Steps of a waveform.
const STEPS: usize = 1_000;
const RATE: u32 = 8_000;
/// What one recording may cost: a page waits for it.
const LIMITS: Limits =
    Limits { max_bytes: 128 << 20, max_duration: Duration::from_secs(4 * 3_600), budget: Duration::from_secs(10) };

/// A recording, drawn.
#[derive(Debug)]
pub(crate) struct Waveform {
    /// Which of the call's recordings, from 1.
    pub number: usize,
    /// Its file's name.
    pub name: String,
    pub duration_ms: u64,
    /// The loudest sample of each step, 0 to 1.
    pub peaks: Vec<f64>,
}

/// Reads a recording; `None` when it is not there (any more), is not complete, or is too large. Blocks.
pub(crate) fn read(number: usize, path: &Path) -> Option<Waveform> {
    if std::fs::metadata(path).ok()?.len() > LIMITS.max_bytes {
        return None;
    }
    let octets = Bytes::from(std::fs::read(path).ok()?);
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let until = Instant::now() + LIMITS.budget;
    let audio = decode(&octets, extension, RATE, &LIMITS, &mut || Instant::now() > until);
    let samples = match audio.ok()? {
        Audio::Linear { samples, .. } => samples,
        Audio::G711 { codec, data } => {
            let mut samples = Vec::with_capacity(data.len());
            codec.decode(&data, &mut samples);
            samples
        }
    };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    Some(Waveform { number, name, duration_ms: samples.len() as u64 * 1_000 / u64::from(RATE), peaks: peaks(&samples) })
}

fn peaks(samples: &[i16]) -> Vec<f64> {
    let step = samples.len().div_ceil(STEPS).max(1);
    let loudest = |samples: &[i16]| samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    samples.chunks(step).map(|chunk| f64::from(loudest(chunk)) / 32_768.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waveform_has_a_peak_for_every_step() {
        let mut samples = vec![0i16; 10_000];
        samples[5_000] = i16::MIN;
        let peaks = peaks(&samples);
        assert_eq!(peaks.len(), STEPS);
        assert_eq!(peaks.iter().position(|peak| *peak > 0.0), Some(500));
        assert_eq!(peaks[500], 1.0);
        assert_eq!(super::peaks(&[]), Vec::<f64>::new());
    }
}
