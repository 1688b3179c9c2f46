//! The processor's caches. Between two turns of a leg, thousands of others push it out of them, and waiting for memory takes longer
//! than the turn: what the next turns will touch is asked for ahead.

/// The steps in which a leg comes from memory: what one fetches says where that of the next is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Itself,
    Parts,
    TheirParts,
}

impl Step {
    /// All of them, each with the turns of others that it is taken after the first.
    pub(crate) const ALL: [(Step, usize); 3] = [(Step::Itself, 0), (Step::Parts, 2), (Step::TheirParts, 4)];
    /// The turns of others from the first step until a leg's own turn.
    pub(crate) const TURNS: usize = 6;

    /// The step that what a leg points to is at in this one.
    pub(crate) fn before(self) -> Option<Step> {
        match self {
            Step::Itself => None,
            Step::Parts => Some(Step::Itself),
            Step::TheirParts => Some(Step::Parts),
        }
    }
}

/// Has the processor fetch a value meanwhile: a hint, where it takes any.
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of_val(value)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(value).cast::<i8>().wrapping_add(offset);
        // SAFETY: a prefetch changes nothing that the program sees, and faults at no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
