//! Hands alerts over: to clients of `/v1/events`, and to the driver of the configuration.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;

use super::Alert;
use super::gate::{Gate, WINDOW_MS};
use crate::core::{EngineEvent, EngineHandle};
use crate::runs::{RunKind, RunRequest};

/// The function of a driver that takes alerts.
const FUNCTION: &str = "alert";

/// Delivers alerts for as long as the future lives; `driver` names the script they are given to.
pub async fn deliver(engine: EngineHandle, driver: Option<String>) {
    let Some(mut raised) = engine.events().take_alerts() else { return };
    let mut gate = Gate::default();
    let clock = engine.platform().store.clock().clone();
    while let Some(due) = next(&mut raised, &mut gate, || clock.now_ms()).await {
        if gate.dropped > 0 {
            tracing::warn!(dropped = std::mem::take(&mut gate.dropped), "alerts were too many to be told");
        }
        for alert in due {
            engine.events().publish(clock.now_ms(), Some(alert.account.clone()), EngineEvent::Alert(alert.clone()));
            if let Some(driver) = &driver {
                give(&engine, driver, &alert).await;
            }
        }
    }
}

/// What is to be told next; `None`: nothing will ever be.
async fn next(raised: &mut mpsc::Receiver<Alert>, gate: &mut Gate, now_ms: impl Fn() -> u64) -> Option<Vec<Alert>> {
    let now = now_ms();
    let wait = gate.next_ms().map_or(WINDOW_MS, |at| at.saturating_sub(now));
    tokio::select! {
        alert = raised.recv() => Some(gate.admit(now_ms(), alert?).into_iter().collect()),
        () = tokio::time::sleep(Duration::from_millis(wait)) => Some(gate.expire(now_ms())),
    }
}

/// What goes wrong in the driver is logged and no alert: it would be about itself for ever.
async fn give(engine: &EngineHandle, driver: &str, alert: &Alert) {
    // An alert about the driver is for people who watch.
    if alert.subject == driver {
        return;
    }
    let data = json!({
        "name": alert.name, "severity": alert.severity, "text": alert.text, "data": alert.data, "account": &*alert.account,
    });
    let request = RunRequest::new(driver, RunKind::Driver, data.to_string()).function(Some(FUNCTION.to_owned()));
    if let Err(failure) = engine.runs().run(request).await {
        tracing::error!(driver, error = %failure, alert = alert.text, "the alert driver did not take an alert");
    }
}
