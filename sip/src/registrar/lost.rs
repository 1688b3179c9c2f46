//! Where devices were whose connections have closed: when they come back, their calls follow them.

use std::collections::BTreeMap;

use super::{Binding, Moved};
use crate::message::NameAddr;
use crate::net::Source;

/// Devices remembered; past it the one lost first is forgotten.
const MAX_LOST: usize = 4096;
/// Devices of one address remembered; the latest count.
const MAX_PER_ADDRESS: usize = 10;

#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Each with its place in `order`.
    by_address: BTreeMap<String, Vec<(u64, Binding)>>,
    /// The addresses of devices, in the order in which they were lost.
    order: BTreeMap<u64, String>,
    next: u64,
}

impl Lost {
    pub(super) fn note(&mut self, binding: Binding) {
        let place = self.next;
        self.next += 1;
        self.order.insert(place, binding.address.clone());
        let devices = self.by_address.entry(binding.address.clone()).or_default();
        if devices.len() >= MAX_PER_ADDRESS {
            let (first, _) = devices.remove(0);
            self.order.remove(&first);
        }
        devices.push((place, binding));
        if self.order.len() > MAX_LOST
            && let Some((first, address)) = self.order.pop_first()
        {
            self.extract(&address, |place, _| place == first);
        }
    }

    /// Takes out the device that this Contact is of, wherever it was. Another device may have the same URI behind another NAT.
    pub(super) fn take(&mut self, address: &str, contact: &NameAddr, call_id: &[u8], source: &Source) -> Vec<Moved> {
        let instance = super::instance(contact);
        let found = self.extract(address, |_, binding| {
            let is_known =
                binding.contact.uri.is_equivalent(&contact.uri) || (instance.is_some() && binding.instance == instance);
            is_known && binding.is_of_device(contact, call_id, source)
        });
        found
            .into_iter()
            .map(|(place, Binding { contact, source, .. })| {
                self.order.remove(&place);
                Moved { contact, from: source }
            })
            .collect()
    }

    fn extract(&mut self, address: &str, is_it: impl Fn(u64, &Binding) -> bool) -> Vec<(u64, Binding)> {
        let Some(devices) = self.by_address.get_mut(address) else { return Vec::new() };
        let found = devices.extract_if(.., |(place, binding)| is_it(*place, binding)).collect();
        if devices.is_empty() {
            self.by_address.remove(address);
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::net::{FlowId, Protocol};

    fn contact(port: u16) -> NameAddr {
        NameAddr::parse(&format!("<sip:a@10.0.0.5:{port}>")).unwrap()
    }

    fn source() -> Source {
        Source {
            protocol: Protocol::Tcp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "203.0.113.7:40000".parse().unwrap(),
            flow: Some(FlowId(7)),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an arbitrary time")]
    fn device(address: &str, port: u16) -> Binding {
        Binding {
            address: address.to_owned(),
            contact: contact(port),
            source: source(),
            q_millis: 1000,
            expires_at: Instant::now(),
            user_agent: None,
            call_id: Vec::new(),
            cseq: 1,
            instance: None,
        }
    }

    #[test]
    fn past_the_bound_only_the_device_lost_first_is_forgotten() {
        let mut lost = Lost::default();
        for number in 0..=MAX_LOST {
            lost.note(device(&number.to_string(), 1));
        }
        assert_eq!((lost.order.len(), lost.by_address.len()), (MAX_LOST, MAX_LOST));
        assert_eq!(lost.take("0", &contact(1), b"", &source()).len(), 0);
        assert_eq!(lost.take("1", &contact(1), b"", &source()).len(), 1);
        assert_eq!(lost.take("1", &contact(1), b"", &source()).len(), 0);
        assert_eq!((lost.order.len(), lost.by_address.len()), (MAX_LOST - 1, MAX_LOST - 1));
    }

    #[test]
    fn of_one_address_the_latest_count() {
        let mut lost = Lost::default();
        for port in 1..=11 {
            lost.note(device("a", port));
        }
        assert_eq!(lost.order.len(), MAX_PER_ADDRESS);
        assert_eq!(lost.take("a", &contact(1), b"", &source()).len(), 0);
        assert_eq!(lost.take("a", &contact(11), b"", &source()).len(), 1);
    }

    #[test]
    fn a_device_without_an_instance_is_known_by_its_call_id_or_its_nat() {
        let elsewhere = Source { remote: "198.51.100.9:40000".parse().unwrap(), ..source() };
        for (call_id, from, found) in [(b"other", source(), 1), (b"other", elsewhere, 0), (b"same!", elsewhere, 1)] {
            let mut lost = Lost::default();
            lost.note(Binding { call_id: b"same!".to_vec(), ..device("a", 1) });
            assert_eq!(lost.take("a", &contact(1), call_id, &from).len(), found);
        }
    }
}
