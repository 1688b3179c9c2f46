//! `POST /v1/route`: the Class 4 hook for a SIP proxy in front.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;

use super::AppState;
use super::access::Caller;
use super::body::RawBody;
use super::error::ApiError;
use crate::class4::Class4;

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
    let data: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unprocessable(format!("expected the routing object as JSON: {error}"), Value::Null))?;
    if !data.is_object() {
        return Err(ApiError::unprocessable("expected the routing object, a JSON object", Value::Null));
    }
    let runs = state.engine.runs();
    if let Some(script) = &query.script {
        caller.program(runs, script)?;
    }
    let current = state.engine.platform().provisioning.current();
    let class4 = Class4::new(&current.routes, runs);
    let customer = data.pointer("/routing/account_id").and_then(Value::as_i64);
    // The routes and scripts that apply are the customer's.
    let account = customer.and_then(|id| current.account_of_customer(id));
    if !caller.is_operator && !account.is_some_and(|account| caller.sees(account)) {
        return Err(ApiError::forbidden("routing.account_id: expected a customer of the key's account"));
    }
    match class4.hook(data, query.script.as_deref()).await {
        Ok(data) => Ok(Json(data).into_response()),
        Err(rejection) => Err(ApiError::rejected(&rejection)),
    }
}
