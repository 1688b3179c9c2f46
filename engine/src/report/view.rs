//! What a page needs of a timeline, as the interface gives it.

use serde::Deserialize;

/// A timeline, read back from JSON: from memory and from disk it is the same.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct View {
    pub call: Facts,
    pub script: Option<String>,
    pub ended: Option<Ended>,
    pub duration_ms: Option<u64>,
    pub entries: Vec<Entry>,
    pub dropped: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Facts {
    pub id: String,
    pub from: String,
    pub to: String,
    pub started_at: u64,
    pub codec: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Ended {
    pub code: u16,
    pub reason: String,
    pub by: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Entry {
    pub at_ms: u64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum What {
    Operation(Operation),
    Sip {
        direction: String,
        leg: String,
        summary: String,
    },
    Dtmf {
        digit: char,
        method: String,
        duration_ms: u32,
    },
    Event {
        name: String,
        detail: String,
    },
    Log {
        level: String,
        text: String,
        line: Option<String>,
    },
    Media(Media),
    /// Of a version that knows more.
    #[serde(other)]
    Unknown,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    pub name: String,
    pub detail: String,
    pub line: Option<String>,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub result: Option<String>,
    pub ok: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Media {
    pub leg: String,
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub jitter_ms: f64,
    pub mos: Option<f64>,
    pub remote_lost: u64,
    pub remote_jitter_ms: f64,
    pub round_trip_ms: Option<f64>,
}

impl View {
    /// How media came through, a leg each.
    pub(crate) fn media(&self) -> impl Iterator<Item = &Media> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            What::Media(media) => Some(media),
            _ => None,
        })
    }

    /// How far the axis goes, ms; at least 1.
    pub(crate) fn last_ms(&self) -> u64 {
        let ends = self.entries.iter().map(|entry| match &entry.what {
            What::Operation(operation) => operation.ended_ms.unwrap_or(entry.at_ms),
            _ => entry.at_ms,
        });
        ends.chain(self.duration_ms).max().unwrap_or(0).max(1)
    }

    /// The legs besides the caller's, in the order in which they appear.
    pub(crate) fn other_legs(&self) -> Vec<&str> {
        let mut legs: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if let What::Sip { leg, .. } = &entry.what
                && leg != "a"
                && !legs.contains(&leg.as_str())
            {
                legs.push(leg);
            }
        }
        legs
    }
}

impl Media {
    /// In words.
    pub(crate) fn sentence(&self) -> String {
        let mut text = format!(
            "Media of leg {}: {} packets received, {} lost, jitter {:.1} ms",
            self.leg, self.received, self.lost, self.jitter_ms
        );
        if let Some(mos) = self.mos {
            text.push_str(&format!(", MOS {mos:.2}"));
        }
        text.push_str(&format!(
            "; {} sent, of which the other side missed {} (jitter {:.1} ms)",
            self.sent, self.remote_lost, self.remote_jitter_ms
        ));
        if let Some(round_trip) = self.round_trip_ms {
            text.push_str(&format!("; round trip {round_trip:.0} ms"));
        }
        text.push('.');
        text
    }
}
