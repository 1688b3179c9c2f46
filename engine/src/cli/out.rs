//! Writing to stdout and stderr. A reader that has gone away (`lockstep calls | head -1`) ends the command, quietly.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Writes one line to stdout.
pub(super) fn line(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}").and_then(|()| stdout.flush())
        && error.kind() == ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Writes text to stdout as it is.
pub(super) fn text(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A closed pipe is nobody's fault, and a full disk cannot be reported on the same disk.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
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
