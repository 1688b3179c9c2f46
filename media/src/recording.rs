//! Recording both directions of a leg.

/// Names one recording, chosen by whoever starts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordingId(pub u64);

/// Which direction of the leg is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RecordingDirection {
    /// What the other side said and what it heard.
    #[default]
    Both,
    /// What the other side said.
    Received,
    /// What the other side heard.
    Sent,
}

/// What to record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecordingOptions {
    /// Two channels, received left and sent right; otherwise both are mixed into one.
    pub stereo: bool,
    /// Which direction; the other one stays silent.
    pub direction: RecordingDirection,
}
