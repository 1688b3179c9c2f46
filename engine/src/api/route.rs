//! `POST /v1/route`: the Class 4 hook for a SIP proxy in front.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use super::AppState;
use super::error::ApiError;
use crate::class4::Class4;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteQuery {
    script: Option<String>,
}

pub(super) async fn route(
    State(state): State<AppState>,
    query: Result<Query<RouteQuery>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let data: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unprocessable(format!("expected the routing object as JSON: {error}"), Value::Null))?;
    if !data.is_object() {
        return Err(ApiError::unprocessable("expected the routing object, a JSON object", Value::Null));
    }
    let runs = state.engine.runs();
    if let Some(script) = &query.script
        && runs.programs().by_name(script).is_none()
    {
        return Err(ApiError::from(&crate::runs::RunError::NoSuchScript(script.clone())));
    }
    let class4 = Class4::new(&state.engine.platform().routes, runs);
    match class4.hook(data, query.script.as_deref()).await {
        Ok(data) => Ok(Json(data).into_response()),
        Err(rejection) => Err(ApiError::rejected(&rejection)),
    }
}
