//! The connection to one FreeSWITCH: made, kept, made again.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::client::{Client, Output, RequestId};
use super::{HostError, Shared};
use crate::esl::{FrameReader, Limits, Message};

const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Wait before the second attempt; doubled up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How long a fresh connection may take until the password was accepted.
const LOGIN_TIME: Duration = Duration::from_secs(10);
/// FreeSWITCH beats every 20 s by default; a connection without a sign of life is asked after this time.
const QUIET_TIME: Duration = Duration::from_secs(60);
const READ_CHUNK: usize = 64 * 1024;

/// A command for a host.
#[derive(Debug)]
pub(super) struct Order {
    pub line: String,
    /// Runs beside others under this name.
    pub job: Option<String>,
    pub reply: oneshot::Sender<Result<String, HostError>>,
}

/// Keeps a connection for as long as anybody could send orders.
pub(super) async fn keep(shared: Shared, password: String, mut orders: mpsc::Receiver<Order>) {
    let mut wait = FIRST_WAIT;
    loop {
        let why = match tokio::time::timeout(CONNECT_TIME, TcpStream::connect(shared.address())).await {
            Ok(Ok(stream)) => {
                let local = stream.local_addr().map(|address| address.ip()).unwrap_or(IpAddr::from([127, 0, 0, 1]));
                // Only speed depends on it.
                let _ = stream.set_nodelay(true);
                match attend(stream, local, &shared, &password, &mut orders, &mut wait).await {
                    Some(why) => why,
                    None => return,
                }
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        shared.lost(&why);
        tracing::warn!(freeswitch = shared.name(), %why, again_in_ms = wait.as_millis(), "not connected");
        let pause = tokio::time::sleep(wait);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                order = orders.recv() => match order {
                    // Whoever asked may have gone away.
                    Some(order) => drop(order.reply.send(Err(HostError::NotConnected(shared.name().to_owned())))),
                    None => return,
                },
            }
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// How long nothing has come. What is asked of the host meanwhile is no sign of its life.
struct Silence {
    since: Instant,
    /// It has been asked whether it is there.
    is_asked: bool,
}

impl Silence {
    fn since(since: Instant) -> Self {
        Self { since, is_asked: false }
    }

    fn ends(&self, is_ready: bool) -> Instant {
        self.since + if is_ready { QUIET_TIME } else { LOGIN_TIME }
    }

    /// It has as long again to answer.
    fn ask(&mut self) {
        *self = Self { since: self.ends(true), is_asked: true };
    }
}

/// Carries one connection; why it has ended, or nothing when nobody needs it any more.
async fn attend(
    stream: impl AsyncRead + AsyncWrite,
    local: IpAddr,
    shared: &Shared,
    password: &str,
    orders: &mut mpsc::Receiver<Order>,
    wait: &mut Duration,
) -> Option<String> {
    let (mut reading, mut writing) = tokio::io::split(stream);
    let mut client = Client::new(password);
    let mut reader = FrameReader::of_messages(Limits::FROM_SERVER);
    let mut pending: BTreeMap<RequestId, oneshot::Sender<Result<String, HostError>>> = BTreeMap::new();
    let mut last: RequestId = 0;
    let mut is_ready = false;
    let mut silence = Silence::since(Instant::now());
    let mut buffer = vec![0; READ_CHUNK];
    // What it has not taken yet.
    let mut out = BytesMut::new();
    let why = 'connection: loop {
        while let Some(output) = client.poll_output() {
            match output {
                Output::Ready => {
                    (is_ready, *wait) = (true, FIRST_WAIT);
                    shared.connected(local);
                    tracing::info!(freeswitch = shared.name(), "connected");
                }
                Output::Answer(id, text) => {
                    if let Some(reply) = pending.remove(&id) {
                        // Whoever asked may have gone away.
                        let _ = reply.send(Ok(text));
                    }
                }
                Output::Sessions(sessions) => shared.busy(sessions),
                Output::Failed(why) => break 'connection why,
            }
        }
        if let Some(bytes) = client.take_out() {
            out.extend_from_slice(&bytes);
        }
        tokio::select! {
            // One that takes nothing is listened to all the same, and given up once it is silent.
            written = writing.write_buf(&mut out), if !out.is_empty() => match written {
                Ok(0) => break "it takes nothing any more".to_owned(),
                Ok(_) => {}
                Err(error) => break error.to_string(),
            },
            read = tokio::time::timeout_at(silence.ends(is_ready), reading.read(&mut buffer)) => match read {
                Ok(Ok(0)) => break "it has closed the connection".to_owned(),
                Ok(Ok(length)) => {
                    silence = Silence::since(Instant::now());
                    reader.push(buffer.get(..length).unwrap_or_default());
                    loop {
                        match reader.poll_frame() {
                            Ok(Some(frame)) => client.handle_message(&Message::parse(frame)),
                            Ok(None) => break,
                            Err(error) => break 'connection error.to_string(),
                        }
                    }
                }
                Ok(Err(error)) => break error.to_string(),
                Err(_) if is_ready && !silence.is_asked => {
                    silence.ask();
                    last += 1;
                    // It has no line end.
                    let _ = client.api(last, "status");
                }
                Err(_) => break "no answer".to_owned(),
            },
            order = orders.recv(), if is_ready && out.is_empty() => {
                let Order { line, job, reply } = order?;
                // Whoever asked has been told that it was not done.
                if reply.is_closed() {
                    continue;
                }
                pending.retain(|id, reply| {
                    let is_wanted = !reply.is_closed();
                    if !is_wanted {
                        client.forget(*id);
                    }
                    is_wanted
                });
                last += 1;
                let sent = match &job {
                    Some(job) => client.job(last, &line, job),
                    None => client.api(last, &line),
                };
                match sent {
                    Ok(()) => drop(pending.insert(last, reply)),
                    // Whoever asked may have gone away.
                    Err(error) => drop(reply.send(Err(HostError::Unsendable(error.to_string())))),
                }
            }
        }
    };
    for reply in pending.into_values() {
        // Whoever asked may have gone away.
        let _ = reply.send(Err(HostError::Lost(shared.name().to_owned())));
    }
    Some(why)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::HostStatus;
    use super::*;
    use crate::esl::Event;

    fn shared() -> Shared {
        let (name, address) = ("a".to_owned(), "a".to_owned());
        let status = HostStatus { name, address, connected: false, sessions: 0, problem: None, local: None };
        Shared { name: "a".into(), address: "a".into(), status: Arc::new(Mutex::new(status)) }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_asked_of_a_host() {
        let shared = shared();
        let (asking, mut orders) = mpsc::channel(2);
        let (ours, mut host) = tokio::io::duplex(256);
        let mut wait = FIRST_WAIT;
        let attending = attend(ours, IpAddr::from([127, 0, 0, 1]), &shared, "ClueCon", &mut orders, &mut wait);
        let talking = async {
            let (reply, _) = oneshot::channel();
            asking.send(Order { line: "given up".to_owned(), job: None, reply }).await.unwrap();
            let (reply, _answer) = oneshot::channel();
            asking.send(Order { line: "awaited".to_owned(), job: None, reply }).await.unwrap();
            let mut said = Vec::new();
            Message::bare([("Content-Type", "auth/request")]).write(&mut said);
            Message::reply("+OK accepted").write(&mut said);
            host.write_all(&said).await.unwrap();
            let mut heard = String::new();
            while !heard.contains("awaited") {
                let mut chunk = [0; 256];
                let length = host.read(&mut chunk).await.unwrap();
                heard.push_str(&String::from_utf8_lossy(&chunk[..length]));
            }
            assert!(!heard.contains("given up"), "{heard}");
        };
        tokio::select! {
            why = attending => panic!("{why:?}"),
            () = talking => {}
        }
    }

    #[tokio::test]
    async fn a_host_that_takes_nothing_is_listened_to_all_the_same() {
        let shared = shared();
        let (asking, mut orders) = mpsc::channel(1);
        let (ours, mut host) = tokio::io::duplex(256);
        let mut wait = FIRST_WAIT;
        let attending = attend(ours, IpAddr::from([127, 0, 0, 1]), &shared, "ClueCon", &mut orders, &mut wait);
        let talking = async {
            let mut said = Vec::new();
            Message::bare([("Content-Type", "auth/request")]).write(&mut said);
            Message::reply("+OK accepted").write(&mut said);
            host.write_all(&said).await.unwrap();
            let (reply, _answer) = oneshot::channel();
            asking.send(Order { line: "x".repeat(1_000), job: None, reply }).await.unwrap();
            while asking.capacity() == 0 {
                tokio::task::yield_now().await;
            }
            let mut heartbeat = Event::new("HEARTBEAT");
            heartbeat.push("Session-Count", "17");
            said.clear();
            Message::event_plain(&heartbeat).write(&mut said);
            host.write_all(&said).await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            why = attending => panic!("{why:?}"),
            () = talking => {}
        }
        assert_eq!(shared.with(|status| status.sessions), 17);
    }

    #[test]
    fn a_host_that_says_nothing_is_asked_once_and_given_up_whatever_is_asked_of_it() {
        let start = Instant::now();
        let mut silence = Silence::since(start);
        assert_eq!(silence.ends(false), start + LOGIN_TIME);
        assert_eq!(silence.ends(true), start + QUIET_TIME);
        silence.ask();
        assert!(silence.is_asked);
        assert_eq!(silence.ends(true), start + 2 * QUIET_TIME);
        let later = start + Duration::from_secs(7);
        assert!(!Silence::since(later).is_asked && Silence::since(later).ends(true) == later + QUIET_TIME);
    }
}
