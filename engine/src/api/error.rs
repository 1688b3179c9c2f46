//! Errors, as every client sees them: `{error: {code, message, details}}`.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::core::EngineError;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    details: Value,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), details: Value::Null }
    }

    /// The request makes no sense: `what` is wrong with it.
    pub(super) fn bad_request(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", what)
    }

    /// No key, or an unknown one.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "expected `Authorization: Bearer KEY` with a key of [api] keys")
    }

    /// Known, but not entitled.
    pub(super) fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", why)
    }

    /// The body is not what the operation takes.
    pub(super) fn unprocessable(what: impl Into<String>, details: Value) -> Self {
        Self { details, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", what) }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let (status, code) = match &error {
            EngineError::NoSuchCall(_) => (StatusCode::NOT_FOUND, "no_such_call"),
            EngineError::CallOver(_) => (StatusCode::CONFLICT, "call_over"),
            EngineError::NoSuchDestination(_) => (StatusCode::UNPROCESSABLE_ENTITY, "no_such_destination"),
            EngineError::TargetRefused { .. } => (StatusCode::FORBIDDEN, "target_refused"),
            EngineError::NoRecording(_) => (StatusCode::NOT_FOUND, "no_recording"),
            EngineError::NoSuchScript(_) => (StatusCode::NOT_FOUND, "no_such_script"),
            EngineError::NoEarlierVersion(_) => (StatusCode::CONFLICT, "no_earlier_version"),
            EngineError::AtCapacity(_) => (StatusCode::SERVICE_UNAVAILABLE, "at_capacity"),
            EngineError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if !self.details.is_null() {
            error["details"] = self.details;
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        response
    }
}

pub(super) async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no_such_path", format!("nothing is served at {}", uri.path()))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{method} is not served at {}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message)
}
