//! `lockstep scripts`

use std::process::ExitCode;

use serde_json::Value;

use super::calls::encode;
use super::client::{Target, print_json};
use super::{block_on, out};

/// List the scripts the engine has loaded, their destinations and versions.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make the version before the live one live again, until the file changes.
    Rollback {
        /// Name, file or uuid.
        name: String,
    },
}

pub(super) fn run(args: &Args) -> ExitCode {
    let (answer, print): (_, fn(&Value)) = match &args.action {
        None => (block_on(args.target.get("/v1/scripts")), print_table),
        Some(Action::Rollback { name }) => {
            (block_on(args.target.post(&format!("/v1/scripts/{}/rollback", encode(name)))), print_rolled_back)
        }
    };
    match answer {
        Ok(Ok(answer)) => {
            if args.json {
                print_json(&answer)
            } else {
                print(&answer)
            }
            ExitCode::SUCCESS
        }
        Ok(Err(error)) | Err(error) => out::failed(error),
    }
}

fn print_rolled_back(script: &Value) {
    let text = |key: &str| script[key].as_str().unwrap_or("-");
    out::line(format!("{}: version {} is live", text("name"), text("version")));
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
