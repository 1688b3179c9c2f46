//! `/v1/scripts`

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use super::AppState;
use super::access::Caller;
use super::error::ApiError;

pub(super) async fn list(State(state): State<AppState>, Extension(caller): Extension<Caller>) -> Result<Response, ApiError> {
    let mut scripts = state.engine.scripts().await?;
    scripts.retain(|script| caller.sees(&script.account));
    Ok(Json(json!({ "scripts": scripts })).into_response())
}

pub(super) async fn roll_back(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    caller.program(state.engine.runs(), &id)?;
    Ok(Json(state.engine.roll_back(&id).await?).into_response())
}
