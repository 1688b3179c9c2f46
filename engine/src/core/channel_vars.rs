//! Variables of a channel.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use lockstep_ctx_api::op::{Headers, Vars};

/// What the name of a header field begins with when it is asked for as a variable.
const HEADER: &str = "sip_h_";
/// Where such names begin in a map.
const HEADERS: (Bound<&str>, Bound<&str>) = (Bound::Included(HEADER), Bound::Unbounded);

/// Names of header fields have no case: of several that are one the first stays.
pub(super) fn fold_headers(vars: &mut Vars) {
    let mut known = BTreeSet::new();
    vars.retain(|name, _| !name.starts_with(HEADER) || known.insert(name.to_ascii_lowercase()));
}

/// What a call began with, the header fields of its INVITE among it, and what was set since. Every event holds the channel as it was
/// then: what did not change since is shared.
#[derive(Clone, Debug, Default)]
pub struct ChannelVars {
    first: Arc<Vars>,
    headers: Arc<Headers>,
    /// `None` for what was removed.
    since: OrdMap<Arc<str>, Option<Arc<str>>>,
}

impl ChannelVars {
    #[must_use]
    pub fn new(first: Arc<Vars>, headers: Arc<Headers>) -> Self {
        Self { first, headers, since: OrdMap::new() }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let name = self.written(name);
        match self.since.get(&*name) {
            Some(value) => value.as_deref(),
            None => self.began_with(&name),
        }
    }

    /// How a variable is written: names of header fields have no case, and keep the one that they had first.
    fn written<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let Some(field) = name.strip_prefix(HEADER).filter(|_| !self.since.contains_key(name)) else { return name.into() };
        let is_same = |other: &str| other.strip_prefix(HEADER).is_some_and(|other| other.eq_ignore_ascii_case(field));
        let since = self.since.range::<_, str>(HEADERS).map(|(name, _)| &**name);
        let mut known = since.take_while(|name| name.starts_with(HEADER)).chain(self.first_headers());
        let known = known.find(|name| is_same(name)).map(str::to_owned);
        let of_invite =
            || self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(field)).map(|(own, _)| format!("{HEADER}{own}"));
        known.or_else(of_invite).map_or(name.into(), Cow::Owned)
    }

    /// Names of header fields among what the call began with beside its INVITE.
    fn first_headers(&self) -> impl Iterator<Item = &str> {
        let names = self.first.range::<str, _>(HEADERS).map(|(name, _)| name.as_str());
        names.take_while(|name| name.starts_with(HEADER))
    }

    /// Of a field that stands several times the first counts.
    fn began_with(&self, name: &str) -> Option<&str> {
        let header = || {
            let field = name.strip_prefix(HEADER)?;
            self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, value)| value.as_str())
        };
        self.first.get(name).map(String::as_str).or_else(header)
    }

    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn insert(&mut self, name: &str, value: &str) {
        let name = Arc::from(&*self.written(name));
        self.since.insert(name, Some(value.into()));
    }

    pub fn remove(&mut self, name: &str) {
        let name: Arc<str> = Arc::from(&*self.written(name));
        if self.began_with(&name).is_some() {
            self.since.insert(name, None);
        } else {
            self.since.remove(&*name);
        }
    }

    /// What was set since comes last.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        let headers = self.headers.iter().enumerate().filter_map(|(at, (field, value))| {
            let is_first = self.headers.iter().position(|(other, _)| other.eq_ignore_ascii_case(field)) == Some(at);
            let name = format!("{HEADER}{field}");
            let is_hidden =
                self.first_headers().any(|own| own.eq_ignore_ascii_case(&name)) || self.since.contains_key(name.as_str());
            (is_first && !is_hidden).then_some((Cow::Owned(name), value.as_str()))
        });
        headers.chain(self.beside().map(|(name, value)| (Cow::Borrowed(name), value)))
    }

    /// All but the header fields, unless they were set since. To a script that starts later, one that was removed reads as in the INVITE
    /// again, as it does to the script that removes it.
    fn beside(&self) -> impl Iterator<Item = (&str, &str)> {
        let first = self.first.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let since = self.since.iter().filter_map(|(name, value)| Some((&**name, value.as_deref()?)));
        first.filter(|(name, _)| !self.since.contains_key(*name)).chain(since)
    }

    /// The same: the very map that they began with, where nothing was set since.
    pub(crate) fn beside_headers(&self) -> Arc<Vars> {
        if self.since.is_empty() {
            return Arc::clone(&self.first);
        }
        Arc::new(self.beside().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars() -> ChannelVars {
        let first: Vars = [("a", "1"), ("b", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let headers: Headers =
            [("X-Id", "7"), ("To", "x"), ("X-Id", "8")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        ChannelVars::new(first.into(), headers.into())
    }

    fn all(vars: &ChannelVars) -> Vec<String> {
        vars.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn beside_headers(vars: &ChannelVars) -> Vec<String> {
        vars.beside_headers().iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn what_is_set_hides_what_the_call_began_with_and_what_is_removed_is_gone() {
        let mut vars = vars();
        vars.insert("b", "3");
        vars.insert("c", "4");
        vars.insert("d", "5");
        vars.remove("a");
        vars.remove("d");
        assert_eq!(all(&vars), ["sip_h_X-Id=7", "sip_h_To=x", "b=3", "c=4"]);
        assert_eq!((vars.get("a"), vars.get("b"), vars.get("d")), (None, Some("3"), None));
        assert!(!vars.contains_key("a"));
        assert_eq!(beside_headers(&vars), ["b=3", "c=4"]);
        vars.insert("a", "6");
        assert_eq!(vars.get("a"), Some("6"));
    }

    #[test]
    fn header_fields_are_variables_that_can_be_set_and_removed() {
        let mut vars = vars();
        assert_eq!((vars.get("sip_h_X-Id"), vars.get("sip_h_Via")), (Some("7"), None));
        vars.insert("sip_h_X-Id", "9");
        vars.remove("sip_h_To");
        assert_eq!((vars.get("sip_h_X-Id"), vars.get("sip_h_To")), (Some("9"), None));
        assert_eq!(all(&vars), ["a=1", "b=2", "sip_h_X-Id=9"]);
        assert_eq!(beside_headers(&vars), ["a=1", "b=2", "sip_h_X-Id=9"]);
        vars.remove("sip_h_X-Id");
        assert_eq!(all(&vars), ["a=1", "b=2"]);
    }

    #[test]
    fn names_of_header_fields_have_no_case() {
        let mut vars = vars();
        assert_eq!(vars.get("sip_h_x-id"), Some("7"));
        vars.insert("sip_h_x-ID", "9");
        vars.insert("sip_h_X-New", "1");
        vars.insert("sip_h_x-new", "2");
        assert_eq!((vars.get("sip_h_X-Id"), vars.get("sip_h_X-NEW")), (Some("9"), Some("2")));
        assert_eq!(all(&vars), ["sip_h_To=x", "a=1", "b=2", "sip_h_X-Id=9", "sip_h_X-New=2"]);
        vars.remove("sip_h_x-id");
        vars.remove("sip_h_x-NEW");
        assert_eq!((vars.get("sip_h_X-Id"), vars.get("sip_h_X-New"), vars.get("A")), (None, None, None));
        assert_eq!(all(&vars), ["sip_h_To=x", "a=1", "b=2"]);
    }

    #[test]
    fn a_variable_hides_the_header_field_of_its_name_in_any_case() {
        let first: Vars = [("sip_h_x-id".to_owned(), "5".to_owned())].into();
        let mut vars = ChannelVars { first: first.into(), ..vars() };
        assert_eq!((vars.get("sip_h_X-Id"), all(&vars)), (Some("5"), vec!["sip_h_To=x".to_owned(), "sip_h_x-id=5".to_owned()]));
        vars.remove("sip_h_X-ID");
        assert_eq!(all(&vars), ["sip_h_To=x"]);
    }

    #[test]
    fn a_picture_of_them_stays_as_it_was() {
        let mut vars = vars();
        let picture = vars.clone();
        vars.insert("a", "other");
        assert_eq!(picture.get("a"), Some("1"));
        assert!(Arc::ptr_eq(&picture.beside_headers(), &picture.first), "shared while nothing was set");
    }
}
