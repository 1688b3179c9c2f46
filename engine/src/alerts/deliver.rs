//! Hands alerts over: to clients of `/v1/events`, and to the driver of the configuration.

use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::Alert;
use super::gate::{Gate, WINDOW_MS};
use crate::core::{EngineEvent, EngineHandle};
use crate::runs::{RunKind, RunRequest};

/// The function of a driver that takes alerts.
const FUNCTION: &str = "alert";
/// Alerts that wait for the driver.
const WAITING: usize = 256;

/// Delivers alerts for as long as the future lives; `driver` names the script they are given to.
pub async fn deliver(engine: EngineHandle, driver: Option<String>) {
    let Some(raised) = engine.events().take_alerts() else { return };
    let clock = engine.platform().store.clock().clone();
    let publish = |alert: &Alert| {
        engine.events().publish(clock.now_ms(), Some(alert.account.clone()), EngineEvent::Alert(alert.clone()));
    };
    let (to_driver, mut waiting) = mpsc::channel(WAITING);
    let to_driver = driver.is_some().then_some(to_driver);
    let given = async {
        while let (Some(driver), Some(alert)) = (&driver, waiting.recv().await) {
            give(&engine, driver, &alert).await;
        }
    };
    tokio::join!(tell(raised, || clock.now_ms(), publish, to_driver), given);
}

/// Publishes what is raised, and has it wait for the driver, which may be slow.
async fn tell(
    mut raised: mpsc::Receiver<Alert>,
    now_ms: impl Fn() -> u64,
    publish: impl Fn(&Alert),
    to_driver: Option<mpsc::Sender<Alert>>,
) {
    let mut gate = Gate::default();
    while let Some(due) = next(&mut raised, &mut gate, &now_ms).await {
        if gate.dropped > 0 {
            tracing::warn!(dropped = std::mem::take(&mut gate.dropped), "alerts were too many to be told");
        }
        for alert in due {
            publish(&alert);
            if let Some(driver) = &to_driver
                && let Err(TrySendError::Full(alert)) = driver.try_send(alert)
            {
                tracing::error!(alert = alert.text, "an alert was not given to the alert driver: {WAITING} wait for it");
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::Map;

    use super::*;
    use crate::alerts::Severity;

    #[tokio::test]
    async fn a_driver_that_is_slow_holds_back_nothing_but_itself() {
        let (raise, raised) = mpsc::channel(10);
        for subject in ["a", "b", "c"] {
            let alert = Alert {
                name: "job-failed",
                severity: Severity::Error,
                text: "it failed".to_owned(),
                data: Map::new(),
                subject: subject.to_owned(),
                account: "default".into(),
            };
            raise.send(alert).await.unwrap();
        }
        drop(raise);
        let (to_driver, mut waiting) = mpsc::channel(2);
        let published = RefCell::new(Vec::new());
        tell(raised, || 0, |alert| published.borrow_mut().push(alert.subject.clone()), Some(to_driver)).await;
        assert_eq!(published.into_inner(), ["a", "b", "c"]);
        let mut given = Vec::new();
        while let Some(alert) = waiting.recv().await {
            given.push(alert.subject);
        }
        assert_eq!(given, ["a", "b"]);
    }
}
