//! Puts records into the store, and those that it did not take again until it does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::Cdr;
use super::table::add;
use crate::store::Store;

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
    lost: Cell<u64>,
}

impl Keeper {
    pub(crate) fn new(store: &Store) -> Self {
        Self { inner: Rc::new(Inner { store: store.clone(), waiting: RefCell::default(), lost: Cell::new(0) }) }
    }

    /// Records that were given up, because too many waited already.
    pub(crate) fn lost(&self) -> u64 {
        self.inner.lost.get()
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
        let written = self.inner.store.write(move |connection, _| rows.iter().try_for_each(|row| add(connection, row)));
        if written.await.is_ok() {
            self.inner.waiting.borrow_mut().drain(..count);
            tracing::info!(count, "records of calls were written that had to wait");
        }
        !self.inner.waiting.borrow().is_empty()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let rows = self.waiting.take();
        if !rows.is_empty() {
            // The last try: the store waits for it, and says if it fails.
            drop(self.store.write(move |connection, _| rows.iter().try_for_each(|row| add(connection, row))));
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
    async fn records_that_are_given_up_are_counted() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let keeper = Keeper::new(&store);
        rename(&store, "cdrs", "away").await;
        keeper.inner.waiting.borrow_mut().extend(std::iter::repeat_n(Arc::new(record("a")), MAX_WAITING));
        assert!(!keeper.try_once(record("b")).await);
        assert_eq!((keeper.lost(), keeper.inner.waiting.borrow().len()), (1, MAX_WAITING));
    }
}
