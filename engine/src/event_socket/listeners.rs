//! Who is told what happens: clients that look at everything, and the applications of calls, found by their calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outbox::Outbox;
use super::wants::Wants;
use crate::esl::Event;

/// One client, as the hub sees it.
#[derive(Debug, Default)]
pub(super) struct Listener {
    wants: Mutex<Wants>,
    pub(super) outbox: Outbox,
    /// The call whose end is the end of this connection.
    pub(super) own_call: Option<OwnCall>,
    /// Whose events it is told, besides its own call's; `None`: everybody's.
    pub(super) account: Option<Arc<str>>,
}

/// The call of an application's connection.
#[derive(Debug)]
pub(super) struct OwnCall {
    pub(super) id: String,
    /// Told once the last event of the call has been handed over.
    pub(super) over: tokio::sync::Notify,
}

impl Listener {
    /// The application of a call.
    pub(super) fn of_call(id: &str, account: Option<Arc<str>>) -> Self {
        Self { own_call: Some(OwnCall { id: id.to_owned(), over: tokio::sync::Notify::new() }), account, ..Self::default() }
    }

    /// Nothing in here panics while it holds the lock.
    pub(super) fn wants(&self) -> MutexGuard<'_, Wants> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an event is one of its own call's leg.
    pub(super) fn owns(&self, event: &Event) -> bool {
        self.own_call.as_ref().is_some_and(|own| event.get("Unique-ID") == Some(&own.id))
    }
}

/// Which of a batch of events a listener may want.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Concern {
    Everything,
    /// Their places in the batch.
    These(Vec<usize>),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Those who may want any event.
    general: Vec<Arc<Listener>>,
    /// Applications that have asked for no more than what happens to their own calls.
    by_call: HashMap<String, Vec<Arc<Listener>>>,
}

impl Listeners {
    pub(super) fn add(&mut self, listener: Arc<Listener>) {
        match &listener.own_call {
            Some(own) => self.by_call.entry(own.id.clone()).or_default().push(listener),
            None => self.general.push(listener),
        }
    }

    pub(super) fn remove(&mut self, listener: &Arc<Listener>) {
        if self.take_from_call(listener).is_none() {
            self.general.retain(|other| !Arc::ptr_eq(other, listener));
        }
    }

    /// The application of a call has asked for more than what happens to it.
    pub(super) fn widen(&mut self, listener: &Arc<Listener>) {
        let taken = self.take_from_call(listener);
        self.general.extend(taken);
    }

    fn take_from_call(&mut self, listener: &Arc<Listener>) -> Option<Arc<Listener>> {
        let id = &listener.own_call.as_ref()?.id;
        let of_call = self.by_call.get_mut(id)?;
        let at = of_call.iter().position(|other| Arc::ptr_eq(other, listener))?;
        let taken = of_call.swap_remove(at);
        if of_call.is_empty() {
            self.by_call.remove(id);
        }
        Some(taken)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.general.is_empty() && self.by_call.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.general.iter().chain(self.by_call.values().flatten())
    }

    /// Whom a batch of events concerns. That costs as much as there are events and general listeners, however many calls have applications.
    pub(super) fn concerned<'a>(&self, events: impl Iterator<Item = &'a Event>) -> Vec<(Arc<Listener>, Concern)> {
        let mut of_calls: HashMap<&str, Vec<usize>> = HashMap::new();
        if !self.by_call.is_empty() {
            for (at, event) in events.enumerate() {
                if let Some((id, _)) = event.get("Unique-ID").and_then(|id| self.by_call.get_key_value(id)) {
                    of_calls.entry(id).or_default().push(at);
                }
            }
        }
        let general = self.general.iter().map(|listener| (Arc::clone(listener), Concern::Everything));
        let own = of_calls.into_iter().flat_map(|(id, at)| {
            let of_call = self.by_call.get(id).into_iter().flatten();
            of_call.map(move |listener| (Arc::clone(listener), Concern::These(at.clone())))
        });
        general.chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(channel: &str) -> Event {
        let mut event = Event::new("DTMF");
        event.push("Unique-ID", channel);
        event
    }

    #[test]
    fn applications_are_found_by_their_calls_until_they_ask_for_more() {
        let mut listeners = Listeners::default();
        let (client, one, two) =
            (Arc::default(), Arc::new(Listener::of_call("one", None)), Arc::new(Listener::of_call("two", None)));
        for listener in [&client, &one, &two] {
            listeners.add(Arc::clone(listener));
        }
        let batch = [event("three"), event("two"), event("one"), event("two")];
        let concern = |listeners: &Listeners, of: &Arc<Listener>| {
            let mut found = listeners.concerned(batch.iter()).into_iter().filter(|(other, _)| Arc::ptr_eq(other, of));
            let concern = found.next().map(|(_, concern)| concern);
            assert_eq!(found.count(), 0, "nobody is told twice");
            concern
        };
        assert_eq!(concern(&listeners, &client), Some(Concern::Everything));
        assert_eq!(concern(&listeners, &one), Some(Concern::These(vec![2])));
        assert_eq!(concern(&listeners, &two), Some(Concern::These(vec![1, 3])));
        listeners.widen(&two);
        assert_eq!(concern(&listeners, &two), Some(Concern::Everything));
        listeners.remove(&one);
        assert_eq!(concern(&listeners, &one), None);
        for listener in [&client, &two] {
            listeners.remove(listener);
        }
        assert!(listeners.is_empty());
    }
}
