//! `/v1/scripts`

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AppState;
use super::error::ApiError;

pub(super) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let scripts = state.engine.scripts().await?;
    Ok(Json(json!({ "scripts": scripts })).into_response())
}

pub(super) async fn roll_back(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, ApiError> {
    Ok(Json(state.engine.roll_back(&id).await?).into_response())
}
