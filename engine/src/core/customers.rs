//! Customers, found by what an INVITE shows of them. Of several that fit, the one that was configured first is meant.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::{Customer, Net};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Customers {
    all: Vec<Customer>,
    by_id: HashMap<i64, usize>,
    by_user: HashMap<String, usize>,
    /// Single addresses, which most are.
    by_ip: HashMap<IpAddr, usize>,
    /// Wider networks, in the order of their customers.
    nets: Vec<(Net, usize)>,
}

impl Customers {
    /// Arranges the customers of a configuration.
    pub(super) fn new(customers: &[Customer]) -> Self {
        let mut found = Self { all: customers.to_vec(), ..Self::default() };
        for (index, customer) in customers.iter().enumerate() {
            found.by_id.entry(customer.id).or_insert(index);
            if let Some(user) = &customer.user {
                found.by_user.entry(user.clone()).or_insert(index);
            }
            for net in &customer.addresses {
                match net.single() {
                    Some(ip) => drop(found.by_ip.entry(ip).or_insert(index)),
                    None => found.nets.push((*net, index)),
                }
            }
        }
        found
    }

    /// The customer with this id.
    pub(super) fn with_id(&self, id: i64) -> Option<&Customer> {
        self.all.get(*self.by_id.get(&id)?)
    }

    /// The customer whose PBX calls under this name.
    pub(super) fn named(&self, user: &str) -> Option<&Customer> {
        self.all.get(*self.by_user.get(user)?)
    }

    /// The customer whose calls come from `ip`.
    pub(super) fn at(&self, ip: IpAddr) -> Option<&Customer> {
        let single = self.by_ip.get(&ip.to_canonical());
        let wider = self.nets.iter().find(|(net, _)| net.contains(ip)).map(|(_, index)| index);
        self.all.get(*single.into_iter().chain(wider).min()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;
    use crate::config::Config;

    proptest! {
        #[test]
        fn the_first_customer_that_fits_is_found(
            customers in proptest::collection::vec((0..4_i64, 0..4_u8, proptest::collection::vec((0..3_u8, 0..3_u8, 24..33_u8), 0..3)), 0..8),
            asked in (0..5_i64, 0..5_u8, (0..3_u8, 0..3_u8)),
        ) {
            let text: String = customers.iter().map(|(id, user, nets)| {
                let last = |d: u8, length: u8| d & u8::MAX.checked_shl((32 - length).into()).unwrap_or_default();
                let net = |(c, d, length): &(u8, u8, u8)| format!("\"10.0.{c}.{}/{length}\"", last(*d, *length));
                let nets: Vec<String> = nets.iter().map(net).collect();
                let user = format!("user = \"u{user}\"\npassword = \"x\"");
                format!("[[customer]]\nid = {id}\n{user}\naddresses = [{}]\n", nets.join(", "))
            }).collect();
            let Config { customers, .. } = toml::from_str(&text).unwrap();
            let found = Customers::new(&customers);
            let (id, user, (c, d)) = asked;
            prop_assert_eq!(found.with_id(id), customers.iter().find(|customer| customer.id == id));
            let user = format!("u{user}");
            prop_assert_eq!(found.named(&user), customers.iter().find(|customer| customer.user.as_ref() == Some(&user)));
            for ip in [IpAddr::from([10, 0, c, d]), std::net::Ipv4Addr::new(10, 0, c, d).to_ipv6_mapped().into()] {
                let linear = customers.iter().find(|customer| customer.addresses.iter().any(|net| net.contains(ip)));
                prop_assert_eq!(found.at(ip), linear);
            }
        }
    }
}
