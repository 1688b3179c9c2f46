//! `lockstep jobs`

use std::process::ExitCode;

use serde_json::{Value, json};

use super::calls::encode;
use super::client::{Ask, print_json};
use super::run::read_data;
use super::{finish, out};
use crate::log::on_one_line;

/// List jobs, show one, add, retry or cancel, and pause or resume a queue.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print jobs as they come, run and end.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// The newest jobs.
    List {
        /// waiting, prioritized, delayed, active, completed, failed or paused.
        #[arg(long)]
        state: Option<String>,
        #[arg(long)]
        queue: Option<String>,
        /// How many are listed at most.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Everything about one job.
    Show { id: u64 },
    /// Have a script run as a job.
    Add {
        script: String,
        /// Exported function to call instead of `main`.
        #[arg(long = "fn", value_name = "NAME")]
        function: Option<String>,
        /// Its argument: JSON, or @FILE for a file that holds it.
        #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
        data: String,
        /// How often it is tried.
        #[arg(long, default_value_t = 1)]
        attempts: u32,
        /// Milliseconds before its first try.
        #[arg(long, default_value_t = 0)]
        delay_ms: u64,
        /// 1 comes before 2; 0, none, comes first.
        #[arg(long, default_value_t = 0)]
        priority: u32,
    },
    /// Run a failed job again.
    Retry { id: u64 },
    /// End a job.
    Cancel { id: u64 },
    /// Hold back a queue.
    Pause { queue: String },
    /// Let a queue go on.
    Resume { queue: String },
}

pub(super) fn run(args: &Args) -> ExitCode {
    finish(work(args))
}

async fn work(args: &Args) -> Result<(), String> {
    if args.follow {
        return args.ask.follow("job", line).await;
    }
    let latest = Action::List { state: None, queue: None, limit: 100 };
    let target = &args.ask.target;
    let answer = match args.action.as_ref().unwrap_or(&latest) {
        Action::List { state, queue, limit } => {
            let mut query = format!("/v1/jobs?limit={limit}");
            for (name, value) in [("state", state), ("queue", queue)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", encode(value)));
                }
            }
            args.ask.show(&target.get(&query).await?, print_table);
            return Ok(());
        }
        Action::Show { id } => {
            print_json(&target.get(&format!("/v1/jobs/{id}")).await?);
            return Ok(());
        }
        Action::Add { script, function, data, attempts, delay_ms, priority } => {
            let data: Value =
                serde_json::from_str(&read_data(data)?).map_err(|error| format!("--data: expected JSON: {error}"))?;
            let job = json!({
                "script": script, "fn": function, "data": data, "attempts": attempts, "delay_ms": delay_ms, "priority": priority,
            });
            target.post_json("/v1/jobs", &job).await?
        }
        Action::Retry { id } => target.post(&format!("/v1/jobs/{id}/retry")).await?,
        Action::Cancel { id } => target.post(&format!("/v1/jobs/{id}/cancel")).await?,
        Action::Pause { queue } => target.post(&format!("/v1/queues/{}/pause", encode(queue))).await?,
        Action::Resume { queue } => target.post(&format!("/v1/queues/{}/resume", encode(queue))).await?,
    };
    args.ask.show(&answer, |answer| {
        if answer["id"].is_i64() {
            out::line(line(answer));
        }
    });
    Ok(())
}

fn print_table(jobs: &Value) {
    let jobs = jobs["jobs"].as_array().map(Vec::as_slice).unwrap_or_default();
    if jobs.is_empty() {
        out::line("no jobs");
        return;
    }
    out::line(format!("{:>10}  {:<11}  {:<24}  {:<16}  {:>5}  ERROR", "JOB", "STATE", "SCRIPT", "FUNCTION", "TRIES"));
    jobs.iter().for_each(|job| out::line(line(job)));
}

fn line(job: &Value) -> String {
    let text = |key: &str| job[key].as_str().unwrap_or_default();
    let (id, tries) = (job["id"].to_string(), format!("{}/{}", job["attempt"], job["attempts"]));
    let function = job["fn"].as_str().unwrap_or("main");
    let line = format!("{id:>10}  {:<11}  {:<24}  {function:<16}  {tries:>5}  {}", text("state"), text("script"), text("error"));
    on_one_line(line.trim_end())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_list_has_as_many_jobs_as_a_page() {
        let is_taken = |limit: &str| Line::try_parse_from(["jobs", "list", "--limit", limit]).is_ok();
        assert_eq!(["0", "1", "1000", "1001"].map(is_taken), [false, true, true, false]);
    }

    #[tokio::test]
    async fn the_data_of_a_job_may_be_in_a_file() {
        let line = Line::parse_from(["jobs", "add", "work", "--data", "@no-such-file.json"]);
        let error = work(&line.args).await.unwrap_err();
        assert!(error.starts_with("--data: no-such-file.json: "), "{error}");
    }

    #[test]
    fn a_job_is_one_line() {
        let job =
            json!({ "id": 7, "state": "failed", "script": "rss", "fn": null, "attempt": 2, "attempts": 3, "error": "no\nroute" });
        assert_eq!(line(&job), r"         7  failed       rss                       main                2/3  no\nroute");
    }
}
