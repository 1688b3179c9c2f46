//! Once running, a stream allocates nothing: neither for a packet it plays, nor for one it takes, nor for one it forwards.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_media::codec::Codec;
use lockstep_media::playout::{EncodedPrompt, PlayId, Playlist, Repeat};
use lockstep_media::rtp::{MAX_PACKET, PayloadType, RtpHeader, RtpTimestamp, SequenceNumber, Ssrc};
use lockstep_media::sdp::{Direction, Negotiated, TelephoneEventTypes};
use lockstep_media::stream::{Command, MediaStream, Output, StreamConfig, WallClock};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches neither pointer nor layout.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, which got it from the system.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PCMU: PayloadType = PayloadType::new(0).unwrap();
const PACKET_TIME: Duration = Duration::from_millis(20);

fn stream(now: Instant, seed: u64) -> MediaStream {
    let wall_clock = WallClock { instant: now, since_epoch: Duration::from_secs(1_700_000_000) };
    let mut stream = MediaStream::new(now, StreamConfig { seed, cname: "test".into(), wall_clock, media_timeout: None });
    let event = PayloadType::TELEPHONE_EVENT;
    let negotiated = Negotiated {
        remote: Some("192.0.2.1:4000".parse().unwrap()),
        remote_rtcp: Some("192.0.2.1:4001".parse().unwrap()),
        rtcp_mux: false,
        codec: Codec::Pcmu,
        payload_type: PCMU,
        packet_time: PACKET_TIME,
        max_packet_time: None,
        receive: vec![(PCMU, Codec::Pcmu)],
        telephone_event: Some(TelephoneEventTypes { send: event, receive: event }),
        direction: Direction::SendRecv,
        held: false,
    };
    stream.command(now, Command::SetRemote(Box::new(negotiated)));
    stream
}

/// Polls until nothing is left; how many datagrams went out.
fn flush(stream: &mut MediaStream, scratch: &mut [u8]) -> u64 {
    let mut sent = 0;
    loop {
        match stream.poll_output(scratch) {
            Output::Timeout(_) => return sent,
            Output::Transmit(_) => sent += 1,
            Output::Event(_) | Output::Recording { .. } => {}
        }
    }
}

fn datagram(packet: u32) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type: PCMU,
        sequence: SequenceNumber(packet as u16),
        timestamp: RtpTimestamp(packet * 160),
        ssrc: Ssrc(7),
    };
    [&header.to_bytes()[..], &[0x55; 160]].concat()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any instant will do as the origin of a manual clock")]
fn a_running_stream_allocates_nothing() {
    let mut now = Instant::now();
    let (mut caller, mut callee) = (stream(now, 1), stream(now, 2));
    let mut scratch = [0; MAX_PACKET];
    let prompt = Arc::new(EncodedPrompt::silence(Codec::Pcma, Duration::from_millis(170)));
    let playlist = Playlist { repeat: Repeat::Forever, ..Playlist::once(vec![prompt]) };
    caller.command(now, Command::Play { id: PlayId(1), playlist: Box::new(playlist) });
    caller.command(now, Command::Join);
    callee.command(now, Command::Join);
    let datagrams: Vec<Vec<u8>> = (0..1500).map(datagram).collect();
    let source = "192.0.2.1:4000".parse().unwrap();

    let (mut sent, mut forwarded, mut before) = (0, 0, 0);
    for (index, datagram) in datagrams.iter().enumerate() {
        // The first second may allocate: events are queued, the translation of the prompt is built.
        if index == 50 {
            before = ALLOCATIONS.get();
        }
        now += PACKET_TIME;
        caller.handle_timeout(now);
        sent += flush(&mut caller, &mut scratch);
        if let Some(packet) = caller.handle_packet(now, source, datagram) {
            callee.forward(now, packet, &mut scratch, |_| forwarded += 1);
        }
        callee.handle_timeout(now);
        flush(&mut callee, &mut scratch);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(sent >= 1500 && forwarded >= 1499, "{sent} sent, {forwarded} forwarded");
}
