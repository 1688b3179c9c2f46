//! The engine's own log: structured, on stderr.
//!
//! Fields hold ids, addresses and counts; passwords, keys and authorization headers are never given to it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Names the filter, in tracing's syntax: `info`, `lockstep_engine::call=debug,warn`.
pub const FILTER_VARIABLE: &str = "LOCKSTEP_LOG";

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
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (a test that runs two engines) keeps the first log.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
