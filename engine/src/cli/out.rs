//! Writing to stdout and stderr. What cannot be written ends the command: with a word and exit code 1, or quietly where the reader has
//! gone away (`lockstep calls | head -1`).

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// What a shell sees of a command that SIGPIPE has ended, as it ends others in front of `head`: 128 and the signal's number.
const READER_GONE: i32 = 141;

/// Writes one line to stdout.
pub(super) fn line(line: impl Display) {
    text(&format!("{line}\n"));
}

/// Writes text to stdout as it is.
pub(super) fn text(text: &str) {
    if let Err(why) = write(text) {
        if why.kind() == ErrorKind::BrokenPipe {
            std::process::exit(READER_GONE);
        }
        error(format!("cannot write to stdout: {why}"));
        std::process::exit(1);
    }
}

/// The same where the work goes on although nobody reads it.
pub(super) fn announce(text: &str) {
    // Whoever waits for it sees that it does not come.
    let _ = write(text);
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
}

/// Writes one line to stderr.
pub(super) fn error(text: impl Display) {
    // With stderr gone there is nowhere left to say so.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says why a command failed; exit code 1.
pub(super) fn failed(text: impl Display) -> ExitCode {
    error(text);
    ExitCode::FAILURE
}
