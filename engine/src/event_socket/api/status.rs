//! `status`, `version`, `uptime`.
#![expect(clippy::disallowed_methods, reason = "an IO edge: tells how long the engine has been up")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::core::EngineError;
use crate::event_socket::hub::Hub;

/// The version, as clients that compare versions read it.
pub(in crate::event_socket) fn version() -> String {
    format!("Lockstep {}", env!("CARGO_PKG_VERSION"))
}

pub(super) fn version_line() -> String {
    format!("{} (event socket of FreeSWITCH)\n", version())
}

pub(super) async fn status(hub: &Hub) -> Result<String, EngineError> {
    let identity = &hub.identity;
    let ready = hub.engine.readiness().await?;
    let live = ready.live_calls;
    let readiness = if ready.ready { "is ready" } else { "is not ready" };
    let seen = hub.calls_seen.load(Ordering::Relaxed);
    let peak = ready.most_calls;
    Ok(format!(
        "UP {}\n{} (Version {}) {readiness}\n{seen} session(s) since startup\n{live} session(s) - peak {peak}, last 5min {peak} \n\
         0 session(s) per Sec out of max {max}, peak 0, last 5min 0 \n{max} session(s) max\nmin idle cpu 0.00/0.00\n",
        up_time(identity.started.elapsed()),
        "Lockstep",
        env!("CARGO_PKG_VERSION"),
        max = identity.max_calls,
    ))
}

/// `uptime [s|ms|us]`
pub(super) fn uptime(hub: &Hub, unit: &str) -> String {
    let up = hub.identity.started.elapsed();
    match unit {
        "ms" | "milliseconds" => up.as_millis().to_string(),
        "us" | "microseconds" => up.as_micros().to_string(),
        _ => up.as_secs().to_string(),
    }
}

/// `0 years, 0 days, 0 hours, 2 minutes, 40 seconds, 922 milliseconds, 534 microseconds`
pub(in crate::event_socket) fn up_time(up: Duration) -> String {
    let seconds = up.as_secs();
    let parts = [
        (seconds / 31_536_000, "year"),
        (seconds / 86_400 % 365, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
        (u64::from(up.subsec_millis()), "millisecond"),
        (u64::from(up.subsec_micros() % 1_000), "microsecond"),
    ];
    let parts: Vec<String> =
        parts.iter().map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" })).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_full() {
        assert_eq!(
            up_time(Duration::from_micros(90_061_001_002)),
            "0 years, 1 day, 1 hour, 1 minute, 1 second, 1 millisecond, 2 microseconds"
        );
    }
}
