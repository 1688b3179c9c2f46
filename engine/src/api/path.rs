//! Parts of a path, as handlers take them.

use axum::extract::{FromRequestParts, Path as Parts};
use axum::http::request;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// axum's, with errors as all others are.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, ApiError> {
        let Parts(inner) =
            Parts::from_request_parts(parts, state).await.map_err(|error| ApiError::bad_request(error.body_text()))?;
        Ok(Self(inner))
    }
}
