//! Cutting a byte stream into frames.

use bytes::{Buf, Bytes, BytesMut};
use thiserror::Error;

/// How much one frame may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes up to and including the blank line.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
}

impl Limits {
    /// For what a media server sends: the answer to `connect` carries every channel variable in its head, and an answer to
    /// `show channels` lists every call of a server in its body.
    pub const FROM_SERVER: Self = Self { head: 1 << 20, body: 16 << 20 };
    /// For what a client sends.
    pub const FROM_CLIENT: Self = Self { head: 64 << 10, body: 1 << 20 };
}

/// Why a byte stream is no event socket conversation.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    #[error("expected a blank line within {0} bytes")]
    HeadTooLong(usize),
    #[error("expected text, found a byte {0:#04x}")]
    Binary(u8),
    #[error("Content-Length: expected a number of bytes, found {0:?}")]
    BadContentLength(String),
    #[error("Content-Length: expected at most {limit}, found {found}")]
    BodyTooLong { limit: usize, found: usize },
}

/// One frame as it stood on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The lines up to the blank one.
    pub head: String,
    /// As long as Content-Length says; empty without one.
    pub body: Bytes,
}

/// Cuts a byte stream into frames. After an error it yields nothing more.
#[derive(Debug)]
pub struct FrameReader {
    limits: Limits,
    /// The first line of what a client sends is a command, whatever it looks like.
    first_is_command: bool,
    buffer: BytesMut,
    /// No blank line begins before this.
    searched: usize,
    /// The head of the frame whose body is not complete yet, and the body's length.
    head: Option<(String, usize)>,
    failed: Option<FrameError>,
}

impl FrameReader {
    /// For what a server sends.
    pub fn of_messages(limits: Limits) -> Self {
        Self::new(limits, false)
    }

    /// For what a client sends.
    pub fn of_commands(limits: Limits) -> Self {
        Self::new(limits, true)
    }

    fn new(limits: Limits, first_is_command: bool) -> Self {
        Self { limits, first_is_command, buffer: BytesMut::new(), searched: 0, head: None, failed: None }
    }

    /// Takes bytes as they were read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next complete frame; `None` until more bytes have come.
    ///
    /// # Errors
    /// What breaks the format; from then on always the same.
    pub fn poll_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let polled = self.cut();
        if let Err(error) = &polled {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        }
        polled
    }

    fn cut(&mut self) -> Result<Option<Frame>, FrameError> {
        let (head, length) = match self.head.take() {
            Some(head) => head,
            None => match self.cut_head()? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < length {
            self.buffer.reserve(length - self.buffer.len());
            self.head = Some((head, length));
            return Ok(None);
        }
        Ok(Some(Frame { head, body: self.buffer.split_to(length).freeze() }))
    }

    fn cut_head(&mut self) -> Result<Option<(String, usize)>, FrameError> {
        if self.searched == 0 {
            let blank = self.buffer.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.buffer.advance(blank);
        }
        let Some((end, after)) = self.find_blank_line()? else {
            return if self.buffer.len() > self.limits.head { Err(FrameError::HeadTooLong(self.limits.head)) } else { Ok(None) };
        };
        if after > self.limits.head {
            return Err(FrameError::HeadTooLong(self.limits.head));
        }
        self.searched = 0;
        let head = self.buffer.split_to(after);
        let head = String::from_utf8_lossy(head.get(..end).unwrap_or_default()).into_owned();
        let length = self.content_length(&head)?;
        Ok(Some((head, length)))
    }

    /// Where the head ends, and where what comes after the blank line begins.
    fn find_blank_line(&mut self) -> Result<Option<(usize, usize)>, FrameError> {
        let mut line_end = None;
        for (at, byte) in self.buffer.iter().enumerate().skip(self.searched) {
            match byte {
                b'\n' => match line_end {
                    Some(end) => return Ok(Some((end, at + 1))),
                    None => line_end = Some(at + 1),
                },
                b'\r' => {}
                0 => return Err(FrameError::Binary(0)),
                _ => line_end = None,
            }
        }
        // A blank line may have begun: the end of the line before it is looked at again.
        self.searched = line_end.map_or(self.buffer.len(), |end| end - 1);
        Ok(None)
    }

    fn content_length(&self, head: &str) -> Result<usize, FrameError> {
        let mut found: Option<&str> = None;
        for line in head.lines().skip(usize::from(self.first_is_command)) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") && found.replace(value).is_some_and(|earlier| earlier != value) {
                return Err(FrameError::BadContentLength(value.chars().take(40).collect()));
            }
        }
        let Some(value) = found else { return Ok(0) };
        let bad = || FrameError::BadContentLength(value.chars().take(40).collect());
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let length = value.parse().map_err(|_| bad())?;
        if length > self.limits.body {
            return Err(FrameError::BodyTooLong { limit: self.limits.body, found: length });
        }
        Ok(length)
    }
}
