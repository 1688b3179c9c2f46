//! `/v1/scripts`

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::check::Finding;
use crate::core::ScriptInfo;
use crate::script::ProgramSet;
use crate::script::programs::{SaveError, SaveScript, ScriptProblem, have_same_name, is_called, is_script, share_a_name};
use crate::store::script_versions;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewScript {
    /// File name within the scripts folder.
    file: String,
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    source: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Back {
    /// Absent: the one before the live one.
    version: Option<u32>,
}

pub(super) async fn list(State(state): State<AppState>, Extension(caller): Extension<Caller>) -> Result<Response, ApiError> {
    let mut scripts = state.engine.scripts().await?;
    scripts.retain(|script| caller.sees(&script.account));
    let mut listed: Vec<Value> = scripts.iter().map(|script| json!(script)).collect();
    // Whose they are, nobody can say.
    if caller.is_operator {
        listed.extend(without_program(&state.engine.runs().programs()));
    }
    Ok(Json(json!({ "scripts": listed })).into_response())
}

/// Files of which no text can be run, with why.
fn without_program(programs: &ProgramSet) -> Vec<Value> {
    let files: BTreeSet<&str> = programs.iter().map(|program| program.file.as_str()).collect();
    let problems = programs.problems().filter(|problem| !files.contains(problem.file.as_str()));
    let shown = |problem: &ScriptProblem| json!({ "name": problem.file, "file": problem.file, "version": null, "error": problem.to_string() });
    problems.map(shown).collect()
}

pub(super) async fn add(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    JsonBody(NewScript { file, source }): JsonBody<NewScript>,
) -> Result<Response, ApiError> {
    has_free_name(&state, &caller, &file).await?;
    let save = SaveScript { file, source: source.into(), must_be_new: true, account: caller.only(), version: None };
    let saved = state.engine.save_script(save).await?;
    let location = format!("/v1/scripts/{}", saved.0.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], shown(saved)).into_response())
}

pub(super) async fn show(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let script = find(&state, &caller, &id).await?;
    let (file, owner) = (script.file.clone(), caller.only());
    let versions = state.engine.platform().store.read(move |connection, _| {
        let live = script_versions::list(connection, &file, owner.as_deref())?.into_iter().find(|version| version.live);
        let source = live.as_ref().map(|live| script_versions::source(connection, &file, live.version, owner.as_deref()));
        let source = source.transpose()?;
        Ok((live, source.flatten()))
    });
    let (live, source) = versions.await?;
    let mut shown = json!(script);
    shown["live"] = json!(live);
    shown["source"] = json!(source);
    Ok(Json(shown).into_response())
}

pub(super) async fn put(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    JsonBody(Source { source }): JsonBody<Source>,
) -> Result<Response, ApiError> {
    let file = find(&state, &caller, &id).await?.file;
    let save = SaveScript { file, source: source.into(), must_be_new: false, account: caller.only(), version: None };
    Ok(shown(state.engine.save_script(save).await?).into_response())
}

pub(super) async fn remove(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let file = find(&state, &caller, &id).await?.file;
    state.engine.remove_script(file).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn versions(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let Kept { file, is_there } = kept(&state, &caller, &id).await?;
    let owner = caller.only();
    let listed =
        state.engine.platform().store.read(move |connection, _| script_versions::list(connection, &file, owner.as_deref()));
    let mut versions = listed.await?;
    versions.iter_mut().for_each(|version| version.live &= is_there);
    Ok(Json(json!({ "versions": versions })).into_response())
}

pub(super) async fn version(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, u32)>, ApiError>,
) -> Result<Response, ApiError> {
    let Path((id, number)) = path.map_err(|_| ApiError::bad_request("expected the number of a version"))?;
    let file = kept(&state, &caller, &id).await?.file;
    let source = text(&state, &caller, &file, number).await?;
    Ok(Json(json!({ "version": number, "source": &*source })).into_response())
}

pub(super) async fn roll_back(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    JsonBody(Back { version }): JsonBody<Back>,
) -> Result<Response, ApiError> {
    let Kept { file, is_there } = kept(&state, &caller, &id).await?;
    let number = match version {
        Some(number) => number,
        None => {
            let (wanted, owner) = (file.clone(), caller.only());
            let before = state.engine.platform().store.read(move |connection, _| match is_there {
                true => script_versions::before_live(connection, &wanted, owner.as_deref()),
                false => script_versions::last_live(connection, &wanted, owner.as_deref()),
            });
            before.await?.ok_or_else(|| ApiError::no_earlier_version(&file))?
        }
    };
    if !is_there {
        has_free_name(&state, &caller, &file).await?;
    }
    let source = text(&state, &caller, &file, number).await?;
    let save = SaveScript { file, source, must_be_new: !is_there, account: caller.only(), version: Some(number) };
    Ok(shown(state.engine.save_script(save).await?).into_response())
}

/// A script that has been saved.
fn shown((script, findings): (ScriptInfo, Vec<Finding>)) -> Json<Value> {
    let mut shown = json!(script);
    shown["findings"] = json!(findings);
    Json(shown)
}

/// Refuses an account a name that others count on: one that the configuration means for them, or that was another's last. Whoever has
/// the name is what they call, and has the links to its public functions.
async fn has_free_name(state: &AppState, caller: &Caller, file: &str) -> Result<(), ApiError> {
    let Some(account) = caller.only() else { return Ok(()) };
    let current = state.engine.platform().provisioning.current();
    let is_meant = |name: &str| is_called(file, name) || is_script(name) && have_same_name(file, name);
    let owners = state.engine.platform().store.read(|connection, _| script_versions::last_owners(connection)).await?;
    let is_others = |(known, owner): &(String, Option<String>)| share_a_name(known, file) && owner.as_ref() != Some(&account);
    if current.config.means_script_of_others(&account, is_meant) || owners.iter().any(is_others) {
        return Err(SaveError::NameTaken(file.to_owned()).into());
    }
    Ok(())
}

/// A script by name, file, uuid or number, if it is there for who asks.
async fn find(state: &AppState, caller: &Caller, id: &str) -> Result<ScriptInfo, ApiError> {
    let program = caller.program(state.engine.runs(), id)?;
    let found = state.engine.scripts().await?.into_iter().find(|script| script.uuid == program.uuid);
    found.ok_or_else(|| SaveError::NoSuchScript(id.to_owned()).into())
}

/// A script that has versions.
struct Kept {
    file: String,
    /// It has not been removed.
    is_there: bool,
}

/// The same, and one that was removed if the caller has versions of it.
async fn kept(state: &AppState, caller: &Caller, id: &str) -> Result<Kept, ApiError> {
    let runs = state.engine.runs();
    let missing = match caller.program(runs, id) {
        Ok(program) => return Ok(Kept { file: program.file.clone(), is_there: true }),
        Err(error) if runs.is_stopped() => return Err(error),
        Err(error) => error,
    };
    let (id, owner) = (id.to_owned(), caller.only());
    let found = state.engine.platform().store.read(move |connection, _| {
        for file in script_versions::files(connection)?.into_iter().filter(|file| is_called(file, &id)) {
            if !script_versions::list(connection, &file, owner.as_deref())?.is_empty() {
                return Ok(Some(file));
            }
        }
        Ok(None)
    });
    found.await?.map(|file| Kept { file, is_there: false }).ok_or(missing)
}

async fn text(state: &AppState, caller: &Caller, file: &str, number: u32) -> Result<Arc<str>, ApiError> {
    let (wanted, owner) = (file.to_owned(), caller.only());
    let source = state
        .engine
        .platform()
        .store
        .read(move |connection, _| script_versions::source(connection, &wanted, number, owner.as_deref()));
    let source =
        source.await?.ok_or_else(|| ApiError::not_found("no_such_version", format!("{file} has no version {number}")))?;
    Ok(source.into())
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> Self {
        match &error {
            SaveError::Invalid(problem) => {
                let at = problem.at.as_ref();
                let place = json!({ "file": problem.file, "line": at.map(|at| at.line), "column": at.map(|at| at.column) });
                Self::unprocessable(error.to_string(), place).named("invalid_script")
            }
            SaveError::Name(_) => Self::unprocessable(error.to_string(), Value::Null),
            SaveError::Exists(_) => Self::conflict("script_exists", error.to_string()),
            SaveError::NoSuchScript(_) => Self::not_found("no_such_script", error.to_string()),
            SaveError::Taken(_) | SaveError::NameTaken(_) => Self::conflict("taken", error.to_string()),
            SaveError::TooMany(_) => Self::conflict("too_many", error.to_string()),
            SaveError::NotYours(_) => Self::forbidden(error.to_string()),
            SaveError::Unwritable { .. } => Self::conflict("unwritable", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::lab::programs;

    #[test]
    fn a_file_that_never_ran_is_listed_with_its_error() {
        let live = programs(&[("1000", "function main() {}")]);
        let file = live.iter().next().unwrap().file.clone();
        let problem = |file: &str| ScriptProblem { file: file.to_owned(), message: "unexpected token".to_owned(), at: None };
        let set = ProgramSet::new(live.iter().cloned(), vec![problem(&file), problem("new.js")]);
        let expected = json!({ "name": "new.js", "file": "new.js", "version": null, "error": "new.js: unexpected token" });
        assert_eq!(without_program(&set), [expected], "a script that is live has its error beside it");
    }
}
