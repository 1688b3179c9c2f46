//! RTCP packets, RFC 3550 section 6: compound datagrams validated, read and written by hand.

use thiserror::Error;

use crate::rtp::Ssrc;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const CNAME: u8 = 1;
const REPORT_BLOCK_LEN: usize = 24;
const SENDER_INFO_LEN: usize = 20;

/// Why a datagram is not RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// The datagram, or a packet in it, ends too early.
    #[error("rtcp packet announces {expected} octets, {got} are left")]
    TooShort {
        /// Octets announced.
        expected: usize,
        /// Octets left in the datagram.
        got: usize,
    },
    /// The version field is not 2.
    #[error("rtcp version {got}, expected 2")]
    Version {
        /// The version found.
        got: u8,
    },
    /// The padding count does not fit the packet.
    #[error("rtcp padding of {got} octets does not fit its packet")]
    Padding {
        /// The count in the last octet.
        got: u8,
    },
}

/// One packet of a compound datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// SR: what a source sent, and what it received.
    SenderReport {
        /// Who reports.
        ssrc: Ssrc,
        /// What it sent.
        sender: SenderInfo,
        /// What it received.
        blocks: ReportBlocks<'a>,
    },
    /// RR: what it received.
    ReceiverReport {
        /// Who reports.
        ssrc: Ssrc,
        /// What it received.
        blocks: ReportBlocks<'a>,
    },
    /// BYE: these sources are gone.
    Bye {
        /// Big-endian SSRCs, four octets each.
        sources: Sources<'a>,
    },
    /// SDES, APP, feedback and whatever else: nothing a call needs.
    Other {
        /// The packet type.
        packet_type: u8,
    },
}

/// The sender's half of an SR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// Seconds since 1900 in 32.32 fixed point.
    pub ntp: u64,
    /// The same moment on the media clock.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Octets of payload sent.
    pub octets: u32,
}

/// What a receiver says about one source (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The source.
    pub ssrc: Ssrc,
    /// Since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Since the beginning; 24 bits, negative with repetitions.
    pub cumulative_lost: i32,
    /// Extended by its wraps.
    pub highest_sequence: u32,
    /// In ticks of the media clock.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time in the source's last SR.
    pub last_sr: u32,
    /// Since that SR came, in 1/65536 s.
    pub delay_since_last_sr: u32,
}

/// Report blocks of an SR or RR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [u8]);

/// Sources of a BYE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources<'a>(&'a [u8]);

impl ReportBlocks<'_> {
    /// The blocks.
    pub fn iter(&self) -> impl Iterator<Item = ReportBlock> + '_ {
        self.0.as_chunks::<REPORT_BLOCK_LEN>().0.iter().map(ReportBlock::read)
    }
}

impl Sources<'_> {
    /// The SSRCs.
    pub fn iter(&self) -> impl Iterator<Item = Ssrc> + '_ {
        self.0.as_chunks::<4>().0.iter().map(|octets| Ssrc(u32::from_be_bytes(*octets)))
    }
}

/// Reads the packets of a datagram one by one; after an error there are no more.
pub fn packets(datagram: &[u8]) -> impl Iterator<Item = Result<RtcpPacket<'_>, RtcpError>> {
    let mut rest = datagram;
    let mut is_first = true;
    std::iter::from_fn(move || {
        // An empty datagram is an error, the end of a compound one is not.
        if rest.is_empty() && !is_first {
            return None;
        }
        is_first = false;
        match split_packet(rest) {
            Ok((packet, after)) => {
                rest = after;
                Some(Ok(packet))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

fn split_packet(datagram: &[u8]) -> Result<(RtcpPacket<'_>, &[u8]), RtcpError> {
    let got = datagram.len();
    let Some((&[first, packet_type, high, low], _)) = datagram.split_first_chunk() else {
        return Err(RtcpError::TooShort { expected: 4, got });
    };
    if first >> 6 != 2 {
        return Err(RtcpError::Version { got: first >> 6 });
    }
    let expected = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
    let Some((packet, after)) = datagram.split_at_checked(expected) else {
        return Err(RtcpError::TooShort { expected, got });
    };
    let mut body = packet.get(4..).unwrap_or_default();
    if first & 0x20 != 0 {
        let padding = body.last().copied().unwrap_or(0);
        let kept = body.len().checked_sub(usize::from(padding)).filter(|_| padding != 0);
        body = kept.and_then(|kept| body.get(..kept)).ok_or(RtcpError::Padding { got: padding })?;
    }
    Ok((read_body(packet_type, usize::from(first & 0x1f), body)?, after))
}

fn read_body(packet_type: u8, count: usize, body: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let too_short = |expected| RtcpError::TooShort { expected, got: body.len() };
    match packet_type {
        SENDER_REPORT => {
            let expected = 4 + SENDER_INFO_LEN + count * REPORT_BLOCK_LEN;
            let blocks = body.get(4 + SENDER_INFO_LEN..expected).ok_or(too_short(expected))?;
            let (ssrc, info) = body.split_first_chunk::<4>().ok_or(too_short(expected))?;
            let info = info.first_chunk::<SENDER_INFO_LEN>().ok_or(too_short(expected))?;
            let [ntp_high, ntp_low, rtp_timestamp, packets, octets] = words(info);
            let ntp = u64::from(ntp_high) << 32 | u64::from(ntp_low);
            Ok(RtcpPacket::SenderReport {
                ssrc: Ssrc(u32::from_be_bytes(*ssrc)),
                sender: SenderInfo { ntp, rtp_timestamp, packets, octets },
                blocks: ReportBlocks(blocks),
            })
        }
        RECEIVER_REPORT => {
            let expected = 4 + count * REPORT_BLOCK_LEN;
            let blocks = body.get(4..expected).ok_or(too_short(expected))?;
            let ssrc = body.first_chunk::<4>().ok_or(too_short(expected))?;
            Ok(RtcpPacket::ReceiverReport { ssrc: Ssrc(u32::from_be_bytes(*ssrc)), blocks: ReportBlocks(blocks) })
        }
        BYE => {
            let expected = count * 4;
            Ok(RtcpPacket::Bye { sources: Sources(body.get(..expected).ok_or(too_short(expected))?) })
        }
        _ => Ok(RtcpPacket::Other { packet_type }),
    }
}

fn words<const OCTETS: usize, const WORDS: usize>(octets: &[u8; OCTETS]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    for (word, chunk) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*chunk);
    }
    words
}

impl ReportBlock {
    fn read(octets: &[u8; REPORT_BLOCK_LEN]) -> ReportBlock {
        let [ssrc, loss, highest_sequence, jitter, last_sr, delay_since_last_sr] = words(octets);
        ReportBlock {
            ssrc: Ssrc(ssrc),
            fraction_lost: (loss >> 24) as u8,
            // Shifting the sign bit up and back extends 24 bits to 32.
            cumulative_lost: (loss << 8) as i32 >> 8,
            highest_sequence,
            jitter,
            last_sr,
            delay_since_last_sr,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.word(self.ssrc.0);
        writer.word(u32::from(self.fraction_lost) << 24 | (self.cumulative_lost as u32 & 0x00ff_ffff));
        writer.word(self.highest_sequence);
        writer.word(self.jitter);
        writer.word(self.last_sr);
        writer.word(self.delay_since_last_sr);
    }
}

/// What goes into a datagram of ours.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Who reports.
    pub ssrc: Ssrc,
    /// Makes it an SR.
    pub sender: Option<SenderInfo>,
    /// What was received.
    pub block: Option<ReportBlock>,
    /// The canonical name, at most 255 octets of it.
    pub cname: &'a str,
    /// Adds a BYE.
    pub bye: bool,
}

impl Report<'_> {
    /// Writes SR or RR, SDES, and BYE when asked, into `out`; returns the length, or `None` when `out` is too small.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer { out, len: 0, is_full: false };
        let blocks = u8::from(self.block.is_some());
        let packet_type = if self.sender.is_some() { SENDER_REPORT } else { RECEIVER_REPORT };
        let sender_words = if self.sender.is_some() { SENDER_INFO_LEN / 4 } else { 0 };
        let block_words = usize::from(blocks) * REPORT_BLOCK_LEN / 4;
        writer.header(blocks, packet_type, 1 + sender_words + block_words);
        writer.word(self.ssrc.0);
        if let Some(sender) = &self.sender {
            writer.word((sender.ntp >> 32) as u32);
            writer.word(sender.ntp as u32);
            writer.word(sender.rtp_timestamp);
            writer.word(sender.packets);
            writer.word(sender.octets);
        }
        if let Some(block) = &self.block {
            block.write(&mut writer);
        }
        self.write_cname(&mut writer);
        if self.bye {
            writer.header(1, BYE, 1);
            writer.word(self.ssrc.0);
        }
        (!writer.is_full).then_some(writer.len)
    }

    fn write_cname(&self, writer: &mut Writer<'_>) {
        let name = self.cname.as_bytes();
        let name = name.get(..name.len().min(255)).unwrap_or_default();
        // The item list ends with a zero octet and fills its last word with more of them.
        let items = (2 + name.len() + 1).next_multiple_of(4);
        writer.header(1, SOURCE_DESCRIPTION, 1 + items / 4);
        writer.word(self.ssrc.0);
        writer.octets(&[CNAME, name.len() as u8]);
        writer.octets(name);
        writer.octets([0; 4].get(..items - 2 - name.len()).unwrap_or_default());
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
    is_full: bool,
}

impl Writer<'_> {
    fn header(&mut self, count: u8, packet_type: u8, words: usize) {
        let [high, low] = (words as u16).to_be_bytes();
        self.octets(&[0x80 | count, packet_type, high, low]);
    }

    fn word(&mut self, word: u32) {
        self.octets(&word.to_be_bytes());
    }

    fn octets(&mut self, octets: &[u8]) {
        match self.out.get_mut(self.len..self.len + octets.len()) {
            Some(room) => {
                room.copy_from_slice(octets);
                self.len += octets.len();
            }
            None => self.is_full = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: Ssrc(7),
        fraction_lost: 12,
        cumulative_lost: -3,
        highest_sequence: 70_000,
        jitter: 5,
        last_sr: 0x1234_5678,
        delay_since_last_sr: 65_536,
    };
    const SENDER: SenderInfo = SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 9, packets: 10, octets: 1600 };

    fn written(report: &Report<'_>) -> Vec<u8> {
        let mut out = [0; 512];
        let len = report.write(&mut out).unwrap();
        out[..len].to_vec()
    }

    #[test]
    fn a_compound_datagram_is_read_back() {
        let report = Report { ssrc: Ssrc(5), sender: Some(SENDER), block: Some(BLOCK), cname: "leg@host.example", bye: true };
        let bytes = written(&report);
        assert_eq!(bytes.len() % 4, 0);
        let read: Vec<RtcpPacket<'_>> = packets(&bytes).map(Result::unwrap).collect();
        let [
            RtcpPacket::SenderReport { ssrc, sender, blocks },
            RtcpPacket::Other { packet_type: 202 },
            RtcpPacket::Bye { sources },
        ] = read[..]
        else {
            panic!("{read:?}");
        };
        assert_eq!((ssrc, sender), (Ssrc(5), SENDER));
        assert_eq!(blocks.iter().collect::<Vec<_>>(), [BLOCK]);
        assert_eq!(sources.iter().collect::<Vec<_>>(), [Ssrc(5)]);
    }

    #[test]
    fn a_receiver_report_without_blocks_is_read_back() {
        let bytes = written(&Report { ssrc: Ssrc(5), sender: None, block: None, cname: "x", bye: false });
        let first = packets(&bytes).next();
        let Some(Ok(RtcpPacket::ReceiverReport { ssrc: Ssrc(5), blocks })) = first else { panic!("{first:?}") };
        assert_eq!(blocks.iter().count(), 0);
    }

    #[test]
    fn names_of_every_length_end_on_a_word() {
        for len in 0..300 {
            let cname = "n".repeat(len);
            let bytes = written(&Report { ssrc: Ssrc(5), sender: None, block: None, cname: &cname, bye: true });
            assert_eq!(packets(&bytes).filter(Result::is_ok).count(), 3, "{len}");
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_noticed() {
        let report = Report { ssrc: Ssrc(5), sender: Some(SENDER), block: None, cname: "name", bye: false };
        assert_eq!(report.write(&mut [0; 30]), None);
    }

    #[test]
    fn a_count_that_the_packet_cannot_hold_is_refused() {
        let mut bytes = written(&Report { ssrc: Ssrc(5), sender: None, block: Some(BLOCK), cname: "x", bye: false });
        bytes[0] = 0x80 | 31;
        assert_eq!(packets(&bytes).next(), Some(Err(RtcpError::TooShort { expected: 4 + 31 * 24, got: 28 })));
    }

    #[test]
    fn every_truncation_ends_in_an_error_or_in_fewer_packets() {
        let report = Report { ssrc: Ssrc(5), sender: Some(SENDER), block: Some(BLOCK), cname: "name", bye: true };
        let bytes = written(&report);
        for len in 0..bytes.len() {
            let read: Vec<_> = packets(&bytes[..len]).collect();
            assert!(read.iter().filter(|packet| packet.is_ok()).count() < 3, "{len}: {read:?}");
        }
    }

    #[test]
    fn padding_is_taken_off_and_checked() {
        let good = [0xa1, 203, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4];
        let Some(Ok(RtcpPacket::Bye { sources })) = packets(&good).next() else { panic!("a bye") };
        assert_eq!(sources.iter().collect::<Vec<_>>(), [Ssrc(9)]);
        let bad = [0xa1, 203, 0, 1, 0, 0, 0, 9];
        assert_eq!(packets(&bad).next(), Some(Err(RtcpError::Padding { got: 9 })));
    }
}
