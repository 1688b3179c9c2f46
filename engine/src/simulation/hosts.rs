//! Addresses of a simulation's phones.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::phones::Places;

/// A host for each phone, with all ports free.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    phones: u16,
    calls: BTreeMap<IpAddr, u16>,
}

impl Places for Hosts {
    fn phone(&mut self) -> Result<SocketAddr, String> {
        self.phones += 1;
        let [high, low] = self.phones.to_be_bytes();
        let high = high.checked_add(3).ok_or("a simulation has room for 64,000 phones")?;
        Ok(SocketAddr::new(Ipv4Addr::new(127, 1, high, low).into(), 5060))
    }

    fn media(&mut self, phone: SocketAddr) -> Result<SocketAddr, String> {
        let calls = self.calls.entry(phone.ip()).or_default();
        let port = 30_000 + 2 * (*calls % 15_000);
        *calls = calls.wrapping_add(1);
        Ok(SocketAddr::new(phone.ip(), port))
    }

    fn close(&mut self, _: SocketAddr) {}
}
