//! Cuts a byte stream into SIP messages and keep-alives (RFC 3261 §18.3, RFC 5626 §3.5.1). Sans-IO.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// Bounds for one message on a stream, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct FramingLimits {
    /// Start line and headers, blank line included.
    pub head: usize,
    pub body: usize,
}

impl Default for FramingLimits {
    fn default() -> Self {
        let head = 32 * 1024;
        FramingLimits { head, body: crate::message::limits::MESSAGE - head }
    }
}

/// What a stream carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message: head and as much body as its Content-Length says.
    Message(Bytes),
    /// A double CRLF; the peer waits for a single one in answer.
    Ping,
}

/// Why a stream cannot be cut any further; it must be closed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FramingError {
    #[error("no end of headers within {limit} bytes")]
    HeadTooLarge { limit: usize },
    /// `head` is whole and can be answered before the stream is closed.
    #[error("content-length {declared} exceeds {limit} bytes")]
    BodyTooLarge { head: Bytes, declared: u64, limit: usize },
    /// `head` is whole and can be answered before the stream is closed.
    #[error("content-length {got:?} is no length")]
    BadContentLength { head: Bytes, got: String },
}

impl FramingError {
    /// The head of the message the stream broke at, when it had arrived.
    pub fn head(&self) -> Option<&Bytes> {
        match self {
            FramingError::HeadTooLarge { .. } => None,
            FramingError::BodyTooLarge { head, .. } | FramingError::BadContentLength { head, .. } => Some(head),
        }
    }
}

/// Reassembles one stream.
#[derive(Debug)]
pub struct StreamFramer {
    limits: FramingLimits,
    buffer: BytesMut,
    /// Bytes already searched for the end of the head.
    searched: usize,
    /// Length of the message at the front, once its head is whole.
    expected: Option<usize>,
}

impl StreamFramer {
    pub fn new(limits: FramingLimits) -> Self {
        StreamFramer { limits, buffer: BytesMut::new(), searched: 0, expected: None }
    }

    /// Where received bytes are to be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether part of a message has arrived, but not all of it.
    pub fn is_mid_message(&self) -> bool {
        self.buffer.iter().any(|byte| !matches!(byte, b'\r' | b'\n'))
    }

    /// The next frame; `None` until more bytes arrive. After an error the framer gives nothing more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        let expected = match self.expected {
            Some(expected) => expected,
            None => {
                if let Some(found) = self.skip_line_ends() {
                    return Ok(found);
                }
                let Some(head_len) = self.find_head_end()? else { return Ok(None) };
                let body_len = self.body_len(head_len)?;
                *self.expected.insert(head_len + body_len)
            }
        };
        if self.buffer.len() < expected {
            self.buffer.reserve(expected - self.buffer.len());
            return Ok(None);
        }
        self.expected = None;
        self.searched = 0;
        Ok(Some(Frame::Message(self.buffer.split_to(expected).freeze())))
    }

    /// Consumes line ends between messages. `Some` when that is all there is for now.
    fn skip_line_ends(&mut self) -> Option<Option<Frame>> {
        loop {
            match &self.buffer[..] {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.buffer.advance(4);
                    return Some(Some(Frame::Ping));
                }
                // May still become a ping.
                [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Some(None),
                [b'\r', b'\n', ..] => self.buffer.advance(2),
                [b'\n', ..] => self.buffer.advance(1),
                [..] => return None,
            }
        }
    }

    fn find_head_end(&mut self) -> Result<Option<usize>, FramingError> {
        let within = self.buffer.len().min(self.limits.head);
        let haystack = self.buffer.get(self.searched..within).unwrap_or_default();
        let mut line_start = None;
        for (offset, byte) in haystack.iter().enumerate() {
            match (byte, line_start) {
                (b'\n', Some(_)) => return Ok(Some(self.searched + offset + 1)),
                (b'\n', None) => line_start = Some(offset),
                (b'\r', Some(start)) if offset == start + 1 => {}
                (_, _) => line_start = None,
            }
        }
        if self.buffer.len() >= self.limits.head {
            return Err(FramingError::HeadTooLarge { limit: self.limits.head });
        }
        // A line end at the edge may be the first half of the blank line.
        self.searched = within.saturating_sub(2);
        Ok(None)
    }

    fn body_len(&mut self, head_len: usize) -> Result<usize, FramingError> {
        let declared = match content_length(&self.buffer[..head_len]) {
            Ok(declared) => declared.unwrap_or(0),
            Err(got) => {
                return Err(FramingError::BadContentLength { head: self.take_head(head_len), got });
            }
        };
        match usize::try_from(declared) {
            Ok(len) if len <= self.limits.body => Ok(len),
            Ok(_) | Err(_) => {
                Err(FramingError::BodyTooLarge { head: self.take_head(head_len), declared, limit: self.limits.body })
            }
        }
    }

    fn take_head(&mut self, head_len: usize) -> Bytes {
        let head = self.buffer.split_to(head_len).freeze();
        self.buffer.clear();
        head
    }
}

/// Finds Content-Length in a message head; the error is the value that is none, or two that differ.
fn content_length(head: &[u8]) -> Result<Option<u64>, String> {
    let mut found: Option<u64> = None;
    let mut lines = head.split(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii_end();
        if !name.eq_ignore_ascii_case(b"content-length") && !name.eq_ignore_ascii_case(b"l") {
            continue;
        }
        let mut value = value.get(1..).unwrap_or_default().to_vec();
        while let Some(folded) = lines.next_if(|next| matches!(next.first(), Some(b' ' | b'\t'))) {
            value.extend_from_slice(folded);
        }
        let text = value.trim_ascii();
        let bad = || String::from_utf8_lossy(text).chars().take(40).collect::<String>();
        if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
            return Err(bad());
        }
        let length = text.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
        if found.is_some_and(|earlier| earlier != length) {
            return Err(bad());
        }
        found = Some(length);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 4\r\n\r\nbody";

    fn framer() -> StreamFramer {
        StreamFramer::new(FramingLimits { head: 200, body: 100 })
    }

    fn frames(framer: &mut StreamFramer, bytes: &[u8]) -> Result<Vec<Frame>, FramingError> {
        framer.buffer().extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(frame) = framer.next_frame()? {
            out.push(frame);
        }
        Ok(out)
    }

    fn message(bytes: &'static [u8]) -> Frame {
        Frame::Message(Bytes::from_static(bytes))
    }

    #[test]
    fn any_cut_of_the_stream_gives_the_same_frames() {
        let stream = [b"\r\n\r\n", OPTIONS, b"\r\n\r\n", OPTIONS, OPTIONS, b"\n"].concat();
        let want = [Frame::Ping, message(OPTIONS), Frame::Ping, message(OPTIONS), message(OPTIONS)];
        for cut in 0..=stream.len() {
            let mut framer = framer();
            let (first, second) = stream.split_at(cut);
            let mut got = frames(&mut framer, first).unwrap();
            got.extend(frames(&mut framer, second).unwrap());
            assert_eq!(got, want, "cut at {cut}");
            assert!(!framer.is_mid_message());
        }
        let mut framer = framer();
        let mut got = Vec::new();
        for byte in &stream {
            got.extend(frames(&mut framer, &[*byte]).unwrap());
        }
        assert_eq!(got, want, "byte by byte");
    }

    #[test]
    fn a_single_crlf_is_a_pong_and_says_nothing() {
        let mut framer = framer();
        assert_eq!(frames(&mut framer, b"\r\n").unwrap(), []);
        assert!(!framer.is_mid_message());
        assert_eq!(frames(&mut framer, OPTIONS).unwrap(), [message(OPTIONS)]);
    }

    #[test]
    fn compact_folded_and_padded_content_length_is_understood() {
        for header in ["l: 4", "L :4", "content-LENGTH\t:\r\n  4", "Content-Length: 0004", "l: 4\r\nContent-Length: 4"] {
            let text = format!("OPTIONS sip:a SIP/2.0\r\n{header}\r\n\r\nbodyOPT");
            let mut framer = framer();
            let got = frames(&mut framer, text.as_bytes()).unwrap();
            assert_eq!(got.len(), 1, "{header}");
            let Frame::Message(bytes) = &got[0] else { panic!("no message") };
            assert!(bytes.ends_with(b"\r\n\r\nbody"), "{header}");
        }
    }

    #[test]
    fn without_content_length_there_is_no_body() {
        let mut framer = framer();
        let got = frames(&mut framer, b"OPTIONS sip:a SIP/2.0\n\nOPTIONS sip:b SIP/2.0\r\n\r\n").unwrap();
        assert_eq!(got, [message(b"OPTIONS sip:a SIP/2.0\n\n"), message(b"OPTIONS sip:b SIP/2.0\r\n\r\n")]);
    }

    #[test]
    fn an_endless_head_is_cut_off_at_the_limit() {
        let mut framer = framer();
        assert_eq!(frames(&mut framer, &[b'x'; 199]).unwrap(), []);
        assert!(framer.is_mid_message());
        assert_eq!(frames(&mut framer, b"x"), Err(FramingError::HeadTooLarge { limit: 200 }));
    }

    #[test]
    fn a_length_that_is_none_gives_the_head_to_answer() {
        for value in ["-1", "+4", "4 4", "0x10", "", "4\r\nl: 5"] {
            let text = format!("OPTIONS sip:a SIP/2.0\r\nl: {value}\r\n\r\n");
            let error = frames(&mut framer(), text.as_bytes()).unwrap_err();
            assert!(matches!(error, FramingError::BadContentLength { .. }), "{value:?}: {error}");
            assert_eq!(error.head().unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_body_past_the_limit_is_refused_before_it_arrives() {
        for value in ["101", "99999999999999999999999999"] {
            let text = format!("OPTIONS sip:a SIP/2.0\r\nl: {value}\r\n\r\n");
            let error = frames(&mut framer(), text.as_bytes()).unwrap_err();
            assert!(matches!(error, FramingError::BodyTooLarge { limit: 100, .. }), "{error}");
        }
    }
}
