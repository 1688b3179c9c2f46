//! `POST /v1/drivers/{script}/{fn}`

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use lockstep_ctx_api::wire::ScriptType;
use serde_json::Value;
use serde_json::value::RawValue;

use super::AppState;
use super::access::Caller;
use super::body::{RawBody, parse};
use super::error::ApiError;
use super::path::Path;
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
    let wanted = "a JSON object, the function's argument";
    let argument: Box<RawValue> = parse(body).map_err(|error: ApiError| error.expected(wanted))?;
    if !argument.get().starts_with('{') {
        return Err(ApiError::unprocessable(format!("expected {wanted}: it is something else"), Value::Null));
    }
    Ok(argument.get().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_an_object_and_handed_on_as_it_is() {
        assert_eq!(argument(br#" {"z":1,"a":1.0} "#), Ok(r#"{"z":1,"a":1.0}"#.to_owned()));
        assert_eq!(argument(b""), Ok("{}".to_owned()));
        for (wrong, why) in [("[1]", "something else"), ("{", "EOF")] {
            let error = argument(wrong.as_bytes()).unwrap_err();
            assert!(error.message().starts_with("expected a JSON object") && error.message().contains(why), "{error:?}");
        }
    }
}
