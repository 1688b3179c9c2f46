//! A stand-in for FreeSWITCH: what its event socket says and does, built from the recorded conversations in
//! `tests/freeswitch/transcripts` and the documentation of its applications.
//!
//! [`Channel`] has no socket and no clock. [`Line`] puts one on a TCP connection to an engine; what lasts on it lasts a tenth as
//! long.

mod apps;
pub mod arguments;
mod channel;
mod commands;
mod digits;
mod server;
mod setup;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

pub use channel::{Channel, TICK_MS};
pub use server::Server;
pub use setup::{Peer, Setup};

use crate::engine::within;

/// Time of the stand-in per time of the machine.
const SPEED: u64 = 10;

/// A channel that is connected to an engine.
#[derive(Clone, Debug)]
pub struct Line {
    shared: Arc<(Mutex<Channel>, Notify)>,
    gone: Arc<Notify>,
    began: Instant,
}

impl Line {
    /// The dialplan of `setup` comes to `socket`.
    ///
    /// # Panics
    /// When the engine takes no connection.
    #[expect(clippy::disallowed_methods, reason = "the stand-in meets the clock here")]
    pub async fn dial(engine: SocketAddr, setup: Setup) -> Self {
        let stream = within("a connection to the engine", TcpStream::connect(engine)).await.expect("the engine listens");
        stream.set_nodelay(true).expect("a socket of this machine");
        let shared = Arc::new((Mutex::new(Channel::new(setup)), Notify::new()));
        let line = Self { shared, gone: Arc::default(), began: Instant::now() };
        tokio::spawn(line.clone().carry(stream));
        line
    }

    /// Looks at the channel, or does something to it.
    pub fn with<T>(&self, act: impl FnOnce(&mut Channel) -> T) -> T {
        let result = act(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.1.notify_waiters();
        self.shared.1.notify_one();
        result
    }

    /// Waits until `look` finds something in the channel.
    ///
    /// # Panics
    /// When it never does.
    pub async fn find<T>(&self, what: &str, mut look: impl FnMut(&mut Channel) -> Option<T>) -> T {
        let search = async {
            loop {
                let more = self.gone.notified();
                if let Some(found) = look(&mut self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)) {
                    return found;
                }
                more.await;
            }
        };
        within(what, search).await
    }

    /// Waits until an application was started whose name and argument contain `text`.
    pub async fn executes(&self, text: &str) -> String {
        self.find(text, |channel| channel.executed.iter().find(|executed| executed.contains(text)).cloned()).await
    }

    /// Waits for the end of the call; its cause.
    pub async fn over(&self) -> String {
        self.find("the end of the call", |channel| channel.hangup_cause.clone()).await
    }

    /// The connection breaks, and nothing more is said.
    pub fn cut(&self) {
        self.with(Channel::break_connection);
    }

    /// The connection breaks, and the channel lives on.
    pub fn lose(&self) {
        self.with(Channel::lose_connection);
    }

    /// The id of the channel.
    pub fn uuid(&self) -> String {
        self.with(|channel| channel.uuid().to_owned())
    }

    /// Steers the channel over a connection to the server, which has read `bytes` already.
    pub(crate) async fn adopt(self, stream: TcpStream, bytes: &[u8]) {
        self.with(|channel| {
            channel.connect_inbound();
            channel.receive(bytes);
        });
        self.carry(stream).await;
    }

    #[expect(clippy::disallowed_methods, reason = "the channel's time is the machine's, faster")]
    async fn carry(self, mut stream: TcpStream) {
        let began = self.began;
        let now_ms = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) * SPEED;
        let mut buffer = [0; 16 * 1024];
        loop {
            let (out, due, is_over) = {
                let mut channel = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
                channel.advance(now_ms());
                (channel.take_out(), channel.next_due(), channel.is_closed() || channel.is_lost())
            };
            // What was sent may end a test, and with it the other side.
            let sent = stream.write_all(&out).await;
            self.gone.notify_waiters();
            if is_over || sent.is_err() {
                return;
            }
            let wait = due.map(|due| Duration::from_millis(due.div_ceil(SPEED)).saturating_sub(began.elapsed()));
            tokio::select! {
                read = stream.read(&mut buffer) => match read {
                    Ok(length) if length > 0 => self.with(|channel| {
                        // What a command starts begins now, however long the engine took to send it.
                        channel.advance(now_ms());
                        channel.receive(&buffer[..length]);
                    }),
                    _ => {
                        self.with(Channel::caller_hangs_up);
                        self.gone.notify_waiters();
                        return;
                    }
                },
                () = self.shared.1.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3_600))) => {}
            }
        }
    }
}
