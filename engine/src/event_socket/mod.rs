//! Our own event socket: clients and applications written for FreeSWITCH watch this engine, steer its calls, and answer them.
//!
//! ```text
//!   engine events ─► Hub ── each event written once a format ──► Outbox of every client ─► its socket
//!   a client's socket ─► FrameReader ─► Client: commands ─► EngineHandle ─► core
//!   a call for `socket:host:port` ─► we connect to the application, which is a Client of one call
//! ```
//!
//! Everything runs on one thread of its own: neither a slow client nor a busy one is felt by calls or by the HTTP interface.

mod access;
mod api;
mod applications;
mod cause;
mod channel_headers;
mod client;
mod dial_string;
mod events;
mod execute;
mod expand;
mod files;
mod hub;
mod inline;
mod listeners;
mod notices;
mod outbound;
mod outbox;
mod reach;
mod schedule;
mod server;
mod wants;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::{ApplicationCall, EngineHandle};
use hub::{Hub, Identity};

/// Why the event socket does not start.
#[derive(Debug, Error)]
pub enum EventSocketError {
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("event socket thread: {0}")]
    Thread(io::Error),
}

impl EventSocketError {
    /// The key of the configuration whose value cannot be used.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Listen { .. } => Some("event_socket.listen"),
            Self::Thread(_) => None,
        }
    }
}

/// A running event socket.
#[derive(Debug)]
pub struct EventSocket {
    address: Option<SocketAddr>,
    thread: JoinHandle<()>,
}

impl EventSocket {
    /// Listens where the configuration says, and calls applications for the calls that come through `applications`. It ends
    /// with the engine.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn start(
        config: &Config,
        engine: EngineHandle,
        applications: mpsc::Receiver<ApplicationCall>,
    ) -> Result<Self, EventSocketError> {
        let hub = Arc::new(Hub::new(engine, Identity::of(config)));
        let access = access::Access::of(config);
        let address = config.event_socket.listen;
        let (report, started) = std::sync::mpsc::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(EventSocketError::Thread(error)))),
            };
            runtime.block_on(async move {
                let listener = match address {
                    Some(address) => match TcpListener::bind(address).await {
                        Ok(listener) => Some(listener),
                        Err(error) => return drop(report.send(Err(EventSocketError::Listen { address, error }))),
                    },
                    None => None,
                };
                let bound = listener.as_ref().and_then(|listener| listener.local_addr().ok());
                // The starter waits for this.
                let _ = report.send(Ok(bound));
                serve(hub, access, listener, applications).await;
            });
        };
        let thread = std::thread::Builder::new().name("event-socket".to_owned()).spawn(run).map_err(EventSocketError::Thread)?;
        match started.recv() {
            Ok(Ok(address)) => Ok(Self { address, thread }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EventSocketError::Thread(io::Error::other("it ended before it had begun"))),
        }
    }

    /// Where it listens; a port that was 0 in the configuration is filled in.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until it has ended, which it does with the engine.
    pub fn wait(self) {
        if self.thread.join().is_err() {
            tracing::error!("the event socket's thread panicked");
        }
    }
}

async fn serve(
    hub: Arc<Hub>,
    access: access::Access,
    listener: Option<TcpListener>,
    mut applications: mpsc::Receiver<ApplicationCall>,
) {
    // Nobody watches an engine without an event socket until an application is called for the first time.
    if let Some(listener) = listener {
        tokio::spawn(server::accept(listener, Arc::clone(&hub), access));
    } else {
        let Some(call) = applications.recv().await else { return };
        tokio::spawn(outbound::call(Arc::clone(&hub), call));
    }
    let calling = {
        let hub = Arc::clone(&hub);
        async move {
            while let Some(call) = applications.recv().await {
                tokio::spawn(outbound::call(Arc::clone(&hub), call));
            }
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = hub.run() => {}
        () = calling => {}
    }
    // The last words of clients are on their way; whoever does not take them at once does not get them.
    let _ = tokio::time::timeout(server::LAST_WORDS, hub.all_gone()).await;
}
