//! `/v1/calls`

use std::collections::{BTreeMap, HashSet};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::access::Caller;
use super::body::{self, RawBody};
use super::error::ApiError;
use super::journals::stored;
use super::path::Path;
use super::recording::is_of;
use crate::core::{CallFilter, CallSummary, EngineError, EngineHandle, Originate, last_ms, timeline_of};
use crate::journals::Stored;
use crate::report;

/// The most recordings a page shows.
const MAX_RECORDINGS: usize = 8;
/// The most calls one list shows.
const MAX_LIMIT: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    state: Option<String>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let mut filter = CallFilter { account: caller.only(), ..CallFilter::default() };
    (filter.live, filter.past) = match query.state.as_deref() {
        None => (true, true),
        Some("live") => (true, false),
        Some("past") => (false, true),
        Some(other) => return Err(ApiError::bad_request(format!("state: expected `live` or `past`, found `{other}`"))),
    };
    if let Some(limit) = query.limit {
        filter.limit = limit.min(MAX_LIMIT);
    }
    let (limit, past) = (filter.limit, filter.past);
    let mut calls: Vec<Value> = state.engine.calls(filter).await?.iter().map(|call| json!(call)).collect();
    if past && calls.len() < limit {
        let known: HashSet<String> = calls.iter().filter_map(|call| call["id"].as_str().map(str::to_owned)).collect();
        let earlier = state.engine.platform().journals.latest(caller.only(), limit).await?;
        calls.extend(earlier.into_iter().filter(|call| call["id"].as_str().is_some_and(|id| !known.contains(id))));
        calls.truncate(limit);
    }
    Ok(Json(json!({ "calls": calls })).into_response())
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    match state.engine.call(&id).await {
        Ok(call) if !caller.sees(&call.account) => Err(EngineError::NoSuchCall(id).into()),
        Err(EngineError::NoSuchCall(_)) => {
            let stored = stored(&state, &caller, &id, false).await?;
            Ok(Json(past_summary(stored)).into_response())
        }
        known => Ok(Json(known?).into_response()),
    }
}

/// A call that only the disk knows, as a line of a list. One that is being written has no end.
fn past_summary(stored: Stored) -> Value {
    if let Some(mut outcome) = stored.outcome {
        return outcome["summary"].take();
    }
    match stored.journal {
        Some(journal) => {
            let timeline = timeline_of(&journal);
            json!(CallSummary {
                facts: timeline.call,
                script: timeline.script,
                account: stored.account.into(),
                ended: timeline.ended,
                duration_ms: last_ms(&journal)
            })
        }
        None => json!({ "id": stored.name, "started_at": stored.started_ms }),
    }
}

pub(super) async fn timeline(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<TimelineQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let as_page = match query.format.as_deref() {
        None | Some("json") => false,
        Some("html") => true,
        Some(other) => return Err(ApiError::bad_request(format!("format: expected `json` or `html`, found `{other}`"))),
    };
    let mut recordings = Vec::new();
    let timeline = match state.engine.call(&id).await {
        Ok(call) if !caller.sees(&call.account) => return Err(EngineError::NoSuchCall(id).into()),
        Ok(_) => {
            while as_page && recordings.len() < MAX_RECORDINGS {
                let Ok(path) = state.engine.recording(&id, Some(recordings.len() + 1)).await else { break };
                recordings.push(path);
            }
            json!(*state.engine.timeline(&id).await?)
        }
        Err(EngineError::NoSuchCall(_)) => {
            let mut stored = stored(&state, &caller, &id, false).await?;
            let files = stored.outcome.as_mut().map(|outcome| outcome["recordings"].take()).unwrap_or_default();
            recordings = serde_json::from_value(files).unwrap_or_default();
            recordings.truncate(MAX_RECORDINGS);
            past_timeline(stored)
        }
        Err(error) => return Err(error.into()),
    };
    if as_page { page(id, timeline, recordings).await } else { Ok(Json(timeline).into_response()) }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineQuery {
    format: Option<String>,
}

/// A timeline as a page for people.
async fn page(id: String, timeline: Value, recordings: Vec<PathBuf>) -> Result<Response, ApiError> {
    let drawn = tokio::task::spawn_blocking(move || {
        let view: report::View = serde_json::from_value(timeline).unwrap_or_default();
        let is_its = |path: &PathBuf| std::fs::File::open(path).is_ok_and(|file| is_of(file.as_fd(), &id));
        let recordings = (1..).zip(&recordings).filter(|(_, path)| is_its(path));
        let waveforms = recordings.filter_map(|(number, path)| report::read_waveform(number, path));
        report::page(&view, &waveforms.collect::<Vec<_>>())
    });
    let html = drawn.await.unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, report::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, html).into_response())
}

/// The timeline of a call that only the disk knows.
fn past_timeline(stored: Stored) -> Value {
    match (stored.outcome, stored.journal) {
        (Some(mut outcome), _) => outcome["timeline"].take(),
        (None, Some(journal)) => json!(timeline_of(&journal)),
        (None, None) => Value::Null,
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HangupQuery {
    code: Option<u16>,
    reason: Option<String>,
}

pub(super) async fn hangup(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    query: Result<Query<HangupQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    check_hangup(query.code, query.reason.as_deref())?;
    match state.engine.call(&id).await {
        Ok(call) if caller.sees(&call.account) => {}
        Err(EngineError::NoSuchCall(_)) => {
            // One that only the disk knows.
            stored(&state, &caller, &id, false).await?;
            return Err(EngineError::CallOver(id).into());
        }
        Ok(_) => return Err(EngineError::NoSuchCall(id).into()),
        Err(error) => return Err(error.into()),
    }
    state.engine.hangup(&id, query.code, query.reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a call can be ended like this.
pub(super) fn check_hangup(code: Option<u16>, reason: Option<&str>) -> Result<(), ApiError> {
    if let Some(code) = code.filter(|code| !(400..=699).contains(code)) {
        return Err(ApiError::bad_request(format!("code: expected a SIP code from 400 to 699, found {code}")));
    }
    if reason.is_some_and(|reason| reason.contains(char::is_control)) {
        return Err(ApiError::bad_request("reason: expected words without control characters"));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginateBody {
    to: String,
    from: Option<String>,
    destination: String,
    #[serde(default)]
    vars: BTreeMap<String, Value>,
    timeout_ms: Option<u64>,
}

/// Places a call, here or on a FreeSWITCH; its id.
pub(super) async fn place(engine: &EngineHandle, caller: &Caller, body: &[u8]) -> Result<String, ApiError> {
    let originate = Originate { account: caller.only(), ..parse_originate(body)? };
    match super::freeswitch::originate(engine, caller, &originate).await {
        Some(placed) => placed,
        None => Ok(engine.originate(originate).await?),
    }
}

pub(super) async fn originate(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let id = place(&state.engine, &caller, &body).await?;
    let location = format!("/v1/calls/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(json!({ "id": id }))).into_response())
}

/// Whether a variable of a call becomes a header field of a leg.
pub(super) fn is_header(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("sip_h_"))
}

pub(super) fn parse_originate(body: &[u8]) -> Result<Originate, ApiError> {
    let body: OriginateBody = body::parse(body)?;
    let invalid = |key: &str, message: &str| ApiError::unprocessable(format!("{key}: {message}"), json!({ "key": key }));
    for (key, text) in [("to", Some(&body.to)), ("from", body.from.as_ref()), ("destination", Some(&body.destination))] {
        if text.is_some_and(|text| text.trim().is_empty() || text.contains(char::is_control)) {
            return Err(invalid(key, "expected text without control characters"));
        }
    }
    let is_odd = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"' | '@');
    if body.from.as_ref().is_some_and(|from| from.contains(is_odd)) {
        return Err(invalid("from", "expected a caller id without spaces, `@`, `<`, `>` and quotes"));
    }
    if body.timeout_ms.is_some_and(|ms| !(1_000..=300_000).contains(&ms)) {
        return Err(invalid("timeout_ms", "expected 1000 to 300000"));
    }
    let (mut vars, mut data, mut headers) = (BTreeMap::new(), toml::Table::new(), HashSet::new());
    for (key, value) in body.vars {
        if key.contains(char::is_control) {
            return Err(invalid("vars", &format!("expected names without control characters, found {key:?}")));
        }
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(invalid("vars", &format!("expected text, a number or a truth value for `{key}`")));
            }
        };
        if is_header(&key) && !headers.insert(key.to_ascii_lowercase()) {
            return Err(invalid("vars", &format!("expected one variable for a header, found another one: `{key}`")));
        }
        if is_header(&key) && text.contains(char::is_control) {
            return Err(invalid("vars", &format!("expected text without control characters for the header `{key}`")));
        }
        let typed = toml::Value::try_from(&value).unwrap_or_else(|_| toml::Value::String(text.clone()));
        data.insert(key.clone(), typed);
        vars.insert(key, text);
    }
    Ok(Originate {
        to: body.to,
        from: body.from,
        destination: body.destination,
        vars,
        data: Some(data),
        timeout: body.timeout_ms.map(Duration::from_millis),
        ..Originate::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_among_the_variables_is_one_line() {
        let refused = |vars: Value| {
            let body = json!({ "to": "1001", "destination": "1000", "vars": vars }).to_string();
            parse_originate(body.as_bytes()).is_err()
        };
        assert!(refused(json!({ "sip_h_X-A": "1\r\nX-B: 2" })));
        assert!(refused(json!({ "sip_h_X\r\nX-B": "2" })));
        assert!(refused(json!({ "sip_h_X-A": "1", "sip_h_x-a": "2" })));
        assert!(!refused(json!({ "note": "one\ntwo", "Note": "1", "sip_h_X-A": "1" })));
    }

    #[test]
    fn variables_become_text() {
        let body = br#"{"to":"1001","destination":"1000","vars":{"a":1,"b":true,"c":"x"},"timeout_ms":5000}"#;
        let originate = parse_originate(body).unwrap();
        assert_eq!(originate.vars.values().map(String::as_str).collect::<Vec<_>>(), ["1", "true", "x"]);
        let data = originate.data.unwrap();
        let typed = [toml::Value::Integer(1), toml::Value::Boolean(true), toml::Value::String("x".to_owned())];
        assert_eq!(data.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), typed, "the script has them as they were sent");
        assert_eq!(originate.timeout, Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said() {
        for body in [
            "",
            "{}",
            r#"{"to":"1001"}"#,
            r#"{"to":"","destination":"1"}"#,
            r#"{"to":"a\r\nX: y","destination":"1"}"#,
            r#"{"to":"1","destination":"1","vars":{"a":[1]}}"#,
            r#"{"to":"1","destination":"1","timeout_ms":1}"#,
            r#"{"to":"1","destination":"1","from":"\"A\" <sip:441@x>"}"#,
            r#"{"to":"1","destination":"1","from":"441@x"}"#,
            r#"{"to":"1","destination":"1","dest":"2"}"#,
        ] {
            assert!(parse_originate(body.as_bytes()).is_err(), "{body}");
        }
    }
}
