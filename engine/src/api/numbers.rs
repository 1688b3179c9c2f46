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

/// What has fewer digits is a number only where a driver calls it `did`, and no other one without what is dialled ahead of it.
const MIN_DIGITS: usize = 6;

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
    if !found.is_array() {
        return Err(ApiError::driver_said("search", "a list of numbers: [{did}]", &found));
    }
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
    let is_new = |number: &str| match provisioning.current().show(Kind::Did, number) {
        None => is_nobodys_extension(&caller, number, &provisioning.current(), &state.engine.runs().programs()),
        Some(_) => Err(ApiError::conflict("taken", format!("there is a DID {number} already"))),
    };
    is_new(&number)?;
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
    provisioning.check(Kind::Did, &number, expected).await?;
    let mut asked = wanted.clone();
    asked.insert("did".to_owned(), number.clone().into());
    let allocated = call(&state, "allocate", Value::Object(asked).to_string()).await?;
    let Value::Object(allocated) = allocated else {
        return Err(ApiError::driver_said("allocate", "an object, stored as the DID", &allocated));
    };
    let Some(given) = number_given(&allocated, &number) else {
        let error = ApiError::driver_said("allocate", "the number that is allocated as `did`", &Value::Object(allocated));
        give_back(&state, &number, &error).await;
        return Err(error);
    };
    let is_another = given != number;
    let held = is_another.then(|| state.numbers.begin(&given)).transpose();
    if held.is_err() || is_another && provisioning.current().show(Kind::Did, &given).is_some() {
        // What is ours already is not given back.
        tracing::error!(asked = number, did = given, "the driver has allocated a number that is ours already");
        return Err(ApiError::driver_said("allocate", "a number that is not ours yet", &Value::Object(allocated)));
    }
    let number = given;
    let entry = entry_of(allocated, wanted);
    let turn = provisioning.turn().await;
    let may = is_new(&number);
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
        give_back(&state, &number, &error).await;
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

/// Releases a number that was allocated and cannot be stored: nobody would know that it is ours.
async fn give_back(state: &AppState, number: &str, error: &ApiError) {
    let undone = call(state, "release", json!({ "did": number }).to_string()).await;
    tracing::error!(did = number, error = error.message(), released = undone.is_ok(), "an allocated number cannot be stored");
}

/// The number that a driver says it has allocated: the one it was asked for, however it writes that, unless it names another. `None`:
/// what it names is no number.
fn number_given(allocated: &Map<String, Value>, asked: &str) -> Option<String> {
    let named = |key: &str| allocated.get(key).filter(|value| !value.is_null());
    let said = match named("did") {
        Some(did) => said_of(did)?,
        // A `number` may be an order's, or how many there are.
        None => match named("number").and_then(said_of).filter(|said| is_number(&digits_of(said), MIN_DIGITS)) {
            Some(number) => number,
            None => return Some(asked.to_owned()),
        },
    };
    let digits = digits_of(&said);
    // Without the code of its country, or with what is dialled ahead of that.
    let short = digits.trim_start_matches('0');
    let is_asked = said == asked || digits == asked || short == asked || short.len() >= MIN_DIGITS && asked.ends_with(short);
    let given = if is_asked { asked.to_owned() } else { digits };
    (is_asked || is_number(&given, 1)).then_some(given)
}

fn said_of(value: &Value) -> Option<String> {
    match value {
        Value::String(said) => Some(said.trim().to_owned()),
        said => said.as_u64().map(|said| said.to_string()),
    }
}

/// A number as it is dialled, of one that is written for people.
fn digits_of(said: &str) -> String {
    said.strip_prefix('+').unwrap_or(said).replace("(0)", "").replace([' ', '-', '.', '/', '(', ')'], "")
}

fn is_number(digits: &str, least: usize) -> bool {
    digits.len() >= least && digits.bytes().all(|digit| digit.is_ascii_digit())
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
    // See `number_given`.
    entry.remove("did");
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
    fn a_driver_may_give_another_number_than_was_asked_for() {
        let given = |said: Value| number_given(&object(said), "442080000000");
        let asked = Some("442080000000".to_owned());
        for same in [
            json!({}),
            json!({ "did": null, "order": 7 }),
            json!({ "did": "442080000000", "number": "A-17" }),
            json!({ "number": 1 }),
            json!({ "number": "A-17" }),
            json!({ "did": null, "number": "00000" }),
            json!({ "did": "+44 (0)20 8000-0000" }),
            json!({ "number": 442_080_000_000_u64 }),
            json!({ "did": "020 8000 0000" }),
            json!({ "did": "00442080000000" }),
        ] {
            assert_eq!(given(same.clone()), asked, "{same}");
        }
        for other in [json!({ "did": "+44 20 8000 0001" }), json!({ "number": 442_080_000_001_u64 })] {
            assert_eq!(given(other.clone()).as_deref(), Some("442080000001"), "{other}");
        }
        assert_eq!(given(json!({ "did": "8000" })).as_deref(), Some("8000"), "a short number of its own");
        for odd in [json!({ "did": "A-17" }), json!({ "did": "" }), json!({ "did": ["442080000000"] }), json!({ "did": 1.5 })] {
            assert_eq!(given(odd.clone()), None, "{odd}");
        }
        assert_eq!(number_given(&object(json!({ "did": "442080000000" })), "02080000000").as_deref(), Some("442080000000"));
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
