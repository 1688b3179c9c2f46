//! Connections of the HTTP interface: no more at once than are allowed, and none that nothing comes from or that takes nothing.
//!
//! Calls need descriptors, too. Whoever only opens connections must not take those.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::held::{Held, Patience, Received};

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
    patience: Patience,
}

impl Door {
    /// Takes connections from `listener`, up to `max_connections` or the share of the descriptors.
    pub(super) fn new(listener: TcpListener, max_connections: u32) -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let share = descriptors(&limits).map_or(u64::MAX, |limit| (limit / SHARE).max(1));
        let most = usize::try_from(share.min(max_connections.into())).unwrap_or(Semaphore::MAX_PERMITS);
        Self { listener, places: Arc::new(Semaphore::new(most)), patience: Patience::default() }
    }

    /// Serves until it is told to stop, then lets requests under way end.
    pub(super) async fn serve(self, router: Router, mut stopping: watch::Receiver<bool>) {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.patience.head);
        let mut open = JoinSet::new();
        let mut said = None;
        loop {
            let next = tokio::select! {
                next = self.next(&mut said) => next,
                () = told(&mut stopping) => break,
            };
            match next {
                Ok((stream, peer)) => {
                    let goodbye = self.patience.goodbye;
                    open.spawn(attend(builder.clone(), (stream, peer), router.clone(), stopping.clone(), goodbye));
                }
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
        Ok((Held::new(stream, self.patience, place), peer))
    }
}

async fn attend(
    builder: http1::Builder,
    (stream, peer): (Held, SocketAddr),
    router: Router,
    mut stopping: watch::Receiver<bool>,
    goodbye: Duration,
) {
    let exchange = stream.exchange();
    let current = Arc::clone(&exchange);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let exchange = Arc::clone(&current);
        exchange.begin();
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.call(request.map(|body| Received::new(body, Arc::clone(&exchange))));
        async move {
            let answer = answer.await;
            exchange.end();
            answer
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    // An error is the client's doing: it has gone, or has not said what it wants.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = told(&mut stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    // Whatever is being handled has as long as whoever stops us gives it.
    while tokio::time::timeout(goodbye, connection.as_mut()).await.is_err() && exchange.is_handled() {}
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

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::routing::{get, put};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    /// Ends a test that would hang.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// Nobody waits so long.
    const EVER: Duration = Duration::from_secs(3_600);
    const SOON: Duration = Duration::from_millis(1);
    /// Of no peer that waits.
    const ENDLESS: Patience = Patience { head: EVER, write: EVER, linger: EVER, goodbye: EVER };
    /// Octets that no kernel holds for a connection.
    const MANY: usize = 64 << 20;

    /// An interface that is served; whoever drops it ends it.
    struct Served {
        address: SocketAddr,
        places: Arc<Semaphore>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
        /// A request for `/slow` has come.
        begun: Arc<Notify>,
        /// Lets it go on.
        gate: Arc<Notify>,
    }

    /// Serves `most` connections.
    async fn served(most: u32, patience: Patience) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door { patience, ..Door::new(listener, most) };
        let (address, places) = (door.listener.local_addr().unwrap(), Arc::clone(&door.places));
        let (stop, stopping) = watch::channel(false);
        let (begun, gate) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (came, opened) = (Arc::clone(&begun), Arc::clone(&gate));
        let slow = move || {
            let (came, opened) = (Arc::clone(&came), Arc::clone(&opened));
            async move {
                came.notify_one();
                opened.notified().await;
                "here"
            }
        };
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/slow", get(slow))
            .route("/large", get(|| async { vec![0_u8; MANY] }))
            .route("/refused", put(|| async { StatusCode::FORBIDDEN }));
        let task = tokio::spawn(door.serve(router, stopping));
        Served { address, places, stop, task, begun, gate }
    }

    async fn asked(address: SocketAddr, path: &str) -> TcpStream {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
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
        let served = served(8, Patience { head: SOON, ..ENDLESS }).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        let mut half = TcpStream::connect(served.address).await.unwrap();
        // It may be closed already.
        let _ = half.write_all(b"GET / HTTP/1.1\r\n").await;
        for client in [&mut idle, &mut half] {
            let closed = timeout(PATIENCE, client.read_to_end(&mut Vec::new())).await;
            assert!(closed.is_ok(), "it is still open");
        }
    }

    #[tokio::test]
    async fn a_connection_whose_peer_takes_no_answer_is_closed() {
        let served = served(2, Patience { write: SOON, ..ENDLESS }).await;
        let mut client = asked(served.address, "/large").await;
        client.read_exact(&mut [0]).await.unwrap();
        // The other one is the next one's.
        assert!(timeout(PATIENCE, served.places.acquire()).await.is_ok(), "it keeps its place");
    }

    #[tokio::test]
    async fn an_answer_is_heard_that_comes_before_the_end_of_its_request() {
        let served = served(2, ENDLESS).await;
        let mut client = TcpStream::connect(served.address).await.unwrap();
        let head = format!("PUT /refused HTTP/1.1\r\nhost: a\r\ncontent-length: {MANY}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![0_u8; MANY]).await.unwrap();
        let mut text = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut text)).await.unwrap().unwrap();
        assert!(text.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&text));
    }

    #[tokio::test]
    async fn a_peer_that_goes_on_after_its_answer_is_not_read_for_ever() {
        let served = served(2, Patience { linger: SOON, ..ENDLESS }).await;
        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(b"PUT /refused HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\n\r\n").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        assert!(timeout(PATIENCE, served.places.acquire()).await.is_ok(), "it keeps its place");
    }

    #[tokio::test]
    async fn what_is_being_handled_at_the_stop_is_answered_and_half_a_head_is_not_waited_for() {
        let served = served(3, Patience { goodbye: SOON, ..ENDLESS }).await;
        let mut half = TcpStream::connect(served.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut slow = asked(served.address, "/slow").await;
        served.begun.notified().await;
        served.stop.send_replace(true);
        assert!(timeout(PATIENCE, half.read_to_end(&mut Vec::new())).await.is_ok(), "it is still open");
        served.gate.notify_one();
        answered(&mut slow).await;
        assert!(timeout(PATIENCE, served.task).await.is_ok(), "it goes on serving");
    }

    #[tokio::test]
    async fn one_more_than_there_are_places_waits_for_another_to_go() {
        let served = served(2, ENDLESS).await;
        let mut first = asked(served.address, "/").await;
        answered(&mut first).await;
        let mut second = asked(served.address, "/").await;
        answered(&mut second).await;
        assert_eq!(served.places.available_permits(), 0);
        let mut third = asked(served.address, "/").await;
        drop(first);
        answered(&mut third).await;
        assert_eq!(served.places.available_permits(), 0);
    }

    #[test]
    fn the_limit_of_descriptors_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            3000                 1048576              files     \n";
        assert_eq!(descriptors(limits), Some(3000));
        assert_eq!(descriptors("Max open files            unlimited            unlimited            files\n"), None);
    }
}
