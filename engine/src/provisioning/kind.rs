//! What can be put beside the configuration, and what names it.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::{Config, Customer, DEFAULT_ACCOUNT, Did, Gateway, Route, User};

/// A list of the configuration. In this order, each refers only to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Customer,
    User,
    Gateway,
    Route,
    Did,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Customer, Self::User, Self::Gateway, Self::Route, Self::Did];

    /// As the configuration spells its list: `did`.
    pub fn list(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::User => "user",
            Self::Gateway => "gateway",
            Self::Route => "route",
            Self::Did => "did",
        }
    }

    /// The key of an entry that names it.
    pub fn name_key(self) -> &'static str {
        match self {
            Self::Customer | Self::Gateway | Self::Route => "id",
            Self::User => "name",
            Self::Did => "number",
        }
    }

    /// Whether names are numbers.
    pub fn is_numbered(self) -> bool {
        matches!(self, Self::Customer | Self::Gateway)
    }

    /// The key of the name that an entry's password goes with, where that is not the entry's own.
    pub(super) fn password_of(self) -> Option<&'static str> {
        match self {
            Self::Customer => Some("user"),
            Self::Gateway => Some("username"),
            Self::User | Self::Route | Self::Did => None,
        }
    }

    pub(super) fn of_list(list: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.list() == list)
    }
}

/// An entry of a list, as it is looked up.
pub(super) trait Entry: serde::de::DeserializeOwned + Clone {
    /// Its list in a configuration.
    fn list(config: &Config) -> &[Self];
    fn list_mut(config: &mut Config) -> &mut Vec<Self>;
    /// What names it; `at` is its place in the list.
    fn name(&self, at: usize) -> Cow<'_, str>;
}

impl Entry for Customer {
    fn list(config: &Config) -> &[Self] {
        &config.customers
    }

    fn list_mut(config: &mut Config) -> &mut Vec<Self> {
        &mut config.customers
    }

    fn name(&self, _: usize) -> Cow<'_, str> {
        self.id.to_string().into()
    }
}

impl Entry for User {
    fn list(config: &Config) -> &[Self] {
        &config.users
    }

    fn list_mut(config: &mut Config) -> &mut Vec<Self> {
        &mut config.users
    }

    fn name(&self, _: usize) -> Cow<'_, str> {
        self.name.as_str().into()
    }
}

impl Entry for Gateway {
    fn list(config: &Config) -> &[Self] {
        &config.gateways
    }

    fn list_mut(config: &mut Config) -> &mut Vec<Self> {
        &mut config.gateways
    }

    fn name(&self, _: usize) -> Cow<'_, str> {
        self.id.to_string().into()
    }
}

impl Entry for Route {
    fn list(config: &Config) -> &[Self] {
        &config.routes
    }

    fn list_mut(config: &mut Config) -> &mut Vec<Self> {
        &mut config.routes
    }

    /// A route of the configuration need not have a name: then its place is one.
    fn name(&self, at: usize) -> Cow<'_, str> {
        self.id.as_ref().map_or_else(|| format!("route-{}", at + 1).into(), |id| id.as_str().into())
    }
}

impl Entry for Did {
    fn list(config: &Config) -> &[Self] {
        &config.dids
    }

    fn list_mut(config: &mut Config) -> &mut Vec<Self> {
        &mut config.dids
    }

    /// Numbers are the same with and without the `+` of the international form.
    fn name(&self, _: usize) -> Cow<'_, str> {
        plain_number(&self.number).into()
    }
}

/// A number without the `+` of the international form.
pub(super) fn plain_number(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

/// Whose customers are, for looking up many numbers.
pub(crate) struct Owners<'a>(HashMap<i64, &'a str>);

impl<'a> Owners<'a> {
    pub(crate) fn of(config: &'a Config) -> Self {
        Self(config.customers.iter().map(|customer| (customer.id, customer.account.as_str())).collect())
    }

    /// Whose number it is: what it says itself, else its customer's account.
    pub(crate) fn of_did(&self, did: &'a Did) -> &'a str {
        let customer = || self.0.get(&did.customer?).copied();
        did.account.as_deref().or_else(customer).unwrap_or(DEFAULT_ACCOUNT)
    }
}
