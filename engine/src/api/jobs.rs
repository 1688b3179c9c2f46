//! `/v1/jobs` and `/v1/queues`

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::jobs::{Job, JobFilter, JobState, MAX_ATTEMPTS, MAX_MS, MAX_PRIORITY, NewJob};

const DEFAULT_LIST: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    state: Option<String>,
    queue: Option<String>,
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Jobs {
    jobs: Vec<Job>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    script: ScriptId,
    #[serde(rename = "fn")]
    function: Option<String>,
    data: Option<Box<RawValue>>,
    attempts: Option<u32>,
    backoff_ms: Option<u32>,
    delay_ms: Option<u64>,
    priority: Option<u32>,
    timeout_ms: Option<u64>,
    queue: Option<String>,
}

/// How a script is named: its number, or a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ScriptId {
    Number(u32),
    Text(String),
}

pub(super) async fn list(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(listed) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let wanted = match &listed.state {
        None => None,
        Some(name) => Some(
            JobState::parse(name).ok_or_else(|| ApiError::bad_request(format!("expected the state of a job, found `{name}`")))?,
        ),
    };
    let filter = JobFilter { state: wanted, queue: listed.queue, before: listed.before };
    let jobs = state.engine.platform().jobs.list(&account, filter, listed.limit.unwrap_or(DEFAULT_LIST)).await?;
    Ok(Json(Jobs { jobs }).into_response())
}

pub(super) async fn add(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    JsonBody(wanted): JsonBody<Wanted>,
) -> Result<Response, ApiError> {
    if wanted.function.as_deref() == Some("") {
        return Err(ApiError::bad_request("fn: expected the name of a function, found an empty text"));
    }
    for (key, value, within) in [
        ("attempts", wanted.attempts.map(u64::from), 0..=MAX_ATTEMPTS.into()),
        ("delay_ms", wanted.delay_ms, 0..=MAX_MS),
        ("timeout_ms", wanted.timeout_ms, 1..=MAX_MS),
        ("priority", wanted.priority.map(u64::from), 0..=MAX_PRIORITY.into()),
    ] {
        if let Some(value) = value.filter(|value| !within.contains(value)) {
            let (least, most) = within.into_inner();
            return Err(ApiError::bad_request(format!("{key}: expected {least} to {most}, found {value}")));
        }
    }
    let jobs = &state.engine.platform().jobs;
    let script = match wanted.script {
        ScriptId::Number(number) => number.to_string(),
        ScriptId::Text(text) => text,
    };
    let script = jobs.script(&account, &script).map_err(|error| ApiError::from(error).named("no_such_script"))?;
    let data = wanted.data.map_or_else(|| "{}".to_owned(), |data| data.get().to_owned());
    let default = NewJob::new(account.clone(), script, data);
    let new = NewJob {
        function: wanted.function.filter(|function| function != "main"),
        attempts: wanted.attempts.unwrap_or(1).max(1),
        backoff_ms: wanted.backoff_ms.map_or(default.backoff_ms, u64::from),
        delay_ms: wanted.delay_ms.unwrap_or_default(),
        priority: wanted.priority.unwrap_or_default(),
        timeout_ms: wanted.timeout_ms,
        queue: wanted.queue.unwrap_or_else(|| default.queue.clone()),
        ..default
    };
    let id = jobs.add(new).await?;
    Ok((StatusCode::CREATED, Json(jobs.job(&account, id).await?)).into_response())
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    id: Result<Path<i64>, ApiError>,
) -> Result<Response, ApiError> {
    let id = number(id)?;
    let found = state.engine.platform().jobs.job(&account, id).await?;
    let job = found.ok_or_else(|| ApiError::not_found("not_found", format!("there is no job {id}")))?;
    Ok(Json(job).into_response())
}

pub(super) async fn retry(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    id: Result<Path<i64>, ApiError>,
) -> Result<Response, ApiError> {
    Ok(Json(state.engine.platform().jobs.retry(&account, number(id)?).await?).into_response())
}

pub(super) async fn cancel(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    id: Result<Path<i64>, ApiError>,
) -> Result<Response, ApiError> {
    Ok(Json(state.engine.platform().jobs.cancel(&account, number(id)?).await?).into_response())
}

pub(super) async fn pause(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    Path(queue): Path<String>,
) -> Result<StatusCode, ApiError> {
    state.engine.platform().jobs.pause(&account, &queue).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn resume(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    Path(queue): Path<String>,
) -> Result<StatusCode, ApiError> {
    state.engine.platform().jobs.resume(&account, &queue).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn number(id: Result<Path<i64>, ApiError>) -> Result<i64, ApiError> {
    id.map(|Path(id)| id).map_err(|_| ApiError::bad_request("expected the number of a job"))
}
