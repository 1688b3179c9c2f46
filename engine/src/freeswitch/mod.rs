//! The FreeSWITCH servers we connect to (`[[freeswitch]]`): placing calls on them, taking over calls that run there, asking who
//! is registered and how they are.
//!
//! A call that is placed or taken over comes back over the outbound socket and is then a call like any other
//! ([`backend::freeswitch`](crate::backend::freeswitch)).

mod client;
mod host;
mod line;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_ctx_api::op::RING_TIME;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::backend::freeswitch::argument;
use crate::config::{FreeSwitchHost, Secret};
use crate::core::Originate;
use host::Order;
pub(crate) use line::Line;

/// Commands that may wait for one host.
const ORDERS: usize = 256;
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Characters shown of what a host says.
const MAX_WHY: usize = 100;

/// Why something on a FreeSWITCH was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    #[error("no [[freeswitch]] is called {0}")]
    NoSuchHost(String),
    #[error("no [[freeswitch]] is connected")]
    NoneConnected,
    #[error("{0} is not connected")]
    NotConnected(String),
    #[error("the connection to {0} was lost; whether it was done is not known")]
    Lost(String),
    #[error("{0} does not answer")]
    TimedOut(String),
    #[error("{0}")]
    Unsendable(String),
    #[error("{0}")]
    Refused(String),
    #[error("set [event_socket] freeswitch_outbound: calls placed on FreeSWITCH come back there")]
    NoSocket,
}

/// How a host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub address: String,
    pub connected: bool,
    /// Calls there at the latest heartbeat.
    pub sessions: u64,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    #[serde(skip)]
    local: Option<IpAddr>,
}

/// A host's status, shared with the task that keeps its connection.
#[derive(Clone, Debug)]
struct Shared {
    name: Arc<str>,
    address: Arc<str>,
    status: Arc<Mutex<HostStatus>>,
}

impl Shared {
    fn name(&self) -> &str {
        &self.name
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn with<T>(&self, act: impl FnOnce(&mut HostStatus) -> T) -> T {
        act(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn connected(&self, local: IpAddr) {
        self.with(|status| (status.connected, status.problem, status.local) = (true, None, Some(local)));
    }

    fn lost(&self, why: &str) {
        self.with(|status| (status.connected, status.problem) = (false, Some(why.to_owned())));
    }

    fn busy(&self, sessions: u64) {
        self.with(|status| status.sessions = sessions);
    }
}

#[derive(Clone, Debug)]
struct Host {
    shared: Shared,
    password: Secret,
    weight: u32,
    orders: mpsc::Sender<Order>,
}

/// All hosts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fleet {
    hosts: Arc<[Host]>,
    /// Where calls come back to.
    socket: Option<SocketAddr>,
}

impl Fleet {
    /// Connects to all hosts, from now on and again and again. Must be called within a `LocalSet`.
    pub(crate) fn connect(configured: &[FreeSwitchHost], socket: Option<SocketAddr>) -> Self {
        let hosts = configured.iter().map(|host| {
            let name = host.name.clone().unwrap_or_else(|| host.address.clone());
            let status = HostStatus {
                name: name.clone(),
                address: host.address.clone(),
                connected: false,
                sessions: 0,
                problem: None,
                local: None,
            };
            let shared =
                Shared { name: name.into(), address: host.address.as_str().into(), status: Arc::new(Mutex::new(status)) };
            let (orders, inbox) = mpsc::channel(ORDERS);
            tokio::task::spawn_local(host::keep(shared.clone(), host.password.expose().to_owned(), inbox));
            Host { shared, password: host.password.clone(), weight: host.weight, orders }
        });
        Self { hosts: hosts.collect(), socket }
    }

    /// How each of them is.
    pub fn status(&self) -> Vec<HostStatus> {
        self.hosts.iter().map(|host| host.shared.with(|status| status.clone())).collect()
    }

    /// The one named, or the one with the fewest calls for its weight.
    fn pick(&self, name: Option<&str>) -> Result<&Host, HostError> {
        if let Some(name) = name {
            return self
                .hosts
                .iter()
                .find(|host| host.shared.name() == name)
                .ok_or_else(|| HostError::NoSuchHost(name.to_owned()));
        }
        let connected = self.hosts.iter().filter(|host| host.shared.with(|status| status.connected));
        let load = |host: &&Host| {
            let sessions = u128::from(host.shared.with(|status| status.sessions));
            // A thousandth of a call each, so that weights count before whole calls do.
            sessions * 1_000 / u128::from(host.weight.max(1))
        };
        connected.min_by_key(load).ok_or(HostError::NoneConnected)
    }

    /// Places a call; resolves with its id once it was answered. `target` is an endpoint as FreeSWITCH writes it.
    ///
    /// # Errors
    /// Nobody answered, or it could not be tried.
    pub async fn originate(&self, host: Option<&str>, target: &str, wanted: &Originate) -> Result<String, HostError> {
        let refused = |error: lockstep_ctx_api::OpError| HostError::Refused(error.message);
        let host = self.pick(host)?;
        let id = Uuid::new_v4().to_string();
        let ring = wanted.timeout.unwrap_or(RING_TIME);
        let mut variables = vec![
            format!("origination_uuid={id}"),
            format!("lockstep_call={id}"),
            format!("originate_timeout={}", ring.as_millis().div_ceil(1_000)),
            "ignore_early_media=true".to_owned(),
        ];
        let script = argument::word("originate", "destination", &wanted.destination, "-_.+*#@ ").map_err(refused)?;
        variables.push(format!("lockstep_script={}", argument::quoted(script)));
        if let Some(from) = &wanted.from {
            let from = argument::word("originate", "from", from, "-_.+*#@").map_err(refused)?;
            variables.push(format!("origination_caller_id_number={from}"));
        }
        for (name, value) in &wanted.vars {
            let name = argument::variable("originate", name).map_err(refused)?;
            let value = argument::word("originate", "vars", value, " -_.+*#@:/").map_err(refused)?;
            variables.push(format!("{name}={}", argument::quoted(value)));
        }
        let target = argument::word("originate", "to", target, "-_.+*#@:/~").map_err(refused)?;
        let socket = self.socket_for(host)?;
        host.shared.with(|status| status.sessions = status.sessions.saturating_add(1));
        let line = format!("originate {{{}}}{target} '&socket({socket} async full)'", variables.join(","));
        let failed = match self.order(host, line, true, ring + ANSWER_TIME).await {
            Ok(answer) => match accepted(&answer) {
                Ok(()) => return Ok(id),
                Err(refused) => refused,
            },
            Err(error) => error,
        };
        if matches!(failed, HostError::Refused(_) | HostError::NotConnected(_)) {
            host.shared.with(|status| status.sessions = status.sessions.saturating_sub(1));
        }
        Err(failed)
    }

    /// Has a script take over a call that runs on a host; the call's id here is its id there.
    ///
    /// # Errors
    /// There is no such call.
    pub async fn attach(&self, host: Option<&str>, uuid: &str, script: &str) -> Result<(), HostError> {
        let refused = |error: lockstep_ctx_api::OpError| HostError::Refused(error.message);
        let uuid = argument::word("attach", "call", uuid, "-").map_err(refused)?;
        let script = argument::word("attach", "script", script, "-_.+*#@").map_err(refused)?;
        let host = match host {
            Some(name) => self.pick(Some(name))?,
            None => self.host_of(uuid).await?,
        };
        let socket = self.socket_for(host)?;
        for line in [
            format!("uuid_setvar {uuid} lockstep_script {script}"),
            format!("uuid_transfer {uuid} 'socket:{socket} async full' inline"),
        ] {
            accepted(&self.order(host, line, false, ANSWER_TIME).await?)?;
        }
        Ok(())
    }

    /// Who is registered on a host, as its `show registrations` tells it.
    ///
    /// # Errors
    /// It is not connected, or says something else.
    pub async fn registrations(&self, host: &str) -> Result<serde_json::Value, HostError> {
        let host = self.pick(Some(host))?;
        let answer = self.order(host, "show registrations as json".to_owned(), false, ANSWER_TIME).await?;
        let table: serde_json::Value =
            serde_json::from_str(&answer).map_err(|_| HostError::Refused(answer.chars().take(MAX_WHY).collect()))?;
        // A server without any leaves the rows out.
        Ok(table.get("rows").cloned().unwrap_or_else(|| serde_json::Value::Array(Vec::new())))
    }

    async fn host_of(&self, uuid: &str) -> Result<&Host, HostError> {
        for host in self.hosts.iter().filter(|host| host.shared.with(|status| status.connected)) {
            if self.order(host, format!("uuid_exists {uuid}"), false, ANSWER_TIME).await.as_deref() == Ok("true") {
                return Ok(host);
            }
        }
        Err(HostError::Refused(format!("no connected [[freeswitch]] has a call {uuid}")))
    }

    /// Our outbound socket, as the host reaches it.
    fn socket_for(&self, host: &Host) -> Result<SocketAddr, HostError> {
        let mut socket = self.socket.ok_or(HostError::NoSocket)?;
        if socket.ip().is_unspecified()
            && let Some(local) = host.shared.with(|status| status.local)
        {
            socket.set_ip(local);
        }
        Ok(socket)
    }

    async fn order(&self, host: &Host, line: String, is_job: bool, time: Duration) -> Result<String, HostError> {
        let (reply, answer) = oneshot::channel();
        let job = is_job.then(|| Uuid::new_v4().to_string());
        let name = || host.shared.name().to_owned();
        host.orders.try_send(Order { line, job, reply }).map_err(|_| HostError::NotConnected(name()))?;
        match tokio::time::timeout(time, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(HostError::Lost(name())),
            Err(_) => Err(HostError::TimedOut(name())),
        }
    }
}

/// Whether a host has done what it was told: it says `+OK`, or why not.
fn accepted(answer: &str) -> Result<(), HostError> {
    if answer.starts_with("+OK") {
        return Ok(());
    }
    let why = answer.strip_prefix("-ERR").unwrap_or(answer).trim();
    Err(HostError::Refused(why.chars().take(MAX_WHY).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_accepted_is_refused() {
        assert!(accepted("+OK 0a1b\n").is_ok());
        for (answer, why) in [("-ERR USER_BUSY", "USER_BUSY"), ("hello", "hello"), ("", ""), ("-USAGE: <uuid>", "-USAGE: <uuid>")]
        {
            assert!(matches!(accepted(answer), Err(HostError::Refused(found)) if found == why), "{answer}");
        }
    }
}
