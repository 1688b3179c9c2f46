//! The WebSocket that a run serves: what `cxWebSocket` and `main(_, ws)` stand on.

use std::sync::Arc;

use bytes::Bytes;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};

use super::{Arguments, HostFuture, HostReply, HostService, RunContext, answered, no_such_function};

/// Messages that wait on each way before the other side is slowed down.
const QUEUE: usize = 64;
/// The longest reason of a close, in bytes (RFC 6455, section 5.5: a control frame has 125, two of them the code).
const MAX_REASON: usize = 123;

/// What comes from the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromPeer {
    Text(String),
    Binary(Bytes),
    Closed { code: u16, reason: String },
}

/// What goes to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToPeer {
    Text(String),
    Binary(Bytes),
    Close { code: u16, reason: String },
}

/// The script's end. Clones are the same end.
#[derive(Clone, Debug)]
pub struct Channel(Arc<End>);

#[derive(Debug)]
struct End {
    inbound: Mutex<mpsc::Receiver<FromPeer>>,
    outbound: mpsc::Sender<ToPeer>,
}

/// The other end.
#[derive(Debug)]
pub struct Peer {
    /// Closed when the run is over.
    pub to_script: mpsc::Sender<FromPeer>,
    /// Ends with the run.
    pub from_script: mpsc::Receiver<ToPeer>,
}

impl Channel {
    /// Both ends.
    pub fn new() -> (Self, Peer) {
        let (to_script, inbound) = mpsc::channel(QUEUE);
        let (outbound, from_script) = mpsc::channel(QUEUE);
        (Self(Arc::new(End { inbound: Mutex::new(inbound), outbound })), Peer { to_script, from_script })
    }

    /// The next message: `{type, data}`, binary ones with a body; `close` when there will be none.
    async fn next(self) -> HostReply {
        match self.0.inbound.lock().await.recv().await {
            Some(FromPeer::Text(data)) => HostReply::json(&json!({ "type": "text", "data": data })),
            Some(FromPeer::Binary(body)) => {
                HostReply { value: json!({ "type": "binary" }).to_string(), body: Some(body.to_vec()) }
            }
            Some(FromPeer::Closed { code, reason }) => {
                HostReply::json(&json!({ "type": "close", "code": code, "reason": reason }))
            }
            // RFC 6455, section 7.1.5: no close frame was received.
            None => HostReply::json(&json!({ "type": "close", "code": 1006, "reason": "" })),
        }
    }

    async fn send(self, message: ToPeer) -> Result<HostReply, OpError> {
        let gone = |_| OpError::new(ErrorCode::InvalidState, "cxWebSocket.send: the WebSocket is closed");
        self.0.outbound.send(message).await.map_err(gone)?;
        Ok(HostReply::undefined())
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Channel {}

/// The service.
pub(super) struct Channels;

impl HostService for Channels {
    fn call(&self, context: &RunContext, function: &str, args: Arguments, body: Option<Bytes>) -> HostFuture {
        // As scripts know it.
        let mut args = args.labelled(format!("cxWebSocket.{function}"));
        let Some(channel) = context.channel.clone() else {
            return answered(Err(OpError::new(ErrorCode::InvalidState, "cxWebSocket: this run serves no WebSocket")));
        };
        let message = match function {
            "next" => return Box::pin(async move { Ok(channel.next().await) }),
            "send" => match body {
                Some(body) => Ok(ToPeer::Binary(body)),
                None => args.text("msg").map(ToPeer::Text),
            },
            "close" => close(&mut args),
            _ => return no_such_function(&args),
        };
        Box::pin(async move { channel.send(message?).await })
    }
}

fn close(args: &mut Arguments) -> Result<ToPeer, OpError> {
    let code = args.opt_number("code")?.unwrap_or(1000.0);
    let reason = args.opt_text("reason")?.unwrap_or_default();
    // RFC 6455, section 7.4: what an endpoint may send of its own. 1004 to 1006 tell of closes without such a code.
    let is_sendable = |code: f64| {
        let is_own = (1000.0..=1014.0).contains(&code) && !(1004.0..=1006.0).contains(&code);
        code.fract() == 0.0 && (is_own || (3000.0..5000.0).contains(&code))
    };
    if !is_sendable(code) {
        let expected = "1000 to 1003, 1007 to 1014 or 3000 to 4999";
        return Err(args.error(ErrorCode::RangeError, format_args!("`code` must be {expected}, got {code}")));
    }
    if reason.len() > MAX_REASON {
        return Err(args.error(ErrorCode::RangeError, format_args!("`reason` may have {MAX_REASON} bytes, got {}", reason.len())));
    }
    Ok(ToPeer::Close { code: code as u16, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_has_a_code_that_may_be_sent() {
        let sent = |code: f64| close(&mut Arguments::new("cxWebSocket.close".to_owned(), vec![json!(code)])).is_ok();
        for code in [1000.0, 1001.0, 1003.0, 1007.0, 1011.0, 1014.0, 3000.0, 4999.0] {
            assert!(sent(code), "{code}");
        }
        for code in [999.0, 1000.5, 1004.0, 1005.0, 1006.0, 1015.0, 2000.0, 5000.0] {
            assert!(!sent(code), "{code}");
        }
    }
}
