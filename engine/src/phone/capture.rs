//! What a call heard: the octets of its RTP packets in the order of their timestamps, gaps filled with silence.
//!
//! Nothing is decoded while the codec stays the same, so that a recording can be compared with what was played, octet by octet.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_media::rtp::{RtpPacket, is_rtcp};
use lockstep_media::sdp::Negotiated;
use tokio::sync::Notify;

/// The longest capture, in octets: two hours of G.711.
const MAX_OCTETS: usize = 2 * 3600 * 8_000;
/// A timestamp this far from the expected one (in ticks, 10 s) starts anew instead of leaving a gap.
const MAX_JUMP: i64 = 10 * 8_000;

/// The audio of one RTP stream, placed by timestamp. Sans-IO.
#[derive(Debug, Default)]
pub struct Capture {
    codec: Option<Codec>,
    octets: Vec<u8>,
    /// How many packets gave audio.
    packets: u64,
    anchor: Option<Anchor>,
    continuity: Continuity,
    last: Option<Last>,
}

/// Whether the packets came as one unbroken stream (RFC 3550, section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continuity {
    /// Sources that were heard, one after another.
    pub streams: u64,
    /// Packets whose sequence number was not the one after the last.
    pub sequence_breaks: u64,
    /// Audio packets without the marker bit whose timestamp was not where the last one's audio ended.
    pub timestamp_breaks: u64,
    /// Audio packets with the marker bit.
    pub talkspurts: u64,
}

/// What the packet after the last one must carry on.
#[derive(Debug)]
struct Last {
    ssrc: u32,
    sequence: u16,
    /// The timestamp after the last audio.
    audio_end: Option<u32>,
}

/// Ties a stream's timestamps to places in the capture.
#[derive(Debug)]
struct Anchor {
    ssrc: u32,
    /// The timestamp last seen, and where its packet stands.
    timestamp: u32,
    position: i64,
}

impl Capture {
    /// Takes a datagram that arrived on the RTP port; whatever is not audio that was agreed on is left out.
    pub fn handle_datagram(&mut self, negotiated: &Negotiated, datagram: &[u8]) {
        if is_rtcp(datagram) {
            return;
        }
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        let payload_type = packet.header.payload_type;
        let codec = negotiated.receive.iter().find(|(known, _)| *known == payload_type);
        self.follow(&packet, codec.is_some());
        let Some((_, codec)) = codec else { return };
        self.place(*codec, packet.header.ssrc.0, packet.header.timestamp.0, packet.payload);
    }

    /// Keeps account of how the stream holds together; keys share its sequence numbers with the audio.
    fn follow(&mut self, packet: &RtpPacket<'_>, is_audio: bool) {
        let header = &packet.header;
        let (ssrc, sequence, timestamp) = (header.ssrc.0, header.sequence.0, header.timestamp.0);
        let continuity = &mut self.continuity;
        let mut audio_end = None;
        match &self.last {
            Some(last) if last.ssrc == ssrc => {
                audio_end = last.audio_end;
                continuity.sequence_breaks += u64::from(sequence != last.sequence.wrapping_add(1));
                let moved = audio_end.is_some_and(|end| end != timestamp);
                continuity.timestamp_breaks += u64::from(is_audio && moved && !header.marker);
            }
            Some(_) | None => continuity.streams += 1,
        }
        if is_audio {
            continuity.talkspurts += u64::from(header.marker);
            // One octet of G.711 is one tick.
            audio_end = Some(timestamp.wrapping_add(packet.payload.len() as u32));
        }
        self.last = Some(Last { ssrc, sequence, audio_end });
    }

    fn place(&mut self, codec: Codec, ssrc: u32, timestamp: u32, payload: &[u8]) {
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
        let Ok(start) = usize::try_from(position) else { return };
        let Some(stop) = start.checked_add(payload.len()).filter(|stop| *stop <= MAX_OCTETS) else { return };
        let file_codec = *self.codec.get_or_insert(codec);
        if self.octets.len() < stop {
            self.octets.resize(stop, file_codec.silence());
        }
        self.packets += 1;
        let Some(place) = self.octets.get_mut(start..stop) else { return };
        for (to, from) in place.iter_mut().zip(payload) {
            *to = if codec == file_codec { *from } else { file_codec.encode_sample(codec.decode_sample(*from)) };
        }
    }

    /// The codec of the octets: that of the first packet.
    pub fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// One octet a sample, 8 kHz.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// How many packets gave audio.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// How the packets held together, those of keys included.
    pub fn continuity(&self) -> Continuity {
        self.continuity
    }

    /// How much was heard, gaps included.
    pub fn duration(&self) -> Duration {
        self.codec.map_or(Duration::ZERO, |codec| codec.duration_of(self.octets.len()))
    }

    /// Where `prompt` was heard without a break, from octet `after` on.
    pub fn find(&self, prompt: &[u8], after: usize) -> Option<usize> {
        let heard = self.octets.get(after..)?;
        if prompt.is_empty() {
            return Some(after);
        }
        heard.windows(prompt.len()).position(|window| window == prompt).map(|at| at + after)
    }
}

/// A call's capture, as the media task fills it and others read it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    shared: Arc<(Mutex<Capture>, Notify)>,
}

impl Heard {
    /// Looks at what was heard so far.
    pub fn with<T>(&self, look: impl FnOnce(&Capture) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until `found` says what it looked for; it is asked again whenever a packet has come.
    pub async fn until<T>(&self, mut found: impl FnMut(&Capture) -> Option<T>) -> T {
        loop {
            let more = self.shared.1.notified();
            if let Some(value) = found(&self.lock()) {
                return value;
            }
            more.await;
        }
    }

    pub(super) fn handle_datagram(&self, negotiated: &Negotiated, datagram: &[u8]) {
        self.lock().handle_datagram(negotiated, datagram);
        self.shared.1.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Capture> {
        // A reader that panicked left the capture as it was.
        self.shared.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use lockstep_media::rtp::{PayloadType, RtpHeader, RtpTimestamp, SequenceNumber, Ssrc};

    use super::*;

    const SILENCE: u8 = 0xFF;

    fn capture(packets: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut capture = Capture::default();
        for (ssrc, timestamp, payload) in packets {
            capture.place(Codec::Pcmu, *ssrc, *timestamp, payload);
        }
        capture.octets().to_vec()
    }

    #[test]
    fn packets_stand_where_their_timestamps_say() {
        assert_eq!(capture(&[(1, 100, &[1, 2]), (1, 102, &[3, 4])]), [1, 2, 3, 4]);
        assert_eq!(capture(&[(1, 100, &[1, 2]), (1, 104, &[5, 6]), (1, 102, &[3, 4])]), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_gap_is_silence() {
        assert_eq!(capture(&[(1, 100, &[1, 2]), (1, 105, &[3])]), [1, 2, SILENCE, SILENCE, SILENCE, 3]);
    }

    #[test]
    fn timestamps_may_wrap() {
        assert_eq!(capture(&[(1, u32::MAX, &[1]), (1, 0, &[2]), (1, 1, &[3])]), [1, 2, 3]);
    }

    #[test]
    fn a_packet_sent_twice_is_heard_once() {
        assert_eq!(capture(&[(1, 0, &[1]), (1, 1, &[2]), (1, 1, &[2]), (1, 2, &[3])]), [1, 2, 3]);
    }

    #[test]
    fn another_source_or_a_jump_goes_on_at_the_end() {
        assert_eq!(capture(&[(1, 100, &[1]), (2, 7_000_000, &[2])]), [1, 2]);
        assert_eq!(capture(&[(1, 100, &[1]), (1, 7_000_000, &[2]), (1, 7_000_001, &[3])]), [1, 2, 3]);
    }

    #[test]
    fn the_file_keeps_its_first_codec() {
        let mut capture = Capture::default();
        capture.place(Codec::Pcmu, 1, 0, &[Codec::Pcmu.silence()]);
        capture.place(Codec::Pcma, 1, 1, &[Codec::Pcma.encode_sample(1000)]);
        assert_eq!(capture.codec(), Some(Codec::Pcmu));
        let decoded = Codec::Pcmu.decode_sample(capture.octets()[1]);
        assert!((i32::from(decoded) - 1000).abs() < 64, "{decoded}");
    }

    fn continuity(packets: &[(u16, u32, bool, bool)]) -> Continuity {
        let mut capture = Capture::default();
        for &(sequence, timestamp, marker, is_audio) in packets {
            let header = RtpHeader {
                marker,
                payload_type: PayloadType::new(if is_audio { 0 } else { 101 }).unwrap(),
                sequence: SequenceNumber(sequence),
                timestamp: RtpTimestamp(timestamp),
                ssrc: Ssrc(1),
            };
            capture.follow(&RtpPacket { header, payload: &[0; 2] }, is_audio);
        }
        capture.continuity()
    }

    #[test]
    fn a_stream_is_unbroken_across_wraps_keys_and_talkspurts() {
        let packets = [
            (u16::MAX, u32::MAX - 1, true, true),
            (0, 0, false, true),
            (1, 2, true, false),
            (2, 2, false, false),
            (3, 2, false, true),
            (4, 90, true, true),
        ];
        let expected = Continuity { streams: 1, talkspurts: 2, ..Continuity::default() };
        assert_eq!(continuity(&packets), expected);
    }

    #[test]
    fn lost_packets_and_jumps_are_breaks() {
        let found = continuity(&[(5, 0, false, true), (7, 2, false, true), (8, 6, false, true)]);
        assert_eq!(found, Continuity { streams: 1, sequence_breaks: 1, timestamp_breaks: 1, talkspurts: 0 });
    }

    #[test]
    fn a_prompt_is_found_within_what_was_heard() {
        let mut heard = Capture::default();
        heard.place(Codec::Pcmu, 1, 0, &[9, 9, 1, 2, 3, 9]);
        assert_eq!(heard.find(&[1, 2, 3], 0), Some(2));
        assert_eq!(heard.find(&[1, 2, 3], 3), None);
    }
}
