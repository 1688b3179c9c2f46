//! `lockstep phone listen`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use lockstep_sip::message::Uri;
use serde_json::json;

use super::report::Report;
use super::{Common, audio};
use crate::cli::signals::Signals;
use crate::phone::{Credentials, Phone, PhoneCall, PhoneConfig, PhoneEvent};

/// How long a registration is asked for.
const EXPIRES: Duration = Duration::from_secs(300);

/// Wait for calls and answer them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Play this file to whoever calls.
    #[arg(long, value_name = "WAV")]
    answer: Option<PathBuf>,
    /// Write what is heard; later calls get numbers.
    #[arg(long, value_name = "WAV")]
    record: Option<PathBuf>,
    /// Register this address and keep it registered.
    #[arg(long, value_name = "sip:USER@HOST", requires = "password")]
    register: Option<String>,
    /// Password of the registration.
    #[arg(long, env = "LOCKSTEP_PHONE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Ring this long before answering.
    #[arg(long, value_name = "SECONDS", value_parser = crate::cli::seconds, default_value = "0")]
    ring: Duration,
    /// Refuse every call with this status.
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(300..=699))]
    reject: Option<u16>,
    /// Hang up this long after answering; without it the other side does.
    #[arg(long, value_name = "SECONDS", value_parser = crate::cli::seconds)]
    duration: Option<Duration>,
    /// End after this many calls.
    #[arg(long, value_name = "CALLS")]
    count: Option<u32>,
    #[command(flatten)]
    common: Common,
}

pub(super) async fn run(args: Args) -> Result<ExitCode, String> {
    if let Some(refusal) = args.common.refusal() {
        return Err(refusal);
    }
    let prompt = args.answer.as_deref().map(|path| audio::load(path, Codec::Pcmu)).transpose()?;
    args.record.as_deref().map_or(Ok(()), audio::check)?;
    let address = args.register.as_deref().map(Uri::parse).transpose().map_err(|error| format!("--register: {error}"))?;
    let user = address.as_ref().and_then(Uri::user).map_or_else(|| PhoneConfig::default().user, std::borrow::Cow::into_owned);
    let config = PhoneConfig {
        credentials: args.password.clone().map(|password| Credentials { username: user.clone(), password }),
        user,
        listen: args.common.listen(args.register.as_deref().is_some_and(|address| address.contains('['))),
        codecs: args.common.codecs(),
        ..PhoneConfig::default()
    };
    let report = Report::new(args.common.json);
    let mut phone = Phone::start(config).await.map_err(|error| error.to_string())?;
    if let (Some(address), Some(password)) = (&args.register, &args.password) {
        phone.register(address, password, EXPIRES).await.map_err(|error| error.to_string())?;
        report.note(0, "registered", json!({ "address": address }), format!("registered as {address}"));
    }
    for protocol in [lockstep_sip::net::Protocol::Udp, lockstep_sip::net::Protocol::Tcp] {
        if let Some(address) = phone.address(protocol) {
            let address = format!("{}:{address}", protocol.as_str().to_ascii_lowercase());
            report.note(0, "listening", json!({ "address": address }), format!("listening on {address}"));
        }
    }

    let mut signals = Signals::listen()?;
    let args = Arc::new(args);
    let mut calls = 0;
    let mut live = tokio::task::JoinSet::new();
    while args.count.is_none_or(|count| calls < count) {
        tokio::select! {
            call = phone.incoming() => {
                let Some(call) = call else { break };
                calls += 1;
                live.spawn(serve(Arc::clone(&args), report, calls, call, prompt.clone()));
            }
            Some(ended) = live.join_next(), if !live.is_empty() => problem(ended)?,
            () = signals.told_to_end() => {
                live.shutdown().await;
                break;
            }
        }
    }
    while let Some(ended) = live.join_next().await {
        problem(ended)?;
    }
    phone.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn problem(ended: Result<Result<(), String>, tokio::task::JoinError>) -> Result<(), String> {
    ended.unwrap_or_else(|error| Err(error.to_string()))
}

/// Sees one call through.
async fn serve(
    args: Arc<Args>,
    report: Report,
    number: u32,
    mut call: PhoneCall,
    prompt: Option<Arc<EncodedPrompt>>,
) -> Result<(), String> {
    let (from, to) = (call.from().uri.to_string(), call.to().uri.to_string());
    report.note(number, "incoming", json!({ "from": from, "to": to }), format!("call from {from}"));
    if let Some(code) = args.reject {
        call.reject(code);
    } else {
        call.ring();
        // While it rings the caller may give up: `Ended` waits in the queue then, and answering does nothing.
        tokio::time::sleep(args.ring).await;
        call.answer();
    }
    let mut hang_up_at = None;
    loop {
        let event = tokio::select! {
            event = call.event() => event,
            () = sleep_until(hang_up_at) => {
                hang_up_at = None;
                call.hangup();
                continue;
            }
        };
        let Some(event) = event else { break };
        report.event(number, &event);
        if matches!(event, PhoneEvent::Answered { .. }) {
            hang_up_at = args.duration.map(|duration| tokio::time::Instant::now() + duration);
            if let Some(prompt) = &prompt {
                call.play(vec![Arc::clone(prompt)]);
            }
        }
    }
    match &args.record {
        Some(path) => audio::save(&audio::numbered(path, number), call.heard()).map(|_| ()),
        None => Ok(()),
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
