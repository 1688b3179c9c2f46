//! `/v1/openapi.json`, written from the table of operations.

use axum::Json;
use axum::http::Method;
use serde_json::{Map, Value, json};

use super::routes::{Operation, operations};
use crate::provisioning::Kind;

pub(super) async fn document() -> Json<Value> {
    Json(build())
}

fn build() -> Value {
    let mut paths = Map::new();
    let schemas = all_schemas();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = describe(operation, &schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Lockstep", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas,
        },
    })
}

fn describe(operation: &Operation, schemas: &Value) -> Value {
    let mut parameters: Vec<Value> = operation
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(operation.query.iter().map(|parameter| {
        json!({ "name": parameter.name, "in": "query", "description": parameter.summary, "schema": { "type": parameter.kind } })
    }));
    let mut responses = Map::new();
    let (status, schema) = operation.success;
    responses.insert(status.to_string(), success(schema));
    if is_put_beside_the_configuration(operation) {
        responses.insert("201".to_owned(), success(schema));
    }
    if let Some(media_type) = other_media_type(operation) {
        responses[&status.to_string()]["content"][media_type] = json!({ "schema": { "type": "string" } });
    }
    let error = json!({ "description": "See `error`.", "content": { "application/json": { "schema": reference("Error") } } });
    let keyed: &[u16] = if operation.scope.is_some() { &[401, 403] } else { &[] };
    let malformed: &[u16] = if parameters.is_empty() { &[] } else { &[400] };
    let unread: &[u16] = if operation.body.is_some() { &[408, 413] } else { &[] };
    for status in operation.failures.iter().chain(keyed).chain(malformed).chain(unread) {
        responses.entry(status.to_string()).or_insert_with(|| error.clone());
    }
    // A public function throws any status; the engine may be overloaded or stopping whatever is asked of it.
    responses.insert("default".to_owned(), error);
    let mut described = json!({
        "operationId": name_of(operation), "summary": operation.summary, "parameters": parameters, "responses": responses,
        "security": [],
    });
    if let Some(body) = operation.body {
        // What is empty is an empty object.
        let is_required = schemas[body]["required"].is_array();
        let schema = json!({ "schema": reference(body) });
        described["requestBody"] = json!({ "required": is_required, "content": { "application/json": schema } });
        if is_form(operation) {
            for media_type in ["application/x-www-form-urlencoded", "multipart/form-data"] {
                described["requestBody"]["content"][media_type] = schema.clone();
            }
        }
    }
    if let Some(scope) = operation.scope {
        described["security"] = json!([{ "key": [scope.name()] }]);
    }
    described
}

/// What a generated client calls it: `getCallsByIdTimeline`.
fn name_of(operation: &Operation) -> String {
    let mut name = operation.method.as_str().to_ascii_lowercase();
    for part in operation.path.split(['/', '.']).filter(|part| !part.is_empty() && *part != "v1") {
        let (by, word) = match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(parameter) => ("By", parameter),
            None => ("", part),
        };
        let mut word = word.to_owned();
        if let Some(first) = word.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        name = format!("{name}{by}{word}");
    }
    name
}

/// Whether 201 is answered besides 200.
fn is_put_beside_the_configuration(operation: &Operation) -> bool {
    let list = operation.path.strip_prefix("/v1/").and_then(|rest| rest.strip_suffix("s/{name}"));
    operation.method == Method::PUT && list.is_some_and(|list| Kind::ALL.iter().any(|kind| kind.list() == list))
}

fn is_form(operation: &Operation) -> bool {
    operation.path.starts_with("/v1/forms/") || operation.path.starts_with("/f/")
}

/// What success may be sent as besides JSON.
fn other_media_type(operation: &Operation) -> Option<&'static str> {
    match operation.path {
        "/v1/scripts/{id}/run" => Some("text/event-stream"),
        "/v1/calls/{id}/timeline" => Some("text/html"),
        _ => is_form(operation).then_some("text/html"),
    }
}

fn success(schema: &str) -> Value {
    match schema {
        "" => json!({ "description": "Done." }),
        media_type if media_type.contains('/') => {
            json!({ "description": "Done.", "content": { media_type: { "schema": { "type": "string" } } } })
        }
        name => json!({ "description": "Done.", "content": { "application/json": { "schema": reference(name) } } }),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What the entries of a timeline have, each as its kind has it.
fn timeline_entry() -> Value {
    let (text, count, number) = (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "number" }));
    json!({
        "at_ms": count, "kind": { "enum": ["operation", "sip", "dtmf", "event", "media", "log"] },
        "id": text, "name": text, "detail": text, "line": text, "started_ms": count, "ended_ms": count, "result": text,
        "ok": { "type": "boolean" },
        "direction": { "enum": ["in", "out"] }, "leg": text, "summary": text,
        "digit": text, "method": text, "duration_ms": count,
        "level": { "enum": ["debug", "info", "warn", "error"] }, "text": text,
        "sent": count, "received": count, "lost": count, "jitter_ms": number, "mos": number,
        "remote_lost": count, "remote_jitter_ms": number, "round_trip_ms": number,
    })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let ms = json!({ "type": "integer", "description": "milliseconds" });
    let cause = json!({
        "type": "object",
        "properties": { "code": { "type": "integer" }, "reason": text, "by": { "enum": ["caller", "callee", "script", "engine"] } },
    });
    let facts = json!({
        "id": text, "direction": { "enum": ["inbound", "outbound"] }, "from": text, "to": text,
        "did": { "type": ["string", "null"] }, "customer_id": { "type": ["integer", "null"] },
        "state": { "enum": ["new", "ringing", "early", "answered", "ended"] },
        "started_at": ms, "answered_at": { "type": ["integer", "null"] }, "codec": { "type": ["string", "null"] }, "remote_addr": text,
    });
    let mut call = facts.clone();
    call["script"] = json!({ "type": ["string", "null"] });
    call["account"] = text.clone();
    call["ended"] = cause.clone();
    call["duration_ms"] = ms.clone();
    json!({
        "Object": { "type": "object" },
        "Any": {},
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": { "type": ["string", "integer"], "description": "A word; of a script's own error the SIP code." },
                    "message": { "type": "string", "description": "Of a SIP reply to a routing object the phrase, or the Contact value of a 3xx." },
                    "details": { "type": "object" }, "file": text, "line": { "type": "integer" }, "column": { "type": "integer" },
                },
            } },
        },
        "Health": { "type": "object", "properties": { "status": text, "version": text } },
        "Readiness": {
            "type": "object",
            "properties": { "ready": { "type": "boolean" }, "reason": text, "live_calls": { "type": "integer" } },
        },
        "Call": { "type": "object", "properties": call },
        "Calls": { "type": "object", "properties": { "calls": { "type": "array", "items": reference("Call") } } },
        "Originate": {
            "type": "object",
            "required": ["to", "destination"],
            "properties": {
                "to": { "type": "string", "description": "User, number on a gateway, Class 5 destination or sip: URI." },
                "from": { "type": "string", "description": "Caller id." },
                "destination": { "type": "string", "description": "The Class 5 destination whose script owns the call." },
                "vars": { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } },
                "timeout_ms": ms,
            },
        },
        "Originated": { "type": "object", "properties": { "id": text } },
        "Timeline": {
            "type": "object",
            "properties": {
                "call": { "type": "object", "properties": facts },
                "script": { "type": ["string", "null"] },
                "ended": cause,
                "duration_ms": { "type": ["integer", "null"] },
                "finishing": { "type": "boolean", "description": "The call has ended, and its scripts have not yet: entries may follow." },
                "dropped": { "type": "integer", "description": "Entries past the bound." },
                "entries": { "type": "array", "items": {
                    "type": "object",
                    "required": ["at_ms", "kind"],
                    "properties": timeline_entry(),
                } },
            },
        },
        "RunRequest": {
            "type": "object",
            "properties": {
                "fn": { "type": "string", "description": "Exported function; absent: `main`." },
                "data": { "description": "Its first argument; absent: an empty object." },
                "timeout_ms": { "type": "integer", "minimum": 1, "description": "Milliseconds." },
            },
        },
        "RunResult": {
            "type": "object",
            "properties": {
                "run": text, "result": { "description": "What the function returned." }, "took_ms": { "type": "number" },
                "log": { "type": "array", "items": reference("LogLine") },
                "log_dropped": { "type": "integer", "description": "Lines past the bound." },
            },
        },
        "LogLine": {
            "type": "object",
            "properties": {
                "level": { "enum": ["debug", "info", "warn", "error"] }, "text": text,
                "file": text, "line": { "type": "integer" }, "column": { "type": "integer" },
            },
        },
        "Runs": { "type": "object", "properties": { "runs": { "type": "array", "items": {
            "type": "object",
            "properties": {
                "run": text, "script": text, "fn": { "type": ["string", "null"] },
                "kind": { "enum": ["hook", "form", "driver", "public", "job", "schedule", "api", "websocket", "worker"] },
                "account": text, "waiting": { "type": "boolean" }, "age_ms": ms,
            },
        } } } },
        "Script": {
            "type": "object",
            "properties": {
                "name": text, "id": { "type": "integer" }, "uuid": text, "file": text,
                "type": { "enum": ["script", "app", "driver", "worker"] }, "app": { "type": ["string", "null"] }, "account": text,
                "class5_destination": { "type": ["string", "null"] }, "version": { "type": ["string", "null"] }, "error": { "type": ["string", "null"] },
                "live": { "anyOf": [reference("ScriptVersion"), { "type": "null" }] }, "source": { "type": ["string", "null"] },
                "findings": { "type": "array", "items": reference("Finding") },
            },
        },
        "Finding": {
            "type": "object",
            "properties": {
                "file": text, "line": { "type": "integer" }, "column": { "type": "integer" },
                "code": { "enum": ["syntax", "header", "floating", "race", "module"] }, "message": text,
            },
        },
        "NewScript": { "type": "object", "required": ["file", "source"], "properties": { "file": text, "source": text } },
        "ScriptSource": { "type": "object", "required": ["source"], "properties": { "version": { "type": "integer" }, "source": text } },
        "RollBack": { "type": "object", "properties": { "version": { "type": "integer" } } },
        "ScriptVersion": {
            "type": "object",
            "properties": {
                "version": { "type": "integer" }, "sha256": text, "origin": { "enum": ["folder", "http"] }, "saved_ms": ms,
                "bytes": { "type": "integer" }, "live": { "type": "boolean" },
            },
        },
        "ScriptVersions": {
            "type": "object",
            "properties": { "versions": { "type": "array", "items": reference("ScriptVersion") } },
        },
        "Scripts": { "type": "object", "properties": { "scripts": { "type": "array", "items": reference("Script") } } },
    })
}

/// Schemas of what is kept in the store.
fn stored_schemas() -> Value {
    let text = json!({ "type": "string" });
    let ms = json!({ "type": "integer", "description": "Milliseconds." });
    json!({
        "Keys": { "type": "object", "properties": { "keys": { "type": "array", "items": text } } },
        "KeyValue": {
            "type": "object",
            "properties": { "key": text, "value": text, "expires_ms": { "type": ["integer", "null"] } },
        },
        "KeyPut": {
            "type": "object",
            "required": ["value"],
            "properties": { "value": text, "ttl_s": { "type": "number", "description": "Seconds until it is gone." } },
        },
        "NewJob": {
            "type": "object",
            "required": ["script"],
            "properties": {
                "script": { "type": ["string", "integer"] }, "fn": text, "data": {}, "attempts": { "type": "integer" }, "backoff_ms": ms, "delay_ms": ms,
                "priority": { "type": "integer" }, "timeout_ms": { "type": "integer", "minimum": 1 }, "queue": text,
            },
        },
        "Job": {
            "type": "object",
            "properties": {
                "id": { "type": "integer" }, "script": text, "fn": { "type": ["string", "null"] }, "queue": text,
                "state": { "enum": ["waiting", "prioritized", "delayed", "active", "completed", "failed", "paused"] },
                "kind": { "enum": ["job", "schedule"] }, "data": {}, "progress": {}, "result": {},
                "error": { "type": ["string", "null"] }, "attempt": { "type": "integer" }, "attempts": { "type": "integer" },
                "redelivered": { "type": "integer" }, "priority": { "type": "integer" }, "backoff_ms": ms,
                "timeout_ms": { "type": ["integer", "null"] }, "created_ms": ms, "due_ms": ms,
                "started_ms": { "type": ["integer", "null"] }, "finished_ms": { "type": ["integer", "null"] },
            },
        },
        "Jobs": { "type": "object", "properties": { "jobs": { "type": "array", "items": reference("Job") } } },
    })
}

/// Those of call detail records.
fn record_schemas() -> Value {
    let text = json!({ "type": "string" });
    let ms = json!({ "type": "integer", "description": "Milliseconds since 1970." });
    json!({
        "Cdr": {
            "type": "object",
            "properties": {
                "id": { "type": "integer" }, "call": text, "sip_call_id": text, "direction": text, "from": text, "to": text,
                "did": { "type": ["string", "null"] }, "customer": { "type": ["integer", "null"] }, "account": text,
                "script": { "type": ["string", "null"] }, "script_ms": { "type": "number" }, "started_at": ms,
                "ringing_at": { "type": ["integer", "null"] }, "answered_at": { "type": ["integer", "null"] }, "ended_at": ms,
                "code": { "type": "integer" }, "reason": text, "by": { "enum": ["caller", "callee", "script", "engine"] },
                "cost": { "type": ["number", "null"] },
                "attempts": { "type": "array", "items": { "type": "object", "properties": {
                    "gateway": { "type": "integer" }, "number": text, "cli": { "type": ["string", "null"] }, "started_at": ms,
                    "ringing_at": { "type": ["integer", "null"] }, "answered_at": { "type": ["integer", "null"] },
                    "ended_at": { "type": ["integer", "null"] }, "code": { "type": ["integer", "null"] },
                    "reason": { "type": ["string", "null"] }, "price": { "type": ["number", "null"] },
                } } },
            },
        },
        "Cdrs": { "type": "object", "properties": { "cdrs": { "type": "array", "items": reference("Cdr") } } },
    })
}

/// Schemas of what is provisioned: the keys are those of lockstep.toml.
fn provisioned_schemas() -> Value {
    let text = json!({ "type": "string" });
    let (number, flag, vars) = (json!({ "type": "number" }), json!({ "type": "boolean" }), json!({ "type": "object" }));
    let list = |item: &Value| json!({ "type": "array", "items": item });
    let (texts, ids) = (list(&text), list(&json!({ "type": "integer" })));
    let source = json!({ "enum": ["configuration", "http"], "readOnly": true });
    let password = json!({ "type": "string", "writeOnly": true });
    let mut all = json!({
        "Customer": { "type": "object", "properties": {
            "id": { "type": "integer" }, "addresses": texts, "user": text, "password": password, "account": text, "limits": {
                "type": "object",
                "properties": {
                    "calls_per_second": number, "concurrent": { "type": "integer" }, "spend_per_day": number, "cut_off": flag,
                },
            }, "vars": vars, "source": source,
        } },
        "User": { "type": "object", "properties": {
            "name": text, "password": password, "caller_id": text, "account": text, "source": source,
        } },
        "Gateway": { "type": "object", "properties": {
            "id": { "type": "integer" }, "address": text, "addresses": texts, "username": text, "password": password,
            "register": flag, "probe_s": { "type": "integer" }, "source": source,
        } },
        "Route": { "type": "object", "properties": {
            "id": text, "prefix": text, "customers": ids, "gateways": ids, "cost": number, "ring_s": { "type": "integer" }, "script": text, "timeout_s": number,
            "timeout_action": text, "on_error": { "enum": ["reject", "continue"] }, "vars": vars, "source": source,
        } },
        "Did": { "type": "object", "properties": {
            "number": text, "destinations": texts, "script": text, "customer": { "type": "integer" }, "account": text,
            "vars": vars, "source": source,
        } },
    });
    let variable = json!({ "type": "object", "required": ["value"], "properties": {
        "name": text, "value": { "type": ["string", "null"] }, "protected": flag, "private": flag, "locked": flag, "default": flag,
        "updated_ms": { "type": "integer" },
    } });
    all["Variable"] = variable;
    all["Variables"] = json!({ "type": "object", "properties": { "env": list(&reference("Variable")) } });
    all["Apps"] = json!({ "type": "object", "properties": { "apps": list(&json!({
        "type": "object", "properties": { "name": text, "account": text },
    })) } });
    all["Allocate"] = json!({
        "type": "object",
        "required": ["did"],
        "description": "The number, and what a DID has besides: destinations, vars, customer, script.",
        "properties": { "did": text, "destinations": texts, "script": text, "customer": { "type": "integer" }, "vars": vars },
    });
    for kind in Kind::ALL {
        let mut name = kind.list().to_owned();
        name[..1].make_ascii_uppercase();
        let list = json!({ "type": "array", "items": reference(&name) });
        let next =
            json!({ "type": "string", "description": "Where there are more: what the next page is asked for with as after." });
        let properties = json!({ format!("{}s", kind.list()): list, "next": next });
        all[format!("{name}s")] = json!({ "type": "object", "properties": properties });
    }
    all
}

fn all_schemas() -> Value {
    let mut all = schemas();
    for more in [stored_schemas(), record_schemas(), provisioned_schemas()] {
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use lockstep_ctx_api::CallFacts;
    use lockstep_ctx_api::wire::LogLevel;

    use super::*;
    use crate::core::CallSummary;
    use crate::core::timeline::{Direction, MediaEntry, OperationEntry, TimelineEntry, What};

    #[test]
    fn what_clients_are_made_from_is_there() {
        let document = build();
        let names: Vec<String> = operations().map(name_of).collect();
        let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        let paths = &document["paths"];
        assert_eq!(paths["/v1/calls/{id}/timeline"]["get"]["operationId"], "getCallsByIdTimeline");
        assert!(paths["/v1/users/{name}"]["put"]["responses"]["201"].is_object());
        assert!(paths["/v1/apps/{app}/env/{name}"]["put"]["responses"]["201"].is_null());
        assert!(paths["/v1/scripts/{id}/run"]["post"]["responses"]["200"]["content"]["text/event-stream"].is_object());
        assert_eq!(paths["/v1/scripts/{id}/run"]["post"]["requestBody"]["required"], false);
        assert_eq!(paths["/v1/jobs"]["post"]["requestBody"]["required"], true);
        assert_eq!(paths["/v1/health"]["get"]["security"], json!([]));
    }

    #[test]
    fn what_a_call_and_its_timeline_show_is_described() {
        let document = build();
        let schemas = &document["components"]["schemas"];
        let check = |shown: Value, properties: &Value| {
            for key in shown.as_object().unwrap().keys() {
                assert!(properties[key].is_object(), "{key}");
            }
        };
        let facts = CallFacts::default();
        let call = CallSummary { facts, script: None, account: "a".into(), ended: None, duration_ms: 0 };
        check(json!(call), &schemas["Call"]["properties"]);
        let operation = OperationEntry {
            id: "1.0".to_owned(),
            name: "play",
            detail: String::new(),
            line: Some(String::new()),
            started_ms: Some(1),
            ended_ms: Some(2),
            result: Some("ok".to_owned()),
            ok: Some(true),
        };
        let media = MediaEntry {
            leg: "a".to_owned(),
            sent: 1,
            received: 1,
            lost: 0,
            jitter_ms: 0.5,
            mos: Some(4.4),
            remote_lost: 0,
            remote_jitter_ms: 0.5,
            round_trip_ms: Some(1.0),
        };
        for what in [
            What::Operation(operation),
            What::Sip { direction: Direction::In, leg: "a".to_owned(), summary: String::new() },
            What::Dtmf { digit: '1', method: "rfc4733", duration_ms: 100 },
            What::Event { name: "hold", detail: String::new() },
            What::Media(media),
            What::Log { level: LogLevel::Info, text: String::new(), line: Some(String::new()) },
        ] {
            check(json!(TimelineEntry { at_ms: 0, what }), &schemas["Timeline"]["properties"]["entries"]["items"]["properties"]);
        }
    }

    #[test]
    fn every_operation_is_described_and_every_reference_leads_somewhere() {
        let document = build();
        assert_eq!(document["paths"]["/v1/calls/{id}"]["delete"]["parameters"][0]["name"], "id");
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
