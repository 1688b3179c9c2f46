//! Calls: legs, bridges, and the digits of a caller. Sans-IO: `now` is a parameter, and everything a call wants done leaves
//! as data.

mod audio;
mod bridge;
mod collect;
mod digits;
mod info;
mod leg;
mod reserved;
mod switchboard;

pub use audio::{Audio, AudioEnd, AudioId, AudioOptions, AudioStop};
pub use bridge::{Bridge, BridgeRules, BridgeStep, Hunt};
pub(crate) use bridge::{is_callees_word, preference, status_of};
pub use collect::{CollectRules, CollectStep, Collected, Collector};
pub use digits::{Digits, is_key};
pub use info::{digit_of_info, info_of_digit};
pub use leg::{Leg, LegState};
pub(crate) use reserved::{is_contact, runs_sip};
pub use switchboard::{
    AudioSource, BranchId, Dial, LegEvent, LoadId, Loading, Lookup, LookupId, OfferId, RecordingFile, Refusal, RouteId, Routes,
    Signal, Switchboard,
};

/// Names a leg within its call: 0 is the caller's, or the one originated; those of bridges follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u32);

impl LegId {
    /// The leg whose end is the end of the call.
    pub const A: LegId = LegId(0);
}

/// Whole milliseconds, for results that scripts read.
pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
