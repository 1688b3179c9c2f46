//! `/v1/freeswitch`: the servers of `[[freeswitch]]`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::core::{EngineError, EngineHandle, Originate};
use crate::freeswitch::{Fleet, HostError};

pub(super) async fn list(State(state): State<AppState>) -> Response {
    let hosts = state.engine.freeswitch().map(Fleet::status).unwrap_or_default();
    Json(json!({ "hosts": hosts })).into_response()
}

pub(super) async fn registrations(State(state): State<AppState>, Path(host): Path<String>) -> Result<Response, ApiError> {
    let rows = fleet(&state.engine)?.registrations(&host).await?;
    Ok(Json(json!({ "registrations": rows })).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttachBody {
    call: String,
    script: String,
    host: Option<String>,
}

pub(super) async fn attach(State(state): State<AppState>, JsonBody(body): JsonBody<AttachBody>) -> Result<Response, ApiError> {
    let fleet = fleet(&state.engine)?;
    // Said while the call is still where it was: what we do not take is hung up.
    state.engine.would_take(&body.script).await.map_err(|error| match error {
        EngineError::NoSuchDestination(_) => ApiError::not_found("no_such_script", format!("no script {}", body.script)),
        other => other.into(),
    })?;
    fleet.attach(body.host.as_deref(), &body.call, &body.script).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": body.call }))).into_response())
}

/// Places a call whose target is `freeswitch:ENDPOINT`, or `freeswitch@HOST:ENDPOINT`; `None` when it is another one.
pub(super) async fn originate(engine: &EngineHandle, caller: &Caller, wanted: &Originate) -> Option<Result<String, ApiError>> {
    let rest = wanted.to.strip_prefix("freeswitch")?;
    let (host, target) = rest.split_once(':')?;
    // Its dialplan leads anywhere, whoever pays.
    if !caller.is_operator {
        return Some(Err(ApiError::forbidden(
            "calls on a [[freeswitch]] are placed with a key of the operator (account = \"*\")",
        )));
    }
    let host = match host {
        "" => None,
        host => Some(host.strip_prefix('@')?),
    };
    let place = async {
        let fleet = fleet(engine)?;
        engine.would_take(&wanted.destination).await?;
        Ok(fleet.originate(host, target, wanted).await?)
    };
    Some(place.await)
}

fn fleet(engine: &EngineHandle) -> Result<&Fleet, ApiError> {
    engine.freeswitch().ok_or_else(|| HostError::NoneConnected.into())
}
