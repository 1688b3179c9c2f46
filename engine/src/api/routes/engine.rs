//! The engine itself: health, figures, events.

use axum::http::Method;

use super::{Operation, Reach, text};
use crate::config::Scope;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: Method::GET,
        path: "/v1/health",
        scope: None,
        reach: Reach::Open,
        summary: "Whether the engine runs.",
        query: &[],
        body: None,
        success: (200, "Health"),
        failures: &[503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/ready",
        scope: None,
        reach: Reach::Open,
        summary: "Whether the engine takes calls.",
        query: &[],
        body: None,
        success: (200, "Readiness"),
        failures: &[503],
    },
    Operation {
        method: Method::GET,
        path: "/metrics",
        scope: Some(Scope::Read),
        reach: Reach::Engine,
        summary: "Every figure, in Prometheus' text format.",
        query: &[],
        body: None,
        success: (200, "text/plain"),
        failures: &[503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/openapi.json",
        scope: None,
        reach: Reach::Open,
        summary: "This document.",
        query: &[],
        body: None,
        success: (200, "Object"),
        failures: &[],
    },
    Operation {
        method: Method::GET,
        path: "/v1/events",
        scope: Some(Scope::Read),
        reach: Reach::Account,
        summary: "A WebSocket that carries events as JSON texts, and takes commands.",
        query: &[
            text("call", "Only of this call."),
            text(
                "types",
                "Only these, parted by commas: call-started, call-state, call-ended, call-over (`call` for all four), channel, timeline, log, registration, job, alert, scripts-loaded (or `script`), and kv, which comes only where it is named.",
            ),
            text("since", "Begin after the event of this number, as far as it is still known; default: from now on."),
        ],
        body: None,
        success: (101, ""),
        failures: &[400],
    },
];
