//! What an event tells of its channel, under the names that clients of event sockets know.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lockstep_ctx_api::CallState;

use super::cause::Cause;
use crate::core::{Activity, Channel, ChannelTimes, ChannelVars};
use crate::esl::Headers;

/// A step of the state machine that clients expect behind a channel, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelState {
    Init,
    Execute,
    ExchangeMedia,
    Park,
    Hangup,
    Reporting,
    Destroy,
}

impl ChannelState {
    pub(super) fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Init => ("CS_INIT", "1"),
            Self::Execute => ("CS_EXECUTE", "4"),
            Self::ExchangeMedia => ("CS_EXCHANGE_MEDIA", "5"),
            Self::Park => ("CS_PARK", "6"),
            Self::Hangup => ("CS_HANGUP", "10"),
            Self::Reporting => ("CS_REPORTING", "11"),
            Self::Destroy => ("CS_DESTROY", "12"),
        }
    }

    /// Where a channel stands.
    pub(super) fn of(channel: &Channel) -> Self {
        let idle = channel.running.is_none() && channel.outbound;
        match channel.state {
            CallState::Ended => Self::Hangup,
            CallState::New if channel.outbound => Self::Init,
            _ if channel.other.is_some() && (channel.outbound || channel.running.is_none()) => Self::ExchangeMedia,
            CallState::Answered if idle => Self::Park,
            CallState::New | CallState::Ringing | CallState::Early | CallState::Answered => Self::Execute,
        }
    }
}

/// How far a channel is, in the words of a telephone.
pub(super) fn call_state(channel: &Channel) -> &'static str {
    match channel.state {
        CallState::New if channel.outbound => "DIALING",
        CallState::New | CallState::Ringing => "RINGING",
        CallState::Early => "EARLY",
        CallState::Answered if channel.held => "HELD",
        CallState::Answered => "ACTIVE",
        CallState::Ended => "HANGUP",
    }
}

pub(super) fn answer_state(state: CallState) -> &'static str {
    match state {
        CallState::New | CallState::Ringing => "ringing",
        CallState::Early => "early",
        CallState::Answered => "answered",
        CallState::Ended => "hangup",
    }
}

pub(super) fn direction(channel: &Channel) -> &'static str {
    if channel.outbound { "outbound" } else { "inbound" }
}

/// `sofia/internal/user@host`: the form that clients take apart.
pub(super) fn name(channel: &Channel) -> String {
    let peer = channel.peer.trim_start_matches("sips:").trim_start_matches("sip:");
    format!("sofia/internal/{}", peer.split(';').next().unwrap_or(peer))
}

/// The cause a channel ended by.
pub(super) fn cause(channel: &Channel) -> Option<Cause> {
    // Several causes share a code; one that a client has named is found in the words.
    channel.cause.as_ref().map(|ending| Cause::named(&ending.reason).unwrap_or(Cause::of_sip(ending.code)))
}

/// Codec name as SDP has it, samples a second and bits a second.
pub(super) fn codec(channel: &Channel) -> Option<(String, &'static str, &'static str)> {
    let name = channel.codec.as_ref()?.to_ascii_uppercase();
    let (rate, bits) = match name.as_str() {
        "OPUS" => ("48000", "0"),
        "G722" => ("16000", "64000"),
        _ => ("8000", "64000"),
    };
    Some((name, rate, bits))
}

/// Everything but the variables.
pub(super) fn push_channel(headers: &mut Headers, channel: &Channel, state: ChannelState) {
    let (state, number) = state.name();
    let name = name(channel);
    let direction = direction(channel);
    for (header, value) in [
        ("Channel-State", state),
        ("Channel-Call-State", call_state(channel)),
        ("Channel-State-Number", number),
        ("Channel-Name", &name),
        ("Unique-ID", &channel.uuid),
        ("Call-Direction", direction),
        ("Presence-Call-Direction", direction),
        ("Channel-HIT-Dialplan", if channel.outbound { "false" } else { "true" }),
        ("Channel-Call-UUID", &channel.call),
        ("Answer-State", answer_state(channel.state)),
    ] {
        headers.push(header, value);
    }
    if let Some(cause) = cause(channel) {
        headers.push("Hangup-Cause", cause.name);
    }
    if let Some((codec, rate, bits)) = codec(channel) {
        for (header, value) in [
            ("Channel-Read-Codec-Name", codec.as_str()),
            ("Channel-Read-Codec-Rate", rate),
            ("Channel-Read-Codec-Bit-Rate", bits),
            ("Channel-Write-Codec-Name", &codec),
            ("Channel-Write-Codec-Rate", rate),
            ("Channel-Write-Codec-Bit-Rate", bits),
        ] {
            headers.push(header, value);
        }
    }
    push_profile(headers, "Caller-", channel);
    if let Some(other) = &channel.other {
        headers.push("Other-Type", if other.outbound { "originatee" } else { "originator" });
        push_profile(headers, "Other-Leg-", other);
    }
}

/// Who calls whom, since when: for `Caller-`, `Other-Leg-` and the `Channel-` of a connect reply.
pub(super) fn push_profile(headers: &mut Headers, prefix: &str, channel: &Channel) {
    let mut push = |name: &str, value: &str| headers.push(&format!("{prefix}{name}"), value);
    push("Direction", direction(channel));
    push("Logical-Direction", direction(channel));
    push("Username", &channel.caller_number);
    push("Dialplan", "XML");
    for name in ["Caller-ID-Name", "Orig-Caller-ID-Name"] {
        push(name, if channel.caller_name.is_empty() { &channel.caller_number } else { &channel.caller_name });
    }
    for name in ["Caller-ID-Number", "Orig-Caller-ID-Number"] {
        push(name, &channel.caller_number);
    }
    if channel.outbound {
        push("Callee-ID-Name", "Outbound Call");
        push("Callee-ID-Number", &channel.destination);
    }
    if !channel.network_addr.is_empty() {
        push("Network-Addr", &channel.network_addr);
    }
    push("ANI", &channel.caller_number);
    push("Destination-Number", &channel.destination);
    push("Unique-ID", &channel.uuid);
    push("Source", "mod_sofia");
    push("Context", "default");
    push("Channel-Name", &name(channel));
    push("Profile-Index", "1");
    let times = &channel.times;
    for (name, at) in [
        ("Profile-Created-Time", Some(times.created)),
        ("Channel-Created-Time", Some(times.created)),
        ("Channel-Answered-Time", times.answered),
        ("Channel-Progress-Time", times.ringing),
        ("Channel-Progress-Media-Time", times.early),
        ("Channel-Hangup-Time", times.ended),
        ("Channel-Transfer-Time", None),
        ("Channel-Resurrect-Time", None),
        ("Channel-Bridged-Time", times.bridged),
        ("Channel-Last-Hold", times.held),
    ] {
        push(name, &micros(at).to_string());
    }
    push("Channel-Hold-Accum", &times.hold_total_ms.saturating_mul(1_000).to_string());
    push("Screen-Bit", "true");
    push("Privacy-Hide-Name", "false");
    push("Privacy-Hide-Number", "false");
}

/// The variables, each as `variable_NAME`.
pub(super) fn push_variables(headers: &mut Headers, channel: &Channel) {
    each_variable(channel, |name, value| headers.push(&format!("variable_{name}"), value));
}

/// The value of one variable.
pub(super) fn variable(channel: &Channel, wanted: &str) -> Option<String> {
    let mut found = None;
    each_variable(channel, |name, value| {
        if name.eq_ignore_ascii_case(wanted) {
            found.get_or_insert_with(|| value.to_owned());
        }
    });
    found
}

/// Hands out the channel's own variables, then those that follow from what it is.
fn each_variable(channel: &Channel, mut each: impl FnMut(&str, &str)) {
    let known = |name: &str| channel.vars.contains_key(name);
    for (name, value) in channel.vars.iter() {
        each(&name, value);
    }
    let mut derived = |name: &str, value: &str| {
        if !known(name) {
            each(name, value);
        }
    };
    derived("direction", direction(channel));
    derived("uuid", &channel.uuid);
    derived("call_uuid", &channel.call);
    derived("channel_name", &name(channel));
    derived("sofia_profile_name", "internal");
    each_of_invite(&channel.vars, &mut derived);
    if let Some((codec, rate, _)) = codec(channel) {
        for (name, value) in [("read_codec", codec.as_str()), ("read_rate", rate), ("write_codec", &codec), ("write_rate", rate)]
        {
            derived(name, value);
        }
    }
    if let Some(other) = &channel.other {
        derived("bridge_uuid", &other.uuid);
        derived("signal_bond", &other.uuid);
    }
    if let Some(running) = &channel.running {
        derived("current_application", application(running));
        if !running.data.is_empty() {
            derived("current_application_data", &running.data);
        }
    }
    if let (Some(cause), Some(ended)) = (cause(channel), channel.times.ended) {
        derived("hangup_cause", cause.name);
        derived("hangup_cause_q850", &cause.q850.to_string());
        if let Some(ending) = &channel.cause {
            derived("proto_specific_hangup_cause", &format!("sip:{}", ending.code));
            derived("sip_hangup_phrase", &ending.reason);
        }
        each_time(&channel.times, ended, &mut derived);
    }
}

/// What follows from the header fields of the INVITE that came in, and from where it came from.
fn each_of_invite(vars: &ChannelVars, each: &mut impl FnMut(&str, &str)) {
    for (field, uri, full) in [
        ("sip_h_From", "sip_from_uri", Some("sip_full_from")),
        ("sip_h_To", "sip_to_uri", Some("sip_full_to")),
        ("sip_h_Contact", "sip_contact_uri", None),
    ] {
        let Some(value) = vars.get(field) else { continue };
        if let Some(full) = full {
            each(full, value);
        }
        if let Some(address) = address(value) {
            each(uri, address);
        }
    }
    if let Some(tag) = vars.get("sip_h_From").and_then(|from| from.rsplit_once(";tag=")) {
        each("sip_from_tag", tag.1.split(';').next().unwrap_or_default());
    }
    if let Some((user, host)) = vars.get("sip_h_Contact").and_then(address).and_then(|contact| contact.split_once('@')) {
        each("sip_contact_user", user);
        let port = host.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
        each("sip_contact_host", port.map_or(host, |(host, _)| host));
    }
    if let Some(user) = vars.get("sip_req_user") {
        each("sip_req_uri", &format!("{user}@{}", vars.get("sip_req_host").unwrap_or_default()));
    }
    for (known, name) in
        [("sip_network_ip", "sip_received_ip"), ("sip_network_port", "sip_received_port"), ("sip_h_Max-Forwards", "max_forwards")]
    {
        if let Some(value) = vars.get(known) {
            each(name, value);
        }
    }
}

/// User, host and port of a From, To or Contact.
fn address(field: &str) -> Option<&str> {
    let uri = match field.rsplit_once('<') {
        Some((_, rest)) => rest.split_once('>')?.0,
        None => field,
    };
    let (_, address) = uri.split_once(':')?;
    address.split([';', '?', '>']).next()
}

/// What a call-detail record wants: when, and how long.
fn each_time(times: &ChannelTimes, ended: u64, each: &mut impl FnMut(&str, &str)) {
    let steps = [
        ("start", Some(times.created)),
        ("profile_start", Some(times.created)),
        ("answer", times.answered),
        ("bridge", times.bridged),
        ("last_hold", times.held),
        ("progress", times.ringing),
        ("progress_media", times.early),
        ("end", Some(ended)),
    ];
    for (name, at) in steps {
        if let Some(at) = at {
            each(&format!("{name}_stamp"), &local_time(at));
        }
    }
    for (name, at) in steps {
        each(&format!("{name}_epoch"), &at.map_or(0, |at| at / 1_000).to_string());
        each(&format!("{name}_uepoch"), &micros(at).to_string());
    }
    let since = |from: Option<u64>, to: u64| from.map_or(0, |from| to.saturating_sub(from));
    for (name, ms) in [
        ("duration", ended.saturating_sub(times.created)),
        ("bill", since(times.answered, ended)),
        ("progress", times.ringing.map_or(0, |at| at.saturating_sub(times.created))),
        ("answer", times.answered.map_or(0, |at| at.saturating_sub(times.created))),
        ("wait", times.bridged.map_or(0, |at| at.saturating_sub(times.created))),
        ("progress_media", times.early.map_or(0, |at| at.saturating_sub(times.created))),
        ("flow_bill", ended.saturating_sub(times.created)),
    ] {
        let (seconds, millis, micros) = match name {
            "duration" => ("duration".to_owned(), "mduration".to_owned(), "uduration".to_owned()),
            name => (format!("{name}sec"), format!("{name}msec"), format!("{name}usec")),
        };
        // Rounded, as call-detail records are.
        each(&seconds, &((ms + 500) / 1_000).to_string());
        each(&millis, &ms.to_string());
        each(&micros, &ms.saturating_mul(1_000).to_string());
    }
    each("hold_accum_seconds", &(times.hold_total_ms / 1_000).to_string());
    each("hold_accum_ms", &times.hold_total_ms.to_string());
    each("hold_accum_usec", &times.hold_total_ms.saturating_mul(1_000).to_string());
}

/// What clients call an operation.
pub(super) fn application(activity: &Activity) -> &str {
    if let Some(application) = &activity.application {
        return application;
    }
    match activity.operation {
        "ring" => "ring_ready",
        "earlyMedia" => "pre_answer",
        "play" => "playback",
        "tts" => "speak",
        "ivr" | "gather" => "play_and_get_digits",
        "sendDtmf" => "send_dtmf",
        "header" => "set",
        "record" => "record_session",
        "record.stop" => "stop_record_session",
        "record.pause" => "record_session_pause",
        "record.resume" => "record_session_resume",
        "reject" => "respond",
        "blockDtmf" => "block_dtmf",
        "unblockDtmf" => "unblock_dtmf",
        other => other,
    }
}

/// `2026-11-20 22:59:27`, in the machine's time zone.
pub(super) fn local_time(unix_ms: u64) -> String {
    formatted(unix_ms, TimeZone::system(), "%Y-%m-%d %H:%M:%S")
}

/// `Fri, 20 Nov 2026 22:59:27 GMT`
pub(super) fn gmt(unix_ms: u64) -> String {
    formatted(unix_ms, TimeZone::UTC, "%a, %d %b %Y %H:%M:%S GMT")
}

fn formatted(unix_ms: u64, zone: TimeZone, format: &str) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    timestamp.to_zoned(zone).strftime(format).to_string()
}

fn micros(at: Option<u64>) -> u64 {
    at.map_or(0, |ms| ms.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn addresses_of_the_invite_are_variables_under_the_names_that_applications_read() {
        let vars = [
            ("sip_h_From", "\"A <b>\" <sip:al@h.example:5070;user=phone>;tag=7a;x=1"),
            ("sip_h_To", "sip:4001@e.example;x=1"),
            ("sip_h_Contact", "<sip:al@192.0.2.7:39423;transport=udp>"),
            ("sip_h_Max-Forwards", "69"),
            ("sip_req_user", "4001"),
            ("sip_req_host", "e.example"),
            ("sip_network_ip", "192.0.2.7"),
        ];
        let vars = vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let channel = Channel { vars: ChannelVars::new(Arc::new(vars), Arc::default()), ..Channel::default() };
        for (name, value) in [
            ("sip_from_uri", "al@h.example:5070"),
            ("sip_full_from", "\"A <b>\" <sip:al@h.example:5070;user=phone>;tag=7a;x=1"),
            ("sip_from_tag", "7a"),
            ("sip_to_uri", "4001@e.example"),
            ("sip_contact_uri", "al@192.0.2.7:39423"),
            ("sip_contact_user", "al"),
            ("sip_contact_host", "192.0.2.7"),
            ("sip_req_uri", "4001@e.example"),
            ("sip_received_ip", "192.0.2.7"),
            ("max_forwards", "69"),
        ] {
            assert_eq!(variable(&channel, name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(variable(&channel, "sip_received_port"), None);
    }
}
