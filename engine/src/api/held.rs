//! A connection that has a place: its peer takes what is written to it in time, and hears the last answer before it ends.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request, the first one's and each that follows on the connection.
    pub(super) head: Duration,
    /// To make room for more of what is written to it.
    pub(super) write: Duration,
    /// To end what it is sending, once it has been answered and the connection ends.
    pub(super) linger: Duration,
    /// To take what it has been answered, or to end a head it has begun, once we stop.
    pub(super) goodbye: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { head: secs(60), write: secs(60), linger: secs(5), goodbye: secs(2) }
    }
}

/// The request that a connection is about.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// It is being handled.
    is_handled: AtomicBool,
    /// Its peer has more to say than anybody has read.
    is_unread: AtomicBool,
}

impl Exchange {
    pub(super) fn begin(&self) {
        self.is_unread.store(false, Relaxed);
        self.is_handled.store(true, Relaxed);
    }

    pub(super) fn end(&self) {
        self.is_handled.store(false, Relaxed);
    }

    pub(super) fn is_handled(&self) -> bool {
        self.is_handled.load(Relaxed)
    }
}

/// A connection and its place, which it keeps also once it carries a WebSocket.
#[derive(Debug)]
pub(super) struct Held {
    stream: TcpStream,
    exchange: Arc<Exchange>,
    patience: Patience,
    /// Until when the peer has time for what is waited for.
    wait: Option<Pin<Box<Sleep>>>,
    /// Nothing more is written.
    is_shut: bool,
    _place: OwnedSemaphorePermit,
}

impl Held {
    pub(super) fn new(stream: TcpStream, patience: Patience, place: OwnedSemaphorePermit) -> Self {
        Self { stream, exchange: Arc::default(), patience, wait: None, is_shut: false, _place: place }
    }

    pub(super) fn exchange(&self) -> Arc<Exchange> {
        Arc::clone(&self.exchange)
    }

    /// How a write went, which fails once it has waited too long.
    fn in_time<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.wait = None;
            return written;
        }
        let patience = self.patience.write;
        let wait = self.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        wait.as_mut().poll(cx).map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// A socket that is closed with octets in it that nobody has read is reset, and its peer may lose the answer with it. So what
    /// still comes is read, and dropped.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.is_shut = true;
            this.wait = Some(Box::pin(tokio::time::sleep(this.patience.linger)));
        }
        // Before anything is read: of a peer that never ends there is always more.
        if this.wait.as_mut().is_none_or(|wait| wait.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(Ok(()));
        }
        let mut octets = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut octets);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => this.exchange.is_unread.store(true, Relaxed),
                Poll::Pending if this.exchange.is_unread.load(Relaxed) => return Poll::Pending,
                // It has ended, has gone, or had nothing more to say.
                Poll::Ready(_) | Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// The body of a request, which tells when it is dropped before its end.
#[derive(Debug)]
pub(super) struct Received {
    body: Incoming,
    is_over: bool,
    exchange: Arc<Exchange>,
}

impl Received {
    pub(super) fn new(body: Incoming, exchange: Arc<Exchange>) -> Self {
        Self { body, is_over: false, exchange }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.is_over |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.is_over && !self.body.is_end_stream() {
            self.exchange.is_unread.store(true, Relaxed);
        }
    }
}
