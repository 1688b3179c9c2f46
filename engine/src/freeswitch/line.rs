//! A connection of its own to one host, for a call whose connection from there has broken.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fleet, HostError};
use crate::esl::{Command, FrameReader, Kind, Limits, Message};

const CONNECT_TIME: Duration = Duration::from_secs(3);
/// Wait before hosts are asked again that could not be asked.
const AGAIN: Duration = Duration::from_millis(250);

/// An authenticated connection, and what was read from it beyond that.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) stream: TcpStream,
    pub(crate) frames: FrameReader,
}

impl Fleet {
    /// Connects to whichever host has the channel `uuid`.
    ///
    /// # Errors
    /// None of them has it. While one of them cannot be asked, this waits for it.
    pub(crate) async fn line_to(&self, uuid: &str) -> Result<Line, HostError> {
        loop {
            let mut all_asked = true;
            for host in self.hosts.iter() {
                let asked = self.order(host, format!("uuid_exists {uuid}"), false, CONNECT_TIME).await;
                match asked.as_deref() {
                    Ok("true") => {
                        match tokio::time::timeout(CONNECT_TIME, open(host.shared.address(), host.password.expose())).await {
                            Ok(Ok(line)) => return Ok(line),
                            Ok(Err(why)) => tracing::warn!(freeswitch = host.shared.name(), %why, "no second connection"),
                            Err(_) => tracing::warn!(freeswitch = host.shared.name(), "no second connection in time"),
                        }
                    }
                    Ok(_) => continue,
                    Err(_) => {}
                }
                all_asked = false;
            }
            if all_asked {
                return Err(HostError::Refused(format!("no [[freeswitch]] has a call {uuid}")));
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn open(address: &str, password: &str) -> Result<Line, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    // Only speed depends on it.
    let _ = stream.set_nodelay(true);
    let mut frames = FrameReader::of_messages(Limits::FROM_SERVER);
    let mut buffer = vec![0; 4_096];
    loop {
        while let Some(frame) = frames.poll_frame().map_err(|error| error.to_string())? {
            let message = Message::parse(frame);
            match message.kind() {
                Kind::AuthRequest => {
                    let mut bytes = Vec::new();
                    let command = Command::new(format!("auth {password}")).map_err(|error| error.to_string())?;
                    command.write(&mut bytes);
                    stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
                }
                Kind::CommandReply if message.reply_text().starts_with("+OK") => return Ok(Line { stream, frames }),
                _ => return Err(format!("it says {:?}", message.reply_text().chars().take(60).collect::<String>())),
            }
        }
        let length = stream.read(&mut buffer).await.map_err(|error| error.to_string())?;
        if length == 0 {
            return Err("it has closed the connection".to_owned());
        }
        frames.push(buffer.get(..length).unwrap_or_default());
    }
}
