//! Batched UDP with kernel receive times: what lets one core play thousands of callers without measuring itself.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;

const BATCH: usize = 64;
const PACKET: usize = 2048;

/// A datagram as it arrived.
pub(crate) struct Arrival<'a> {
    pub(crate) from: SocketAddrV4,
    /// Kernel receive time, nanoseconds since the Unix epoch.
    pub(crate) at_ns: u64,
    pub(crate) bytes: &'a [u8],
}

/// A non-blocking loopback socket read and written in batches.
pub(crate) struct BatchSocket {
    socket: UdpSocket,
    buffers: Vec<[u8; PACKET]>,
}

impl BatchSocket {
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
        socket.set_nonblocking(true)?;
        let fd = socket.as_raw_fd();
        set_option(fd, libc::SO_TIMESTAMPNS, 1)?;
        // Forced sizes need a privilege; without it the system's maximum has to do.
        for (forced, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            if set_option(fd, forced, 32 << 20).is_err() {
                set_option(fd, plain, 32 << 20)?;
            }
        }
        Ok(Self { socket, buffers: vec![[0; PACKET]; BATCH] })
    }

    pub(crate) fn port(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }

    pub(crate) fn send(&self, bytes: &[u8], to: SocketAddrV4) {
        // A full buffer loses the datagram, as a network would; the loss shows in the figures.
        let _ = self.socket.send_to(bytes, to);
    }

    /// Sends every packet, `BATCH` to a system call.
    pub(crate) fn send_all(&self, packets: &[(Vec<u8>, SocketAddrV4)]) {
        for chunk in packets.chunks(BATCH) {
            let mut names: Vec<libc::sockaddr_in> = chunk.iter().map(|(_, to)| raw_address(*to)).collect();
            let mut parts: Vec<libc::iovec> = chunk
                .iter()
                .map(|(bytes, _)| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() })
                .collect();
            let mut messages: Vec<libc::mmsghdr> = (0..chunk.len())
                .map(|i| {
                    // SAFETY: an all-zero mmsghdr is a valid empty one.
                    let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                    message.msg_hdr.msg_name = (&raw mut names[i]).cast();
                    message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
                    message.msg_hdr.msg_iov = &raw mut parts[i];
                    message.msg_hdr.msg_iovlen = 1;
                    message
                })
                .collect();
            // SAFETY: every pointer above outlives the call.
            unsafe { libc::sendmmsg(self.socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, 0) };
        }
    }

    /// Hands every waiting datagram to `sink`.
    pub(crate) fn receive_all(&mut self, mut sink: impl FnMut(Arrival<'_>)) {
        loop {
            let mut names = [raw_address(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
            let mut controls = [[0u64; 8]; BATCH];
            let mut parts: Vec<libc::iovec> = self
                .buffers
                .iter_mut()
                .map(|buffer| libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: PACKET })
                .collect();
            let mut messages: Vec<libc::mmsghdr> = (0..BATCH)
                .map(|i| {
                    // SAFETY: an all-zero mmsghdr is a valid empty one.
                    let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
                    message.msg_hdr.msg_name = (&raw mut names[i]).cast();
                    message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as u32;
                    message.msg_hdr.msg_iov = &raw mut parts[i];
                    message.msg_hdr.msg_iovlen = 1;
                    message.msg_hdr.msg_control = (&raw mut controls[i]).cast();
                    message.msg_hdr.msg_controllen = mem::size_of_val(&controls[i]);
                    message
                })
                .collect();
            // SAFETY: every pointer above outlives the call.
            let got = unsafe {
                libc::recvmmsg(
                    self.socket.as_raw_fd(),
                    messages.as_mut_ptr(),
                    BATCH as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            let Ok(got) = usize::try_from(got) else { return };
            for i in 0..got {
                let length = (messages[i].msg_len as usize).min(PACKET);
                sink(Arrival {
                    from: SocketAddrV4::new(
                        Ipv4Addr::from(u32::from_be(names[i].sin_addr.s_addr)),
                        u16::from_be(names[i].sin_port),
                    ),
                    at_ns: receive_time(&messages[i].msg_hdr),
                    bytes: &self.buffers[i][..length],
                });
            }
            if got < BATCH {
                return;
            }
        }
    }
}

fn set_option(fd: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: `value` outlives the call and its size is passed.
    let result =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const value).cast(), mem::size_of::<i32>() as u32) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn raw_address(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn receive_time(header: &libc::msghdr) -> u64 {
    // SAFETY: the kernel filled the control buffer `header` points to; the macros stay within its length.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(control).cast());
                return time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    0
}

/// Nanoseconds since the Unix epoch, on the clock the kernel stamps datagrams with.
pub(crate) fn now_ns() -> u64 {
    // SAFETY: `time` outlives the call.
    unsafe {
        let mut time: libc::timespec = mem::zeroed();
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// Keeps the calling thread, and what it starts, on one core.
pub(crate) fn pin(core: usize) {
    keep_on(core..core + 1);
}

/// Lets it run wherever the system puts it.
pub(crate) fn unpin() {
    keep_on(0..libc::CPU_SETSIZE as usize);
}

fn keep_on(cores: Range<usize>) {
    // SAFETY: `set` is a plain bit set that outlives the call; no core is past its end.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for core in cores {
            libc::CPU_SET(core, &mut set);
        }
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set);
    }
}
