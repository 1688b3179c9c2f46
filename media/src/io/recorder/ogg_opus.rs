//! Ogg-Opus files (RFC 7845).

use std::io::{self, Write};

use ogg::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Bitrate, Channels, Encoder};

/// Granule positions count samples at 48 kHz whatever was encoded.
const GRANULE_RATE: u32 = 48_000;
/// Packets of 20 ms on a page, which is written as soon as it is full: in the file of an engine that was killed, a second is missing
/// at most of what got here.
const PACKETS_A_PAGE: u32 = 50;
/// Plenty for speech, bit/s for each channel.
const BITRATE: i32 = 24_000;
const MAX_PACKET: usize = 1275;

/// Encodes interleaved samples into 20 ms packets.
pub(super) struct OggOpusWriter<W: Write> {
    out: PacketWriter<'static, W>,
    encoder: Encoder,
    serial: u32,
    channels: usize,
    /// Samples at 48 kHz for each sample of the input.
    scale: u64,
    /// Interleaved samples of one packet.
    frame_len: usize,
    frame: Vec<i16>,
    /// Samples of one channel taken so far.
    length: u64,
    pre_skip: u64,
    granule: u64,
    packets: u32,
    /// The packet before the next: the last one of a stream must be known as such when it is written.
    held: Option<Vec<u8>>,
}

impl<W: Write> OggOpusWriter<W> {
    /// `rate` is one of Opus' own: 8, 12, 16, 24 or 48 kHz.
    pub(super) fn new(out: W, channels: u8, rate: u32, serial: u32) -> io::Result<Self> {
        let layout = if channels == 2 { Channels::Stereo } else { Channels::Mono };
        let mut encoder = Encoder::new(rate, layout, Application::Voip).map_err(io::Error::other)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE * i32::from(channels))).map_err(io::Error::other)?;
        let scale = u64::from(GRANULE_RATE / rate.max(1));
        let lookahead = encoder.get_lookahead().map_err(io::Error::other)?;
        let pre_skip = u64::try_from(lookahead).unwrap_or(0) * scale;

        let mut head = Vec::from(*b"OpusHead\x01");
        head.push(channels);
        head.extend((pre_skip as u16).to_le_bytes());
        head.extend(rate.to_le_bytes());
        head.extend([0, 0, 0]);
        let mut tags = Vec::from(*b"OpusTags");
        tags.extend(8u32.to_le_bytes());
        tags.extend(b"Lockstep");
        tags.extend(0u32.to_le_bytes());
        let mut out = PacketWriter::new(out);
        out.write_packet(head, serial, PacketWriteEndInfo::EndPage, 0)?;
        out.write_packet(tags, serial, PacketWriteEndInfo::EndPage, 0)?;
        out.inner_mut().flush()?;

        let frame_len = (rate / 50) as usize * usize::from(channels);
        Ok(Self {
            out,
            encoder,
            serial,
            channels: channels.into(),
            scale,
            frame_len,
            frame: Vec::with_capacity(frame_len),
            length: 0,
            pre_skip,
            granule: 0,
            packets: 0,
            held: None,
        })
    }

    pub(super) fn write(&mut self, mut samples: &[i16]) -> io::Result<()> {
        self.length += (samples.len() / self.channels.max(1)) as u64;
        while !samples.is_empty() {
            let (now, later) = samples.split_at((self.frame_len - self.frame.len()).min(samples.len()));
            self.frame.extend_from_slice(now);
            samples = later;
            if self.frame.len() == self.frame_len {
                self.encode()?;
            }
        }
        Ok(())
    }

    /// Fills up the last packet, and says in the last page how much of it counts.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let end = self.pre_skip + self.length * self.scale;
        // The decoder starts `pre_skip` late, so as much must follow the last sample.
        while self.encoded() < end {
            self.frame.resize(self.frame_len, 0);
            self.encode()?;
        }
        if let Some(last) = self.held.take() {
            self.out.write_packet(last, self.serial, PacketWriteEndInfo::EndStream, end)?;
        }
        self.out.inner_mut().flush()
    }

    /// The granule position after all packets encoded so far.
    fn encoded(&self) -> u64 {
        self.granule + if self.held.is_some() { self.packet_length() } else { 0 }
    }

    fn packet_length(&self) -> u64 {
        u64::from(GRANULE_RATE / 50)
    }

    fn encode(&mut self) -> io::Result<()> {
        let packet = self.encoder.encode_vec(&self.frame, MAX_PACKET).map_err(io::Error::other)?;
        self.frame.clear();
        if let Some(before) = self.held.replace(packet) {
            self.granule += self.packet_length();
            self.packets += 1;
            let is_full = self.packets.is_multiple_of(PACKETS_A_PAGE);
            let end = if is_full { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            self.out.write_packet(before, self.serial, end, self.granule)?;
            if is_full {
                self.out.inner_mut().flush()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use webrtc_media::io::ogg_reader::OggReader;

    use super::*;
    use crate::prompt::{Audio, Limits, decode::decode};

    fn record(channels: u8, samples: &[i16]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = OggOpusWriter::new(&mut bytes, channels, 8000, 7).unwrap();
        for piece in samples.chunks(333) {
            writer.write(piece).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    fn play(bytes: Vec<u8>) -> Vec<i16> {
        match decode(&bytes.into(), "ogg", 8000, &Limits::default(), &mut || false) {
            Ok(Audio::Linear { samples, .. }) => samples,
            other => panic!("{other:?}"),
        }
    }

    fn tone(samples: usize) -> Vec<i16> {
        (0..samples).map(|n| (10_000.0 * (n as f64 * 440.0 * std::f64::consts::TAU / 8000.0).sin()) as i16).collect()
    }

    #[test]
    fn what_was_recorded_is_played_back_in_time_and_shape() {
        for length in [1, 159, 160, 161, 8000, 12_345] {
            let tone = tone(length);
            let played = play(record(1, &tone));
            assert_eq!(played.len(), length, "as long as recorded");
            if length > 4000 {
                // Aligned to the sample: a shift of the tone would make the difference as loud as the tone.
                let error: f64 = tone.iter().zip(&played).skip(400).take(3200).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                let power: f64 = tone.iter().skip(400).take(3200).map(|a| f64::from(*a).powi(2)).sum();
                assert!(error / power < 0.05, "{}", error / power);
            }
        }
    }

    #[test]
    fn both_channels_are_kept() {
        let stereo: Vec<i16> = tone(4000).into_iter().flat_map(|sample| [sample, 0]).collect();
        let played = play(record(2, &stereo));
        let loudest = played.iter().map(|sample| sample.unsigned_abs()).max().unwrap();
        assert!((4000..6500).contains(&loudest), "half of one channel's level in the mix: {loudest}");
    }

    #[test]
    fn a_file_that_was_never_finished_plays_to_within_a_second_of_its_end() {
        let buffer = io::BufWriter::with_capacity(1 << 20, Vec::new());
        let mut writer = OggOpusWriter::new(buffer, 1, 8000, 7).unwrap();
        let written = |writer: &mut OggOpusWriter<io::BufWriter<Vec<u8>>>| writer.out.inner_mut().get_ref().clone();
        assert!(written(&mut writer).starts_with(b"OggS"), "the headers");
        writer.write(&tone(24_000)).unwrap();
        let samples = play(written(&mut writer)).len();
        assert!((15_900..=24_000).contains(&samples), "{samples}");
    }

    #[test]
    fn another_reader_accepts_every_page() {
        let bytes = record(1, &tone(40_000));
        let (mut reader, header) = OggReader::new(std::io::Cursor::new(&bytes), true).unwrap();
        assert_eq!((header.channels, header.sample_rate), (1, 8000));
        let mut granules = Vec::new();
        while let Ok((_, page)) = reader.parse_next_page() {
            granules.push(page.granule_position);
        }
        let pre_skip = u64::from(header.pre_skip);
        assert_eq!(granules.last(), Some(&(pre_skip + 40_000 * 6)));
        assert!(granules.is_sorted());
    }
}
