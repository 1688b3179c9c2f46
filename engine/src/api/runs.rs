//! `/v1/scripts/{id}/run` and `/v1/runs`

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream;
use lockstep_ctx_api::wire::LogLine;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::runs::{RunFailure, RunKind, RunLog, RunRequest, RunSuccess, RunsError, RunsHandle};

/// Lines that may wait for a client that reads slowly; past it, it misses some.
const LINES: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    #[serde(rename = "fn")]
    function: Option<String>,
    data: Option<Box<RawValue>>,
    timeout_ms: Option<u64>,
}

pub(super) async fn run(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Response, ApiError> {
    if wanted.timeout_ms == Some(0) {
        return Err(ApiError::bad_request("timeout_ms: expected at least 1, found 0"));
    }
    let data = wanted.data.map_or_else(|| "{}".to_owned(), |data| data.get().to_owned());
    let program = caller.program(state.engine.runs(), &id)?;
    let request = RunRequest::named(program.name.as_str(), RunKind::Api, data)
        .of_account(program.account.as_str())
        .function(wanted.function)
        .timeout(wanted.timeout_ms.map(Duration::from_millis));
    let runs = state.engine.runs().clone();
    if wants_events(&headers) {
        return Ok(Sse::new(events(runs, request)).keep_alive(KeepAlive::default()).into_response());
    }
    match runs.run(request).await {
        Ok(success) => Ok(Json(succeeded(&success, true)).into_response()),
        Err(failure) => Err(ApiError::from(&failure.error).with_log(log_lines(&failure.log))),
    }
}

pub(super) async fn list(State(state): State<AppState>, Extension(caller): Extension<Caller>) -> Result<Response, ApiError> {
    let mut runs = state.engine.runs().list().await?;
    runs.retain(|run| caller.sees(&run.account));
    Ok(Json(json!({ "runs": runs })).into_response())
}

pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let listed = state.engine.runs().list().await?;
    if !listed.iter().any(|run| *run.run == *id && caller.sees(&run.account)) {
        return Err(RunsError::NoSuchRun(id).into());
    }
    state.engine.runs().cancel(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether `Accept` names the type of event streams (RFC 9110 12.5.1). A wildcard is no wish for them; a weight of 0 refuses them.
fn wants_events(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accept.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_refusal = |parameter: &str| {
            let (name, weight) = parameter.split_once('=').unwrap_or_default();
            name.trim().eq_ignore_ascii_case("q") && weight.trim().parse::<f64>().is_ok_and(|weight| weight <= 0.0)
        };
        parts.next().is_some_and(|media| media.eq_ignore_ascii_case("text/event-stream")) && !parts.any(is_refusal)
    })
}

/// Where a stream of events has got to.
enum Streaming {
    Begun(Box<RunRequest>),
    Running {
        lines: mpsc::Receiver<LogLine>,
        run: BoxFuture<'static, Result<RunSuccess, RunFailure>>,
    },
    /// The run has ended; lines may be left.
    Ended {
        lines: mpsc::Receiver<LogLine>,
        last: Box<Event>,
    },
    Over,
}

/// `run`, `log` …, then `result` or `error`. Dropping the stream ends the run.
fn events(runs: RunsHandle, request: RunRequest) -> impl Stream<Item = Result<Event, Infallible>> {
    let begun = (runs, Streaming::Begun(Box::new(request)));
    stream::unfold(begun, async |(runs, at)| {
        let (event, next) = match at {
            Streaming::Begun(mut request) => {
                let event = event("run", &json!({ "run": request.id }));
                let (written, lines) = mpsc::channel(LINES);
                request.lines = Some(written);
                let own = runs.clone();
                let run = Box::pin(async move { own.run(*request).await });
                (event, Streaming::Running { lines, run })
            }
            Streaming::Running { mut lines, mut run } => {
                tokio::select! {
                    biased;
                    Some(line) = lines.recv() => (event("log", &log_line(&line)), Streaming::Running { lines, run }),
                    end = &mut run => {
                        let last = match end {
                            Ok(success) => event("result", &succeeded(&success, false)),
                            Err(failure) => event("error", &ApiError::from(&failure.error).body()),
                        };
                        next_line(lines, Box::new(last))
                    }
                }
            }
            Streaming::Ended { lines, last } => next_line(lines, last),
            Streaming::Over => return None,
        };
        Some((Ok(event), (runs, next)))
    })
}

/// What the script wrote comes before how it ended.
fn next_line(mut lines: mpsc::Receiver<LogLine>, last: Box<Event>) -> (Event, Streaming) {
    match lines.try_recv() {
        Ok(line) => (event("log", &log_line(&line)), Streaming::Ended { lines, last }),
        Err(_) => (*last, Streaming::Over),
    }
}

fn event(name: &str, data: &impl Serialize) -> Event {
    // JSON of our own, which prints.
    Event::default().event(name).data(serde_json::to_string(data).unwrap_or_default())
}

/// A run that gave a result, as it is shown.
#[derive(Debug, Serialize)]
struct Succeeded<'a> {
    run: &'a str,
    /// As the script has it, however deeply it is nested.
    result: Option<&'a RawValue>,
    took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_dropped: Option<u64>,
}

fn succeeded(success: &RunSuccess, with_log: bool) -> Succeeded<'_> {
    Succeeded {
        run: &success.run,
        // The runtime wrote it, so it is JSON.
        result: success.result.as_deref().and_then(|result| serde_json::from_str(result).ok()),
        took_ms: success.took.as_secs_f64() * 1_000.0,
        log: with_log.then(|| log_lines(&success.log)),
        log_dropped: Some(success.log.dropped).filter(|dropped| *dropped > 0),
    }
}

fn log_lines(log: &RunLog) -> Value {
    log.lines.iter().map(log_line).collect()
}

fn log_line(line: &LogLine) -> Value {
    let mut shown = json!({ "level": line.level, "text": line.text });
    if let Some(at) = &line.at {
        shown["file"] = json!(at.file);
        shown["line"] = json!(at.line);
        shown["column"] = json!(at.column);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_wanted_where_accept_names_them_and_does_not_refuse_them() {
        let wants = |accept: &str| wants_events(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]));
        for wanted in ["text/event-stream", "Text/Event-Stream; q=0.1", "application/json;q=0, text/event-stream"] {
            assert!(wants(wanted), "{wanted}");
        }
        for unwanted in
            ["text/event-stream;q=0", "application/json, text/event-stream; Q = 0.000", "*/*", "text/event-streams", ""]
        {
            assert!(!wants(unwanted), "{unwanted}");
        }
    }
}
