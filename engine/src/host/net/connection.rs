//! One connection: a stream whose halves are used side by side.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lockstep_ctx_api::ErrorCode;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio_rustls::TlsConnector;

/// Bytes handed over by one read.
const CHUNK: usize = 64 << 10;
/// Bytes one connection may bring.
const MAX_RECEIVED: u64 = 256 << 20;
/// How long the other side may keep us from writing, and from agreeing on TLS.
const STALL: Duration = Duration::from_secs(30);

/// Why a function of the service fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0} is not a public address; [security] fetch_allow may name it")]
    Forbidden(String),
    #[error("{0}: no address: {1}")]
    NoAddress(String, String),
    #[error("{0}: {1}")]
    Network(String, io::Error),
    #[error("TLS with {0}: {1}")]
    Tls(String, String),
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the connection is closed")]
    Closed,
    #[error("{0}")]
    Limit(String),
}

impl Failure {
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::TimedOut(_) => ErrorCode::TimeoutError,
            Self::Limit(_) => ErrorCode::LimitError,
            Self::Forbidden(_) | Self::NoAddress(..) | Self::Network(..) | Self::Tls(..) | Self::Closed => {
                ErrorCode::NetworkError
            }
        }
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type BoxStream = Box<dyn Stream>;

pub(super) struct Connection {
    reader: Mutex<Option<ReadHalf<BoxStream>>>,
    writer: Mutex<Option<WriteHalf<BoxStream>>>,
    /// The stream is wanted back: a pending read lets go of its half.
    recalled: Notify,
    received: AtomicU64,
}

impl Connection {
    pub(super) fn plain(stream: TcpStream) -> Self {
        Self::over(Box::new(stream))
    }

    /// Speaks TLS over `stream` with the owner of a certificate for `server_name`, under one of the web's roots.
    pub(super) async fn tls(stream: BoxStream, server_name: &str) -> Result<Self, Failure> {
        let failed = |why: String| Failure::Tls(server_name.to_owned(), why);
        let name = ServerName::try_from(server_name.to_owned()).map_err(|error| failed(error.to_string()))?;
        let handshake = TlsConnector::from(Arc::clone(&TLS)).connect(name, stream);
        match tokio::time::timeout(STALL, handshake).await {
            Ok(Ok(stream)) => Ok(Self::over(Box::new(stream))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(Failure::TimedOut(STALL)),
        }
    }

    fn over(stream: BoxStream) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader: Mutex::new(Some(reader)),
            writer: Mutex::new(Some(writer)),
            recalled: Notify::new(),
            received: AtomicU64::new(0),
        }
    }

    /// What comes next; nothing at the end, and when the stream is recalled.
    pub(super) async fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut slot = self.reader.lock().await;
        let reader = slot.as_mut().ok_or(Failure::Closed)?;
        let mut bytes = vec![0; CHUNK];
        let count = tokio::select! {
            count = reader.read(&mut bytes) => count.or_else(ended_without_goodbye).map_err(network)?,
            () = self.recalled.notified() => 0,
        };
        bytes.truncate(count);
        let received = self.received.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        if received > MAX_RECEIVED {
            return Err(Failure::Limit(format!("the connection brought more than {MAX_RECEIVED} bytes")));
        }
        Ok(bytes)
    }

    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut slot = self.writer.lock().await;
        let writer = slot.as_mut().ok_or(Failure::Closed)?;
        let written = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        tokio::time::timeout(STALL, written).await.map_err(|_| Failure::TimedOut(STALL))?.map_err(network)
    }

    pub(super) async fn end(&self) -> Result<(), Failure> {
        let mut slot = self.writer.lock().await;
        let writer = slot.as_mut().ok_or(Failure::Closed)?;
        tokio::time::timeout(STALL, writer.shutdown()).await.map_err(|_| Failure::TimedOut(STALL))?.map_err(network)
    }

    /// The stream, whole again; whoever waits for it to bring something gets nothing.
    pub(super) async fn into_stream(self: Arc<Self>) -> Result<BoxStream, Failure> {
        self.recalled.notify_one();
        let reader = self.reader.lock().await.take().ok_or(Failure::Closed)?;
        let writer = self.writer.lock().await.take().ok_or(Failure::Closed)?;
        Ok(reader.unsplit(writer))
    }
}

fn network(error: io::Error) -> Failure {
    Failure::Network("the connection".to_owned(), error)
}

/// A peer that closes TCP without closing TLS before, as many do. Protocols that mind tell lengths.
fn ended_without_goodbye(error: io::Error) -> io::Result<usize> {
    if error.kind() == io::ErrorKind::UnexpectedEof { Ok(0) } else { Err(error) }
}

static TLS: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
});
