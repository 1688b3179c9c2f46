//! The engine's own log: structured, on stderr.
//!
//! Fields hold ids, addresses and counts; passwords, keys and authorization headers are never given to it.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

/// Names the filter, in tracing's syntax: `info`, `lockstep_engine::call=debug,warn`.
pub const FILTER_VARIABLE: &str = "LOCKSTEP_LOG";

/// Lines that could not be written.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging to stderr, once per process. `filter` is used where [`FILTER_VARIABLE`] is not set.
///
/// # Errors
/// A sentence when the variable holds no filter.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) => {
            EnvFilter::try_new(&text).map_err(|error| format!("{FILTER_VARIABLE}: `{text}` is no log filter: {error}"))?
        }
        Err(_) => EnvFilter::new(filter),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Lossy(io::stderr()));
    // What cannot be written would be told on stderr as well, by a panic where that fails.
    let builder = builder.log_internal_errors(false);
    // A second start in one process (a test that runs two engines) keeps the first log.
    let _ = match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(io::stderr().is_terminal());
            builder.fmt_fields(debug_fn(write_field).delimited(" ")).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// How many lines could not be written: nobody reads stderr any more, or its disk is full.
pub(crate) fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// Loses what it cannot write: calls go on without a log.
struct Lossy<W>(W);

impl<W: io::Write> io::Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A line that is lost is counted where it is written.
        let _ = self.0.flush();
        Ok(())
    }
}

/// One field of a line. What peers and scripts say ends up in some: a line break of theirs must not begin a line of ours.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let name = field.name();
    if name != "message" {
        let name = name.strip_prefix("r#").unwrap_or(name);
        if writer.has_ansi_escapes() {
            write!(writer, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m")?;
        } else {
            write!(writer, "{name}=")?;
        }
    }
    write!(Escaped(writer), "{value:?}")
}

/// A text as part of one line: control characters are written as escapes.
pub(crate) fn on_one_line(text: impl fmt::Display) -> String {
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = write!(Escaped(&mut line), "{text}");
    line
}

/// Writes control characters as escapes.
struct Escaped<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, control)) = rest.char_indices().find(|(_, c)| c.is_control() && *c != '\t') {
            let (plain, after) = rest.split_at(at);
            self.0.write_str(plain)?;
            write!(self.0, "{}", control.escape_default())?;
            rest = after.get(control.len_utf8()..).unwrap_or_default();
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_counted() {
        let mut log = Lossy(Full);
        let before = lost_lines();
        assert!(log.write_all(b"one line\n").is_ok());
        assert!(log.flush().is_ok());
        assert_eq!(lost_lines() - before, 1);
    }

    #[test]
    fn what_a_peer_says_stays_on_its_line() {
        let lines = Lines::default();
        let sink = lines.clone();
        let builder = tracing_subscriber::fmt().without_time().with_ansi(false).with_target(false);
        let log = builder.with_writer(move || sink.clone()).fmt_fields(debug_fn(write_field).delimited(" ")).finish();
        tracing::subscriber::with_default(log, || {
            let (to, at) = ("5015\nFAKE\0\u{1b}[2J", None::<u8>);
            tracing::info!(%to, code = 404, script = "a", at, "refused:\r\n{}", "a\tb");
        });
        let written = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let expected = " INFO refused:\\r\\na\tb to=5015\\nFAKE\\u{0}\\u{1b}[2J code=404 script=\"a\"\n";
        assert_eq!(written, expected);
    }
}
