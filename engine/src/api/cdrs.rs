//! `/v1/cdrs`

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::AppState;
use super::access::Caller;
use super::error::ApiError;
use crate::cdr::{self, Cdr, CdrFilter};

const DEFAULT_LIST: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listed {
    from: Option<String>,
    to: Option<String>,
    did: Option<String>,
    customer: Option<i64>,
    gateway: Option<i64>,
    code: Option<u16>,
    answered: Option<bool>,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    before: Option<i64>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Numbered {
    id: i64,
    #[serde(flatten)]
    cdr: Cdr,
}

#[derive(Debug, Serialize)]
struct Cdrs {
    cdrs: Vec<Numbered>,
}

pub(super) async fn list(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(listed) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let Listed { from, to, did, customer, gateway, code, answered, since_ms, until_ms, before, limit } = listed;
    let limit = limit.unwrap_or(DEFAULT_LIST);
    let account = caller.only();
    let filter = CdrFilter { account, customer, did, from, to, gateway, code, answered, since_ms, until_ms, before, limit };
    let found = state.engine.platform().store.report(move |connection, _| cdr::list(connection, &filter)).await?;
    let cdrs = found.into_iter().map(|(id, cdr)| Numbered { id, cdr }).collect();
    Ok(Json(Cdrs { cdrs }).into_response())
}
