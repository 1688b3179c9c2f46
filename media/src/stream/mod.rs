//! One leg's media: RTP and RTCP in, commands in; packets, events, recorded samples and the next deadline out.
//!
//! Order of calls: any of `handle_packet`, `handle_rtcp`, `handle_timeout`, `command`, `forward`, with a `now` that never
//! goes back; then `poll_output` until it says `Timeout`. A packet that `handle_packet` returns belongs to the joined
//! leg's `forward`, before either is polled, and a key reported as a telephone event to that leg as [`Command::RelayKey`].
//!
//! What is sent, the first that applies:
//!
//! | what | paced by |
//! |---|---|
//! | keys being sent | packet time, from the moment they begin |
//! | a playout | packet time, from the moment it begins |
//! | echo | packet time |
//! | packets of the joined leg | their arrival |
//! | silence, from the first session description on | packet time |
//!
//! Silence is sent all the time rather than now and then: carriers and NATs take a stream that pauses for a dead one.

mod bridge;
mod command;
mod decoding;
mod output;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use command::{Command, DtmfId, DtmfMethod, DtmfRequest};
pub use output::{Channel, DropStats, Forward, MediaEvent, Output, StreamStats, Transmit};
use receive::Receiver;
use send::Sending;

use crate::cache::{Step, prefetch};
use crate::latch::Latch;
use crate::playout::PlayoutEnd;
use crate::recording::Recorder;
use crate::rtcp_session::RtcpSession;
use crate::sdp::Negotiated;

/// Recordings of one leg at a time; a further one ends at once, empty.
pub const MAX_RECORDINGS: usize = 4;

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
    started: Instant,
    rng: ChaCha8Rng,
    /// What was agreed with the other side; `None` before the first session description.
    remote: Option<Box<Negotiated>>,
    latch: Latch,
    rtcp: RtcpSession,
    /// Where RTCP came from, and where RTP came from then.
    rtcp_source: Option<(SocketAddr, Option<SocketAddr>)>,
    receiver: Receiver,
    sending: Sending,
    recordings: Vec<Recorder>,
    events: VecDeque<MediaEvent>,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// BYE is still to be sent.
    Closing,
    Closed,
}

impl MediaStream {
    /// A stream that sends nothing until [`Command::SetRemote`] tells it where to.
    pub fn new(now: Instant, config: StreamConfig) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let sending = Sending::new(now, &mut rng);
        MediaStream {
            now,
            started: now,
            rng,
            remote: None,
            latch: Latch::new(now),
            rtcp: RtcpSession::new(config.cname, config.wall_clock),
            rtcp_source: None,
            receiver: Receiver::new(config.media_timeout),
            sending,
            recordings: Vec::new(),
            events: VecDeque::new(),
            life: Life::Open,
        }
    }

    /// Carries out a command. What follows from it comes out of [`Self::poll_output`].
    pub fn command(&mut self, now: Instant, command: Command) {
        self.advance(now);
        if self.life != Life::Open {
            return;
        }
        match command {
            Command::SetRemote(negotiated) => self.set_remote(negotiated),
            Command::Play { id, playlist } => self.play(id, *playlist),
            Command::Stop(id) => self.stop_playout(id),
            Command::SendDtmf { id, request } => self.send_dtmf(Some(id), request),
            Command::CancelDtmf(id) => self.sending.dtmf.iter_mut().for_each(|dtmf| dtmf.cancel(id)),
            Command::Echo(delay) => self.set_echo(delay),
            Command::Record { id, options } => {
                if self.recordings.len() < MAX_RECORDINGS {
                    self.recordings.push(Recorder::new(now, id, options));
                } else {
                    self.events.push_back(MediaEvent::RecordingFinished { id, duration: Duration::ZERO });
                }
            }
            Command::PauseRecording(id) => self.recordings_named(id).for_each(|recorder| recorder.pause(now)),
            Command::ResumeRecording(id) => self.recordings_named(id).for_each(|recorder| recorder.resume(now)),
            Command::StopRecording(id) => self.recordings_named(id).for_each(|recorder| recorder.stop(now)),
            Command::BlockDtmf(digits) => self.receiver.blocked = digits,
            Command::Join => self.set_joined(true),
            Command::Leave => self.set_joined(false),
            Command::RelayKey { digit, held } => self.relay_key(digit, held),
        }
    }

    /// Has the processor fetch what the next packet touches.
    pub(crate) fn fetch_parts(&self, step: Step) {
        if let Some(remote) = self.remote.as_deref() {
            match step {
                Step::TheirParts => prefetch(remote.receive.as_slice()),
                _ => prefetch(remote),
            }
        }
        if let Some(playout) = self.sending.playout.as_deref() {
            match step {
                Step::TheirParts => playout.fetch_prompts(),
                _ => prefetch(playout),
            }
        }
    }

    /// Lets time pass up to `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if self.life == Life::Open {
            self.receive_timeouts();
        }
    }

    /// Says goodbye by RTCP; playouts, keys and recordings end and are reported. Poll until `Timeout`, then drop.
    pub fn close(&mut self, now: Instant) {
        self.advance(now);
        if self.life != Life::Open {
            return;
        }
        self.life = Life::Closing;
        self.end_playout(PlayoutEnd::Stopped);
        let unsent = self.sending.dtmf.take();
        for run in unsent.into_iter().flat_map(|mut dtmf| dtmf.abort().collect::<Vec<_>>()) {
            self.report_dtmf(run);
        }
        for recorder in &mut self.recordings {
            recorder.stop(now);
        }
    }

    /// The next thing to do, until it is [`Output::Timeout`]. `scratch` is where packets are built
    /// ([`crate::rtp::MAX_PACKET`] octets).
    pub fn poll_output<'a>(&'a mut self, scratch: &'a mut [u8]) -> Output<'a> {
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        if let Some((to, len)) = self.poll_rtp(scratch) {
            return transmit(to, Channel::Rtp, scratch, len);
        }
        // What the packet that was not sent brought to its end, such as a run of keys.
        if let Some(event) = self.events.pop_front() {
            return Output::Event(event);
        }
        if let Some((to, channel, len)) = self.poll_rtcp(scratch) {
            return transmit(to, channel, scratch, len);
        }
        if let Some(index) = self.recordings.iter().position(|recorder| recorder.is_finished()) {
            let recorder = self.recordings.swap_remove(index);
            return Output::Event(MediaEvent::RecordingFinished { id: recorder.id, duration: recorder.duration() });
        }
        let now = self.now;
        if let Some(index) = self.recordings.iter_mut().position(|recorder| recorder.poll(now))
            && let Some(recorder) = self.recordings.get(index)
        {
            return Output::Recording { id: recorder.id, channels: recorder.channels(), samples: recorder.chunk() };
        }
        Output::Timeout(self.next_timeout())
    }

    /// Whether nothing but time can bring about anything new: no output waits, and the deadline that
    /// [`Self::poll_output`] told last is early enough. A driver then need not poll after a packet.
    pub fn awaits_only_time(&self) -> bool {
        self.events.is_empty() && self.recordings.is_empty() && !self.sending.is_joined && self.receiver.awaits_only_time()
    }

    /// The only address packets are accepted from just now, where there is one: a socket may be connected to it until
    /// this changes. After a silence it is `None` again, for the other side may have moved.
    pub fn latched(&self) -> Option<SocketAddr> {
        self.latch.closed_to(self.now)
    }

    /// Figures since the stream began.
    pub fn stats(&self) -> StreamStats {
        let mut stats = self.receiver.stats();
        stats.packets_sent = self.sending.rtp.packets();
        stats.octets_sent = self.sending.rtp.octets();
        let remote = self.rtcp.remote();
        stats.remote_packets_lost = remote.cumulative_lost;
        let clock_rate = self.remote.as_ref().map_or(8000, |remote| remote.codec.clock_rate());
        stats.remote_jitter = Duration::from_micros(u64::from(remote.jitter) * 1_000_000 / u64::from(clock_rate));
        stats.round_trip = remote.round_trip;
        stats
    }

    fn advance(&mut self, now: Instant) {
        // A driver that hands over packets in batches may be behind what it said before.
        self.now = self.now.max(now);
    }

    fn set_remote(&mut self, negotiated: Box<Negotiated>) {
        let now = self.now;
        if self.latch.signal(now, negotiated.remote) {
            self.rtcp_source = None;
            self.receiver.open();
        }
        let is_expected = negotiated.direction.sends() && negotiated.direction.receives() && !negotiated.held;
        self.receiver.expect(now, is_expected);
        self.sending.rtp.set_clock_rate(now, negotiated.codec.clock_rate());
        self.remote = Some(negotiated);
        self.refresh_decoding();
        self.rtcp.start(now, &mut self.rng);
    }

    fn recordings_named(&mut self, id: crate::recording::RecordingId) -> impl Iterator<Item = &mut Recorder> {
        self.recordings.iter_mut().filter(move |recorder| recorder.id == id)
    }

    fn next_timeout(&self) -> Option<Instant> {
        if self.life != Life::Open {
            return None;
        }
        let deadline = earlier(self.rtp_deadline(), earlier(self.rtcp.deadline(), self.receiver.deadline()));
        self.recordings.iter().map(|recorder| recorder.deadline()).fold(deadline, earlier)
    }
}

/// The earlier of two moments, where there are any.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn transmit(to: SocketAddr, channel: Channel, scratch: &[u8], len: usize) -> Output<'_> {
    Output::Transmit(Transmit { to, channel, bytes: scratch.get(..len).unwrap_or_default() })
}
