//! Ogg-Opus files (RFC 7845). symphonia reads the container, but has no Opus decoder.

use std::io::Cursor;

use bytes::Bytes;
use ogg::PacketReader;
use opus::{Channels, Decoder};

use super::{decode::Collector, error::Cause};

/// Opus always decodes at 48 kHz; granule positions and the pre-skip count in it (RFC 7845, section 4).
const RATE: u32 = 48_000;
/// The longest Opus packet, 120 ms, in samples of one channel.
const LONGEST_PACKET: usize = 5760;

/// Whether the first page of an Ogg file opens an Opus stream.
pub(super) fn is_ogg_opus(bytes: &[u8]) -> bool {
    // A page header with one segment is 28 octets long, and the first page holds nothing but the identification header.
    bytes.starts_with(b"OggS") && bytes.get(28..36) == Some(b"OpusHead")
}

/// The identification header (RFC 7845, section 5.1).
#[derive(Debug, PartialEq)]
struct Head {
    channels: Channels,
    /// Samples at 48 kHz to drop at the start.
    pre_skip: u64,
    /// Factor for every sample.
    gain: f32,
}

impl Head {
    fn parse(packet: &[u8]) -> Result<Self, Cause> {
        let bad = || Cause::NotAudio("damaged Opus header".to_owned());
        let byte = |at: usize| packet.get(at).copied().ok_or_else(bad);
        let word = |at: usize| Ok::<_, Cause>(u16::from_le_bytes([byte(at)?, byte(at + 1)?]));
        if !packet.starts_with(b"OpusHead") {
            return Err(bad());
        }
        let version = byte(8)?;
        if version & 0xF0 != 0 {
            return Err(Cause::Unsupported(format!("Ogg-Opus version {version}")));
        }
        let (channels, family) = (byte(9)?, byte(18)?);
        let channels = match (family, channels) {
            (0, 1) => Channels::Mono,
            (0, 2) => Channels::Stereo,
            _ => {
                return Err(Cause::Unsupported(format!("Opus with {channels} channels in mapping family {family}")));
            }
        };
        // Q7.8 decibels.
        let decibels = f32::from(word(16)? as i16) / 256.0;
        Ok(Self { channels, pre_skip: word(10)?.into(), gain: 10f32.powf(decibels / 20.0) })
    }
}

/// Decodes the first Opus stream of the file.
pub(super) fn decode(bytes: &Bytes, collector: &mut Collector<'_>) -> Result<(), Cause> {
    let broken = |error: ogg::OggReadError| Cause::NotAudio(error.to_string());
    let mut packets = PacketReader::new(Cursor::new(bytes));
    let first = packets.read_packet().map_err(broken)?.ok_or_else(|| Cause::NotAudio("damaged Opus header".to_owned()))?;
    let head = Head::parse(&first.data)?;
    let serial = first.stream_serial();
    let mut decoder = Decoder::new(RATE, head.channels).map_err(|error| Cause::Decoder(error.to_string()))?;
    let channels = head.channels as usize;
    let mut block = vec![0f32; LONGEST_PACKET * channels];
    // The position, in samples of the whole stream, at which the next packet begins.
    let mut position = 0u64;
    let mut seen_tags = false;
    loop {
        collector.check_budget()?;
        let packet = match packets.read_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            // A file that was cut off or damaged later on plays as far as it goes.
            Err(_) if !collector.is_empty() => break,
            Err(error) => return Err(broken(error)),
        };
        if packet.stream_serial() != serial {
            continue;
        }
        if !seen_tags {
            seen_tags = true;
            continue;
        }
        // An empty packet would be concealed as a loss; a damaged one is a click, not the end of the file.
        if packet.data.is_empty() {
            continue;
        }
        let Ok(samples) = decoder.decode_float(&packet.data, &mut block, false) else { continue };
        let samples = samples as u64;
        let mut end = samples;
        if packet.last_in_stream() && packet.absgp_page() >= position {
            // The last granule position says how much of the last packet is padding (RFC 7845, section 4.4).
            end = end.min(packet.absgp_page() - position);
        }
        let start = head.pre_skip.saturating_sub(position).min(end);
        position += samples;
        let range = start as usize * channels..end as usize * channels;
        let Some(audible) = block.get_mut(range) else { continue };
        for sample in audible.iter_mut() {
            *sample *= head.gain;
        }
        collector.push(RATE, channels, audible)?;
        if packet.last_in_stream() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(channels: u8, family: u8) -> Vec<u8> {
        let mut packet = b"OpusHead".to_vec();
        packet.extend([1, channels, 0x38, 0x01, 0x80, 0xBB, 0, 0, 0, 0xFA, family]);
        packet
    }

    #[test]
    fn header_gives_channels_pre_skip_and_gain() {
        let head = Head::parse(&head(2, 0)).unwrap();
        assert_eq!((head.channels, head.pre_skip), (Channels::Stereo, 312));
        // 0xFA00 is -6 dB.
        assert!((head.gain - 0.501).abs() < 0.001);
    }

    #[test]
    fn surround_and_future_versions_are_named_as_unsupported() {
        assert!(matches!(Head::parse(&head(6, 1)), Err(Cause::Unsupported(text)) if text.contains("6 channels")));
        let mut future = head(1, 0);
        future[8] = 0x10;
        assert!(matches!(Head::parse(&future), Err(Cause::Unsupported(text)) if text.contains("version 16")));
    }

    #[test]
    fn a_truncated_header_is_an_error() {
        let full = head(1, 0);
        for length in 0..full.len() {
            assert!(Head::parse(&full[..length]).is_err(), "{length}");
        }
    }
}
