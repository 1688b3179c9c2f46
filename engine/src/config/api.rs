//! `[api]`: the HTTP interface and who may use it.

use std::net::SocketAddr;

use serde::Deserialize;

use super::Secret;

/// `[api]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    pub keys: Vec<ApiKey>,
    #[serde(deserialize_with = "super::address::socket")]
    pub listen: SocketAddr,
    /// Serves only public functions (`/f/`).
    #[serde(deserialize_with = "super::address::optional_socket")]
    pub public_listen: Option<SocketAddr>,
    /// The largest form, files included, MiB.
    pub form_mb: u32,
    /// Connections that each of the two addresses takes at once.
    pub max_connections: u32,
    /// WebSockets that public scripts serve at once, and as many again with keys.
    pub max_websockets: u32,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            public_listen: None,
            form_mb: 16,
            max_connections: 1_024,
            max_websockets: 256,
        }
    }
}

/// One entry of `keys`: a bearer token and what it opens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    pub key: Secret,
    #[serde(default)]
    pub scopes: Vec<Scope>,
    /// The account the key is bound to; `*`: the key is the operator's, who sees all of them.
    #[serde(default = "super::default_account")]
    pub account: String,
}

/// What a key may do. `admin` may everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Read,
    Run,
    Admin,
}

impl Scope {
    /// As written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Admin => "admin",
        }
    }
}
