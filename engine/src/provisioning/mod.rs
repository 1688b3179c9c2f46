//! Who calls and where calls go, as it is at this moment: `[[did]]`, `[[user]]`, `[[gateway]]`, `[[route]]` and `[[customer]]` of the
//! configuration, and what was put beside them over HTTP.

use std::sync::Arc;

use tokio::sync::watch;

use crate::class4::RouteTable;
use crate::config::Config;

/// One state of it. A state never changes; the next one replaces it.
#[derive(Debug)]
pub struct Current {
    /// The configuration with everything that was put beside it.
    pub config: Arc<Config>,
    /// Its routes, as the Class 4 hook looks things up.
    pub routes: Arc<RouteTable>,
}

impl Current {
    fn new(config: Config) -> Self {
        let routes = Arc::new(RouteTable::new(&config));
        Self { config: Arc::new(config), routes }
    }

    /// Whose customer it is; `None`: there is no such customer.
    pub fn account_of_customer(&self, id: i64) -> Option<&str> {
        self.config.customers.iter().find(|customer| customer.id == id).map(|customer| customer.account.as_str())
    }
}

/// What is in force. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Provisioning {
    current: Arc<watch::Sender<Arc<Current>>>,
}

impl Provisioning {
    /// What a configuration alone says.
    pub fn of(config: &Config) -> Self {
        Self { current: Arc::new(watch::Sender::new(Arc::new(Current::new(config.clone())))) }
    }

    /// What is in force now.
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.borrow())
    }

    /// What is in force, and every change of it.
    pub fn changes(&self) -> watch::Receiver<Arc<Current>> {
        self.current.subscribe()
    }
}
