//! One TCP connection: a task that frames what arrives and writes what is queued (RFC 3261 §18, RFC 5626 §3.5.1).
//!
//! Reading and writing are independent halves of the task, and the queue is bounded: a peer that sends without reading hurts only
//! itself.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::{self, Instant},
};

use crate::net::{FlowId, Source, TransmitId};

use super::framing::{Frame, FramingError, FramingLimits, StreamFramer};

/// Time-outs and bounds of TCP connections.
#[derive(Clone, Debug)]
pub struct TcpConfig {
    /// Connections at a time, both ways.
    pub max_connections: usize,
    /// Connections accepted from one address.
    pub max_connections_per_ip: usize,
    pub connect_timeout: Duration,
    /// A peer that takes nothing for this long is gone. Below 64·T1, so that transactions learn of it.
    pub write_timeout: Duration,
    /// From a message's first byte (or from the accept) to its last.
    pub message_timeout: Duration,
    /// Without traffic either way. Longer than a usual registration, which lives on its connection.
    pub idle_timeout: Duration,
    /// The same for a peer that nobody has vouched for ([`Transports::keep_flow`](super::Transports::keep_flow)): without a whole
    /// message of its own.
    pub stranger_timeout: Duration,
    /// Bytes waiting to be written on one connection; past it messages are refused.
    pub max_queued_bytes: usize,
    pub framing: FramingLimits,
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            max_connections: 4096,
            max_connections_per_ip: 1024,
            connect_timeout: Duration::from_secs(4),
            write_timeout: Duration::from_secs(10),
            message_timeout: Duration::from_secs(20),
            idle_timeout: Duration::from_secs(3900),
            stranger_timeout: Duration::from_secs(60),
            max_queued_bytes: 512 * 1024,
            framing: FramingLimits::default(),
        }
    }
}

/// Messages waiting on one connection, whatever their size.
const MAX_QUEUED_MESSAGES: usize = 1024;
/// How long the answer to an unreadable message may take to leave before the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const READ_CHUNK: usize = 8 * 1024;

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum CloseReason {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("closed by the peer")]
    ByPeer,
    #[error("closed by us")]
    ByUs,
    #[error("cannot read: {0}")]
    Read(io::Error),
    #[error("cannot write: {0}")]
    Write(io::Error),
    #[error("peer took nothing for {0:?}")]
    WriteTimeout(Duration),
    #[error("no whole message within {0:?}")]
    MessageTimeout(Duration),
    #[error("idle for {0:?}")]
    Idle(Duration),
    #[error("unreadable stream: {0}")]
    Framing(#[from] FramingError),
}

/// From connection tasks to the pool.
pub(super) enum ConnectionEvent {
    Message {
        source: Source,
        bytes: Bytes,
    },
    /// `unsent` names what the peer has certainly not received whole.
    Closed {
        flow: FlowId,
        reason: CloseReason,
        unsent: Vec<TransmitId>,
    },
}

/// Something to write; keep-alives have no name.
struct Outgoing {
    id: Option<TransmitId>,
    bytes: Bytes,
}

/// The pool's end of a connection. Dropping it closes the connection once its queue is written.
pub(super) struct ConnectionHandle {
    queue: mpsc::Sender<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    max_queued_bytes: usize,
    kept: Arc<AtomicBool>,
}

/// Why a message was not queued.
pub(super) enum Refused {
    Full,
    Closed,
}

impl ConnectionHandle {
    /// The peer may rest.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    pub(super) fn send(&self, id: TransmitId, bytes: Bytes) -> Result<(), Refused> {
        let len = bytes.len();
        if self.queued_bytes.load(Ordering::Relaxed) + len > self.max_queued_bytes {
            return Err(Refused::Full);
        }
        // Counted first: the task subtracts as soon as it has written.
        self.queued_bytes.fetch_add(len, Ordering::Relaxed);
        self.queue.try_send(Outgoing { id: Some(id), bytes }).map_err(|error| {
            self.queued_bytes.fetch_sub(len, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => Refused::Full,
                mpsc::error::TrySendError::Closed(_) => Refused::Closed,
            }
        })
    }
}

/// How a connection comes to its stream.
pub(super) enum Opening {
    Accepted(TcpStream),
    /// From a given local address, when there is one.
    Connect {
        local: Option<SocketAddr>,
    },
}

/// The task's end of a connection.
pub(super) struct Connection {
    flow: FlowId,
    /// `source.local` is completed once connected.
    source: Source,
    config: Arc<TcpConfig>,
    events: mpsc::Sender<ConnectionEvent>,
    queue: mpsc::Receiver<Outgoing>,
    /// Answers pings; weak, so that the pool alone keeps the connection open.
    pong: mpsc::WeakSender<Outgoing>,
    queued_bytes: Arc<AtomicUsize>,
    kept: Arc<AtomicBool>,
    /// Taken from the queue, perhaps partly written.
    in_flight: Vec<TransmitId>,
}

impl Connection {
    /// Starts the task of a connection. Must be called inside a tokio runtime.
    pub(super) fn spawn(
        flow: FlowId,
        source: Source,
        opening: Opening,
        config: Arc<TcpConfig>,
        events: mpsc::Sender<ConnectionEvent>,
    ) -> ConnectionHandle {
        let (sender, queue) = mpsc::channel(MAX_QUEUED_MESSAGES);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        // A connection that we make is wanted.
        let kept = Arc::new(AtomicBool::new(matches!(opening, Opening::Connect { .. })));
        let handle = ConnectionHandle {
            queue: sender.clone(),
            queued_bytes: Arc::clone(&queued_bytes),
            max_queued_bytes: config.max_queued_bytes,
            kept: Arc::clone(&kept),
        };
        let pong = sender.downgrade();
        let connection = Connection { flow, source, config, events, queue, pong, queued_bytes, kept, in_flight: Vec::new() };
        tokio::spawn(connection.run(opening));
        handle
    }

    async fn run(mut self, opening: Opening) {
        let reason = match self.open(opening).await {
            Ok(stream) => self.serve(stream).await,
            Err(reason) => reason,
        };
        tracing::debug!(flow = self.flow.0, remote = %self.source.remote, %reason, "TCP connection ended");
        self.queue.close();
        let mut unsent = std::mem::take(&mut self.in_flight);
        while let Ok(outgoing) = self.queue.try_recv() {
            unsent.extend(outgoing.id);
        }
        // The receiver is gone only when the transports are.
        let _ = self.events.send(ConnectionEvent::Closed { flow: self.flow, reason, unsent }).await;
    }

    async fn open(&mut self, opening: Opening) -> Result<TcpStream, CloseReason> {
        let stream = match opening {
            Opening::Accepted(stream) => stream,
            Opening::Connect { local } => {
                let limit = self.config.connect_timeout;
                let stream = time::timeout(limit, super::tcp::connect(self.source.remote, local))
                    .await
                    .map_err(|_| CloseReason::ConnectTimeout(limit))?
                    .map_err(CloseReason::Connect)?;
                // The port stays that of our listener: it is the one peers can reach.
                let ip = stream.local_addr().map_err(CloseReason::Connect)?.ip();
                self.source.local.set_ip(ip);
                stream
            }
        };
        super::tcp::tune(&stream).map_err(CloseReason::Connect)?;
        Ok(stream)
    }

    async fn serve(&mut self, mut stream: TcpStream) -> CloseReason {
        let (read_half, write_half) = stream.split();
        let wrote = AtomicBool::new(false);
        let mut reader = Reader {
            source: self.source,
            config: &self.config,
            events: &self.events,
            pong: &self.pong,
            wrote: &wrote,
            kept: &self.kept,
            heard: Instant::now(),
            framer: StreamFramer::new(self.config.framing),
        };
        let mut writer = Writer {
            queue: &mut self.queue,
            queued_bytes: &self.queued_bytes,
            in_flight: &mut self.in_flight,
            timeout: self.config.write_timeout,
            wrote: &wrote,
        };
        let write = writer.run(write_half);
        tokio::pin!(write);
        tokio::select! {
            reason = &mut write => reason,
            reason = reader.run(read_half) => {
                if matches!(reason, CloseReason::Framing(_)) {
                    // The core may just now be answering 400.
                    let _ = time::timeout(LINGER, write).await;
                }
                reason
            }
        }
    }
}

struct Reader<'a> {
    source: Source,
    config: &'a TcpConfig,
    events: &'a mpsc::Sender<ConnectionEvent>,
    pong: &'a mpsc::WeakSender<Outgoing>,
    wrote: &'a AtomicBool,
    kept: &'a AtomicBool,
    /// When the last whole message came, or the connection.
    heard: Instant,
    framer: StreamFramer,
}

impl Reader<'_> {
    async fn run(&mut self, mut stream: impl AsyncRead + Unpin) -> CloseReason {
        // A peer must say something before it may rest.
        let mut deadline = Some(Instant::now() + self.config.message_timeout);
        loop {
            self.framer.buffer().reserve(READ_CHUNK);
            let is_kept = self.is_kept();
            let idle = if is_kept { self.config.idle_timeout } else { self.config.stranger_timeout };
            let since = if is_kept { Instant::now() } else { self.heard };
            let until = deadline.unwrap_or(since + idle);
            match time::timeout_at(until, stream.read_buf(self.framer.buffer())).await {
                Ok(Ok(0)) => return CloseReason::ByPeer,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return CloseReason::Read(error),
                Err(_) if deadline.is_some() => return CloseReason::MessageTimeout(self.config.message_timeout),
                Err(_) if is_kept && self.wrote.swap(false, Ordering::Relaxed) => continue,
                Err(_) if is_kept != self.is_kept() => continue,
                Err(_) => return CloseReason::Idle(idle),
            }
            match self.drain().await {
                // What follows is a new message with a time of its own.
                Ok(true) => deadline = None,
                Ok(false) => {}
                Err(reason) => return reason,
            }
            if deadline.is_none() && self.framer.is_mid_message() {
                deadline = Some(Instant::now() + self.config.message_timeout);
            }
        }
    }

    fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Delivers every whole frame; true when there was one that tells of a live peer.
    async fn drain(&mut self) -> Result<bool, CloseReason> {
        let mut any = false;
        loop {
            match self.framer.next_frame() {
                Ok(None) => return Ok(any),
                Ok(Some(Frame::Message(bytes))) => {
                    any = true;
                    self.heard = Instant::now();
                    self.deliver(bytes).await?;
                }
                Ok(Some(Frame::Ping)) => {
                    // Anybody can send that much for ever.
                    any |= self.is_kept();
                    if let Some(queue) = self.pong.upgrade() {
                        // A peer that does not read its pongs loses them.
                        let _ = queue.try_send(Outgoing { id: None, bytes: Bytes::from_static(b"\r\n") });
                    }
                }
                Err(error) => {
                    if let Some(head) = error.head() {
                        self.deliver(head.clone()).await?;
                    }
                    return Err(CloseReason::Framing(error));
                }
            }
        }
    }

    /// Waits while the core is busy: then the kernel holds this peer back.
    async fn deliver(&self, bytes: Bytes) -> Result<(), CloseReason> {
        let event = ConnectionEvent::Message { source: self.source, bytes };
        self.events.send(event).await.map_err(|_| CloseReason::ByUs)
    }
}

struct Writer<'a> {
    queue: &'a mut mpsc::Receiver<Outgoing>,
    queued_bytes: &'a AtomicUsize,
    in_flight: &'a mut Vec<TransmitId>,
    timeout: Duration,
    wrote: &'a AtomicBool,
}

impl Writer<'_> {
    async fn run(&mut self, mut stream: impl AsyncWrite + Unpin) -> CloseReason {
        let mut batch = Vec::new();
        loop {
            if self.queue.recv_many(&mut batch, 64).await == 0 {
                return CloseReason::ByUs;
            }
            self.in_flight.extend(batch.iter().filter_map(|outgoing| outgoing.id));
            let counted: usize = batch.iter().filter(|outgoing| outgoing.id.is_some()).map(|out| out.bytes.len()).sum();
            let mut bytes = join(&mut batch);
            while !bytes.is_empty() {
                // Per write, not per message: a slow reader that takes something is alive.
                match time::timeout(self.timeout, stream.write_buf(&mut bytes)).await {
                    Ok(Ok(0)) => return CloseReason::Write(io::ErrorKind::WriteZero.into()),
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return CloseReason::Write(error),
                    Err(_) => return CloseReason::WriteTimeout(self.timeout),
                }
            }
            self.in_flight.clear();
            self.queued_bytes.fetch_sub(counted, Ordering::Relaxed);
            self.wrote.store(true, Ordering::Relaxed);
        }
    }
}

/// One buffer for one system call.
fn join(batch: &mut Vec<Outgoing>) -> Bytes {
    if batch.len() == 1
        && let Some(only) = batch.pop()
    {
        return only.bytes;
    }
    let mut all = BytesMut::with_capacity(batch.iter().map(|outgoing| outgoing.bytes.len()).sum());
    for outgoing in batch.drain(..) {
        all.extend_from_slice(&outgoing.bytes);
    }
    all.freeze()
}
