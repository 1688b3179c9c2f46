//! `POST /v1/dids/search|allocate|release`: numbers from a carrier, by the driver that the configuration binds.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Map, Value, json};

use super::AppState;
use super::access::Caller;
use super::body::{JsonBody, RawBody};
use super::drivers::argument;
use super::error::ApiError;
use super::provisioning::{is_nobodys_extension, no_new_application, scripts_are_there};
use crate::config::DEFAULT_ACCOUNT;
use crate::provisioning::Kind;
use crate::runs::{RunKind, RunRequest};

/// Keys of a `[[did]]`; what else a driver says of a number becomes one of its variables.
const KEYS: [&str; 7] = ["number", "destinations", "script", "customer", "account", "vars", "did"];

/// Numbers that the driver is buying or giving back.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<BTreeSet<String>>);

/// One of them, until dropped.
#[derive(Debug)]
struct Busy<'a> {
    numbers: &'a UnderWay,
    number: String,
}

impl UnderWay {
    /// # Errors
    /// 409 while another request has the number.
    fn begin(&self, number: &str) -> Result<Busy<'_>, ApiError> {
        if self.lock().insert(number.to_owned()) {
            Ok(Busy { numbers: self, number: number.to_owned() })
        } else {
            Err(ApiError::conflict("taken", format!("the DID {number} is just being allocated or released")))
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.numbers.lock().remove(&self.number);
    }
}

pub(super) async fn search(State(state): State<AppState>, RawBody(body): RawBody) -> Result<Response, ApiError> {
    let found = call(&state, "search", argument(&body)?).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], found.to_string()).into_response())
}

pub(super) async fn allocate(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    JsonBody(mut wanted): JsonBody<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let provisioning = &state.engine.platform().provisioning;
    let number = take_number(&mut wanted)?;
    let _busy = state.numbers.begin(&number)?;
    let is_new = || match provisioning.current().show(Kind::Did, &number) {
        None => is_nobodys_extension(&caller, &number, &provisioning.current(), &state.engine.runs().programs()),
        Some(_) => Err(ApiError::conflict("taken", format!("there is a DID {number} already"))),
    };
    is_new()?;
    own(&state, &caller, &mut wanted)?;
    // What would be refused afterwards is not bought first.
    scripts_are_there(&caller, (state.engine.runs(), &provisioning.current()), &number, &wanted)?;
    no_new_application(&caller, &provisioning.current(), &number, &wanted)?;
    let mut expected = wanted.clone();
    expected.remove("number");
    if !expected.contains_key("script") {
        // The driver may say where it leads.
        expected.entry("destinations").or_insert_with(|| json!(["external:1"]));
    }
    provisioning.check(Kind::Did, &number, expected)?;
    let mut asked = wanted.clone();
    asked.insert("did".to_owned(), number.clone().into());
    let allocated = call(&state, "allocate", Value::Object(asked).to_string()).await?;
    let Value::Object(allocated) = allocated else {
        return Err(ApiError::driver_said("allocate", "an object, stored as the DID", &allocated));
    };
    let entry = entry_of(allocated, wanted);
    let turn = provisioning.turn().await;
    let may = is_new();
    let may = may.and_then(|()| scripts_are_there(&caller, (state.engine.runs(), &provisioning.current()), &number, &entry));
    let may = may.and_then(|()| no_new_application(&caller, &provisioning.current(), &number, &entry));
    let stored = match may {
        Ok(()) => turn.put(Kind::Did, &number, entry).await.map_err(ApiError::from),
        Err(error) => {
            drop(turn);
            Err(error)
        }
    };
    if let Err(error) = stored {
        // Nobody would know that it is ours.
        let undone = call(&state, "release", json!({ "did": number }).to_string()).await;
        tracing::error!(did = number, error = error.message(), released = undone.is_ok(), "an allocated number cannot be stored");
        return Err(error);
    }
    state.engine.provisioned().await?;
    let shown = provisioning.current().show(Kind::Did, &number).map(|(_, entry)| entry);
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/v1/dids/{number}"))], Json(shown)).into_response())
}

pub(super) async fn release(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    JsonBody(mut wanted): JsonBody<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let provisioning = &state.engine.platform().provisioning;
    let number = take_number(&mut wanted)?;
    let _busy = state.numbers.begin(&number)?;
    let current = provisioning.current();
    let found = current.show(Kind::Did, &number).filter(|(account, _)| caller.sees(account.unwrap_or(DEFAULT_ACCOUNT)));
    let Some((_, mut entry)) = found else {
        return Err(ApiError::not_found("not_found", format!("there is no did {number}")));
    };
    if entry["source"] != "http" {
        return Err(ApiError::conflict(
            "read_only",
            format!("the did {number} is the configuration's: change it in lockstep.toml"),
        ));
    }
    entry["did"] = number.clone().into();
    let released = call(&state, "release", entry.to_string()).await?;
    if released != Value::Bool(true) {
        return Err(ApiError::conflict("not_released", format!("the driver did not release {number}: it said {released}")));
    }
    provisioning.turn().await.remove(Kind::Did, &number).await?;
    state.engine.provisioned().await?;
    Ok(Json(json!({ "released": true })).into_response())
}

/// Calls a function of the bound driver with one object, JSON.
async fn call(state: &AppState, function: &str, data: String) -> Result<Value, ApiError> {
    let driver = state.engine.platform().drivers.did.as_ref().ok_or_else(|| ApiError::not_configured("[drivers] did"))?;
    let request = RunRequest::new(driver.as_str(), RunKind::Driver, data).function(Some(function.to_owned()));
    let success = state.engine.runs().run(request).await.map_err(|failure| ApiError::from(&failure.error))?;
    Ok(success.result.as_deref().and_then(|result| serde_json::from_str(result).ok()).unwrap_or_default())
}

fn take_number(wanted: &mut Map<String, Value>) -> Result<String, ApiError> {
    let number = wanted.remove("did").or_else(|| wanted.get("number").cloned());
    let number = number.as_ref().and_then(Value::as_str).map(str::trim).filter(|number| !number.is_empty());
    let number = number.ok_or_else(|| ApiError::unprocessable("did: expected the number, a text", json!({ "key": "did" })))?;
    Ok(number.strip_prefix('+').unwrap_or(number).to_owned())
}

/// Makes a number that is allocated the account's.
fn own(state: &AppState, caller: &Caller, wanted: &mut Map<String, Value>) -> Result<(), ApiError> {
    let Some(account) = caller.only() else { return Ok(()) };
    let current = state.engine.platform().provisioning.current();
    let customer = wanted.get("customer").and_then(Value::as_i64);
    if customer.is_some_and(|id| current.account_of_customer(id) != Some(account.as_str())) {
        return Err(ApiError::unprocessable(
            "customer: expected the id of a customer of the account",
            json!({ "key": "customer" }),
        ));
    }
    wanted.insert("account".to_owned(), account.into());
    Ok(())
}

/// What a driver said of a number, with what was wanted over it.
fn entry_of(allocated: Map<String, Value>, wanted: Map<String, Value>) -> Map<String, Value> {
    let (mut entry, others): (Map<_, _>, Map<_, _>) =
        allocated.into_iter().filter(|(_, value)| !value.is_null()).partition(|(key, _)| KEYS.contains(&key.as_str()));
    entry.remove("did");
    // The number is the one that was asked for, however the carrier writes it.
    entry.remove("number");
    let mut vars = others;
    if let Some(Value::Object(own)) = entry.remove("vars") {
        vars.extend(own);
    }
    let mut wanted = wanted;
    if let Some(Value::Object(own)) = wanted.remove("vars") {
        vars.extend(own);
    }
    wanted.remove("number");
    entry.extend(wanted);
    if !vars.is_empty() {
        entry.insert("vars".to_owned(), Value::Object(vars));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_number_is_under_way_once() {
        let numbers = UnderWay::default();
        let busy = numbers.begin("44").unwrap();
        assert!(numbers.begin("44").is_err() && numbers.begin("45").is_ok());
        drop(busy);
        assert!(numbers.begin("44").is_ok());
    }

    #[test]
    fn what_a_driver_says_becomes_the_number_and_the_request_wins() {
        let allocated = object(
            json!({ "did": "+44 20", "order": "A-17", "destinations": ["class5:1"], "vars": { "a": 1, "b": 1 }, "note": null }),
        );
        let wanted = object(json!({ "destinations": ["user:1001"], "vars": { "b": 2 } }));
        let expected = json!({ "destinations": ["user:1001"], "vars": { "order": "A-17", "a": 1, "b": 2 } });
        assert_eq!(Value::Object(entry_of(allocated, wanted)), expected);
    }
}
