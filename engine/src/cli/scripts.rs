//! `lockstep scripts`

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Target, print_json};
use super::{block_on, out};

/// List the scripts the engine has loaded, their destinations and versions.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &Args) -> ExitCode {
    match block_on(args.target.get("/v1/scripts")) {
        Ok(Ok(scripts)) => {
            if args.json {
                print_json(&scripts)
            } else {
                print_table(&scripts)
            }
            ExitCode::SUCCESS
        }
        Ok(Err(error)) | Err(error) => out::failed(error),
    }
}

fn print_table(scripts: &Value) {
    let scripts = scripts["scripts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if scripts.is_empty() {
        out::line("no scripts");
        return;
    }
    out::line(format!("{:<24}  {:<8}  {:<20}  VERSION", "SCRIPT", "TYPE", "DESTINATION"));
    for script in scripts {
        let text = |key: &str| script[key].as_str().unwrap_or("-");
        let version = text("version").chars().take(12).collect::<String>();
        out::line(format!("{:<24}  {:<8}  {:<20}  {version}", text("name"), text("type"), text("class5_destination")));
        if let Some(error) = script["error"].as_str() {
            out::line(format!("  the newest text is not live: {error}"));
        }
    }
}
