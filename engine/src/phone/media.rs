//! The media of one call: its sockets and its [`MediaStream`], on a task of its own.

#![expect(clippy::disallowed_methods, reason = "this is the edge where the softphone meets clock and sockets")]

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lockstep_media::rtp::MAX_PACKET;
use lockstep_media::sdp::Negotiated;
use lockstep_media::stream::{Channel, Command, MediaEvent, MediaStream, Output, StreamConfig, WallClock};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::capture::Heard;
use super::event::{Ended, PhoneEvent};

/// Attempts to find an even port with a free one above it.
const PORT_ATTEMPTS: usize = 64;
/// Packets that are still read when the call is over: a peer that never stops sending must not keep it up.
const MAX_REST: usize = 1_000;
/// Room for the largest datagram; larger ones than a packet can be are cut, and dropped as malformed.
const DATAGRAM: usize = 2 * MAX_PACKET;

/// The sockets of a call: RTP on an even port, RTCP on the one above.
#[derive(Debug)]
pub(super) struct Ports {
    rtp: std::net::UdpSocket,
    rtcp: std::net::UdpSocket,
    rtp_port: u16,
}

impl Ports {
    /// Opens a pair on `ip`.
    pub(super) fn open(ip: IpAddr) -> io::Result<Self> {
        let mut last_error = io::Error::new(io::ErrorKind::AddrInUse, "no pair of free ports");
        for _ in 0..PORT_ATTEMPTS {
            let rtp = std::net::UdpSocket::bind((ip, 0))?;
            let rtp_port = rtp.local_addr()?.port();
            if !rtp_port.is_multiple_of(2) {
                continue;
            }
            match std::net::UdpSocket::bind((ip, rtp_port + 1)) {
                Ok(rtcp) => {
                    rtp.set_nonblocking(true)?;
                    rtcp.set_nonblocking(true)?;
                    return Ok(Self { rtp, rtcp, rtp_port });
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// The even one, for the SDP.
    pub(super) fn rtp_port(&self) -> u16 {
        self.rtp_port
    }
}

/// What a call tells its media task. Dropping the sender closes the stream.
#[derive(Debug)]
pub(super) enum MediaCommand {
    /// What an offer/answer exchange settled.
    Negotiated(Box<Negotiated>),
    Stream(Command),
    /// The call is over: what has arrived by now is still heard, then this is told.
    Ended {
        ended: Ended,
        events: mpsc::UnboundedSender<PhoneEvent>,
    },
}

/// Runs the media of a call until the sender of its commands is dropped. Must be called within a `LocalSet`.
pub(super) fn start(
    ports: Ports,
    seed: u64,
    heard: Heard,
    commands: mpsc::UnboundedReceiver<MediaCommand>,
    report: impl Fn(MediaEvent) + 'static,
) -> io::Result<()> {
    let sender = Sockets { rtp: ports.rtp.try_clone()?, rtcp: ports.rtcp.try_clone()? };
    let rtp = UdpSocket::from_std(ports.rtp)?;
    let rtcp = UdpSocket::from_std(ports.rtcp)?;
    let now = Instant::now();
    let config = StreamConfig {
        seed,
        cname: Arc::from(format!("{seed:016x}")),
        wall_clock: WallClock {
            instant: now,
            since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
        },
        media_timeout: None,
    };
    let stream = MediaStream::new(now, config);
    let task = Task { stream, sender, heard, negotiated: None, report };
    tokio::task::spawn_local(task.run(rtp, rtcp, commands));
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Sending by the plain sockets: the first packet does not wait for tokio to learn that the socket is writable.
struct Sockets {
    rtp: std::net::UdpSocket,
    rtcp: std::net::UdpSocket,
}

struct Task<R> {
    stream: MediaStream,
    sender: Sockets,
    heard: Heard,
    negotiated: Option<Box<Negotiated>>,
    report: R,
}

impl<R: Fn(MediaEvent)> Task<R> {
    async fn run(mut self, rtp: UdpSocket, rtcp: UdpSocket, mut commands: mpsc::UnboundedReceiver<MediaCommand>) {
        let mut scratch = vec![0; MAX_PACKET];
        let mut rtp_buffer = vec![0; DATAGRAM];
        let mut rtcp_buffer = vec![0; DATAGRAM];
        loop {
            let deadline = self.drain(&mut scratch);
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(MediaCommand::Negotiated(negotiated)) => self.negotiated(negotiated),
                    Some(MediaCommand::Stream(command)) => self.stream.command(Instant::now(), command),
                    Some(MediaCommand::Ended { ended, events }) => {
                        self.hear_the_rest(&mut rtp_buffer);
                        // Whoever dropped the call's handle does not want to know.
                        let _ = events.send(PhoneEvent::Ended(ended));
                        break;
                    }
                    None => break,
                },
                received = rtp.recv_from(&mut rtp_buffer) => self.received(Channel::Rtp, received, &rtp_buffer),
                received = rtcp.recv_from(&mut rtcp_buffer) => self.received(Channel::Rtcp, received, &rtcp_buffer),
                () = sleep_until(deadline) => self.stream.handle_timeout(Instant::now()),
            }
        }
        self.heard.end();
        self.stream.close(Instant::now());
        self.drain(&mut scratch);
    }

    fn negotiated(&mut self, negotiated: Box<Negotiated>) {
        self.stream.command(Instant::now(), Command::SetRemote(negotiated.clone()));
        self.negotiated = Some(negotiated);
    }

    /// Takes what the socket holds: packets sent before a BYE may be read after it.
    fn hear_the_rest(&mut self, buffer: &mut [u8]) {
        for _ in 0..MAX_REST {
            let received = self.sender.rtp.recv_from(buffer);
            if received.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                return;
            }
            self.received(Channel::Rtp, received, buffer);
        }
    }

    fn received(&mut self, channel: Channel, received: io::Result<(usize, SocketAddr)>, buffer: &[u8]) {
        // An error here is an ICMP message about something sent earlier: the peer is not there yet, or not any more.
        let Ok((len, source)) = received else { return };
        let Some(datagram) = buffer.get(..len) else { return };
        let now = Instant::now();
        match channel {
            Channel::Rtp => {
                if let Some(negotiated) = &self.negotiated {
                    self.heard.handle_datagram(now, negotiated, datagram);
                }
                // The phone joins no legs: there is nobody to forward to.
                let _ = self.stream.handle_packet(now, source, datagram);
            }
            Channel::Rtcp => self.stream.handle_rtcp(now, source, datagram),
        }
    }

    /// Carries out what the stream wants done; returns when it wants to be asked again.
    fn drain(&mut self, scratch: &mut [u8]) -> Option<Instant> {
        loop {
            match self.stream.poll_output(scratch) {
                Output::Transmit(transmit) => {
                    let socket = match transmit.channel {
                        Channel::Rtp => &self.sender.rtp,
                        Channel::Rtcp => &self.sender.rtcp,
                    };
                    // A packet that cannot be sent is a packet lost: RTP expects no more.
                    let _ = socket.send_to(transmit.bytes, transmit.to);
                }
                Output::Event(event) => (self.report)(event),
                Output::Recording { .. } => {}
                Output::Timeout(deadline) => return deadline,
            }
        }
    }
}
