//! What the caller hears until somebody is joined: a far end's early media, else that one rings.

use super::{Attempt, Bridge, BridgeStep, Leg};
use crate::call::LegId;

impl Bridge {
    /// A far end rings, by 180 or by a provisional response with media.
    pub fn ringing(&mut self, leg: LegId) {
        if let Some(leg) = self.legs.get_mut(&leg).filter(|leg| leg.is_ringing()) {
            leg.rings = true;
            self.tell_ringing();
        }
    }

    /// Media of a far end has arrived before it answered.
    pub fn media_arrived(&mut self, leg: LegId) {
        if let Some(leg) = self.legs.get_mut(&leg).filter(|leg| leg.is_ringing()) {
            leg.has_media = true;
            self.hear_early_media();
        }
    }

    /// The branch of a far end's INVITE whose media had arrived is gone; others of it ring on.
    pub fn branch_over(&mut self, leg: LegId) {
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.has_media = false;
        }
        self.hear_another();
    }

    /// Somebody is gone or asked to accept. If it was whom the caller heard, the caller hears another, or that one rings.
    pub(super) fn hear_another(&mut self) {
        if self.done || self.joined().is_some() {
            return;
        }
        let legs = &self.legs;
        if self.heard.take_if(|heard| legs.get(heard).is_none_or(|leg| !leg.is_audible())).is_some() {
            self.told_ringing = false;
            self.hear_early_media();
        }
        if self.heard.is_none() {
            self.tell_ringing();
        }
    }

    fn hear_early_media(&mut self) {
        if !self.rules.early_media || self.heard.is_some() {
            return;
        }
        let mut audible = self.legs.iter().filter(|(_, leg)| leg.is_audible());
        if let Some(leg) = audible.next().map(|(id, _)| *id) {
            self.heard = Some(leg);
            self.steps.push_back(BridgeStep::EarlyMedia { leg });
        }
    }

    fn tell_ringing(&mut self) {
        if !self.told_ringing && self.legs.values().any(|leg| leg.rings) {
            self.told_ringing = true;
            self.steps.push_back(BridgeStep::Ringing);
        }
    }
}

impl Leg {
    fn is_ringing(&self) -> bool {
        self.attempt == Attempt::Ringing
    }

    /// Whether its media can be heard before it answers.
    fn is_audible(&self) -> bool {
        self.has_media && self.is_ringing()
    }
}
