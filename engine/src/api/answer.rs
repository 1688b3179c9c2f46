//! What a script returned, as an HTTP response.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Pages of scripts come from our own origin, but are not ours: what runs in them must not use the interface in our name.
const SANDBOX: &str = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts";

/// A result for a page: a string is HTML, everything else JSON, also a date, which the runtime writes with a space before it.
pub(super) fn page(result: Option<String>) -> Response {
    let json = result.unwrap_or_else(|| "null".to_owned());
    let page = json.starts_with('"').then(|| serde_json::from_str::<String>(&json)).transpose().ok().flatten();
    let (kind, body) = match page {
        Some(html) => ("text/html; charset=utf-8", html),
        None => ("application/json", json),
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(SANDBOX)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body).into_response()
}
