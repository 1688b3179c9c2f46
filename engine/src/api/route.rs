//! `POST /v1/route`: the Class 4 hook for a SIP proxy in front.

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::AppState;
use super::access::Caller;
use super::body::RawBody;
use super::error::ApiError;
use crate::class4::{Class4, Given};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteQuery {
    script: Option<String>,
}

pub(super) async fn route(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<RouteQuery>, axum::extract::rejection::QueryRejection>,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let given =
        std::str::from_utf8(&body).ok().and_then(|text| Given::read(text).ok()).ok_or_else(|| no_routing_object(&body))?;
    let runs = state.engine.runs();
    if let Some(script) = &query.script {
        caller.program(runs, script)?;
    }
    let current = state.engine.platform().provisioning.current();
    let class4 = Class4::new(&current.routes, runs);
    let asker = caller.only();
    // The routes, scripts and variables that apply are the customer's.
    if asker.as_ref().is_some_and(|account| !class4.is_of(account, &given)) {
        return Err(ApiError::forbidden(
            "routing.account_id: expected a customer of the key's account, or none for one of its DIDs",
        ));
    }
    match class4.hook(given, query.script.as_deref(), asker.as_deref()).await {
        Ok(data) => Ok(([(CONTENT_TYPE, "application/json")], data.print()).into_response()),
        Err(rejection) => Err(ApiError::rejected(&rejection)),
    }
}

/// Says what is wrong with a body.
fn no_routing_object(body: &[u8]) -> ApiError {
    match super::body::parse::<IgnoredAny>(body) {
        Ok(_) => ApiError::unprocessable("expected the routing object, a JSON object", Value::Null),
        Err(error) => error.expected("the routing object as JSON"),
    }
}
