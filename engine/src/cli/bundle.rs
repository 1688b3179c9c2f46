use std::path::PathBuf;
use std::process::ExitCode;

use super::out;
use crate::packages;

/// Make the npm packages of a folder ready for scripts, after `npm ci --prefix DIR`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of package.json, whose `lockstep` section is the allow-list.
    #[arg(default_value = "scripts")]
    dir: PathBuf,
    /// Print the manifest.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> ExitCode {
    let manifest = match packages::bundle(&args.dir) {
        Ok(manifest) => manifest,
        Err(error) => return out::failed(error),
    };
    if args.json {
        match serde_json::to_string_pretty(&manifest) {
            Ok(json) => out::line(json),
            Err(error) => return out::failed(error),
        }
        return ExitCode::SUCCESS;
    }
    for (name, bundled) in &manifest.packages {
        out::line(format!("{name:28} {:>12} {:>9} bytes", bundled.version, bundled.bytes));
    }
    ExitCode::SUCCESS
}
