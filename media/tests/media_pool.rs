//! The media threads on real loopback sockets. Nothing here measures time: packets are counted and compared, and every
//! wait is for an event or a packet (with a limit that only a failure reaches).
#![expect(clippy::disallowed_methods, reason = "real sockets and threads are what is tested")]

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use lockstep_media::{
    codec::Codec,
    digit::{Digit, DigitSet},
    io::{
        LegId, MediaPool, PoolConfig, PoolEvent, PoolEvents, PortError, RecordingFile, RecordingFormat, Refusal, SendError,
        recording_mark,
    },
    playout::{EncodedPrompt, PlayId, Playlist, PlayoutEnd},
    prompt::{Audio, Limits, decode::decode},
    recording::{RecordingId, RecordingOptions},
    rtp::{PayloadType, RtpPacket},
    sdp::{Direction, Negotiated, TelephoneEventTypes},
    stream::{Command, MediaEvent},
};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PTIME: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(20);

/// Ranges of their own, so that tests can run beside each other.
fn ports(pairs: u16) -> std::ops::RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 41_000 + (std::process::id() % 50) as u16 * 200 + NEXT.fetch_add(pairs * 2, Relaxed);
    first..=first + pairs * 2 - 1
}

fn pool(threads: usize, pairs: u16) -> (MediaPool, PoolEvents) {
    MediaPool::new(PoolConfig { threads, ports: ports(pairs), ..PoolConfig::default() }).unwrap()
}

fn payload_type(value: u8) -> PayloadType {
    PayloadType::new(value).unwrap()
}

fn negotiated(remote: SocketAddr) -> Command {
    Command::SetRemote(Box::new(Negotiated {
        remote: Some(remote),
        remote_rtcp: Some(SocketAddr::new(remote.ip(), remote.port() + 1)),
        rtcp_mux: false,
        codec: Codec::Pcmu,
        payload_type: payload_type(0),
        packet_time: PTIME,
        max_packet_time: None,
        receive: vec![(payload_type(0), Codec::Pcmu)],
        telephone_event: Some(TelephoneEventTypes { send: payload_type(101), receive: payload_type(101) }),
        direction: Direction::SendRecv,
        held: false,
    }))
}

/// The other side of a leg: sends and receives RTP from one socket.
struct Peer {
    socket: UdpSocket,
    sequence: u16,
}

#[derive(Debug, PartialEq, Eq)]
struct Packet {
    payload_type: u8,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
}

impl Peer {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Self { socket, sequence: 100 }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn send(&mut self, to: SocketAddr, payload_type: u8, timestamp: u32, payload: &[u8]) {
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(0x1234_5678u32.to_be_bytes());
        packet.extend(payload);
        self.socket.send_to(&packet, to).unwrap();
        self.sequence += 1;
    }

    fn press(&mut self, to: SocketAddr, digit: u8, timestamp: u32) {
        for (end, duration) in [(0, 160u16), (0, 320), (0x80, 480), (0x80, 480), (0x80, 480)] {
            let [high, low] = duration.to_be_bytes();
            self.send(to, 101, timestamp, &[digit, end | 10, high, low]);
        }
    }

    fn receive(&self) -> Packet {
        let mut buffer = [0; 2048];
        let (length, _) = self.socket.recv_from(&mut buffer).expect("a packet within the limit");
        let packet = RtpPacket::parse(&buffer[..length]).unwrap();
        Packet {
            payload_type: packet.header.payload_type.value(),
            marker: packet.header.marker,
            sequence: packet.header.sequence.0,
            timestamp: packet.header.timestamp.0,
            ssrc: packet.header.ssrc.0,
            payload: packet.payload.to_vec(),
        }
    }

    /// Packets up to and including the first that matches.
    fn receive_until(&self, matches: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            packets.push(self.receive());
            if matches(&packets[packets.len() - 1]) {
                return packets;
            }
            assert!(packets.len() < 1000, "the expected packet never came");
        }
    }
}

/// Events up to and including the first that matches.
fn events_until(events: &mut PoolEvents, matches: impl Fn(&PoolEvent) -> bool) -> Vec<PoolEvent> {
    let mut seen = Vec::new();
    loop {
        seen.push(events.blocking_recv().expect("the pool is alive"));
        if matches(&seen[seen.len() - 1]) {
            return seen;
        }
    }
}

fn media(events: &mut PoolEvents, matches: impl Fn(&MediaEvent) -> bool) -> (LegId, MediaEvent) {
    let mut seen = events_until(events, |event| matches!(event, PoolEvent::Media { event, .. } if matches(event)));
    match seen.pop() {
        Some(PoolEvent::Media { leg, event, .. }) => (leg, event),
        other => panic!("{other:?}"),
    }
}

fn prompt(octet: u8, packets: usize) -> Box<Playlist> {
    Box::new(Playlist::once(vec![Arc::new(EncodedPrompt::new(Codec::Pcmu, vec![octet; 160 * packets]))]))
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("lockstep-pool-{}-{name}", std::process::id()))
}

#[test]
fn a_prompt_leaves_whole_in_one_unbroken_stream() {
    let (mut pool, mut events) = pool(1, 4);
    let peer = Peer::new();
    let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
    pool.send(leg.id, negotiated(peer.address())).unwrap();
    let samples: Vec<u8> = (0..1600).map(|n| (n % 251) as u8).collect();
    let playlist = Box::new(Playlist::once(vec![Arc::new(EncodedPrompt::new(Codec::Pcmu, samples.clone()))]));
    pool.send(leg.id, Command::Play { id: PlayId(7), playlist }).unwrap();
    let packets = peer.receive_until(|packet| packet.payload == samples[1440..]);
    assert!(packets.iter().all(|packet| packet.ssrc == packets[0].ssrc && packet.payload_type == 0));
    assert!(packets.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    let heard: Vec<u8> = packets[packets.len() - 10..].iter().flat_map(|packet| packet.payload.clone()).collect();
    assert_eq!(heard, samples);
    let prompt = &packets[packets.len() - 10..];
    // A machine that stalls a thread has it leave out time, and say so by the marker; nothing of the prompt.
    let follows = |pair: &[Packet]| match pair[1].timestamp.wrapping_sub(pair[0].timestamp) {
        160 => true,
        leap => pair[1].marker && (160..1 << 31).contains(&leap),
    };
    assert!(prompt.windows(2).all(follows));
    assert!(prompt[0].marker, "a prompt begins a talkspurt");
    let (from, event) = media(&mut events, |event| matches!(event, MediaEvent::PlayoutFinished { .. }));
    let played = Duration::from_millis(200);
    assert_eq!((from, event), (leg.id, MediaEvent::PlayoutFinished { id: PlayId(7), played, end: PlayoutEnd::Completed }));
}

#[test]
fn keys_are_reported_while_waiting_while_interruptible_and_while_not() {
    let (mut pool, mut events) = pool(1, 4);
    let mut peer = Peer::new();
    let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
    pool.send(leg.id, negotiated(peer.address())).unwrap();
    let pressed = |events: &mut PoolEvents| match media(events, |event| matches!(event, MediaEvent::Digit { .. })).1 {
        MediaEvent::Digit { digit, .. } => digit.as_char(),
        _ => unreachable!(),
    };
    peer.press(leg.rtp, 5, 8000);
    assert_eq!(pressed(&mut events), '5');

    pool.send(leg.id, Command::Play { id: PlayId(1), playlist: prompt(1, 10_000) }).unwrap();
    peer.receive_until(|packet| packet.payload == [1; 160]);
    peer.press(leg.rtp, 6, 16_000);
    assert_eq!(pressed(&mut events), '6');

    let mut interruptible = prompt(2, 10_000);
    interruptible.stop_on = DigitSet::ALL;
    pool.send(leg.id, Command::Play { id: PlayId(2), playlist: interruptible }).unwrap();
    peer.receive_until(|packet| packet.payload == [2; 160]);
    peer.press(leg.rtp, 7, 24_000);
    let stopped = PlayoutEnd::Digit(Digit::from_char('7').unwrap());
    media(&mut events, |event| matches!(event, MediaEvent::PlayoutFinished { id: PlayId(2), end, .. } if *end == stopped));
}

#[test]
fn joined_legs_of_two_threads_hear_each_other_and_part_without_a_break() {
    let (mut pool, mut events) = pool(2, 4);
    let (mut caller, callee) = (Peer::new(), Peer::new());
    let now = Instant::now();
    let a = pool.open_leg(now, IP, None).unwrap();
    let b = pool.open_leg(now, IP, None).unwrap();
    // A command sent just before the move must not be overtaken by it.
    pool.send(a.id, negotiated(caller.address())).unwrap();
    pool.send(b.id, negotiated(callee.address())).unwrap();
    pool.join(a.id, b.id).unwrap();
    let first = callee.receive();
    let mut timestamp = 8000u32;
    let packets = loop {
        // Sent until it comes through: the join takes effect some time after the call.
        caller.send(a.rtp, 0, timestamp, &[timestamp as u8 | 1; 160]);
        timestamp += 160;
        let packet = callee.receive();
        if packet.payload[0] & 1 == 1 && packet.payload != [0xff; 160] {
            break packet;
        }
    };
    assert_eq!(packets.ssrc, first.ssrc, "the stream of the leg, not that of the caller");
    pool.leave(a.id).unwrap();
    pool.send(b.id, Command::Play { id: PlayId(3), playlist: prompt(3, 5) }).unwrap();
    let after = callee.receive_until(|packet| packet.payload == [3; 160]);
    assert!(after.iter().all(|packet| packet.ssrc == first.ssrc));
    media(&mut events, |event| matches!(event, MediaEvent::PlayoutFinished { id: PlayId(3), .. }));
}

#[test]
fn a_key_passes_a_bridge_and_is_reported_once() {
    let (mut pool, mut events) = pool(1, 4);
    let (mut caller, callee) = (Peer::new(), Peer::new());
    let now = Instant::now();
    let a = pool.open_leg(now, IP, None).unwrap();
    let b = pool.open_leg(now, IP, Some(a.id)).unwrap();
    pool.send(a.id, negotiated(caller.address())).unwrap();
    pool.send(b.id, negotiated(callee.address())).unwrap();
    pool.join(a.id, b.id).unwrap();
    let mut timestamp = 8000u32;
    // Sent until it comes through: the join takes effect some time after the call.
    while callee.receive().payload != [0x55; 160] {
        caller.send(a.rtp, 0, timestamp, &[0x55; 160]);
        timestamp += 160;
    }
    caller.press(a.rtp, 9, timestamp);
    let passed = callee.receive_until(|packet| packet.payload_type == 101 && packet.payload[1] & 0x80 != 0);
    assert_eq!(passed[passed.len() - 1].payload[0], 9);
    let (leg, event) = media(&mut events, |event| matches!(event, MediaEvent::Digit { .. }));
    assert!(leg == a.id && matches!(event, MediaEvent::Digit { digit, .. } if digit.as_char() == '9'));
}

#[test]
fn a_recording_is_announced_written_and_reported_with_its_length() {
    for format in [RecordingFormat::Wav, RecordingFormat::Ogg] {
        let (mut pool, mut events) = pool(1, 4);
        let mut peer = Peer::new();
        let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
        pool.send(leg.id, negotiated(peer.address())).unwrap();
        let path = temporary(&format!("record-{format:?}"));
        let file = RecordingFile { within: std::env::temp_dir(), path: path.clone(), format, mark: "call".into() };
        let (id, options) = (RecordingId(1), RecordingOptions { stereo: true, ..RecordingOptions::default() });
        pool.record(leg.id, id, options, file, Codec::Pcmu).unwrap();
        events_until(&mut events, |event| matches!(event, PoolEvent::RecordingStarted { id: RecordingId(1), .. }));
        // The peer sends as much as it hears: that takes the time it takes.
        for packet in 0..40u32 {
            peer.receive();
            peer.send(leg.rtp, 0, packet * 160, &[0x80; 160]);
        }
        pool.send(leg.id, Command::StopRecording(id)).unwrap();
        let seen = events_until(&mut events, |event| matches!(event, PoolEvent::RecordingSaved { .. }));
        let Some(PoolEvent::RecordingSaved { path: saved, duration, .. }) = seen.last() else { unreachable!() };
        assert_eq!(saved, &path);
        assert_eq!(recording_mark(std::fs::File::open(&path).unwrap().as_fd()).as_deref(), Some("call"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let audio = decode(&bytes.into(), "", 8000, &Limits::default(), &mut || false).unwrap();
        let Audio::Linear { samples, .. } = audio else { panic!("{audio:?}") };
        assert_eq!(samples.len() as u64, duration.as_micros() as u64 * 8 / 1000, "{format:?}");
        assert!(samples.len() > 160 * 20, "{format:?}: {}", samples.len());
        assert!(samples.iter().any(|sample| sample.abs() > 3000), "{format:?}: the peer was loud");
    }
}

#[test]
fn a_recording_that_cannot_be_opened_is_reported_with_its_file() {
    let (mut pool, mut events) = pool(1, 4);
    let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
    let file = RecordingFile {
        within: "/dev/null".into(),
        path: "/dev/null/at/all.wav".into(),
        format: RecordingFormat::Wav,
        mark: String::new(),
    };
    pool.record(leg.id, RecordingId(1), RecordingOptions::default(), file, Codec::Pcmu).unwrap();
    let seen = events_until(&mut events, |event| matches!(event, PoolEvent::RecordingFailed { .. }));
    let Some(PoolEvent::RecordingFailed { error, .. }) = seen.last() else { unreachable!() };
    assert!(error.to_string().starts_with("cannot record to /dev/null/at/all.wav: "), "{error}");
}

#[test]
fn the_folder_of_a_recording_is_made_and_its_file_has_one_writer() {
    let (mut pool, mut events) = pool(1, 4);
    let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
    let folder = temporary("folder");
    let path = folder.join("deeper/a.wav");
    for id in [1, 2] {
        let file =
            RecordingFile { within: std::env::temp_dir(), path: path.clone(), format: RecordingFormat::Wav, mark: String::new() };
        pool.record(leg.id, RecordingId(id), RecordingOptions::default(), file, Codec::Pcmu).unwrap();
    }
    let seen = events_until(&mut events, |event| matches!(event, PoolEvent::RecordingFailed { .. }));
    assert!(seen.iter().any(|event| matches!(event, PoolEvent::RecordingStarted { id: RecordingId(1), .. })));
    let Some(PoolEvent::RecordingFailed { id: RecordingId(2), error, .. }) = seen.last() else { panic!("{seen:?}") };
    assert!(error.to_string().ends_with("another recording is being written there"), "{error}");
    // Once the first is complete its file may be written again.
    pool.send(leg.id, Command::StopRecording(RecordingId(1))).unwrap();
    events_until(&mut events, |event| matches!(event, PoolEvent::RecordingSaved { .. }));
    let file = RecordingFile { within: std::env::temp_dir(), path, format: RecordingFormat::Wav, mark: String::new() };
    pool.record(leg.id, RecordingId(3), RecordingOptions::default(), file, Codec::Pcmu).unwrap();
    events_until(&mut events, |event| matches!(event, PoolEvent::RecordingStarted { id: RecordingId(3), .. }));
    drop(pool);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_end_of_the_pool_completes_recordings_and_says_goodbye() {
    let (mut pool, mut events) = pool(1, 4);
    let peer = Peer::new();
    let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
    pool.send(leg.id, negotiated(peer.address())).unwrap();
    let path = temporary("end");
    let file =
        RecordingFile { within: std::env::temp_dir(), path: path.clone(), format: RecordingFormat::Wav, mark: String::new() };
    pool.record(leg.id, RecordingId(1), RecordingOptions::default(), file, Codec::Pcmu).unwrap();
    pool.send(leg.id, Command::Play { id: PlayId(1), playlist: prompt(1, 1000) }).unwrap();
    for _ in 0..20 {
        peer.receive();
    }
    drop(pool);
    let mut saved = false;
    let mut closed = false;
    while let Some(event) = events.blocking_recv() {
        saved |= matches!(event, PoolEvent::RecordingSaved { .. });
        closed |= matches!(&event, PoolEvent::Closed { leg: gone, stats } if *gone == leg.id && stats.packets_sent >= 20);
    }
    assert!(saved && closed);
    let length = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(length[40..44], (length.len() as u32 - 44).to_le_bytes(), "the header was completed");
}

#[test]
fn a_closed_leg_takes_no_commands_and_its_port_rests() {
    let (mut pool, mut events) = pool(1, 1);
    let now = Instant::now();
    let leg = pool.open_leg(now, IP, None).unwrap();
    assert!(matches!(pool.open_leg(now, IP, None), Err(PortError::Exhausted { .. })));
    assert_eq!(pool.admit(now, IP), Err(Refusal::Ports(IP)));
    pool.close(leg.id);
    pool.close(leg.id);
    assert_eq!(pool.gauges().legs, 0, "open, not: with a socket that is still being closed");
    assert_eq!(pool.send(leg.id, Command::Stop(PlayId(1))), Err(SendError::Gone));
    assert_eq!(pool.join(leg.id, leg.id), Err(SendError::Gone));
    events_until(&mut events, |event| matches!(event, PoolEvent::Closed { leg: gone, .. } if *gone == leg.id));
    assert!(matches!(pool.open_leg(now, IP, None), Err(PortError::Exhausted { .. })), "late packets must die out first");
    let rested = now + LIMIT;
    assert_eq!(pool.admit(rested, IP), Ok(()));
    assert_eq!(pool.open_leg(rested, IP, None).unwrap().rtp, leg.rtp);
}

#[test]
fn an_address_of_another_machine_is_refused_by_name() {
    let (mut pool, _events) = pool(1, 1);
    let foreign: IpAddr = "192.0.2.1".parse().unwrap();
    let error = pool.open_leg(Instant::now(), foreign, None).unwrap_err();
    assert!(error.to_string().starts_with("cannot open an RTP socket on 192.0.2.1: "), "{error}");
}

#[test]
fn figures_are_reported_when_a_leg_is_closed() {
    let (mut pool, mut events) = pool(1, 2);
    let mut peer = Peer::new();
    let leg = pool.open_leg(Instant::now(), IP, None).unwrap();
    pool.send(leg.id, negotiated(peer.address())).unwrap();
    // The first packet leaves with the command, the others at ticks.
    (0..3).for_each(|_| drop(peer.receive()));
    peer.send(leg.rtp, 0, 0, &[0xff; 160]);
    media(&mut events, |event| matches!(event, MediaEvent::MediaStarted { source } if *source == peer.address()));
    let gauges = pool.gauges();
    assert!(gauges.sent >= 1 && gauges.received >= 1 && gauges.lateness.count() >= 1);
    assert_eq!((gauges.legs, gauges.threads), (1, 1));
    pool.close(leg.id);
    let seen = events_until(&mut events, |event| matches!(event, PoolEvent::Closed { .. }));
    let Some(PoolEvent::Closed { stats, .. }) = seen.last() else { unreachable!() };
    assert!(stats.packets_received >= 1 && stats.packets_sent >= 1);
}
