//! Datagrams with the local address they arrived at and are to leave from (`IP_PKTINFO`, RFC 3542 §6), many per system call.
//!
//! A socket bound to a wildcard address must answer from the address that was asked, or NATs and careful peers drop the answer.

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// Datagrams read by one system call.
pub(super) const BATCH: usize = 32;
/// What UDP can carry, so that nothing is ever cut.
const DATAGRAM: usize = 65_536;

/// Ancillary data of one datagram; `u64` gives it the alignment of `cmsghdr`.
type Control = [u64; 8];

/// One received datagram.
pub(super) struct Datagram<'a> {
    pub(super) remote: SocketAddr,
    /// The address it was sent to, when the kernel told.
    pub(super) local: Option<IpAddr>,
    pub(super) bytes: &'a [u8],
}

/// Buffers for one batch of datagrams, reused for every read.
pub(super) struct Receiver {
    data: Vec<u8>,
    names: [libc::sockaddr_storage; BATCH],
    controls: [Control; BATCH],
    headers: [libc::mmsghdr; BATCH],
    filled: usize,
}

// SAFETY: the raw pointers in `headers` are rewritten by every `receive` before the kernel sees them, and are otherwise only
// dereferenced through `&self` while the buffers they point to are borrowed.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero bytes are valid for these plain C structures.
        let (names, headers) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Receiver { data: vec![0; BATCH * DATAGRAM], names, controls: [[0; 8]; BATCH], headers, filled: 0 }
    }

    /// Reads what is there, up to [`BATCH`] datagrams, without waiting.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.filled = 0;
        let mut slots: [libc::iovec; BATCH] = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        let buffers = self.data.chunks_exact_mut(DATAGRAM);
        let peers = self.names.iter_mut().zip(&mut self.controls);
        for (((header, slot), buffer), (name, control)) in self.headers.iter_mut().zip(&mut slots).zip(buffers).zip(peers) {
            *slot = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_len = 0;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of_as(name);
            header.msg_hdr.msg_iov = slot;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = mem::size_of_val(control);
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every header points to buffers of the stated lengths that outlive the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// The datagrams of the last [`Receiver::receive`].
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let buffers = self.data.chunks_exact(DATAGRAM);
        self.headers.iter().take(self.filled).zip(&self.names).zip(buffers).filter_map(|((header, name), buffer)| {
            Some(Datagram {
                remote: read_name(name)?,
                local: read_local(&header.msg_hdr),
                bytes: buffer.get(..usize::try_from(header.msg_len).ok()?)?,
            })
        })
    }
}

/// Asks the kernel to tell the local address of each datagram, and to keep ICMP errors for [`next_unreachable`].
pub(super) fn enable(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    let options = if ipv6 {
        [(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)]
    } else {
        [(libc::IPPROTO_IP, libc::IP_PKTINFO), (libc::IPPROTO_IP, libc::IP_RECVERR)]
    };
    let on: libc::c_int = 1;
    for (level, option) in options {
        // SAFETY: the option value is an int of the stated size that outlives the call.
        let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, ptr::from_ref(&on).cast(), size_of_as(&on)) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Takes the next ICMP error off the socket: where the datagram was to go, when that host or port cannot be reached.
///
/// `Ok(None)` is an error of another kind, such as a path that takes smaller packets only.
pub(super) fn next_unreachable(socket: BorrowedFd<'_>) -> io::Result<Option<SocketAddr>> {
    // SAFETY: all-zero bytes are valid for these plain C structures.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut control = [0_u64; 32];
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = size_of_as(&name);
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = mem::size_of_val(&control);
    // SAFETY: the header points to name and control buffers of the stated lengths that outlive the call; no data is asked for.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let unreachable = matches!(
        read_error(&header),
        Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENOPROTOOPT)
    );
    Ok(read_name(&name).filter(|_| unreachable))
}

/// Sends one datagram without waiting, from `local` when given.
pub(super) fn send(socket: BorrowedFd<'_>, remote: SocketAddr, local: Option<IpAddr>, bytes: &[u8]) -> io::Result<()> {
    let name = socket2::SockAddr::from(remote);
    let mut slot = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control: Control = [0; 8];
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = name.as_ptr().cast_mut().cast();
    header.msg_namelen = name.len();
    header.msg_iov = &mut slot;
    header.msg_iovlen = 1;
    match local {
        None => {}
        Some(IpAddr::V4(local)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(local).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            attach(&mut header, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(local)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 };
            attach(&mut header, &mut control, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
    // SAFETY: the header points to name, data and control buffers of the stated lengths that outlive the call; the kernel only
    // reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn attach<T>(header: &mut libc::msghdr, control: &mut Control, level: libc::c_int, kind: libc::c_int, info: T) {
    const { assert!(mem::size_of::<T>() + 2 * mem::size_of::<libc::cmsghdr>() <= mem::size_of::<Control>()) };
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: pure arithmetic on a size that the assertion above bounds.
    let (space, length) =
        unsafe { (libc::CMSG_SPACE(mem::size_of::<T>() as libc::c_uint), libc::CMSG_LEN(mem::size_of::<T>() as libc::c_uint)) };
    header.msg_controllen = space as usize;
    // SAFETY: `control` is aligned for cmsghdr and holds one header with `T` behind it (asserted above).
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length as usize;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), info);
    }
}

fn read_name(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which structure the kernel has written; the storage is large enough for any.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(name.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let name = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id)))
        }
        _ => None,
    }
}

fn read_local(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`; the CMSG macros walk within it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            match (found.cmsg_level, found.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    // Unlike `ipi_addr` never a broadcast address, which nothing can be sent from.
                    return Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                    return Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
                _ => message = libc::CMSG_NXTHDR(header, message),
            }
        }
    }
    None
}

/// The error number of an entry of the error queue.
fn read_error(header: &libc::msghdr) -> Option<libc::c_int> {
    // SAFETY: the kernel has filled `msg_control` up to `msg_controllen`; the CMSG macros walk within it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = message.as_ref() {
            let is_error = matches!(
                (found.cmsg_level, found.cmsg_type),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            if is_error {
                let error: libc::sock_extended_err = ptr::read_unaligned(libc::CMSG_DATA(message).cast());
                return i32::try_from(error.ee_errno).ok();
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

fn size_of_as<T>(value: &T) -> libc::socklen_t {
    // The structures here are a few hundred bytes at most.
    mem::size_of_val(value) as libc::socklen_t
}
