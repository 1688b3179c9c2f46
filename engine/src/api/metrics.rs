//! `/metrics`: Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::error::ApiError;
use crate::bus::BusStats;
use crate::core::{Metric, MetricKind};
use crate::freeswitch::{Fleet, HostStatus};
use crate::jobs::JobState;
use crate::log::lost_lines;
use crate::runs::RunsStats;

pub(super) async fn metrics(State(state): State<AppState>) -> Result<Response, ApiError> {
    // First, so that the journals they have handed over are among those that wait.
    let runs = state.engine.runs().stats().await;
    let mut metrics = state.engine.stats().await?.metrics;
    metrics.push(log());
    // Without them while the engine stops.
    if let Ok(runs) = runs {
        add_runs(&mut metrics, &runs);
    }
    metrics.extend(jobs(state.engine.platform().jobs.counts().await?));
    metrics.extend(bus(state.engine.platform().bus.stats()));
    metrics.extend(state.engine.freeswitch().map(Fleet::status).unwrap_or_default().iter().flat_map(of_host));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render(metrics)).into_response())
}

fn log() -> Metric {
    Metric {
        name: "lockstep_log_lines_lost_total",
        help: "Lines of the log that could not be written.",
        kind: MetricKind::Counter,
        labels: Vec::new(),
        value: lost_lines() as f64,
    }
}

/// Adds the runs outside calls to what scripts have done in calls, and those that have ended by their kinds.
fn add_runs(metrics: &mut Vec<Metric>, runs: &RunsStats) {
    let scripts = &runs.scripts;
    let failed: u64 = runs.ended.values().map(|ended| ended.failed).sum();
    for (name, value) in [
        ("lockstep_operations_total", runs.operations as f64),
        ("lockstep_operations_failed_total", runs.operations_failed as f64),
        ("lockstep_script_errors_total", failed as f64),
        ("lockstep_script_runs", scripts.runs as f64),
        ("lockstep_script_runs_unplaced", scripts.runs_unplaced as f64),
        ("lockstep_workers_ready", scripts.workers_ready as f64),
        ("lockstep_worker_deaths_total", scripts.worker_deaths as f64),
        ("lockstep_worker_kills_total", scripts.worker_kills as f64),
        ("lockstep_rebuilds_total", scripts.rebuilds as f64),
        ("lockstep_divergences_total", scripts.divergences as f64),
        ("lockstep_turns_total", scripts.turns as f64),
        ("lockstep_turn_cpu_seconds_total", scripts.turn_cpu_us as f64 / 1e6),
    ] {
        if let Some(metric) = metrics.iter_mut().find(|metric| metric.name == name) {
            metric.value += value;
        }
    }
    for (kind, ended) in &runs.ended {
        let metric = |name, help, value: u64| {
            let labels = vec![("kind", kind.name().to_owned())];
            Metric { name, help, kind: MetricKind::Counter, labels, value: value as f64 }
        };
        metrics.push(metric("lockstep_runs_ended_total", "Runs outside calls that have ended.", ended.all));
        metrics.push(metric(
            "lockstep_runs_failed_total",
            "Runs outside calls that ended with an error of their own, or took too long.",
            ended.failed,
        ));
    }
}

fn jobs(counts: [(JobState, u64); 4]) -> [Metric; 4] {
    counts.map(|(state, count)| Metric {
        name: "lockstep_jobs",
        help: "Jobs that have not ended.",
        kind: MetricKind::Gauge,
        labels: vec![("state", state.name().to_owned())],
        value: count as f64,
    })
}

fn bus(stats: BusStats) -> [Metric; 4] {
    let metric = |name, help, kind, value: f64| Metric { name, help, kind, labels: Vec::new(), value };
    [
        metric("lockstep_pubsub_subscriptions", "Subscriptions of scripts.", MetricKind::Gauge, stats.subscriptions as f64),
        metric("lockstep_pubsub_published_total", "Messages that were published.", MetricKind::Counter, stats.published as f64),
        metric(
            "lockstep_pubsub_delivered_total",
            "Messages that reached a subscriber.",
            MetricKind::Counter,
            stats.delivered as f64,
        ),
        metric(
            "lockstep_pubsub_dropped_total",
            "Messages that a subscriber lost because it was slower.",
            MetricKind::Counter,
            stats.dropped as f64,
        ),
    ]
}

/// What `[[freeswitch]]`s are like.
fn of_host(host: &HostStatus) -> [Metric; 2] {
    let metric =
        |name, help, value| Metric { name, help, kind: MetricKind::Gauge, labels: vec![("host", host.name.clone())], value };
    [
        metric(
            "lockstep_freeswitch_connected",
            "Whether the event socket of a FreeSWITCH is connected.",
            f64::from(u8::from(host.connected)),
        ),
        metric("lockstep_freeswitch_sessions", "Calls on a FreeSWITCH at its latest heartbeat.", host.sessions as f64),
    ]
}

fn render(mut metrics: Vec<Metric>) -> String {
    metrics.push(Metric {
        name: "lockstep_build_info",
        help: "The version that runs; always 1.",
        kind: MetricKind::Gauge,
        labels: vec![("version", env!("CARGO_PKG_VERSION").to_owned())],
        value: 1.0,
    });
    // The format wants all samples of a name together.
    metrics.sort_by_key(|metric| metric.name);
    let mut text = String::new();
    let mut previous = "";
    for metric in &metrics {
        if metric.name != previous {
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "# HELP {0} {1}\n# TYPE {0} {kind}\n", metric.name, escape(metric.help, false));
            previous = metric.name;
        }
        text.push_str(metric.name);
        if !metric.labels.is_empty() {
            let labels: Vec<String> =
                metric.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value, true))).collect();
            let _ = write!(text, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(text, " {}", number(metric.value));
    }
    text
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

fn number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{RunKind, RunsEnded};
    use crate::script::ScriptStats;

    fn metric(name: &'static str, labels: Vec<(&'static str, String)>, value: f64) -> Metric {
        Metric { name, help: "Help.", kind: MetricKind::Counter, labels, value }
    }

    #[test]
    fn samples_of_one_name_stand_together_under_one_head() {
        let text = render(vec![
            metric("lockstep_b_total", vec![("op", "play".to_owned())], 2.0),
            metric("lockstep_a", vec![], 0.25),
            metric("lockstep_b_total", vec![("op", "say \"x\"\\\n".to_owned())], 3.0),
        ]);
        let expected = "# HELP lockstep_a Help.\n# TYPE lockstep_a counter\nlockstep_a 0.25\n\
                        # HELP lockstep_b_total Help.\n# TYPE lockstep_b_total counter\n\
                        lockstep_b_total{op=\"play\"} 2\nlockstep_b_total{op=\"say \\\"x\\\"\\\\\\n\"} 3\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("lockstep_build_info{version="));
    }

    #[test]
    fn runs_outside_calls_count_with_those_of_calls() {
        let mut metrics =
            vec![metric("lockstep_worker_deaths_total", vec![], 2.0), metric("lockstep_script_errors_total", vec![], 1.0)];
        let ended = [(RunKind::Hook, RunsEnded { all: 5, failed: 3 }), (RunKind::Job, RunsEnded { all: 1, failed: 1 })].into();
        let scripts = ScriptStats { worker_deaths: 1, ..ScriptStats::default() };
        add_runs(&mut metrics, &RunsStats { scripts, ended, ..RunsStats::default() });
        let text = render(metrics);
        for line in [
            "lockstep_worker_deaths_total 3",
            "lockstep_script_errors_total 5",
            "lockstep_runs_ended_total{kind=\"hook\"} 5",
            "lockstep_runs_failed_total{kind=\"job\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn odd_numbers_are_spelled_as_the_format_wants() {
        assert_eq!(number(f64::INFINITY), "+Inf");
        assert_eq!(number(f64::NAN), "NaN");
        assert_eq!(number(3.0), "3");
    }
}
