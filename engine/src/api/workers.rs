//! `POST /v1/workers/{script}/messages`

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use lockstep_ctx_api::wire::ScriptType;
use serde_json::Value;

use super::AppState;
use super::error::ApiError;
use crate::runs::{RunError, worker_topic};

/// Hands a message to a worker's `onMessage`.
pub(super) async fn message(State(state): State<AppState>, Path(id): Path<String>, body: Bytes) -> Result<StatusCode, ApiError> {
    let runs = state.engine.runs();
    if runs.is_stopped() {
        return Err(ApiError::from(&RunError::Stopped));
    }
    let programs = runs.programs();
    let program = programs.by_name(&id).ok_or_else(|| ApiError::from(&RunError::NoSuchScript(id)))?;
    if program.script_type != ScriptType::Worker {
        return Err(ApiError::unprocessable(format!("{} is not of type worker", program.file), Value::Null));
    }
    let message: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unprocessable(format!("expected a message in JSON: {error}"), Value::Null))?;
    let bus = &state.engine.platform().bus;
    let reached = bus
        .publish(&program.account, &worker_topic(&program.name), None, &message.to_string())
        .map_err(|error| ApiError::unprocessable(error.to_string(), Value::Null))?;
    if reached == 0 {
        return Err(ApiError::worker_down(&program.name));
    }
    Ok(StatusCode::ACCEPTED)
}
