//! G.711 by table: ITU-T G.711 µ-law and A-law, 8 bits a sample.
//!
//! Decoding is one look-up. Encoding is one look-up too, indexed by the top 14 (µ-law) or 13 (A-law) bits of the sample,
//! which is all that either law can tell apart.

use std::sync::LazyLock;

use super::Codec;

/// Decodes one µ-law octet to 16-bit linear.
#[inline]
pub fn ulaw_to_linear(octet: u8) -> i16 {
    ULAW_DECODE[usize::from(octet)]
}

/// Decodes one A-law octet to 16-bit linear.
#[inline]
pub fn alaw_to_linear(octet: u8) -> i16 {
    ALAW_DECODE[usize::from(octet)]
}

/// Encodes one 16-bit linear sample as µ-law.
#[inline]
pub fn linear_to_ulaw(sample: i16) -> u8 {
    ULAW_ENCODE[usize::from(sample as u16 >> 2)]
}

/// Encodes one 16-bit linear sample as A-law.
#[inline]
pub fn linear_to_alaw(sample: i16) -> u8 {
    ALAW_ENCODE[usize::from(sample as u16 >> 3)]
}

/// Octet for octet from one law to another, with a gain: what transcoding and volume come down to for G.711.
pub type Translation = [u8; 256];

/// Builds the table that turns octets of `from` into octets of `to`, multiplied by `gain` (1.0 leaves the level alone).
pub fn translation(from: Codec, to: Codec, gain: f32) -> Translation {
    let mut table = [0; 256];
    for (octet, entry) in (0..=u8::MAX).zip(table.iter_mut()) {
        *entry = if from == to && gain == 1.0 {
            octet
        } else {
            let level = f32::from(from.decode_sample(octet)) * gain;
            to.encode_sample(level.clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16)
        };
    }
    table
}

/// The shared table from µ-law to A-law, for bridges between the two.
pub static ULAW_TO_ALAW: LazyLock<Translation> = LazyLock::new(|| translation(Codec::Pcmu, Codec::Pcma, 1.0));

/// The shared table from A-law to µ-law, for bridges between the two.
pub static ALAW_TO_ULAW: LazyLock<Translation> = LazyLock::new(|| translation(Codec::Pcma, Codec::Pcmu, 1.0));

const ULAW_BIAS: i32 = 0x84;
const ULAW_CLIP: i32 = 32635;

static ULAW_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = expand_ulaw(octet as u8);
        octet += 1;
    }
    table
};

static ALAW_DECODE: [i16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = expand_alaw(octet as u8);
        octet += 1;
    }
    table
};

static ULAW_ENCODE: [u8; 1 << 14] = {
    let mut table = [0; 1 << 14];
    let mut index = 0;
    while index < table.len() {
        table[index] = compress_ulaw(((index << 2) as u16 as i16) as i32);
        index += 1;
    }
    table
};

static ALAW_ENCODE: [u8; 1 << 13] = {
    let mut table = [0; 1 << 13];
    let mut index = 0;
    while index < table.len() {
        table[index] = compress_alaw(((index << 3) as u16 as i16) as i32);
        index += 1;
    }
    table
};

const fn expand_ulaw(octet: u8) -> i16 {
    let bits = !octet as i32;
    let segment = (bits >> 4) & 7;
    let magnitude = ((((bits & 0x0f) << 3) + ULAW_BIAS) << segment) - ULAW_BIAS;
    if bits & 0x80 != 0 { -magnitude as i16 } else { magnitude as i16 }
}

const fn compress_ulaw(sample: i32) -> u8 {
    let (sign, magnitude) = if sample < 0 { (0x80, -sample) } else { (0, sample) };
    let biased = if magnitude > ULAW_CLIP { ULAW_CLIP } else { magnitude } + ULAW_BIAS;
    let segment = 24 - biased.leading_zeros() as i32;
    let step = (biased >> (segment + 3)) & 0x0f;
    !(sign | (segment << 4) | step) as u8
}

const fn expand_alaw(octet: u8) -> i16 {
    let bits = (octet ^ 0x55) as i32;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) << 4;
    let magnitude = if segment == 0 { step + 8 } else { (step + 0x108) << (segment - 1) };
    if bits & 0x80 != 0 { magnitude as i16 } else { -magnitude as i16 }
}

const fn compress_alaw(sample: i32) -> u8 {
    // A-law has no zero: negative levels are counted from -1 downwards.
    let (sign, magnitude) = if sample < 0 { (0, -sample - 1) } else { (0x80, sample) };
    let segment = if magnitude < 0x100 { 0 } else { 24 - magnitude.leading_zeros() as i32 };
    let step = if segment == 0 { magnitude >> 4 } else { magnitude >> (segment + 3) };
    ((sign | (segment << 4) | (step & 0x0f)) ^ 0x55) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_of_the_standard() {
        // G.711 tables 1a and 2a: the ends and the middle of the scale.
        assert_eq!(ulaw_to_linear(0x00), -32124);
        assert_eq!(ulaw_to_linear(0x80), 32124);
        assert_eq!(ulaw_to_linear(0xff), 0);
        assert_eq!(alaw_to_linear(0x55), -8);
        assert_eq!(alaw_to_linear(0xd5), 8);
        assert_eq!(alaw_to_linear(0xaa), 32256);
        assert_eq!(alaw_to_linear(0x2a), -32256);
    }

    #[test]
    fn encoding_what_was_decoded_gives_the_same_octet() {
        for octet in 0..=u8::MAX {
            // µ-law has two zeros; the negative one comes back as the positive one.
            let expected = if octet == 0x7f { 0xff } else { octet };
            assert_eq!(linear_to_ulaw(ulaw_to_linear(octet)), expected);
            assert_eq!(linear_to_alaw(alaw_to_linear(octet)), octet);
        }
    }

    #[test]
    fn every_sample_is_within_half_a_step_of_its_code() {
        for sample in i16::MIN..=i16::MAX {
            let level = i32::from(sample);
            let allowed = 8 + level.abs() / 16;
            let ulaw = i32::from(ulaw_to_linear(linear_to_ulaw(sample)));
            let alaw = i32::from(alaw_to_linear(linear_to_alaw(sample)));
            // The last 644 levels are beyond the scale of µ-law and clip.
            assert!((ulaw - level).abs() <= allowed, "{sample} -> {ulaw}");
            assert!((alaw - level).abs() <= allowed + 8, "{sample} -> {alaw}");
        }
    }

    #[test]
    fn a_translation_without_gain_to_the_same_law_changes_nothing() {
        let table = translation(Codec::Pcma, Codec::Pcma, 1.0);
        assert!((0..=u8::MAX).all(|octet| table[usize::from(octet)] == octet));
    }

    #[test]
    fn halving_the_level_lowers_it_by_six_decibels() {
        let table = translation(Codec::Pcmu, Codec::Pcmu, 0.5);
        let loud = linear_to_ulaw(16000);
        let level = ulaw_to_linear(table[usize::from(loud)]);
        assert!((7600..=8400).contains(&level), "{level}");
    }
}
