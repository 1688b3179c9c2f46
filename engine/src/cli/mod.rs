//! The command line. One file a command.

mod calls;
mod check;
mod client;
mod logs;
mod out;
mod scripts;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Telephone calls driven by JavaScript.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Calls(calls::Args),
    Scripts(scripts::Args),
    Logs(logs::Args),
}

/// Runs the command the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Calls(args) => calls::run(&args),
        Command::Scripts(args) => scripts::run(&args),
        Command::Logs(args) => logs::run(&args),
    }
}

/// A tokio runtime for a command that talks to the network.
fn block_on<F: Future>(future: F) -> Result<F::Output, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_grammar_of_the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
