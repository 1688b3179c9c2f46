//! The table of bindings and its indices; nothing here needs a scan over all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::net::FlowId;

use super::Binding;

/// Names a binding; given in the order of first registration, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BindingId(u64);

#[derive(Debug, Default)]
pub(super) struct Bindings {
    table: BTreeMap<BindingId, Binding>,
    by_address: BTreeMap<String, Vec<BindingId>>,
    by_expiry: BTreeSet<(Instant, BindingId)>,
    by_flow: BTreeSet<(FlowId, BindingId)>,
    next: u64,
}

impl Bindings {
    pub(super) fn insert(&mut self, binding: Binding) {
        let id = BindingId(self.next);
        self.next += 1;
        self.by_address.entry(binding.address.clone()).or_default().push(id);
        self.index(id, &binding);
        self.table.insert(id, binding);
    }

    /// Changes a binding in place; its address must stay.
    pub(super) fn update(&mut self, id: BindingId, change: impl FnOnce(&mut Binding)) {
        let Some(mut binding) = self.table.remove(&id) else { return };
        self.unindex(id, &binding);
        change(&mut binding);
        self.index(id, &binding);
        self.table.insert(id, binding);
    }

    pub(super) fn remove(&mut self, id: BindingId) -> Option<Binding> {
        let binding = self.table.remove(&id)?;
        self.unindex(id, &binding);
        if let Some(ids) = self.by_address.get_mut(&binding.address) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_address.remove(&binding.address);
            }
        }
        Some(binding)
    }

    pub(super) fn find(&self, id: BindingId) -> Option<&Binding> {
        self.table.get(&id)
    }

    pub(super) fn of_address(&self, address: &str) -> impl Iterator<Item = (BindingId, &Binding)> {
        let ids = self.by_address.get(address).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter_map(|id| Some((*id, self.table.get(id)?)))
    }

    pub(super) fn on_flow(&self, flow: FlowId) -> Vec<BindingId> {
        let range = (flow, BindingId(0))..=(flow, BindingId(u64::MAX));
        self.by_flow.range(range).map(|(_, id)| *id).collect()
    }

    pub(super) fn expired(&self, now: Instant) -> Vec<BindingId> {
        self.by_expiry.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.table.values()
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn index(&mut self, id: BindingId, binding: &Binding) {
        self.by_expiry.insert((binding.expires_at, id));
        if let Some(flow) = binding.source.flow {
            self.by_flow.insert((flow, id));
        }
    }

    fn unindex(&mut self, id: BindingId, binding: &Binding) {
        self.by_expiry.remove(&(binding.expires_at, id));
        if let Some(flow) = binding.source.flow {
            self.by_flow.remove(&(flow, id));
        }
    }
}
