//! Echo: what arrives goes back, later by a fixed time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::codec::Codec;

/// Even an immediate echo keeps one packet in hand, or the least jitter would tear it.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(10);
/// Audio that piles up beyond the delay after a burst is dropped.
const SLACK: Duration = Duration::from_millis(120);

/// A delay line of encoded audio.
#[derive(Debug)]
pub(crate) struct EchoLine {
    codec: Codec,
    octets: VecDeque<u8>,
    /// Octets between in and out.
    delay: usize,
    slack: usize,
}

impl EchoLine {
    pub(crate) fn new(codec: Codec, delay: Duration) -> Self {
        let delay = codec.payload_len(delay.clamp(SHORTEST, LONGEST));
        EchoLine { codec, octets: VecDeque::new(), delay, slack: codec.payload_len(SLACK) }
    }

    /// Puts audio in. After a gap the line is filled up first, so that the delay stays what it was.
    pub(crate) fn push(&mut self, codec: Codec, payload: &[u8], after_gap: bool) {
        if (after_gap || self.octets.is_empty()) && self.octets.len() < self.delay {
            self.octets.resize(self.delay, self.codec.silence());
        }
        let ours = self.codec;
        self.octets.extend(
            payload.iter().map(|&octet| if codec == ours { octet } else { ours.encode_sample(codec.decode_sample(octet)) }),
        );
        if self.octets.len() > self.delay + self.slack {
            self.octets.drain(..self.octets.len() - self.delay);
        }
    }

    /// Takes the next packet out in `codec`; silence where there is nothing.
    pub(crate) fn fill(&mut self, codec: Codec, payload: &mut [u8]) {
        let ours = self.codec;
        for octet in payload {
            *octet = match self.octets.pop_front() {
                Some(stored) if codec == ours => stored,
                Some(stored) => codec.encode_sample(ours.decode_sample(stored)),
                None => codec.silence(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: u8 = 0xff;

    fn out(line: &mut EchoLine) -> u8 {
        let mut payload = [0; 160];
        line.fill(Codec::Pcmu, &mut payload);
        assert!(payload.iter().all(|octet| *octet == payload[0]));
        payload[0]
    }

    #[test]
    fn audio_comes_back_after_the_delay() {
        let mut line = EchoLine::new(Codec::Pcmu, Duration::from_millis(60));
        let heard: Vec<u8> = (1..=6)
            .map(|packet| {
                line.push(Codec::Pcmu, &[packet; 160], false);
                out(&mut line)
            })
            .collect();
        assert_eq!(heard, [SILENCE, SILENCE, SILENCE, 1, 2, 3]);
    }

    #[test]
    fn the_delay_is_the_same_after_a_gap() {
        let mut line = EchoLine::new(Codec::Pcmu, Duration::from_millis(60));
        for packet in 1..=4 {
            line.push(Codec::Pcmu, &[packet; 160], false);
            out(&mut line);
        }
        assert_eq!([out(&mut line), out(&mut line)], [2, 3], "two packets do not come");
        let heard: Vec<u8> = (7..=10)
            .map(|packet| {
                line.push(Codec::Pcmu, &[packet; 160], packet == 7);
                out(&mut line)
            })
            .collect();
        assert_eq!(heard, [4, SILENCE, SILENCE, 7]);
    }

    #[test]
    fn what_piles_up_is_dropped() {
        let mut line = EchoLine::new(Codec::Pcmu, Duration::ZERO);
        for packet in 1..=50 {
            line.push(Codec::Pcmu, &[packet; 160], false);
        }
        assert!(line.octets.len() <= line.delay + line.slack);
        assert!(out(&mut line) > 40);
    }

    #[test]
    fn another_codec_is_translated_on_the_way() {
        let mut line = EchoLine::new(Codec::Pcmu, Duration::ZERO);
        line.push(Codec::Pcma, &[Codec::Pcma.encode_sample(8000); 160], false);
        out(&mut line);
        let level = Codec::Pcmu.decode_sample(out(&mut line));
        assert!((7500..8500).contains(&level), "{level}");
    }
}
