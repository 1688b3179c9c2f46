//! A WAV file of two directions (RIFF, 16-bit PCM, 8 kHz).

const RATE: u32 = 8_000;
const CHANNELS: u16 = 2;

/// Left and right; the shorter one ends in silence.
pub(super) fn stereo(left: &[i16], right: &[i16]) -> Vec<u8> {
    let frames = left.len().max(right.len());
    let bytes = u32::try_from(frames * 4).unwrap_or(u32::MAX - 36);
    let mut file = Vec::with_capacity(44 + frames * 4);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&CHANNELS.to_le_bytes());
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&(RATE * 4).to_le_bytes());
    file.extend_from_slice(&4_u16.to_le_bytes());
    file.extend_from_slice(&16_u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&bytes.to_le_bytes());
    for index in 0..frames {
        for side in [left, right] {
            file.extend_from_slice(&side.get(index).copied().unwrap_or(0).to_le_bytes());
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_how_long_it_is() {
        let file = stereo(&[1, 2, 3], &[4]);
        assert_eq!(file.len(), 44 + 12);
        assert_eq!(&file[40..44], 12_u32.to_le_bytes());
        assert_eq!(&file[44..52], [1, 0, 4, 0, 2, 0, 0, 0]);
    }
}
