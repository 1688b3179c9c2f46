//! The `lockstep` command.

fn main() -> std::process::ExitCode {
    lockstep_engine::cli::main()
}
