//! `lockstep worker`: a script worker process, started by the engine and by nobody else.

use std::os::fd::RawFd;
use std::process::ExitCode;

use super::out;

/// Internal: run scripts for an engine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The socket frames go over.
    #[arg(long)]
    fd: RawFd,
    /// The shared page the worker publishes its turns in.
    #[arg(long)]
    probe_fd: RawFd,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match crate::script::worker_main(args.fd, args.probe_fd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::failed(format!("worker: {error}")),
    }
}
