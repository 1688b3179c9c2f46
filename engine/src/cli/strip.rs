//! `lockstep strip`: takes the types out of a script, started by the engine and by nobody else.

use std::process::ExitCode;

use super::out;
use crate::typescript;

/// Internal: take the types out of the script on stdin, for an engine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The script's file name.
    file: String,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match typescript::serve(&args.file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::failed(format!("strip: {error}")),
    }
}
