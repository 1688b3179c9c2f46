//! `lockstep phone call TARGET`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use serde_json::json;
use tokio::time::Instant;

use super::dtmf::Keys;
use super::report::Report;
use super::{Common, audio};
use crate::cli::signals::Signals;
use crate::phone::{Credentials, Dial, Phone, PhoneCall, PhoneConfig, PhoneEvent};

/// Place a call; exit 0 if it was answered.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whom: a sip: URI.
    target: String,
    /// Play this file once the call is answered.
    #[arg(long, value_name = "WAV")]
    play: Option<PathBuf>,
    /// Write what is heard, octet by octet as it came.
    #[arg(long, value_name = "WAV")]
    record: Option<PathBuf>,
    /// Press keys this long after the answer; may be given several times.
    #[arg(long, value_name = "DIGITS@SECONDS")]
    dtmf: Vec<Keys>,
    /// Hang up this long after the answer; without it the other side does.
    #[arg(long, value_name = "SECONDS", value_parser = crate::cli::seconds)]
    duration: Option<Duration>,
    /// Give up when nobody answers within this time.
    #[arg(long, value_name = "SECONDS", value_parser = crate::cli::seconds, default_value = "60")]
    ring_timeout: Duration,
    /// Who calls; also the user name for challenges.
    #[arg(long)]
    user: Option<String>,
    /// Password for challenges.
    #[arg(long, requires = "user", env = "LOCKSTEP_PHONE_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Caller id, where it is not the user.
    #[arg(long)]
    from: Option<String>,
    /// Add a header field to the INVITE; may be given several times.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    #[command(flatten)]
    common: Common,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or_else(|| format!("expected `Name: value`, found `{text}`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) async fn run(args: Args) -> Result<ExitCode, String> {
    if let Some(refusal) = args.common.refusal() {
        return Err(refusal);
    }
    // Whatever is wrong with the files is said before anybody's telephone rings.
    let prompt = args.play.as_deref().map(|path| audio::load(path, Codec::Pcmu)).transpose()?;
    args.record.as_deref().map_or(Ok(()), audio::check)?;
    let target = if args.target.contains(':') && !args.target.starts_with(|c: char| c.is_ascii_digit()) {
        args.target.clone()
    } else {
        format!("sip:{}", args.target)
    };
    let user = args.user.clone().unwrap_or_else(|| PhoneConfig::default().user);
    let config = PhoneConfig {
        credentials: args.password.clone().map(|password| Credentials { username: user.clone(), password }),
        user,
        listen: args.common.listen(target.contains('[')),
        codecs: args.common.codecs(),
        ..PhoneConfig::default()
    };
    let signals = Signals::listen()?;
    let report = Report::new(args.common.json);
    let phone = Phone::start(config).await.map_err(|error| error.to_string())?;
    let dial = Dial { from: args.from.clone(), headers: args.header.clone(), late_offer: false };
    let mut call = phone.dial(&target, dial).await.map_err(|error| error.to_string())?;
    report.note(1, "calling", json!({ "target": target }), format!("calling {target}"));

    let answered = follow(&args, &report, &mut call, prompt, signals).await;
    if let Some(path) = &args.record {
        let duration = audio::save(path, call.heard())?;
        let details = json!({ "file": path, "duration_ms": u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) });
        report.note(1, "recorded", details, format!("{:.2} s of audio in {}", duration.as_secs_f64(), path.display()));
    }
    drop(call);
    phone.stop().await;
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sees the call through; says whether it was answered.
async fn follow(
    args: &Args,
    report: &Report,
    call: &mut PhoneCall,
    prompt: Option<Arc<EncodedPrompt>>,
    mut signals: Signals,
) -> bool {
    let mut answered = None;
    let mut keys: Vec<&Keys> = args.dtmf.iter().collect();
    // The next to be pressed stands last.
    keys.sort_by_key(|keys| std::cmp::Reverse(keys.at));
    let give_up = Instant::now() + args.ring_timeout;
    let mut told_to_end = false;
    loop {
        let deadline = match answered {
            None => Some(give_up),
            Some(since) => {
                let next = keys.last().map(|keys| keys.at).into_iter().chain(args.duration).min();
                next.map(|after| since + after)
            }
        };
        let deadline = deadline.filter(|_| !told_to_end);
        tokio::select! {
            event = call.event() => {
                let Some(event) = event else { return answered.is_some() };
                report.event(1, &event);
                match event {
                    PhoneEvent::Answered { .. } => {
                        answered = Some(Instant::now());
                        if let Some(prompt) = &prompt {
                            call.play(vec![Arc::clone(prompt)]);
                        }
                    }
                    PhoneEvent::Ended(_) => return answered.is_some(),
                    _ => {}
                }
            }
            () = sleep_until(deadline) => {
                let elapsed = answered.map(|since| since.elapsed());
                match (keys.last(), elapsed) {
                    (Some(next), Some(elapsed)) if next.at <= elapsed => {
                        call.press(&next.digits);
                        keys.pop();
                    }
                    _ => {
                        told_to_end = true;
                        call.hangup();
                    }
                }
            }
            () = signals.told_to_end() => {
                // Whoever asks twice does not wait for the far end.
                if told_to_end {
                    return answered.is_some();
                }
                told_to_end = true;
                call.hangup();
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
