//! `/v1/kv`

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::core::{KeyChange, KeyNotice};
use crate::store::kv::{self, Space};

const DEFAULT_LIST: usize = 100;
const MAX_LIST: usize = 10_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    value: String,
    ttl_s: Option<f64>,
}

pub(super) async fn list(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Listed { prefix, after, limit }) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let limit = limit.unwrap_or(DEFAULT_LIST).min(MAX_LIST);
    let keys = state.engine.platform().store.read(move |connection, now| {
        let bounds = (prefix.as_deref().unwrap_or_default(), after.as_deref());
        kv::keys(connection, now, &account, Space::Texts, bounds, limit)
    });
    Ok(Json(json!({ "keys": keys.await? })).into_response())
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    Path(key): Path<String>,
) -> Result<Response, ApiError> {
    let wanted = key.clone();
    let found =
        state.engine.platform().store.read(move |connection, now| kv::get(connection, now, &account, Space::Texts, &wanted));
    let entry = found.await?.ok_or_else(|| no_such_key(&key))?;
    Ok(Json(json!({ "key": key, "value": entry.value, "expires_ms": entry.expires_ms })).into_response())
}

pub(super) async fn put(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    Path(key): Path<String>,
    JsonBody(Put { value, ttl_s }): JsonBody<Put>,
) -> Result<StatusCode, ApiError> {
    let ttl_ms = ttl_s.map(kv::ttl_ms).transpose().map_err(|why| ApiError::bad_request(format!("ttl_s: {why}")))?;
    let platform = state.engine.platform();
    let (max_bytes, clock) = (platform.kv_bytes, platform.store.clock());
    let notice = platform.events.key_notice(clock, &account, (Space::Texts, &key), KeyChange::Set);
    let notice = notice.map(|notice| notice.showing(&value));
    let set = move |connection: &_, now| kv::set(connection, now, (&account, max_bytes), Space::Texts, &key, &value, ttl_ms);
    platform.store.write_then(set, |_| notice.into_iter().for_each(KeyNotice::tell)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove(
    State(state): State<AppState>,
    Extension(Caller { account, .. }): Extension<Caller>,
    Path(key): Path<String>,
) -> Result<StatusCode, ApiError> {
    let platform = state.engine.platform();
    let notice = platform.events.key_notice(platform.store.clock(), &account, (Space::Texts, &key), KeyChange::Deleted);
    let wanted = key.clone();
    let del = move |connection: &_, now| kv::del(connection, now, &account, Space::Texts, &wanted);
    let gone = platform.store.write_then(del, |gone| notice.filter(|_| *gone).into_iter().for_each(KeyNotice::tell));
    if gone.await? { Ok(StatusCode::NO_CONTENT) } else { Err(no_such_key(&key)) }
}

fn no_such_key(key: &str) -> ApiError {
    ApiError::not_found("no_such_key", format!("there is no key {key}"))
}
