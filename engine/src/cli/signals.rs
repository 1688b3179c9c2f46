//! Being told to end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT (Ctrl-C).
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they no longer end the process by themselves.
    pub(super) fn listen() -> Result<Self, String> {
        let unavailable = |error: std::io::Error| format!("cannot wait for signals: {error}");
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(unavailable)?,
            interrupt: signal(SignalKind::interrupt()).map_err(unavailable)?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn told_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
