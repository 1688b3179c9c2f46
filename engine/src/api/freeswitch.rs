//! `/v1/freeswitch`: the servers of `[[freeswitch]]`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::error::ApiError;
use crate::core::Originate;
use crate::freeswitch::{Fleet, HostError};

pub(super) async fn list(State(state): State<AppState>) -> Response {
    let hosts = state.engine.freeswitch().map(Fleet::status).unwrap_or_default();
    Json(json!({ "hosts": hosts })).into_response()
}

pub(super) async fn registrations(State(state): State<AppState>, Path(host): Path<String>) -> Result<Response, ApiError> {
    let rows = fleet(&state)?.registrations(&host).await?;
    Ok(Json(json!({ "registrations": rows })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttachBody {
    call: String,
    script: String,
    host: Option<String>,
}

pub(super) async fn attach(State(state): State<AppState>, body: Bytes) -> Result<Response, ApiError> {
    let body: AttachBody = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unprocessable(error.to_string(), json!({ "line": error.line(), "column": error.column() })))?;
    fleet(&state)?.attach(body.host.as_deref(), &body.call, &body.script).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": body.call }))).into_response())
}

/// Places a call whose target is `freeswitch:ENDPOINT`, or `freeswitch@HOST:ENDPOINT`; `None` when it is another one.
pub(super) async fn originate(state: &AppState, wanted: &Originate) -> Option<Result<String, ApiError>> {
    let rest = wanted.to.strip_prefix("freeswitch")?;
    let (host, target) = rest.split_once(':')?;
    let host = match host {
        "" => None,
        host => Some(host.strip_prefix('@')?),
    };
    let place = async { Ok(fleet(state)?.originate(host, target, wanted).await?) };
    Some(place.await)
}

fn fleet(state: &AppState) -> Result<&Fleet, ApiError> {
    state.engine.freeswitch().ok_or_else(|| HostError::NoneConnected.into())
}
