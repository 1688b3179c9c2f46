//! Hot reload: a small thread that looks at the scripts folder, and writes into it what comes over HTTP.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::loader::{Loader, Reload, Stamp};
use super::save::{SaveError, SaveScript};
use crate::check::Finding;

/// How often the folder is looked at. Polling works on every file system, in containers and over networks too.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a text that somebody saves is looked into while they wait, and others behind them.
const LOOK_AT_SAVED: Duration = Duration::from_secs(5);
/// How long what has changed by itself is looked into: many texts, maybe.
const LOOK_AT_CHANGED: Duration = Duration::from_secs(10);
/// Reloads that may wait for the core before the watcher waits too.
const QUEUE: usize = 4;

/// Who asked for a change of the folder is told here what came of it, and what there is to say of the text.
pub type SaveAnswer = oneshot::Sender<Result<Vec<Finding>, SaveError>>;

/// Other programs from now on.
#[derive(Debug)]
pub struct Change {
    pub reload: Reload,
    /// Who asked for it; `None` when files have changed by themselves.
    pub asked: Option<Asked>,
}

/// A change of the folder that somebody waits for.
#[derive(Debug)]
pub struct Asked {
    /// The kept version that the text is.
    pub version: Option<u32>,
    /// What `lockstep check` says of the text.
    pub findings: Vec<Finding>,
    /// To be told once it is done.
    pub answer: SaveAnswer,
}

/// What is to be done to the folder.
#[derive(Debug)]
pub enum Order {
    Save(SaveScript),
    /// The file with this name is to go.
    Remove(String),
}

/// Watches a scripts folder until dropped.
#[derive(Debug)]
pub struct Watch {
    changes: mpsc::Receiver<Change>,
    /// Dropping it wakes the thread, which then leaves.
    orders: Option<Sender<(Order, SaveAnswer)>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// The next change; `None` when the watcher is gone.
    pub async fn changed(&mut self) -> Option<Change> {
        self.changes.recv().await
    }

    /// Has something done to the folder; it comes as a change.
    pub fn order(&self, order: Order, answer: SaveAnswer) {
        if let Some(orders) = &self.orders {
            // The thread ends before the watch only when the engine stops; the asker then learns that it has stopped.
            let _ = orders.send((order, answer));
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
    ordered: &Receiver<(Order, SaveAnswer)>,
    changes: &mpsc::Sender<Change>,
) {
    let mut pending = None;
    loop {
        let change = match ordered.recv_timeout(INTERVAL) {
            Ok((order, answer)) => {
                let (done, version) = match &order {
                    Order::Save(save) => (loader.save(save), save.version),
                    Order::Remove(file) => (loader.remove(file), None),
                };
                match done {
                    Ok(reload) => {
                        loaded = Some(loader.stamps());
                        let findings = loader.look_into(&reload.texts, LOOK_AT_SAVED);
                        Change { reload, asked: Some(Asked { version, findings, answer }) }
                    }
                    Err(error) => {
                        // Whoever asked may have gone away.
                        let _ = answer.send(Err(error));
                        continue;
                    }
                }
            }
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
                    Ok(reload) => Change { reload, asked: None },
                    Err(error) => {
                        tracing::error!(dir = %loader.dir().display(), %error, "the scripts folder cannot be read");
                        continue;
                    }
                }
            }
        };
        // What changed by itself is live at once; nobody waits for what is found.
        let texts = if change.asked.is_none() { change.reload.texts.clone() } else { Vec::new() };
        if changes.blocking_send(change).is_err() {
            return;
        }
        loader.look_into(&texts, LOOK_AT_CHANGED);
    }
}
