//! Who calls and where calls go: `[[did]]`, `[[user]]`, `[[gateway]]`, `[[route]]`, `[[customer]]`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::security::Net;
use super::{Class5Destination, Secret, default_account};

/// `[[user]]`: somebody who registers a softphone.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    pub password: Secret,
    /// Shown to who is called, and sent as caller id; default: the name.
    #[serde(default, deserialize_with = "one_line")]
    pub caller_id: Option<String>,
    #[serde(default = "default_account")]
    pub account: String,
}

/// What becomes part of a header.
fn one_line<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.contains(char::is_control)) {
        return Err(D::Error::custom("expected text without control characters"));
    }
    Ok(text)
}

/// `[[did]]`: a number callers reach us by.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Did {
    pub number: String,
    /// Tried in order, at most three.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Class 4 script.
    pub script: Option<String>,
    pub customer: Option<i64>,
    /// Whose number it is; absent: its customer's account.
    pub account: Option<String>,
    #[serde(default)]
    pub vars: toml::Table,
    /// Put beside `lockstep.toml`, over HTTP.
    #[serde(skip)]
    pub is_put: bool,
}

/// `[[class5]]`: a Class 5 destination that an application on an event socket answers, not a script.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class5Application {
    pub destination: Class5Destination,
    /// `socket:HOST:PORT [async] [full]`
    pub to: Destination,
}

/// Where a DID leads.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Destination {
    /// `class5:1000`: a script's Class 5 destination.
    Class5(String),
    /// `user:1001`: a registered user.
    User(String),
    /// `external:441234567890`: a number, through the routes.
    External(String),
    /// `sip:a@example.net`
    Sip(String),
    /// `socket:127.0.0.1:8085 async full`: a FreeSWITCH-style event socket application.
    Socket { addr: String, is_async: bool, full: bool },
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class5(name) => write!(f, "class5:{name}"),
            Self::User(name) => write!(f, "user:{name}"),
            Self::External(number) => write!(f, "external:{number}"),
            Self::Sip(uri) => f.write_str(uri),
            Self::Socket { addr, is_async, full } => {
                write!(f, "socket:{addr}{}{}", if *is_async { " async" } else { "" }, if *full { " full" } else { "" })
            }
        }
    }
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "expected `class5:NAME`, `user:NAME`, `external:NUMBER`, `sip:…` or `socket:HOST:PORT [async] [full]`, found `{text}`"
            )
        };
        let (kind, rest) = text.split_once(':').ok_or_else(expected)?;
        if rest.is_empty() {
            return Err(expected());
        }
        match kind {
            "class5" => Ok(Self::Class5(rest.to_owned())),
            "user" => Ok(Self::User(rest.to_owned())),
            "external" if is_number(rest) => Ok(Self::External(rest.to_owned())),
            "sip" | "sips" => SipAddress::from_str(text).map(|address| Self::Sip(address.0)),
            "socket" => parse_socket(rest).ok_or_else(expected),
            _ => Err(expected()),
        }
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

fn parse_socket(text: &str) -> Option<Destination> {
    let mut words = text.split_whitespace();
    let addr = words.next()?;
    let (host, port) = addr.rsplit_once(':')?;
    if host.is_empty() || port.parse::<u16>().ok()? == 0 {
        return None;
    }
    let (mut is_async, mut full) = (false, false);
    for word in words {
        match word {
            "async" => is_async = true,
            "full" => full = true,
            _ => return None,
        }
    }
    Some(Destination::Socket { addr: addr.to_owned(), is_async, full })
}

/// Digits, and the `+`, `*` and `#` that numbers are dialled with.
pub(super) fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '*' | '#'))
}

/// A SIP URI as text, checked to be one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SipAddress(String);

impl SipAddress {
    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SipAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SipAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a SIP URI such as `sip:sbc.example.net:5060`, found `{text}`");
        if text.starts_with("sips:") {
            return Err(format!("expected a `sip:` URI, found `{text}`: TLS is not available in this version"));
        }
        let rest = text.strip_prefix("sip:").ok_or_else(expected)?;
        if let Some(transport) = transport_of(rest).filter(|name| !["udp", "tcp"].iter().any(|it| it.eq_ignore_ascii_case(name)))
        {
            return Err(format!(
                "expected `transport=udp` or `tcp`, found `{text}`: {transport} is not available in this version"
            ));
        }
        let hostport = rest.split([';', '?']).next().unwrap_or_default();
        let hostport = hostport.rsplit_once('@').map_or(hostport, |(_, host)| host);
        let (host, port) = match hostport.rfind(']') {
            Some(end) => (&hostport[..=end], hostport[end + 1..].strip_prefix(':')),
            None => match hostport.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (hostport, None),
            },
        };
        let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')),
        };
        let port_ok = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        let clean = !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '"'));
        if host_ok && port_ok && clean { Ok(Self(text.to_owned())) } else { Err(expected()) }
    }
}

/// The `transport` parameter of what follows the scheme.
fn transport_of(rest: &str) -> Option<&str> {
    let rest = rest.split('?').next()?;
    let behind_user = rest.rsplit_once('@').map_or(rest, |(_, behind)| behind);
    let mut params = behind_user.split(';').skip(1).filter_map(|param| param.split_once('='));
    params.find(|(name, _)| name.eq_ignore_ascii_case("transport")).map(|(_, transport)| transport)
}

impl TryFrom<String> for SipAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `[[gateway]]`: a carrier or another switch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    pub id: i64,
    pub address: SipAddress,
    /// Networks calls from this gateway come from, besides what `address` resolves to.
    #[serde(default)]
    pub addresses: Vec<Net>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// Whether to register with it.
    #[serde(default)]
    pub register: bool,
    /// OPTIONS this often, seconds; absent: never.
    pub probe_s: Option<u32>,
}

/// `[[route]]`: which numbers go through which gateways.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names it over HTTP.
    pub id: Option<String>,
    /// Leading digits; the longest matching prefix wins. Empty: every number.
    pub prefix: String,
    /// Customers that may use it; absent: all.
    pub customers: Option<Vec<i64>>,
    /// Gateway ids, in the order they are tried where `cost` does not decide.
    pub gateways: Vec<i64>,
    /// Price of a minute; among routes of one prefix the cheapest comes first.
    pub cost: Option<f64>,
    /// How long each gateway but the last may ring before the next is tried; absent: as long as the call may.
    pub ring_s: Option<u32>,
    pub script: Option<String>,
    pub timeout_s: Option<f64>,
    pub timeout_action: Option<TimeoutAction>,
    #[serde(default)]
    pub on_error: OnError,
    #[serde(default)]
    pub vars: toml::Table,
}

/// The reply when a routing script takes too long: `500 ScriptForge Timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TimeoutAction {
    pub code: u16,
    pub text: String,
}

impl TryFrom<String> for TimeoutAction {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let expected = || format!("expected a SIP reply such as `500 ScriptForge Timeout` (300-699), found `{text}`");
        let (code, words) = text.split_once(' ').ok_or_else(expected)?;
        match code.parse() {
            Ok(code @ 300..=699) if !words.trim().is_empty() && !words.contains(char::is_control) => {
                Ok(Self { code, text: words.trim().to_owned() })
            }
            _ => Err(expected()),
        }
    }
}

/// What an uncaught error of a routing script does to the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    #[default]
    Reject,
    Continue,
}

/// `[[customer]]`: who pays for calls.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Customer {
    pub id: i64,
    /// Networks its calls come from.
    #[serde(default)]
    pub addresses: Vec<Net>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    #[serde(default = "default_account")]
    pub account: String,
    #[serde(default)]
    pub limits: CustomerLimits,
    #[serde(default)]
    pub vars: toml::Table,
}

/// `limits` of a customer; absent: none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerLimits {
    pub calls_per_second: Option<f64>,
    pub concurrent: Option<u32>,
    /// Of calls to carriers, under way or over; in the currency of `cost`.
    pub spend_per_day: Option<f64>,
    /// Whether calls under way are ended once `spend_per_day` is reached.
    #[serde(default)]
    pub cut_off: bool,
}

/// `[event_socket]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventSocketConfig {
    /// FreeSWITCH connects here.
    #[serde(deserialize_with = "super::address::optional_socket")]
    pub freeswitch_outbound: Option<SocketAddr>,
    /// Our own event socket.
    #[serde(deserialize_with = "super::address::optional_socket")]
    pub listen: Option<SocketAddr>,
    pub password: Option<Secret>,
    /// Who may log in under a name of their own (`userauth`), and what they may do.
    #[serde(rename = "user")]
    pub users: Vec<EventSocketUser>,
    /// Networks that clients of `listen` may come from.
    pub allow: Vec<Net>,
    /// What the media servers know under other names.
    pub media: EventSocketMedia,
}

impl Default for EventSocketConfig {
    fn default() -> Self {
        let media = EventSocketMedia::default();
        Self { freeswitch_outbound: None, listen: None, password: None, users: Vec::new(), allow: Net::loopback(), media }
    }
}

/// `[[event_socket.user]]`
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSocketUser {
    pub name: String,
    pub password: Secret,
    /// Commands of `api` and `bgapi`; absent: every one, and `sendmsg` and `sendevent` too.
    pub api: Option<Vec<String>>,
    /// Names of events; absent: every one.
    pub events: Option<Vec<String>>,
    /// Whether `log` may be used.
    #[serde(default)]
    pub log: bool,
}

/// `[[freeswitch]]`: a FreeSWITCH whose event socket we connect to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeSwitchHost {
    /// What requests call it; default: its address.
    pub name: Option<String>,
    /// `HOST:PORT` of its event socket.
    pub address: String,
    pub password: Secret,
    /// How many calls it gets compared with the others.
    #[serde(default = "usual_weight")]
    pub weight: u32,
}

fn usual_weight() -> u32 {
    1
}

/// `[event_socket.media]`: how operations are put to a FreeSWITCH.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventSocketMedia {
    /// The folder on the media server that holds `user/` and `ivr/`; default: our scripts folder, by its absolute path.
    pub files: Option<String>,
    /// Where our `[[user]]`s are called.
    pub users: String,
    /// Where every other extension or number is called; by default through the dialplan of the caller's context.
    pub dial: String,
    /// The SIP profile that calls `sip:` URIs; default: the one the call came in by.
    pub profile: Option<String>,
    /// Where `[[gateway]]`s are called for numbers that a `[[route]]` leads to; default: at their address, by the profile.
    pub gateways: Option<String>,
    /// Engine and voice of `ctx.tts` where neither the script nor the channel names one.
    pub tts_engine: Option<String>,
    pub tts_voice: Option<String>,
}

impl Default for EventSocketMedia {
    fn default() -> Self {
        Self {
            files: None,
            users: "user/{target}".to_owned(),
            dial: "loopback/{target}/{context}".to_owned(),
            profile: None,
            gateways: None,
            tts_engine: None,
            tts_voice: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_of_every_kind_round_trip() {
        for text in [
            "class5:1000",
            "user:1001",
            "external:441234567890",
            "sip:a@example.net",
            "socket:127.0.0.1:8085 async full",
            "socket:host.example:8085",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for text in ["1000", "class5:", "external:12a", "sip:", "socket:8085", "socket:h:0", "socket:h:1 sync", "tel:1"] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn sip_addresses_need_a_host() {
        for text in ["sip:sbc.example.net", "sip:u@[2001:db8::1]:5061;transport=TCP", "sip:10.0.0.1:5060"] {
            assert!(text.parse::<SipAddress>().is_ok(), "{text}");
        }
        for text in ["sbc.example.net", "sip:", "sip:u@", "sip:h:0", "sip:h:99999", "sip:a b", "sip:[::1", "<sip:h>"] {
            assert!(text.parse::<SipAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_that_need_a_transport_we_have_not_are_refused() {
        for text in
            ["sips:h", "sips:h;transport=tcp", "sip:h;transport=tls", "sip:u@h:5060;lr;Transport=WS", "sip:h;transport=sctp"]
        {
            let message = text.parse::<SipAddress>().unwrap_err();
            assert!(message.contains("not available in this version"), "{message}");
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_timeout_action_is_a_sip_reply() {
        assert_eq!(
            TimeoutAction::try_from("503 Try Later".to_owned()),
            Ok(TimeoutAction { code: 503, text: "Try Later".to_owned() })
        );
        for text in ["200 OK", "503", "busy", "700 x", "503 a\r\nX-Inj: b"] {
            assert!(TimeoutAction::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
