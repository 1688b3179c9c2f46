//! `POST /v1/drivers/{script}/{fn}`

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lockstep_ctx_api::wire::ScriptType;
use serde_json::Value;

use super::AppState;
use super::access::Caller;
use super::body::RawBody;
use super::error::ApiError;
use super::path::Path;
use crate::form::without_mark;
use crate::runs::{RunKind, RunRequest};

pub(super) async fn call(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path((id, function)): Path<(String, String)>,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let runs = state.engine.runs();
    let program = caller.program(runs, &id)?;
    if program.script_type != ScriptType::Driver {
        return Err(ApiError::unprocessable(format!("{} is not of type driver", program.file), Value::Null));
    }
    let data = argument(&body)?;
    let request = RunRequest::named(program.name.as_str(), RunKind::Driver, data)
        .of_account(program.account.as_str())
        .function(Some(function));
    match runs.run(request).await {
        Ok(success) => {
            let json = success.result.unwrap_or_else(|| "null".to_owned());
            Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
        }
        Err(failure) => Err(ApiError::from(&failure.error)),
    }
}

/// A driver's functions take one object.
pub(super) fn argument(body: &[u8]) -> Result<String, ApiError> {
    let wrong = |error: &dyn std::fmt::Display| {
        ApiError::unprocessable(format!("expected a JSON object, the function's argument: {error}"), Value::Null)
    };
    let body: &[u8] = match without_mark(body) {
        b"" => b"{}",
        body => body,
    };
    match serde_json::from_slice::<Value>(body).map_err(|error| wrong(&error))? {
        object @ Value::Object(_) => Ok(object.to_string()),
        _ => Err(wrong(&"it is something else")),
    }
}
