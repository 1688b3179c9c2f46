//! What a script knows of its call when it starts, read off the INVITE.

use lockstep_ctx_api::op::{Headers, Vars};
use lockstep_ctx_api::wire::CallStart;
use lockstep_ctx_api::{CallFacts, CallState};
use lockstep_sip::message::{HeaderName, Request, SipUri, Uri};
use lockstep_sip::net::Source;

use super::gatekeeper::Caller;
use crate::backend::freeswitch::Channel;
use crate::class4::Facts;
use crate::security_key;

/// Fields of one INVITE that are passed on.
const MAX_PASSED: usize = 64;

/// The user part of an address, without escapes; of a telephone number only the number, as a `tel:` URI has it (RFC 3261 19.1.6).
pub(crate) fn user_of(uri: &Uri) -> String {
    let number = match uri {
        Uri::Sip(uri) => number_of(uri),
        Uri::Tel(tel) => Some(tel.digits()),
        Uri::Other { .. } => None,
    };
    number.or_else(|| uri.user().map(|user| user.into_owned())).unwrap_or_default()
}

/// The number in a user part that is one: with `user=phone`, or with parameters of its own, such as those of number portability
/// (RFC 4694). A separator in any other user part belongs to the name.
fn number_of(uri: &SipUri) -> Option<String> {
    let (number, has_params) = uri.user_and_whether_params()?;
    let is_phone = uri.params.get("user").is_some_and(|kind| kind.eq_ignore_ascii_case("phone"));
    let is_number = |c: char| c.is_ascii_digit() || "+*#-.()".contains(c);
    let fits = (is_phone || has_params) && number.contains(|c: char| c.is_ascii_digit()) && number.chars().all(is_number);
    fits.then(|| number.chars().filter(|c| !"-.()".contains(*c)).collect())
}

/// What was dialled.
pub(crate) fn dialled(request: &Request) -> String {
    user_of(&request.uri)
}

/// The facts of an incoming call.
pub(crate) fn facts_of(
    id: String,
    started_at: u64,
    request: &Request,
    source: &Source,
    did: Option<String>,
    customer_id: Option<i64>,
) -> CallFacts {
    CallFacts {
        id,
        direction: "inbound".to_owned(),
        from: request.headers.from().and_then(Result::ok).map(|from| user_of(&from.uri)).unwrap_or_default(),
        to: dialled(request),
        did,
        customer_id,
        state: CallState::New,
        started_at,
        answered_at: None,
        codec: None,
        remote_addr: source.remote.to_string(),
    }
}

/// What Class 4 is told of an incoming call, besides who is called.
pub(crate) fn origin_of(call: &str, request: &Request, source: &Source) -> Facts {
    let text = |name: HeaderName| request.headers.get(name).map(|value| value.text().into_owned());
    Facts {
        callid: text(HeaderName::CallId).unwrap_or_default(),
        call: call.to_owned(),
        server: host_of(&request.uri),
        request_user: dialled(request),
        from_user: request.headers.from().and_then(Result::ok).map(|from| user_of(&from.uri)).unwrap_or_default(),
        user_agent: text(HeaderName::UserAgent),
        source_ip: source.remote.ip().to_string(),
        source_port: source.remote.port(),
        proto: source.protocol.as_str().to_ascii_lowercase(),
        identity: text(HeaderName::from("Identity")),
        ..Facts::default()
    }
}

/// What Class 4 is told of a call that a media server of others has, besides who is called.
pub(crate) fn origin_of_channel(call: &str, channel: &Channel) -> Facts {
    let text = |name: &str| channel.variables.get(name).cloned();
    let whole = |name: &str| text(name).unwrap_or_default();
    Facts {
        callid: whole("sip_call_id"),
        call: call.to_owned(),
        server: whole("sip_to_host"),
        request_user: channel.to.clone(),
        from_user: text("sip_from_user").unwrap_or_else(|| channel.from.clone()),
        user_agent: text("sip_user_agent"),
        source_ip: channel.remote_addr.clone(),
        source_port: text("sip_network_port").and_then(|port| port.parse().ok()).unwrap_or_default(),
        proto: whole("sip_via_protocol").to_ascii_lowercase(),
        identity: text("sip_h_identity").or_else(|| text("sip_h_Identity")),
        ..Facts::default()
    }
}

/// Fields of an INVITE that go on to whom it leads: private ones, and those that say who calls and why to whoever it reaches.
/// `vouched` tells whether the identity it asserts may be believed (RFC 3325, section 8), `to_user` whether it leads to a phone of
/// ours, which is told nothing that the caller withholds (section 7); a carrier withholds it itself.
pub(crate) fn passed_on(headers: &[(String, String)], vouched: bool, to_user: bool) -> Headers {
    const END_TO_END: [&str; 9] = [
        "alert-info",
        "diversion",
        "geolocation",
        "history-info",
        "identity",
        "organization",
        "privacy",
        "subject",
        "user-to-user",
    ];
    const TELL_WHO_CALLS: [&str; 3] = ["diversion", "history-info", "identity"];
    let withheld = to_user && withholds_caller(headers);
    let passes = |name: &str| {
        let name = name.to_ascii_lowercase();
        let private = name.starts_with("x-") && name != security_key::HEADER.to_ascii_lowercase();
        // What a caller prefers is said to the first hop alone, which is us (RFC 3325, section 9.2).
        let asserted = vouched && !withheld && name.starts_with("p-") && name != "p-preferred-identity";
        let told = !withheld || !TELL_WHO_CALLS.contains(&name.as_str());
        private || asserted || (told && END_TO_END.contains(&name.as_str()))
    };
    headers.iter().filter(|(name, _)| passes(name)).take(MAX_PASSED).cloned().collect()
}

/// Whether a caller does not want the callee to know who calls (RFC 3323, section 4.2; RFC 3325, section 9.3).
fn withholds_caller(headers: &[(String, String)]) -> bool {
    let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("privacy")).map(|(_, value)| value);
    let mut wanted = values.flat_map(|value| value.split([';', ','])).map(str::trim);
    wanted.any(|wanted| ["id", "user", "header"].iter().any(|kind| wanted.eq_ignore_ascii_case(kind)))
}

/// The call variables a script starts with.
pub(crate) fn start_of(facts: CallFacts, request: &Request, source: &Source, caller: &Caller) -> CallStart {
    let mut vars = Vars::new();
    let mut set = |name: &str, value: String| {
        vars.insert(name.to_owned(), value);
    };
    if let Some(Ok(from)) = request.headers.from() {
        // A user may have a number of its own.
        set("caller_id_number", facts.from.clone());
        set("caller_id_name", from.display_name.clone().unwrap_or_else(|| facts.from.clone()));
        set("sip_from_user", user_of(&from.uri));
        set("sip_from_host", host_of(&from.uri));
        set("sip_from_display", from.display_name.clone().unwrap_or_default());
    }
    if let Some(Ok(to)) = request.headers.to() {
        set("sip_to_user", user_of(&to.uri));
        set("sip_to_host", host_of(&to.uri));
    }
    set("sip_req_user", dialled(request));
    set("sip_req_host", host_of(&request.uri));
    set("destination_number", facts.to.clone());
    set("call_id", facts.id.clone());
    set("uuid", facts.id.clone());
    set("direction", facts.direction.clone());
    set("network_addr", source.remote.ip().to_string());
    set("sip_network_ip", source.remote.ip().to_string());
    set("sip_network_port", source.remote.port().to_string());
    set("sip_via_protocol", source.protocol.as_str().to_ascii_lowercase());
    if let Some(call_id) = request.headers.call_id() {
        set("sip_call_id", call_id.text().into_owned());
    }
    if let Some(agent) = request.headers.get(HeaderName::UserAgent) {
        set("sip_user_agent", agent.text().into_owned());
    }
    if let Caller::User(name) = caller {
        set("sip_auth_username", name.clone());
    }
    let headers: Vec<(String, String)> = request
        .headers
        .iter()
        .filter(|header| !carries_secrets(&header.name))
        .map(|header| (header.name.to_string(), header.value.text().into_owned()))
        .collect();
    CallStart { facts, vars: vars.into(), headers: headers.into(), data_vars: None }
}

fn host_of(uri: &Uri) -> String {
    uri.host().map(ToString::to_string).unwrap_or_default()
}

/// Digest responses are no password, but they are what a password can be guessed from.
fn carries_secrets(name: &HeaderName) -> bool {
    matches!(name, HeaderName::Authorization | HeaderName::ProxyAuthorization)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_sip::message::{Message, parse};
    use lockstep_sip::net::Protocol;

    fn start() -> CallStart {
        start_from(None)
    }

    /// The start of a call whose caller has this number, or shows none but that of From.
    fn start_from(caller_id: Option<&str>) -> CallStart {
        let text = b"INVITE sip:%2b44123@h.example SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: \"Al\" <sip:a%20b@c.example>;tag=1\r\nTo: <sip:d@e.example>\r\nCall-ID: 77\r\nCSeq: 1 INVITE\r\nX-Id: 1\r\nX-Id: 2\r\nAuthorization: Digest username=\"x\"\r\nContent-Length: 0\r\n\r\n";
        let Ok(Message::Request(request)) = parse(text) else { panic!("the request does not parse") };
        let source = Source {
            protocol: Protocol::Udp,
            local: "127.0.0.1:5060".parse().unwrap(),
            remote: "127.0.0.1:5070".parse().unwrap(),
            flow: None,
        };
        let mut facts = facts_of("id".into(), 1, &request, &source, None, Some(12));
        if let Some(caller_id) = caller_id {
            facts.from = caller_id.to_owned();
        }
        start_of(facts, &request, &source, &Caller::Local)
    }

    #[test]
    fn of_a_telephone_number_only_the_number_counts() {
        for (uri, user) in [
            ("sip:7001;npdi@h;user=phone", "7001"),
            ("sip:+7001;npdi;rn=+1202@h;user=phone", "+7001"),
            ("sip:7001;phone-context=x.y@h", "7001"),
            ("sip:4420;cpc=ordinary@h", "4420"),
            ("sip:+7-(0).01@h;user=Phone", "+7001"),
            ("sip:%2B7001;npdi;rn=+1202@h", "+7001"),
            ("sip:%2b70%301;npdi@h;user=phone", "+7001"),
            ("tel:+7-001;npdi", "+7001"),
            ("sip:7-001@h", "7-001"),
            ("sip:7001%3Bnpdi@h", "7001;npdi"),
            ("sip:al;x@h;user=phone", "al;x"),
            ("sip:al@h;user=phone", "al"),
        ] {
            assert_eq!(user_of(&Uri::parse(uri).unwrap()), user, "{uri}");
        }
    }

    #[test]
    fn variables_come_from_the_invite() {
        let start = start();
        for (name, value) in [
            ("caller_id_number", "a b"),
            ("caller_id_name", "Al"),
            ("sip_from_host", "c.example"),
            ("sip_to_user", "d"),
            ("destination_number", "+44123"),
            ("sip_call_id", "77"),
            ("network_addr", "127.0.0.1"),
        ] {
            assert_eq!(start.vars.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn the_number_of_a_user_is_that_of_its_settings() {
        let start = start_from(Some("442080009"));
        for (name, value) in [("caller_id_number", "442080009"), ("caller_id_name", "Al"), ("sip_from_user", "a b")] {
            assert_eq!(start.vars.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn credentials_are_not_shown_to_scripts() {
        let start = start();
        assert!(!start.headers.iter().any(|(name, _)| name == "Authorization"));
    }

    #[test]
    fn what_is_for_the_callee_is_passed_on_and_secrets_and_doubtful_identities_are_not() {
        let given = [
            ("X-Id", "1"),
            ("Via", "x"),
            ("P-Asserted-Identity", "<sip:a@b>"),
            ("Privacy", "id"),
            ("X-PBX-Security-Key", "k"),
            ("Contact", "<sip:a@b>"),
        ];
        let given: Headers = given.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let names = |vouched| passed_on(&given, vouched, false).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(true), ["X-Id", "P-Asserted-Identity", "Privacy"]);
        assert_eq!(names(false), ["X-Id", "Privacy"]);
    }

    #[test]
    fn a_phone_is_not_told_who_a_withheld_caller_is() {
        let names = |privacy: &str, to_user| {
            let given = ["P-Asserted-Identity", "P-Preferred-Identity", "P-Charge-Info", "Diversion", "History-Info", "Identity"];
            let given = given.into_iter().chain(["Subject", "X-Id"]).map(|name| (name.to_owned(), "<sip:+44123@x>".to_owned()));
            let given: Headers = given.chain([("privacy".to_owned(), privacy.to_owned())]).collect();
            let names = passed_on(&given, true, to_user).into_iter().map(|(name, _)| name);
            names.collect::<Vec<_>>().join(" ")
        };
        let all = "P-Asserted-Identity P-Charge-Info Diversion History-Info Identity Subject X-Id privacy";
        for privacy in ["id", "ID", "critical; id", "user", "header;critical"] {
            assert_eq!(names(privacy, true), "Subject X-Id privacy", "{privacy}");
            assert_eq!(names(privacy, false), all, "{privacy}, to a carrier, which withholds it");
        }
        for privacy in ["none", "", "critical", "idle"] {
            assert_eq!(names(privacy, true), all, "{privacy}");
        }
    }
}
