//! WAV files of G.711 octets, as they were on the wire.

use std::io::{self, Write};

use lockstep_media::codec::Codec;

/// `WAVE_FORMAT_ALAW` and `WAVE_FORMAT_MULAW` (RFC 2361 sections A.6 and A.7).
const FORMAT_ALAW: u16 = 6;
const FORMAT_MULAW: u16 = 7;
const SAMPLE_RATE: u32 = 8_000;

/// Writes `octets` as a mono 8 kHz WAV, one octet a sample.
///
/// # Errors
/// Those of `out`, and `InvalidInput` past the 4 GiB a WAV can hold.
pub fn write_g711(out: &mut impl Write, codec: Codec, octets: &[u8]) -> io::Result<()> {
    let format = match codec {
        Codec::Pcmu => FORMAT_MULAW,
        Codec::Pcma => FORMAT_ALAW,
    };
    // RIFF chunks are even; the pad octet does not count as data.
    let padding = octets.len() % 2;
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "more audio than a WAV file can hold");
    let data_len = u32::try_from(octets.len()).map_err(too_long)?;
    // "WAVE", then fmt (8 + 18), fact (8 + 4) and data (8 + n).
    let riff_len = u32::try_from(4 + 26 + 12 + 8 + octets.len() + padding).map_err(too_long)?;

    let mut head = Vec::with_capacity(58);
    head.extend_from_slice(b"RIFF");
    head.extend_from_slice(&riff_len.to_le_bytes());
    head.extend_from_slice(b"WAVEfmt ");
    head.extend_from_slice(&18u32.to_le_bytes());
    head.extend_from_slice(&format.to_le_bytes());
    head.extend_from_slice(&1u16.to_le_bytes());
    head.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    head.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    head.extend_from_slice(&1u16.to_le_bytes());
    head.extend_from_slice(&8u16.to_le_bytes());
    head.extend_from_slice(&0u16.to_le_bytes());
    head.extend_from_slice(b"fact");
    head.extend_from_slice(&4u32.to_le_bytes());
    head.extend_from_slice(&data_len.to_le_bytes());
    head.extend_from_slice(b"data");
    head.extend_from_slice(&data_len.to_le_bytes());
    out.write_all(&head)?;
    out.write_all(octets)?;
    out.write_all(&[0][..padding])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lockstep_media::prompt::decode::{Audio, Limits, decode};

    use super::*;

    #[test]
    fn what_is_written_is_read_back_octet_by_octet() {
        for (codec, octets) in [(Codec::Pcmu, vec![1, 2, 3]), (Codec::Pcma, vec![0xD5; 160])] {
            let mut file = Vec::new();
            write_g711(&mut file, codec, &octets).unwrap();
            assert_eq!(file.len() % 2, 0);
            assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize, file.len() - 8);
            let audio = decode(&Bytes::from(file), "wav", SAMPLE_RATE, &Limits::default(), &mut || false).unwrap();
            assert_eq!(audio, Audio::G711 { codec, data: octets.into() });
        }
    }
}
