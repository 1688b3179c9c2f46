//! Audio as it came: octets placed by the timestamps of their packets, what never came marked as such.
//!
//! Nothing is decoded while the codec stays the same, so that what was heard can be compared with what was played, octet by
//! octet.

use std::ops::Range;

use lockstep_media::codec::Codec;

/// The longest kept, in octets: two hours of G.711.
const MAX_OCTETS: usize = 2 * 3600 * 8_000;
/// Room made at first, in octets: a minute, so that most calls never move what they have.
const FIRST_OCTETS: usize = 60 * 8_000;
/// A timestamp this far from the expected one (in ticks, 10 s) starts anew instead of leaving a gap.
const MAX_JUMP: i64 = 10 * 8_000;

/// The audio of one direction. Sans-IO.
#[derive(Debug, Default)]
pub(crate) struct Track {
    codec: Option<Codec>,
    octets: Vec<u8>,
    /// Octets that never came, which are silence: in order, none empty, no two that touch.
    gaps: Vec<Range<usize>>,
    anchor: Option<Anchor>,
}

/// Ties a stream's timestamps to places.
#[derive(Debug)]
struct Anchor {
    ssrc: u32,
    /// The timestamp last seen, and where its packet stands.
    timestamp: u32,
    position: i64,
}

impl Track {
    /// Puts a packet's audio where its timestamp says; whether there is such a place.
    pub(crate) fn place(&mut self, codec: Codec, ssrc: u32, timestamp: u32, payload: &[u8]) -> bool {
        let end = self.octets.len() as i64;
        let position = match &self.anchor {
            Some(anchor) if anchor.ssrc == ssrc => {
                // The difference as a signed number: timestamps wrap, and packets overtake each other.
                let position = anchor.position + i64::from(timestamp.wrapping_sub(anchor.timestamp) as i32);
                if (position - end).abs() > MAX_JUMP { end } else { position }
            }
            Some(_) | None => end,
        };
        self.anchor = Some(Anchor { ssrc, timestamp, position });
        // Older than the beginning: there is no place for it.
        usize::try_from(position).is_ok_and(|start| self.put(codec, start, payload))
    }

    /// Puts a packet's audio behind all that came before, whatever its timestamp; whether there is room.
    pub(crate) fn append(&mut self, codec: Codec, payload: &[u8]) -> bool {
        self.put(codec, self.octets.len(), payload)
    }

    fn put(&mut self, codec: Codec, start: usize, payload: &[u8]) -> bool {
        let Some(stop) = start.checked_add(payload.len()).filter(|stop| *stop <= MAX_OCTETS) else { return false };
        if self.codec.is_none() {
            self.octets.reserve(FIRST_OCTETS);
        }
        let own = *self.codec.get_or_insert(codec);
        let length = self.octets.len();
        if length < start {
            self.octets.resize(start, own.silence());
            self.gaps.push(length..start);
        }
        if codec == own && self.octets.len() == start {
            self.octets.extend_from_slice(payload);
            return true;
        }
        if self.octets.len() < stop {
            self.octets.resize(stop, own.silence());
        }
        for (to, from) in self.octets.iter_mut().skip(start).zip(payload) {
            *to = if codec == own { *from } else { own.encode_sample(codec.decode_sample(*from)) };
        }
        self.fill(start..stop);
        true
    }

    /// What is filled is no gap any more.
    fn fill(&mut self, filled: Range<usize>) {
        let first = self.gaps.partition_point(|gap| gap.end <= filled.start);
        let end = self.gaps.partition_point(|gap| gap.start < filled.end);
        let touched = self.gaps.get(first..end).unwrap_or_default();
        let (Some(before), Some(after)) = (touched.first(), touched.last()) else { return };
        let left = [before.start..filled.start, filled.end..after.end];
        self.gaps.splice(first..end, left.into_iter().filter(|gap| !gap.is_empty()));
    }

    /// The codec of the octets: that of the first packet.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// One octet a sample, 8 kHz; what never came is silence.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether the octet at this place came.
    pub(crate) fn is_known(&self, at: usize) -> bool {
        let next = self.gaps.partition_point(|gap| gap.end <= at);
        at < self.octets.len() && self.gaps.get(next).is_none_or(|gap| at < gap.start)
    }

    /// How many octets of these never came.
    pub(crate) fn missing(&self, within: Range<usize>) -> usize {
        let first = self.gaps.partition_point(|gap| gap.end <= within.start);
        let gaps = self.gaps.iter().skip(first).take_while(|gap| gap.start < within.end);
        gaps.map(|gap| gap.end.min(within.end) - gap.start.max(within.start)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: u8 = 0xFF;

    fn placed(packets: &[(u32, u32, &[u8])]) -> Track {
        let mut track = Track::default();
        for (ssrc, timestamp, payload) in packets {
            track.place(Codec::Pcmu, *ssrc, *timestamp, payload);
        }
        track
    }

    fn octets(packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
        placed(packets).octets().to_vec()
    }

    #[test]
    fn packets_stand_where_their_timestamps_say() {
        assert_eq!(octets(&[(1, 100, &[1, 2]), (1, 102, &[3, 4])]), [1, 2, 3, 4]);
        assert_eq!(octets(&[(1, 100, &[1, 2]), (1, 104, &[5, 6]), (1, 102, &[3, 4])]), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn gaps_are_silence_and_known_as_gaps() {
        let track = placed(&[(1, 100, &[1, 2]), (1, 104, &[5, 6]), (1, 107, &[8])]);
        assert_eq!(track.octets(), [1, 2, SILENCE, SILENCE, 5, 6, SILENCE, 8]);
        let known: Vec<bool> = (0..9).map(|at| track.is_known(at)).collect();
        assert_eq!(known, [true, true, false, false, true, true, false, true, false]);
        assert_eq!((track.missing(0..8), track.missing(3..7), track.missing(4..6)), (3, 2, 0));
    }

    #[test]
    fn what_comes_late_closes_gaps() {
        let mut track = placed(&[(1, 100, &[1]), (1, 110, &[2])]);
        assert_eq!(track.missing(0..11), 9);
        for (timestamp, missing) in [(104, 7), (101, 5), (108, 3), (103, 2), (104, 2), (106, 0)] {
            track.place(Codec::Pcmu, 1, timestamp, &[9, 9]);
            assert_eq!(track.missing(0..11), missing, "after {timestamp}");
        }
        assert!((0..11).all(|at| track.is_known(at)));
        assert_eq!(track.octets(), [1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2]);
    }

    #[test]
    fn what_is_appended_has_no_gaps() {
        let mut track = Track::default();
        assert!(track.append(Codec::Pcmu, &[1, 2]) && track.append(Codec::Pcmu, &[3]));
        assert!(track.append(Codec::Pcma, &[Codec::Pcma.silence()]));
        assert_eq!(track.octets()[..3], [1, 2, 3]);
        assert_eq!((track.octets().len(), track.missing(0..4)), (4, 0));
    }

    #[test]
    fn timestamps_may_wrap() {
        assert_eq!(octets(&[(1, u32::MAX, &[1]), (1, 1, &[3]), (1, 0, &[2])]), [1, 2, 3]);
    }

    #[test]
    fn a_packet_sent_twice_is_heard_once() {
        assert_eq!(octets(&[(1, 0, &[1]), (1, 1, &[2]), (1, 1, &[2]), (1, 2, &[3])]), [1, 2, 3]);
    }

    #[test]
    fn another_source_or_a_jump_goes_on_at_the_end() {
        assert_eq!(octets(&[(1, 100, &[1]), (2, 7_000_000, &[2])]), [1, 2]);
        assert_eq!(octets(&[(1, 100, &[1]), (1, 7_000_000, &[2]), (1, 7_000_001, &[3])]), [1, 2, 3]);
    }

    #[test]
    fn there_is_no_place_before_the_beginning() {
        let mut track = Track::default();
        assert!(track.place(Codec::Pcmu, 1, 100, &[1]));
        assert!(!track.place(Codec::Pcmu, 1, 99, &[2]));
        assert_eq!(track.octets(), [1]);
    }

    #[test]
    fn the_first_codec_stays() {
        let mut track = Track::default();
        track.place(Codec::Pcmu, 1, 0, &[Codec::Pcmu.silence()]);
        track.place(Codec::Pcma, 1, 1, &[Codec::Pcma.encode_sample(1000)]);
        assert_eq!(track.codec(), Some(Codec::Pcmu));
        let decoded = Codec::Pcmu.decode_sample(track.octets()[1]);
        assert!((i32::from(decoded) - 1000).abs() < 64, "{decoded}");
    }
}
