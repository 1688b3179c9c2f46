//! A WebSocket that a script serves: `GET /f/{uuid}` with an upgrade where the script is public, `/v1/scripts/{id}/ws` with a key.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use futures_util::future::{FusedFuture, FutureExt as _};
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _, TryStreamExt as _};
use lockstep_ctx_api::wire::WEBSOCKET_ENTRY;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::Error as Wrong;

use super::AppState;
use super::access::Caller;
use super::error::ApiError;
use super::path::Path;
use crate::form::Fields;
use crate::host::{Channel, FromPeer, Peer, ToPeer};
use crate::runs::{RunFailure, RunKind, RunRequest, RunSuccess, RunsHandle};
use crate::script::Program;

/// The largest message either side may send, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// The largest frame that is read at all: a larger one ends the connection before its peer can be told why.
const MAX_FRAME: usize = 2 * MAX_MESSAGE;
/// How long a client may take to accept one message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping this often finds clients that went away without saying so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Pings in a row that may go unanswered.
const MISSED_PINGS: u32 = 2;

pub(super) async fn serve(
    State(state): State<AppState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let runs = state.engine.runs();
    let program = caller.program(runs, &id)?;
    let upgrade = upgrade.map_err(|error| ApiError::bad_request(format!("expected a WebSocket: {}", error.body_text())))?;
    accept(runs, &state.websockets, &program, query.as_deref(), upgrade)
}

/// How many WebSockets scripts may serve: each is a run that lasts as long as its peer likes.
#[derive(Clone, Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    pub(super) fn new(count: u32) -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(count).unwrap_or(Semaphore::MAX_PERMITS))))
    }
}

/// Upgrades, where there is a place, and runs `program` for as long as the connection lives. `query` gives the fields of its `data`.
pub(super) fn accept(
    runs: &RunsHandle,
    places: &Places,
    program: &Program,
    query: Option<&str>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    let mut fields = Fields::default();
    fields
        .extend_urlencoded(query.unwrap_or_default().as_bytes())
        .map_err(|error| ApiError::bad_request(format!("the query has {error}")))?;
    let data = fields.into_json();
    let (runs, script) = (runs.clone(), program.name.clone());
    let place = Arc::clone(&places.0).try_acquire_owned().map_err(|_| ApiError::too_many_websockets())?;
    Ok(upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_FRAME).on_upgrade(async move |socket| {
        attend(socket, runs, script, data).await;
        drop(place);
    }))
}

async fn attend(socket: WebSocket, runs: RunsHandle, script: String, data: String) {
    let (channel, peer) = Channel::new();
    let mut request = RunRequest::named(script, RunKind::WebSocket, data).function(Some(WEBSOCKET_ENTRY.to_owned()));
    request.channel = Some(channel);
    let (sink, stream) = socket.split();
    converse(peer, sink, stream.map_err(farewell), runs.run(request)).await;
}

/// What whoever sent something wrong is told (RFC 6455, 7.4.1); `None`: the connection itself has failed.
pub(super) fn farewell(error: axum::Error) -> Option<CloseFrame> {
    let code = match error.into_inner().downcast_ref::<Wrong>()? {
        Wrong::Capacity(_) => close_code::SIZE,
        Wrong::Protocol(_) => close_code::PROTOCOL,
        Wrong::Utf8(_) => close_code::INVALID,
        _ => return None,
    };
    Some(CloseFrame { code, reason: "".into() })
}

/// Carries messages between a script, whose `run` serves `peer`, and a connection, until one of them has ended.
async fn converse(
    peer: Peer,
    mut sink: impl Sink<Message> + Unpin,
    mut stream: impl Stream<Item = Result<Message, Option<CloseFrame>>> + Unpin,
    run: impl Future<Output = Result<RunSuccess, RunFailure>>,
) {
    let Peer { to_script, mut from_script } = peer;
    // Its end may be seen before its channel closes, and after: whoever looks again finds it pending.
    let mut run = Box::pin(run.fuse());
    let mut pings = tokio::time::interval(PING_INTERVAL);
    let mut unanswered = 0;
    // Read, and not yet with the script.
    let mut held = None;
    // Dropping the run, when the peer has gone and the script does not notice, ends it.
    let last = loop {
        let out = tokio::select! {
            biased;
            message = from_script.recv() => match message {
                Some(ToPeer::Text(text)) => Message::Text(text.into()),
                Some(ToPeer::Binary(bytes)) => Message::Binary(bytes),
                Some(ToPeer::Close { code, reason }) => break Some(CloseFrame { code, reason: reason.into() }),
                // The run lets go of its end just before it says how it ended.
                None => break Some(goodbye((&mut run).await.is_ok())),
            },
            end = &mut run => break Some(goodbye(end.is_ok())),
            // A script that does not keep up slows its peer down: nothing more is read until it has room. What it sends goes out.
            room = to_script.reserve(), if held.is_some() => {
                let Ok(room) = room else { break None };
                if let Some(heard) = held.take() {
                    room.send(heard);
                }
                continue;
            }
            message = stream.next(), if held.is_none() => {
                unanswered = 0;
                held = Some(match message {
                    Some(Ok(Message::Text(text))) => FromPeer::Text(text.to_string()),
                    Some(Ok(Message::Binary(bytes))) => FromPeer::Binary(bytes),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(frame))) => {
                        let (code, reason) = frame.map_or((1005, String::new()), |frame| (frame.code, frame.reason.to_string()));
                        leave(&to_script, FromPeer::Closed { code, reason }, run).await;
                        return;
                    }
                    Some(Err(wrong)) => {
                        if let Some(frame) = wrong {
                            // The peer may have gone.
                            let _ = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
                        }
                        leave(&to_script, FromPeer::Closed { code: 1006, reason: String::new() }, run).await;
                        return;
                    }
                    None => {
                        leave(&to_script, FromPeer::Closed { code: 1006, reason: String::new() }, run).await;
                        return;
                    }
                });
                continue;
            }
            _ = pings.tick() => {
                // An answer may wait behind what is not read.
                if held.is_none() {
                    unanswered += 1;
                }
                if unanswered > MISSED_PINGS {
                    leave(&to_script, FromPeer::Closed { code: 1006, reason: String::new() }, run).await;
                    return;
                }
                Message::Ping(Default::default())
            }
        };
        if !matches!(tokio::time::timeout(SEND_TIMEOUT, sink.send(out)).await, Ok(Ok(()))) {
            leave(&to_script, FromPeer::Closed { code: 1006, reason: String::new() }, run).await;
            return;
        }
    };
    let (code, reason) = last.as_ref().map_or((1006, String::new()), |frame| (frame.code, frame.reason.to_string()));
    // The peer may have gone; it then needs no goodbye.
    let _ = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Close(last))).await;
    if !run.is_terminated() && !from_script.is_closed() {
        // An end that the script itself asked for is one that it may finish at.
        leave(&to_script, FromPeer::Closed { code, reason }, run).await;
    }
}

fn goodbye(finished: bool) -> CloseFrame {
    if finished { CloseFrame { code: 1000, reason: "".into() } } else { CloseFrame { code: 1011, reason: "Script Error".into() } }
}

/// How long a script has to finish once its connection is gone.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Tells the script that its peer has gone, and lets it finish.
async fn leave(
    to_script: &tokio::sync::mpsc::Sender<FromPeer>,
    closed: FromPeer,
    run: impl Future<Output = Result<RunSuccess, RunFailure>>,
) {
    let finish = async {
        // A run that is over needs not be told.
        let _ = to_script.send(closed).await;
        let _ = run.await;
    };
    // What it does after that is its own loss: the run is dropped.
    let _ = tokio::time::timeout(LAST_WORDS, finish).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Mutex;

    use futures_util::{sink, stream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::runs::{RunError, RunLog};

    fn failed() -> Result<RunSuccess, RunFailure> {
        Err(RunFailure { run: "1".into(), error: RunError::Stuck, took: Duration::ZERO, log: RunLog::default() })
    }

    type Sent = Arc<Mutex<Vec<Message>>>;

    /// A connection that takes everything at once.
    fn noting(sent: &Sent) -> impl Sink<Message> + Unpin + use<> {
        Box::pin(sink::unfold(Arc::clone(sent), async move |sent: Sent, message: Message| {
            sent.lock().unwrap().push(message);
            Ok::<_, Infallible>(sent)
        }))
    }

    #[tokio::test]
    async fn a_run_that_is_over_before_its_channel_closes_is_not_waited_for_again() {
        let (channel, peer) = Channel::new();
        let sent = Sent::default();
        let quiet = stream::pending::<Result<Message, Option<CloseFrame>>>();
        converse(peer, noting(&sent), quiet, async { failed() }).await;
        drop(channel);
        let sent = sent.lock().unwrap();
        assert!(matches!(&sent[..], [.., Message::Close(Some(frame))] if frame.code == 1011), "{sent:?}");
    }

    #[tokio::test]
    async fn what_a_script_sends_goes_out_while_more_comes_than_it_reads() {
        const ANSWERS: usize = 5;
        const MESSAGES: usize = 9;
        let (to_script, mut inbound) = mpsc::channel(1);
        let (outbound, from_script) = mpsc::channel(1);
        let peer = Peer { to_script, from_script };
        let busy = stream::iter((0..MESSAGES).map(|number| Ok::<_, Option<CloseFrame>>(Message::text(number.to_string()))));
        let run = async move {
            for _ in 0..ANSWERS {
                outbound.send(ToPeer::Text("answer".into())).await.unwrap();
            }
            for number in 0..MESSAGES {
                assert_eq!(inbound.recv().await, Some(FromPeer::Text(number.to_string())));
            }
            failed()
        };
        let sent = Sent::default();
        let all = converse(peer, noting(&sent), busy.chain(stream::pending()), run);
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("neither side waits for the other");
        let sent = sent.lock().unwrap();
        assert_eq!(sent.iter().filter(|message| matches!(message, Message::Text(_))).count(), ANSWERS);
    }
}
