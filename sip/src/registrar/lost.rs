//! Where devices were whose connections have closed: when they come back, their calls follow them.

use std::collections::BTreeMap;

use super::{Binding, Moved};
use crate::message::NameAddr;

/// Devices remembered; when full, all are forgotten.
const MAX_LOST: usize = 4096;
/// Devices of one address remembered; the latest count.
const MAX_PER_ADDRESS: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Lost {
    by_address: BTreeMap<String, Vec<Binding>>,
    count: usize,
}

impl Lost {
    pub(super) fn note(&mut self, binding: Binding) {
        if self.count >= MAX_LOST {
            *self = Lost::default();
        }
        let devices = self.by_address.entry(binding.address.clone()).or_default();
        if devices.len() < MAX_PER_ADDRESS {
            self.count += 1;
        } else {
            devices.remove(0);
        }
        devices.push(binding);
    }

    /// Takes out the device that this Contact is of, wherever it was.
    pub(super) fn take(&mut self, address: &str, contact: &NameAddr) -> Vec<Moved> {
        let Some(devices) = self.by_address.get_mut(address) else { return Vec::new() };
        let instance = super::instance(contact);
        let is_it = |binding: &mut Binding| {
            binding.contact.uri.is_equivalent(&contact.uri) || (instance.is_some() && binding.instance == instance)
        };
        let found: Vec<Moved> =
            devices.extract_if(.., is_it).map(|Binding { contact, source, .. }| Moved { contact, from: source }).collect();
        self.count -= found.len();
        if devices.is_empty() {
            self.by_address.remove(address);
        }
        found
    }
}
