//! The command line. One file a command.

mod bundle;
mod calls;
mod check;
mod client;
mod flow;
mod init;
mod jobs;
mod kv;
mod logs;
mod out;
mod phone;
mod recording;
mod replay;
mod run;
mod scripts;
mod serve;
mod signals;
mod strip;
mod test;
mod types;
mod worker;
mod zone;

use std::process::ExitCode;
use std::time::Duration;

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
    Run(run::Args),
    Check(check::Args),
    Bundle(bundle::Args),
    Test(test::Args),
    Flow(flow::Args),
    Phone(phone::Args),
    Replay(replay::Args),
    Calls(calls::Args),
    Scripts(scripts::Args),
    Jobs(jobs::Args),
    Kv(kv::Args),
    Logs(logs::Args),
    Init(init::Args),
    Types(types::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    Strip(strip::Args),
}

/// Runs the command the process was started with.
pub fn main() -> ExitCode {
    signals::outlive_bounds_of_files();
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bundle(args) => bundle::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Flow(args) => flow::run(&args),
        Command::Phone(args) => phone::run(args),
        Command::Replay(args) => replay::run(&args),
        Command::Calls(args) => calls::run(&args),
        Command::Scripts(args) => scripts::run(&args),
        Command::Jobs(args) => jobs::run(&args),
        Command::Kv(args) => kv::run(&args),
        Command::Logs(args) => logs::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Types(args) => types::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Strip(args) => strip::run(&args),
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

/// Does the work of a command that either succeeds or says why it did not.
fn finish(work: impl Future<Output = Result<(), String>>) -> ExitCode {
    match block_on(work) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) | Err(error) => out::failed(error),
    }
}

/// Seconds as a command line gives them.
fn seconds(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected seconds, found `{text}`");
    text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).ok_or_else(expected)
}

/// The same, more than none.
fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|seconds| {
        if seconds.is_zero() { Err(format!("expected more than 0 seconds, found `{text}`")) } else { Ok(seconds) }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn seconds_are_a_time() {
        assert_eq!(super::seconds("1.5"), Ok(std::time::Duration::from_millis(1_500)));
        for wrong in ["nan", "inf", "-1", "soon"] {
            assert!(super::seconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(super::seconds("0"), Ok(std::time::Duration::ZERO));
        assert!(super::some_seconds("0").is_err());
        assert!(super::some_seconds("0.5").is_ok());
    }

    #[test]
    fn the_grammar_of_the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
