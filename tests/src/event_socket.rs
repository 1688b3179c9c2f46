//! A bare connection to the engine's event socket.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::engine::{Engine, within};

/// What lets clients in.
pub const PASSWORD: &str = "a-password";

/// The configuration of an event socket on a free port.
pub fn config() -> String {
    format!("[event_socket]\nlisten = \"127.0.0.1:0\"\npassword = \"{PASSWORD}\"\n")
}

/// A bare connection.
pub struct Wire(TcpStream);

impl Wire {
    /// Connects, and waits to be asked for the password.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn open(engine: &Engine) -> Self {
        let mut wire = Self(TcpStream::connect(engine.event_socket()).await.expect("the event socket listens"));
        wire.until("auth/request\n\n").await;
        wire
    }

    /// Connects and logs in.
    pub async fn logged_in(engine: &Engine) -> Self {
        let mut wire = Self::open(engine).await;
        wire.send(&format!("auth {PASSWORD}\n\n")).await;
        wire.until("+OK accepted\n\n").await;
        wire
    }

    /// The engine's connection to an application.
    ///
    /// # Panics
    /// When the engine does not connect.
    pub async fn called(application: &TcpListener) -> Self {
        Self(within("a call for the application", application.accept()).await.expect("the engine connects").0)
    }

    /// Writes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the engine reads");
    }

    /// What comes up to and with `text`.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&seen).ends_with(text) {
                match self.0.read_u8().await {
                    Ok(byte) => seen.push(byte),
                    Err(_) => break,
                }
            }
        };
        within(&format!("`{text}`"), reading).await;
        let seen = String::from_utf8_lossy(&seen).into_owned();
        assert!(seen.ends_with(text), "the connection ended before `{text}`: {seen}");
        seen
    }

    /// The answer to a command of `api`.
    pub async fn api(&mut self, command: &str) -> String {
        self.send(&format!("api {command}\n\n")).await;
        self.until("Content-Type: api/response\nContent-Length: ").await;
        let length: usize = self.until("\n\n").await.trim().parse().expect("a length");
        let mut body = vec![0; length];
        within("an answer", self.0.read_exact(&mut body)).await.expect("the answer is whole");
        String::from_utf8_lossy(&body).into_owned()
    }

    /// What comes until the connection ends.
    pub async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // A peer that resets has said all it had to say, too.
        let _ = within("the end of a connection", self.0.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}
