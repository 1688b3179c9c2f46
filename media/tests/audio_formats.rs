//! Files as other programs wrote them: half a second of a 440 Hz tone (`tests/audio/`, made with sox, lame, opusenc and libavcodec).

use bytes::Bytes;
use lockstep_media::prompt::{Audio, Limits, decode::decode};

const FILES: [(&str, &[u8]); 4] = [
    ("flac", include_bytes!("audio/tone.flac")),
    ("mp3", include_bytes!("audio/tone.mp3")),
    ("ogg", include_bytes!("audio/tone.ogg")),
    ("opus", include_bytes!("audio/tone.opus")),
];

/// AAC in an MP4 file, and as a stream of its own.
const AAC: [(&str, &[u8]); 2] = [("m4a", include_bytes!("audio/tone.m4a")), ("aac", include_bytes!("audio/tone.aac"))];

/// The share of the signal's power at 440 Hz; 1.0 for a pure tone.
fn purity(samples: &[i16]) -> f64 {
    let (mut re, mut im, mut power) = (0.0, 0.0, 0.0);
    for (n, &sample) in samples.iter().enumerate() {
        let phase = n as f64 * 440.0 * std::f64::consts::TAU / 8000.0;
        re += f64::from(sample) * phase.cos();
        im += f64::from(sample) * phase.sin();
        power += f64::from(sample).powi(2);
    }
    2.0 * (re * re + im * im) / (samples.len() as f64 * power)
}

fn samples(bytes: &'static [u8], extension: &str) -> Vec<i16> {
    match decode(&Bytes::from_static(bytes), extension, 8000, &Limits::default(), &mut || false) {
        Ok(Audio::Linear { rate: 8000, samples }) => samples,
        other => panic!("{extension}: {other:?}"),
    }
}

#[test]
fn every_format_gives_the_tone_that_was_recorded() {
    for (extension, bytes) in FILES.into_iter().chain(AAC) {
        let samples = samples(bytes, extension);
        // An encoder may pad its last frame.
        assert!((4000..4700).contains(&samples.len()), "{extension}: {} samples", samples.len());
        let middle = &samples[1000..3000];
        assert!(purity(middle) > 0.98, "{extension}: {}", purity(middle));
    }
}

#[test]
fn the_name_is_only_a_hint() {
    for (extension, bytes) in FILES {
        assert_eq!(samples(bytes, extension), samples(bytes, ""), "{extension}");
        assert_eq!(samples(bytes, extension), samples(bytes, "wav"), "{extension}");
    }
}

#[test]
fn opus_plays_exactly_as_long_as_was_recorded() {
    let (_, opus) = FILES[3];
    assert_eq!(samples(opus, "opus").len(), 4000);
}

#[test]
fn a_file_that_was_cut_off_plays_as_far_as_it_goes_or_is_refused() {
    for (extension, bytes) in FILES {
        for length in (0..bytes.len()).step_by(97) {
            let file = Bytes::copy_from_slice(&bytes[..length]);
            if let Ok(Audio::Linear { samples, .. }) = decode(&file, extension, 8000, &Limits::default(), &mut || false) {
                assert!(samples.len() < 4700, "{extension} cut at {length}");
            }
        }
    }
}

#[test]
fn a_file_with_damaged_octets_never_brings_the_decoder_down() {
    for (extension, bytes) in FILES {
        for at in (0..bytes.len()).step_by(41) {
            for flip in [0x01, 0x80, 0xff] {
                let mut file = bytes.to_vec();
                file[at] ^= flip;
                let outcome = decode(&file.into(), extension, 8000, &Limits::default(), &mut || false);
                assert!(!matches!(outcome, Err(lockstep_media::prompt::Cause::Decoder(_))), "{extension} at {at}: {outcome:?}");
            }
        }
    }
}
