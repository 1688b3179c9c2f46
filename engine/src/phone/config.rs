//! What a softphone is set up with.

use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_sip::message::Malformed;
use lockstep_sip::resolve::ResolveError;
use lockstep_sip::transport::Listen;

/// Settings of a [`Phone`](super::Phone).
#[derive(Clone, Debug)]
pub struct PhoneConfig {
    /// User part of From and Contact.
    pub user: String,
    /// For challenges to calls and registrations.
    pub credentials: Option<Credentials>,
    /// Where SIP is received; port 0 lets the system choose.
    pub listen: Vec<Listen>,
    /// In order of preference.
    pub codecs: Vec<Codec>,
    /// Audio in one packet.
    pub packet_time: Duration,
}

impl Default for PhoneConfig {
    fn default() -> Self {
        let any = |protocol| Listen { protocol, address: ([0, 0, 0, 0], 0).into() };
        Self {
            user: "phone".to_owned(),
            credentials: None,
            listen: vec![any(lockstep_sip::net::Protocol::Udp), any(lockstep_sip::net::Protocol::Tcp)],
            codecs: Codec::ALL.to_vec(),
            packet_time: Duration::from_millis(20),
        }
    }
}

/// User name and password.
#[derive(Clone)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How a call is placed.
#[derive(Clone, Debug, Default)]
pub struct Dial {
    /// Caller id instead of the phone's own user.
    pub from: Option<String>,
    /// Header fields added to the INVITE.
    pub headers: Vec<(String, String)>,
    /// Send the INVITE without SDP, and answer the offer of the 200 in the ACK.
    pub late_offer: bool,
}

/// Why the phone could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    #[error("`{target}` cannot be called: {error}")]
    BadTarget { target: String, error: Malformed },
    #[error("`{target}` cannot be called: expected a sip: URI")]
    NotSip { target: String },
    #[error(transparent)]
    Unreachable(#[from] ResolveError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("header {name}: {reason}")]
    BadHeader { name: String, reason: String },
    #[error("the call could not be placed: {0}")]
    Refused(#[from] lockstep_sip::endpoint::CommandError),
    #[error("registration of {user} failed: {reason}")]
    Registration { user: String, reason: String },
    #[error("the phone has stopped")]
    Stopped,
}
