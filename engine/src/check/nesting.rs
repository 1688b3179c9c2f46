//! Text that is nested deep: the parser goes into itself for every level.

/// Brackets within each other that are parsed. The runtime gives up sooner.
pub(super) const MAX_DEPTH: usize = 10_000;

/// Stack of a check, in bytes: enough for [`MAX_DEPTH`]. What is not used takes no memory.
const STACK: usize = 256 << 20;

/// Where `source` goes deeper than [`MAX_DEPTH`]. Those in strings and comments count, too: nobody writes so many there.
pub(super) fn too_deep(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    source.bytes().position(|byte| {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > MAX_DEPTH
    })
}

/// Does `work` on a stack of its own; on the caller's when there is none to be had.
pub(super) fn on_a_deep_stack<T: Send>(work: impl Fn() -> T + Sync) -> T {
    std::thread::scope(|scope| match std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, &work) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        Err(_) => work(),
    })
}
