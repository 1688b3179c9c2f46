//! Bodies of requests: read within their bound, and JSON whatever their `Content-Type` says.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::form::{check_encoding, read_json, without_mark};

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

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
    parse_given(if without_mark(bytes).is_empty() { b"{}" } else { bytes })
}

/// What `bytes` say, as JSON, where nothing at all says nothing.
pub(super) fn parse_given<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    read_json(without_mark(bytes)).map_err(|error| ApiError::no_json(&error))
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
}
