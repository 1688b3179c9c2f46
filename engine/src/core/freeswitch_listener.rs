//! Where FreeSWITCH connects to: `[event_socket] freeswitch_outbound`.
#![expect(clippy::disallowed_methods, reason = "an IO edge: binds a socket")]

use std::cell::{OnceCell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::freeswitch::{ConnectionId, ConnectionLink};
use super::switch::Switch;
use crate::backend::freeswitch::recover::RETURN_TIME;
use crate::esl::{FrameReader, Limits, Message};
use crate::freeswitch::{Fleet, Line};
use crate::script::Moment;

/// A connection becomes a call within this time, or ends.
const GREETING_TIME: Duration = Duration::from_secs(10);
/// How long what was sent last may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Bytes that may wait for a media server that does not read.
const MAX_WAITING: usize = 4 << 20;
/// Bytes read before other tasks get their turn.
const READ_CHUNK: usize = 64 * 1024;
/// Wait before accepting again when the system has no descriptor left.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

/// What connections need of the core's loop.
#[derive(Clone)]
pub(super) struct Core {
    pub switch: Weak<RefCell<Switch>>,
    /// The core's next deadline may have come nearer.
    pub rearm: Rc<Notify>,
    /// The hosts we connect to ourselves, once there are any.
    pub fleet: Rc<OnceCell<Fleet>>,
}

impl Core {
    /// Does something with the switch, and what follows from it; nothing once the core is gone.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Switch) -> T) -> Option<T> {
        let switch = self.switch.upgrade()?;
        let mut switch = switch.borrow_mut();
        let before = switch.next_deadline();
        switch.set_time(Moment::now());
        let result = act(&mut switch);
        switch.pump();
        if switch.next_deadline() != before || switch.is_draining() {
            self.rearm.notify_one();
        }
        Some(result)
    }
}

/// Opens the socket.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Takes connections for as long as the core lives.
pub(super) async fn listen(listener: TcpListener, core: Core) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tracing::debug!(%peer, "FreeSWITCH connects");
                tokio::task::spawn_local(carry(stream, peer, core.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "event socket for FreeSWITCH");
                tokio::time::sleep(ACCEPT_BACK_OFF).await;
            }
        }
    }
}

/// The sending side, as the switch sees it.
struct Link {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

impl ConnectionLink for Link {
    fn send(&mut self, bytes: Vec<u8>) {
        let waiting = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        if waiting <= MAX_WAITING {
            // The writer is gone only when the connection is.
            let _ = self.queue.send(bytes);
        }
    }
}

/// Carries a call's connection, and the one that takes its place when it breaks.
async fn carry(stream: TcpStream, peer: SocketAddr, core: Core) {
    let line = Line { stream, frames: FrameReader::of_messages(Limits::FROM_SERVER) };
    let Some(mut lost) = attend(line, peer, &core, None).await else { return };
    loop {
        let (id, channel) = lost;
        tracing::warn!(%peer, %channel, "the connection of a call on FreeSWITCH broke");
        let found = match core.fleet.get() {
            Some(fleet) => tokio::time::timeout(RETURN_TIME, fleet.line_to(&channel)).await.ok().and_then(Result::ok),
            None => None,
        };
        let Some(line) = found else {
            core.with(|switch| switch.channel_gone(id));
            return;
        };
        match attend(line, peer, &core, Some(id)).await {
            Some(again) => lost = again,
            None => return,
        }
    }
}

/// Carries one connection until it ends; the channel whose call needs another one then. `of` is the call's connection that this
/// one takes the place of.
async fn attend(line: Line, peer: SocketAddr, core: &Core, of: Option<ConnectionId>) -> Option<(ConnectionId, String)> {
    let Line { stream, mut frames } = line;
    // Every command waits for its answer: none may wait for another to fill a packet.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let (mut reader, writer) = stream.into_split();
    let (queue, outgoing) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let link = Link { queue, waiting: Arc::clone(&waiting) };
    let mut writing = tokio::task::spawn_local(write(writer, outgoing, waiting));
    let id = match of {
        Some(id) => core.with(|switch| switch.channel_back(id, Box::new(link))).filter(|needed| *needed).map(|_| id)?,
        None => core.with(|switch| switch.channel_connected(Box::new(link)))?,
    };
    let greeting = tokio::time::sleep(GREETING_TIME);
    tokio::pin!(greeting);
    let mut buffer = vec![0; READ_CHUNK];
    // What came together with the answer to our password.
    let mut is_open = deliver(&mut frames, id, peer, core);
    while is_open {
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let bytes = match read {
                    Ok(0) => break,
                    Ok(length) => buffer.get(..length).unwrap_or_default(),
                    Err(error) => {
                        tracing::debug!(%peer, %error, "the connection with FreeSWITCH broke");
                        break;
                    }
                };
                frames.push(bytes);
                is_open = deliver(&mut frames, id, peer, core);
            }
            // Everything was sent after the call had ended, or it cannot be sent.
            _ = &mut writing => break,
            () = &mut greeting, if !greeting.is_elapsed() => {
                if core.with(|switch| switch.is_channel(id)) != Some(true) {
                    tracing::warn!(%peer, "a connection for FreeSWITCH has not become a call in time");
                    break;
                }
            }
        }
    }
    let lost = core.with(|switch| switch.channel_closed(id)).flatten();
    if !writing.is_finished() && tokio::time::timeout(LAST_WORDS, &mut writing).await.is_err() {
        writing.abort();
    }
    lost.map(|channel| (id, channel))
}

/// Hands over the messages that are complete; whether the connection can go on.
fn deliver(frames: &mut FrameReader, id: ConnectionId, peer: SocketAddr, core: &Core) -> bool {
    loop {
        match frames.poll_frame() {
            Ok(Some(frame)) => {
                let message = Message::parse(frame);
                if core.with(|switch| switch.channel_message(id, &message)).is_none() {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%peer, %error, "a connection for FreeSWITCH does not speak its language");
                return false;
            }
        }
    }
}

async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Vec<u8>>, waiting: Arc<AtomicUsize>) {
    while let Some(bytes) = queue.recv().await {
        if let Err(error) = writer.write_all(&bytes).await {
            return tracing::debug!(%error, "the connection with FreeSWITCH broke");
        }
        if waiting.fetch_sub(bytes.len(), Ordering::Relaxed) > MAX_WAITING {
            return tracing::warn!("FreeSWITCH does not read what it is sent");
        }
    }
    if let Err(error) = writer.shutdown().await {
        tracing::debug!(%error, "the connection with FreeSWITCH was gone already");
    }
}
