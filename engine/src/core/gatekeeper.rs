//! Who may call: local networks freely, gateways and customers by address, customers and users by digest, nobody else.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use lockstep_sip::auth::{Authenticator, Verdict};
use lockstep_sip::endpoint::Reply;
use lockstep_sip::message::{HeaderName, Request, StatusCode};
use lockstep_sip::net::Source;
use lockstep_sip::registrar::Registrar;

use super::directory::Directory;
use super::guesses::{Guesses, is_one_place};
use crate::config::SecurityConfig;
use crate::script::Moment;
use crate::security_key;

/// Who a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Local,
    User(String),
    Gateway(i64),
    Customer(i64),
}

/// What is to be done with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Pass(Caller),
    /// 401 with challenges.
    Challenge {
        stale: bool,
    },
    /// The same; the log is told where the first of many came from.
    WrongPassword {
        user: String,
        first_from: Option<IpAddr>,
    },
    /// Too many wrong passwords came from there: nothing is looked at for so long.
    Barred {
        left: Duration,
    },
    Refuse {
        code: u16,
        reason: &'static str,
    },
}

/// What the gate goes by.
pub(crate) struct Desk<'a> {
    pub security: &'a SecurityConfig,
    pub directory: &'a Directory,
    pub authenticator: &'a mut Authenticator,
    pub guesses: &'a mut Guesses,
    pub registrar: &'a Registrar,
}

/// Where a request comes from, if nobody vouches for that address: the one of a proxy of ours stands for all whom it brings.
pub(crate) fn unknown_peer(source: &Source, security: &SecurityConfig, directory: &Directory) -> Option<IpAddr> {
    let ip = source.remote.ip();
    let is_known = security.is_local(ip) || directory.gateway_at(ip).is_some() || directory.customer_at(ip).is_some();
    (!is_known).then_some(ip)
}

/// Decides on a request outside a dialog at `now`. `is_own` says that it comes from one of our own sockets.
pub(crate) fn check(now: Moment, request: &Request, source: &Source, is_own: bool, desk: Desk<'_>) -> Gate {
    let Desk { security, directory, .. } = desk;
    let ip = source.remote.ip();
    if is_own {
        return Gate::Pass(Caller::Local);
    }
    if security.is_local(ip) {
        // Customers may be local: their calls are theirs all the same.
        let unix_s = now.unix_ms / 1_000;
        let customer = directory.customer_at(ip).map(|customer| customer.id);
        let customer = customer.or_else(|| by_security_key(unix_s, request, security, directory));
        return Gate::Pass(customer.map_or(Caller::Local, Caller::Customer));
    }
    if let Some(gateway) = directory.gateway_at(ip) {
        return Gate::Pass(Caller::Gateway(gateway.config.id));
    }
    if let Some(customer) = directory.customer_at(ip) {
        return Gate::Pass(Caller::Customer(customer.id));
    }
    if let Some(customer) = by_security_key(now.unix_ms / 1_000, request, security, directory) {
        return Gate::Pass(Caller::Customer(customer));
    }
    by_digest(now.instant, request, source, desk)
}

/// The customer whose key a script has made and the request shows.
fn by_security_key(unix_s: u64, request: &Request, security: &SecurityConfig, directory: &Directory) -> Option<i64> {
    let secret = security.secret.as_ref()?;
    let shown = request.headers.get(HeaderName::from(security_key::HEADER))?;
    let customer = security_key::customer(secret.expose(), &shown.text(), unix_s)?;
    directory.customer(customer).map(|customer| customer.id)
}

/// Decides by credentials alone, as for REGISTER: an address must not stand for a password there.
pub(crate) fn by_digest(now: Instant, request: &Request, source: &Source, desk: Desk<'_>) -> Gate {
    let Desk { security, directory, authenticator, guesses, registrar } = desk;
    let peer = unknown_peer(source, security, directory);
    // By whoever got the nonce: who shows it with a neighbour's address must not have the neighbour barred.
    let mut guesser = None;
    let mut barred = None;
    let values: Vec<String> = request.headers.get_all(HeaderName::Authorization).map(|value| value.text().into_owned()).collect();
    let verdict =
        authenticator.verify_peer(now, peer, request.method.as_str(), values.iter().map(String::as_str), |user, given_to| {
            guesser = given_to;
            barred = given_to.and_then(|from| guesses.barred(now, from, user, || is_registered_from(registrar, now, user, from)));
            if barred.is_some() {
                return None;
            }
            let password = directory.user(user).map(|user| &user.password);
            let password = password.or_else(|| directory.customer_named(user)?.password.as_ref());
            password.map(|password| password.expose().to_owned())
        });
    match verdict {
        Verdict::Accepted { username } if directory.user(&username).is_none() => match directory.customer_named(&username) {
            Some(customer) => Gate::Pass(Caller::Customer(customer.id)),
            None => Gate::Refuse { code: 403, reason: "Forbidden" },
        },
        Verdict::Accepted { username } if speaks_for_another(request, &username, directory) => {
            Gate::Refuse { code: 403, reason: "Forbidden" }
        }
        Verdict::Accepted { username } => Gate::Pass(Caller::User(username)),
        Verdict::Missing => Gate::Challenge { stale: false },
        Verdict::Stale { .. } => Gate::Challenge { stale: true },
        Verdict::Rejected { username } => match barred {
            Some(left) => Gate::Barred { left },
            // A challenge again: 403 would tell a guesser nothing less, and a user who mistyped could not go on.
            None => {
                let first = guesser.filter(|from| guesses.note(now, *from, &username));
                let first_from = first.map(|from| peer.filter(|peer| is_one_place(*peer, from)).unwrap_or(from));
                Gate::WrongPassword { user: username, first_from }
            }
        },
        Verdict::Malformed(_) => Gate::Refuse { code: 400, reason: "Bad Request - credentials" },
    }
}

fn is_registered_from(registrar: &Registrar, now: Instant, user: &str, peer: IpAddr) -> bool {
    registrar.lookup(user, now).iter().any(|binding| is_one_place(binding.source.remote.ip(), peer))
}

/// 401 with challenges.
pub(crate) fn challenge(now: Instant, stale: bool, peer: Option<IpAddr>, authenticator: &mut Authenticator) -> Reply {
    let challenges = authenticator.challenge_peer(now, stale, peer).into_iter();
    challenges.fold(Reply::new(StatusCode::UNAUTHORIZED), |reply, value| reply.header(HeaderName::WwwAuthenticate, value))
}

/// A user may show any number as caller id, but not the name of another user.
fn speaks_for_another(request: &Request, username: &str, directory: &Directory) -> bool {
    let from = request.headers.from().and_then(Result::ok);
    let name = from.as_ref().and_then(|from| from.uri.user()).unwrap_or_default();
    name != username && directory.user(&name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::net::SocketAddr;

    use lockstep_sip::auth::{AuthenticatorConfig, ClientAuth, Side};
    use lockstep_sip::message::{Message, parse};
    use lockstep_sip::net::Protocol;
    use lockstep_sip::registrar::RegistrarConfig;

    fn gate(remote: &str, is_own: bool) -> Gate {
        gate_with(remote, is_own, "")
    }

    fn request(header: &str) -> Request {
        let text = format!(
            "INVITE sip:1000@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n{header}\r\n"
        );
        let Ok(Message::Request(request)) = parse(text.as_bytes()) else { panic!("the request does not parse") };
        request
    }

    fn source(remote: SocketAddr) -> Source {
        Source { protocol: Protocol::Udp, local: "192.0.2.1:5060".parse().unwrap(), remote, flow: None }
    }

    /// The decision on a request with one more header.
    fn gate_with(remote: &str, is_own: bool, header: &str) -> Gate {
        let config: Config = toml::from_str(
            "[security]\nsecret = \"sixteen letters!\"\n[[user]]\nname = \"1001\"\npassword = \"x\"\n[[gateway]]\nid = 7\naddress = \"sip:g.example.net\"\naddresses = [\"198.51.100.0/24\"]\n[[customer]]\nid = 12\naddresses = [\"203.0.113.9\"]",
        )
        .unwrap();
        let (request, source) = (request(header), source(remote.parse().unwrap()));
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
        let now = Instant::now();
        let directory = Directory::new(&config, []);
        let mut authenticator = Authenticator::new(AuthenticatorConfig::new("lockstep"), [1; 32], now);
        let desk = Desk {
            security: &config.security,
            directory: &directory,
            authenticator: &mut authenticator,
            guesses: &mut Guesses::default(),
            registrar: &Registrar::new(RegistrarConfig::default()),
        };
        check(Moment { instant: now, unix_ms: 1_000_000 }, &request, &source, is_own, desk)
    }

    #[test]
    fn addresses_decide_before_credentials() {
        assert_eq!(gate("127.0.0.1:5060", false), Gate::Pass(Caller::Local));
        assert_eq!(gate("192.0.2.1:5060", true), Gate::Pass(Caller::Local));
        assert_eq!(gate("198.51.100.3:5060", false), Gate::Pass(Caller::Gateway(7)));
        assert_eq!(gate("203.0.113.9:5060", false), Gate::Pass(Caller::Customer(12)));
    }

    #[test]
    fn a_stranger_is_challenged() {
        assert_eq!(gate("203.0.113.8:5060", false), Gate::Challenge { stale: false });
    }

    #[test]
    fn whoever_shows_a_nonce_from_a_forged_address_has_nobody_barred_there() {
        let config: Config = toml::from_str("[[user]]\nname = \"1001\"\npassword = \"x\"").unwrap();
        #[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
        let now = Instant::now();
        let directory = Directory::new(&config, []);
        let mut authenticator = Authenticator::new(AuthenticatorConfig::new("lockstep"), [1; 32], now);
        let mut guesses = Guesses::default();
        let [guesser, neighbour] = ["203.0.113.8", "203.0.113.9"].map(|ip| ip.parse::<IpAddr>().unwrap());
        let challenges = authenticator.challenge_peer(now, false, Some(guesser));
        let mut client = ClientAuth::new("1001", "guess", [7; 32]);
        client.begin_request();
        client.challenged(Side::of_status(401).unwrap(), challenges.iter().map(String::as_str)).unwrap();
        let mut request = request("");
        for (name, value) in client.authorize("INVITE", &request.uri.to_string(), &request.body) {
            request.headers.push(name, value);
        }
        for number in 0..10 {
            let desk = Desk {
                security: &config.security,
                directory: &directory,
                authenticator: &mut authenticator,
                guesses: &mut guesses,
                registrar: &Registrar::new(RegistrarConfig::default()),
            };
            let first_from = (number == 0).then_some(guesser);
            let gate = by_digest(now, &request, &source(SocketAddr::new(neighbour, 5060)), desk);
            assert_eq!(gate, Gate::WrongPassword { user: "1001".to_owned(), first_from });
        }
        assert_eq!(guesses.barred(now, neighbour, "1001", || false), None);
        assert!(guesses.barred(now, guesser, "1001", || false).is_some());
    }

    #[test]
    fn the_key_a_script_made_stands_for_its_customer_and_no_other() {
        let key = |customer| security_key::make("sixteen letters!", customer, "pbx.example.net", 900).unwrap();
        let shown = |key: String| gate_with("203.0.113.8:5060", false, &format!("X-PBX-Security-Key: {key}\r\n"));
        assert_eq!(shown(key(12)), Gate::Pass(Caller::Customer(12)));
        assert_eq!(shown(key(13)), Gate::Challenge { stale: false });
        assert_eq!(shown("1.12.x.900.AAAA".to_owned()), Gate::Challenge { stale: false });
    }
}
