//! Reads a request's body, within bounds.

use std::path::Path;
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::fields::{Fields, FormData, TooMany};
use super::json::{JsonError, read as read_json, without_mark};
use crate::host::Scratch;

/// Octets of everything that is not a file, names included.
const MAX_TEXT: usize = 1 << 20;
/// Octets of a name or a file name.
const MAX_NAME: usize = 1_024;
/// What compresses a body. Other words stand in `Content-Encoding` as well, such as the charset.
const CODINGS: [&str; 7] = ["gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd"];
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much a form may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormLimits {
    /// Octets of the whole body, files included.
    pub body: usize,
}

/// Why a body cannot be read.
#[derive(Debug, Error)]
pub enum FormError {
    #[error("the body has more than {limit} octets")]
    TooLarge { limit: usize },
    #[error("the fields take more than {MAX_TEXT} octets")]
    TooMuchText,
    #[error("the body has {0}")]
    TooManyFields(#[from] TooMany),
    #[error("expected application/json, application/x-www-form-urlencoded or multipart/form-data, found `{0}`")]
    MediaType(String),
    #[error("expected a body that is not compressed, found `{0}`")]
    Encoding(String),
    #[error("the body is malformed: {0}")]
    Malformed(String),
    #[error("the body is malformed: {0}")]
    Json(#[from] JsonError),
    #[error("the body did not arrive within {} s", PATIENCE.as_secs())]
    TooSlow,
    #[error("a file of the form cannot be kept: {0}")]
    Scratch(#[from] std::io::Error),
}

/// The body of `request` as a script gets it: fields, and `{filename, type, size, path}` for each file, which lies in
/// `scratch`. A JSON body is taken as it is.
///
/// # Errors
/// When it is too large, malformed, or of no known kind.
pub async fn read(request: Request, limits: FormLimits, scratch: &Scratch) -> Result<FormData, FormError> {
    match tokio::time::timeout(PATIENCE, read_all(request, limits, scratch)).await {
        Ok(read) => read,
        Err(_) => Err(FormError::TooSlow),
    }
}

/// Refuses a body that is compressed, such as by gzip: none is decoded here.
///
/// # Errors
/// Names the coding.
pub(crate) fn check_encoding(request: &Request) -> Result<(), FormError> {
    if request.body().is_end_stream() {
        return Ok(());
    }
    let fields = request.headers().get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut names = fields.flat_map(|field| field.split(',')).map(str::trim);
    let is_coding = |name: &&str| CODINGS.iter().any(|coding| coding.eq_ignore_ascii_case(name));
    names.find(is_coding).map_or(Ok(()), |name| Err(FormError::Encoding(name.to_owned())))
}

async fn read_all(request: Request, limits: FormLimits, scratch: &Scratch) -> Result<FormData, FormError> {
    check_encoding(&request)?;
    let given = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?").to_owned());
    let media_type = given.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "multipart/form-data" => multipart(request, limits, scratch).await,
        "application/x-www-form-urlencoded" => {
            let mut fields = Fields::default();
            fields.extend_urlencoded(&text(request.into_body(), limits).await?)?;
            Ok(FormData::Fields(fields))
        }
        kind if is_json(kind) || kind.is_empty() => {
            let body = text(request.into_body(), limits).await?;
            match without_mark(&body) {
                b"" => Ok(FormData::Fields(Fields::default())),
                _ if media_type.is_empty() => Err(FormError::MediaType("nothing".to_owned())),
                body => Ok(FormData::Json(read_json(body)?)),
            }
        }
        _ => Err(FormError::MediaType(media_type)),
    }
}

/// JSON itself, or a format that is written in it (RFC 6839).
fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

async fn text(body: Body, limits: FormLimits) -> Result<axum::body::Bytes, FormError> {
    let limit = limits.body.min(MAX_TEXT);
    // The body is the client's: whatever else ends it early is its connection.
    to_bytes(body, limit).await.map_err(|error| {
        let too_long = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source())
            .any(|error| error.to_string().contains("length limit exceeded"));
        if too_long { FormError::TooLarge { limit } } else { FormError::Malformed(error.to_string()) }
    })
}

async fn multipart(request: Request, limits: FormLimits, scratch: &Scratch) -> Result<FormData, FormError> {
    let mut parts = Multipart::from_request(request, &()).await.map_err(|error| FormError::Malformed(error.body_text()))?;
    let mut fields = Fields::default();
    let mut budget = Budget { body: limits.body, text: MAX_TEXT, limits };
    let mut files = 0_usize;
    while let Some(part) = parts.next_field().await.map_err(|error| malformed(&error, limits))? {
        let name = part.name().unwrap_or_default().to_owned();
        budget.spend_text(name.len())?;
        if name.len() > MAX_NAME || part.file_name().is_some_and(|file| file.len() > MAX_NAME) {
            return Err(FormError::Malformed(format!("a name has more than {MAX_NAME} octets")));
        }
        let value = match part.file_name().map(str::to_owned) {
            // What a browser sends for a file field that was left empty.
            Some(file) if file.is_empty() => {
                drain(part, &mut budget).await?;
                Value::Null
            }
            Some(file) => {
                files += 1;
                let path = format!("/upload-{files}{}", extension(&file));
                store(part, &file, &path, scratch, &mut budget).await?
            }
            None => Value::String(field_text(part, &mut budget).await?),
        };
        fields.add(name, value)?;
    }
    Ok(FormData::Fields(fields))
}

/// What is left of a form's bounds.
struct Budget {
    body: usize,
    text: usize,
    limits: FormLimits,
}

impl Budget {
    fn spend(&mut self, octets: usize) -> Result<(), FormError> {
        self.body = self.body.checked_sub(octets).ok_or(FormError::TooLarge { limit: self.limits.body })?;
        Ok(())
    }

    fn spend_text(&mut self, octets: usize) -> Result<(), FormError> {
        self.text = self.text.checked_sub(octets).ok_or(FormError::TooMuchText)?;
        self.spend(octets)
    }
}

async fn field_text(mut part: Field<'_>, budget: &mut Budget) -> Result<String, FormError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(|error| malformed(&error, budget.limits))? {
        budget.spend_text(chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn drain(mut part: Field<'_>, budget: &mut Budget) -> Result<(), FormError> {
    while let Some(chunk) = part.chunk().await.map_err(|error| malformed(&error, budget.limits))? {
        budget.spend(chunk.len())?;
    }
    Ok(())
}

/// Writes a file under a name of ours: the client's is only shown.
async fn store(
    mut part: Field<'_>,
    filename: &str,
    path: &str,
    scratch: &Scratch,
    budget: &mut Budget,
) -> Result<Value, FormError> {
    let media_type = part.content_type().unwrap_or("application/octet-stream").to_owned();
    budget.spend_text(filename.len() + media_type.len())?;
    let inside = scratch.resolve(path)?.ok_or_else(|| std::io::Error::other("the name leads out of the folder"))?;
    let mut file = File::create_new(inside).await?;
    let mut size = 0_usize;
    while let Some(chunk) = part.chunk().await.map_err(|error| malformed(&error, budget.limits))? {
        budget.spend(chunk.len())?;
        size += chunk.len();
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(json!({ "filename": filename, "type": media_type, "size": size, "path": path }))
}

/// The extension of a client's file name, when it is one that is safe to use: scripts look at it.
fn extension(filename: &str) -> String {
    let found = Path::new(filename).extension().and_then(|extension| extension.to_str());
    let safe = |extension: &&str| extension.len() <= 10 && extension.chars().all(|c| c.is_ascii_alphanumeric());
    found.filter(safe).map_or_else(String::new, |extension| format!(".{}", extension.to_ascii_lowercase()))
}

fn malformed(error: &axum::extract::multipart::MultipartError, limits: FormLimits) -> FormError {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        return FormError::TooLarge { limit: limits.body };
    }
    FormError::Malformed(error.body_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_body(kind: &str, body: impl Into<Body>, limit: usize, scratch: &Scratch) -> Result<Value, FormError> {
        let request = Request::builder().header(header::CONTENT_TYPE, kind).body(body.into()).unwrap();
        read(request, FormLimits { body: limit }, scratch).await.map(value_of)
    }

    fn value_of(data: FormData) -> Value {
        serde_json::from_str(&data.into_json()).unwrap()
    }

    const MULTIPART: &str = "--B\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n\
        --B\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"../../Numbers.CSV\"\r\nContent-Type: text/csv\r\n\r\n1;2\n3;4\n\r\n\
        --B\r\nContent-Disposition: form-data; name=\"none\"; filename=\"\"\r\n\r\n\r\n--B--\r\n";

    #[tokio::test]
    async fn a_file_lies_in_the_scratch_folder_under_a_name_of_ours() {
        let scratch = Scratch::default();
        let value = read_body("multipart/form-data; boundary=B", MULTIPART, 1_000, &scratch).await.unwrap();
        let doc = json!({ "filename": "../../Numbers.CSV", "type": "text/csv", "size": 8, "path": "/upload-1.csv" });
        assert_eq!(value, json!({ "note": "hello", "doc": doc, "none": null }));
        let path = scratch.resolve("/upload-1.csv").unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "1;2\n3;4\n");
    }

    #[tokio::test]
    async fn every_kind_of_body_is_read() {
        let scratch = Scratch::default();
        let read = async |kind, body: &'static str| read_body(kind, body, 1_000, &scratch).await.unwrap();
        assert_eq!(read("application/json; charset=utf-8", r#"{"a":[1]}"#).await, json!({ "a": [1] }));
        for kind in ["application/vnd.api+json", "Application/CloudEvents+JSON; charset=utf-8", "application/json"] {
            assert_eq!(read(kind, "\u{feff}{\"a\":1}").await, json!({ "a": 1 }), "{kind}");
        }
        assert_eq!(read("application/x-www-form-urlencoded", "a=1&b=%20").await, json!({ "a": "1", "b": " " }));
        assert_eq!(read("application/json", "").await, json!({}));
        assert!(!scratch.is_made());
    }

    #[tokio::test]
    async fn a_compressed_body_is_refused_by_its_coding() {
        let read = async |coding: &str, body: &'static str| {
            let request =
                Request::builder().header(header::CONTENT_ENCODING, coding).header(header::CONTENT_TYPE, "application/json");
            read(request.body(Body::from(body)).unwrap(), FormLimits { body: 200 }, &Scratch::default()).await
        };
        for (coding, name) in [("gzip", "gzip"), ("identity, BR", "BR"), ("zstd", "zstd")] {
            assert!(matches!(read(coding, "{}").await, Err(FormError::Encoding(found)) if found == name), "{coding}");
        }
        for (coding, body) in [("Identity", "{}"), ("utf-8", "{}"), ("", "{}"), ("gzip", "")] {
            assert!(matches!(read(coding, body).await.map(value_of), Ok(value) if value == json!({})), "{coding} {body}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_said() {
        let scratch = Scratch::default();
        let refused = async |kind, body: String| read_body(kind, body, 200, &scratch).await.unwrap_err();
        assert!(matches!(refused("text/csv", "1".into()).await, FormError::MediaType(found) if found == "text/csv"));
        assert!(matches!(refused("application/json", "{".into()).await, FormError::Json(error) if error.line == 1));
        assert!(matches!(refused("application/json", "[".repeat(129)).await, FormError::Json(error) if error.column == 129));
        assert!(matches!(refused("application/json", " ".repeat(201)).await, FormError::TooLarge { limit: 200 }));
        assert!(matches!(refused("multipart/form-data", "x".into()).await, FormError::Malformed(_)));
        let long = MULTIPART.replace("3;4\n", &"5".repeat(300));
        assert!(matches!(refused("multipart/form-data; boundary=B", long).await, FormError::TooLarge { limit: 200 }));
        let cut = MULTIPART[..150].to_owned();
        assert!(matches!(refused("multipart/form-data; boundary=B", cut).await, FormError::Malformed(_)));
    }
}
