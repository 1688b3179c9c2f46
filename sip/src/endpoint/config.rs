//! What an endpoint is set up with.

use std::net::SocketAddr;
use std::time::Duration;

use crate::message::Method;
use crate::net::Protocol;
use crate::transaction::TimerConfig;

/// Settings of an endpoint; all have defaults but the addresses.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our address per protocol, for Via where a destination names no local one. Concrete, never `0.0.0.0`.
    pub sent_by: Vec<(Protocol, SocketAddr)>,
    pub timers: TimerConfig,
    /// The methods of Allow; others get 405.
    pub allow: Vec<Method>,
    /// The option tags of Supported; a Require with another gets 420.
    pub supported: Vec<&'static str>,
    /// User-Agent and Server.
    pub user_agent: String,
    pub session_timer: SessionTimerConfig,
    /// Transactions at once, both directions; past it requests get 503 without state. Each call leaves about two for 32 s after it
    /// began and ended (timers J, L, M), under 1 KiB each.
    pub max_transactions: usize,
    /// Dialogs at once, early ones included; past it INVITEs get 503 without state.
    pub max_dialogs: usize,
    /// Early dialogs that one INVITE of ours may fork into; responses of further ones are dropped.
    pub max_forks: usize,
    /// Retry-After of a 503, in seconds.
    pub retry_after: u32,
    /// Send requests above [`Config::max_datagram`] by TCP first (RFC 3261 18.1.1).
    pub has_tcp: bool,
    /// The largest request that is sent by UDP without trying TCP first, in octets.
    pub max_datagram: usize,
    /// How long a challenged request waits for credentials.
    pub challenge_wait: Duration,
}

/// Session timers (RFC 4028).
#[derive(Clone, Copy, Debug)]
pub struct SessionTimerConfig {
    /// The shortest interval accepted, in seconds; at least 90.
    pub min_se: u32,
    /// The interval asked for in our INVITEs, in seconds; `None` asks for none, but honours the peer's.
    pub request: Option<u32>,
}

impl Default for SessionTimerConfig {
    fn default() -> SessionTimerConfig {
        SessionTimerConfig { min_se: 90, request: None }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            sent_by: Vec::new(),
            timers: TimerConfig::default(),
            allow: vec![
                Method::Invite,
                Method::Ack,
                Method::Bye,
                Method::Cancel,
                Method::Options,
                Method::Info,
                Method::Update,
                Method::Message,
                Method::Refer,
                Method::Notify,
                Method::Register,
            ],
            supported: vec!["timer"],
            user_agent: concat!("Lockstep/", env!("CARGO_PKG_VERSION")).to_owned(),
            session_timer: SessionTimerConfig::default(),
            max_transactions: 250_000,
            max_dialogs: 50_000,
            max_forks: 16,
            retry_after: 5,
            has_tcp: true,
            max_datagram: 1300,
            challenge_wait: Duration::from_secs(32),
        }
    }
}
