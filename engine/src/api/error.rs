//! Errors, as every client sees them: `{error: {code, message, details}}`.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use lockstep_ctx_api::ErrorCode;
use lockstep_ctx_api::wire::{Location, ScriptError};
use serde::Serialize;
use serde_json::{Value, json};

use crate::backend::native::reply_text;
use crate::class4::Rejection;
use crate::core::EngineError;
use crate::form::{FormError, JsonError};
use crate::freeswitch::HostError;
use crate::journals::JournalError;
use crate::runs::{RunError, RunsError};
use crate::store::StoreError;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    status: StatusCode,
    code: Code,
    message: String,
    details: Value,
    at: Option<Location>,
}

/// What tells errors apart: a word of ours, or the SIP code a script gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Code {
    Word(&'static str),
    Sip(u16),
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: Code::Word(code), message: message.into(), details: Value::Null, at: None }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The script's own error: 500 and where it was thrown, or the SIP reply it asked for.
    fn thrown(error: &ScriptError) -> Self {
        let (code, message) = match &error.sip {
            Some((code, text)) => (*code, text.clone()),
            None => (500, error.message.clone()),
        };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self { status, code: Code::Sip(code), message, details: Value::Null, at: error.at.clone() }
    }

    /// The SIP reply in place of a route.
    pub(super) fn rejected(rejection: &Rejection) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: Code::Sip(rejection.code),
            message: reply_text(rejection.code, &rejection.text),
            details: rejection.why.as_ref().map_or(Value::Null, |why| json!({ "why": why })),
            at: None,
        }
    }

    /// Adds what the run had written to its console.
    pub(super) fn with_log(mut self, log: Value) -> Self {
        if log.as_array().is_some_and(|lines| !lines.is_empty()) {
            self.details = json!({ "log": log });
        }
        self
    }

    /// The value of `error`.
    pub(super) fn body(self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if !self.details.is_null() {
            error["details"] = self.details;
        }
        if let Some(at) = self.at {
            error["file"] = json!(at.file);
            error["line"] = json!(at.line);
            error["column"] = json!(at.column);
        }
        error
    }

    /// The request makes no sense: `what` is wrong with it.
    pub(super) fn bad_request(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", what)
    }

    /// No key, or an unknown one.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "expected `Authorization: Bearer KEY` with a key of [api] keys")
    }

    /// What was asked for is not there.
    pub(super) fn not_found(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, what)
    }

    /// Known, but not entitled.
    pub(super) fn forbidden(why: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", why)
    }

    /// Nothing is public there, whether or not there is something.
    pub(super) fn no_public_function() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no_public_function", "nothing public is served here")
    }

    /// Nobody is there to take a message.
    pub(super) fn worker_down(name: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "worker_down", format!("the worker {name} is not up, or has no onMessage"))
    }

    /// Every WebSocket that scripts may serve is taken.
    pub(super) fn too_many_websockets() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "at_capacity",
            "scripts serve as many WebSockets as [api] max_websockets allows",
        )
    }

    /// The same error under another word.
    pub(super) fn named(mut self, code: &'static str) -> Self {
        self.code = Code::Word(code);
        self
    }

    /// What was asked for does not go with what is there.
    pub(super) fn conflict(code: &'static str, why: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, why)
    }

    /// It takes a key of the configuration that is not set.
    pub(super) fn not_configured(key: &str) -> Self {
        Self::conflict("not_configured", format!("set {key} in lockstep.toml"))
    }

    /// A driver's function returned something else than is expected of it.
    pub(super) fn driver_said(function: &str, expected: &str, found: &Value) -> Self {
        let details = json!({ "result": found });
        Self { details, ..Self::new(StatusCode::BAD_GATEWAY, "driver_failed", format!("{function}: expected {expected}")) }
    }

    /// There is nothing to roll a script back to.
    pub(super) fn no_earlier_version(file: &str) -> Self {
        Self::conflict("no_earlier_version", format!("no version of {file} before the live one is kept"))
    }

    /// Our own fault.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed within the engine; the log says more")
    }

    /// The body is larger than the operation takes.
    pub(super) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than is taken here")
    }

    /// The part that was asked for begins behind the end.
    pub(super) fn no_such_range(length: u64) -> Self {
        let what = format!("expected a range within {length} octets");
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "no_such_range", what)
    }

    /// The body has not come in time.
    pub(super) fn body_too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body has not come in time")
    }

    /// The body is not what the operation takes.
    pub(super) fn unprocessable(what: impl Into<String>, details: Value) -> Self {
        Self { details, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", what) }
    }

    /// The body is not the JSON that the operation takes.
    pub(super) fn no_json(error: &JsonError) -> Self {
        Self::unprocessable(error.to_string(), json!({ "line": error.line, "column": error.column }))
    }

    /// The same with what was expected ahead of what is wrong.
    pub(super) fn expected(self, what: &str) -> Self {
        Self { message: format!("expected {what}: {}", self.message), ..self }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::Refused { code: ErrorCode::NotFound, .. } => (StatusCode::NOT_FOUND, "not_found"),
            StoreError::Refused { code: ErrorCode::InvalidState, .. } => (StatusCode::CONFLICT, "conflict"),
            StoreError::Refused { code: ErrorCode::LimitError, .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            StoreError::Refused { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
            StoreError::Sql(_) if error.is_disk_full() => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            StoreError::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            StoreError::TooLong => (StatusCode::SERVICE_UNAVAILABLE, "too_long"),
            StoreError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            StoreError::Open { .. }
            | StoreError::Version { .. }
            | StoreError::ReadOnly
            | StoreError::Sql(_)
            | StoreError::Io(_) => (StatusCode::INTERNAL_SERVER_ERROR, "store_failed"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Store(error) => error.into(),
            JournalError::Sealed { .. } => Self::new(StatusCode::CONFLICT, "sealed", error.to_string()),
            JournalError::Damaged { .. } => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "journal_damaged", error.to_string()),
        }
    }
}

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        let (status, code) = match &error {
            HostError::NoSuchHost(_) => (StatusCode::NOT_FOUND, "no_such_host"),
            HostError::NoneConnected | HostError::NotConnected(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_connected"),
            HostError::Lost(_) => (StatusCode::BAD_GATEWAY, "connection_lost"),
            HostError::TimedOut(_) => (StatusCode::GATEWAY_TIMEOUT, "no_answer"),
            HostError::Refused(_) | HostError::Unsendable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            HostError::NoSocket => (StatusCode::CONFLICT, "not_configured"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let (status, code) = match &error {
            EngineError::NoSuchCall(_) => (StatusCode::NOT_FOUND, "no_such_call"),
            EngineError::CallOver(_) => (StatusCode::CONFLICT, "call_over"),
            EngineError::NoSuchDestination(_) | EngineError::NobodyThere { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "no_such_destination")
            }
            EngineError::TargetRefused { .. } => (StatusCode::FORBIDDEN, "target_refused"),
            EngineError::NoRecording(_) => (StatusCode::NOT_FOUND, "no_recording"),
            EngineError::MessageRefused { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "message_refused"),
            EngineError::Save(error) => return error.clone().into(),
            EngineError::SameCall => (StatusCode::CONFLICT, "same_call"),
            EngineError::NotAnswered(_) => (StatusCode::CONFLICT, "not_answered"),
            EngineError::NotBridged(_) => (StatusCode::CONFLICT, "not_bridged"),
            EngineError::MediaElsewhere(_) => (StatusCode::CONFLICT, "media_elsewhere"),
            EngineError::CallExists(_) => (StatusCode::CONFLICT, "call_exists"),
            EngineError::TooManyOperations(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_operations"),
            EngineError::AtCapacity(_) => (StatusCode::SERVICE_UNAVAILABLE, "at_capacity"),
            EngineError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<FormError> for ApiError {
    fn from(error: FormError) -> Self {
        let (status, code) = match &error {
            FormError::TooLarge { .. } | FormError::TooMuchText | FormError::TooManyFields(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large")
            }
            FormError::MediaType(_) | FormError::Encoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            FormError::Malformed(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            FormError::Json(wrong) => return Self::no_json(wrong),
            FormError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            FormError::Scratch(_) => (StatusCode::INTERNAL_SERVER_ERROR, "no_room"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RunsError> for ApiError {
    fn from(error: RunsError) -> Self {
        let (status, code) = match &error {
            RunsError::NoSuchRun(_) => (StatusCode::NOT_FOUND, "no_such_run"),
            RunsError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<&RunError> for ApiError {
    /// What a run's failure is to a client that asked for the run. The script's own error is 422 and carries its SIP code.
    fn from(error: &RunError) -> Self {
        let (status, code) = match error {
            RunError::NoSuchScript(_) => (StatusCode::NOT_FOUND, "no_such_script"),
            RunError::Script(thrown) => return Self::thrown(thrown),
            RunError::TimedOut { .. } | RunError::TimedOutWaiting { .. } => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
            RunError::Cancelled => (StatusCode::CONFLICT, "cancelled"),
            RunError::Busy { .. } => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            RunError::Stuck => (StatusCode::UNPROCESSABLE_ENTITY, "stuck"),
            RunError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(json!({ "error": self.body() }))).into_response();
        match status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
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

#[cfg(test)]
mod tests {
    #[test]
    fn every_code_is_on_the_page_of_errors() {
        let (own, _) = include_str!("error.rs").split_once("\nmod tests {").unwrap();
        let page = include_str!("../../../docs/errors.md");
        let lines = own.lines().filter_map(|line| line.split_once("StatusCode::"));
        let codes = lines.filter_map(|(_, rest)| Some(rest.split_once(", \"")?.1.split_once('"')?.0));
        let missing: Vec<&str> = codes.filter(|code| !page.contains(&format!("`{code}`"))).collect();
        assert_eq!(missing, [""; 0]);
    }
}
