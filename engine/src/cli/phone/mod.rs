//! `lockstep phone call`, `lockstep phone listen`: a softphone without a sound card.

mod audio;
mod call;
mod dtmf;
mod listen;
mod report;

use std::process::ExitCode;

use clap::Subcommand;
use lockstep_media::codec::Codec;
use lockstep_sip::net::Protocol;
use lockstep_sip::transport::Listen;

use super::out;

/// A softphone without a sound card: place a call, or wait for calls.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Call(call::Args),
    Listen(listen::Args),
}

/// What both have in common.
#[derive(Debug, clap::Args)]
struct Common {
    /// Codecs offered or accepted, in order of preference.
    #[arg(long, value_delimiter = ',', value_name = "CODEC")]
    codec: Vec<Codec>,
    /// Encrypt the media (not available in this version).
    #[arg(long)]
    srtp: bool,
    /// Where SIP is received; port 0 lets the system choose.
    #[arg(long, value_name = "udp:ADDRESS:PORT")]
    listen: Vec<Listen>,
    /// Print one JSON object an event.
    #[arg(long)]
    json: bool,
}

impl Common {
    /// What cannot be done, said before anything is done.
    fn refusal(&self) -> Option<String> {
        self.srtp.then(|| "--srtp: this version has no SRTP; it comes with encrypted media on the engine's side".to_owned())
    }

    fn codecs(&self) -> Vec<Codec> {
        if self.codec.is_empty() { Codec::ALL.to_vec() } else { self.codec.clone() }
    }

    /// Addresses of the family of the peer where none were asked for.
    fn listen(&self, ipv6: bool) -> Vec<Listen> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let any: std::net::IpAddr =
            if ipv6 { std::net::Ipv6Addr::UNSPECIFIED.into() } else { std::net::Ipv4Addr::UNSPECIFIED.into() };
        [Protocol::Udp, Protocol::Tcp].into_iter().map(|protocol| Listen { protocol, address: (any, 0).into() }).collect()
    }
}

pub(super) fn run(args: Args) -> ExitCode {
    let outcome = match args.command {
        Command::Call(args) => super::block_on(call::run(args)),
        Command::Listen(args) => super::block_on(listen::run(args)),
    };
    match outcome {
        Ok(Ok(code)) => code,
        Ok(Err(error)) | Err(error) => out::failed(error),
    }
}
