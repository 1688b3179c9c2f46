//! Bodies of requests: read within their bound, and JSON whatever their `Content-Type` says.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::error::ApiError;
use crate::form::{check_encoding, without_mark};

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Levels of lists and objects within one another.
const MAX_DEPTH: usize = 128;

/// The octets of a body.
pub(super) struct RawBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        read(request, state, PATIENCE).await.map(Self)
    }
}

async fn read<S: Send + Sync>(request: Request, state: &S, patience: Duration) -> Result<Bytes, ApiError> {
    check_encoding(&request)?;
    match tokio::time::timeout(patience, Bytes::from_request(request, state)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(ApiError::body_too_large()),
        Ok(Err(rejection)) => Err(ApiError::bad_request(rejection.body_text())),
        Err(_) => Err(ApiError::body_too_slow()),
    }
}

/// What a body says, as JSON; an empty one is an empty object.
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        parse(&bytes).map(Self)
    }
}

/// What `bytes` say, as JSON; nothing at all is an empty object.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let bytes: &[u8] = match without_mark(bytes) {
        b"" => b"{}",
        bytes => bytes,
    };
    if is_too_deep(bytes) {
        return Err(ApiError::unprocessable(format!("nested deeper than {MAX_DEPTH} levels"), serde_json::Value::Null));
    }
    serde_json::from_slice(bytes)
        .map_err(|error| ApiError::unprocessable(error.to_string(), json!({ "line": error.line(), "column": error.column() })))
}

/// Whether JSON is nested too deep. Parts that are handed on as they are would otherwise reach a script's parser unseen.
fn is_too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let never = Request::new(Body::from_stream(stream::pending::<Result<Bytes, Infallible>>()));
        assert_eq!(read(never, &(), Duration::ZERO).await, Err(ApiError::body_too_slow()));
    }

    #[tokio::test]
    async fn a_compressed_body_is_refused() {
        let read = async |coding: &str, body: &'static str| {
            let request = Request::builder().header("content-encoding", coding).body(Body::from(body)).unwrap();
            read(request, &(), PATIENCE).await
        };
        assert!(read("gzip", "{}").await.unwrap_err().message().contains("found `gzip`"));
        assert_eq!(read("utf-8", "{}").await, Ok(Bytes::from("{}")));
        assert_eq!(read("gzip", "").await, Ok(Bytes::new()));
    }

    #[test]
    fn depth_is_counted_outside_of_texts() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(!is_too_deep(deep(MAX_DEPTH).as_bytes()));
        assert!(is_too_deep(deep(MAX_DEPTH + 1).as_bytes()));
        assert!(!is_too_deep(format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(200), "{".repeat(200)).as_bytes()));
        assert!(!is_too_deep("[[]],".repeat(1_000).as_bytes()), "side by side");
    }
}
