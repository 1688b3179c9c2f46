//! Variables of a channel.

use std::sync::Arc;

use imbl::OrdMap;
use lockstep_ctx_api::op::Vars;

/// What a call began with, and what was set since. Every event holds the channel as it was then: what did not change since is shared.
#[derive(Clone, Debug, Default)]
pub struct ChannelVars {
    first: Arc<Vars>,
    /// `None` for what was removed.
    since: OrdMap<Arc<str>, Option<Arc<str>>>,
}

impl ChannelVars {
    #[must_use]
    pub fn new(first: Arc<Vars>) -> Self {
        Self { first, since: OrdMap::new() }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.since.get(name) {
            Some(value) => value.as_deref(),
            None => self.first.get(name).map(String::as_str),
        }
    }

    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn insert(&mut self, name: &str, value: &str) {
        self.since.insert(name.into(), Some(value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        if self.first.contains_key(name) {
            self.since.insert(name.into(), None);
        } else {
            self.since.remove(name);
        }
    }

    /// What was set since comes last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let first = self.first.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let since = self.since.iter().filter_map(|(name, value)| Some((&**name, value.as_deref()?)));
        first.filter(|(name, _)| !self.since.contains_key(*name)).chain(since)
    }

    /// All of them: the very map that they began with, where nothing was set since.
    pub(crate) fn whole(&self) -> Arc<Vars> {
        if self.since.is_empty() {
            return Arc::clone(&self.first);
        }
        Arc::new(self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> ChannelVars {
        let first: Vars = [("a", "1"), ("b", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        ChannelVars::new(first.into())
    }

    #[test]
    fn what_is_set_hides_what_the_call_began_with_and_what_is_removed_is_gone() {
        let mut vars = vars();
        vars.insert("b", "3");
        vars.insert("c", "4");
        vars.insert("d", "5");
        vars.remove("a");
        vars.remove("d");
        assert_eq!(vars.iter().collect::<Vec<_>>(), [("b", "3"), ("c", "4")]);
        assert_eq!((vars.get("a"), vars.get("b"), vars.get("d")), (None, Some("3"), None));
        assert!(!vars.contains_key("a"));
        let whole: Vec<_> = vars.whole().iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(whole, ["b=3", "c=4"]);
        vars.insert("a", "6");
        assert_eq!(vars.get("a"), Some("6"));
    }

    #[test]
    fn a_picture_of_them_stays_as_it_was() {
        let mut vars = vars();
        let picture = vars.clone();
        vars.insert("a", "other");
        assert_eq!(picture.get("a"), Some("1"));
        assert!(Arc::ptr_eq(&picture.whole(), &picture.first), "shared while nothing was set");
    }
}
