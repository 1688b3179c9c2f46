//! `lockstep serve [DIR]`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::check::missing_modules;
use super::signals::Signals;
use super::{block_on, out};
use crate::alerts;
use crate::allocator;
use crate::api;
use crate::background;
use crate::config::{Config, FILE_NAME, Loaded};
use crate::core::{Engine, EngineHandle};
use crate::event_socket::EventSocket;
use crate::host::{self, Served};
use crate::log::{self, LogFormat};
use crate::runs::keep_workers;
use crate::script::programs::{Loader, Reload};

/// How long requests over HTTP may take where live calls have left them less.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Run the engine on DIR/lockstep.toml.
///
/// Prints where it listens on stdout, then `ready`; logs to stderr. SIGTERM, SIGQUIT, SIGHUP or Ctrl-C lets live calls end; a second one, unless it is SIGHUP, does not.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of lockstep.toml; an empty folder will do.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only validate the configuration.
    #[arg(long)]
    check: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let loaded = match Config::load(&args.dir) {
        Ok(loaded) => loaded,
        Err(error) => return out::failed(error),
    };
    if args.check {
        return check(&loaded);
    }
    match serve(args, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => out::failed(error),
    }
}

/// Looks at the scripts, too: the engine would start without one that the configuration names, but not do what it says.
fn check(loaded: &Loaded) -> ExitCode {
    let mut loader = Loader::new(&loaded.dir, &loaded.config);
    let reload = match loader.load() {
        Ok(reload) => reload,
        Err(error) => {
            let message = format!("cannot read the folder {}: {error}", loader.dir().display());
            return out::failed(loaded.places.problem("scripts.dir", message));
        }
    };
    let warnings = loaded.warnings.iter().map(ToString::to_string).chain(reload.new_warnings.iter().cloned());
    for warning in warnings {
        out::error(format!("warning: {warning}"));
    }
    let errors = errors(loaded, loader.dir(), &reload);
    if !errors.is_empty() {
        return out::failed(errors.join("\n"));
    }
    out::line(format!("{}: valid", loaded.dir.join(FILE_NAME).display()));
    ExitCode::SUCCESS
}

/// Scripts that are named and not there, scripts that cannot be run, and modules that scripts ask for and cannot have.
fn errors(loaded: &Loaded, scripts: &Path, reload: &Reload) -> Vec<String> {
    let named = loaded.named_scripts.iter().filter_map(|named| Some(named.problem(reload.set.lacks(&named.wanted)?).to_string()));
    let modules = reload.texts.iter().flat_map(|text| {
        let missing = missing_modules(&scripts.join(&text.file), &text.source, loaded);
        missing.into_iter().map(move |at| format!("{}:{}:{}: {}", text.file, at.line, at.column, at.message))
    });
    named.chain(reload.set.problems().map(ToString::to_string)).chain(modules).collect()
}

fn serve(args: &Args, loaded: Loaded) -> Result<(), String> {
    log::init(args.log_format, "info")?;
    allocator::forgo_huge_pages();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    host::remove_left();
    let program = std::env::current_exe().map_err(|error| format!("cannot find the lockstep binary: {error}"))?;
    let grace = Duration::from_secs(loaded.config.sip.drain_s.into());
    let config = loaded.config.clone();
    let places = loaded.places.clone();
    let placed = |key: Option<&str>, message: String| match key {
        Some(key) => places.problem(key, message).to_string(),
        None => message,
    };
    let mut engine = Engine::start(loaded, program).map_err(|error| placed(error.key(), error.to_string()))?;
    let handle = engine.handle.clone();
    let event_socket = engine.take_applications().map(|applications| EventSocket::start(&config, handle.clone(), applications));
    let event_socket = event_socket.transpose().map_err(|error| placed(error.key(), error.to_string()))?;
    let sockets = Sockets { freeswitch: engine.freeswitch, event_socket: event_socket.as_ref().and_then(EventSocket::address) };
    // No thread that is to go ahead is started after this.
    background::step_back(background::WAITED_FOR);
    block_on(async {
        // Before anybody learns that we are ready: a signal from here on stops the engine in order.
        let signals = Signals::listen()?;
        let server = api::Server::bind(&config.api, handle.clone()).await;
        let server = server.map_err(|error| placed(Some(error.key), error.to_string()))?;
        attend(server, signals, handle, sockets, grace).await
    })??;
    engine.wait();
    if let Some(event_socket) = event_socket {
        event_socket.wait();
    }
    Ok(())
}

/// Where event sockets are listened on.
#[derive(Clone, Copy, Debug)]
struct Sockets {
    /// FreeSWITCH connects here.
    freeswitch: Option<SocketAddr>,
    /// Our own.
    event_socket: Option<SocketAddr>,
}

/// Prints the addresses, serves the API, and drains the engine once a signal asks for it.
async fn attend(
    server: api::Server,
    mut signals: Signals,
    engine: EngineHandle,
    sockets: Sockets,
    grace: Duration,
) -> Result<(), String> {
    engine.platform().late.set(Some(Served { engine: engine.clone(), api: server.addr() }));
    announce(&engine, sockets, &server);
    let workers = tokio::spawn(keep_workers(engine.runs().clone()));
    let alerts = tokio::spawn(alerts::deliver(engine.clone(), engine.platform().drivers.alert.clone()));
    let (stop, told) = oneshot::channel::<()>();
    let told = async move {
        // It is told by being dropped.
        let _ = told.await;
    };
    let mut serving = tokio::spawn(server.serve(told));
    let is_told = tokio::select! {
        () = signals.told_to_end() => true,
        () = engine.stopped() => false,
    };
    if is_told {
        tracing::info!(grace_s = grace.as_secs(), "stopping: no new calls, live calls may end");
        tokio::select! {
            () = end(&engine, stop, &mut serving, grace) => {}
            // The second signal means it: whoever asks twice does not wait for calls and requests to end.
            () = signals.told_to_end() => drop(engine.drain(Duration::ZERO).await),
        }
        // It may have ended by itself.
        let _ = engine.halt().await;
        engine.stopped().await;
    }
    engine.platform().late.set(None);
    engine.platform().journals.flush().await;
    engine.platform().store.flush().await;
    // Whoever still reads from the API reads from an engine that is gone.
    workers.abort();
    alerts.abort();
    serving.abort();
    if is_told { Ok(()) } else { Err("the core has ended unexpectedly".to_owned()) }
}

/// Lets calls end, then what is under way over HTTP, for up to `grace` in all. Until calls are over, they can be seen and ended.
async fn end(engine: &EngineHandle, stop: oneshot::Sender<()>, serving: &mut JoinHandle<()>, grace: Duration) {
    let begun = Instant::now();
    // An error says that no engine is left.
    let _ = engine.drain(grace).await;
    drop(stop);
    let left = grace.saturating_sub(begun.elapsed()).max(LAST_ANSWERS);
    if tokio::time::timeout(left, serving).await.is_err() {
        tracing::warn!("requests over HTTP were cut off");
    }
}

fn announce(engine: &EngineHandle, sockets: Sockets, server: &api::Server) {
    let mut text = String::new();
    for address in engine.sip_addresses() {
        text.push_str(&format!("sip {address}\n"));
    }
    if let Some(address) = sockets.event_socket {
        text.push_str(&format!("event-socket {address}\n"));
    }
    text.push_str(&format!("api http://{}\n", server.addr()));
    if let Some(public) = server.public_addr() {
        text.push_str(&format!("public http://{public}\n"));
    }
    if let Some(address) = sockets.freeswitch {
        text.push_str(&format!("freeswitch {address}\n"));
    }
    text.push_str("ready\n");
    out::announce(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_a_script_cannot_have_fails_the_check() {
        let project = std::env::temp_dir().join(format!("lockstep-serve-check-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(project.join("scripts")).unwrap();
        std::fs::write(project.join(FILE_NAME), "").unwrap();
        std::fs::write(project.join("scripts/lib.js"), "exports.a = require('cxKV')").unwrap();
        std::fs::write(project.join("scripts/feed.js"), "require('lib');\nconst Parser = require('no-such-package');").unwrap();
        let loaded = Config::load(&project).unwrap();
        let mut loader = Loader::new(&loaded.dir, &loaded.config);
        let reload = loader.load().unwrap();
        let told = "feed.js:2:24: Cannot find module 'no-such-package' (not on the allow-list; see docs/modules.md)";
        assert_eq!(errors(&loaded, loader.dir(), &reload), [told]);
        std::fs::remove_dir_all(&project).unwrap();
    }
}
