//! Mono sample rate conversion of a whole prompt, fed in pieces.

use rubato::{Fft, FixedSync, Resampler as _, audioadapter_buffers::direct::InterleavedSlice};

use super::error::Cause;

/// Rates outside this range are no telephone audio, and a forged one would size the filter.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=384_000;

/// Converts mono samples from one rate to another, band-limited, and collects 16-bit PCM.
pub(super) struct Resampler {
    conversion: Option<Conversion>,
    out: Vec<i16>,
}

struct Conversion {
    filter: Fft<f32>,
    chunk: Vec<f32>,
    converted: Vec<f32>,
    /// Output samples of the filter's delay that are still to be dropped.
    lead: usize,
    taken: u64,
    rate_in: u64,
    rate_out: u64,
}

impl Resampler {
    /// A converter from `rate_in` to `rate_out` Hz; equal rates pass samples through unchanged.
    pub(super) fn new(rate_in: u32, rate_out: u32) -> Result<Self, Cause> {
        if !RATES.contains(&rate_in) {
            return Err(Cause::Unsupported(format!("sample rate {rate_in} Hz")));
        }
        let conversion = if rate_in == rate_out {
            None
        } else {
            let filter = Fft::<f32>::new(rate_in as usize, rate_out as usize, 1024, 1, FixedSync::Both)
                .map_err(|error| Cause::Unsupported(format!("sample rate {rate_in} Hz ({error})")))?;
            Some(Conversion {
                chunk: Vec::with_capacity(filter.input_frames_next()),
                converted: vec![0.0; filter.output_frames_max()],
                lead: filter.output_delay(),
                filter,
                taken: 0,
                rate_in: rate_in.into(),
                rate_out: rate_out.into(),
            })
        };
        Ok(Self { conversion, out: Vec::new() })
    }

    /// How many samples have come out so far.
    pub(super) fn produced(&self) -> usize {
        self.out.len()
    }

    /// Takes samples in the range -1.0 to 1.0.
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), Cause> {
        let Some(conversion) = &mut self.conversion else {
            self.out.extend(samples.iter().map(|&sample| to_i16(sample)));
            return Ok(());
        };
        conversion.taken += samples.len() as u64;
        conversion.feed(samples, &mut self.out)
    }

    /// The converted samples: as many as the input lasted.
    pub(super) fn finish(mut self) -> Result<Vec<i16>, Cause> {
        if let Some(conversion) = &mut self.conversion {
            let wanted = (conversion.taken * conversion.rate_out).div_ceil(conversion.rate_in) as usize;
            let silence = vec![0.0; conversion.filter.input_frames_next()];
            while self.out.len() < wanted {
                conversion.feed(&silence, &mut self.out)?;
            }
            self.out.truncate(wanted);
        }
        Ok(self.out)
    }
}

impl Conversion {
    fn feed(&mut self, mut samples: &[f32], out: &mut Vec<i16>) -> Result<(), Cause> {
        let failed = |error: &dyn std::fmt::Display| Cause::Decoder(format!("resampling: {error}"));
        while !samples.is_empty() {
            let wanted = self.filter.input_frames_next();
            let (now, later) = samples.split_at((wanted - self.chunk.len()).min(samples.len()));
            self.chunk.extend_from_slice(now);
            samples = later;
            if self.chunk.len() < wanted {
                return Ok(());
            }
            let frames = self.converted.len();
            let input = InterleavedSlice::new(&self.chunk, 1, wanted).map_err(|error| failed(&error))?;
            let mut output = InterleavedSlice::new_mut(&mut self.converted, 1, frames).map_err(|error| failed(&error))?;
            let (_, produced) = self.filter.process_into_buffer(&input, &mut output, None).map_err(|error| failed(&error))?;
            let dropped = self.lead.min(produced);
            self.lead -= dropped;
            out.extend(self.converted.iter().take(produced).skip(dropped).map(|&sample| to_i16(sample)));
            self.chunk.clear();
        }
        Ok(())
    }
}

fn to_i16(sample: f32) -> i16 {
    // `as` saturates, and turns NaN into 0.
    (sample * 32768.0).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hz: f32, samples: usize) -> Vec<f32> {
        (0..samples).map(|n| 0.5 * (n as f32 * hz * std::f32::consts::TAU / rate as f32).sin()).collect()
    }

    fn convert(rate_in: u32, samples: &[f32], piece: usize) -> Vec<i16> {
        let mut resampler = Resampler::new(rate_in, 8000).unwrap();
        for piece in samples.chunks(piece) {
            resampler.push(piece).unwrap();
        }
        resampler.finish().unwrap()
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    #[test]
    fn equal_rates_keep_every_16_bit_value() {
        let all: Vec<f32> = (i16::MIN..=i16::MAX).map(|s| f32::from(s) / 32768.0).collect();
        assert_eq!(convert(8000, &all, 777), (i16::MIN..=i16::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn length_follows_the_rates() {
        for rate in [11025, 16000, 22050, 32000, 44100, 48000, 96000] {
            assert_eq!(convert(rate, &tone(rate, 440.0, rate as usize), 1000).len(), 8000, "{rate}");
        }
    }

    #[test]
    fn keeps_what_lies_in_the_band_and_drops_what_would_alias() {
        let low = convert(48000, &tone(48000, 1000.0, 48000), 960);
        assert!((rms(&low[800..7200]) - 11585.0).abs() < 150.0, "{}", rms(&low[800..7200]));
        // 7 kHz sampled at 8 kHz would be heard as 1 kHz.
        let high = convert(48000, &tone(48000, 7000.0, 48000), 960);
        assert!(rms(&high[800..7200]) < 20.0, "{}", rms(&high[800..7200]));
    }

    #[test]
    fn result_does_not_depend_on_how_the_input_is_cut() {
        let input = tone(44100, 500.0, 30_000);
        assert_eq!(convert(44100, &input, 1), convert(44100, &input, 30_000));
    }

    #[test]
    fn forged_rates_are_refused() {
        for rate in [0, 1, 999, 400_000, u32::MAX] {
            assert!(matches!(Resampler::new(rate, 8000), Err(Cause::Unsupported(_))), "{rate}");
        }
    }
}
