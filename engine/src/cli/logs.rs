//! `lockstep logs`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::calls::{encode, entry_line, over};
use super::client::Ask;
use super::{finish, out};
use crate::log::on_one_line;

/// How many calls back `logs` without an id looks.
const CALLS_BACK: usize = 20;

/// Print what scripts wrote: of one call, of the last calls, or, of calls and of runs outside them, as it comes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only this call.
    call: Option<String>,
    /// Print lines as they come.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    if args.follow {
        // Of one call also that nothing more follows: after its end its script may write on.
        let query = args.call.as_ref().map(|id| format!(",call-over&call={}", encode(id))).unwrap_or_default();
        let events = args.ask.target.events(&format!("?types=log{query}")).await?;
        if let Some(id) = &args.call
            && let Some(timeline) = over(&args.ask, id).await?
        {
            print_log(&args.ask, id, &timeline);
            return Ok(());
        }
        let print = |event: Value| {
            if event["type"] == "log" {
                out::line(if args.ask.json { as_json(event).to_string() } else { as_line(&event) });
                return true;
            }
            event["type"] != "call-over"
        };
        return events.each(print).await;
    }
    let ids = match &args.call {
        Some(id) => vec![id.clone()],
        None => {
            let calls = args.ask.target.get(&format!("/v1/calls?limit={CALLS_BACK}")).await?;
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
        let timeline = args.ask.target.get(&format!("/v1/calls/{}/timeline", encode(&id))).await?;
        print_log(&args.ask, &id, &timeline);
    }
    Ok(())
}

/// Prints what the script of a call has written.
fn print_log(ask: &Ask, call: &str, timeline: &Value) {
    for entry in timeline["entries"].as_array().into_iter().flatten().filter(|entry| entry["kind"] == "log") {
        let line = json!({ "call": call, "entry": entry });
        out::line(if ask.json { line.to_string() } else { as_line(&line) });
    }
}

/// A line with the call or the run that it is of.
fn as_json(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        fields.retain(|name, _| matches!(name.as_str(), "call" | "run" | "job" | "script" | "entry"));
    }
    event
}

/// The same for people: of runs outside calls, it ends with the script and the job.
fn as_line(event: &Value) -> String {
    let id = event["call"].as_str().or(event["run"].as_str()).unwrap_or_default();
    let job = event["job"].as_i64().map(|job| format!(", job {job}")).unwrap_or_default();
    let script = event["script"].as_str().map(|script| on_one_line(format!("  [{script}{job}]"))).unwrap_or_default();
    format!("{:<8}{}{script}", id.chars().take(8).collect::<String>(), entry_line(&event["entry"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_wrote_it() {
        let entry = json!({ "at_ms": 1_500, "kind": "log", "level": "info", "text": "hi", "line": "menu.js:3:1" });
        let of_call = json!({ "seq": 1, "at": 2, "type": "log", "call": "0123456789ab", "entry": entry });
        assert_eq!(as_line(&of_call), "01234567    1.500  info       hi (menu.js:3:1)");
        assert_eq!(as_json(of_call), json!({ "call": "0123456789ab", "entry": entry }));
        let of_job = json!({ "run": "job-7-1", "job": 7, "script": "nightly", "entry": entry });
        assert_eq!(as_line(&of_job), "job-7-1     1.500  info       hi (menu.js:3:1)  [nightly, job 7]");
        let of_all = json!({ "script": "hook", "entry": { "at_ms": 0, "kind": "log", "level": "warn", "text": "9 lines" } });
        assert_eq!(as_line(&of_all), "            0.000  warn       9 lines  [hook]");
    }
}
