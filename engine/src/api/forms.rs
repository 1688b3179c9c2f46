//! `POST /v1/forms/{script}`: a web page's form, answered by a script.

use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use serde::Deserialize;

use super::AppState;
use super::access::Caller;
use super::answer;
use super::error::ApiError;
use super::path::Path;
use crate::form;
use crate::host::Scratch;
use crate::runs::{RunKind, RunRequest};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormQuery {
    #[serde(rename = "fn")]
    function: Option<String>,
}

pub(super) async fn submit(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<FormQuery>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let program = caller.program(state.engine.runs(), &id)?;
    let scratch = Scratch::default();
    let data = form::read(request, state.form_limits, &scratch).await?;
    let mut request = RunRequest::named(program.name.as_str(), RunKind::Form, data.into_json())
        .of_account(program.account.as_str())
        .function(query.function);
    request.scratch = scratch;
    match state.engine.runs().run(request).await {
        Ok(success) => Ok(answer::page(success.result)),
        Err(failure) => Err(ApiError::from(&failure.error)),
    }
}
