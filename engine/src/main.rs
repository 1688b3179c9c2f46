//! The `lockstep` command.

use lockstep_engine::allocator::Mimalloc;

/// Also behind QuickJS's `malloc`, where most of a short call's time went (docs/decisions/0013-allocator.md).
#[global_allocator]
static ALLOCATOR: Mimalloc = Mimalloc;

fn main() -> std::process::ExitCode {
    lockstep_engine::cli::main()
}
