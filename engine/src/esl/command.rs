//! Commands: what a client sends.

use bytes::Bytes;
use thiserror::Error;

use super::frame::Frame;
use super::headers::Headers;

/// Why something cannot be put into a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}: expected text without line ends and NUL, found {found:?}")]
pub struct Unsendable {
    pub what: String,
    pub found: char,
}

/// A command with its headers, as `sendmsg` has them, and its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    line: String,
    headers: Headers,
    body: Bytes,
}

impl Command {
    /// A command to be sent: `api uuid_kill …`.
    ///
    /// # Errors
    /// A line end in it would make two commands of it.
    pub fn new(line: impl Into<String>) -> Result<Self, Unsendable> {
        let line = line.into();
        check("command", &line)?;
        Ok(Self { line, headers: Headers::new(), body: Bytes::new() })
    }

    /// Adds a header.
    ///
    /// # Errors
    /// A line end in it would make two headers of it.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, Unsendable> {
        check(name, name)?;
        check(name, value)?;
        self.headers.push(name, value);
        Ok(self)
    }

    /// Reads what a client has sent.
    pub fn parse(frame: Frame) -> Self {
        let (line, rest) = frame.head.split_once('\n').unwrap_or((&frame.head, ""));
        let (headers, _) = Headers::parse(rest, false);
        Self { line: line.trim_end_matches('\r').to_owned(), headers, body: frame.body }
    }

    /// The first word of the command line: `api`, `sendmsg`, `event`, ….
    pub fn verb(&self) -> &str {
        self.line.split([' ', '\t']).next().unwrap_or_default()
    }

    /// The command line without its first word and the blanks around the rest.
    pub fn args(&self) -> &str {
        self.line.get(self.verb().len()..).unwrap_or_default().trim()
    }

    /// The whole command line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The headers under the command line.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The body; lossy where it is not UTF-8.
    pub fn body(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Appends the command as it goes over the wire.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.line.as_bytes());
        out.push(b'\n');
        for (name, value) in self.headers.iter() {
            for part in [name, ": ", value, "\n"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.push(b'\n');
    }
}

fn check(what: &str, text: &str) -> Result<(), Unsendable> {
    match text.chars().find(|c| matches!(c, '\r' | '\n' | '\0')) {
        Some(found) => Err(Unsendable { what: what.chars().filter(|c| !c.is_control()).take(40).collect(), found }),
        None => Ok(()),
    }
}
