//! One leg's media: RTP and RTCP in, commands in; packets, events, recorded samples and the next deadline out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod command;
mod output;

pub use command::{Command, DtmfId, DtmfMethod, DtmfRequest, InBandDetection};
pub use output::{Channel, DropStats, Forward, MediaEvent, Output, StreamStats, Transmit};

/// What a stream needs to know from the start.
#[derive(Debug, Clone)]
pub struct StreamConfig {
    /// Feeds SSRC, first sequence number, first timestamp and the spread of RTCP intervals.
    pub seed: u64,
    /// The canonical name in RTCP (RFC 3550 section 6.5.1), the same for all streams of an engine run.
    pub cname: Arc<str>,
    /// Ties `Instant` to the wall clock, for RTCP sender reports.
    pub wall_clock: WallClock,
    /// Report when no RTP came for this long although it should.
    pub media_timeout: Option<Duration>,
}

/// One moment read from both clocks.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    /// The moment on the monotonic clock.
    pub instant: Instant,
    /// The same moment as time since the Unix epoch.
    pub since_epoch: Duration,
}

/// One leg's media.
#[derive(Debug)]
pub struct MediaStream {
    now: Instant,
}

impl MediaStream {
    /// A stream that sends nothing until [`Command::SetRemote`] tells it where to.
    pub fn new(now: Instant, config: StreamConfig) -> Self {
        let _ = config;
        MediaStream { now }
    }

    /// Carries out a command. What follows from it comes out of [`Self::poll_output`].
    pub fn command(&mut self, now: Instant, command: Command) {
        let _ = command;
        self.now = now;
    }

    /// Takes a datagram from the RTP port. What is returned belongs to the leg this one is joined with: give it to
    /// that leg's [`Self::forward`] before polling.
    pub fn handle_packet<'p>(&mut self, now: Instant, source: SocketAddr, datagram: &'p [u8]) -> Option<Forward<'p>> {
        let _ = (source, datagram);
        self.now = now;
        None
    }

    /// Takes a datagram from the RTCP port.
    pub fn handle_rtcp(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        let _ = (source, datagram);
        self.now = now;
    }

    /// Lets time pass up to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
    }

    /// Sends a packet of the joined leg as part of this leg's own stream. `scratch` is where packets are built
    /// ([`crate::rtp::MAX_PACKET`] octets); `transmit` is called for each.
    pub fn forward(&mut self, now: Instant, packet: Forward<'_>, scratch: &mut [u8], transmit: impl FnMut(Transmit<'_>)) {
        let _ = (packet, scratch, transmit);
        self.now = now;
    }

    /// Says goodbye by RTCP; playouts, keys and recordings end and are reported. Poll until `Timeout`, then drop.
    pub fn close(&mut self, now: Instant) {
        self.now = now;
    }

    /// The next thing to do, until it is [`Output::Timeout`]. `scratch` is where packets are built
    /// ([`crate::rtp::MAX_PACKET`] octets).
    pub fn poll_output<'a>(&'a mut self, scratch: &'a mut [u8]) -> Output<'a> {
        let _ = scratch;
        Output::Timeout(self.now + Duration::from_secs(3600))
    }

    /// The address this leg has locked on to, once RTP came from it: where a socket can be connected to.
    pub fn latched(&self) -> Option<SocketAddr> {
        None
    }

    /// Figures since the stream began.
    pub fn stats(&self) -> StreamStats {
        StreamStats::default()
    }
}
