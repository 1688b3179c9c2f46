//! `/v1/apps` and their variables

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::access::{Caller, Granted};
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::config::{App, Scope};
use crate::store::app_env::{self, Flags, Variable};

/// How the scripts without an app are named in a path.
const NO_APP: &str = "-";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Put {
    value: String,
    #[serde(default)]
    protected: bool,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    locked: bool,
    #[serde(default)]
    default: bool,
}

pub(super) async fn list(State(state): State<AppState>, Extension(caller): Extension<Caller>) -> Response {
    let current = state.engine.platform().provisioning.current();
    let theirs = current.config.apps.iter().filter(|app| caller.sees(&app.account));
    let apps: Vec<Value> = theirs.map(|app| json!({ "name": app.name, "account": app.account })).collect();
    Json(json!({ "apps": apps })).into_response()
}

pub(super) async fn variables(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Extension(granted): Extension<Granted>,
    Path(app): Path<String>,
) -> Result<Response, ApiError> {
    let (account, app) = owner(&state, &caller, &app)?;
    let sees_private = granted.check(Scope::Admin).is_ok();
    let listed = state.engine.platform().store.read(move |connection, _| app_env::list(connection, (&account, &app))).await?;
    let shown: Vec<Value> = listed.iter().filter(|variable| sees_private || !variable.flags.private).map(view).collect();
    Ok(Json(json!({ "env": shown })).into_response())
}

pub(super) async fn put(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path((app, name)): Path<(String, String)>,
    JsonBody(wanted): JsonBody<Put>,
) -> Result<Response, ApiError> {
    let (account, app) = owner(&state, &caller, &app)?;
    let Put { value, protected, private, locked, default } = wanted;
    let flags = Flags { protected, private, locked, default };
    let platform = state.engine.platform();
    let (owner, environment) = ((account.clone(), app.clone()), platform.environment.clone());
    let set = platform.store.write_then(
        move |connection, now| app_env::set(connection, now, (&owner.0, &owner.1), (&name, &value), Some(flags)),
        move |variable| environment.put(&account, &app, variable.clone()),
    );
    Ok(Json(view(&set.await?)).into_response())
}

pub(super) async fn remove(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path((app, name)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (account, app) = owner(&state, &caller, &app)?;
    let platform = state.engine.platform();
    let (owner, wanted, gone) = ((account.clone(), app.clone()), name.clone(), name.clone());
    let environment = platform.environment.clone();
    let removed = platform.store.write_then(
        move |connection, _| app_env::remove(connection, (&owner.0, &owner.1), &wanted),
        move |_| environment.remove(&account, &app, &gone),
    );
    if !removed.await? {
        return Err(ApiError::not_found("not_found", format!("there is no variable {name}")));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Whose variables a path is about: the account and the app, as they are kept.
fn owner(state: &AppState, caller: &Caller, app: &str) -> Result<(String, String), ApiError> {
    if app == NO_APP {
        return Ok((caller.account.clone(), String::new()));
    }
    let current = state.engine.platform().provisioning.current();
    let found = current.config.apps.iter().find(|known| known.name == app && caller.sees(&known.account));
    let App { name, account, .. } = found.ok_or_else(|| ApiError::not_found("not_found", format!("there is no app {app}")))?;
    Ok((account.clone(), name.clone()))
}

fn view(variable: &Variable) -> Value {
    let Variable { name, value, flags, updated_ms } = variable;
    let mut shown = json!(flags);
    shown["name"] = json!(name);
    shown["value"] = if flags.protected { Value::Null } else { json!(value) };
    shown["updated_ms"] = json!(updated_ms);
    shown
}
