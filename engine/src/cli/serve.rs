//! `lockstep serve [DIR]`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::out;
use crate::api;
use crate::config::{Config, Loaded};
use crate::core::{Engine, EngineHandle};
use crate::log::{self, LogFormat};

/// Run the engine on DIR/lockstep.toml.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of lockstep.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only validate the configuration.
    #[arg(long)]
    check: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogFormat,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let loaded = match Config::load(&args.dir) {
        Ok(loaded) => loaded,
        Err(error) => return out::failed(error),
    };
    for warning in &loaded.warnings {
        out::error(format!("warning: {warning}"));
    }
    if args.check {
        return report(&loaded);
    }
    match serve(loaded, args.log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::failed(error),
    }
}

fn report(loaded: &Loaded) -> ExitCode {
    out::line(format!("{}: valid", loaded.dir.join(crate::config::FILE_NAME).display()));
    ExitCode::SUCCESS
}

fn serve(loaded: Loaded, log_format: LogFormat) -> Result<(), String> {
    log::init(log_format, "info")?;
    let program = std::env::current_exe().map_err(|error| format!("cannot find the lockstep binary: {error}"))?;
    let config = loaded.config.clone();
    let engine = Engine::start(loaded, program).map_err(|error| error.to_string())?;
    let handle = engine.handle.clone();
    super::block_on(announce_and_wait(&config, handle))??;
    engine.wait();
    Ok(())
}

/// Prints the addresses, serves the API, and drains the engine once a signal asks for it.
async fn announce_and_wait(config: &Config, engine: EngineHandle) -> Result<(), String> {
    let server = api::Server::bind(&config.api, engine.clone()).await.map_err(|error| error.to_string())?;
    for address in engine.sip_addresses() {
        out::line(format!("sip {address}"));
    }
    out::line(format!("api http://{}", server.addr()));
    let serving = tokio::spawn(server.serve(std::future::pending()));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| format!("cannot wait for signals: {error}"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| format!("cannot wait for signals: {error}"))?;
    let mut grace = Duration::from_secs(config.sip.drain_s.into());
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = engine.stopped() => break,
        }
        // The second signal means it: whoever asks twice does not wait for calls to end.
        if engine.drain(grace).await.is_err() {
            break;
        }
        grace = Duration::ZERO;
    }
    // Whoever still reads from the API reads from an engine that is gone.
    serving.abort();
    Ok(())
}
