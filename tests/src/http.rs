//! An HTTP server that counts what it is asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A running server; it ends with the runtime of the test.
#[derive(Clone, Debug)]
pub struct HttpServer {
    address: SocketAddr,
    hits: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl HttpServer {
    /// Starts it on a port of its own; every request is answered with its own path.
    pub async fn start() -> Self {
        Self::serving(BTreeMap::new()).await
    }

    /// Starts it on a port of its own; requests for these paths are answered with what stands there, others with their own path.
    ///
    /// # Panics
    /// When no port is to be had.
    pub async fn serving(files: BTreeMap<&'static str, Vec<u8>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port can be had");
        let address = listener.local_addr().expect("a listener has an address");
        let server = Self { address, hits: Arc::default() };
        let (hits, files) = (Arc::clone(&server.hits), Arc::new(files));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&files), Arc::clone(&hits)));
            }
        });
        server
    }

    /// Its address as the start of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often each path was asked for.
    pub fn hits(&self) -> BTreeMap<String, u32> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(
    stream: TcpStream,
    files: Arc<BTreeMap<&'static str, Vec<u8>>>,
    hits: Arc<Mutex<BTreeMap<String, u32>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    stream.read_line(&mut request).await?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut header = String::from("-");
    while !header.trim().is_empty() {
        header.clear();
        stream.read_line(&mut header).await?;
    }
    *hits.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default() += 1;
    let body = files.get(path.as_str()).map_or(path.as_bytes(), Vec::as_slice);
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).await
}
