//! Transports (RFC 3261 §18): the only part of the crate that does IO, apart from DNS look-ups.
//!
//! ```text
//! loop {
//!     transports.receive(|event| …).await      // wake → read many → hand each to the core
//!     while let Some(transmit) = core.poll() { transports.send(transmit) }   // never waits
//! }
//! ```

pub mod framing;

#[cfg(feature = "transport")]
mod connection;
#[cfg(feature = "transport")]
mod local_address;
#[cfg(feature = "transport")]
mod packet_info;
#[cfg(feature = "transport")]
mod tcp;
#[cfg(feature = "transport")]
mod transports;
#[cfg(feature = "transport")]
mod udp;

#[cfg(feature = "transport")]
pub use self::{
    connection::TcpConfig,
    tcp::TcpStats,
    transports::{Listen, ListenError, SendError, TransportConfig, TransportEvent, TransportStats, Transports},
    udp::UdpStats,
};
