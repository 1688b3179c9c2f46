//! WAV files that were written by what is tested.

use std::path::Path;

use lockstep_media::codec::Codec;

/// The parts of a WAV file that a player goes by.
#[derive(Debug)]
pub struct Wav {
    format: u16,
    pub channels: usize,
    /// Samples a second.
    pub rate: u32,
    bits: u16,
    data: Vec<u8>,
}

impl Wav {
    /// Reads a file, whose lengths must be right.
    ///
    /// # Panics
    /// When there is none, or it is no WAV file.
    pub fn read(path: &Path) -> Self {
        let file = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let number =
            |at: usize, len: usize| file[at..at + len].iter().rev().fold(0_u32, |value, octet| value << 8 | u32::from(*octet));
        assert_eq!((&file[..4], &file[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
        assert_eq!(number(4, 4) as usize, file.len() - 8, "the RIFF header holds the length of the file");
        let (mut at, mut format, mut data) = (12, None, None);
        while at + 8 <= file.len() {
            let len = number(at + 4, 4) as usize;
            match &file[at..at + 4] {
                b"fmt " => format = Some(at + 8),
                b"data" => data = Some(file[at + 8..at + 8 + len].to_vec()),
                _ => {}
            }
            at += 8 + len + len % 2;
        }
        let format = format.expect("there is a fmt chunk");
        Self {
            format: number(format, 2) as u16,
            channels: number(format + 2, 2) as usize,
            rate: number(format + 4, 4),
            bits: number(format + 14, 2) as u16,
            data: data.expect("there is a data chunk"),
        }
    }

    /// One channel as µ-law, the law that these tests' calls use.
    ///
    /// # Panics
    /// When the file holds neither that nor 16-bit samples.
    pub fn channel(&self, channel: usize) -> Vec<u8> {
        match (self.format, self.bits) {
            (7, 8) => self.data.iter().skip(channel).step_by(self.channels).copied().collect(),
            (1, 16) => {
                let samples = self.data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                samples.skip(channel).step_by(self.channels).map(|sample| Codec::Pcmu.encode_sample(sample)).collect()
            }
            other => panic!("an unexpected format: {other:?}"),
        }
    }
}
