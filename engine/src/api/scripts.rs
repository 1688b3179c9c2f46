//! `/v1/scripts`

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AppState;
use super::error::ApiError;

pub(super) async fn list(State(state): State<AppState>) -> Result<Response, ApiError> {
    let scripts = state.engine.scripts().await?;
    Ok(Json(json!({ "scripts": scripts })).into_response())
}
