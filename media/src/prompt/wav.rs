//! The WAV files that need no decoder: mono G.711 and 16-bit PCM.
//!
//! Read by hand for two reasons. A decoder turns both G.711 codes for zero into the same sample, so a file would not
//! come out byte for byte as it went in. And programs that write WAV to a pipe (`espeak-ng --stdout`) cannot know its
//! size and leave a placeholder, which here simply means "to the end".

use crate::codec::Codec;

/// Samples of a WAV file as they lie in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PlainWav<'a> {
    /// One octet a sample.
    G711 { codec: Codec, rate: u32, data: &'a [u8] },
    /// Two octets a sample, little-endian.
    Pcm16 { rate: u32, data: &'a [u8] },
}

const FORMAT_PCM: u16 = 0x0001;
const FORMAT_ALAW: u16 = 0x0006;
const FORMAT_MULAW: u16 = 0x0007;
const FORMAT_EXTENSIBLE: u16 = 0xFFFE;

/// Finds the samples of a mono G.711 or 16-bit PCM file; `None` for every other file, WAV or not.
pub(super) fn read(bytes: &[u8]) -> Option<PlainWav<'_>> {
    let (riff, rest) = bytes.split_at_checked(12)?;
    if !riff.starts_with(b"RIFF") || !riff.ends_with(b"WAVE") {
        return None;
    }
    let mut rest = rest;
    let mut format: Option<(u16, u32)> = None;
    loop {
        let (header, body) = rest.split_at_checked(8)?;
        let declared = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?) as usize;
        let chunk = body.get(..declared.min(body.len()))?;
        match header.get(..4)? {
            b"fmt " => format = Some(mono_format(chunk)?),
            b"data" => {
                let (tag, rate) = format?;
                return Some(match tag {
                    FORMAT_MULAW => PlainWav::G711 { codec: Codec::Pcmu, rate, data: chunk },
                    FORMAT_ALAW => PlainWav::G711 { codec: Codec::Pcma, rate, data: chunk },
                    _ => PlainWav::Pcm16 { rate, data: chunk },
                });
            }
            _ => {}
        }
        // Chunks are padded to even sizes.
        rest = body.get(declared.checked_add(declared & 1)?..)?;
    }
}

/// The format tag and sample rate of a `fmt ` chunk, if it is one of the plain formats.
fn mono_format(chunk: &[u8]) -> Option<(u16, u32)> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(chunk.get(at..at + 2)?.try_into().ok()?));
    let (mut tag, channels, bits) = (u16_at(0)?, u16_at(2)?, u16_at(14)?);
    let rate = u32::from_le_bytes(chunk.get(4..8)?.try_into().ok()?);
    if tag == FORMAT_EXTENSIBLE {
        // The real tag is the first field of the sub-format GUID.
        tag = u16_at(24)?;
    }
    let plain = matches!((tag, bits), (FORMAT_PCM, 16) | (FORMAT_ALAW | FORMAT_MULAW, 8));
    (plain && channels == 1).then_some((tag, rate))
}

/// The samples of 16-bit little-endian PCM; an odd last octet is dropped.
pub(super) fn pcm16(data: &[u8]) -> impl Iterator<Item = i16> + '_ {
    data.chunks_exact(2).filter_map(|pair| Some(i16::from_le_bytes(pair.try_into().ok()?)))
}

#[cfg(test)]
pub(super) fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut out = Vec::from(*b"RIFF");
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0");
    out.extend(tag.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * u32::from(block)).to_le_bytes());
    out.extend(block.to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_g711_byte_for_byte() {
        let every_code: Vec<u8> = (0..=255).collect();
        let wav = file(FORMAT_MULAW, 1, 8000, 8, &every_code);
        assert_eq!(read(&wav), Some(PlainWav::G711 { codec: Codec::Pcmu, rate: 8000, data: &every_code }));
        let wav = file(FORMAT_ALAW, 1, 8000, 8, &every_code);
        assert_eq!(read(&wav), Some(PlainWav::G711 { codec: Codec::Pcma, rate: 8000, data: &every_code }));
    }

    #[test]
    fn skips_chunks_it_does_not_know_with_their_padding() {
        let plain = file(FORMAT_MULAW, 1, 8000, 8, b"abc");
        let mut wav = plain[..36].to_vec();
        wav.extend(b"LIST\x03\0\0\0xyz\0");
        wav.extend(&plain[36..]);
        assert_eq!(read(&wav), Some(PlainWav::G711 { codec: Codec::Pcmu, rate: 8000, data: b"abc" }));
    }

    #[test]
    fn placeholder_data_size_means_to_the_end() {
        let mut wav = file(FORMAT_PCM, 1, 22050, 16, &[1, 0, 2, 0]);
        wav[40..44].copy_from_slice(&0x7FFF_F000u32.to_le_bytes());
        let Some(PlainWav::Pcm16 { rate: 22050, data }) = read(&wav) else { panic!("{:?}", read(&wav)) };
        assert_eq!(pcm16(data).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn stereo_and_other_widths_are_left_to_the_decoder() {
        assert_eq!(read(&file(FORMAT_PCM, 2, 8000, 16, &[0; 8])), None);
        assert_eq!(read(&file(FORMAT_PCM, 1, 8000, 24, &[0; 9])), None);
    }

    #[test]
    fn no_prefix_of_a_file_is_read_out_of_bounds() {
        let wav = file(FORMAT_MULAW, 1, 8000, 8, &[0x55; 32]);
        for length in 0..wav.len() {
            if let Some(PlainWav::G711 { data, .. }) = read(&wav[..length]) {
                assert!(data.len() <= 32);
            }
        }
    }
}
