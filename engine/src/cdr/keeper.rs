//! Puts records into the store, and those that it did not take again until it does. One that it will never take goes to the log.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::journal::{SecretNames, redact_json};
use rusqlite::Connection;

use super::Cdr;
use super::table::add;
use crate::store::{Store, StoreError};

/// Records that may wait for another try.
const MAX_WAITING: usize = 10_000;
/// Records that are tried again together.
const TOGETHER: usize = 500;
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);

/// See the [module](self). Clones share what waits.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    /// What the store did not take, the oldest first.
    waiting: RefCell<VecDeque<Arc<Cdr>>>,
    /// There was no room for them.
    lost: Cell<u64>,
    /// The store will never take them.
    refused: Cell<u64>,
}

impl Keeper {
    pub(crate) fn new(store: &Store) -> Self {
        let (lost, refused) = (Cell::new(0), Cell::new(0));
        Self { inner: Rc::new(Inner { store: store.clone(), waiting: RefCell::default(), lost, refused }) }
    }

    /// Records that were given up: too many waited already, or the store will never take them.
    pub(crate) fn lost(&self) -> u64 {
        self.inner.lost.get() + self.inner.refused.get()
    }

    /// Keeps a record. It is in line when this returns, whether or not the engine still lives when it is written; whoever polls the
    /// future sees to it that it is tried again.
    pub(crate) fn keep(&self, record: Cdr) -> impl Future<Output = ()> + 'static + use<> {
        let keeper = self.clone();
        let tried = self.try_once(record);
        async move {
            let mut more = tried.await;
            while more {
                tokio::time::sleep(AGAIN).await;
                more = keeper.try_again().await;
            }
        }
    }

    /// Whether it is now the only record that waits for another try: nobody else sees to them.
    fn try_once(&self, record: Cdr) -> impl Future<Output = bool> + 'static + use<> {
        let record = Arc::new(record);
        let row = Arc::clone(&record);
        let written = self.inner.store.write_behind(move |connection, _| add(connection, &row));
        let inner = Rc::clone(&self.inner);
        async move {
            let Err(error) = written.await else { return false };
            if error.is_for_good() {
                inner.give_up(&record, &error);
                return false;
            }
            let mut waiting = inner.waiting.borrow_mut();
            if waiting.len() >= MAX_WAITING {
                if inner.lost.replace(inner.lost.get() + 1) == 0 {
                    tracing::error!(%error, "records of calls are being lost (lockstep_cdrs_lost_total)");
                }
                return false;
            }
            waiting.push_back(record);
            if waiting.len() == 1 {
                tracing::error!(%error, "the record of a call was not written: it is tried again, as are those that follow");
            }
            waiting.len() == 1
        }
    }

    /// Tries the oldest of those that wait; whether any are left.
    async fn try_again(&self) -> bool {
        let rows: Vec<Arc<Cdr>> = self.inner.waiting.borrow().iter().take(TOGETHER).cloned().collect();
        let count = rows.len();
        let written = self.inner.store.write(move |connection, _| add_all(connection, &rows));
        if let Ok(refused) = written.await {
            self.inner.waiting.borrow_mut().drain(..count);
            for (record, error) in &refused {
                self.inner.give_up(record, error);
            }
            tracing::info!(count = count - refused.len(), "records of calls were written that had to wait");
        }
        !self.inner.waiting.borrow().is_empty()
    }
}

impl Inner {
    fn give_up(&self, record: &Cdr, error: &StoreError) {
        self.refused.set(self.refused.get() + 1);
        tell(record, error);
    }
}

/// Adds the records that can be; which can never, and why.
fn add_all(connection: &Connection, rows: &[Arc<Cdr>]) -> Result<Vec<(Arc<Cdr>, StoreError)>, StoreError> {
    let mut refused = Vec::new();
    for row in rows {
        match add(connection, row) {
            Err(error) if error.is_for_good() => refused.push((Arc::clone(row), error)),
            added => added?,
        }
    }
    Ok(refused)
}

/// Leaves a record that the store will never take in the log.
fn tell(record: &Cdr, error: &StoreError) {
    // Plain fields: this cannot fail.
    let text = serde_json::to_string(record).unwrap_or_default();
    let record = redact_json(&SecretNames, "", &text).unwrap_or(text);
    tracing::error!(%error, %record, "the store will not take the record of a call");
}

impl Drop for Inner {
    fn drop(&mut self) {
        let rows = Vec::from(self.waiting.take());
        if !rows.is_empty() {
            // The last try: the store waits for it, and says if it fails.
            drop(self.store.write(move |connection, _| {
                add_all(connection, &rows).map(|refused| refused.iter().for_each(|(record, error)| tell(record, error)))
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdr::{CdrFilter, list};
    use crate::store::Clock;

    fn record(call: &str) -> Cdr {
        Cdr { call: call.to_owned(), account: "default".to_owned(), ..Cdr::default() }
    }

    async fn calls(store: &Store) -> Vec<String> {
        let filter = CdrFilter { limit: 10, ..CdrFilter::default() };
        let found = store.read(move |connection, _| list(connection, &filter)).await.unwrap();
        found.into_iter().map(|(_, cdr)| cdr.call).collect()
    }

    async fn rename(store: &Store, from: &str, to: &str) {
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        store.write(move |connection, _| Ok(connection.execute_batch(&sql)?)).await.unwrap();
    }

    #[tokio::test]
    async fn a_record_that_the_store_does_not_take_is_written_once_it_does() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let keeper = Keeper::new(&store);
        assert!(!keeper.try_once(record("a")).await);
        rename(&store, "cdrs", "away").await;
        assert!(keeper.try_once(record("b")).await, "the first that waits has the others tried again");
        assert!(!keeper.try_once(record("c")).await);
        assert!(keeper.try_again().await);
        rename(&store, "away", "cdrs").await;
        assert!(!keeper.try_again().await);
        assert_eq!((calls(&store).await, keeper.lost()), (vec!["c".to_owned(), "b".to_owned(), "a".to_owned()], 0));
    }

    #[tokio::test]
    async fn what_still_waits_at_the_end_is_tried_once_more() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let keeper = Keeper::new(&store);
        rename(&store, "cdrs", "away").await;
        keeper.try_once(record("a")).await;
        rename(&store, "away", "cdrs").await;
        drop(keeper);
        assert_eq!(calls(&store).await, ["a"]);
    }

    #[tokio::test]
    async fn a_record_that_the_store_will_never_take_holds_up_no_other() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let keeper = Keeper::new(&store);
        let too_late = || Cdr { started_at: u64::MAX, ..record("never") };
        assert!(!keeper.try_once(too_late()).await, "nobody has to see to it");
        rename(&store, "cdrs", "away").await;
        keeper.try_once(record("a")).await;
        keeper.inner.waiting.borrow_mut().push_back(Arc::new(too_late()));
        keeper.try_once(record("b")).await;
        rename(&store, "away", "cdrs").await;
        assert!(!keeper.try_again().await);
        assert_eq!((calls(&store).await, keeper.lost()), (vec!["b".to_owned(), "a".to_owned()], 2));
    }

    #[tokio::test]
    async fn records_that_are_given_up_are_counted() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let keeper = Keeper::new(&store);
        rename(&store, "cdrs", "away").await;
        keeper.inner.waiting.borrow_mut().extend(std::iter::repeat_n(Arc::new(record("a")), MAX_WAITING));
        assert!(!keeper.try_once(record("b")).await);
        assert_eq!((keeper.lost(), keeper.inner.waiting.borrow().len()), (1, MAX_WAITING));
    }
}
