//! The bare two-way loop: what one core can send and receive with nothing of a telephone call around it.
//!
//! A thread on core 0 owns one connected socket a leg; at each leg's tick, 20 ms apart, it reads what came and sends one
//! G.711 packet. A thread on core 1 is the other side of all legs. No RTP state, no commands, no events, no keys: what
//! the engine's playback reaches of it is what everything else costs.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time over real sockets")]

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Ticks of 1 ms in a packet time.
const SLOTS: usize = 20;
/// RTP header and 20 ms of G.711.
const PACKET: usize = 172;
/// Datagrams a system call of the load handles.
const BATCH: usize = 64;
/// The bar of the playback and bridge figures.
const MAX_GAP: Duration = Duration::from_millis(40);
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Legs served.
    pub legs: usize,
    /// 99 of 100 packets of a leg left within this after the one before.
    pub gap_p99: Duration,
    /// The longest such gap.
    pub gap_max: Duration,
    /// Packets sent by the server.
    pub sent: u64,
    /// Packets received by the server.
    pub received: u64,
    /// Processor time of the server's thread for each second.
    pub load: f64,
}

impl Outcome {
    /// Whether the run was clean: no gap at the bar, and the server kept up with reading.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.gap_p99 < MAX_GAP && self.received * 100 >= self.sent * 95
    }
}

/// Serves `legs` legs for `time`.
///
/// # Errors
/// The system refuses a socket or a thread.
pub fn run(legs: usize, time: Duration) -> io::Result<Outcome> {
    let load = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    load.set_nonblocking(true)?;
    for (option, size) in [(libc::SO_RCVBUFFORCE, 64 << 20), (libc::SO_RCVBUF, 4 << 20)] {
        if set_option(&load, option, size).is_ok() {
            break;
        }
    }
    let at_load = load.local_addr()?;
    let mut sockets = Vec::with_capacity(legs);
    let mut at_legs = Vec::with_capacity(legs);
    for _ in 0..legs {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(at_load)?;
        if let SocketAddr::V4(address) = socket.local_addr()? {
            at_legs.push(address);
        }
        sockets.push(socket);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let stop_load = Arc::clone(&stop);
    let other_side = thread::Builder::new().name("bare-load".into()).spawn(move || {
        pin(LOAD_CORE);
        send_and_drain(&load, &at_legs, &stop_load);
    })?;
    let server = thread::Builder::new().name("bare-server".into()).spawn(move || {
        pin(SERVER_CORE);
        serve(&sockets, time)
    })?;
    let outcome = server.join();
    stop.store(true, Relaxed);
    let _ = other_side.join();
    outcome.map_err(|_| io::Error::other("the server thread panicked"))
}

/// The most legs served cleanly, in steps of a thousand.
///
/// # Errors
/// As [`run`].
pub fn capacity() -> io::Result<usize> {
    let mut best = 0;
    for legs in (2_000..=9_000).step_by(1_000) {
        match run(legs, Duration::from_secs(3)) {
            Ok(outcome) if outcome.is_clean() => best = legs,
            Ok(_) => break,
            // Out of descriptors: what was reached before is what this machine shows.
            Err(_) if best > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(best)
}

/// [`capacity`] as text, measured once in a process.
pub fn describe() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| match capacity() {
        Ok(legs) => legs.to_string(),
        Err(error) => format!("not measured ({error})"),
    })
}

fn serve(sockets: &[UdpSocket], time: Duration) -> Outcome {
    prefer_this_thread();
    let packet = [0x80u8; PACKET];
    let mut buffer = [0u8; 2048];
    let mut last: Vec<Option<Instant>> = vec![None; sockets.len()];
    let mut gaps = Vec::with_capacity(sockets.len() * (time.as_millis() as usize / SLOTS + 1));
    let (mut sent, mut received) = (0, 0);
    let (start, cpu_at_start) = (Instant::now(), thread_time());
    for tick in 0.. {
        let due = start + Duration::from_millis(tick);
        sleep_until(due);
        if due > start + time {
            break;
        }
        for leg in (tick as usize % SLOTS..sockets.len()).step_by(SLOTS) {
            while sockets[leg].recv(&mut buffer).is_ok() {
                received += 1;
            }
            if sockets[leg].send(&packet).is_ok() {
                sent += 1;
            }
            let now = Instant::now();
            if let Some(before) = last[leg].replace(now) {
                gaps.push(now - before);
            }
        }
    }
    let load = (thread_time() - cpu_at_start).as_secs_f64() / start.elapsed().as_secs_f64();
    gaps.sort_unstable();
    let at = |share: f64| gaps.get(((gaps.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or_default();
    Outcome { legs: sockets.len(), gap_p99: at(0.99), gap_max: at(1.0), sent, received, load }
}

/// The other side of every leg, in batches: it must not be what limits the figure.
fn send_and_drain(socket: &UdpSocket, legs: &[SocketAddrV4], stop: &AtomicBool) {
    let mut packet = [0x80u8; PACKET];
    let mut sinks = vec![[0u8; PACKET]; BATCH];
    let mut names: Vec<libc::sockaddr_in> = legs.iter().copied().map(raw_address).collect();
    let start = Instant::now();
    for tick in 0.. {
        sleep_until(start + Duration::from_millis(tick));
        if stop.load(Relaxed) {
            return;
        }
        let mut part = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: PACKET };
        let mut messages: Vec<libc::mmsghdr> = names
            .iter_mut()
            .skip(tick as usize % SLOTS)
            .step_by(SLOTS)
            .map(|name| message(&raw mut part, (&raw mut *name).cast()))
            .collect();
        for batch in messages.chunks_mut(BATCH) {
            // SAFETY: the messages point to `names`, `part` and `packet`, which outlive the call.
            unsafe { libc::sendmmsg(socket.as_raw_fd(), batch.as_mut_ptr(), batch.len() as u32, 0) };
        }
        drain(socket, &mut sinks);
    }
}

fn drain(socket: &UdpSocket, sinks: &mut [[u8; PACKET]]) {
    loop {
        let mut parts: Vec<libc::iovec> =
            sinks.iter_mut().map(|sink| libc::iovec { iov_base: sink.as_mut_ptr().cast(), iov_len: PACKET }).collect();
        let mut messages: Vec<libc::mmsghdr> =
            parts.iter_mut().map(|part| message(&raw mut *part, std::ptr::null_mut())).collect();
        let (count, flags) = (messages.len() as u32, libc::MSG_DONTWAIT);
        // SAFETY: the messages point to `parts` and `sinks`, which outlive the call.
        let read = unsafe { libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count, flags, std::ptr::null_mut()) };
        if read < count as i32 {
            return;
        }
    }
}

fn message(part: *mut libc::iovec, name: *mut libc::c_void) -> libc::mmsghdr {
    // SAFETY: an all-zero mmsghdr is a valid empty one.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    if !name.is_null() {
        message.msg_hdr.msg_name = name;
        message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    }
    message
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn set_option(socket: &UdpSocket, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` outlives the call and its size is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

/// The same preference as the engine's media threads take.
fn prefer_this_thread() {
    let parameters = libc::sched_param { sched_priority: 10 };
    // SAFETY: `parameters` outlives the call; 0 names the calling thread.
    unsafe {
        if libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) != 0 {
            libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, -11);
        }
    }
}

fn pin(core: usize) {
    // SAFETY: `set` is a plain bit set that outlives the call; the cores are constants below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

fn thread_time() -> Duration {
    // SAFETY: `time` outlives the call.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leg_sends_at_each_of_its_ticks_and_hears_the_other_side() {
        let outcome = run(40, Duration::from_millis(200)).unwrap();
        assert_eq!(outcome.legs, 40);
        // Ticks 0 to 200: ten packets a leg, eleven for the two of the first slot.
        assert_eq!(outcome.sent, 40 * 10 + 2);
        assert!(outcome.received > 0);
        assert!(outcome.gap_p99 <= outcome.gap_max);
    }
}
