//! `lockstep replay CALL_ID|FILE`

use std::io::{BufRead, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;

use lockstep_ctx_api::journal::Redactor;
use lockstep_ctx_api::wire::Bundle;

use super::client::Target;
use super::recording::{self, Recording};
use super::{block_on, out, zone};
use crate::log::on_one_line;
use crate::replay::{Replay, divergence, replace, step};

/// Run a call's script again from its journal, turn by turn, and tell where it differs.
///
/// The same script gives the same trace and exit code 0; a changed one ends at the first difference, with exit code 1. A call is
/// looked up in the store of DIR, and, where that does not have it, asked of a running engine.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The id of a call or run, or a file that holds a journal as JSON lines.
    what: String,
    /// Run this script instead of the recorded text; scripts beside it are its siblings.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Stop after this turn.
    #[arg(long, value_name = "TURN")]
    until: Option<u32>,
    /// Stop after every turn: Enter goes on, a number goes on to that turn, `v` shows all variables, `q` ends.
    #[arg(long)]
    step: bool,
    /// The folder of lockstep.toml whose store is looked into.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let recording = match block_on(recording::find(&args.what, &args.dir, &args.target)) {
        Ok(Ok(recording)) => recording,
        Ok(Err(error)) | Err(error) => return out::failed(error),
    };
    if let Err(code) = zone::enter(&recording.journal.header.run.time_zone) {
        return code;
    }
    match replay(args, &recording) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => out::failed(error),
    }
}

fn replay(args: &Args, recording: &Recording) -> Result<bool, String> {
    let journal = &recording.journal;
    let bundle = sources(args, recording)?;
    let redactor = recording.redaction.as_ref().map(|redaction| redaction as &dyn Redactor);
    let mut replay = Replay::new(journal, &bundle, redactor).map_err(|error| error.to_string())?;
    if let Some(warning) = replay.warning() {
        out::error(format!("warning: {warning}"));
    }
    if redactor.is_some() {
        out::error("secrets of this journal are redacted: what the script makes of them may differ");
    }
    let mut stops = args.step.then_some(Stops { until: 0 });
    let mut turns = 0;
    while let Some(taken) = replay.step() {
        turns = taken.turn + 1;
        out::text(&step(journal, &taken));
        if let Some(found) = &taken.divergence {
            out::line(divergence(found));
            return Ok(false);
        }
        if args.until.is_some_and(|until| taken.turn >= until) {
            out::line(format!("stopped after turn {}", taken.turn));
            return Ok(true);
        }
        if stops.as_mut().is_some_and(|stops| !stops.go_on(taken.turn, &replay)) {
            return Ok(true);
        }
    }
    if let Some(turn) = journal.truncated_at {
        out::line(format!("the journal reached its bound before turn {turn}: nothing is known of what came after"));
    }
    out::line(format!("the same as recorded: {turns} turns"));
    Ok(true)
}

/// What is to be run.
fn sources(args: &Args, recording: &Recording) -> Result<Bundle, String> {
    let entry = recording.journal.header.script.clone();
    match (&args.script, &recording.bundle) {
        (Some(script), Some(bundle)) => replace(bundle, script),
        (Some(script), None) => replace(&Bundle { entry, ..Bundle::default() }, script),
        (None, Some(bundle)) => Ok(bundle.clone()),
        (None, None) => Err(format!("{} holds no sources: say which script with --script FILE", args.what)),
    }
}

/// Where `--step` stops.
struct Stops {
    until: u32,
}

impl Stops {
    /// Asks what to do next; `false` when that is to end.
    fn go_on(&mut self, turn: u32, replay: &Replay<'_>) -> bool {
        if turn < self.until {
            return true;
        }
        let mut line = String::new();
        loop {
            if std::io::stdin().is_terminal() {
                out::text(&format!("turn {turn} [Enter, TURN, v, q] "));
            }
            line.clear();
            let read = std::io::stdin().lock().read_line(&mut line);
            if read.is_ok_and(|octets| octets == 0) {
                // Nobody is left who could say when to stop.
                self.until = u32::MAX;
                return true;
            }
            match line.trim() {
                "" | "n" => return true,
                "q" => return false,
                "v" => {
                    for (scope, variables) in replay.variables() {
                        for (name, value) in variables {
                            out::line(on_one_line(format!("  {scope}  {name} = {value}")));
                        }
                    }
                }
                other => match other.parse() {
                    Ok(until) => {
                        self.until = until;
                        return true;
                    }
                    Err(_) => out::error("expected Enter, the number of a turn, v, or q"),
                },
            }
        }
    }
}
