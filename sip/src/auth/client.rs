//! Client side: answers challenges with one account's credentials (RFC 7616 §3.4, RFC 3261 §22.2–22.3).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use thiserror::Error;

use super::{
    digest::{Algorithm, DigestInput, Qop},
    params::{Params, is_digest, quote},
};

/// Realms one request can be challenged for: the target and a few proxies on the way.
const MAX_REALMS: usize = 4;
/// Challenges read from one response.
const MAX_CHALLENGES: usize = 16;

/// Who asks for credentials, hence which header pair carries challenge and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 401, `WWW-Authenticate`, `Authorization`.
    Server,
    /// 407, `Proxy-Authenticate`, `Proxy-Authorization`.
    Proxy,
}

impl Side {
    /// The side a response code speaks for.
    pub fn of_status(code: u16) -> Option<Side> {
        match code {
            401 => Some(Side::Server),
            407 => Some(Side::Proxy),
            _ => None,
        }
    }

    /// The header that carries the challenge.
    pub fn challenge_header(self) -> &'static str {
        match self {
            Side::Server => "WWW-Authenticate",
            Side::Proxy => "Proxy-Authenticate",
        }
    }

    /// The header that carries our answer.
    pub fn credentials_header(self) -> &'static str {
        match self {
            Side::Server => "Authorization",
            Side::Proxy => "Proxy-Authorization",
        }
    }
}

/// Why a challenge is not answered; the response stands as the final one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("challenge offers nothing we can answer, expected Digest with SHA-256, SHA-512-256 or MD5, got {got:?}")]
    Unsupported { got: String },
    #[error("credentials for realm {realm:?} were refused")]
    Refused { realm: String },
    #[error("challenged for more than {MAX_REALMS} realms")]
    TooManyRealms,
}

/// The credentials of one account, and what is known of the realms that asked for them.
#[derive(Debug)]
pub struct ClientAuth {
    username: String,
    password: String,
    rng: ChaCha12Rng,
    realms: Vec<Realm>,
}

/// A realm's latest challenge.
#[derive(Debug)]
struct Realm {
    side: Side,
    name: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// As the challenge spelled it; absent when it named none.
    algorithm_text: Option<String>,
    session: bool,
    qop: Qop,
    stale: bool,
    /// How often this nonce has been used.
    count: u32,
    /// Constant while a nonce lives: the `-sess` variants bind it.
    cnonce: String,
    /// Challenges from this realm already answered for the current request.
    answered: u8,
}

impl ClientAuth {
    /// `seed` feeds the client nonces.
    pub fn new(username: impl Into<String>, password: impl Into<String>, seed: [u8; 32]) -> Self {
        ClientAuth { username: username.into(), password: password.into(), rng: ChaCha12Rng::from_seed(seed), realms: Vec::new() }
    }

    /// Call before the first transmission of every new request: its challenges count anew.
    pub fn begin_request(&mut self) {
        for realm in &mut self.realms {
            realm.answered = 0;
        }
    }

    /// Takes the values of a 401's or 407's challenge headers; `Ok` means: send again with [`ClientAuth::authorize`].
    ///
    /// Never loops: a realm that asks again without `stale=true`, or twice with it, has refused us.
    pub fn challenged<'a>(&mut self, side: Side, values: impl IntoIterator<Item = &'a str>) -> Result<(), Refusal> {
        let mut chosen: Vec<Realm> = Vec::new();
        let mut passed_over = String::new();
        for value in values.into_iter().take(MAX_CHALLENGES) {
            let Some(realm) = self.read(side, value) else {
                if passed_over.is_empty() {
                    passed_over = value.chars().take(80).collect();
                }
                continue;
            };
            match chosen.iter_mut().find(|other| other.name == realm.name) {
                Some(other) if other.algorithm < realm.algorithm => *other = realm,
                Some(_) => {}
                None => chosen.push(realm),
            }
        }
        if chosen.is_empty() {
            return Err(Refusal::Unsupported { got: passed_over });
        }
        for mut realm in chosen {
            let known = self.realms.iter_mut().find(|known| known.side == side && known.name == realm.name);
            match known {
                Some(known) => {
                    let again = known.answered == 0 || (known.answered == 1 && realm.stale);
                    if !again {
                        let name = realm.name;
                        self.realms.retain(|known| known.side != side || known.name != name);
                        return Err(Refusal::Refused { realm: name });
                    }
                    realm.answered = known.answered + 1;
                    *known = realm;
                }
                None => {
                    if self.realms.len() == MAX_REALMS {
                        let unused = self.realms.iter().position(|known| known.answered == 0);
                        self.realms.remove(unused.ok_or(Refusal::TooManyRealms)?);
                    }
                    realm.answered = 1;
                    self.realms.push(realm);
                }
            }
        }
        Ok(())
    }

    /// Credential headers (name, value) for every realm known so far; empty before the first challenge.
    ///
    /// Sending them unasked with later requests saves the round trip of another challenge.
    pub fn authorize(&mut self, method: &str, uri: &str, body: &[u8]) -> Vec<(&'static str, String)> {
        let ClientAuth { username, password, realms, .. } = self;
        realms
            .iter_mut()
            .map(|realm| (realm.side.credentials_header(), realm.answer(username, password, method, uri, body)))
            .collect()
    }

    /// Reads one challenge; `None` when it is not one we can answer.
    fn read(&mut self, side: Side, value: &str) -> Option<Realm> {
        if !is_digest(value) {
            return None;
        }
        let params = Params::parse(value).ok()?;
        let algorithm_text = params.find("algorithm").map(str::to_owned);
        let (algorithm, session) = match &algorithm_text {
            None => (Algorithm::Md5, false),
            Some(name) => Algorithm::parse(name)?,
        };
        let qop = match params.find("qop") {
            None => Qop::Legacy,
            Some(list) => {
                let offers = |wanted: &str| list.split(',').any(|qop| qop.trim().eq_ignore_ascii_case(wanted));
                if offers("auth") {
                    Qop::Auth
                } else if offers("auth-int") {
                    Qop::AuthInt
                } else {
                    return None;
                }
            }
        };
        Some(Realm {
            side,
            name: params.find("realm")?.to_owned(),
            nonce: params.find("nonce")?.to_owned(),
            opaque: params.find("opaque").map(str::to_owned),
            algorithm,
            algorithm_text,
            session,
            qop,
            stale: params.find("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            count: 0,
            cnonce: format!("{:016x}", self.rng.next_u64()),
            answered: 0,
        })
    }
}

impl Realm {
    fn answer(&mut self, username: &str, password: &str, method: &str, uri: &str, body: &[u8]) -> String {
        self.count = self.count.saturating_add(1);
        let nc = format!("{:08x}", self.count);
        let response = DigestInput {
            algorithm: self.algorithm,
            session: self.session,
            qop: self.qop,
            username,
            realm: &self.name,
            password,
            nonce: &self.nonce,
            nc: &nc,
            cnonce: &self.cnonce,
            method,
            uri,
            body,
        }
        .response();
        let mut out = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(username),
            quote(&self.name),
            quote(&self.nonce),
            quote(uri)
        );
        // Some servers refuse a parameter they have not sent themselves.
        if self.algorithm_text.is_some() {
            out.push_str(", algorithm=");
            out.push_str(self.algorithm.name());
            if self.session {
                out.push_str("-sess");
            }
        }
        let qop = match self.qop {
            Qop::Legacy => None,
            Qop::Auth => Some("auth"),
            Qop::AuthInt => Some("auth-int"),
        };
        if let Some(qop) = qop {
            out.push_str(&format!(", qop={qop}, nc={nc}, cnonce=\"{}\"", self.cnonce));
        } else if self.session {
            out.push_str(&format!(", cnonce=\"{}\"", self.cnonce));
        }
        if let Some(opaque) = &self.opaque {
            out.push_str(", opaque=");
            out.push_str(&quote(opaque));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{
        super::server::{Authenticator, AuthenticatorConfig, Verdict},
        *,
    };

    fn client() -> ClientAuth {
        ClientAuth::new("1001", "secret", [1; 32])
    }

    fn param(header: &str, name: &str) -> Option<String> {
        Params::parse(header).unwrap().find(name).map(str::to_owned)
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn verify(server: &mut Authenticator, now: Instant, headers: &[(&str, String)]) -> Verdict {
        let values: Vec<&str> = headers.iter().map(|(_, value)| value.as_str()).collect();
        server.verify(now, "REGISTER", values, |_| Some("secret".into()))
    }

    #[test]
    fn client_and_server_agree_and_a_stale_nonce_is_renewed_once() {
        let mut now = origin();
        let mut server = Authenticator::new(AuthenticatorConfig::new("quo\"te"), [2; 32], now);
        let mut client = client();
        client.begin_request();
        assert!(client.authorize("REGISTER", "sip:a", b"").is_empty());
        let challenges = server.challenge(now, false);
        client.challenged(Side::Server, challenges.iter().map(String::as_str)).unwrap();
        let headers = client.authorize("REGISTER", "sip:a", b"");
        assert_eq!(headers[0].0, "Authorization");
        assert_eq!(param(&headers[0].1, "algorithm").as_deref(), Some("SHA-256"));
        assert_eq!(verify(&mut server, now, &headers), Verdict::Accepted { username: "1001".into() });

        client.begin_request();
        let unasked = client.authorize("REGISTER", "sip:a", b"");
        assert_eq!(param(&unasked[0].1, "nc").as_deref(), Some("00000002"));
        assert_eq!(verify(&mut server, now, &unasked), Verdict::Accepted { username: "1001".into() });

        now += Duration::from_secs(3600);
        client.begin_request();
        let old = client.authorize("REGISTER", "sip:a", b"");
        assert_eq!(verify(&mut server, now, &old), Verdict::Stale { username: "1001".into() });
        let challenges = server.challenge(now, true);
        client.challenged(Side::Server, challenges.iter().map(String::as_str)).unwrap();
        let renewed = client.authorize("REGISTER", "sip:a", b"");
        assert_eq!(param(&renewed[0].1, "nc").as_deref(), Some("00000001"));
        assert_eq!(verify(&mut server, now, &renewed), Verdict::Accepted { username: "1001".into() });
    }

    #[test]
    fn a_second_challenge_for_the_same_request_is_a_refusal() {
        let mut client = client();
        client.begin_request();
        let challenge = "Digest realm=\"a\", nonce=\"1\", qop=\"auth\"";
        client.challenged(Side::Server, [challenge]).unwrap();
        assert_eq!(client.challenged(Side::Server, [challenge]), Err(Refusal::Refused { realm: "a".into() }));
        assert!(client.authorize("INVITE", "sip:b", b"").is_empty(), "refused credentials are not offered again");
    }

    #[test]
    fn stale_is_believed_once() {
        let mut client = client();
        client.begin_request();
        let stale = "Digest realm=\"a\", nonce=\"2\", qop=\"auth\", stale=TRUE";
        client.challenged(Side::Server, ["Digest realm=\"a\", nonce=\"1\", qop=\"auth\""]).unwrap();
        client.challenged(Side::Server, [stale]).unwrap();
        assert_eq!(client.challenged(Side::Server, [stale]), Err(Refusal::Refused { realm: "a".into() }));
    }

    #[test]
    fn proxy_and_server_are_answered_together() {
        let mut client = client();
        client.begin_request();
        client.challenged(Side::Proxy, ["Digest realm=\"proxy\", nonce=\"1\", qop=\"auth\""]).unwrap();
        client.challenged(Side::Server, ["Digest realm=\"server\", nonce=\"2\", qop=\"auth\""]).unwrap();
        let names: Vec<&str> = client.authorize("INVITE", "sip:b", b"").iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Proxy-Authorization", "Authorization"]);
    }

    #[test]
    fn the_strongest_known_algorithm_wins_wherever_it_stands() {
        let mut client = client();
        client.begin_request();
        let challenges = [
            "Basic realm=\"a\"",
            "Digest realm=\"a\", nonce=\"1\", algorithm=AKAv2-SHA-256, qop=\"auth\"",
            "Digest realm=\"a\", nonce=\"2\", algorithm=MD5, qop=\"auth\"",
            "Digest realm=\"a\", nonce=\"3\", algorithm=SHA-256-sess, qop=\"auth-int, auth\", opaque=\"o\\\"p\"",
        ];
        client.challenged(Side::Server, challenges).unwrap();
        let (_, header) = client.authorize("INVITE", "sip:b", b"").remove(0);
        assert_eq!(param(&header, "nonce").as_deref(), Some("3"));
        assert_eq!(param(&header, "algorithm").as_deref(), Some("SHA-256-sess"));
        assert_eq!(param(&header, "qop").as_deref(), Some("auth"));
        assert_eq!(param(&header, "opaque").as_deref(), Some("o\"p"));
    }

    #[test]
    fn nothing_we_know_is_refused_with_what_was_offered() {
        let mut client = client();
        let refusal = client.challenged(Side::Server, ["Bearer realm=\"x\""]).unwrap_err();
        assert_eq!(refusal, Refusal::Unsupported { got: "Bearer realm=\"x\"".into() });
        assert!(client.challenged(Side::Server, ["Digest realm=\"a\", nonce=\"1\", qop=\"other\""]).is_err());
        assert!(client.challenged(Side::Server, ["Digest nonce=\"1\""]).is_err());
    }

    #[test]
    fn a_challenge_without_qop_is_answered_the_old_way() {
        let mut client = client();
        client.begin_request();
        client.challenged(Side::Server, ["Digest realm=\"a\", nonce=\"1\""]).unwrap();
        let (_, header) = client.authorize("REGISTER", "sip:b", b"").remove(0);
        for name in ["qop", "nc", "cnonce", "algorithm"] {
            assert_eq!(param(&header, name), None, "{header}");
        }
    }

    #[test]
    fn realms_are_bounded() {
        let mut client = client();
        client.begin_request();
        for n in 0..MAX_REALMS {
            client.challenged(Side::Proxy, [format!("Digest realm=\"{n}\", nonce=\"1\"").as_str()]).unwrap();
        }
        let refusal = client.challenged(Side::Proxy, ["Digest realm=\"one more\", nonce=\"1\""]);
        assert_eq!(refusal, Err(Refusal::TooManyRealms));
        client.begin_request();
        client.challenged(Side::Proxy, ["Digest realm=\"one more\", nonce=\"1\""]).unwrap();
        assert_eq!(client.authorize("INVITE", "sip:b", b"").len(), MAX_REALMS, "an old realm made room");
    }
}
