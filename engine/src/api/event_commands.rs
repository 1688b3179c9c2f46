//! Commands over the socket of `/v1/events`: `{"id": 7, "command": "hangup", "call": "…"}`, answered by
//! `{"type": "reply", "id": 7, "ok": true, "result": {…}}` or by `"ok": false` with an `error`, as HTTP has it.

use lockstep_ctx_api::op::{Op, PlayArgs};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Caller, Granted};
use super::calls;
use super::error::ApiError;
use crate::config::Scope;
use crate::core::{Asker, EngineHandle, Execution};

/// One command.
#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
enum Command {
    /// Ends a call.
    Hangup { call: String, code: Option<u16>, reason: Option<String> },
    /// Leads a call elsewhere: to what a caller could have dialled.
    Transfer { call: String, to: String },
    /// Places a call, as `POST /v1/calls` does.
    Originate(Value),
    /// Plays into a call, behind what waits there.
    Play { call: String, sources: Vec<String> },
    /// Stops what `play` has begun; with `all`, what still waits, too.
    Stop {
        call: String,
        #[serde(default)]
        all: bool,
    },
    /// Sets a variable of a call; without a value, removes it.
    Set { call: String, name: String, value: Option<String> },
}

impl Command {
    /// What the key must be allowed: the same as for the request that does it over HTTP.
    fn scope(&self) -> Scope {
        match self {
            Self::Hangup { .. }
            | Self::Transfer { .. }
            | Self::Originate(_)
            | Self::Play { .. }
            | Self::Stop { .. }
            | Self::Set { .. } => Scope::Run,
        }
    }

    /// The call it is about.
    fn call(&self) -> Option<&str> {
        match self {
            Self::Hangup { call, .. }
            | Self::Transfer { call, .. }
            | Self::Play { call, .. }
            | Self::Stop { call, .. }
            | Self::Set { call, .. } => Some(call),
            Self::Originate(_) => None,
        }
    }
}

/// Carries out one message of a client; what it is answered with.
pub(super) async fn answer(engine: &EngineHandle, who: (&Caller, &Granted), message: &str) -> String {
    let parsed: Result<Value, _> = serde_json::from_str(message);
    let id = parsed.as_ref().map(|value| value["id"].clone()).unwrap_or_default();
    let result = match parsed {
        Ok(value) => carry_out(engine, who, value).await,
        Err(error) => Err(ApiError::bad_request(format!("expected a command as JSON: {error}"))),
    };
    match result {
        Ok(result) => json!({ "type": "reply", "id": id, "ok": true, "result": result }),
        Err(error) => json!({ "type": "reply", "id": id, "ok": false, "error": error.body() }),
    }
    .to_string()
}

/// Whether a message of a client asks for a call to be placed.
pub(super) fn places_a_call(message: &str) -> bool {
    serde_json::from_str::<Value>(message).is_ok_and(|value| value["command"] == "originate")
}

async fn carry_out(engine: &EngineHandle, (caller, granted): (&Caller, &Granted), mut value: Value) -> Result<Value, ApiError> {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("id");
    }
    let command: Command = serde_json::from_value(value).map_err(|error| ApiError::bad_request(error.to_string()))?;
    granted.check(command.scope())?;
    if let Some(call) = command.call() {
        caller.call(engine, call).await?;
    }
    match command {
        Command::Hangup { call, code, reason } => {
            calls::check_hangup(code, reason.as_deref())?;
            engine.hangup(&call, code, reason).await?;
        }
        Command::Transfer { call, to } => {
            if to.trim().is_empty() || to.contains(char::is_control) {
                return Err(ApiError::bad_request("to: expected text without control characters"));
            }
            engine.transfer(&call, &to, Asker::Tenant).await?;
        }
        Command::Originate(body) => {
            let id = calls::place(engine, caller, body.to_string().as_bytes()).await?;
            return Ok(json!({ "id": id }));
        }
        Command::Play { call, sources } => {
            let data = sources.join(", ");
            let op = Op::Play(PlayArgs { sources, ..PlayArgs::default() });
            let uuid = uuid::Uuid::new_v4().to_string();
            engine.execute(&call, Execution::new(op, "play", &data, uuid.clone())).await?;
            return Ok(json!({ "operation": uuid }));
        }
        Command::Stop { call, all } => engine.break_off(&call, all).await?,
        Command::Set { call, name, value } => {
            check_set(&name, value.as_deref())?;
            engine.set_variable(&call, &name, value.as_deref()).await?;
        }
    }
    Ok(json!({}))
}

/// Whether a variable can be set so.
fn check_set(name: &str, value: Option<&str>) -> Result<(), ApiError> {
    if name.is_empty() || name.len() > 256 || name.contains(char::is_control) {
        return Err(ApiError::bad_request("name: expected 1 to 256 characters, none of them a control character"));
    }
    if value.is_some_and(|value| calls::is_header(name) && value.contains(char::is_control)) {
        return Err(ApiError::bad_request("value: expected a header's text without control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(granted: &Granted, message: &str) -> Value {
        let platform = crate::platform::Platform::in_memory(&crate::config::Config::default()).unwrap();
        let (engine, _, _) = EngineHandle::new(Vec::new(), crate::runs::RunsHandle::stopped(), platform);
        serde_json::from_str(&answer(&engine, (&Caller::default(), granted), message).await).unwrap()
    }

    #[tokio::test]
    async fn a_command_is_answered_under_its_id() {
        let reply = answered(&Granted::everything(), r#"{"id":7,"command":"hangup","call":"x"}"#).await;
        assert_eq!((reply["id"].as_i64(), reply["ok"].as_bool()), (Some(7), Some(false)));
        assert_eq!(reply["error"]["code"], "stopping", "the engine of this test is gone");
    }

    #[tokio::test]
    async fn a_call_is_placed_by_what_http_would_take() {
        let originate = |body: &str| format!(r#"{{"id":1,"command":"originate",{body}}}"#);
        let code = async |body: &str| answered(&Granted::everything(), &originate(body)).await["error"]["code"].clone();
        let whole = r#""to":"1000","from":"2","destination":"1000","vars":{"a":"b"},"timeout_ms":1000"#;
        assert_eq!(code(whole).await, "stopping", "it has got to the engine, which is gone");
        assert_eq!(code(r#""to":"freeswitch:user/1001","destination":"1000""#).await, "not_connected", "a host was looked for");
        assert_eq!(code(r#""to":"1000""#).await, "invalid_body");
        assert_eq!(code(r#""to":"1000","destination":"1000","colour":"red""#).await, "invalid_body");
    }

    #[tokio::test]
    async fn a_key_without_the_scope_commands_nothing() {
        let reader = Granted::scopes(&[Scope::Read]);
        let reply = answered(&reader, r#"{"id":"a","command":"transfer","call":"x","to":"1"}"#).await;
        assert_eq!((reply["id"].as_str(), reply["error"]["code"].as_str()), (Some("a"), Some("forbidden")));
    }

    #[test]
    fn a_variable_that_becomes_a_header_is_one_line() {
        for (name, value, is_taken) in [
            ("sip_h_X-A", "a\r\nX-Inj: 1", false),
            ("SIP_H_X-A", "tab\u{1}", false),
            ("sip_h_X\r\nX-B", "1", false),
            ("note", "one\ntwo", true),
            ("sip_h_X-A", "1", true),
        ] {
            assert_eq!(check_set(name, Some(value)).is_ok(), is_taken, "{name:?} {value:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_command_is_said() {
        for bad in
            ["", "[]", "{}", r#"{"command":"dance"}"#, r#"{"command":"hangup"}"#, r#"{"command":"stop","call":"x","al":1}"#]
        {
            let reply = answered(&Granted::everything(), bad).await;
            assert_eq!((reply["ok"].as_bool(), reply["error"]["code"].as_str()), (Some(false), Some("bad_request")), "{bad}");
        }
    }
}
