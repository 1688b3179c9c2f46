//! How often the same thing is said. No clock: the time is a parameter.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use serde_json::json;

use super::Alert;

/// The same alert is told once in this time; how often it came again is told at its end, ms.
pub(super) const WINDOW_MS: u64 = 60_000;
/// Alerts of one window, whatever they are about.
const MAX_TOLD: usize = 100;
/// Subjects that are remembered at once.
const MAX_SUBJECTS: usize = 1_000;

/// Lets an alert through, or counts it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    open: BTreeMap<(Arc<str>, &'static str, String), Window>,
    /// When the window of all alerts together began, and how many it has let through.
    since_ms: u64,
    told: usize,
    /// Those that were one too many, for the log.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Window {
    until_ms: u64,
    again: u64,
    /// The latest of those that came again.
    last: Option<Alert>,
}

impl Gate {
    /// The alert, if it is to be told now.
    pub(super) fn admit(&mut self, now_ms: u64, alert: Alert) -> Option<Alert> {
        let is_full = self.open.len() >= MAX_SUBJECTS;
        match self.open.entry((Arc::clone(&alert.account), alert.name, alert.subject.clone())) {
            Entry::Occupied(mut window) => {
                let window = window.get_mut();
                window.again += 1;
                window.last = Some(alert);
                None
            }
            Entry::Vacant(_) if is_full => {
                self.dropped += 1;
                None
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Window { until_ms: now_ms.saturating_add(WINDOW_MS), again: 0, last: None });
                self.has_room(now_ms).then_some(alert)
            }
        }
    }

    /// Alerts that came again in a window that is over, each with how often.
    pub(super) fn expire(&mut self, now_ms: u64) -> Vec<Alert> {
        let mut over = Vec::new();
        self.open.retain(|_, window| {
            if window.until_ms > now_ms {
                return true;
            }
            let Some(mut alert) = window.last.take() else { return false };
            alert.data.insert("repeated".to_owned(), json!(window.again));
            over.push(alert);
            // It goes on: the next minute is counted, too.
            (window.until_ms, window.again) = (now_ms.saturating_add(WINDOW_MS), 0);
            true
        });
        over.retain(|_| self.has_room(now_ms));
        over
    }

    /// When [`expire`](Self::expire) has something to do.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.open.values().map(|window| window.until_ms).min()
    }

    fn has_room(&mut self, now_ms: u64) -> bool {
        if now_ms.saturating_sub(self.since_ms) >= WINDOW_MS {
            (self.since_ms, self.told) = (now_ms, 0);
        }
        let has_room = self.told < MAX_TOLD;
        if has_room {
            self.told += 1
        } else {
            self.dropped += 1
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::alerts::Severity;

    fn alert(subject: &str) -> Alert {
        Alert {
            name: "job-failed",
            severity: Severity::Error,
            text: "it failed".to_owned(),
            data: Map::new(),
            subject: subject.to_owned(),
            account: "default".into(),
        }
    }

    #[test]
    fn the_same_alert_is_told_once_a_minute_and_then_how_often_it_came() {
        let mut gate = Gate::default();
        assert!(gate.admit(0, alert("a")).is_some());
        for at in 1..=5 {
            assert!(gate.admit(at, alert("a")).is_none());
        }
        assert!(gate.admit(6, alert("b")).is_some(), "another subject");
        assert_eq!(gate.expire(WINDOW_MS - 1), []);
        assert_eq!(gate.next_ms(), Some(WINDOW_MS));
        let again = gate.expire(WINDOW_MS);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].subject.as_str(), &again[0].data["repeated"]), ("a", &json!(5)));
        assert!(gate.admit(WINDOW_MS + 1, alert("a")).is_none(), "its next minute has begun");
        assert!(gate.admit(WINDOW_MS + 7, alert("b")).is_none() || gate.expire(WINDOW_MS + 7).is_empty());
    }

    #[test]
    fn what_is_over_may_be_told_anew() {
        let mut gate = Gate::default();
        assert!(gate.admit(0, alert("a")).is_some());
        assert_eq!(gate.expire(WINDOW_MS), [], "it did not come again");
        assert!(gate.admit(WINDOW_MS, alert("a")).is_some());
    }

    #[test]
    fn a_storm_of_different_alerts_is_bounded_in_number_and_memory() {
        let mut gate = Gate::default();
        let told = (0..10_000).filter(|at| gate.admit(1, alert(&at.to_string())).is_some()).count();
        assert_eq!((told, gate.open.len()), (MAX_TOLD, MAX_SUBJECTS));
        assert_eq!(gate.dropped, 10_000 - MAX_TOLD as u64);
        gate.expire(2 * WINDOW_MS);
        assert!(gate.open.is_empty());
        assert!(gate.admit(2 * WINDOW_MS, alert("a")).is_some(), "the next minute has room again");
    }
}
