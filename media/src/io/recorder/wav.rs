//! WAV files of 16-bit PCM whose length is known only at the end.

use std::io::{self, Seek, SeekFrom, Write};

const HEADER_LEN: u32 = 44;

/// Writes interleaved samples; [`Self::finish`] puts the sizes into the header.
pub(super) struct WavWriter<W> {
    out: W,
    /// Octets of samples.
    length: u64,
    octets: Vec<u8>,
}

impl<W: Write + Seek> WavWriter<W> {
    pub(super) fn new(mut out: W, channels: u8, rate: u32) -> io::Result<Self> {
        let frame = u32::from(channels) * 2;
        let mut header = Vec::with_capacity(HEADER_LEN as usize);
        // Until it is finished, the sizes say "to the end", so that a file of an engine that was killed still plays.
        header.extend(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0");
        header.extend(u16::from(channels).to_le_bytes());
        header.extend(rate.to_le_bytes());
        header.extend((rate * frame).to_le_bytes());
        header.extend((frame as u16).to_le_bytes());
        header.extend(16u16.to_le_bytes());
        header.extend(b"data\xff\xff\xff\xff");
        out.write_all(&header)?;
        Ok(Self { out, length: 0, octets: Vec::new() })
    }

    pub(super) fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        self.octets.clear();
        self.octets.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        self.length += self.octets.len() as u64;
        self.out.write_all(&self.octets)
    }

    pub(super) fn finish(mut self) -> io::Result<()> {
        // Past 4 GiB (37 hours in stereo) the sizes stay at "to the end".
        if let Ok(length) = u32::try_from(self.length + u64::from(HEADER_LEN)) {
            self.out.seek(SeekFrom::Start(4))?;
            self.out.write_all(&(length - 8).to_le_bytes())?;
            self.out.seek(SeekFrom::Start(40))?;
            self.out.write_all(&(length - HEADER_LEN).to_le_bytes())?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::prompt::{Audio, Limits, decode::decode};

    fn file(finish: bool) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, 1, 8000).unwrap();
        writer.write(&[1, -2, 300]).unwrap();
        writer.write(&[i16::MIN]).unwrap();
        if finish {
            writer.finish().unwrap();
        }
        bytes.into_inner()
    }

    fn samples(bytes: Vec<u8>) -> Vec<i16> {
        match decode(&bytes.into(), "wav", 8000, &Limits::default(), &mut || false) {
            Ok(Audio::Linear { samples, .. }) => samples,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_header_tells_the_sizes_once_finished() {
        let bytes = file(true);
        assert_eq!(bytes[4..8], 44u32.to_le_bytes());
        assert_eq!(bytes[40..44], 8u32.to_le_bytes());
        assert_eq!(samples(bytes), [1, -2, 300, i16::MIN]);
    }

    #[test]
    fn a_file_that_was_never_finished_plays_to_its_end() {
        assert_eq!(samples(file(false)), [1, -2, 300, i16::MIN]);
    }

    #[test]
    fn past_4_gib_the_header_says_to_the_end() {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, 1, 8000).unwrap();
        writer.write(&[1, 2]).unwrap();
        writer.length = u64::from(u32::MAX) - 40;
        writer.finish().unwrap();
        assert_eq!(samples(bytes.into_inner()), [1, 2]);
    }

    #[test]
    fn stereo_halves_the_playing_time_and_not_the_sample_rate() {
        let mut bytes = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut bytes, 2, 8000).unwrap();
        writer.write(&[100, 300, 100, 300]).unwrap();
        writer.finish().unwrap();
        assert_eq!(samples(bytes.into_inner()), [200, 200]);
    }
}
