//! What no single value shows: duplicates, references to what does not exist, choices that are unsafe together.

mod event_socket;
mod http;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};

use super::locate::Step;
use super::routing::is_number;
use super::{Config, Destination, Protocol};

/// Characters of the engine's secret: fewer can be guessed.
const MIN_SECRET: usize = 16;

/// A finding and the key it is about.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) path: Vec<Step>,
    pub(super) message: String,
}

/// What is wrong, and what merely deserves a word.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) errors: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
}

impl Report {
    fn error(&mut self, path: Vec<Step>, message: impl Into<String>) {
        self.errors.push(Finding { path, message: message.into() });
    }

    fn warn(&mut self, path: Vec<Step>, message: impl Into<String>) {
        self.warnings.push(Finding { path, message: message.into() });
    }

    /// Reports every name that an earlier entry of the list `list` has already.
    fn duplicates<T: Ord + std::fmt::Display>(&mut self, list: &str, key: &str, names: impl IntoIterator<Item = T>) {
        let mut seen = BTreeMap::new();
        for (index, name) in names.into_iter().enumerate() {
            if let Some(first) = seen.get(&name) {
                self.error(entry(list, index, key), format!("`{name}` is already the {key} of {list}[{first}]"));
            } else {
                seen.insert(name, index);
            }
        }
    }
}

fn section(table: &str, key: &str) -> Vec<Step> {
    vec![Step::Key(table.to_owned()), Step::Key(key.to_owned())]
}

fn entry(list: &str, index: usize, key: &str) -> Vec<Step> {
    vec![Step::Key(list.to_owned()), Step::Index(index), Step::Key(key.to_owned())]
}

fn item(mut path: Vec<Step>, index: usize) -> Vec<Step> {
    path.push(Step::Index(index));
    path
}

/// Threads or processes: more than machines have cores for.
const MAX_THREADS: u16 = 256;

/// Checks what the types alone cannot.
pub(super) fn validate(config: &Config) -> Report {
    let mut report = Report::default();
    sip(config, &mut report);
    api(config, &mut report);
    threads(config, &mut report);
    event_socket::event_socket(config, &mut report);
    media_servers(config, &mut report);
    tts(config, &mut report);
    messaging(config, &mut report);
    lookups(config, &mut report);
    rest(config, &mut report);
    journal(config, &mut report);
    accounts(config, &mut report);
    scripts::scripts(config, &mut report);
    users_and_dids(config, &mut report);
    gateways_and_routes(config, &mut report);
    report
}

fn sip(config: &Config, report: &mut Report) {
    let sip = &config.sip;
    if sip.listen.is_empty() {
        report.error(section("sip", "listen"), "expected at least one address, found none");
    }
    for (index, listen) in sip.listen.iter().enumerate() {
        let earlier = &sip.listen[..index];
        if listen.addr.port() != 0 && earlier.contains(listen) {
            report.error(item(section("sip", "listen"), index), format!("{listen} is listed twice"));
        }
        if matches!(listen.protocol, Protocol::Tls | Protocol::Ws | Protocol::Wss) {
            let message = format!("{} is not available in this version; expected udp or tcp", listen.protocol.name());
            report.error(item(section("sip", "listen"), index), message);
        }
    }
    if sip.external_ip.is_some_and(|ip| ip.is_unspecified() || ip.is_multicast()) {
        report.error(section("sip", "external_ip"), "expected the address peers reach us at");
    }
    if sip.realm.is_empty() || sip.realm.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        report.error(section("sip", "realm"), "expected text without quotes or control characters");
    }
    if sip.digest.is_empty() {
        report.error(section("sip", "digest"), "expected at least one of `sha-256`, `md5`, found none");
    }
    if sip.user_agent.contains(char::is_control) {
        report.error(section("sip", "user_agent"), "expected text without control characters");
    }
    if sip.min_expires_s > sip.max_expires_s {
        let message = format!("expected at most max_expires_s ({}), found {}", sip.max_expires_s, sip.min_expires_s);
        report.error(section("sip", "min_expires_s"), message);
    }
    if sip.max_expires_s == 0 {
        report.error(section("sip", "max_expires_s"), "expected at least 1: with 0 nobody could register");
    }
    let mut seen = Vec::new();
    for (index, codec) in config.media.codecs.iter().enumerate() {
        if seen.contains(codec) {
            report.error(item(section("media", "codecs"), index), format!("{} is listed twice", codec.name()));
        }
        seen.push(*codec);
    }
}

fn api(config: &Config, report: &mut Report) {
    let api = &config.api;
    if !api.listen.ip().is_loopback() && api.keys.is_empty() {
        let message = format!("expected `keys` for an address other machines reach, found {} without any", api.listen);
        report.error(section("api", "listen"), message);
    }
    if api.public_listen == Some(api.listen) && api.listen.port() != 0 {
        report.error(section("api", "public_listen"), format!("{} is already `listen`; expected another address", api.listen));
    }
    for (index, key) in api.keys.iter().enumerate() {
        let path = |name: &str| {
            let mut path = item(section("api", "keys"), index);
            path.push(Step::Key(name.to_owned()));
            path
        };
        if key.key.is_empty() {
            report.error(path("key"), "expected a key, found nothing");
        } else if key.key.expose().len() < 16 {
            report.warn(path("key"), "is short enough to be guessed; 16 characters or more are advised");
        }
        if key.scopes.is_empty() {
            report.error(path("scopes"), "expected at least one of `read`, `run`, `admin`, found none");
        }
        if api.keys[..index].iter().any(|earlier| earlier.key == key.key) {
            report.error(path("key"), "is listed twice");
        }
    }
    for (table, key, value, most) in [
        ("api", "max_connections", api.max_connections, 100_000),
        ("api", "max_websockets", api.max_websockets, 100_000),
        ("api", "form_mb", api.form_mb, 1_024),
        ("jobs", "concurrency", config.jobs.concurrency.into(), u16::MAX.into()),
    ] {
        if !(1..=most).contains(&value) {
            report.error(section(table, key), format!("expected 1 to {most}, found {value}"));
        }
    }
}

fn threads(config: &Config, report: &mut Report) {
    for (table, key, count) in [("media", "threads", config.media.threads), ("scripts", "workers", config.scripts.workers)] {
        if count > MAX_THREADS {
            report.error(section(table, key), format!("expected 0 (one per core) to {MAX_THREADS}, found {count}"));
        }
    }
}

fn media_servers(config: &Config, report: &mut Report) {
    let named = config.freeswitches.iter().map(|host| host.name.as_ref().unwrap_or(&host.address));
    report.duplicates("freeswitch", "name", named);
    for (index, host) in config.freeswitches.iter().enumerate() {
        let is_address = host
            .address
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
        if !is_address {
            let message = format!("expected HOST:PORT of an event socket, found `{}`", host.address);
            report.error(entry("freeswitch", index, "address"), message);
        }
        if host.weight == 0 {
            report.error(entry("freeswitch", index, "weight"), "expected at least 1");
        }
    }
    if !config.freeswitches.is_empty() && config.event_socket.freeswitch_outbound.is_none() {
        let message = "is not set: calls placed on a [[freeswitch]] could not come back";
        report.warn(section("event_socket", "freeswitch_outbound"), message);
    }
    let media = &config.event_socket.media;
    let templates = [("users", Some(&media.users)), ("dial", Some(&media.dial)), ("gateways", media.gateways.as_ref())];
    for (key, template) in templates.into_iter().filter_map(|(key, template)| Some((key, template?))) {
        let path = || [section("event_socket", "media"), vec![Step::Key(key.to_owned())]].concat();
        let of_its_own = if key == "gateways" { "{gateway}" } else { "{context}" };
        let is_plain = template.replace("{target}", "").replace(of_its_own, "");
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.+*#@:/~".contains(c);
        if !template.contains("{target}") || !template.contains('/') || !is_plain.chars().all(is_word) {
            let message = format!("expected an endpoint such as `sofia/gateway/carrier/{{target}}`, found `{template}`");
            report.error(path(), message);
        }
    }
    if media
        .files
        .as_ref()
        .is_some_and(|files| !files.starts_with('/') || files.contains(|c: char| c.is_control() || "{}[]$!|'\"".contains(c)))
    {
        let path = [section("event_socket", "media"), vec![Step::Key("files".to_owned())]].concat();
        report.error(path, "expected the absolute path of a folder on the media server, of ordinary characters");
    }
}

fn tts(config: &Config, report: &mut Report) {
    let tts = &config.tts;
    if tts.default != super::tts::ESPEAK && !tts.provider.contains_key(&tts.default) {
        let known: Vec<_> = std::iter::once(super::tts::ESPEAK).chain(tts.provider.keys().map(String::as_str)).collect();
        report.error(section("tts", "default"), format!("expected one of {}, found `{}`", known.join(", "), tts.default));
    }
    for (name, provider) in &tts.provider {
        let path = |key: &str| [section("tts", "provider"), section(name, key)].concat();
        let table = [section("tts", "provider"), vec![Step::Key(name.clone())]].concat();
        http::request(report, &table, (&provider.url, &provider.method), &provider.headers);
        http::timeout(report, &table, provider.timeout_ms);
        if name == super::tts::ESPEAK {
            report.error(path("url"), "`espeak` is built in; expected another name");
        }
    }
}

fn messaging(config: &Config, report: &mut Report) {
    if let Some(email) = &config.email {
        if let Err(error) = email.from.parse::<lettre::message::Mailbox>() {
            report.error(section("email", "from"), format!("expected an address such as `Desk <desk@example.net>`: {error}"));
        }
        if email.username.is_some() != email.password.is_some() {
            report.error(section("email", "username"), "expected `username` and `password` together");
        }
        http::timeout(report, &[Step::Key("email".to_owned())], email.timeout_ms);
    }
    if let Some(sms) = &config.sms {
        http::request(report, &[Step::Key("sms".to_owned())], (&sms.url, &sms.method), &sms.headers);
        http::timeout(report, &[Step::Key("sms".to_owned())], sms.timeout_ms);
    }
    if let Some(notify) = &config.notify {
        http::request(report, &[Step::Key("notify".to_owned())], (&notify.url, &notify.method), &notify.headers);
        http::timeout(report, &[Step::Key("notify".to_owned())], notify.timeout_ms);
    }
}

fn rest(config: &Config, report: &mut Report) {
    for (name, user) in &config.rest.users {
        let known = [super::DEFAULT_ACCOUNT, super::EVERY_ACCOUNT].contains(&user.account.as_str())
            || config.accounts.iter().any(|account| account.name == user.account);
        if !known {
            let path = [section("rest", "users"), section(name, "account")].concat();
            report.error(path, format!("expected the name of an [[account]], found `{}`", user.account));
        }
    }
    if let Some(url) = &config.rest.base_url {
        http::http_url(report, section("rest", "base_url"), url);
    }
    if config.security.secret.as_ref().is_some_and(|secret| secret.expose().len() < MIN_SECRET) {
        report.error(section("security", "secret"), format!("expected at least {MIN_SECRET} characters"));
    }
}

fn journal(config: &Config, report: &mut Report) {
    let journal = &config.journal;
    if let Some(Err(error)) = journal.key.as_ref().map(|key| crate::journals::MasterKey::parse(key.expose())) {
        report.error(section("journal", "key"), error.to_string());
    }
    if !(0.0..=1.0).contains(&journal.sample_runs) {
        report.error(section("journal", "sample_runs"), format!("expected a share from 0 to 1, found {}", journal.sample_runs));
    }
}

fn lookups(config: &Config, report: &mut Report) {
    for (name, provider) in &config.lookup {
        let path = |key: &str| [section("lookup", name), vec![Step::Key(key.to_owned())]].concat();
        match (&provider.url, &provider.area) {
            (Some(url), None) => {
                http::request(report, &section("lookup", name), (url, &provider.method), &provider.headers);
            }
            (None, Some(_)) if name == "userspaceLookup" => {}
            _ if name == "userspaceLookup" => report.error(path("area"), "expected either `area` or `url`"),
            _ => report.error(path("url"), "expected `url`, and `area` for `userspaceLookup` only"),
        }
        http::timeout(report, &section("lookup", name), provider.timeout_ms);
        if provider.result.as_ref().is_some_and(|pointer| !pointer.is_empty() && !pointer.starts_with('/')) {
            report.error(path("result"), "expected a JSON pointer such as `/data/carrier`");
        }
    }
}

/// The longest name of an `[[account]]`, in characters.
const MAX_ACCOUNT_NAME: usize = 64;

fn accounts(config: &Config, report: &mut Report) {
    report.duplicates("account", "name", config.accounts.iter().map(|account| &account.name));
    // What names no account belongs to the default one, which need not be listed.
    let known = |name: &str| name == super::DEFAULT_ACCOUNT || config.accounts.iter().any(|account| account.name == name);
    let numbers = config.dids.iter().enumerate().filter_map(|(index, did)| Some((index, did.account.as_ref()?)));
    for (index, account) in numbers.filter(|(_, account)| !known(account)) {
        report.error(entry("did", index, "account"), format!("expected the name of an [[account]], found `{account}`"));
    }
    let owners = [
        ("app", config.apps.iter().map(|app| &app.account).collect::<Vec<_>>()),
        ("user", config.users.iter().map(|user| &user.account).collect()),
        ("customer", config.customers.iter().map(|customer| &customer.account).collect()),
    ];
    for (list, accounts) in owners {
        for (index, account) in accounts.into_iter().enumerate().filter(|(_, account)| !known(account)) {
            report.error(entry(list, index, "account"), format!("expected the name of an [[account]], found `{account}`"));
        }
    }
    for (index, key) in config.api.keys.iter().enumerate() {
        if key.account != super::EVERY_ACCOUNT && !known(&key.account) {
            let path = item(section("api", "keys"), index).into_iter().chain([Step::Key("account".to_owned())]).collect();
            let message = format!("expected the name of an [[account]], or `*` for all of them, found `{}`", key.account);
            report.error(path, message);
        }
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    for (index, name) in config.accounts.iter().map(|account| account.name.as_str()).enumerate() {
        if name == super::EVERY_ACCOUNT {
            report.error(entry("account", index, "name"), "`*` stands for every account; expected another name");
        } else if name.is_empty() || name.len() > MAX_ACCOUNT_NAME || name.starts_with('.') || !name.chars().all(is_plain) {
            // A folder has this name, too.
            let message = format!("expected up to {MAX_ACCOUNT_NAME} letters, digits, `-`, `_` and `.`, found `{name}`");
            report.error(entry("account", index, "name"), message);
        }
    }
}

fn users_and_dids(config: &Config, report: &mut Report) {
    report.duplicates("user", "name", config.users.iter().map(|user| &user.name));
    for (index, user) in config.users.iter().enumerate() {
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c);
        if user.name.is_empty() || !user.name.chars().all(word) {
            let message = format!("expected the user part of a SIP URI, found `{}`", user.name);
            report.error(entry("user", index, "name"), message);
        }
        if user.password.is_empty() {
            report.error(entry("user", index, "password"), "expected a password, found nothing");
        }
    }

    let users: BTreeSet<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    let customers: BTreeSet<i64> = config.customers.iter().map(|customer| customer.id).collect();
    report.duplicates("did", "number", config.dids.iter().map(|did| did.number.strip_prefix('+').unwrap_or(&did.number)));
    for (index, did) in config.dids.iter().enumerate() {
        if did.number.trim_start_matches('+').is_empty() || did.number.contains(char::is_whitespace) {
            report.error(entry("did", index, "number"), format!("expected a number, found `{}`", did.number));
        }
        if did.destinations.is_empty() && did.script.is_none() {
            report.error(entry("did", index, "destinations"), "expected one to three destinations, found none");
        }
        if did.destinations.len() > 3 {
            let message = format!("expected at most three destinations, found {}", did.destinations.len());
            report.error(entry("did", index, "destinations"), message);
        }
        for (at, destination) in did.destinations.iter().enumerate() {
            if let Destination::User(name) = destination
                && !users.contains(name.as_str())
            {
                let message = format!("expected the name of a [[user]], found `{name}`");
                report.error(item(entry("did", index, "destinations"), at), message);
            }
        }
        if let Some(customer) = did.customer.filter(|id| !customers.contains(id)) {
            report.error(entry("did", index, "customer"), format!("expected the id of a [[customer]], found {customer}"));
        }
    }
}

fn gateways_and_routes(config: &Config, report: &mut Report) {
    report.duplicates("customer", "id", config.customers.iter().map(|customer| customer.id));
    let mut names: BTreeSet<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    for (index, customer) in config.customers.iter().enumerate() {
        if customer.user.is_some() != customer.password.is_some() {
            report.error(entry("customer", index, "user"), "expected `user` and `password` together");
        }
        if customer.user.as_ref().is_some_and(|name| name.is_empty()) {
            report.error(entry("customer", index, "user"), "expected a name, found nothing");
        }
        if customer.password.as_ref().is_some_and(|password| password.is_empty()) {
            report.error(entry("customer", index, "password"), "expected a password, found nothing");
        }
        if let Some(name) = customer.user.as_ref().filter(|name| !names.insert((*name).as_str())) {
            report.error(entry("customer", index, "user"), format!("`{name}` is already the name of another customer or user"));
        }
        let limits = &customer.limits;
        for (key, amount) in [("calls_per_second", limits.calls_per_second), ("spend_per_day", limits.spend_per_day)] {
            if amount.is_some_and(|amount| !(amount.is_finite() && amount > 0.0)) {
                report.error(entry("customer", index, "limits"), format!("{key}: expected more than 0"));
            }
        }
        if limits.cut_off && limits.spend_per_day.is_none() {
            report.error(entry("customer", index, "limits"), "cut_off: expected `spend_per_day` beside it");
        }
    }
    report.duplicates("gateway", "id", config.gateways.iter().map(|gateway| gateway.id));
    for (index, gateway) in config.gateways.iter().enumerate() {
        if gateway.register && (gateway.username.is_none() || gateway.password.is_none()) {
            report.error(entry("gateway", index, "register"), "expected `username` and `password` to register with");
        } else if gateway.username.is_some() != gateway.password.is_some() {
            report.warn(
                entry("gateway", index, "username"),
                "has no effect: challenges are answered with `username` and `password`",
            );
        }
        if gateway.probe_s == Some(0) {
            report.error(entry("gateway", index, "probe_s"), "expected at least 1 second; leave it out for no probes");
        }
    }
    let named = config.routes.iter().enumerate().filter_map(|(index, route)| Some((index, route.id.as_ref()?)));
    let mut seen = BTreeMap::new();
    for (index, id) in named {
        if let Some(first) = seen.insert(id, index) {
            report.error(entry("route", index, "id"), format!("`{id}` is already the id of route[{first}]"));
        }
    }
    let gateways: BTreeSet<i64> = config.gateways.iter().map(|gateway| gateway.id).collect();
    let customers: BTreeSet<i64> = config.customers.iter().map(|customer| customer.id).collect();
    for (index, route) in config.routes.iter().enumerate() {
        if !route.prefix.is_empty() && !is_number(&route.prefix) {
            report.error(entry("route", index, "prefix"), format!("expected leading digits, found `{}`", route.prefix));
        }
        if route.gateways.is_empty() {
            report.error(entry("route", index, "gateways"), "expected at least one gateway, found none");
        }
        for (at, id) in route.gateways.iter().enumerate() {
            if !gateways.contains(id) {
                let message = format!("expected the id of a [[gateway]], found {id}");
                report.error(item(entry("route", index, "gateways"), at), message);
            }
        }
        for (at, id) in route.customers.iter().flatten().enumerate() {
            if !customers.contains(id) {
                let message = format!("expected the id of a [[customer]], found {id}");
                report.error(item(entry("route", index, "customers"), at), message);
            }
        }
        if route.cost.is_some_and(|cost| !(cost.is_finite() && cost >= 0.0)) {
            report.error(entry("route", index, "cost"), "expected the price of a minute, 0 or more");
        }
        if route.ring_s == Some(0) {
            report.error(entry("route", index, "ring_s"), "expected at least 1 second; leave it out for no limit");
        }
        if route.timeout_s.is_some_and(|seconds| !(seconds > 0.0 && seconds <= 60.0)) {
            report.error(entry("route", index, "timeout_s"), "expected more than 0 and at most 60 seconds");
        }
    }
}

/// Keys that are understood and checked, and that this version does not act upon.
pub(super) fn without_effect(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    if config.cluster.nats.is_some() {
        found.push(Finding { path: section("cluster", "nats"), message: super::WITHOUT_EFFECT.to_owned() });
    }
    for (index, script) in config.script_entries.iter().enumerate() {
        let idle = script.without_effect().into_iter();
        found.extend(idle.map(|(key, message)| Finding { path: entry("script", index, key), message: message.to_owned() }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::locate::render;

    pub(super) fn errors(text: &str) -> Vec<(String, String)> {
        let config: Config = toml::from_str(text).unwrap();
        validate(&config).errors.into_iter().map(|finding| (render(&finding.path), finding.message)).collect()
    }

    pub(super) fn keys(text: &str) -> Vec<String> {
        errors(text).into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn references_to_nothing_are_errors() {
        let text = r#"
            [[route]]
            prefix = "44"
            gateways = [7]
            customers = [12]
            [[did]]
            number = "44"
            destinations = ["user:1001"]
            customer = 3
            [[script]]
            file = "a.js"
            app = "sales"
        "#;
        assert_eq!(
            keys(text),
            ["script[0].app", "did[0].destinations[0]", "did[0].customer", "route[0].gateways[0]", "route[0].customers[0]"]
        );
    }

    #[test]
    fn the_name_of_an_account_is_that_of_a_folder_too() {
        for (name, fits) in [("north", true), ("a-b_c.2", true), ("*", false), ("", false), ("a/b", false), ("..", false)] {
            let found = keys(&format!("[[account]]\nname = \"{name}\""));
            assert_eq!(found.is_empty(), fits, "{name}: {found:?}");
        }
    }

    #[test]
    fn an_open_api_on_a_public_address_is_refused() {
        assert_eq!(keys("[api]\nlisten = \"0.0.0.0:8080\""), ["api.listen"]);
        assert_eq!(keys("[api]\nlisten = \"0.0.0.0:8080\"\nkeys = [{ key = \"k\", scopes = [\"read\"] }]"), [""; 0]);
        assert_eq!(keys("[api]\nlisten = \"[::1]:8080\""), [""; 0]);
    }

    #[test]
    fn public_functions_need_an_address_of_their_own() {
        assert_eq!(keys("[api]\nlisten = \"127.0.0.1:8080\"\npublic_listen = \"127.0.0.1:8080\""), ["api.public_listen"]);
        assert_eq!(keys("[api]\nlisten = \"127.0.0.1:0\"\npublic_listen = \"127.0.0.1:0\""), [""; 0]);
    }

    #[test]
    fn a_did_leads_to_one_to_three_places() {
        assert_eq!(keys("[[did]]\nnumber = \"1\""), ["did[0].destinations"]);
        assert_eq!(keys("[[did]]\nnumber = \"+\"\ndestinations = [\"class5:1\"]"), ["did[0].number"]);
        let four = "[[did]]\nnumber = \"1\"\ndestinations = [\"class5:1\", \"class5:2\", \"class5:3\", \"class5:4\"]";
        assert_eq!(keys(four), ["did[0].destinations"]);
    }

    #[test]
    fn what_nothing_could_use_is_refused() {
        assert_eq!(keys("[event_socket]\nlisten = \"127.0.0.1:8021\""), ["event_socket.listen"]);
        assert_eq!(keys("[jobs]\nconcurrency = 0"), ["jobs.concurrency"]);
        assert_eq!(keys("[scripts]\nworkers = 1000\n[media]\nthreads = 65535"), ["media.threads", "scripts.workers"]);
        assert_eq!(keys("[sip]\nmin_expires_s = 0\nmax_expires_s = 0"), ["sip.max_expires_s"]);
        assert_eq!(keys("[[freeswitch]]\naddress = \"10.0.0.7:0\"\npassword = \"x\""), ["freeswitch[0].address"]);
        assert_eq!(keys("[[app]]\nname = \"\"\n[[app]]\nname = \"-\""), ["app[0].name", "app[1].name"]);
        assert_eq!(keys("[[customer]]\nid = 12\nuser = \"pbx\"\npassword = \"\""), ["customer[0].password"]);
        assert_eq!(keys("[[customer]]\nid = 12\nuser = \"\"\npassword = \"x\""), ["customer[0].user"]);
        assert_eq!(keys("[[gateway]]\nid = 1\naddress = \"sip:h\"\nregister = true"), ["gateway[0].register"]);
    }

    #[test]
    fn a_login_that_is_half_there_is_said() {
        let config: Config = toml::from_str("[[gateway]]\nid = 1\naddress = \"sip:h\"\nusername = \"u\"").unwrap();
        let warned: Vec<_> = validate(&config).warnings.iter().map(|finding| render(&finding.path)).collect();
        assert_eq!(warned, ["gateway[0].username"]);
    }

    #[test]
    fn a_transport_that_is_not_built_is_an_error_rather_than_silence() {
        assert_eq!(keys("[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"tls:0.0.0.0:5061\"]"), ["sip.listen[1]"]);
    }

    #[test]
    fn a_key_that_does_nothing_is_said_and_one_that_does_is_not() {
        let text = r#"
            [cluster]
            nats = "nats://127.0.0.1"
            [[script]]
            file = "a.js"
            run = "first"
            [[script]]
            file = "b.js"
            type = "worker"
            run = "last"
            [[customer]]
            id = 12
            user = "u"
            password = "x"
            limits = { concurrent = 2 }
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let mut keys: Vec<String> = without_effect(&config).into_iter().map(|finding| render(&finding.path)).collect();
        keys.sort();
        assert_eq!(keys, ["cluster.nats", "script[1].run"]);
    }
}
