//! From what happens in the engine to events as clients of event sockets know them.

use lockstep_ctx_api::op::DtmfMethod;
use lockstep_ctx_api::wire::LogLevel;
use lockstep_ctx_api::{ErrorCode, OpResult, Outcome};

use super::channel_headers::{self as channel_headers, ChannelState, application};
use crate::core::timeline::What;
use crate::core::{Activity, Channel, ChannelEvent, EngineEvent, RegistrationChange};
use crate::esl::{Event, Headers};

/// A line of a script's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) call: String,
    /// 3 (error) to 7 (debug), as syslog counts.
    pub(super) level: u8,
    pub(super) text: String,
    pub(super) at: Option<String>,
}

/// What clients are told of one event of the engine. `base` are the headers that say which engine and when.
pub(super) fn of_engine(event: &EngineEvent, realm: &str) -> Vec<Event> {
    match event {
        EngineEvent::Channel { channel, what } => of_channel(channel, what),
        EngineEvent::Registration { user, contact, change } => {
            let (subclass, status) = match change {
                RegistrationChange::Registered | RegistrationChange::Refreshed => ("sofia::register", "Registered(UDP)"),
                RegistrationChange::Unregistered => ("sofia::unregister", "Unregistered"),
                RegistrationChange::Expired => ("sofia::expire", "Expired"),
            };
            let mut event = custom(subclass);
            for (name, value) in [
                ("profile-name", "internal"),
                ("from-user", user),
                ("from-host", realm),
                ("to-user", user),
                ("to-host", realm),
                ("username", user),
                ("realm", realm),
                ("contact", contact),
                ("status", status),
            ] {
                event.push(name, value);
            }
            vec![event]
        }
        EngineEvent::ScriptsLoaded { scripts } => {
            let mut event = Event::new("RELOADXML");
            event.push("Scripts", &scripts.to_string());
            vec![event]
        }
        EngineEvent::Kv(_)
        | EngineEvent::Job(_)
        | EngineEvent::Alert(_)
        | EngineEvent::CallStarted { .. }
        | EngineEvent::CallState { .. }
        | EngineEvent::Timeline { .. }
        | EngineEvent::RunLog { .. }
        | EngineEvent::CallEnded { .. }
        | EngineEvent::CallOver { .. } => Vec::new(),
    }
}

/// The line of a log that an event is.
pub(super) fn log_line(event: &EngineEvent) -> Option<LogLine> {
    let EngineEvent::Timeline { call, entry } = event else { return None };
    let What::Log { level, text, line } = &entry.what else { return None };
    let level = match level {
        LogLevel::Error => 3,
        LogLevel::Warn => 4,
        LogLevel::Info => 6,
        LogLevel::Debug => 7,
    };
    Some(LogLine { call: call.clone(), level, text: text.clone(), at: line.clone() })
}

/// An event of a subclass.
pub(super) fn custom(subclass: &str) -> Event {
    let mut event = Event::new("CUSTOM");
    event.push("Event-Subclass", subclass);
    event
}

/// A whole channel: the answer to `uuid_dump`.
pub(super) fn data(channel: &Channel) -> Event {
    of_state("CHANNEL_DATA", channel, ChannelState::of(channel))
}

/// The answer to `connect`: the channel twice, once under names of its own.
pub(super) fn connected(channel: &Channel) -> Event {
    let mut event = Event::new("CHANNEL_DATA");
    channel_headers::push_profile(&mut event.headers, "Channel-", channel);
    channel_headers::push_channel(&mut event.headers, channel, ChannelState::Execute);
    channel_headers::push_variables(&mut event.headers, channel);
    event
}

fn of_channel(channel: &Channel, what: &ChannelEvent) -> Vec<Event> {
    let state = ChannelState::of(channel);
    let plain = |name: &str| of_state(name, channel, state);
    match what {
        ChannelEvent::Created if channel.outbound => vec![plain("CHANNEL_CREATE"), plain("CHANNEL_OUTGOING")],
        ChannelEvent::Created => vec![of_state("CHANNEL_CREATE", channel, ChannelState::Init)],
        ChannelEvent::Ringing => vec![plain("CHANNEL_PROGRESS")],
        ChannelEvent::EarlyMedia => vec![plain("CHANNEL_PROGRESS_MEDIA")],
        ChannelEvent::Answered => vec![plain("CHANNEL_ANSWER")],
        ChannelEvent::Held => vec![plain("CHANNEL_HOLD")],
        ChannelEvent::Resumed => vec![plain("CHANNEL_UNHOLD")],
        ChannelEvent::Bridged => {
            let other = channel.other.as_ref().map_or("", |other| other.uuid.as_str());
            vec![bridged("CHANNEL_BRIDGE", channel, other)]
        }
        ChannelEvent::Unbridged(other) => {
            let joined = Channel { other: Some(std::sync::Arc::clone(other)), ..channel.clone() };
            vec![bridged("CHANNEL_UNBRIDGE", &joined, &other.uuid)]
        }
        ChannelEvent::Dtmf { digit, duration_ms, method } => {
            let mut event = without_variables("DTMF", channel, state);
            event.push("DTMF-Digit", digit.encode_utf8(&mut [0; 4]));
            // In samples of 125 µs, whatever the codec.
            event.push("DTMF-Duration", &duration_ms.saturating_mul(8).to_string());
            let source = match method {
                DtmfMethod::Rfc4733 => "RTP",
                DtmfMethod::Info => "ENDPOINT",
                DtmfMethod::Inband => "INBAND_AUDIO",
            };
            event.push("DTMF-Source", source);
            vec![event]
        }
        ChannelEvent::Started(activity) => started(channel, state, activity),
        ChannelEvent::Completed { activity, result, response } => {
            completed(channel, state, activity, result, response.as_deref())
        }
        ChannelEvent::HungUp => {
            let mut events: Vec<Event> =
                channel.recordings.iter().map(|recording| record("RECORD_STOP", channel, state, &recording.file)).collect();
            events.push(plain("CHANNEL_HANGUP"));
            events.push(without_variables("CHANNEL_STATE", channel, state));
            events
        }
        ChannelEvent::Destroyed => vec![
            without_variables("CHANNEL_STATE", channel, ChannelState::Reporting),
            hangup_complete(channel),
            of_state("CHANNEL_DESTROY", channel, ChannelState::Destroy),
        ],
    }
}

fn started(channel: &Channel, state: ChannelState, activity: &Activity) -> Vec<Event> {
    let mut events = vec![execute("CHANNEL_EXECUTE", channel, state, activity)];
    match activity.operation {
        "play" => {
            let mut event = of_state("PLAYBACK_START", channel, state);
            event.push("Playback-File-Path", &activity.data);
            events.push(event);
        }
        // Nothing is done, and the channel waits.
        "" => events.push(of_state("CHANNEL_PARK", channel, ChannelState::Park)),
        _ => {}
    }
    events
}

fn completed(
    channel: &Channel,
    state: ChannelState,
    activity: &Activity,
    result: &OpResult,
    response: Option<&str>,
) -> Vec<Event> {
    let mut events = Vec::new();
    match (activity.operation, result) {
        ("play", _) => {
            let mut event = of_state("PLAYBACK_STOP", channel, state);
            event.push("Playback-File-Path", &activity.data);
            event.push("Playback-Status", if result.is_ok() { "done" } else { "break" });
            events.push(event);
        }
        (_, Ok(Outcome::Recording { file })) => events.push(record("RECORD_START", channel, state, file)),
        (_, Ok(Outcome::Recorded { file, .. })) => events.push(record("RECORD_STOP", channel, state, file)),
        ("", _) => events.push(of_state("CHANNEL_UNPARK", channel, state)),
        _ => {}
    }
    let mut event = execute("CHANNEL_EXECUTE_COMPLETE", channel, state, activity);
    // Before the name of the operation it answers to, which stands last.
    let last = Headers::from_iter([
        ("Application-Response", response.unwrap_or_else(|| response_of(activity, result))),
        ("Application-UUID", activity.uuid.as_str()),
    ]);
    let mut headers = Headers::new();
    for (name, value) in event.headers.iter().filter(|(name, _)| *name != "Application-UUID").chain(last.iter()) {
        headers.push(name, value);
    }
    event.headers = headers;
    events.push(event);
    events
}

/// What an application of that kind answers where nobody has said otherwise.
pub(super) fn response_of(activity: &Activity, result: &OpResult) -> &'static str {
    match (activity.operation, result) {
        ("play" | "tts", Ok(_)) => "FILE PLAYED",
        ("play" | "tts", Err(error)) if error.code == ErrorCode::NotFound => "FILE NOT FOUND",
        // Somebody has broken it off: what there was of it has been played.
        ("play" | "tts", Err(error)) if error.code == ErrorCode::AbortError => "FILE PLAYED",
        ("play" | "tts", Err(_)) => "PLAYBACK ERROR",
        _ => "_none_",
    }
}

fn execute(name: &str, channel: &Channel, state: ChannelState, activity: &Activity) -> Event {
    // Settings do not count as what runs, but clients look for the variable in the event about them.
    let shown = Channel { running: Some(std::sync::Arc::new(activity.clone())), ..channel.clone() };
    let mut event = of_state(name, &shown, state);
    event.push("Application", application(activity));
    if !activity.data.is_empty() {
        event.push("Application-Data", &activity.data);
    }
    event.push("Application-UUID", &activity.uuid);
    event
}

fn record(name: &str, channel: &Channel, state: ChannelState, file: &str) -> Event {
    let mut event = of_state(name, channel, state);
    event.push("Record-File-Path", file);
    event
}

fn bridged(name: &str, channel: &Channel, other: &str) -> Event {
    let mut event = Event::new(name);
    event.push("Bridge-A-Unique-ID", &channel.uuid);
    event.push("Bridge-B-Unique-ID", other);
    push_all(&mut event, channel, ChannelState::of(channel));
    event
}

fn hangup_complete(channel: &Channel) -> Event {
    let mut event = Event::new("CHANNEL_HANGUP_COMPLETE");
    if let Some(cause) = channel_headers::cause(channel) {
        event.push("Hangup-Cause", cause.name);
    }
    push_all(&mut event, channel, ChannelState::Reporting);
    event
}

fn of_state(name: &str, channel: &Channel, state: ChannelState) -> Event {
    let mut event = Event::new(name);
    push_all(&mut event, channel, state);
    event
}

fn without_variables(name: &str, channel: &Channel, state: ChannelState) -> Event {
    let mut event = Event::new(name);
    channel_headers::push_channel(&mut event.headers, channel, state);
    event
}

fn push_all(event: &mut Event, channel: &Channel, state: ChannelState) {
    channel_headers::push_channel(&mut event.headers, channel, state);
    channel_headers::push_variables(&mut event.headers, channel);
}
