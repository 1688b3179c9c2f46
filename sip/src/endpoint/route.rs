//! Where responses and the requests of a dialog are sent.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::dialog::Dialog;
use crate::message::{Uri, Via};
use crate::net::{Destination, Protocol, Source, is_private};

/// The way to the peer of a dialog.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// Send to where the peer's messages come from, whatever its Contact says.
    pub(super) symmetric: bool,
    /// Where the peer's last message came from, or where our INVITE went.
    pub(super) peer: Destination,
    /// Whose device is there.
    pub(super) owner: Option<Arc<str>>,
}

impl Path {
    pub(super) fn new(peer: Destination, symmetric: bool, owner: Option<Arc<str>>) -> Path {
        Path { symmetric, peer, owner }
    }

    /// The address of the dialog's next hop, where it is to be followed.
    pub(super) fn target(&self, dialog: &Dialog) -> Option<Destination> {
        if self.symmetric {
            return None;
        }
        let target = numeric_destination(dialog.next_hop(), self.peer)?;
        // A private address told by a host outside that network: only its NAT knows the way.
        let is_beyond = is_hidden(target.remote.ip()) && !is_hidden(self.peer.remote.ip());
        (!is_beyond).then_some(target)
    }

    /// The destinations for the dialog's next request, the best first.
    ///
    /// A next hop that is a name is reached through the peer's last address.
    pub(super) fn destinations(&self, dialog: &Dialog) -> Vec<Destination> {
        let Some(target) = self.target(dialog) else {
            return vec![self.peer];
        };
        let same_host = target.remote.ip() == self.peer.remote.ip();
        if same_host && target.remote == self.peer.remote && target.protocol == self.peer.protocol {
            return vec![self.peer];
        }
        if same_host && target.protocol == self.peer.protocol && self.peer.protocol.is_reliable() {
            // A connection from that host is there; whether its Contact accepts another is not known.
            return vec![self.peer, target];
        }
        vec![target]
    }
}

/// Loopback is as private as an address can be: told by another host it is not ours.
fn is_hidden(ip: IpAddr) -> bool {
    is_private(ip) || ip.to_canonical().is_loopback()
}

/// The address in a URI that needs no look-up (RFC 3263 4): numeric host or `maddr`.
fn numeric_destination(uri: &Uri, peer: Destination) -> Option<Destination> {
    let Uri::Sip(uri) = uri else {
        return None;
    };
    let ip = match uri.params.get("maddr") {
        Some(maddr) => crate::message::Host::parse(maddr).ok()?.ip()?,
        None => uri.host.ip()?,
    };
    let protocol = match uri.transport() {
        Some(token) => {
            let protocol = Protocol::from_token(token)?;
            if uri.secure && protocol == Protocol::Tcp { Protocol::Tls } else { protocol }
        }
        None if uri.secure => Protocol::Tls,
        None => Protocol::Udp,
    };
    let port = uri.port.unwrap_or(protocol.default_port());
    // Browsers cannot be connected to, and TLS ends in front of us where there is any: the peer's flow is the only way.
    if matches!(protocol, Protocol::Tls | Protocol::Ws | Protocol::Wss) {
        return None;
    }
    Some(Destination {
        protocol,
        remote: SocketAddr::new(ip, port),
        flow: None,
        local: peer.local.filter(|local| protocol == peer.protocol && local.is_ipv4() == ip.is_ipv4()),
    })
}

/// Where a response goes (RFC 3261 18.2.2, RFC 3581 4): back over the connection; by UDP to the source address, and there to the
/// source port when `rport` asks for it, else to the port in Via.
///
/// A Via address that is not the source is a sign of NAT, where only the source port gets through; it is used then as well.
pub(super) fn response_destination(via: &Via, source: &Source) -> Destination {
    let mut destination = source.reply_path();
    let behind_nat = via.host.ip().is_some_and(|ip| ip.to_canonical() != source.remote.ip().to_canonical());
    if source.protocol == Protocol::Udp && !via.params.contains("rport") && !behind_nat {
        destination.remote.set_port(via.port.unwrap_or(Protocol::Udp.default_port()));
    }
    destination
}
