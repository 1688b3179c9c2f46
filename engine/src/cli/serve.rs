//! `lockstep serve [DIR]`

use std::path::PathBuf;
use std::process::ExitCode;

use super::out;
use crate::config::{Config, Loaded};

/// Run the engine on DIR/lockstep.toml.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of lockstep.toml.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Only validate the configuration.
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let loaded = match Config::load(&args.dir) {
        Ok(loaded) => loaded,
        Err(error) => return out::failed(error),
    };
    for warning in &loaded.warnings {
        out::error(format!("warning: {warning}"));
    }
    if args.check {
        return report(&loaded);
    }
    out::failed("the engine core is not linked into this build")
}

fn report(loaded: &Loaded) -> ExitCode {
    out::line(format!("{}: valid", loaded.dir.join(crate::config::FILE_NAME).display()));
    ExitCode::SUCCESS
}
