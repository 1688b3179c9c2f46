//! Any audio file to mono PCM, within limits.
//!
//! Files come from customers and from web servers: sizes, durations and decoding time are bounded, and a panic of a
//! decoder is caught at the boundary and becomes an error of this one file.

use std::{
    io::{self, Cursor},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use bytes::Bytes;
use symphonia::core::{
    audio::sample::Sample as _,
    codecs::audio::AudioDecoderOptions,
    errors::Error as DecodeError,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

use super::{
    error::Cause,
    ogg_opus,
    resample::Resampler,
    wav::{self, PlainWav},
};
use crate::codec::Codec;

/// The rate of G.711, Hz.
const G711_RATE: u32 = 8000;

/// What one prompt may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the file.
    pub max_bytes: u64,
    /// Playing time.
    pub max_duration: Duration,
    /// Wall time of decoding and resampling.
    pub budget: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 32 << 20, max_duration: Duration::from_secs(3600), budget: Duration::from_secs(20) }
    }
}

/// Decoded mono audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audio {
    /// 8 kHz G.711 as it lay in the file, never decoded.
    G711 {
        /// PCMU or PCMA.
        codec: Codec,
        /// One octet a sample.
        data: Bytes,
    },
    /// Linear PCM.
    Linear {
        /// Samples a second, Hz.
        rate: u32,
        /// One value a sample.
        samples: Vec<i16>,
    },
}

/// Decodes `bytes`, whose name ended in `extension` (without the dot, `""` for none), to mono at `rate` Hz.
///
/// G.711 that is already at 8 kHz comes back as it is. `expired` is asked between packets whether the budget of
/// [`Limits`] is used up.
///
/// # Errors
/// Every [`Cause`] but `Io`, `Fetch`, `CutOff` and `Busy`.
pub fn decode(
    bytes: &Bytes,
    extension: &str,
    rate: u32,
    limits: &Limits,
    expired: &mut dyn FnMut() -> bool,
) -> Result<Audio, Cause> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(Cause::TooLarge { bytes: bytes.len() as u64, max: limits.max_bytes });
    }
    let audio = catch_unwind(AssertUnwindSafe(|| {
        let collector = Collector { rate, limits, expired, input: None };
        decode_within(bytes, extension, collector)
    }))
    .unwrap_or_else(|panic| Err(Cause::Decoder(panic_text(panic.as_ref()))))?;
    let length = match &audio {
        Audio::G711 { data, .. } => data.len(),
        Audio::Linear { samples, .. } => samples.len(),
    };
    if length == 0 { Err(Cause::Empty) } else { Ok(audio) }
}

fn decode_within(bytes: &Bytes, extension: &str, mut collector: Collector<'_>) -> Result<Audio, Cause> {
    let raw_codec = match extension.to_ascii_lowercase().as_str() {
        "ulaw" | "ul" | "mulaw" | "pcmu" => Some(Codec::Pcmu),
        "alaw" | "al" | "pcma" => Some(Codec::Pcma),
        _ => None,
    };
    if let Some(codec) = raw_codec {
        return collector.g711(codec, G711_RATE, bytes.clone());
    }
    match wav::read(bytes) {
        Some(PlainWav::G711 { codec, rate, data }) => return collector.g711(codec, rate, bytes.slice_ref(data)),
        Some(PlainWav::Pcm16 { rate, data }) => {
            let mut block = Vec::with_capacity(4096);
            for octets in data.chunks(8192) {
                block.clear();
                block.extend(wav::pcm16(octets).map(|sample| f32::from(sample) / 32768.0));
                collector.push(rate, 1, &block)?;
            }
            return collector.finish();
        }
        None => {}
    }
    if ogg_opus::is_ogg_opus(bytes) {
        ogg_opus::decode(bytes, &mut collector)?;
    } else {
        decode_with_symphonia(bytes, extension, &mut collector)?;
    }
    collector.finish()
}

fn decode_with_symphonia(bytes: &Bytes, extension: &str, collector: &mut Collector<'_>) -> Result<(), Cause> {
    let mut hint = Hint::new();
    if !extension.is_empty() {
        hint.with_extension(extension);
    }
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes.clone())), Default::default());
    let mut format = symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| match error {
        DecodeError::Unsupported(feature) => Cause::NotAudio(feature.to_owned()),
        error => Cause::NotAudio(error.to_string()),
    })?;
    let track = format.default_track(TrackType::Audio).ok_or_else(|| Cause::NotAudio("no audio track".to_owned()))?;
    let track_id = track.id;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| Cause::Unsupported("unknown codec".to_owned()))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(|error| Cause::Unsupported(error.to_string()))?;

    let mut block: Vec<f32> = Vec::new();
    let mut last_error = None;
    loop {
        collector.check_budget()?;
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            // A chained stream starts anew here: what follows is another recording.
            Ok(None) | Err(DecodeError::ResetRequired) => break,
            // A file that was cut off plays as far as it goes.
            Err(DecodeError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => {
                last_error = Some(error);
                break;
            }
        };
        if packet.track_id != track_id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(buffer) => {
                block.resize(buffer.samples_interleaved(), f32::MID);
                buffer.copy_to_slice_interleaved(&mut block);
                collector.push(buffer.spec().rate(), buffer.num_planes(), &block)?;
            }
            // One damaged packet is a click, not the end of the file.
            Err(error @ DecodeError::DecodeError(_)) => last_error = Some(error),
            Err(error) => {
                last_error = Some(error);
                break;
            }
        }
    }
    match last_error {
        Some(error) if collector.is_empty() => Err(Cause::NotAudio(error.to_string())),
        _ => Ok(()),
    }
}

/// Takes decoded blocks of any shape, watches the limits, and gives mono at the wanted rate.
pub(super) struct Collector<'a> {
    rate: u32,
    limits: &'a Limits,
    expired: &'a mut dyn FnMut() -> bool,
    input: Option<Input>,
}

struct Input {
    rate: u32,
    resampler: Resampler,
    mono: Vec<f32>,
}

impl Collector<'_> {
    /// Refuses to go on when the time for this prompt is over.
    pub(super) fn check_budget(&mut self) -> Result<(), Cause> {
        if (self.expired)() { Err(Cause::TooSlow { budget: self.limits.budget }) } else { Ok(()) }
    }

    /// Whether no sample has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.input.is_none()
    }

    /// Takes interleaved samples of `channels` channels at `rate` Hz.
    pub(super) fn push(&mut self, rate: u32, channels: usize, interleaved: &[f32]) -> Result<(), Cause> {
        if channels == 0 || interleaved.is_empty() {
            return Ok(());
        }
        self.check_budget()?;
        let input = match &mut self.input {
            Some(input) => input,
            None => self.input.insert(Input { rate, resampler: Resampler::new(rate, self.rate)?, mono: Vec::new() }),
        };
        if input.rate != rate {
            return Err(Cause::Unsupported(format!("the sample rate changes from {} to {rate} Hz", input.rate)));
        }
        if channels == 1 {
            input.resampler.push(interleaved)?;
        } else {
            let share = 1.0 / channels as f32;
            input.mono.clear();
            input.mono.extend(interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * share));
            input.resampler.push(&input.mono)?;
        }
        if input.resampler.produced() as u64 > samples_in(self.limits.max_duration, self.rate) {
            return Err(Cause::TooLong { max: self.limits.max_duration });
        }
        Ok(())
    }

    fn g711(mut self, codec: Codec, rate: u32, data: Bytes) -> Result<Audio, Cause> {
        if rate != G711_RATE {
            for block in data.chunks(4096) {
                let block: Vec<f32> = block.iter().map(|&code| f32::from(codec.decode_sample(code)) / 32768.0).collect();
                self.push(rate, 1, &block)?;
            }
            return self.finish();
        }
        if data.len() as u64 > samples_in(self.limits.max_duration, G711_RATE) {
            return Err(Cause::TooLong { max: self.limits.max_duration });
        }
        Ok(Audio::G711 { codec, data })
    }

    fn finish(self) -> Result<Audio, Cause> {
        let samples = match self.input {
            Some(input) => input.resampler.finish()?,
            None => Vec::new(),
        };
        Ok(Audio::Linear { rate: self.rate, samples })
    }
}

fn samples_in(duration: Duration, rate: u32) -> u64 {
    duration.as_millis() as u64 * u64::from(rate) / 1000
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(bytes: impl Into<Bytes>, extension: &str) -> Result<Vec<i16>, Cause> {
        match decode(&bytes.into(), extension, 8000, &Limits::default(), &mut || false)? {
            Audio::Linear { rate: 8000, samples } => Ok(samples),
            other => panic!("expected linear audio, got {other:?}"),
        }
    }

    fn sine(rate: u32, channels: u16) -> Vec<u8> {
        (0..rate / 2)
            .flat_map(|n| {
                let value = (12_000.0 * (n as f64 * 440.0 * std::f64::consts::TAU / f64::from(rate)).sin()) as i16;
                std::iter::repeat_n(value.to_le_bytes(), channels.into())
            })
            .flatten()
            .collect()
    }

    /// How strong one frequency is, relative to all there is: 1.0 for a pure tone.
    fn purity(samples: &[i16], hz: f64) -> f64 {
        let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
        for (n, &sample) in samples.iter().enumerate() {
            let phase = n as f64 * hz * std::f64::consts::TAU / 8000.0;
            let sample = f64::from(sample);
            re += sample * phase.cos();
            im += sample * phase.sin();
            power += sample * sample;
        }
        2.0 * (re * re + im * im) / (samples.len() as f64 * power)
    }

    #[test]
    fn sixteen_bit_pcm_at_the_codecs_rate_keeps_every_sample() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        let octets: Vec<u8> = all.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        assert_eq!(linear(wav::file(1, 1, 8000, 16, &octets), "wav"), Ok(all));
    }

    #[test]
    fn g711_comes_back_as_it_lay_in_the_file() {
        let codes: Vec<u8> = (0..=255).collect();
        for (tag, codec) in [(7, Codec::Pcmu), (6, Codec::Pcma)] {
            let file = Bytes::from(wav::file(tag, 1, 8000, 8, &codes));
            let audio = decode(&file, "wav", 8000, &Limits::default(), &mut || false);
            assert_eq!(audio, Ok(Audio::G711 { codec, data: codes.clone().into() }));
        }
        for (extension, codec) in [("ulaw", Codec::Pcmu), ("UL", Codec::Pcmu), ("al", Codec::Pcma)] {
            let audio = decode(&codes.clone().into(), extension, 8000, &Limits::default(), &mut || false);
            assert_eq!(audio, Ok(Audio::G711 { codec, data: codes.clone().into() }));
        }
    }

    #[test]
    fn other_rates_and_channels_become_8_khz_mono() {
        for (rate, channels) in [(8000, 2), (16_000, 1), (22_050, 1), (44_100, 2), (48_000, 6)] {
            let samples = linear(wav::file(1, channels, rate, 16, &sine(rate, channels)), "wav").unwrap();
            assert!(samples.len().abs_diff(4000) <= 1, "{rate}/{channels}: {}", samples.len());
            let purity = purity(&samples[200..3800], 440.0);
            assert!(purity > 0.99, "{rate}/{channels}: {purity}");
        }
    }

    #[test]
    fn opposite_channels_cancel_instead_of_one_being_dropped() {
        let octets: Vec<u8> = (0..800).flat_map(|_| [1000i16, -1000]).flat_map(i16::to_le_bytes).collect();
        assert_eq!(linear(wav::file(1, 2, 8000, 16, &octets), ""), Ok(vec![0; 800]));
    }

    #[test]
    fn what_is_not_audio_is_named_so() {
        for bytes in [&b"hello, this is text"[..], b"<html><body>404</body></html>", &[0; 5000], b"RIFF\xff\xff\xff\xffWAVE"] {
            assert!(matches!(linear(bytes.to_vec(), "wav"), Err(Cause::NotAudio(_) | Cause::Unsupported(_))));
        }
        assert_eq!(decode(&Bytes::new(), "ulaw", 8000, &Limits::default(), &mut || false), Err(Cause::Empty));
        assert_eq!(linear(wav::file(1, 1, 8000, 16, &[]), "wav"), Err(Cause::Empty));
    }

    #[test]
    fn limits_hold_for_size_duration_and_time() {
        let file: Bytes = wav::file(1, 1, 16_000, 16, &sine(16_000, 1)).into();
        let bytes = file.len() as u64;
        let limits = Limits { max_bytes: bytes - 1, ..Limits::default() };
        assert_eq!(decode(&file, "", 8000, &limits, &mut || false), Err(Cause::TooLarge { bytes, max: bytes - 1 }));
        let max = Duration::from_millis(300);
        let limits = Limits { max_duration: max, ..Limits::default() };
        assert_eq!(decode(&file, "", 8000, &limits, &mut || false), Err(Cause::TooLong { max }));
        assert_eq!(decode(&vec![0xff; 2401].into(), "ulaw", 8000, &limits, &mut || false), Err(Cause::TooLong { max }));
        let limits = Limits::default();
        let expired = decode(&file, "", 8000, &limits, &mut || true);
        assert_eq!(expired, Err(Cause::TooSlow { budget: limits.budget }));
    }

    #[test]
    fn damaged_files_of_every_format_never_panic_through() {
        // Formats are told by their first octets; what follows is noise of a fixed seed.
        let heads: [&[u8]; 8] = [
            b"fLaC\0\0\0\x22",
            b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x02",
            b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x1e\x01vorbis",
            b"ID3\x04\0\0\0\0\x0f\x7f",
            b"\xff\xfb\x90\x64",
            b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom\0\0\0\0\x7f\xff\xff\xffmoov",
            b"FORM\0\0\x10\0AIFFCOMM\0\0\0\x12",
            b"\xff\xf1\x50\x80",
        ];
        let mut state = 0x2545_F491_4F6C_DD1Du64;
        let mut noise = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        for head in heads {
            for length in [0, 1, 7, 64, 1000, 5000] {
                let file: Vec<u8> = head.iter().copied().chain(std::iter::repeat_with(&mut noise).take(length)).collect();
                let outcome = decode(&file.into(), "", 8000, &Limits::default(), &mut || false);
                assert!(!matches!(outcome, Err(Cause::Decoder(_))), "{head:?} {length}: {outcome:?}");
            }
        }
    }
}
