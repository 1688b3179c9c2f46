//! `/v1/health`, `/v1/ready`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AppState;
use super::error::ApiError;

/// Answers as long as the core does: asking it is the test.
pub(super) async fn health(State(state): State<AppState>) -> Result<Response, ApiError> {
    state.engine.readiness().await?;
    Ok(Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })).into_response())
}

pub(super) async fn ready(State(state): State<AppState>) -> Result<Response, ApiError> {
    let readiness = state.engine.readiness().await?;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!(readiness);
    // A media server that is away stops nothing here but what goes through it.
    if let Some(fleet) = state.engine.freeswitch() {
        body["freeswitch"] = json!(fleet.status());
    }
    Ok((status, Json(body)).into_response())
}
