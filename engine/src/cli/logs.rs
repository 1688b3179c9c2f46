//! `lockstep logs`

use std::process::ExitCode;

use serde_json::Value;

use super::calls::{encode, entry_line};
use super::client::Target;
use super::{finish, out};

/// How many calls back `logs` without an id looks.
const CALLS_BACK: usize = 20;

/// Print what scripts wrote: of one call, of the last calls, or as it comes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this call.
    call: Option<String>,
    /// Print lines as they come.
    #[arg(long, short)]
    follow: bool,
    /// Print JSON, one line each.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    if args.follow {
        let query = args.call.as_ref().map(|id| format!("&call={}", encode(id))).unwrap_or_default();
        return args
            .target
            .follow(&format!("?types=log{query}"), |event| {
                print(args, event["call"].as_str().unwrap_or_default(), &event["entry"]);
                true
            })
            .await;
    }
    let ids = match &args.call {
        Some(id) => vec![id.clone()],
        None => {
            let calls = args.target.get(&format!("/v1/calls?limit={CALLS_BACK}")).await?;
            let mut ids: Vec<String> = calls["calls"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|call| Some(call["id"].as_str()?.to_owned()))
                .collect();
            ids.reverse();
            ids
        }
    };
    for id in ids {
        let timeline = args.target.get(&format!("/v1/calls/{}/timeline", encode(&id))).await?;
        for entry in timeline["entries"].as_array().into_iter().flatten().filter(|entry| entry["kind"] == "log") {
            print(args, &id, entry);
        }
    }
    Ok(())
}

fn print(args: &Args, call: &str, entry: &Value) {
    if args.json {
        out::line(serde_json::json!({ "call": call, "entry": entry }));
    } else {
        out::line(format!("{}{}", call.chars().take(8).collect::<String>(), entry_line(entry)));
    }
}
