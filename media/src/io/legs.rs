//! The legs of a media thread, by place and by name.

use std::collections::BTreeMap;

use super::{LegId, leg::LegSlot, wheel::Due};
use crate::{cache::Step, stream::Channel};

/// The legs of a thread: by place, so that the wheel and epoll need no search, and by name.
#[derive(Default)]
pub(super) struct Legs {
    places: Vec<Place>,
    free: Vec<u32>,
    by_id: BTreeMap<LegId, u32>,
}

#[derive(Default)]
struct Place {
    /// Told apart in epoll tokens: an event may still be in hand for a leg that was just removed.
    generation: u32,
    slot: Option<Box<LegSlot>>,
}

impl Legs {
    pub(super) fn insert(&mut self, slot: Box<LegSlot>) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            (self.places.len() - 1) as u32
        });
        self.by_id.insert(slot.id, index);
        if let Some(place) = self.places.get_mut(index as usize) {
            place.slot = Some(slot);
        }
        index
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<Box<LegSlot>> {
        let place = self.places.get_mut(index as usize)?;
        let slot = place.slot.take()?;
        place.generation = place.generation.wrapping_add(1) & (u32::MAX >> 1);
        self.by_id.remove(&slot.id);
        self.free.push(index);
        Some(slot)
    }

    pub(super) fn at(&mut self, index: u32) -> Option<&mut LegSlot> {
        self.places.get_mut(index as usize)?.slot.as_deref_mut()
    }

    /// How many places there are, empty ones among them.
    pub(super) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// Has the processor fetch the leg at a place, and the one it is joined with.
    pub(super) fn fetch(&self, place: u32, step: Step) {
        let leg = |place: u32| self.places.get(place as usize)?.slot.as_deref();
        let Some(here) = leg(place) else { return };
        here.fetch(step);
        // Where that one is, the step before has told.
        if let Some(before) = step.before()
            && let Some(peer) = here.peer.and_then(|peer| leg(peer.place))
        {
            peer.fetch(before);
        }
    }

    /// Whether an entry of the wheel is its leg's deadline.
    pub(super) fn awaits(&self, entry: Due) -> bool {
        let leg = self.places.get(entry.leg as usize).and_then(|place| place.slot.as_ref());
        leg.is_some_and(|leg| leg.tick == Some(entry.tick))
    }

    pub(super) fn find(&self, leg: LegId) -> Option<u32> {
        self.by_id.get(&leg).copied()
    }

    /// Place, generation and channel in one epoll token.
    pub(super) fn token(&self, index: u32, channel: Channel) -> u64 {
        let generation = self.places.get(index as usize).map_or(0, |place| place.generation);
        let channel = match channel {
            Channel::Rtp => 0,
            Channel::Rtcp => 1,
        };
        u64::from(index) << 32 | u64::from(generation) << 1 | channel
    }

    pub(super) fn resolve(&self, token: u64) -> Option<(u32, Channel)> {
        let index = place_of(token);
        let channel = if token & 1 == 0 { Channel::Rtp } else { Channel::Rtcp };
        (self.token(index, channel) == token).then_some((index, channel))
    }
}

/// The place in an epoll token.
pub(super) fn place_of(token: u64) -> u32 {
    (token >> 32) as u32
}
