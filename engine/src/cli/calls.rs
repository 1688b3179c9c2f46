//! `lockstep calls`

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::client::Ask;
use super::{finish, out};
use crate::log::on_one_line;

/// List live and past calls, show one call's timeline, or follow calls as they happen.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the timeline of this call.
    id: Option<String>,
    /// Print events as they come.
    #[arg(long, short)]
    follow: bool,
    /// End the call.
    #[arg(long, requires = "id", conflicts_with = "follow")]
    hangup: bool,
    /// Write the call as a page: recording, operations, keys and SIP on one axis, and a SIP ladder.
    #[arg(long, requires = "id", value_name = "FILE", conflicts_with_all = ["follow", "hangup", "json"])]
    html: Option<PathBuf>,
    /// Only calls that are up.
    #[arg(long, conflicts_with_all = ["id", "follow"])]
    live: bool,
    /// How many calls are listed at most, the newest first.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000), conflicts_with_all = ["id", "follow"])]
    limit: u32,
    #[command(flatten)]
    ask: Ask,
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    match &args.id {
        Some(id) if args.html.is_some() => {
            let page = args.ask.target.get(&format!("/v1/calls/{}/timeline?format=html", encode(id))).await?;
            let (Some(path), Value::String(page)) = (&args.html, page) else {
                return Err("the engine's answer is no page".to_owned());
            };
            std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
        }
        Some(id) if args.hangup => args.ask.target.delete(&format!("/v1/calls/{}", encode(id))).await.map(|_| ()),
        id if args.follow => {
            // What has a line; as JSON, all there is.
            let types = if args.ask.json { "" } else { "types=call,timeline,log&" };
            let call = id.as_ref().map(|id| format!("call={}", encode(id))).unwrap_or_default();
            let events = args.ask.target.events(&format!("?{types}{call}")).await?;
            if let Some(id) = id
                && let Some(timeline) = over(&args.ask, id).await?
            {
                args.ask.show(&timeline, print_timeline);
                return Ok(());
            }
            let print = |event: Value| {
                let is_over = event["type"] == "call-over";
                if args.ask.json {
                    out::line(&event)
                } else if event["call"].is_string() && !is_over {
                    out::line(event_line(&event))
                }
                !(id.is_some() && is_over)
            };
            events.each(print).await
        }
        Some(id) => {
            let timeline = args.ask.target.get(&format!("/v1/calls/{}/timeline", encode(id))).await?;
            args.ask.show(&timeline, print_timeline);
            Ok(())
        }
        None => {
            let calls = args.ask.target.get(&list_of(args.live, args.limit)).await?;
            args.ask.show(&calls, print_list);
            Ok(())
        }
    }
}

/// The timeline of a call that is over, as are its scripts: nothing more happens in it. Asked for once its events are told, none is
/// missed.
///
/// # Errors
/// There is no such call.
pub(super) async fn over(ask: &Ask, call: &str) -> Result<Option<Value>, String> {
    let timeline = ask.target.get(&format!("/v1/calls/{}/timeline", encode(call))).await?;
    Ok(Some(timeline).filter(|timeline| timeline["ended"].is_object() && timeline["finishing"] != true))
}

/// Where calls are listed.
fn list_of(live: bool, limit: u32) -> String {
    let state = if live { "state=live&" } else { "" };
    format!("/v1/calls?{state}limit={limit}")
}

/// Percent-encodes what may not stand in a path or query.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or("-")
}

fn print_list(calls: &Value) {
    let calls = calls["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    if calls.is_empty() {
        out::line("no calls");
        return;
    }
    out::line(format!("{:<36}  {:<8}  {:<16}  {:<16}  {:<20}  {:>8}  ENDED", "CALL", "STATE", "FROM", "TO", "SCRIPT", "SECONDS"));
    for call in calls {
        let ended = call.get("ended").filter(|ended| !ended.is_null()).map(cause).unwrap_or_default();
        out::line(on_one_line(format!(
            "{:<36}  {:<8}  {:<16}  {:<16}  {:<20}  {:>8.1}  {ended}",
            text(call, "id"),
            text(call, "state"),
            text(call, "from"),
            text(call, "to"),
            text(call, "script"),
            seconds(&call["duration_ms"]),
        )));
    }
}

fn seconds(ms: &Value) -> f64 {
    ms.as_f64().unwrap_or_default() / 1000.0
}

fn cause(ended: &Value) -> String {
    format!("{} {} by {}", ended["code"], text(ended, "reason"), text(ended, "by"))
}

fn print_timeline(timeline: &Value) {
    let call = &timeline["call"];
    let parties = format!("{} to {}", text(call, "from"), text(call, "to"));
    out::line(on_one_line(format!("call {}: {parties}, {}", text(call, "id"), text(timeline, "script"))));
    for entry in timeline["entries"].as_array().into_iter().flatten() {
        out::line(entry_line(entry));
    }
    if let Some(dropped) = timeline["dropped"].as_u64().filter(|dropped| *dropped > 0) {
        out::line(format!("{dropped} more entries were not kept"));
    }
    if let Some(ended) = timeline.get("ended").filter(|ended| !ended.is_null()) {
        out::line(on_one_line(format!("{:>9.3}  ended      {}", seconds(&timeline["duration_ms"]), cause(ended))));
    }
}

fn event_line(event: &Value) -> String {
    let short = text(event, "call").chars().take(8).collect::<String>();
    on_one_line(match text(event, "type") {
        "call-started" => {
            format!("{short}  new call   {} to {}, {}", text(event, "from"), text(event, "to"), text(event, "script"))
        }
        "call-state" => format!("{short}  state      {}", text(event, "state")),
        "timeline" | "log" => format!("{short}{}", entry_line(&event["entry"])),
        "call-ended" => format!("{short}{:>9.3}  ended      {}", seconds(&event["duration_ms"]), cause(&event["cause"])),
        other => format!("{short}  {other}"),
    })
}

/// One line of a timeline, whatever the script and its callers have said: seconds since the call began, what, where in the script.
pub(super) fn entry_line(entry: &Value) -> String {
    let at = format!("{:>9.3}", seconds(&entry["at_ms"]));
    on_one_line(match text(entry, "kind") {
        "operation" => operation_line(&at, entry),
        "sip" => format!(
            "{at}  sip {:<5}  {} [{}]",
            if text(entry, "direction") == "in" { "<--" } else { "-->" },
            text(entry, "summary"),
            text(entry, "leg")
        ),
        "dtmf" => format!("{at}  key        {} ({}, {} ms)", text(entry, "digit"), text(entry, "method"), entry["duration_ms"]),
        "event" => format!("{at}  event      {} {}", text(entry, "name"), text(entry, "detail")),
        "media" => media_line(&at, entry),
        "log" => {
            let line = entry["line"].as_str().map(|line| format!(" ({line})")).unwrap_or_default();
            format!("{at}  {:<9}  {}{line}", text(entry, "level"), text(entry, "text"))
        }
        other => format!("{at}  {other}"),
    })
}

/// How media came through on a leg.
fn media_line(at: &str, entry: &Value) -> String {
    let mos = entry["mos"].as_f64().map(|mos| format!(", MOS {mos:.2}")).unwrap_or_default();
    let round_trip = entry["round_trip_ms"].as_f64().map(|ms| format!(", round trip {ms:.0} ms")).unwrap_or_default();
    format!(
        "{at}  media      {} received, {} lost, jitter {:.1} ms{mos}; {} sent, {} missed there{round_trip} [{}]",
        entry["received"],
        entry["lost"],
        entry["jitter_ms"].as_f64().unwrap_or_default(),
        entry["sent"],
        entry["remote_lost"],
        text(entry, "leg")
    )
}

fn operation_line(at: &str, entry: &Value) -> String {
    let name = text(entry, "name");
    let detail = entry["detail"].as_str().unwrap_or_default();
    let line = entry["line"].as_str().map(|line| format!("  {line}")).unwrap_or_default();
    match (entry["ended_ms"].as_f64(), entry["result"].as_str()) {
        (Some(ended), Some(result)) => {
            let began = entry["started_ms"].as_f64().or(entry["at_ms"].as_f64()).unwrap_or(ended);
            format!("{at}  operation  {name}({detail}) = {result}, after {:.0} ms{line}", ended - began)
        }
        _ => format!("{at}  operation  {name}({detail}) …{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_finished_operation_shows_result_time_and_line() {
        let entry = json!({
            "at_ms": 20, "kind": "operation", "id": "1.0", "name": "play", "detail": "ivr/welcome.wav",
            "line": "menu.js:12:9", "started_ms": 21, "ended_ms": 1521, "result": "ok", "ok": true,
        });
        assert_eq!(entry_line(&entry), "    0.020  operation  play(ivr/welcome.wav) = ok, after 1500 ms  menu.js:12:9");
    }

    #[test]
    fn an_operation_that_runs_has_no_result() {
        let entry = json!({ "at_ms": 0, "kind": "operation", "name": "sleep", "detail": "5000" });
        assert_eq!(entry_line(&entry), "    0.000  operation  sleep(5000) …");
    }

    #[test]
    fn what_a_script_logs_stands_among_the_events_of_its_call() {
        let entry = json!({ "at_ms": 1500, "kind": "log", "level": "info", "text": "keyed 1", "line": "menu.js:3:1" });
        let event = json!({ "type": "log", "call": "0123456789ab", "entry": entry });
        assert_eq!(event_line(&event), "01234567    1.500  info       keyed 1 (menu.js:3:1)");
    }

    #[test]
    fn what_is_logged_or_set_makes_no_line_of_its_own() {
        let logged = json!({ "at_ms": 0, "kind": "log", "level": "info", "text": "a\n    9.999  ended\u{1b}[31m" });
        assert_eq!(entry_line(&logged), r"    0.000  info       a\n    9.999  ended\u{1b}[31m");
        let set = json!({ "at_ms": 0, "kind": "operation", "name": "set", "detail": "k, v\r\u{9b}2J" });
        assert_eq!(entry_line(&set), r"    0.000  operation  set(k, v\r\u{9b}2J) …");
        let event = json!({ "type": "call-started", "call": "0123456789ab", "from": "\"Al\u{7}\"", "to": "1", "script": "a" });
        assert_eq!(event_line(&event), r#"01234567  new call   "Al\u{7}" to 1, a"#);
    }

    #[test]
    fn as_many_calls_are_asked_for_as_are_wanted() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let asked = |words: &[&str]| {
            let line = <Line as clap::Parser>::try_parse_from([&["calls"][..], words].concat()).ok()?;
            Some(list_of(line.args.live, line.args.limit))
        };
        assert_eq!(asked(&[]).as_deref(), Some("/v1/calls?limit=100"));
        assert_eq!(asked(&["--live", "--limit", "7"]).as_deref(), Some("/v1/calls?state=live&limit=7"));
        assert_eq!(asked(&["--limit", "1001"]), None);
        assert_eq!([asked(&["--live", "id"]), asked(&["--live", "--follow"])], [None, None], "it would be left out of account");
    }

    #[test]
    fn ids_are_encoded_for_a_path() {
        assert_eq!(encode("a/b c?"), "a%2Fb%20c%3F");
    }
}
