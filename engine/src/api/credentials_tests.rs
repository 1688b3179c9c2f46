//! Every operation of the table, with every kind of key, and with bodies that are meant to hurt. A new route is covered by being in the
//! table: it only has to say, in [`of_north`] and [`body_for`], what it could be asked about.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::routes::{Operation, Reach, operations};
use super::{MAX_BODY, MAX_SCRIPT, Server};
use crate::config::{ApiConfig, ApiKey, Config, Scope, Secret};
use crate::core::EngineHandle;
use crate::fetch::{EgressPolicy, Fetcher};
use crate::platform::Platform;
use crate::runs::{RunsConfig, RunsHandle, RunsThread, ScriptPlace};
use crate::script::programs::Loader;
use crate::store::script_versions::{self, Noted, Origin};

const CONFIG: &str = r#"
[[account]]
name = "north"
[[account]]
name = "south"
[[app]]
name = "sales"
account = "north"
[[user]]
name = "1001"
password = "x"
account = "north"
[[customer]]
id = 12
account = "north"
[[gateway]]
id = 7
address = "sip:sbc.example.net"
[[route]]
id = "all"
prefix = ""
gateways = [7]
[[did]]
number = "4420"
account = "north"
destinations = ["class5:100"]
[drivers]
alert = "alarm"
"#;

const SCRIPT: &str = "// @lockstep app=sales class5_destination=100 public=true\nexports.main = (data) => 'north';";

/// Keys are named `ACCOUNT-SCOPE`.
const ACCOUNTS: [(&str, &str); 3] = [("operator", "*"), ("north", "north"), ("south", "south")];
const SCOPES: [Scope; 3] = [Scope::Read, Scope::Run, Scope::Admin];

fn key_of(account: &str, scope: Scope) -> String {
    format!("{account}-{}-0123456789", scope.name())
}

/// The interface, with things of north's in it; its core has stopped, so what asks it gets 503.
struct House {
    api: SocketAddr,
    client: Client,
    job: i64,
    uuid: String,
    platform: Platform,
    dir: PathBuf,
    _runs: RunsThread,
}

impl Drop for House {
    fn drop(&mut self) {
        // Left behind in the temporary folder at worst.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl House {
    async fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("lockstep-credentials-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("menu.js"), SCRIPT).unwrap();
        let mut config: Config = toml::from_str(CONFIG).unwrap();
        config.scripts.dir = dir.clone();
        let keys = ACCOUNTS.iter().flat_map(|(name, account)| {
            SCOPES.map(|scope| ApiKey {
                key: Secret::literal(key_of(name, scope)),
                scopes: vec![scope],
                account: (*account).to_owned(),
            })
        });
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let api_config = ApiConfig { listen, keys: keys.collect(), form_mb: 1, ..ApiConfig::default() };
        let programs = Loader::new(&dir, &config).load().unwrap().set;
        let uuid = programs.by_name("menu").unwrap().uuid.clone();
        let (handle, inbox) = RunsHandle::new(watch::channel(Arc::clone(&programs)).1);
        let platform = Platform::in_memory(&config).unwrap();
        let fetcher = Fetcher::new(EgressPolicy::new(config.security.clone())).unwrap();
        let (services, events) = (platform.services.clone(), platform.events.clone());
        let runs_config = RunsConfig { place: ScriptPlace::InProcess, fetcher, services, events, journals: None };
        let runs = RunsThread::start(runs_config, handle.clone(), inbox).unwrap();
        let (engine, _, _) = EngineHandle::new(Vec::new(), handle, platform.clone());
        let server = Server::bind(&api_config, engine).await.unwrap();
        let api = server.addr();
        tokio::spawn(server.serve(std::future::pending()));
        let client = crate::fetch::client_builder().build().unwrap();
        let mut house = Self { api, client, job: 0, uuid, platform, dir, _runs: runs };
        let north = key_of("north", Scope::Admin);
        let kept = house.send("PUT", "/v1/kv/pin", Some(&north), r#"{"value":"1234"}"#.into()).await;
        assert_eq!(kept.0, 204, "{}", kept.1);
        let added = house.send("POST", "/v1/jobs", Some(&north), r#"{"script":"menu","delay_ms":600000}"#.into()).await;
        house.job = added.1["id"].as_i64().unwrap_or_else(|| panic!("no job: {}", added.1));
        let set = house.send("PUT", "/v1/apps/sales/env/TOKEN", Some(&north), r#"{"value":"t"}"#.into()).await;
        assert_eq!(set.0, 200, "{}", set.1);
        house
    }

    async fn send(&self, method: &str, path: &str, key: Option<&str>, body: Vec<u8>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("http://{}{path}", self.api)).body(body);
        request = request.header("content-type", "application/json");
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let status = response.status().as_u16();
        let asks = response.headers().contains_key("www-authenticate");
        assert_eq!(asks, status == 401, "{path}: a 401 says what is expected");
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn ask(&self, operation: &Operation, key: Option<&str>) -> (u16, Value) {
        let (path, body) = (self.of_north(operation.path), body_for(operation));
        self.send(operation.method.as_str(), &path, key, body.into_bytes()).await
    }

    /// The path with something of north's in it.
    fn of_north(&self, path: &str) -> String {
        let job = self.job.to_string();
        let list = path.trim_start_matches('/').split('/').nth(1).unwrap_or_default();
        let name = match list {
            "scripts" | "forms" | "drivers" | "workers" => "menu",
            "jobs" => &job,
            "kv" => "pin",
            "dids" => "4420",
            "users" => "1001",
            "customers" => "12",
            "gateways" => "7",
            "routes" => "all",
            "apps" => "sales",
            "queues" => "menu",
            "calls" | "runs" => "none",
            "freeswitch" => "none",
            _ if path.starts_with("/f/") => &self.uuid,
            _ => "",
        };
        let filled = path.replace("{id}", name).replace("{app}", name).replace("{host}", name);
        let within = if list == "apps" { "TOKEN" } else { name };
        let filled = filled.replace("{name}", within).replace("{key}", name).replace("{fn}", "main").replace("{version}", "1");
        assert!(!filled.contains('{') && !filled.contains("//"), "say what {path} could be about");
        filled
    }
}

/// A body that the operation takes.
fn body_for(operation: &Operation) -> String {
    let Some(schema) = operation.body else { return String::new() };
    match schema {
        "Object" | "RunRequest" | "RollBack" | "Any" => json!({}),
        "NewScript" => json!({ "file": "other.js", "source": "function main() {}" }),
        "ScriptSource" => json!({ "source": "function main() {}" }),
        "KeyPut" | "Variable" => json!({ "value": "v" }),
        "NewJob" => json!({ "script": "menu", "delay_ms": 600_000 }),
        "Originate" => json!({ "to": "1001", "destination": "100" }),
        "Did" => json!({ "destinations": ["class5:100"] }),
        "User" => json!({ "password": "x" }),
        "Customer" => json!({}),
        "Gateway" => json!({ "address": "sip:h" }),
        "Route" => json!({ "prefix": "", "gateways": [7] }),
        "Allocate" => json!({ "did": "4420" }),
        other => panic!("say what a body of {other} is"),
    }
    .to_string()
}

fn described(operation: &Operation, who: &str) -> String {
    format!("{} {} as {who}", operation.method, operation.path)
}

#[tokio::test]
async fn no_operation_opens_without_a_key_that_has_its_scope() {
    let house = House::new().await;
    for operation in operations() {
        let Some(needed) = operation.scope else {
            let (status, _) = house.ask(operation, None).await;
            assert!(![401, 403].contains(&status), "{}: {status}", described(operation, "nobody"));
            continue;
        };
        for wrong in [None, Some("no-such-key-0123456789"), Some("")] {
            let (status, body) = house.ask(operation, wrong).await;
            assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthorized")), "{}", described(operation, "nobody"));
        }
        for scope in SCOPES.into_iter().filter(|scope| *scope != needed && *scope != Scope::Admin) {
            for (account, _) in ACCOUNTS {
                let (status, body) = house.ask(operation, Some(&key_of(account, scope))).await;
                let who = described(operation, &key_of(account, scope));
                assert_eq!((status, &body["error"]["code"]), (403, &json!("forbidden")), "{who}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_with_the_scope_gets_past_the_door_unless_the_whole_engine_is_meant() {
    let house = House::new().await;
    for operation in operations().filter(|operation| operation.method != axum::http::Method::DELETE) {
        let Some(needed) = operation.scope else { continue };
        for scope in [needed, Scope::Admin] {
            let (status, body) = house.ask(operation, Some(&key_of("operator", scope))).await;
            assert!(![401, 403].contains(&status), "{}: {status} {body}", described(operation, "the operator"));
            let (status, body) = house.ask(operation, Some(&key_of("north", scope))).await;
            let is_refused = status == 403;
            // Routes are run for the customer that the object names, here none; numbers are the operator's to give.
            let may_be = ["/v1/route", "/v1/scripts"].contains(&operation.path);
            if !may_be {
                assert_eq!(is_refused, operation.reach == Reach::Engine, "{}: {body}", described(operation, "north"));
            }
        }
    }
}

#[tokio::test]
async fn what_is_norths_is_not_there_for_south() {
    let house = House::new().await;
    let south = key_of("south", Scope::Admin);
    for operation in operations().filter(|operation| operation.reach == Reach::Account && operation.path.contains('{')) {
        let (status, body) = house.ask(operation, Some(&south)).await;
        let code = body["error"]["code"].as_str().unwrap_or_default();
        // Keys and queues are named within an account: these are south's own. Calls are known to the core, which has stopped.
        let is_own = status == 204 && (operation.path == "/v1/kv/{key}" || operation.path.starts_with("/v1/queues/"));
        let is_stopped = operation.path.starts_with("/v1/calls/") && code == "stopping";
        let is_taken = status == 409 && code == "taken";
        assert!(status == 404 || is_own || is_stopped || is_taken, "{}: {status} {body}", described(operation, "south"));
        assert!(!body.to_string().contains("1234") && !body.to_string().contains("\"t\""), "{body}");
    }
    let north = key_of("north", Scope::Admin);
    let lists = operations().filter(|operation| {
        operation.reach == Reach::Account
            && operation.method == axum::http::Method::GET
            && !operation.path.contains('{')
            && operation.path != "/v1/events"
    });
    for operation in lists {
        let (_, body) = house.send("GET", operation.path, Some(&south), Vec::new()).await;
        for things in body.as_object().into_iter().flat_map(|body| body.values()).filter_map(Value::as_array) {
            assert!(things.is_empty(), "{}: {body}", described(operation, "south"));
        }
    }
    assert_eq!(house.send("GET", "/v1/kv/pin", Some(&north), Vec::new()).await.1["value"], "1234", "nothing of it is lost");
    assert_eq!(house.send("GET", "/v1/dids/4420", Some(&north), Vec::new()).await.0, 200);
    assert_eq!(house.send("GET", &format!("/v1/jobs/{}", house.job), Some(&north), Vec::new()).await.1["state"], "delayed");
}

#[tokio::test]
async fn a_page_names_where_the_next_one_begins_and_what_is_not_asked_for_is_passed_over() {
    let house = House::new().await;
    let north = key_of("north", Scope::Admin);
    let put = house.send("PUT", "/v1/users/anna", Some(&north), br#"{"password":"x"}"#.to_vec()).await;
    assert_eq!(put.1["error"]["code"], "stopping", "it is put, and the core told, which has stopped");
    let page = async |query: &str| {
        let (status, body) = house.send("GET", &format!("/v1/users?{query}"), Some(&north), Vec::new()).await;
        assert_eq!(status, 200, "{body}");
        let names = body["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), body["next"].as_str().map(str::to_owned))
    };
    assert_eq!(page("limit=1&_=7").await, (vec!["1001".to_owned()], Some("1001".to_owned())));
    assert_eq!(page("limit=1&after=1001").await, (vec!["anna".to_owned()], None));
}

#[tokio::test]
async fn of_two_accounts_that_put_the_same_one_has_it() {
    let house = House::new().await;
    for number in 0..20 {
        let path = format!("/v1/users/dup{number}");
        let put = async |account: &str| {
            house.send("PUT", &path, Some(&key_of(account, Scope::Admin)), br#"{"password":"x"}"#.to_vec()).await.0
        };
        let (north, south) = tokio::join!(put("north"), put("south"));
        // The core has stopped: what is stored is answered with 503.
        assert!([(503, 409), (409, 503)].contains(&(north, south)), "{north} {south}");
    }
}

#[tokio::test]
async fn a_text_is_shown_to_its_owner_whatever_has_become_of_its_file() {
    let house = House::new().await;
    let record = async |file: &'static str, account: &'static str, source: &'static str| {
        let noted = Noted { file, account, source, sha256: source };
        let write = move |connection: &_, now| script_versions::record(connection, now, noted, None, Origin::Http);
        house.platform.store.write(write).await.unwrap();
    };
    record("menu.js", "south", "the secret").await;
    record("menu.js", "north", SCRIPT).await;
    record("gone.js", "south", "the secret").await;
    let ask = async |account: &str, path: &str| {
        let (status, body) = house.send("GET", path, Some(&key_of(account, Scope::Admin)), Vec::new()).await;
        let versions = body["versions"].as_array().into_iter().flatten();
        (status, versions.map(|version| version["version"].clone()).collect::<Vec<_>>())
    };
    for (account, path, status, versions) in [
        ("north", "/v1/scripts/menu/versions", 200, vec![json!(2)]),
        ("north", "/v1/scripts/menu/versions/1", 404, vec![]),
        ("south", "/v1/scripts/menu/versions", 200, vec![json!(1)]),
        ("south", "/v1/scripts/gone/versions", 200, vec![json!(1)]),
        ("south", "/v1/scripts/gone/versions/1", 200, vec![]),
        ("north", "/v1/scripts/gone/versions", 404, vec![]),
        ("operator", "/v1/scripts/menu/versions", 200, vec![json!(2), json!(1)]),
    ] {
        assert_eq!(ask(account, path).await, (status, versions), "{account} {path}");
    }
    let add = async |account: &str, file: &str| {
        let body = json!({ "file": file, "source": SCRIPT }).to_string().into_bytes();
        house.send("POST", "/v1/scripts", Some(&key_of(account, Scope::Admin)), body).await.0
    };
    // What would be taken gets a 503: the core has stopped.
    for (account, file, status) in [
        ("north", "gone.js", 409),
        ("north", "Gone.mjs", 409),
        ("south", "gone.js", 503),
        ("operator", "gone.js", 503),
        ("north", "alarm.js", 409),
        ("operator", "alarm.js", 503),
        ("north", "new.js", 503),
    ] {
        assert_eq!(add(account, file).await, status, "{account} {file}");
    }
    let back = house.send("POST", "/v1/scripts/gone/rollback", Some(&key_of("north", Scope::Admin)), b"{}".to_vec()).await;
    assert_eq!(back.0, 404, "{}", back.1);
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_deep_are_refused_and_nothing_is_lost() {
    let house = House::new().await;
    let key = key_of("operator", Scope::Admin);
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for operation in operations().filter(|operation| operation.body.is_some()) {
        let (method, path) = (operation.method.as_str(), house.of_north(operation.path));
        let limit = if path.starts_with("/v1/scripts") && !path.ends_with("/run") && !path.ends_with("/rollback") {
            MAX_SCRIPT
        } else {
            MAX_BODY
        };
        let (status, body) = house.send(method, &path, Some(&key), vec![b' '; limit + 1]).await;
        assert_eq!((status, &body["error"]["code"]), (413, &json!("too_large")), "{}: {body}", described(operation, "large"));
        for bomb in [deep(100_000), format!("{{\"data\":{}}}", deep(100_000)), "{\"a\":".repeat(50_000)] {
            let (status, body) = house.send(method, &path, Some(&key), bomb.into_bytes()).await;
            let is_said = body["error"]["message"].is_string();
            assert!((status == 400 || status == 422) && is_said, "{}: {status} {body}", described(operation, "deep"));
        }
    }
    let run = house.send("POST", "/v1/scripts/menu/run", Some(&key), b"{}".to_vec()).await;
    assert_eq!(run.1["result"], "north");
    let north = key_of("north", Scope::Admin);
    assert_eq!(house.send("GET", "/v1/kv/pin", Some(&north), Vec::new()).await.1["value"], "1234");
}
