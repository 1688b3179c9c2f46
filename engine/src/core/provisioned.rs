//! Users, numbers, gateways, routes and customers that change while calls live.

use std::sync::Arc;

use super::directory::Directory;
use super::switch::Switch;
use crate::class4::RouteTable;
use crate::config::Config;
use crate::provisioning::{Current, Lists};

/// What went before, which may be long to let go of.
pub(crate) type Former = (Arc<Config>, Arc<RouteTable>, Arc<Lists>);

impl Switch {
    /// New calls and registrations go by `current` from now on. Calls that live keep what they were set up with.
    pub(crate) fn set_provisioning(&mut self, current: &Current) -> Former {
        self.connections.know(&current.config);
        let mut exchange = self.exchange.borrow_mut();
        let own: Vec<_> = exchange.world.listening().iter().map(|(_, bound)| bound.ip()).collect();
        let mut directory = Directory::with(Arc::clone(&current.lists), &current.config, own);
        directory.keep_found(&exchange.directory);
        let lists = Arc::clone(exchange.directory.lists());
        let config = std::mem::replace(&mut exchange.config, Arc::clone(&current.config));
        let table = std::mem::replace(&mut exchange.table, Arc::clone(&current.routes));
        self.trunks.follow(&mut exchange, directory);
        if self.draining.is_some() {
            self.trunks.unregister(exchange.now.instant);
        }
        self.probes.follow(&exchange);
        (config, table, lists)
    }
}
