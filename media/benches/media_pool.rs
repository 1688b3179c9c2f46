//! What one media thread carries: `cargo bench -p lockstep-media --bench media_pool -- [play|bridge LEGS]`.
//!
//! The media thread is kept on core 0, the other side of all legs on core 1. Printed for each number of legs: processor
//! time of the media thread, how late legs were called, and for bridges how long a packet took from one peer to the other.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time over real sockets")]
#![expect(clippy::print_stdout, reason = "printing figures is what it is for")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use lockstep_media::{
    codec::Codec,
    io::{MediaPool, PoolConfig},
    playout::{EncodedPrompt, PlayId, Playlist, Repeat},
    rtp::PayloadType,
    sdp::{Direction, Negotiated, TelephoneEventTypes},
    stream::Command,
};

const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const RUN: Duration = Duration::from_secs(4);
const HEADER: usize = 12;

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let what = words.next();
    let sizes: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
    let sizes = |default: &[usize]| if sizes.is_empty() { default.to_vec() } else { sizes.clone() };
    if what.as_deref() != Some("bridge") {
        for legs in sizes(&[1_000, 2_000, 4_000]) {
            run(legs, false)?;
        }
    }
    if what.as_deref() != Some("play") {
        for legs in sizes(&[200, 1_000, 2_400]) {
            run(legs, true)?;
        }
    }
    Ok(())
}

fn run(legs: usize, bridged: bool) -> io::Result<()> {
    pin(0);
    let ports = 20_000..=59_999;
    let (mut pool, mut events) = MediaPool::new(PoolConfig { threads: 1, ports, ..PoolConfig::default() })?;
    let load = UdpSocket::bind((IP, 0))?;
    let at_load = load.local_addr()?;
    let prompt = Arc::new(EncodedPrompt::new(Codec::Pcmu, vec![0x55u8; 8000]));
    let mut addresses = Vec::new();
    let mut before = None;
    for number in 0..legs {
        let leg = pool.open_leg(Instant::now(), IP, None).map_err(io::Error::other)?;
        addresses.push(leg.rtp);
        let mut order = |command| pool.send(leg.id, command).map_err(io::Error::other);
        order(Command::SetRemote(Box::new(negotiated(at_load))))?;
        if bridged {
            before = match before {
                Some(other) => {
                    pool.join(other, leg.id).map_err(io::Error::other)?;
                    None
                }
                None => Some(leg.id),
            };
        } else {
            let playlist = Playlist { repeat: Repeat::Forever, ..Playlist::once(vec![Arc::clone(&prompt)]) };
            order(Command::Play { id: PlayId(number as u64), playlist: Box::new(playlist) })?;
        }
        // Calls arrive over time; so many at one moment would all tick together.
        thread::sleep(Duration::from_micros(300));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (receiver, sender) = (load.try_clone()?, load);
    let (stop_receiver, stop_sender) = (Arc::clone(&stop), Arc::clone(&stop));
    let receiving = thread::spawn(move || measure(&receiver, &stop_receiver));
    let sending = thread::spawn(move || send(&sender, &addresses, &stop_sender));
    thread::sleep(RUN / 4);
    let (start, cpu, gauges) = (Instant::now(), media_thread_time()?, pool.gauges());
    thread::sleep(RUN);
    let (elapsed, used, after) = (start.elapsed(), media_thread_time()? - cpu, pool.gauges());
    stop.store(true, Relaxed);
    let _ = sending.join();
    let mut latencies = receiving.join().unwrap_or_default();
    latencies.sort_unstable();
    while events.try_recv().is_some() {}

    let lateness = after.lateness.since(&gauges.lateness);
    let packets = after.sent - gauges.sent;
    println!(
        "{} {legs:>5} legs: {:>5.1} % of a core, {:>5.2} µs a packet sent, {} wake-ups/s, called late p50 {:?} p99 {:?}{}",
        if bridged { "bridge" } else { "play  " },
        100.0 * used.as_secs_f64() / elapsed.as_secs_f64(),
        used.as_secs_f64() * 1e6 / packets.max(1) as f64,
        (after.wakeups - gauges.wakeups) / elapsed.as_secs().max(1),
        lateness.quantile(0.5),
        lateness.quantile(0.99),
        match (bridged, latencies.len()) {
            (true, 1..) => {
                let at = |share: f64| Duration::from_nanos(latencies[((latencies.len() - 1) as f64 * share) as usize]);
                format!(", peer to peer p50 {:?} p99 {:?}", at(0.5), at(0.99))
            }
            _ => String::new(),
        }
    );
    Ok(())
}

fn negotiated(remote: SocketAddr) -> Negotiated {
    let payload_type = PayloadType::new(0).expect("0 is a payload type");
    let keys = PayloadType::new(101).expect("101 is a payload type");
    Negotiated {
        remote: Some(remote),
        remote_rtcp: None,
        rtcp_mux: false,
        codec: Codec::Pcmu,
        payload_type,
        packet_time: Duration::from_millis(20),
        max_packet_time: None,
        receive: vec![(payload_type, Codec::Pcmu)],
        // Without it every packet would be searched for tones, which costs more than sending it.
        telephone_event: Some(TelephoneEventTypes { send: keys, receive: keys }),
        direction: Direction::SendRecv,
        held: false,
    }
}

/// Sends a packet to every leg each 20 ms, spread over the time between, with the moment of sending in its payload.
fn send(socket: &UdpSocket, legs: &[SocketAddr], stop: &AtomicBool) {
    pin(1);
    let mut packet = [0u8; HEADER + 160];
    let start = Instant::now();
    for tick in 0u32.. {
        thread::sleep((start + Duration::from_millis(tick.into())).saturating_duration_since(Instant::now()));
        if stop.load(Relaxed) {
            return;
        }
        let round = tick / 20;
        packet[0] = 0x80;
        packet[2..4].copy_from_slice(&(round as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(round * 160).to_be_bytes());
        for (number, leg) in legs.iter().enumerate().skip(tick as usize % 20).step_by(20) {
            packet[8..12].copy_from_slice(&(number as u32 + 1).to_be_bytes());
            packet[HEADER..HEADER + 8].copy_from_slice(&now_ns().to_be_bytes());
            let _ = socket.send_to(&packet, leg);
        }
    }
}

/// Takes in what legs send, and how long ago the packet was made where it was one of ours. Looks once a millisecond: a
/// thread that sleeps in `recv` would make the media thread pay for waking it at every packet.
fn measure(socket: &UdpSocket, stop: &AtomicBool) -> Vec<u64> {
    pin(1);
    let _ = socket.set_nonblocking(true);
    let mut buffer = [0u8; 2048];
    let mut latencies = Vec::new();
    while !stop.load(Relaxed) {
        thread::sleep(Duration::from_millis(1));
        while let Ok(length) = socket.recv(&mut buffer) {
            if length == HEADER + 160
                && let Ok(sent) = buffer[HEADER..HEADER + 8].try_into().map(u64::from_be_bytes)
                && let Some(latency) = now_ns().checked_sub(sent).filter(|latency| *latency < 1_000_000_000)
            {
                latencies.push(latency);
            }
        }
    }
    latencies
}

fn now_ns() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

/// Processor time of the thread called `media-0`.
fn media_thread_time() -> io::Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "media-0" {
            let times = std::fs::read_to_string(task.join("schedstat"))?;
            let nanos = times.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
            return nanos.map(Duration::from_nanos).ok_or_else(|| io::Error::other("schedstat cannot be read"));
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn pin(core: usize) {
    // SAFETY: `set` is a plain bit set that outlives the call; the cores are constants below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
