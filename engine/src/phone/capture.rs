//! What a call heard, and whether the packets came as one unbroken stream.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lockstep_media::codec::Codec;
use lockstep_media::rtp::{RtpPacket, is_rtcp};
use lockstep_media::sdp::Negotiated;
use tokio::sync::Notify;

use super::track::Track;

/// The audio of one RTP stream. Sans-IO.
#[derive(Debug, Default)]
pub struct Capture {
    /// Placed by timestamp.
    track: Track,
    /// In the order of arrival.
    in_order: Track,
    /// Where the audio of each packet begins in `in_order`, and when it came.
    arrivals: Vec<(usize, Instant)>,
    /// How many packets gave audio.
    packets: u64,
    continuity: Continuity,
    last: Option<Last>,
    is_over: bool,
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
    /// Time that the timestamps passed over where no packet was lost: the sender was late, and left it out.
    pub left_out: Duration,
}

/// What the packet after the last one must carry on.
#[derive(Debug)]
struct Last {
    ssrc: u32,
    sequence: u16,
    /// The timestamp after the last audio; `None` after a key, whose packets do not say how long it took.
    audio_end: Option<u32>,
}

impl Capture {
    /// Takes a datagram that arrived on the RTP port; whatever is not audio that was agreed on is left out.
    pub fn handle_datagram(&mut self, now: Instant, negotiated: &Negotiated, datagram: &[u8]) {
        if is_rtcp(datagram) {
            return;
        }
        let Ok(packet) = RtpPacket::parse(datagram) else { return };
        let payload_type = packet.header.payload_type;
        let codec = negotiated.receive.iter().find(|(known, _)| *known == payload_type);
        self.follow(&packet, codec.is_some());
        let Some((_, codec)) = codec else { return };
        let is_placed = self.track.place(*codec, packet.header.ssrc.0, packet.header.timestamp.0, packet.payload);
        self.packets += u64::from(is_placed);
        self.append(now, *codec, packet.payload);
    }

    fn append(&mut self, now: Instant, codec: Codec, payload: &[u8]) {
        let begin = self.in_order.octets().len();
        if self.in_order.append(codec, payload) {
            self.arrivals.push((begin, now));
        }
    }

    /// Keeps account of how the stream holds together; keys share its sequence numbers with the audio.
    fn follow(&mut self, packet: &RtpPacket<'_>, is_audio: bool) {
        let header = &packet.header;
        let (ssrc, sequence, timestamp) = (header.ssrc.0, header.sequence.0, header.timestamp.0);
        let continuity = &mut self.continuity;
        match &self.last {
            Some(last) if last.ssrc == ssrc => {
                let is_next = sequence == last.sequence.wrapping_add(1);
                continuity.sequence_breaks += u64::from(!is_next);
                // A signed number: a timestamp may be an earlier one, too.
                let moved = last.audio_end.map_or(0, |end| timestamp.wrapping_sub(end) as i32);
                continuity.timestamp_breaks += u64::from(is_audio && moved != 0 && !header.marker);
                if is_audio && is_next && moved > 0 {
                    // 8 kHz.
                    continuity.left_out += Duration::from_micros(125) * moved.unsigned_abs();
                }
            }
            Some(_) | None => continuity.streams += 1,
        }
        continuity.talkspurts += u64::from(is_audio && header.marker);
        // One octet of G.711 is one tick.
        let audio_end = is_audio.then(|| timestamp.wrapping_add(packet.payload.len() as u32));
        self.last = Some(Last { ssrc, sequence, audio_end });
    }

    /// The codec of the octets: that of the first packet.
    pub fn codec(&self) -> Option<Codec> {
        self.track.codec()
    }

    /// One octet a sample, 8 kHz, where the timestamps say; what never came is silence.
    pub fn octets(&self) -> &[u8] {
        self.track.octets()
    }

    /// The audio of every packet behind that of the one before it: what was sent, without the time that was left out between
    /// packets because the sender was late.
    pub fn in_order(&self) -> &[u8] {
        self.in_order.octets()
    }

    /// The longest time from the arrival of one packet to that of the next, of those whose audio begins within these octets of
    /// [`Capture::in_order`].
    pub fn longest_gap(&self, within: Range<usize>) -> Duration {
        let times = self.arrivals.iter().filter(|(begin, _)| within.contains(begin)).map(|(_, time)| *time);
        let gaps = times.clone().zip(times.skip(1)).map(|(one, next)| next.saturating_duration_since(one));
        gaps.max().unwrap_or_default()
    }

    /// Whether the call is over: nothing more will be heard.
    pub fn is_over(&self) -> bool {
        self.is_over
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
        self.codec().map_or(Duration::ZERO, |codec| codec.duration_of(self.octets().len()))
    }

    /// Where `prompt` stands in [`Capture::in_order`], without a break, from octet `after` on.
    pub fn find(&self, prompt: &[u8], after: usize) -> Option<usize> {
        let heard = self.in_order().get(after..)?;
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

    /// Waits until `found` says what it looked for; it is asked again whenever a packet has come, and when the call is over.
    pub async fn until<T>(&self, mut found: impl FnMut(&Capture) -> Option<T>) -> T {
        loop {
            let more = self.shared.1.notified();
            if let Some(value) = found(&self.lock()) {
                return value;
            }
            more.await;
        }
    }

    pub(super) fn handle_datagram(&self, now: Instant, negotiated: &Negotiated, datagram: &[u8]) {
        self.lock().handle_datagram(now, negotiated, datagram);
        self.shared.1.notify_waiters();
    }

    /// Nothing more will be heard.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
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
            (4, 4, true, true),
        ];
        let expected = Continuity { streams: 1, talkspurts: 2, ..Continuity::default() };
        assert_eq!(continuity(&packets), expected);
    }

    #[test]
    fn lost_packets_and_jumps_are_breaks() {
        let found = continuity(&[(5, 0, false, true), (7, 2, false, true), (8, 6, false, true)]);
        // Packet 8 passes over two ticks.
        let left_out = Duration::from_micros(250);
        assert_eq!(found, Continuity { streams: 1, sequence_breaks: 1, timestamp_breaks: 1, talkspurts: 0, left_out });
    }

    #[test]
    fn what_a_late_sender_leaves_out_is_counted_and_no_break_where_a_talkspurt_begins() {
        let found = continuity(&[(5, 0, true, true), (6, 82, true, true)]);
        let left_out = Duration::from_millis(10);
        assert_eq!(found, Continuity { streams: 1, talkspurts: 2, left_out, ..Continuity::default() });
        // How long a key took, its packets do not say.
        let found = continuity(&[(5, 0, true, true), (6, 2, true, false), (7, 802, false, true)]);
        assert_eq!(found, Continuity { streams: 1, talkspurts: 1, ..Continuity::default() });
    }

    #[test]
    fn a_prompt_is_found_within_what_was_heard() {
        let mut heard = Capture::default();
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin; the test moves the clock itself")]
        let start = Instant::now();
        for (ms, payload) in [(0, [9, 9]), (20, [1, 2]), (75, [3, 9]), (90, [9, 9])] {
            heard.append(start + Duration::from_millis(ms), Codec::Pcmu, &payload);
        }
        assert_eq!(heard.find(&[1, 2, 3], 0), Some(2));
        assert_eq!(heard.find(&[1, 2, 3], 3), None);
        let gap = |within| heard.longest_gap(within).as_millis();
        assert_eq!((gap(0..8), gap(0..4), gap(4..8), gap(4..6)), (55, 20, 15, 0));
    }
}
