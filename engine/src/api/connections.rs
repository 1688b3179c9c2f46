//! Connections of the HTTP interface: no more at once than are allowed, and none that nothing comes from.
//!
//! Calls need descriptors, too. Whoever only opens connections must not take those.

use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the head of a request may take, the first one's and each that follows on the connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Wait before accepting again when the system refuses.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);
/// How often it is said that all places are taken.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// What part of the process's descriptors one address may take.
const SHARE: u64 = 16;

/// An address that is listened on.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    head_timeout: Duration,
}

impl Door {
    /// Takes connections from `listener`, up to `max_connections` or the share of the descriptors.
    pub(super) fn new(listener: TcpListener, max_connections: u32) -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let share = descriptors(&limits).map_or(u64::MAX, |limit| (limit / SHARE).max(1));
        let most = usize::try_from(share.min(max_connections.into())).unwrap_or(Semaphore::MAX_PERMITS);
        Self { listener, places: Arc::new(Semaphore::new(most)), head_timeout: HEAD_TIMEOUT }
    }

    /// Serves until it is told to stop, then lets requests under way end.
    pub(super) async fn serve(self, router: Router, mut stopping: watch::Receiver<bool>) {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.head_timeout);
        let mut open = JoinSet::new();
        let mut said = None;
        loop {
            let next = tokio::select! {
                next = self.next(&mut said) => next,
                () = told(&mut stopping) => break,
            };
            match next {
                Ok((stream, peer)) => drop(open.spawn(attend(builder.clone(), stream, peer, router.clone(), stopping.clone()))),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
            while open.try_join_next().is_some() {}
        }
        drop(self.listener);
        while open.join_next().await.is_some() {}
    }

    /// The next connection, once there is a place for it. `said`: when it was said last that there is none.
    async fn next(&self, said: &mut Option<Instant>) -> io::Result<(Held, SocketAddr)> {
        if self.places.available_permits() == 0 && said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            *said = Some(Instant::now());
            tracing::warn!(address = ?self.listener.local_addr().ok(), "all connections are taken: others wait");
        }
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        let (stream, peer) = self.listener.accept().await?;
        Ok((Held { stream, _place: place }, peer))
    }
}

async fn attend(builder: http1::Builder, stream: Held, peer: SocketAddr, router: Router, mut stopping: watch::Receiver<bool>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // An error is the client's doing: it has gone, or has not said what it wants.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

async fn told(stopping: &mut watch::Receiver<bool>) {
    // An error says that whoever could tell is gone.
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Whether a connection was over before it could be accepted.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset)
}

/// How many descriptors the process may have, from the text of `/proc/self/limits`; `None`: as many as it likes.
fn descriptors(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A connection and its place, which it keeps also once it carries a WebSocket.
#[derive(Debug)]
struct Held {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Ends a test that would hang.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Serves `most` connections; whoever drops the sender ends it.
    async fn served(most: u32, head_timeout: Duration) -> (SocketAddr, Arc<Semaphore>, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door { head_timeout, ..Door::new(listener, most) };
        let (address, places) = (door.listener.local_addr().unwrap(), Arc::clone(&door.places));
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(door.serve(Router::new().route("/", get(|| async { "here" })), stopping));
        (address, places, stop)
    }

    async fn asked(address: SocketAddr) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        client
    }

    async fn answered(client: &mut TcpStream) {
        let mut text = Vec::new();
        while !text.ends_with(b"here") {
            assert!(client.read_buf(&mut text).await.unwrap() > 0, "{}", String::from_utf8_lossy(&text));
        }
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_closed() {
        let (address, _places, _stop) = served(8, Duration::from_millis(1)).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        // It may be closed already.
        let _ = half.write_all(b"GET / HTTP/1.1\r\n").await;
        for client in [&mut idle, &mut half] {
            let closed = tokio::time::timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await;
            assert!(closed.is_ok(), "it is still open");
        }
    }

    #[tokio::test]
    async fn one_more_than_there_are_places_waits_for_another_to_go() {
        let (address, places, _stop) = served(2, PATIENCE).await;
        let mut first = asked(address).await;
        answered(&mut first).await;
        let mut second = asked(address).await;
        answered(&mut second).await;
        assert_eq!(places.available_permits(), 0);
        let mut third = asked(address).await;
        drop(first);
        answered(&mut third).await;
        assert_eq!(places.available_permits(), 0);
    }

    #[test]
    fn the_limit_of_descriptors_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            3000                 1048576              files     \n";
        assert_eq!(descriptors(limits), Some(3000));
        assert_eq!(descriptors("Max open files            unlimited            unlimited            files\n"), None);
    }
}
