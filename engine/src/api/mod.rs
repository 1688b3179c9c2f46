//! The HTTP interface: health, metrics, calls, scripts, events.
//!
//! It reaches the engine only through [`EngineHandle`], so that a slow client never slows a call. [`routes`] is the one table
//! of what exists, from which scopes are enforced and `/v1/openapi.json` is written.

mod access;
mod answer;
mod apps;
mod body;
mod calls;
mod carried;
mod cdrs;
mod connections;
mod drivers;
mod error;
mod event_commands;
mod events;
mod forms;
mod freeswitch;
mod health;
mod held;
mod jobs;
mod journals;
mod kv;
mod metrics;
mod numbers;
mod openapi;
mod path;
mod provisioning;
mod public;
mod recording;
mod route;
mod routes;
mod runs;
mod scripts;
mod websocket;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post, put};
use futures_util::future::OptionFuture;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{ApiConfig, ApiKey};
use crate::core::EngineHandle;
use crate::form::FormLimits;
use crate::provisioning::Kind;
use carried::Changes;
use connections::Door;
use websocket::Places;

/// The largest request body, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The largest body that carries a script: 4 MiB of text, written as JSON.
const MAX_SCRIPT: usize = 12 << 20;

/// What every handler sees. Cloned several times for each request.
#[derive(Clone, Debug)]
pub(crate) struct AppState(Arc<Parts>);

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// See [`AppState`].
#[derive(Debug)]
pub(crate) struct Parts {
    engine: EngineHandle,
    keys: Arc<[ApiKey]>,
    form_limits: FormLimits,
    numbers: numbers::UnderWay,
    changes: Changes,
    websockets: Places,
    public_websockets: Places,
}

/// A bound, not yet serving HTTP interface.
#[derive(Debug)]
pub struct Server {
    door: Door,
    addr: SocketAddr,
    router: Router,
    /// Where only public functions are served.
    public: Option<(Door, SocketAddr, Router)>,
    changes: Changes,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub struct BindError {
    /// The key of the configuration that says it.
    pub key: &'static str,
    pub address: SocketAddr,
    pub error: io::Error,
}

impl Server {
    /// Binds the configured addresses.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub async fn bind(config: &ApiConfig, engine: EngineHandle) -> Result<Self, BindError> {
        let (door, addr) = listen(config, "api.listen", config.listen).await?;
        let form_limits = FormLimits { body: usize::try_from(config.form_mb).unwrap_or(usize::MAX) << 20 };
        let places = || Places::new(config.max_websockets);
        let (websockets, public_websockets) = (places(), places());
        let (keys, numbers, changes) = (config.keys.clone().into(), numbers::UnderWay::default(), Changes::default());
        let parts = Parts { engine, keys, form_limits, numbers, changes: changes.clone(), websockets, public_websockets };
        let state = AppState(Arc::new(parts));
        let public = match config.public_listen {
            None => None,
            Some(address) => {
                let (door, addr) = listen(config, "api.public_listen", address).await?;
                let router = public_routes(&state)
                    .route_layer(middleware::from_fn_with_state(state.clone(), carried::public))
                    .fallback(error::no_such_path)
                    .method_not_allowed_fallback(error::no_such_method)
                    .with_state(state.clone());
                Some((door, addr, router))
            }
        };
        Ok(Self { door, addr, router: router(state), public, changes })
    }

    /// Where it listens; a port that was 0 in the configuration is filled in.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it serves public functions and nothing else.
    pub fn public_addr(&self) -> Option<SocketAddr> {
        self.public.as_ref().map(|(_, addr, _)| *addr)
    }

    /// Serves until `stop` resolves, then lets requests under way end, and changes whose clients have gone.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let (told, stopping) = watch::channel(false);
        let stop = async move {
            stop.await;
            told.send_replace(true);
        };
        let public = OptionFuture::from(self.public.map(|(door, _, router)| door.serve(router, stopping.clone())));
        tokio::join!(stop, self.door.serve(self.router, stopping), public);
        self.changes.made().await;
    }
}

async fn listen(config: &ApiConfig, key: &'static str, address: SocketAddr) -> Result<(Door, SocketAddr), BindError> {
    let named = |error: io::Error| BindError { key, address, error };
    let listener = TcpListener::bind(address).await.map_err(named)?;
    let addr = listener.local_addr().map_err(named)?;
    Ok((Door::new(listener, config.max_connections), addr))
}

/// What `public_listen` serves.
fn public_routes(state: &AppState) -> Router<AppState> {
    let limit = DefaultBodyLimit::max(state.form_limits.body);
    Router::new()
        .route("/f/{id}", get(public::main).post(public::main).layer(limit))
        .route("/f/{id}/{fn}", get(public::function).post(public::function).layer(limit))
}

fn router(state: AppState) -> Router {
    let form_limit = DefaultBodyLimit::max(state.form_limits.body);
    let mut lists = Router::new();
    for kind in Kind::ALL {
        let path = format!("/v1/{}s", kind.list());
        let entry = format!("{path}/{{name}}");
        lists = lists.route(&path, provisioning::list_routes(kind)).route(&entry, provisioning::entry_routes(kind));
    }
    Router::new()
        .merge(lists)
        .route("/v1/health", get(health::health))
        .route("/v1/ready", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/openapi.json", get(openapi::document))
        .route("/v1/calls", get(calls::list).post(calls::originate))
        .route("/v1/calls/{id}", get(calls::show).delete(calls::hangup))
        .route("/v1/calls/{id}/timeline", get(calls::timeline))
        .route("/v1/calls/{id}/journal", get(journals::show))
        .route("/v1/calls/{id}/recording", get(recording::show))
        .route("/v1/freeswitch", get(freeswitch::list))
        .route("/v1/freeswitch/{host}/registrations", get(freeswitch::registrations))
        .route("/v1/freeswitch/attach", post(freeswitch::attach))
        .route("/v1/scripts", get(scripts::list).post(scripts::add).layer(DefaultBodyLimit::max(MAX_SCRIPT)))
        .route(
            "/v1/scripts/{id}",
            get(scripts::show).put(scripts::put).delete(scripts::remove).layer(DefaultBodyLimit::max(MAX_SCRIPT)),
        )
        .route("/v1/scripts/{id}/versions", get(scripts::versions))
        .route("/v1/scripts/{id}/versions/{version}", get(scripts::version))
        .route("/v1/scripts/{id}/rollback", post(scripts::roll_back))
        .route("/v1/scripts/{id}/run", post(runs::run))
        .route("/v1/dids/search", post(numbers::search))
        .route("/v1/dids/allocate", post(numbers::allocate))
        .route("/v1/dids/release", post(numbers::release))
        .route("/v1/apps", get(apps::list))
        .route("/v1/apps/{app}/env", get(apps::variables))
        .route("/v1/apps/{app}/env/{name}", put(apps::put).delete(apps::remove))
        .route("/v1/kv", get(kv::list))
        .route("/v1/kv/{key}", get(kv::show).put(kv::put).delete(kv::remove))
        .route("/v1/cdrs", get(cdrs::list))
        .route("/v1/jobs", get(jobs::list).post(jobs::add))
        .route("/v1/jobs/{id}", get(jobs::show))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/queues/{name}/pause", post(jobs::pause))
        .route("/v1/queues/{name}/resume", post(jobs::resume))
        .route("/v1/scripts/{id}/ws", get(websocket::serve))
        .route("/v1/workers/{id}/messages", post(workers::message))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{id}/journal", get(journals::show_run))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/forms/{id}", post(forms::submit).layer(form_limit))
        .route("/v1/drivers/{id}/{fn}", post(drivers::call))
        .route("/v1/route", post(route::route))
        .merge(public_routes(&state))
        .route("/v1/events", get(events::events))
        .route_layer(middleware::from_fn_with_state(state.clone(), access::check))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(state)
}

#[cfg(test)]
mod credentials_tests;
#[cfg(test)]
mod run_tests;

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use serde_json::Value;

    use super::*;
    use crate::config::{Config, Scope, Secret};
    use crate::platform::Platform;

    async fn bind(config: &ApiConfig) -> Result<Server, BindError> {
        let (engine, _, _) =
            EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), Platform::in_memory(&Config::default()).unwrap());
        Server::bind(config, engine).await
    }

    /// The interface of an engine that has just stopped: every question to it gets 503.
    async fn serve(keys: Vec<ApiKey>) -> (SocketAddr, tokio::sync::oneshot::Sender<()>) {
        let config = ApiConfig { keys, listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..ApiConfig::default() };
        let server = bind(&config).await.unwrap();
        let addr = server.addr();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        tokio::spawn(server.serve(async {
            let _ = stopped.await;
        }));
        (addr, stop)
    }

    async fn ask(addr: SocketAddr, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let mut request = crate::fetch::client_builder().build().unwrap().request(method, format!("http://{addr}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named_by_its_key() {
        let (taken, _stop) = serve(Vec::new()).await;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        for (listen, public_listen, key) in [(taken, None, "api.listen"), (free, Some(taken), "api.public_listen")] {
            let refused = bind(&ApiConfig { listen, public_listen, ..ApiConfig::default() }).await;
            assert_eq!(refused.map(|_| "bound").map_err(|error| error.key), Err(key));
        }
    }

    #[tokio::test]
    async fn every_operation_of_the_table_is_served() {
        let (addr, _stop) = serve(Vec::new()).await;
        for operation in routes::operations() {
            let path = operation.path.replace("{id}", "x");
            let (status, body) = ask(addr, operation.method.clone(), &path, &[]).await;
            let unserved = [405, 500].contains(&status) || body["error"]["code"] == "no_such_path";
            assert!(!unserved, "{} {path}: {status} {body}", operation.method);
        }
    }

    #[tokio::test]
    async fn errors_have_code_and_message() {
        let (addr, _stop) = serve(Vec::new()).await;
        for (method, path, status, code) in [
            (Method::GET, "/v1/nothing", 404, "no_such_path"),
            (Method::PUT, "/v1/calls", 405, "no_such_method"),
            (Method::GET, "/v1/calls?state=dead", 400, "bad_request"),
            (Method::GET, "/v1/calls?limit=many", 400, "bad_request"),
            (Method::DELETE, "/v1/calls/x?code=200", 400, "bad_request"),
            (Method::POST, "/v1/calls", 422, "invalid_body"),
            (Method::GET, "/v1/calls/%FF", 400, "bad_request"),
            (Method::GET, "/v1/kv/%FF", 400, "bad_request"),
            (Method::GET, "/v1/kv?prefx=a", 400, "bad_request"),
            (Method::GET, "/v1/jobs?stat=failed", 400, "bad_request"),
            (Method::GET, "/v1/jobs/one", 400, "bad_request"),
            (Method::GET, "/v1/calls/x", 503, "stopping"),
            (Method::GET, "/v1/calls/x/recording?number=one", 400, "bad_request"),
        ] {
            let (found, body) = ask(addr, method.clone(), path, &[]).await;
            assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{method} {path}");
            assert!(body["error"]["message"].is_string(), "{method} {path}");
        }
    }

    #[tokio::test]
    async fn a_foreign_host_is_refused_on_the_wire() {
        let (addr, _stop) = serve(Vec::new()).await;
        let (status, _) = ask(addr, Method::GET, "/v1/calls", &[("host", "evil.example")]).await;
        assert_eq!(status, 403);
    }

    #[tokio::test]
    async fn keys_are_asked_for_once_there_are_any() {
        let key = ApiKey { key: Secret::literal("0123456789abcdef"), scopes: vec![Scope::Read], account: "default".to_owned() };
        let (addr, _stop) = serve(vec![key]).await;
        let token = [("authorization", "Bearer 0123456789abcdef")];
        assert_eq!(ask(addr, Method::GET, "/v1/calls", &[]).await.0, 401);
        assert_eq!(ask(addr, Method::GET, "/v1/calls", &token).await.0, 503);
        assert_eq!(ask(addr, Method::DELETE, "/v1/calls/x", &token).await.0, 403);
    }
}
