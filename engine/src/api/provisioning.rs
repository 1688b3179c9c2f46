//! `/v1/dids`, `/v1/users`, `/v1/gateways`, `/v1/routes`, `/v1/customers`

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use crate::config::Wanted;
use crate::provisioning::{Current, Kind, ProvisioningError, Wrong};
use crate::runs::RunsHandle;
use crate::script::ProgramSet;

/// What is served at a list.
pub(super) fn list_routes(kind: Kind) -> MethodRouter<AppState> {
    get(async move |state, caller| list(kind, state, caller).await)
}

/// What is served at an entry of it.
pub(super) fn entry_routes(kind: Kind) -> MethodRouter<AppState> {
    get(async move |state, caller, path| show(kind, state, caller, path).await)
        .put(async move |state, caller, path, body| put(kind, state, caller, path, body).await)
        .delete(async move |state, caller, path| remove(kind, state, caller, path).await)
}

async fn list(kind: Kind, State(state): State<AppState>, Extension(caller): Extension<Caller>) -> Response {
    let current = state.engine.platform().provisioning.current();
    let theirs = current.list(kind).filter(|(account, _)| is_theirs(&caller, *account));
    let entries: Vec<Value> = theirs.map(|(_, entry)| entry).collect();
    Json(json!({ format!("{}s", kind.list()): entries })).into_response()
}

async fn show(
    kind: Kind,
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let current = state.engine.platform().provisioning.current();
    let (account, entry) = current.show(kind, &name).ok_or_else(|| no_such_entry(kind, &name))?;
    if is_theirs(&caller, account) { Ok(Json(entry).into_response()) } else { Err(no_such_entry(kind, &name)) }
}

async fn put(
    kind: Kind,
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    JsonBody(mut given): JsonBody<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let provisioning = &state.engine.platform().provisioning;
    if let Some(account) = caller.only() {
        bind(kind, &account, &name, &mut given, &provisioning.current(), &state.engine.runs().programs())?;
    }
    no_new_application(&caller, &provisioning.current(), &name, &given)?;
    script_is_there(&caller, state.engine.runs(), &given)?;
    let is_new = provisioning.put(kind, &name, given).await?;
    state.engine.provisioned().await?;
    let shown = provisioning.current().show(kind, &name).map(|(_, entry)| entry);
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown)).into_response())
}

async fn remove(
    kind: Kind,
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Result<StatusCode, ApiError> {
    let provisioning = &state.engine.platform().provisioning;
    let current = provisioning.current();
    let is_there = current.show(kind, &name).is_some_and(|(account, _)| is_theirs(&caller, account));
    if !is_there {
        return Err(no_such_entry(kind, &name));
    }
    provisioning.remove(kind, &name).await?;
    state.engine.provisioned().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Of gateways and routes, which are nobody's, only the operator learns.
fn is_theirs(caller: &Caller, account: Option<&str>) -> bool {
    account.map_or(caller.is_operator, |account| caller.sees(account))
}

fn no_such_entry(kind: Kind, name: &str) -> ApiError {
    ApiError::not_found("not_found", format!("there is no {} {name}", kind.list()))
}

/// Refuses a route or number whose script is not there, or somebody else's.
///
/// # Errors
/// As for any other wrong key of an entry.
pub(super) fn script_is_there(caller: &Caller, runs: &RunsHandle, entry: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(name) = entry.get("script").and_then(Value::as_str) else { return Ok(()) };
    let programs = runs.programs();
    let is_seen = || programs.by_name(name).is_some_and(|program| caller.sees(&program.account));
    let message = match programs.lacks(&Wanted::Script(name.to_owned())) {
        None if is_seen() => return Ok(()),
        None => format!("expected the name of a script of the account, found `{name}`"),
        Some(message) => message,
    };
    Err(ProvisioningError::Invalid(vec![Wrong { key: "script".to_owned(), message }]).into())
}

/// Refuses an account's number that leads to an application: the engine would connect to wherever the account says, and only the operator
/// names applications. Those that the number leads to already may stay.
///
/// # Errors
/// 403, naming the destination.
pub(super) fn no_new_application(
    caller: &Caller,
    current: &Current,
    name: &str,
    entry: &Map<String, Value>,
) -> Result<(), ApiError> {
    let wanted = entry.get("destinations").and_then(Value::as_array);
    let there =
        current.show(Kind::Did, name).and_then(|(_, entry)| entry["destinations"].as_array().cloned()).unwrap_or_default();
    let mut applications = wanted.into_iter().flatten().filter(|to| to.as_str().is_some_and(|to| to.starts_with("socket:")));
    match applications.find(|to| caller.only().is_some() && !there.contains(to)) {
        Some(to) => Err(ApiError::forbidden(format!("destinations: {to} is an application, which only the operator names"))),
        None => Ok(()),
    }
}

/// Makes an entry the account's own; refused where it would take something from others.
fn bind(
    kind: Kind,
    account: &str,
    name: &str,
    given: &mut Map<String, Value>,
    current: &Current,
    programs: &ProgramSet,
) -> Result<(), ApiError> {
    let there = current.show(kind, name);
    let owner = there.as_ref().and_then(|(owner, _)| *owner);
    if there.is_some() && owner != Some(account) {
        return Err(ApiError::conflict("taken", format!("there is a {} {name} already", kind.list())));
    }
    match given.insert("account".to_owned(), account.into()) {
        Some(Value::String(other)) if other != account => {
            return Err(ApiError::forbidden(format!("account: the key is {account}'s, not {other}'s")));
        }
        _ => {}
    }
    if kind == Kind::Did && there.is_none() {
        return Err(ApiError::forbidden("a number is allocated (POST /v1/dids/allocate), or put by the operator"));
    }
    // A user is dialled by name, before scripts are: nobody may take the place of another's.
    let dialled = programs.by_class5(name).is_some_and(|program| program.account != account)
        || current.show(Kind::Did, name).is_some_and(|(owner, _)| owner != Some(account));
    if kind == Kind::User && there.is_none() && dialled {
        return Err(ApiError::conflict("taken", format!("{name} is dialled for something else already")));
    }
    let customer = given.get("customer").and_then(Value::as_i64);
    if customer.is_some_and(|id| current.account_of_customer(id) != Some(account)) {
        return Err(ApiError::unprocessable(
            "customer: expected the id of a customer of the account",
            json!({ "key": "customer" }),
        ));
    }
    Ok(())
}

impl From<ProvisioningError> for ApiError {
    fn from(error: ProvisioningError) -> Self {
        let message = error.to_string();
        match error {
            ProvisioningError::Name(_) => Self::bad_request(message),
            ProvisioningError::Invalid(wrong) => {
                let problems: Vec<Value> =
                    wrong.iter().map(|Wrong { key, message }| json!({ "key": key, "message": message })).collect();
                Self::unprocessable(message, json!({ "problems": problems })).named("invalid_entry")
            }
            ProvisioningError::ReadOnly { .. } => Self::conflict("read_only", message),
            ProvisioningError::InUse(_) => Self::conflict("in_use", message),
            ProvisioningError::NotFound { .. } => Self::not_found("not_found", message),
            ProvisioningError::Store(error) => error.into(),
        }
    }
}
