//! Hot reload: a small thread that looks at the scripts folder.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::loader::{Loader, Reload};

/// How often the folder is looked at. Polling works on every file system, in containers and over networks too.
const INTERVAL: Duration = Duration::from_millis(250);
/// Reloads that may wait for the core before the watcher waits too.
const QUEUE: usize = 4;

/// Watches a scripts folder until dropped.
#[derive(Debug)]
pub struct Watch {
    reloads: mpsc::Receiver<Reload>,
    /// Dropping it wakes the thread, which then leaves.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// The next change; `None` when the watcher is gone.
    pub async fn changed(&mut self) -> Option<Reload> {
        self.reloads.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.take();
        self.reloads.close();
        if let Some(thread) = self.thread.take() {
            // A watcher that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// Watches the folder of `loader`, which has been loaded once.
///
/// # Errors
/// When no thread can be started.
pub fn watch(mut loader: Loader) -> std::io::Result<Watch> {
    let (stop, stopped) = channel::<()>();
    let (sender, reloads) = mpsc::channel(QUEUE);
    let mut loaded = loader.scan().ok();
    let mut pending = None;
    let run = move || {
        while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let Ok(found) = loader.scan() else { continue };
            if loaded.as_ref() == Some(&found) {
                pending = None;
                continue;
            }
            // Only once it has stood still for a moment: an editor may be half way through writing.
            if pending.as_ref() != Some(&found) {
                pending = Some(found);
                continue;
            }
            loaded = pending.take();
            match loader.load() {
                Ok(reload) => {
                    if sender.blocking_send(reload).is_err() {
                        return;
                    }
                }
                Err(error) => tracing::error!(dir = %loader.dir().display(), %error, "the scripts folder cannot be read"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("scripts".to_owned()).spawn(run)?;
    Ok(Watch { reloads, stop: Some(stop), thread: Some(thread) })
}
