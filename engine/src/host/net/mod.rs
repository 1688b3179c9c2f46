//! The service `net`: TCP and TLS connections of scripts, within the egress policy.
//!
//! A connection is named by a number nobody can guess and belongs to its account. Reading is asked for and stays pending until
//! there is something; a run that ends gives its pending read up, and with it the connection.

mod connection;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde_json::json;
use tokio::net::TcpStream;

use super::{Arguments, HostFuture, HostService, RunContext, no_such_function};
use crate::fetch::EgressPolicy;
use connection::{Connection, Failure};
use table::Table;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone)]
pub(crate) struct Net {
    policy: Arc<EgressPolicy>,
    table: Arc<Table>,
}

impl Net {
    /// The service within `policy`.
    pub(crate) fn new(policy: EgressPolicy) -> Self {
        Self { policy: Arc::new(policy), table: Arc::default() }
    }

    async fn perform(self, account: String, function: Function, body: Option<Bytes>) -> Result<HostReply, Failure> {
        match function {
            Function::Lookup { host } => {
                let found = self.resolve(&host, 0).await?;
                let addresses: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
                Ok(HostReply::json(&json!(addresses)))
            }
            Function::Connect { host, port, server_name } => {
                let slot = self.table.reserve(&account)?;
                let addresses = self.resolve(&host, port).await?;
                let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&*addresses))
                    .await
                    .map_err(|_| Failure::TimedOut(CONNECT_TIMEOUT))?
                    .map_err(|error| Failure::Network(host.clone(), error))?;
                let (local, remote) = ends(&stream).map_err(|error| Failure::Network(host.clone(), error))?;
                let connection = match server_name {
                    None => Connection::plain(stream),
                    Some(name) => Connection::tls(Box::new(stream), &name).await?,
                };
                let handle = self.table.add(slot, connection, (local, remote));
                Ok(opened(&handle, local, remote))
            }
            Function::StartTls { handle, server_name } => {
                let (slot, connection, (local, remote)) = self.table.take(&account, &handle)?;
                let stream = connection.into_stream().await?;
                let connection = Connection::tls(stream, &server_name).await?;
                let handle = self.table.add(slot, connection, (local, remote));
                Ok(opened(&handle, local, remote))
            }
            Function::Read { handle } => {
                let connection = self.table.get(&account, &handle)?;
                // Given up with the run that waits for it.
                let abandoned = scopeguard(|| self.table.close(&account, &handle));
                let bytes = connection.read().await;
                abandoned.defuse();
                Ok(HostReply { value: String::new(), body: Some(bytes?) })
            }
            Function::Write { handle } => {
                let connection = self.table.get(&account, &handle)?;
                connection.write(&body.unwrap_or_default()).await?;
                Ok(HostReply::undefined())
            }
            Function::End { handle } => {
                self.table.get(&account, &handle)?.end().await?;
                Ok(HostReply::undefined())
            }
            Function::Close { handle } => {
                self.table.close(&account, &handle);
                Ok(HostReply::undefined())
            }
        }
    }

    /// The addresses of a name that may be connected to: what passed is what is used.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port)))
            .await
            .map_err(|_| Failure::TimedOut(CONNECT_TIMEOUT))?
            .map_err(|error| Failure::NoAddress(host.to_owned(), error.to_string()))?;
        let (allowed, forbidden): (Vec<_>, Vec<_>) = found.partition(|address| self.policy.allows(address.ip()));
        if allowed.is_empty() {
            return Err(match forbidden.is_empty() {
                true => Failure::NoAddress(host.to_owned(), "the name has none".to_owned()),
                false => Failure::Forbidden(host.to_owned()),
            });
        }
        Ok(allowed)
    }
}

impl HostService for Net {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, body: Option<Bytes>) -> HostFuture {
        let function = match Function::read(function, &mut args) {
            Ok(Some(function)) => function,
            Ok(None) => return no_such_function(&args),
            Err(error) => return super::answered(Err(error)),
        };
        let work = self.clone().perform(context.account.clone(), function, body);
        Box::pin(async move { work.await.map_err(|failure| args.error(failure.code(), failure)) })
    }
}

/// One call, read.
enum Function {
    Lookup {
        host: String,
    },
    /// `server_name`: over TLS, to whoever has a certificate for it.
    Connect {
        host: String,
        port: u16,
        server_name: Option<String>,
    },
    StartTls {
        handle: String,
        server_name: String,
    },
    Read {
        handle: String,
    },
    Write {
        handle: String,
    },
    /// Half-closes: the other side sees the end.
    End {
        handle: String,
    },
    Close {
        handle: String,
    },
}

impl Function {
    fn read(name: &str, args: &mut Arguments) -> Result<Option<Self>, OpError> {
        Ok(Some(match name {
            "lookup" => Self::Lookup { host: args.text("host")? },
            "connect" => Self::Connect { host: args.text("host")?, port: port(args)?, server_name: None },
            "connectTls" => {
                Self::Connect { host: args.text("host")?, port: port(args)?, server_name: Some(args.text("servername")?) }
            }
            "startTls" => Self::StartTls { handle: args.text("handle")?, server_name: args.text("servername")? },
            "read" => Self::Read { handle: args.text("handle")? },
            "write" => Self::Write { handle: args.text("handle")? },
            "end" => Self::End { handle: args.text("handle")? },
            "close" => Self::Close { handle: args.text("handle")? },
            _ => return Ok(None),
        }))
    }
}

fn port(args: &mut Arguments) -> Result<u16, OpError> {
    let port = args.number("port")?;
    if port.fract() == 0.0 && (1.0..=65535.0).contains(&port) {
        return Ok(port as u16);
    }
    Err(args.error(ErrorCode::RangeError, format_args!("`port` must be 1 to 65535, got {port}")))
}

fn ends(stream: &TcpStream) -> std::io::Result<(SocketAddr, SocketAddr)> {
    stream.set_nodelay(true)?;
    Ok((stream.local_addr()?, stream.peer_addr()?))
}

fn opened(handle: &str, local: SocketAddr, remote: SocketAddr) -> HostReply {
    let end = |address: SocketAddr| json!([address.ip().to_string(), address.port()]);
    HostReply::json(&json!({ "handle": handle, "local": end(local), "remote": end(remote) }))
}

/// Runs `action` when it is dropped, unless it was defused.
struct ScopeGuard<F: FnMut()>(Option<F>);

fn scopeguard<F: FnMut()>(action: F) -> ScopeGuard<F> {
    ScopeGuard(Some(action))
}

impl<F: FnMut()> ScopeGuard<F> {
    fn defuse(mut self) {
        self.0 = None;
    }
}

impl<F: FnMut()> Drop for ScopeGuard<F> {
    fn drop(&mut self) {
        if let Some(action) = &mut self.0 {
            action();
        }
    }
}

#[cfg(test)]
mod tests;
