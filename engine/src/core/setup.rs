//! What the engine's parts are set up with: the same for a running engine and for a simulated one.

use std::net::SocketAddr;
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_sip::auth::{Algorithm, AuthenticatorConfig};
use lockstep_sip::endpoint::Config as EndpointConfig;
use lockstep_sip::message::Method;
use lockstep_sip::net::Protocol;
use lockstep_sip::registrar::RegistrarConfig;

use crate::backend::freeswitch::Settings as MediaServers;
use crate::config::{self, Config, Loaded};

/// What a caller hears while the far end rings without sending audio: the North American cadence.
pub(crate) const RINGBACK: &str = "tone:440+480,2000/4000";

/// The codecs that calls may use, in order of preference.
pub(crate) fn codecs(config: &Config) -> Vec<Codec> {
    config.media.codecs().iter().map(|codec| media_codec(*codec)).collect()
}

/// Report a leg from which nothing came for this long although it should.
pub(crate) fn media_timeout(config: &Config) -> Option<Duration> {
    (config.media.timeout_s > 0).then(|| Duration::from_secs(config.media.timeout_s.into()))
}

fn media_codec(codec: config::Codec) -> Codec {
    match codec {
        config::Codec::Pcmu => Codec::Pcmu,
        config::Codec::Pcma => Codec::Pcma,
    }
}

/// What the SIP endpoint does; `sent_by` is what peers are told.
pub(crate) fn endpoint_config(
    config: &Config,
    sent_by: Vec<(Protocol, SocketAddr)>,
    listening: &[(Protocol, SocketAddr)],
) -> EndpointConfig {
    EndpointConfig {
        sent_by,
        allow: vec![
            Method::Invite,
            Method::Ack,
            Method::Bye,
            Method::Cancel,
            Method::Options,
            Method::Info,
            Method::Update,
            Method::Register,
        ],
        user_agent: config.sip.user_agent.clone(),
        has_tcp: listening.iter().any(|(protocol, _)| *protocol == Protocol::Tcp),
        ..EndpointConfig::default()
    }
}

/// How operations are put to media servers of others.
pub(crate) fn media_servers(loaded: &Loaded, config: &Config) -> MediaServers {
    let media = &config.event_socket.media;
    let own = || {
        let scripts = loaded.resolve(&config.scripts.dir);
        std::path::absolute(&scripts).unwrap_or(scripts).to_string_lossy().into_owned()
    };
    MediaServers {
        files: media.files.clone().unwrap_or_else(own),
        users: media.users.clone(),
        dial: media.dial.clone(),
        profile: media.profile.clone(),
        gateways: media.gateways.clone(),
        has_routes: !config.routes.is_empty(),
        tts_engine: media.tts_engine.clone(),
        tts_voice: media.tts_voice.clone(),
        account: None,
        known_users: std::sync::Arc::new(config.users.iter().map(|user| user.name.clone()).collect()),
    }
}

/// How callers prove who they are.
pub(crate) fn authenticator_config(config: &Config) -> AuthenticatorConfig {
    let algorithm = |digest: &config::Digest| match digest {
        config::Digest::Sha256 => Algorithm::Sha256,
        config::Digest::Md5 => Algorithm::Md5,
    };
    AuthenticatorConfig {
        algorithms: config.sip.digest.iter().map(algorithm).collect(),
        ..AuthenticatorConfig::new(config.sip.realm.as_str())
    }
}

/// How long registrations last.
pub(crate) fn registrar_config(config: &Config) -> RegistrarConfig {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    RegistrarConfig {
        min_expires: seconds(config.sip.min_expires_s),
        max_expires: seconds(config.sip.max_expires_s),
        default_expires: seconds(config.sip.max_expires_s),
        ..RegistrarConfig::default()
    }
}
