//! `POST /v1/workers/{script}/messages`

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use lockstep_ctx_api::wire::ScriptType;
use serde_json::Value;
use serde_json::value::RawValue;

use super::AppState;
use super::access::Caller;
use super::body::{RawBody, parse_given};
use super::error::ApiError;
use super::path::Path;
use crate::bus::BusError;
use crate::runs::worker_topic;

/// Hands a message to a worker's `onMessage`.
pub(super) async fn message(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawBody(body): RawBody,
) -> Result<StatusCode, ApiError> {
    let message: Box<RawValue> = parse_given(&body)?;
    let program = caller.program(state.engine.runs(), &id)?;
    if program.script_type != ScriptType::Worker {
        return Err(ApiError::unprocessable(format!("{} is not of type worker", program.file), Value::Null));
    }
    let bus = &state.engine.platform().bus;
    let reached =
        bus.publish(&program.account, &worker_topic(&program.name), None, message.get()).map_err(|error| match error {
            BusError::Payload { .. } => ApiError::body_too_large(),
            BusError::Name { .. } | BusError::TooMany => ApiError::unprocessable(error.to_string(), Value::Null),
        })?;
    if reached == 0 {
        return Err(ApiError::worker_down(&program.name));
    }
    Ok(StatusCode::ACCEPTED)
}
