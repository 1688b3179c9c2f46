//! The channel FreeSWITCH has handed over: what the answer to `connect` says of it.

use std::collections::BTreeMap;

use lockstep_ctx_api::{CallState, op::Vars};

use crate::esl::Event;

/// The most channel variables a script gets to see, and the longest of them, bytes.
const MAX_VARIABLES: usize = 1_000;
const MAX_VALUE: usize = 4 * 1024;

/// Why a connection brings no call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChannel {
    #[error("the answer to `connect` was {0:?}")]
    Refused(String),
    #[error("the answer to `connect` has no usable Unique-ID")]
    NoId,
}

/// A channel as it was when its connection began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Channel {
    /// Its id on the media server.
    pub uuid: String,
    /// `async`: operations are queued and answered at once; otherwise each blocks the connection until it is over.
    pub is_async: bool,
    /// `full`: `api` commands may be used.
    pub is_full: bool,
    pub is_outbound: bool,
    pub state: CallState,
    pub from: String,
    pub to: String,
    pub context: String,
    pub remote_addr: String,
    pub codec: Option<String>,
    /// The script that the dialplan asks for.
    pub script: Option<String>,
    /// Whose call it is: the `[[customer]]` that the dialplan names.
    pub customer: Option<String>,
    /// The script's name of the call, where the engine itself has placed it.
    pub call_id: Option<String>,
    /// The media server.
    pub core: String,
    pub variables: Vars,
    /// SIP header fields the dialplan lets us see.
    pub headers: Vec<(String, String)>,
}

impl Channel {
    /// Reads the answer to `connect`.
    ///
    /// # Errors
    /// It is a refusal, or names no channel.
    pub fn of(event: &Event) -> Result<Self, NoChannel> {
        let reply = event.get("Reply-Text").unwrap_or_default();
        if reply.starts_with("-ERR") {
            return Err(NoChannel::Refused(reply.trim().chars().take(100).collect()));
        }
        let uuid = event.get("Unique-ID").or_else(|| event.get("Channel-Unique-ID")).unwrap_or_default();
        let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        if uuid.is_empty() || uuid.len() > 200 || !uuid.chars().all(is_id) {
            return Err(NoChannel::NoId);
        }
        let text = |name: &str| event.get(name).unwrap_or_default().to_owned();
        let is_outbound = event.get("Call-Direction") == Some("outbound");
        let (from, to) = (text("Caller-Caller-ID-Number"), text("Caller-Destination-Number"));
        let variables = variables_of(event);
        let headers =
            variables.iter().filter_map(|(name, value)| Some((name.strip_prefix("sip_h_")?.to_owned(), value.clone()))).collect();
        Ok(Self {
            uuid: uuid.to_owned(),
            is_async: event.get("Socket-Mode") == Some("async"),
            is_full: event.get("Control") == Some("full"),
            is_outbound,
            state: state_of(event, is_outbound),
            from,
            to,
            context: text("Caller-Context"),
            remote_addr: text("Caller-Network-Addr"),
            codec: event.get("Channel-Read-Codec-Name").map(str::to_owned),
            script: event.variable("lockstep_script").filter(|script| !script.is_empty()).map(str::to_owned),
            customer: event.variable("lockstep_customer").filter(|id| !id.is_empty()).map(str::to_owned),
            call_id: event.variable("lockstep_call").filter(|id| !id.is_empty()).map(str::to_owned),
            core: text("Core-UUID"),
            variables: with_classic_names(variables, event),
            headers,
        })
    }
}

/// Where a channel stands: nothing has been sent to a caller whose channel only rings.
fn state_of(event: &Event, is_outbound: bool) -> CallState {
    match event.get("Answer-State") {
        Some("answered") => CallState::Answered,
        Some("early") => CallState::Early,
        Some("hangup") => CallState::Ended,
        Some("ringing") if is_outbound => CallState::Ringing,
        Some(_) | None => CallState::New,
    }
}

/// Channel variables of an event, without those that only say how large it is.
pub(super) fn variables_of(event: &Event) -> BTreeMap<String, String> {
    event
        .variables()
        .filter(|(name, value)| !name.starts_with("current_") && !name.starts_with("switch_") && value.len() <= MAX_VALUE)
        .take(MAX_VARIABLES)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The names scripts know from calls of our own SIP stack.
fn with_classic_names(mut variables: Vars, event: &Event) -> Vars {
    for (name, header) in [
        ("caller_id_number", "Caller-Caller-ID-Number"),
        ("caller_id_name", "Caller-Caller-ID-Name"),
        ("destination_number", "Caller-Destination-Number"),
        ("network_addr", "Caller-Network-Addr"),
        ("context", "Caller-Context"),
        ("channel_name", "Channel-Name"),
        ("uuid", "Unique-ID"),
    ] {
        if let Some(value) = event.get(header) {
            variables.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    variables
}
