//! Clients that come to us: who may, how they log in, and how their bytes are read and written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::{Access, Rights};
use super::client::{Client, Flow};
use super::hub::Hub;
use super::listeners::Listener;
use super::notices;
use super::outbox::{Next, Outbox};
use crate::esl::{Command, FrameReader, Limits, Message};

/// Clients that have logged in, at once. Applications of calls are not counted: calls have their own limit.
const MAX_CLIENTS: usize = 256;
/// Clients that log in at once.
const MAX_LOGINS: usize = 64;
/// How long a client may take to log in.
const LOGIN_TIME: Duration = Duration::from_secs(30);
/// How long a client may leave what is sent to it unread before it is given up.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// How long the last words may take.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
/// Commands of one client before others get their turn: what they cause has to be written, too, and must not pile up
/// because a client sends faster than that.
const COMMANDS_AT_ONCE: usize = 32;
/// After an error in accepting, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

const TOO_MANY: &str = "Too many clients.";

/// What a client comes in by.
struct Door {
    access: Access,
    /// Given back once it has logged in, or has not.
    login: OwnedSemaphorePermit,
    /// For those who have logged in.
    places: Arc<Semaphore>,
}

/// Takes clients in until the thread ends.
pub(super) async fn accept(listener: TcpListener, hub: Arc<Hub>, access: Access) {
    let logins = Arc::new(Semaphore::new(MAX_LOGINS));
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let login = match Arc::clone(&logins).try_acquire_owned() {
                    _ if !access.admits(peer.ip()) => Err("Access Denied, go away."),
                    login => login.map_err(|_| TOO_MANY),
                };
                match login {
                    Err(why) => {
                        tracing::warn!(%peer, why, "an event socket client was turned away");
                        tokio::spawn(reject(stream, why));
                    }
                    Ok(login) => {
                        let door = Door { access: access.clone(), login, places: Arc::clone(&places) };
                        tokio::spawn(attend(stream, Arc::clone(&hub), door));
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "an event socket client cannot be taken in");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn reject(mut stream: TcpStream, why: &str) {
    let farewell = notices::rejection(why);
    // A peer that does not listen is not told.
    let _ = tokio::time::timeout(LAST_WORDS, stream.write_all(&farewell)).await;
}

async fn attend(stream: TcpStream, hub: Arc<Hub>, door: Door) {
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let listener = Arc::new(Listener::default());
    hub.join(Arc::clone(&listener));
    let (mut commands, writing) = open(stream, &listener);
    let mut greeting = Vec::new();
    Message::bare([("Content-Type", "auth/request")]).write(&mut greeting);
    listener.outbox.reply(greeting);
    match tokio::time::timeout(LOGIN_TIME, log_in(&mut commands, &listener.outbox, door)).await {
        Ok(Some((rights, _place))) => {
            tracing::info!(%peer, "an event socket client has logged in");
            let mut client = Client::inbound(Arc::clone(&hub), Arc::clone(&listener), rights);
            tokio::select! {
                () = converse(&mut client, &mut commands) => {}
                () = listener.outbox.until_cut_off() => {}
            }
        }
        Ok(None) => tracing::debug!(%peer, "an event socket client did not log in"),
        Err(_) => listener.outbox.events([notices::malformed("no login in time")]),
    }
    listener.outbox.close();
    hub.leave(&listener);
    finish(commands, writing, &listener.outbox, &peer).await;
}

/// Waits until what is left for a client was written.
pub(super) async fn finish(mut commands: Commands, writing: tokio::task::JoinHandle<()>, outbox: &Outbox, peer: &str) {
    let is_cut_off = outbox.is_cut_off();
    if is_cut_off {
        tracing::warn!(%peer, "an event socket client does not read what it has asked for: cut off");
    }
    // It ends by itself, in the time that writing may take.
    let _ = writing.await;
    if is_cut_off {
        // With commands left unread, the system would take back what the client has not read, the notice first of all.
        let _ = tokio::time::timeout(LAST_WORDS, commands.discard()).await;
    }
}

/// Commands as they come, and a task that writes.
pub(super) fn open(stream: TcpStream, listener: &Arc<Listener>) -> (Commands, tokio::task::JoinHandle<()>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "replies may be delayed");
    }
    let (reading, writing) = stream.into_split();
    let writer = tokio::spawn(write(writing, Arc::clone(listener), (WRITE_TIME, LAST_WORDS)));
    (Commands { reading, frames: FrameReader::of_commands(Limits::FROM_CLIENT), buffer: vec![0; 16 << 10], taken: 0 }, writer)
}

/// The commands of one client.
pub(super) struct Commands {
    reading: OwnedReadHalf,
    frames: FrameReader,
    buffer: Vec<u8>,
    /// Commands since others had their turn.
    taken: usize,
}

impl Commands {
    /// The next command; `None`: the client is gone. What is no command is an error. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Command>, String> {
        if self.taken >= COMMANDS_AT_ONCE {
            self.taken = 0;
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(frame) = self.frames.poll_frame().map_err(|error| error.to_string())? {
                self.taken += 1;
                return Ok(Some(Command::parse(frame)));
            }
            match self.reading.read(&mut self.buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(read) => self.frames.push(self.buffer.get(..read).unwrap_or_default()),
            }
        }
    }
}

impl Commands {
    /// Reads until the client has gone, and heeds nothing of it.
    async fn discard(&mut self) {
        while self.reading.read(&mut self.buffer).await.is_ok_and(|read| read > 0) {}
    }
}

/// What a client may do once it has logged in, and its place among the clients; `None`: it has not. Others may log in once this is over.
async fn log_in(commands: &mut Commands, outbox: &Outbox, door: Door) -> Option<(Rights, OwnedSemaphorePermit)> {
    let Door { access, login: _login, places } = door;
    loop {
        let command = match commands.next().await {
            Ok(Some(command)) => command,
            Ok(None) => return None,
            Err(why) => {
                outbox.events([notices::malformed(&why)]);
                return None;
            }
        };
        let answer = |text: &str| {
            let mut reply = Vec::new();
            Message::reply(text).write(&mut reply);
            outbox.reply(reply);
        };
        match command.verb() {
            verb @ ("auth" | "userauth") => {
                let rights = match verb {
                    "auth" => access.opens(command.args()).then(Rights::default),
                    _ => access.user(command.args()),
                };
                let Some(rights) = rights else {
                    answer("-ERR invalid");
                    outbox.events([notices::goodbye()]);
                    return None;
                };
                let Ok(place) = places.try_acquire_owned() else {
                    tracing::warn!(MAX_CLIENTS, "an event socket client was turned away: too many have logged in");
                    outbox.events([notices::rejection(TOO_MANY).into()]);
                    return None;
                };
                match verb {
                    "auth" => answer("+OK accepted"),
                    _ => outbox.reply(rights.reply().into_bytes()),
                }
                return Some((rights, place));
            }
            "exit" | "quit" | "..." => {
                answer("+OK bye");
                outbox.events([notices::goodbye()]);
                return None;
            }
            _ => answer("-ERR command not found"),
        }
    }
}

/// Carries out commands until either side has had enough.
pub(super) async fn converse(client: &mut Client, commands: &mut Commands) {
    loop {
        match commands.next().await {
            Ok(Some(command)) => {
                if client.command(command).await == Flow::Close {
                    return;
                }
            }
            Ok(None) => return,
            Err(why) => {
                client.tell(notices::malformed(&why));
                return;
            }
        }
    }
}

/// `patience`: how long the client may leave unread what is written, and then how long the rest of it may take.
async fn write(mut socket: impl AsyncWrite + Unpin, listener: Arc<Listener>, patience: (Duration, Duration)) {
    while let Next::Write(bytes) = listener.outbox.next().await {
        let writing = socket.write_all(&bytes);
        tokio::pin!(writing);
        let mut written = tokio::time::timeout(patience.0, &mut writing).await;
        if written.is_err() {
            listener.outbox.cut_off();
            // There is no room for a notice before what was begun is read.
            written = tokio::time::timeout(patience.1, &mut writing).await;
        }
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    tracing::debug!(%error, "an event socket client is gone");
                }
                break;
            }
            Err(_) => break,
        }
    }
    listener.outbox.close();
    // The other side's end of reading; it may be gone.
    let _ = socket.shutdown().await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_client_that_reads_again_finds_out_why_it_was_cut_off() {
        let listener = Arc::new(Listener::default());
        let (mut client, server) = tokio::io::duplex(64);
        let writing = tokio::spawn(write(server, Arc::clone(&listener), (SOON, LATE)));
        listener.outbox.events([Bytes::from(vec![b'x'; 1_000])]);
        listener.outbox.until_cut_off().await;
        listener.outbox.events([Bytes::from_static(b"too late")]);
        let mut read = String::new();
        client.read_to_string(&mut read).await.unwrap();
        let notice = read.trim_start_matches('x');
        assert_eq!(read.len() - notice.len(), 1_000, "what was begun comes whole");
        assert!(notice.starts_with("Content-Type: text/disconnect-notice\n") && notice.contains("not read as fast"), "{notice}");
        assert!(!notice.contains("too late"));
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_never_reads_again_is_given_up() {
        let listener = Arc::new(Listener::default());
        let (_client, server) = tokio::io::duplex(64);
        let writing = tokio::spawn(write(server, Arc::clone(&listener), (SOON, SOON)));
        listener.outbox.events([Bytes::from(vec![b'x'; 1_000])]);
        writing.await.unwrap();
        assert!(listener.outbox.is_cut_off());
    }
}
