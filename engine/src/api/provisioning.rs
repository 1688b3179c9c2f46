//! `/v1/dids`, `/v1/users`, `/v1/gateways`, `/v1/routes`, `/v1/customers`

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::AppState;
use super::access::Caller;
use super::body::JsonBody;
use super::error::ApiError;
use super::path::Path;
use crate::config::{Class5Destination, CustomerLimits, DEFAULT_ACCOUNT, Net, Wanted, entry};
use crate::provisioning::{Current, Kind, ProvisioningError, Wrong};
use crate::runs::RunsHandle;
use crate::script::ProgramSet;

/// Users that keys of an account may put; the operator may put more.
const MAX_USERS: usize = 10_000;
/// The most entries of one answer.
const MAX_LIST: usize = 1_000;

#[derive(Debug, Deserialize)]
struct Listed {
    after: Option<String>,
    limit: Option<usize>,
}

/// What is served at a list.
pub(super) fn list_routes(kind: Kind) -> MethodRouter<AppState> {
    get(async move |state, caller, query| list(kind, state, caller, query).await)
}

/// What is served at an entry of it.
pub(super) fn entry_routes(kind: Kind) -> MethodRouter<AppState> {
    get(async move |state, caller, path| show(kind, state, caller, path).await)
        .put(async move |state, caller, path, body| put(kind, state, caller, path, body).await)
        .delete(async move |state, caller, path| remove(kind, state, caller, path).await)
}

async fn list(
    kind: Kind,
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(Listed { after, limit }) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let current = state.engine.platform().provisioning.current();
    let limit = limit.unwrap_or(MAX_LIST).min(MAX_LIST);
    // One more than is shown tells whether there are more.
    let mut entries = current.page(kind, (after.as_deref(), limit + 1), |account| is_theirs(&caller, account));
    let has_more = entries.len() > limit;
    entries.truncate(limit);
    let mut answer = Map::new();
    if let Some(last) = entries.last().filter(|_| has_more) {
        answer.insert("next".to_owned(), name_of(kind, last).into());
    }
    answer.insert(format!("{}s", kind.list()), entries.into());
    Ok(Json(answer).into_response())
}

/// What the path of a shown entry ends with.
fn name_of(kind: Kind, shown: &Value) -> String {
    match &shown[kind.name_key()] {
        Value::String(name) => name.clone(),
        id => id.to_string(),
    }
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
    // Whose it is must not change between the look and the change.
    let turn = provisioning.turn().await;
    if let Some(account) = caller.only() {
        bind(kind, &account, &name, &mut given, &provisioning.current(), &state.engine.runs().programs())?;
    }
    no_new_application(&caller, &provisioning.current(), &name, &given)?;
    scripts_are_there(&caller, (state.engine.runs(), &provisioning.current()), &name, &given)?;
    let is_new = turn.put(kind, &name, given).await?;
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
    let turn = provisioning.turn().await;
    let current = provisioning.current();
    let is_there = current.show(kind, &name).is_some_and(|(account, _)| is_theirs(&caller, account));
    if !is_there {
        return Err(no_such_entry(kind, &name));
    }
    turn.remove(kind, &name).await?;
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

/// Refuses a route or number whose script is not there, or somebody else's; so with scripts that a number is newly to lead to: an
/// account's own, and what its callers could dial; with the operator's key, what the number's account reaches.
///
/// # Errors
/// As for any other wrong key of an entry.
pub(super) fn scripts_are_there(
    caller: &Caller,
    (runs, current): (&RunsHandle, &Current),
    name: &str,
    entry: &Map<String, Value>,
) -> Result<(), ApiError> {
    let programs = runs.programs();
    let is_seen = |name: &str| programs.by_name(name).is_some_and(|program| caller.sees(&program.account));
    let mut wrong = Vec::new();
    if let Some(name) = entry.get("script").and_then(Value::as_str) {
        let message = match programs.lacks(&Wanted::Script(name.to_owned())) {
            None if is_seen(name) => None,
            None => Some(format!("expected the name of a script of the account, found `{name}`")),
            message => message,
        };
        wrong.extend(message.map(|message| Wrong { key: "script".to_owned(), message }));
    }
    for (index, destination) in new_destinations(current, name, entry) {
        let Some(name) = destination.strip_prefix("class5:") else { continue };
        let is_application = || current.config.class5.iter().any(|application| application.destination.matches(name));
        let is_script = match caller.is_operator {
            true => programs.led_to(name, Some(owner_of_number(current, entry))).is_some(),
            false => programs.dialled(name, Some(&caller.account)).is_some() || is_seen(name),
        };
        if !is_script && !is_application() {
            let message = format!("expected a Class 5 destination, or the name of a script of the account, found `{name}`");
            wrong.push(Wrong { key: format!("destinations[{index}]"), message });
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(ProvisioningError::Invalid(wrong).into()) }
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
    match new_destinations(current, name, entry).find(|(_, to)| to.starts_with("socket:")) {
        Some((_, to)) if !caller.is_operator => {
            Err(ApiError::forbidden(format!("destinations: \"{to}\" is an application, which only the operator names")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whose number an entry would be.
fn owner_of_number<'a>(current: &'a Current, entry: &'a Map<String, Value>) -> &'a str {
    let customer = || current.account_of_customer(entry.get("customer")?.as_i64()?);
    entry.get("account").and_then(Value::as_str).or_else(customer).unwrap_or(DEFAULT_ACCOUNT)
}

/// Where a number is to lead that it does not lead to yet, with their places in the list.
fn new_destinations<'a>(
    current: &Current,
    name: &str,
    entry: &'a Map<String, Value>,
) -> impl Iterator<Item = (usize, &'a str)> + use<'a> {
    let wanted = entry.get("destinations").and_then(Value::as_array);
    let there =
        current.show(Kind::Did, name).and_then(|(_, entry)| entry["destinations"].as_array().cloned()).unwrap_or_default();
    let wanted = wanted.into_iter().flatten().enumerate().filter(move |(_, to)| !there.contains(to));
    wanted.filter_map(|(index, to)| Some((index, to.as_str()?)))
}

/// Whether whoever dials this reaches what is not the account's: a script, a number, an application, or somebody outside.
fn is_dialled_for_others(account: &str, name: &str, current: &Current, programs: &ProgramSet) -> bool {
    let others = programs.iter().filter(|program| program.account != account);
    let mut destinations = others.filter_map(|program| program.settings.class5_destination.as_ref());
    destinations.any(|destination| destination.matches(name))
        || current.show(Kind::Did, name).is_some_and(|(owner, _)| owner != Some(account))
        || current.config.class5.iter().any(|application| application.destination.matches(name))
        || current.routes.leads_anybody_to(name)
}

/// Refuses an account a number by which others reach a script, an application or a user: numbers are found before those.
pub(super) fn is_nobodys_extension(
    caller: &Caller,
    number: &str,
    current: &Current,
    programs: &ProgramSet,
) -> Result<(), ApiError> {
    if caller.is_operator {
        return Ok(());
    }
    let others = programs.iter().filter(|program| program.account != caller.account);
    let scripts = others.filter_map(|program| program.settings.class5_destination.as_ref());
    let applications = current.config.class5.iter().map(|application| &application.destination);
    // An expression is about more than this number.
    let is_it = |to: &Class5Destination| matches!(to, Class5Destination::Exact(text) if text.trim_start_matches('+') == number);
    let mut users = current.config.users.iter().filter(|user| user.account != caller.account);
    if scripts.chain(applications).any(is_it) || users.any(|user| user.name.trim_start_matches('+') == number) {
        return Err(ApiError::conflict("taken", format!("{number} is dialled for something else already")));
    }
    Ok(())
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
    // A user is dialled by name, before scripts and routes are: nobody may take the place of another's.
    if kind == Kind::User && there.is_none() && is_dialled_for_others(account, name, current, programs) {
        return Err(ApiError::conflict("taken", format!("{name} is dialled for something else already")));
    }
    // What somebody signs in with says nothing of whose customer it is.
    let is_login = || current.config.customers.iter().any(|customer| customer.user.as_deref() == Some(name));
    if kind == Kind::User && is_login() {
        return Err(ApiError::conflict("taken", format!("{name} is somebody's already")));
    }
    let own_users = || current.config.users.iter().filter(|user| user.account == account).count();
    if kind == Kind::User && there.is_none() && own_users() >= MAX_USERS {
        return Err(ApiError::conflict("too_many", format!("the account has {MAX_USERS} users already")));
    }
    let nets = |entry: Option<&Value>| {
        let texts = entry.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        texts.filter_map(|text| text.parse::<Net>().ok()).collect::<Vec<_>>()
    };
    let known = nets(there.as_ref().and_then(|(_, entry)| entry.get("addresses")));
    if let Some(net) = nets(given.get("addresses")).iter().find(|net| kind == Kind::Customer && !known.contains(net)) {
        return Err(ApiError::forbidden(format!("addresses: whose calls come from {net} only the operator says")));
    }
    if kind == Kind::Customer {
        keep_limits(there.as_ref().map(|(_, entry)| entry), given)?;
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

/// Keeps what the operator lets a customer of the account spend: limits that are not given stay, and others are refused.
fn keep_limits(there: Option<&Value>, given: &mut Map<String, Value>) -> Result<(), ApiError> {
    let Some(there) = there else {
        return Err(ApiError::forbidden("a customer, who is given limits, is put by the operator first"));
    };
    let kept = there.get("limits").cloned().unwrap_or_else(|| json!({}));
    let read = |limits: &Value| entry::<CustomerLimits>(limits.as_object()?).ok();
    match given.get("limits").filter(|limits| !limits.is_null()) {
        Some(wanted) if read(wanted).is_none() || read(wanted) != read(&kept) => {
            Err(ApiError::forbidden("limits: what a customer may spend only the operator says"))
        }
        _ => {
            given.insert("limits".to_owned(), kept);
            Ok(())
        }
    }
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

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::config::{Config, User};
    use crate::core::tests::lab::{given_to, programs};
    use crate::platform::Platform;

    const CONFIG: &str = r#"
        [[account]]
        name = "north"
        [[class5]]
        destination = "4000"
        to = "socket:127.0.0.1:8085"
        [[did]]
        number = "4420"
        account = "north"
        destinations = ["class5:script-private"]
    "#;

    /// The code of the refusal of an entry of north's; `None`: it may be put.
    fn refusal(kind: Kind, name: &str, entry: Value) -> Option<Value> {
        let config = format!(
            "{CONFIG}
            [[customer]]
            id = 12
            account = \"north\"
            addresses = [\"192.0.2.0/24\"]
            [[customer]]
            id = 13
            account = \"north\"
            user = \"pbx\"
            password = \"secret\"
            [[gateway]]
            id = 7
            address = \"sip:sbc.example.net\"
            [[route]]
            prefix = \"+44\"
            customers = [12]
            gateways = [7]"
        );
        let current = Platform::in_memory(&toml::from_str(&config).unwrap()).unwrap().provisioning.current();
        let scripts = given_to("south", &programs(&[("5000", "")]), "script-5000", true);
        let mut entry = entry.as_object().cloned().unwrap();
        bind(kind, "north", name, &mut entry, &current, &scripts).err().map(|error| error.body()["code"].clone())
    }

    #[test]
    fn an_accounts_user_takes_nobodys_calls() {
        let user = |name| refusal(Kind::User, name, json!({ "password": "x" }));
        assert_eq!(user("anna"), None);
        assert_eq!(user("331234"), None, "no route leads there");
        for taken in ["442071838750", "+442071838750", "4000", "5000", "pbx"] {
            assert_eq!(user(taken), Some(json!("taken")), "{taken}");
        }
    }

    #[test]
    fn an_account_has_a_share_of_the_users() {
        let mut config: Config = toml::from_str(CONFIG).unwrap();
        let user: User = toml::from_str("name = \"0\"\npassword = \"x\"\naccount = \"north\"").unwrap();
        config.users = (0..MAX_USERS).map(|number| User { name: format!("u{number}"), ..user.clone() }).collect();
        let current = Platform::in_memory(&config).unwrap().provisioning.current();
        let put = |account: &str, name: &str| {
            let mut entry = json!({ "password": "x" }).as_object().cloned().unwrap();
            let refused = bind(Kind::User, account, name, &mut entry, &current, &ProgramSet::default()).err();
            refused.map(|error| error.body()["code"].clone())
        };
        assert_eq!(put("north", "one-more"), Some(json!("too_many")));
        assert_eq!(put("north", "u7"), None, "it is there already");
        assert_eq!(put("south", "one-more"), None, "somebody else's");
    }

    #[test]
    fn an_account_allocates_no_number_that_is_somebodys_extension() {
        let config = format!(
            "{CONFIG}\n[[user]]\nname = \"1001\"\npassword = \"x\"\n[[user]]\nname = \"1002\"\npassword = \"x\"\naccount = \"north\""
        );
        let current = Platform::in_memory(&toml::from_str(&config).unwrap()).unwrap().provisioning.current();
        let scripts = programs(&[("south@5000", ""), ("south@/44.*/", ""), ("north@6000", "")]);
        for (number, is_free) in [
            ("1001", false),
            ("4000", false),
            ("5000", false),
            // Its own, and what fits an expression of others.
            ("1002", true),
            ("6000", true),
            ("4420", true),
        ] {
            let may = |account: &str| {
                let caller = Caller { account: account.to_owned(), is_operator: account == DEFAULT_ACCOUNT };
                is_nobodys_extension(&caller, number, &current, &scripts).is_ok()
            };
            assert_eq!((may("north"), may(DEFAULT_ACCOUNT)), (is_free, true), "{number}");
        }
    }

    #[test]
    fn an_account_does_not_say_whose_calls_come_from_an_address() {
        let customer = |name, addresses: &[&str]| refusal(Kind::Customer, name, json!({ "addresses": addresses }));
        assert_eq!(customer("12", &["192.0.2.9"]), Some(json!("forbidden")));
        assert_eq!(customer("12", &["192.0.2.0/24"]), None, "it is there already");
        assert_eq!(customer("12", &["192.0.2.0/24", "0.0.0.0/0"]), Some(json!("forbidden")));
    }

    #[test]
    fn an_account_does_not_say_what_its_customers_may_spend() {
        let there = json!({ "user": "pbx", "limits": { "calls_per_second": 1.0, "concurrent": 2 } });
        let put = |there: Option<&Value>, entry: Value| {
            let mut given = entry.as_object().cloned().unwrap();
            keep_limits(there, &mut given).map(|()| given["limits"].clone()).ok()
        };
        let kept = Some(there["limits"].clone());
        for same in [json!({}), json!({ "limits": null }), json!({ "limits": { "concurrent": 2, "calls_per_second": 1 } })] {
            assert_eq!(put(Some(&there), same.clone()), kept, "{same}");
        }
        for other in [json!({}), json!({ "concurrent": 3 }), json!({ "concurrent": 2, "spend_per_day": 5 }), json!(7)] {
            assert_eq!(put(Some(&there), json!({ "limits": other })), None, "{other}");
        }
        assert_eq!(put(Some(&json!({})), json!({})), Some(json!({})), "the operator has given none");
        assert_eq!(put(None, json!({})), None, "a new one");
    }

    /// Keys that are refused of a number that leads there.
    fn refused(account: &str, number: &str, entry: Value) -> Vec<String> {
        let config: Config = toml::from_str(CONFIG).unwrap();
        let current = Platform::in_memory(&config).unwrap().provisioning.current();
        let scripts = programs(&["own", "secret", "private", "5000"].map(|name| (name, "function main() {}")));
        let scripts = given_to("north", &scripts, "script-own", false);
        let scripts = given_to("default", &scripts, "script-secret", false);
        let scripts = given_to("default", &scripts, "script-private", false);
        let (runs, _inbox) = RunsHandle::new(watch::channel(scripts).1);
        let caller = Caller { account: account.to_owned(), is_operator: account == DEFAULT_ACCOUNT };
        match scripts_are_there(&caller, (&runs, &current), number, entry.as_object().unwrap()) {
            Ok(()) => Vec::new(),
            Err(error) => {
                let problems = error.body()["details"]["problems"].as_array().cloned().unwrap_or_default();
                problems.iter().map(|problem| problem["key"].as_str().unwrap().to_owned()).collect()
            }
        }
    }

    #[test]
    fn an_account_leads_its_numbers_to_what_can_be_dialled_and_to_its_own_scripts() {
        let wanted = ["class5:script-own", "class5:script-secret", "class5:nowhere"];
        assert_eq!(refused("north", "4477", json!({ "destinations": wanted })), ["destinations[1]", "destinations[2]"]);
        assert_eq!(refused("north", "4477", json!({ "destinations": ["class5:5000", "class5:4000", "user:1001"] })), [""; 0]);
        assert_eq!(refused("north", "4477", json!({ "script": "script-secret" })), ["script"]);
        assert_eq!(
            refused("north", "4420", json!({ "destinations": ["class5:script-private"] })),
            [""; 0],
            "it leads there already"
        );
        assert_eq!(refused(DEFAULT_ACCOUNT, "4477", json!({ "destinations": wanted })), ["destinations[2]"], "the operator's");
        let norths = json!({ "destinations": wanted, "account": "north" });
        assert_eq!(refused(DEFAULT_ACCOUNT, "4477", norths), ["destinations[2]"], "it reaches north's and default's");
    }
}
