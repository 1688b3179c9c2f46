//! Playing cached, encoded audio: which octets go into the next packet, and when a playlist is over.
//!
//! A prompt is kept as the octets of its codec, one after another, so that a packet of any packet time is one copy.
//! Prompts of a playlist join without a seam; only the last packet of a playlist is filled up with silence.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::prefetch;
use crate::codec::{Codec, g711};
use crate::digit::{Digit, DigitSet};

/// The largest change of level: from the softest sample to a full one.
const MAX_GAIN_DB: f32 = 60.0;

/// Silence that is kept as octets; more of it is the same again.
const SILENCE_KEPT: Duration = Duration::from_secs(1);

/// Audio encoded once and played many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPrompt {
    codec: Codec,
    octets: Box<[u8]>,
    /// Octets played. Where there are fewer, they begin again.
    len: usize,
}

impl EncodedPrompt {
    /// Wraps octets that are already encoded as `codec`.
    pub fn new(codec: Codec, octets: impl Into<Box<[u8]>>) -> Self {
        let octets = octets.into();
        EncodedPrompt { codec, len: octets.len(), octets }
    }

    /// Encodes mono samples at the codec's sample rate.
    pub fn from_samples(codec: Codec, samples: &[i16]) -> Self {
        let mut octets = Vec::with_capacity(samples.len());
        codec.encode(samples, &mut octets);
        EncodedPrompt::new(codec, octets)
    }

    /// Silence of the given length, of which [`SILENCE_KEPT`] is kept at most.
    pub fn silence(codec: Codec, duration: Duration) -> Self {
        let octets = vec![codec.silence(); codec.payload_len(duration.min(SILENCE_KEPT))];
        EncodedPrompt { codec, octets: octets.into_boxed_slice(), len: codec.payload_len(duration) }
    }

    /// The codec the octets are in.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The encoded audio; of silence, what is kept.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How long the audio plays.
    pub fn duration(&self) -> Duration {
        self.codec.duration_of(self.len)
    }

    /// Octets kept in memory, for a cache that is bounded by size.
    pub fn size(&self) -> usize {
        self.octets.len() + size_of::<Self>()
    }

    /// What is played from `offset` on, as far as it is kept in one piece; empty at the end.
    fn piece(&self, offset: usize) -> &[u8] {
        let left = self.len.saturating_sub(offset);
        let start = if offset < self.octets.len() { offset } else { offset.checked_rem(self.octets.len()).unwrap_or(0) };
        let piece = self.octets.get(start..).unwrap_or_default();
        piece.get(..left).unwrap_or(piece)
    }
}

/// Names one playout, chosen by whoever starts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlayId(pub u64);

/// How often a playlist is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// This many times; zero is taken as once.
    Times(u32),
    /// Until it is stopped.
    Forever,
}

/// What to play and how.
#[derive(Debug, Clone)]
pub struct Playlist {
    /// Played one after another. Prompts in another codec than the stream's are translated while they play.
    pub prompts: Vec<Arc<EncodedPrompt>>,
    /// How often the whole list is played.
    pub repeat: Repeat,
    /// How far into the list the first round starts.
    pub start: Duration,
    /// Change of level in decibels; 0 leaves the octets as they are.
    pub gain_db: f32,
    /// Keys that end the playout within one packet time.
    pub stop_on: DigitSet,
}

impl Playlist {
    /// Plays `prompts` once, from the start, as loud as they are.
    pub fn once(prompts: Vec<Arc<EncodedPrompt>>) -> Self {
        Playlist { prompts, repeat: Repeat::Times(1), start: Duration::ZERO, gain_db: 0.0, stop_on: DigitSet::NONE }
    }
}

/// Why a playout ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlayoutEnd {
    /// Its last packet was sent.
    Completed,
    /// A key of `stop_on` arrived.
    Digit(Digit),
    /// It was told to stop.
    Stopped,
    /// Another playout took its place.
    Replaced,
}

/// A playlist on its way out, one packet at a time.
#[derive(Debug)]
pub(crate) struct Playout {
    pub(crate) id: PlayId,
    playlist: Playlist,
    rounds_left: Option<u64>,
    prompt: usize,
    offset: usize,
    /// Octets sent as RTP clock ticks; an `as_millis` at the end does not accumulate rounding.
    played: Duration,
    /// Kept for the codec it was built for; rebuilt when a re-INVITE changes the stream's codec.
    translation: Option<Box<CodecTranslation>>,
}

#[derive(Debug)]
struct CodecTranslation {
    from: Codec,
    to: Codec,
    table: g711::Translation,
}

impl Playout {
    pub(crate) fn new(id: PlayId, playlist: Playlist) -> Self {
        let round = playlist.prompts.iter().map(|prompt| prompt.duration()).sum();
        let (passed, start) = whole_rounds(playlist.start, round);
        let (rounds_left, prompt) = match playlist.repeat {
            Repeat::Forever => (None, 0),
            Repeat::Times(times) => match u64::from(times.max(1)).checked_sub(passed.saturating_add(1)) {
                Some(left) => (Some(left), 0),
                None => (Some(0), playlist.prompts.len()),
            },
        };
        let mut playout = Playout { id, playlist, rounds_left, prompt, offset: 0, played: Duration::ZERO, translation: None };
        playout.skip(start);
        playout
    }

    /// Whether this key ends the playout.
    pub(crate) fn stops_on(&self, digit: Digit) -> bool {
        self.playlist.stop_on.contains(digit)
    }

    /// How much audio has been sent.
    pub(crate) fn played(&self) -> Duration {
        self.played
    }

    /// Whether the packet filled last was the last one.
    pub(crate) fn is_finished(&self) -> bool {
        self.prompt >= self.playlist.prompts.len()
    }

    /// Has the processor fetch the list of prompts.
    pub(crate) fn fetch_prompts(&self) {
        prefetch(self.playlist.prompts.as_slice());
    }

    /// Fills one packet's payload in `codec`. The playout must not be finished.
    pub(crate) fn fill(&mut self, codec: Codec, payload: &mut [u8]) {
        let mut filled = 0;
        while let Some(room) = payload.get_mut(filled..).filter(|room| !room.is_empty()) {
            let Some(prompt) = self.playlist.prompts.get(self.prompt) else {
                room.fill(codec.silence());
                break;
            };
            let rest = prompt.piece(self.offset);
            let count = rest.len().min(room.len());
            if let (Some(target), Some(source)) = (room.get_mut(..count), rest.get(..count)) {
                target.copy_from_slice(source);
                let from = prompt.codec;
                self.translate(from, codec, target);
            }
            filled += count;
            self.offset += count;
            self.settle();
        }
        self.played += codec.duration_of(filled);
    }

    /// Lets time pass without sending, as while the other side holds the call.
    pub(crate) fn pass(&mut self, packet_time: Duration) {
        self.skip(packet_time);
        self.played += packet_time;
    }

    fn skip(&mut self, mut time: Duration) {
        self.settle();
        while let Some(prompt) = self.playlist.prompts.get(self.prompt) {
            let rest = prompt.len - self.offset;
            let wanted = prompt.codec.payload_len(time);
            if wanted < rest {
                self.offset += wanted;
                return;
            }
            time = time.saturating_sub(prompt.codec.duration_of(rest));
            self.offset += rest;
            self.settle();
        }
    }

    /// Moves on from prompts that are used up, and from the end of the list to its start while rounds are left.
    fn settle(&mut self) {
        while self.playlist.prompts.get(self.prompt).is_some_and(|prompt| self.offset >= prompt.len) {
            self.prompt += 1;
            self.offset = 0;
        }
        if self.prompt < self.playlist.prompts.len() || self.is_empty() {
            return;
        }
        match &mut self.rounds_left {
            None => self.rewind(),
            Some(0) => {}
            Some(rounds) => {
                *rounds -= 1;
                self.rewind();
            }
        }
    }

    fn rewind(&mut self) {
        self.offset = 0;
        // A list with audio somewhere has a first prompt with audio; `settle` must not recurse through empty ones.
        self.prompt = self.playlist.prompts.iter().position(|prompt| prompt.len > 0).unwrap_or(0);
    }

    fn is_empty(&self) -> bool {
        self.playlist.prompts.iter().all(|prompt| prompt.len == 0)
    }

    fn translate(&mut self, from: Codec, to: Codec, octets: &mut [u8]) {
        if from == to && self.playlist.gain_db == 0.0 {
            return;
        }
        if self.translation.as_ref().is_none_or(|built| built.from != from || built.to != to) {
            let gain = 10f32.powf(self.playlist.gain_db.clamp(-MAX_GAIN_DB, MAX_GAIN_DB) / 20.0);
            let table = g711::translation(from, to, gain);
            self.translation = Some(Box::new(CodecTranslation { from, to, table }));
        }
        if let Some(built) = &self.translation {
            for octet in octets {
                *octet = built.table[usize::from(*octet)];
            }
        }
    }
}

/// How often `round` fits into `time`, and what is left of it then: rounds are counted and not walked, for a list may be short
/// and the time of any length.
fn whole_rounds(time: Duration, round: Duration) -> (u64, Duration) {
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let (micros, round) = (micros(time), micros(round));
    micros.checked_div(round).map_or((0, time), |rounds| (rounds, Duration::from_micros(micros % round)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTIME: Duration = Duration::from_millis(20);

    fn prompt(octets: &[u8]) -> Arc<EncodedPrompt> {
        Arc::new(EncodedPrompt::new(Codec::Pcmu, octets))
    }

    fn drain(mut playout: Playout, packet: usize, limit: usize) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while !playout.is_finished() && packets.len() < limit {
            let mut payload = vec![0; packet];
            playout.fill(Codec::Pcmu, &mut payload);
            packets.push(payload);
        }
        packets
    }

    #[test]
    fn prompts_join_without_a_seam_and_the_last_packet_is_filled_with_silence() {
        let playlist = Playlist::once(vec![prompt(&[1, 2, 3]), prompt(&[]), prompt(&[4, 5, 6, 7])]);
        let packets = drain(Playout::new(PlayId(1), playlist), 4, 10);
        assert_eq!(packets, [[1, 2, 3, 4], [5, 6, 7, 0xff]]);
    }

    #[test]
    fn a_list_is_repeated_as_often_as_asked() {
        let mut playlist = Playlist::once(vec![prompt(&[1, 2])]);
        playlist.repeat = Repeat::Times(3);
        assert_eq!(drain(Playout::new(PlayId(1), playlist.clone()), 4, 10), [[1, 2, 1, 2], [1, 2, 0xff, 0xff]]);
        playlist.repeat = Repeat::Forever;
        assert_eq!(drain(Playout::new(PlayId(1), playlist), 2, 100).len(), 100);
    }

    #[test]
    fn the_start_is_skipped_in_the_first_round_only() {
        let mut playlist = Playlist::once(vec![prompt(&[1; 160]), prompt(&[2; 160])]);
        playlist.start = Duration::from_millis(30);
        playlist.repeat = Repeat::Times(2);
        let first: Vec<u8> = drain(Playout::new(PlayId(1), playlist), 80, 10).into_iter().map(|packet| packet[0]).collect();
        assert_eq!(first, [2, 1, 1, 2, 2]);
    }

    #[test]
    fn a_start_many_rounds_away_is_found_at_once() {
        let mut playlist = Playlist::once(vec![prompt(&[1; 8]), prompt(&[]), prompt(&[2; 8])]);
        playlist.start = Duration::from_millis(10_000_000_000_001);
        playlist.repeat = Repeat::Forever;
        assert_eq!(drain(Playout::new(PlayId(1), playlist.clone()), 8, 3), [[2; 8], [1; 8], [2; 8]]);
        playlist.start = Duration::from_millis(2 * 999_999 + 1);
        playlist.repeat = Repeat::Times(1_000_000);
        assert_eq!(drain(Playout::new(PlayId(1), playlist.clone()), 8, 3), [[2; 8]]);
        playlist.start = Duration::from_millis(2 * 1_000_000);
        assert!(Playout::new(PlayId(1), playlist).is_finished());
    }

    #[test]
    fn silence_takes_its_time_and_no_memory() {
        let hour = Arc::new(EncodedPrompt::silence(Codec::Pcmu, Duration::from_secs(3600)));
        assert_eq!(hour.duration(), Duration::from_secs(3600));
        assert!(hour.size() < 10_000, "{}", hour.size());
        let mut playlist = Playlist::once(vec![hour, prompt(&[1; 160])]);
        playlist.start = Duration::from_millis(3_597_990);
        let packets = drain(Playout::new(PlayId(1), playlist), 160, 1000);
        assert_eq!(packets.len(), 102);
        assert!(packets[..100].iter().flatten().all(|&octet| octet == Codec::Pcmu.silence()));
        assert_eq!(packets[100][79..81], [0xff, 1]);
        let short = EncodedPrompt::silence(Codec::Pcma, Duration::from_millis(30));
        assert_eq!(short.octets(), [Codec::Pcma.silence(); 240]);
    }

    #[test]
    fn nothing_to_play_is_finished_at_once() {
        let mut playlist = Playlist::once(vec![prompt(&[])]);
        playlist.repeat = Repeat::Forever;
        assert!(Playout::new(PlayId(1), playlist).is_finished());
        let mut past_the_end = Playlist::once(vec![prompt(&[1; 160])]);
        past_the_end.start = Duration::from_secs(5);
        assert!(Playout::new(PlayId(1), past_the_end).is_finished());
    }

    #[test]
    fn played_counts_audio_and_not_the_silence_that_fills_the_packet() {
        let mut playout = Playout::new(PlayId(1), Playlist::once(vec![prompt(&[1; 240])]));
        let mut payload = [0; 160];
        playout.fill(Codec::Pcmu, &mut payload);
        playout.fill(Codec::Pcmu, &mut payload);
        assert!(playout.is_finished());
        assert_eq!(playout.played(), Duration::from_millis(30));
    }

    #[test]
    fn octets_of_the_streams_codec_go_out_unchanged() {
        let octets: Vec<u8> = (0..=u8::MAX).collect();
        let packets = drain(Playout::new(PlayId(1), Playlist::once(vec![prompt(&octets)])), 256, 2);
        assert_eq!(packets, [octets]);
    }

    #[test]
    fn another_codec_is_translated_and_a_change_of_codec_is_followed() {
        let mut playout = Playout::new(PlayId(1), Playlist::once(vec![prompt(&[0xff; 320])]));
        let mut payload = [0; 160];
        playout.fill(Codec::Pcma, &mut payload);
        assert!(payload.iter().all(|&octet| Codec::Pcma.decode_sample(octet).abs() <= 8));
        playout.fill(Codec::Pcmu, &mut payload);
        assert_eq!(payload, [0xff; 160]);
    }

    #[test]
    fn a_change_of_level_of_60_db_is_made() {
        let soft = Codec::Pcmu.encode_sample(16);
        let mut playlist = Playlist::once(vec![prompt(&[soft; 160])]);
        playlist.gain_db = 60.0;
        let mut payload = [0; 160];
        Playout::new(PlayId(1), playlist).fill(Codec::Pcmu, &mut payload);
        let level = Codec::Pcmu.decode_sample(payload[0]);
        assert!(level > 5_000, "{level}");
    }

    #[test]
    fn time_that_passes_unsent_moves_the_position() {
        let mut playout = Playout::new(PlayId(1), Playlist::once(vec![prompt(&[1; 160]), prompt(&[2; 160])]));
        playout.pass(PTIME);
        let mut payload = [0; 160];
        playout.fill(Codec::Pcmu, &mut payload);
        assert_eq!(payload, [2; 160]);
        assert!(playout.is_finished());
    }
}
