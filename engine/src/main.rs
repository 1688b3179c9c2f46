//! The `lockstep` command.

mod allocator;

/// Also behind QuickJS's `malloc`, where most of a short call's time went (docs/decisions/0013-allocator.md).
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() -> std::process::ExitCode {
    lockstep_engine::cli::main()
}
