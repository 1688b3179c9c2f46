//! What exists: one table, from which scopes are enforced and the OpenAPI document is written.

use axum::http::Method;

use crate::config::Scope;

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What a key needs; `None`: no key is asked for.
    pub(super) scope: Option<Scope>,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    /// Schema of the request body.
    pub(super) body: Option<&'static str>,
    /// Status and schema of success.
    pub(super) success: (u16, &'static str),
    /// Statuses of failure besides those of keys.
    pub(super) failures: &'static [u16],
}

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) kind: &'static str,
}

const fn text(name: &'static str, summary: &'static str) -> Parameter {
    Parameter { name, summary, kind: "string" }
}

/// Every operation, in the order of the document.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: Method::GET,
        path: "/v1/health",
        scope: None,
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
        summary: "This document.",
        query: &[],
        body: None,
        success: (200, "Object"),
        failures: &[],
    },
    Operation {
        method: Method::GET,
        path: "/v1/calls",
        scope: Some(Scope::Read),
        summary: "Live and past calls, the newest first.",
        query: &[
            text("state", "`live` or `past`; absent: both"),
            Parameter { name: "limit", summary: "At most this many (100; up to 1000).", kind: "integer" },
        ],
        body: None,
        success: (200, "Calls"),
        failures: &[400, 503],
    },
    Operation {
        method: Method::POST,
        path: "/v1/calls",
        scope: Some(Scope::Run),
        summary: "Calls somebody; once answered, the script of `destination` owns the call.",
        query: &[],
        body: Some("Originate"),
        success: (201, "Originated"),
        failures: &[400, 403, 422, 503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/calls/{id}",
        scope: Some(Scope::Read),
        summary: "One call, live or past.",
        query: &[],
        body: None,
        success: (200, "Call"),
        failures: &[404, 503],
    },
    Operation {
        method: Method::DELETE,
        path: "/v1/calls/{id}",
        scope: Some(Scope::Run),
        summary: "Ends a live call.",
        query: &[
            Parameter {
                name: "code",
                summary: "Before answer the final response, after it the cause in the BYE's Reason.",
                kind: "integer",
            },
            text("reason", "The words that go with it."),
        ],
        body: None,
        success: (204, ""),
        failures: &[400, 404, 409, 503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/calls/{id}/timeline",
        scope: Some(Scope::Read),
        summary: "What happened to a call: every operation with its line, start, end and result; SIP messages, keys, log lines.",
        query: &[],
        body: None,
        success: (200, "Timeline"),
        failures: &[404, 503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/calls/{id}/journal",
        scope: Some(Scope::Admin),
        summary: "The journal the call's script can be rebuilt from, as JSON lines, secrets redacted.",
        query: &[],
        body: None,
        success: (200, "application/x-ndjson"),
        failures: &[404, 503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/calls/{id}/recording",
        scope: Some(Scope::Read),
        summary: "A recording of a call. One that is still being made is given as far as it has got.",
        query: &[Parameter {
            name: "number",
            summary: "Which of the call's recordings, from 1; absent: the latest.",
            kind: "integer",
        }],
        body: None,
        success: (200, "audio/*"),
        failures: &[400, 404, 503],
    },
    Operation {
        method: Method::GET,
        path: "/v1/scripts",
        scope: Some(Scope::Read),
        summary: "The scripts new calls can run.",
        query: &[],
        body: None,
        success: (200, "Scripts"),
        failures: &[503],
    },
    Operation {
        method: Method::POST,
        path: "/v1/scripts/{id}/rollback",
        scope: Some(Scope::Admin),
        summary: "Makes the version before the live one live again, until the file changes. `id` is a name or a uuid.",
        query: &[],
        body: None,
        success: (200, "Script"),
        failures: &[404, 409, 503],
    },
    Operation {
        method: Method::POST,
        path: "/v1/scripts/{id}/run",
        scope: Some(Scope::Run),
        summary: "Runs a function of a script outside any call. `id` is a name, a uuid or a number. With `Accept: text/event-stream` \
                  the answer is a stream of the events `run`, `log`, and at last `result` or `error`; closing it ends the run.",
        query: &[],
        body: Some("RunRequest"),
        success: (200, "RunResult"),
        failures: &[400, 404, 422, 429, 503, 504],
    },
    Operation {
        method: Method::GET,
        path: "/v1/runs",
        scope: Some(Scope::Read),
        summary: "Runs outside calls that have not ended, the oldest first.",
        query: &[],
        body: None,
        success: (200, "Runs"),
        failures: &[503],
    },
    Operation {
        method: Method::POST,
        path: "/v1/runs/{id}/cancel",
        scope: Some(Scope::Run),
        summary: "Ends a run outside any call, whatever it is doing.",
        query: &[],
        body: None,
        success: (204, ""),
        failures: &[404, 503],
    },
    Operation {
        method: Method::POST,
        path: "/v1/forms/{id}",
        scope: Some(Scope::Run),
        summary: "Hands a form (urlencoded, multipart or JSON) to a script; a string it returns is sent as HTML, all else as JSON.",
        query: &[text("fn", "Exported function; absent: `main`.")],
        body: Some("Object"),
        success: (200, "Any"),
        failures: &[400, 404, 408, 413, 415, 422, 429, 503, 504],
    },
    Operation {
        method: Method::POST,
        path: "/v1/drivers/{id}/{fn}",
        scope: Some(Scope::Run),
        summary: "Calls a function of a driver with one object.",
        query: &[],
        body: Some("Object"),
        success: (200, "Any"),
        failures: &[404, 422, 429, 503, 504],
    },
    Operation {
        method: Method::GET,
        path: "/f/{id}",
        scope: None,
        summary: "`main` of a script that is public, by the script's uuid. A status the script throws is the response's.",
        query: &[],
        body: None,
        success: (200, "Any"),
        failures: &[400, 404, 500, 503, 504],
    },
    Operation {
        method: Method::POST,
        path: "/f/{id}",
        scope: None,
        summary: "`main` of a script that is public, by the script's uuid. A status the script throws is the response's.",
        query: &[],
        body: Some("Object"),
        success: (200, "Any"),
        failures: &[400, 404, 408, 413, 415, 500, 503, 504],
    },
    Operation {
        method: Method::GET,
        path: "/f/{id}/{fn}",
        scope: None,
        summary: "A function of a script that is public, by the script's uuid. A status the script throws is the response's.",
        query: &[],
        body: None,
        success: (200, "Any"),
        failures: &[400, 404, 500, 503, 504],
    },
    Operation {
        method: Method::POST,
        path: "/f/{id}/{fn}",
        scope: None,
        summary: "A function of a script that is public, by the script's uuid. A status the script throws is the response's.",
        query: &[],
        body: Some("Object"),
        success: (200, "Any"),
        failures: &[400, 404, 408, 413, 415, 500, 503, 504],
    },
    Operation {
        method: Method::GET,
        path: "/v1/events",
        scope: Some(Scope::Read),
        summary: "A WebSocket that carries events as JSON texts, from now on.",
        query: &[
            text("call", "Only of this call."),
            text(
                "types",
                "Only these, parted by commas: call-started, call-state, call-ended, timeline, log; `call` for all of the first three.",
            ),
        ],
        body: None,
        success: (101, ""),
        failures: &[400],
    },
];

/// The operation a request is for.
pub(super) fn operation(method: &Method, path: &str) -> Option<&'static Operation> {
    // axum answers HEAD with the handler of GET.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    OPERATIONS.iter().find(|operation| operation.method == *method && operation.path == path)
}
