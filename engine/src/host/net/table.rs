//! Who has which connection.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Failure};

/// Connections of one account at once.
const MAX_PER_ACCOUNT: usize = 64;
/// Connections of all accounts at once.
const MAX_ALL: usize = 512;
/// A connection that nothing was asked of for so long is closed when room is needed.
const IDLE: Duration = Duration::from_secs(120);

/// Local and remote address.
type Ends = (SocketAddr, SocketAddr);

struct Entry {
    account: String,
    /// `None` while it is being opened.
    connection: Option<(Arc<Connection>, Ends)>,
    used: Instant,
}

/// See the module.
#[derive(Default)]
pub(super) struct Table(Mutex<BTreeMap<String, Entry>>);

/// A place in the table for a connection that is being opened; given back when it is dropped.
pub(super) struct Slot {
    table: Arc<Table>,
    handle: String,
    filled: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.filled {
            self.table.entries().remove(&self.handle);
        }
    }
}

impl Table {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more connection of `account`.
    pub(super) fn reserve(self: &Arc<Self>, account: &str) -> Result<Slot, Failure> {
        let mut entries = self.entries();
        let now = now();
        let own = |entries: &BTreeMap<String, Entry>| entries.values().filter(|entry| entry.account == account).count();
        if entries.len() >= MAX_ALL || own(&entries) >= MAX_PER_ACCOUNT {
            // One that is being read from is in use however long nothing comes.
            entries.retain(|_, entry| {
                let in_use = entry.connection.as_ref().is_none_or(|(connection, _)| Arc::strong_count(connection) > 1);
                in_use || now.duration_since(entry.used) < IDLE
            });
        }
        if entries.len() >= MAX_ALL || own(&entries) >= MAX_PER_ACCOUNT {
            return Err(Failure::Limit(format!(
                "at most {MAX_PER_ACCOUNT} connections of an account and {MAX_ALL} in all are open"
            )));
        }
        let handle = format!("{:032x}", rand::random::<u128>());
        entries.insert(handle.clone(), Entry { account: account.to_owned(), connection: None, used: now });
        Ok(Slot { table: Arc::clone(self), handle, filled: false })
    }

    /// Fills a slot; the handle.
    pub(super) fn add(&self, mut slot: Slot, connection: Connection, ends: Ends) -> String {
        if let Some(entry) = self.entries().get_mut(&slot.handle) {
            entry.connection = Some((Arc::new(connection), ends));
            entry.used = now();
        }
        slot.filled = true;
        slot.handle.clone()
    }

    pub(super) fn get(&self, account: &str, handle: &str) -> Result<Arc<Connection>, Failure> {
        let mut entries = self.entries();
        let entry = entries.get_mut(handle).filter(|entry| entry.account == account).ok_or(Failure::Closed)?;
        entry.used = now();
        entry.connection.as_ref().map(|(connection, _)| Arc::clone(connection)).ok_or(Failure::Closed)
    }

    /// Takes a connection out to change it; its slot is kept.
    pub(super) fn take(self: &Arc<Self>, account: &str, handle: &str) -> Result<(Slot, Arc<Connection>, Ends), Failure> {
        let mut entries = self.entries();
        let entry = entries.get_mut(handle).filter(|entry| entry.account == account).ok_or(Failure::Closed)?;
        let (connection, ends) = entry.connection.take().ok_or(Failure::Closed)?;
        Ok((Slot { table: Arc::clone(self), handle: handle.to_owned(), filled: false }, connection, ends))
    }

    pub(super) fn close(&self, account: &str, handle: &str) {
        let mut entries = self.entries();
        if entries.get(handle).is_some_and(|entry| entry.account == account) {
            entries.remove(handle);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries().len()
    }
}

#[expect(clippy::disallowed_methods, reason = "connections are IO, and their idleness is real time")]
fn now() -> Instant {
    Instant::now()
}
