//! Hot reload: a small thread that looks at the scripts folder.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::loader::{Loader, Reload, RollBackError, Stamp};

/// How often the folder is looked at. Polling works on every file system, in containers and over networks too.
const INTERVAL: Duration = Duration::from_millis(250);
/// Reloads that may wait for the core before the watcher waits too.
const QUEUE: usize = 4;

/// Who asked for a roll-back is told here what came of it.
pub type RollBackAnswer = oneshot::Sender<Result<(), RollBackError>>;

/// Other programs from now on.
#[derive(Debug)]
pub struct Change {
    pub reload: Reload,
    /// Who asked for it, to be told once it is done; `None` when files have changed.
    pub asked_by: Option<RollBackAnswer>,
}

/// A file to be rolled back.
#[derive(Debug)]
struct RollBack {
    file: String,
    asked_by: RollBackAnswer,
}

/// Watches a scripts folder until dropped.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    /// Dropping it wakes the thread, which then leaves.
    orders: Option<Sender<RollBack>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// The next change; `None` when the watcher is gone.
    pub async fn changed(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// Asks for the version of a file before the live one; it comes as a change.
    pub fn roll_back(&self, file: String, asked_by: RollBackAnswer) {
        if let Some(orders) = &self.orders {
            // The thread ends before the watch only when the engine stops; the asker then learns that it has stopped.
            let _ = orders.send(RollBack { file, asked_by });
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.orders.take();
        self.changes.close();
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
pub fn watch(loader: Loader) -> std::io::Result<Watch> {
    let (orders, ordered) = channel();
    let (sender, changes) = mpsc::channel(QUEUE);
    // Here and not in the thread: what is written from now on is a change.
    let loaded = loader.scan().ok();
    let run = move || attend(loader, loaded, &ordered, &sender);
    let thread = std::thread::Builder::new().name("scripts".to_owned()).spawn(run)?;
    Ok(Watch { changes, orders: Some(orders), thread: Some(thread) })
}

fn attend(
    mut loader: Loader,
    mut loaded: Option<BTreeMap<String, Stamp>>,
    ordered: &Receiver<RollBack>,
    changes: &mpsc::Sender<Change>,
) {
    let mut pending = None;
    loop {
        let change = match ordered.recv_timeout(INTERVAL) {
            Ok(RollBack { file, asked_by }) => match loader.roll_back(&file) {
                Ok(reload) => Change { reload, asked_by: Some(asked_by) },
                Err(error) => {
                    // Whoever asked may have gone away.
                    let _ = asked_by.send(Err(error));
                    continue;
                }
            },
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
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
                    Ok(reload) => Change { reload, asked_by: None },
                    Err(error) => {
                        tracing::error!(dir = %loader.dir().display(), %error, "the scripts folder cannot be read");
                        continue;
                    }
                }
            }
        };
        if changes.blocking_send(change).is_err() {
            return;
        }
    }
}
