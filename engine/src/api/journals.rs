//! `/v1/calls/{id}/journal`, and what the disk knows of calls that memory has forgotten.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lockstep_ctx_api::journal::{Journal, lines};
use lockstep_ctx_api::wire::Bundle;
use serde::Deserialize;

use super::AppState;
use super::access::Caller;
use super::error::ApiError;
use super::path::Path;
use crate::core::EngineError;
use crate::journals::{Redaction, Stored};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalQuery {
    #[serde(default)]
    sources: bool,
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let in_memory = match state.engine.journal(&id).await {
        Ok(call) if !caller.sees(&call.account) => return Err(EngineError::NoSuchCall(id).into()),
        Ok(call) => Some(call),
        Err(EngineError::NoSuchCall(_)) => None,
        Err(error) => return Err(error.into()),
    };
    if let Some(call) = &in_memory
        && let Some(journal) = &call.journal
        && (call.bundle.is_some() || !query.sources)
    {
        return Ok(answer(&state, Arc::clone(journal), call.bundle.clone().filter(|_| query.sources)).await);
    }
    match stored(&state, &caller, &id, query.sources).await {
        Ok(Stored { journal: Some(journal), bundle, .. }) => Ok(answer(&state, Arc::new(journal), bundle.map(Arc::new)).await),
        Ok(_) => Ok(text(String::new())),
        // A call that had no script.
        Err(_) if in_memory.is_some() => Ok(text(String::new())),
        Err(error) => Err(error),
    }
}

/// Of a run outside calls, where it was kept.
pub(super) async fn show_run(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<JournalQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let found = state.engine.platform().journals.find(&id, query.sources).await?;
    match found.filter(|found| caller.sees(&found.account)) {
        Some(Stored { journal: Some(journal), bundle, .. }) => Ok(answer(&state, Arc::new(journal), bundle.map(Arc::new)).await),
        Some(_) | None => Err(ApiError::not_found("no_journal", format!("no journal of a run {id} is kept"))),
    }
}

/// What the disk knows of a call of the caller's account.
pub(super) async fn stored(state: &AppState, caller: &Caller, id: &str, sources: bool) -> Result<Stored, ApiError> {
    let found = state.engine.platform().journals.find(id, sources).await?;
    found.filter(|found| caller.sees(&found.account)).ok_or_else(|| EngineError::NoSuchCall(id.to_owned()).into())
}

async fn answer(state: &AppState, journal: Arc<Journal>, bundle: Option<Arc<Bundle>>) -> Response {
    let provisioned = state.engine.platform().provisioning.current();
    // A megabyte takes a while to write out: other requests go on meanwhile.
    let rendered = tokio::task::spawn_blocking(move || {
        let redaction = Redaction::of(&provisioned.config).for_journal(&journal, bundle.as_deref());
        lines::render_with(&journal, bundle.as_deref(), Some(&redaction))
    });
    text(rendered.await.unwrap_or_default())
}

fn text(lines: String) -> Response {
    ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response()
}
