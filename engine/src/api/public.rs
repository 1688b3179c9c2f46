//! `GET|POST /f/{uuid}/{fn?}`: functions that anybody may call.
//!
//! What goes wrong is told only as far as the script meant it to be: no messages of exceptions, no names, no lines.

use std::sync::Arc;

use axum::Json;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::AppState;
use super::answer;
use super::error::ApiError;
use super::path::Path;
use super::websocket;
use crate::config::Public;
use crate::form::{self, Fields};
use crate::host::Scratch;
use crate::runs::{RunError, RunKind, RunRequest};
use crate::script::Program;

/// What axum finds of a WebSocket in a request.
type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

pub(super) async fn main(state: State<AppState>, Path(id): Path<String>, upgrade: Upgrade, request: Request) -> Response {
    match upgrade {
        Ok(upgrade) => connect(&state, &id, upgrade, &request).unwrap_or_else(IntoResponse::into_response),
        Err(_) => respond(state, &id, None, request).await,
    }
}

fn connect(state: &AppState, uuid: &str, upgrade: WebSocketUpgrade, request: &Request) -> Result<Response, ApiError> {
    let runs = state.engine.runs();
    if runs.is_stopped() {
        return Err(ApiError::from(&RunError::Stopped));
    }
    let programs = runs.programs();
    let program = programs.by_name(uuid).filter(|program| program.uuid == uuid.to_lowercase());
    let is_open = |program: &&Arc<Program>| is_public(program, "onData") || is_public(program, "main");
    let program = program.filter(is_open).ok_or_else(ApiError::no_public_function)?;
    websocket::accept(runs, &state.public_websockets, program, request.uri().query(), upgrade)
}

pub(super) async fn function(state: State<AppState>, Path((id, function)): Path<(String, String)>, request: Request) -> Response {
    respond(state, &id, Some(function), request).await
}

async fn respond(State(state): State<AppState>, uuid: &str, function: Option<String>, request: Request) -> Response {
    match call(&state, uuid, function, request).await {
        Ok(response) => response,
        Err(Refusal::Before(error)) => error.into_response(),
        Err(Refusal::Run(error)) => failed(&error),
    }
}

enum Refusal {
    Before(ApiError),
    Run(RunError),
}

impl<T: Into<ApiError>> From<T> for Refusal {
    fn from(error: T) -> Self {
        Self::Before(error.into())
    }
}

async fn call(state: &AppState, uuid: &str, function: Option<String>, request: Request) -> Result<Response, Refusal> {
    let runs = state.engine.runs();
    if runs.is_stopped() {
        return Err(Refusal::Run(RunError::Stopped));
    }
    let programs = runs.programs();
    let program = programs.by_name(uuid).filter(|program| program.uuid == uuid.to_lowercase());
    let wanted = function.as_deref().unwrap_or("main");
    // One that is there and not public is not there.
    let program = program.filter(|program| is_public(program, wanted)).ok_or_else(ApiError::no_public_function)?;
    let mut fields = Fields::default();
    fields
        .extend_urlencoded(request.uri().query().unwrap_or_default().as_bytes())
        .map_err(|error| ApiError::bad_request(format!("the query has {error}")))?;
    let scratch = Scratch::default();
    let data = match *request.method() {
        Method::POST => form::read(request, state.form_limits, &scratch).await?.after(&fields),
        _ => fields.into_json(),
    };
    let mut request =
        RunRequest::new(program.uuid.clone(), RunKind::Public, data).of_account(program.account.as_str()).function(function);
    request.scratch = scratch;
    match runs.run(request).await {
        Ok(success) => Ok(answer::page(success.result)),
        Err(failure) => Err(Refusal::Run(failure.error)),
    }
}

fn is_public(program: &Program, function: &str) -> bool {
    match &program.settings.public {
        None | Some(Public::All(false)) => false,
        // What begins so is no function of the script, but a way to serve it.
        Some(Public::All(true)) => !function.starts_with('@'),
        Some(Public::Functions(functions)) => functions.iter().any(|public| public == function),
    }
}

/// The status a script threw; of anything else only that it went wrong.
fn failed(error: &RunError) -> Response {
    if error.is_no_function() {
        return ApiError::no_public_function().into_response();
    }
    let (code, text) = match error {
        RunError::TimedOut { .. } | RunError::TimedOutWaiting { .. } => (504, "Gateway Timeout".to_owned()),
        RunError::Busy { .. } => (429, "Too Many Requests".to_owned()),
        error => error.sip(),
    };
    let status = match code {
        600.. => StatusCode::FORBIDDEN,
        code => StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    };
    let mut response = (status, Json(json!({ "error": { "code": status.as_u16(), "message": text } }))).into_response();
    let headers = response.headers_mut();
    if status.is_redirection()
        && let Ok(location) = HeaderValue::from_str(&text)
    {
        headers.insert(header::LOCATION, location);
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_is_told_from_what_is_not_there() {
        let busy = failed(&RunError::Busy { waiting: 1_000 });
        assert_eq!((busy.status(), &busy.headers()[header::RETRY_AFTER]), (StatusCode::TOO_MANY_REQUESTS, &"5".parse().unwrap()));
        assert_eq!(failed(&RunError::Stopped).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
