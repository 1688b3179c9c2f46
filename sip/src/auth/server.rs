//! Server side: challenges and their verification (RFC 7616 §3.3, RFC 3261 §22.1).
//!
//! Nonces are signed, so that handing them out costs no memory: `time ‖ serial ‖ host ‖ HMAC-SHA-256(time ‖ serial ‖ host ‖ network)`,
//! host and network of the peer. Only nonces with which somebody has proved a password are remembered, for their nonce counts.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{
    digest::{Algorithm, DigestInput, Qop, hex},
    params::{Params, ParamsError, is_digest, quote},
    place::{beside, place},
};

/// Credentials looked at in one request; a peer can repeat the header at will.
const MAX_CREDENTIALS: usize = 8;

const MAC_BYTES: usize = 16;
const NONCE_BYTES: usize = 8 + 8 + 2 + MAC_BYTES;

/// Settings of an [`Authenticator`].
#[derive(Clone, Debug)]
pub struct AuthenticatorConfig {
    /// The realm named in challenges and required in credentials.
    pub realm: String,
    /// What challenges offer and credentials may use, strongest first: a client takes the first one it knows (RFC 8760 §2.3).
    pub algorithms: Vec<Algorithm>,
    /// How long a nonce may be used.
    pub nonce_lifetime: Duration,
    /// How many nonces in use are remembered; past it the oldest become stale.
    pub max_nonces: usize,
}

impl AuthenticatorConfig {
    /// Defaults (SHA-256 and MD5, five minutes, 65,536 nonces) for a realm.
    pub fn new(realm: impl Into<String>) -> Self {
        let algorithms = vec![Algorithm::Sha256, Algorithm::Md5];
        AuthenticatorConfig { realm: realm.into(), algorithms, nonce_lifetime: Duration::from_secs(300), max_nonces: 65_536 }
    }
}

/// What became of a request's credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user has proved the password.
    Accepted { username: String },
    /// No digest credentials for our realm: challenge.
    Missing,
    /// The nonce is too old, unknown or another peer's, so that nothing was looked at, or it has been used already: challenge with
    /// `stale=true`.
    Stale { username: String },
    /// Unknown user or wrong password; deliberately not told apart.
    Rejected { username: String },
    /// Credentials that cannot be read: 400.
    Malformed(ParamsError),
}

/// Issues challenges for one realm and verifies the credentials that answer them.
#[derive(Debug)]
pub struct Authenticator {
    config: AuthenticatorConfig,
    mac: Hmac<Sha256>,
    epoch: Instant,
    next_serial: u64,
    /// Nonces in use by serial number, which is also their order of age.
    used: BTreeMap<u64, Usage>,
    /// Every nonce below this serial is stale: its usage may have been forgotten.
    forgotten_below: u64,
}

/// Which nonce counts have been seen: the highest, and a window below it for requests that overtake each other.
#[derive(Debug)]
struct Usage {
    issued_ms: u64,
    highest: u32,
    /// Bit n stands for `highest - n`.
    seen: u64,
}

struct Nonce {
    issued_ms: u64,
    serial: u64,
    given_to: Option<IpAddr>,
}

impl Authenticator {
    /// `seed` signs the nonces; `now` is where their clock starts.
    pub fn new(config: AuthenticatorConfig, seed: [u8; 32], now: Instant) -> Self {
        Authenticator {
            config,
            mac: Hmac::new_from_slice(&seed).expect("HMAC takes a key of any length"),
            epoch: now,
            next_serial: 0,
            used: BTreeMap::new(),
            forgotten_below: 0,
        }
    }

    /// The realm of this authenticator.
    pub fn realm(&self) -> &str {
        &self.config.realm
    }

    /// Values for `WWW-Authenticate` (or `Proxy-Authenticate`), one header each, strongest first.
    pub fn challenge(&mut self, now: Instant, stale: bool) -> Vec<String> {
        self.challenge_peer(now, stale, None)
    }

    /// [`challenge`](Authenticator::challenge) with nonces that are good for this peer's network only: whoever shows one has got it there.
    pub fn challenge_peer(&mut self, now: Instant, stale: bool, peer: Option<IpAddr>) -> Vec<String> {
        let serial = self.next_serial;
        self.next_serial += 1;
        let nonce = self.sign(self.millis(now), serial, peer);
        let realm = quote(&self.config.realm);
        let stale = if stale { ", stale=true" } else { "" };
        self.config
            .algorithms
            .iter()
            .map(|algorithm| {
                format!("Digest realm={realm}, nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}", algorithm.name())
            })
            .collect()
    }

    /// Verifies the values of a request's `Authorization` (or `Proxy-Authorization`) headers.
    ///
    /// `password_of` is asked for at most one user. The `uri` parameter is not compared with the Request-URI: border
    /// controllers rewrite the latter, and a captured response is worthless anyway once its nonce count is used.
    pub fn verify<'a>(
        &mut self,
        now: Instant,
        method: &str,
        credentials: impl IntoIterator<Item = &'a str>,
        password_of: impl FnOnce(&str) -> Option<String>,
    ) -> Verdict {
        self.verify_peer(now, None, method, credentials, |user, _| password_of(user))
    }

    /// [`verify`](Authenticator::verify) of what this peer was challenged for. `password_of` is told, too, which address of the peer's network
    /// the nonce was given to (of IPv6, which network of 64 bits): the peer's own may be forged, that one is not.
    pub fn verify_peer<'a>(
        &mut self,
        now: Instant,
        peer: Option<IpAddr>,
        method: &str,
        credentials: impl IntoIterator<Item = &'a str>,
        password_of: impl FnOnce(&str, Option<IpAddr>) -> Option<String>,
    ) -> Verdict {
        for value in credentials.into_iter().take(MAX_CREDENTIALS) {
            if !is_digest(value) {
                continue;
            }
            let params = match Params::parse(value) {
                Ok(params) => params,
                Err(error) => return Verdict::Malformed(error),
            };
            if params.find("realm") != Some(self.config.realm.as_str()) {
                continue;
            }
            return match self.verify_digest(now, peer, method, &params, password_of) {
                Ok(verdict) => verdict,
                Err(error) => Verdict::Malformed(error),
            };
        }
        Verdict::Missing
    }

    fn verify_digest(
        &mut self,
        now: Instant,
        peer: Option<IpAddr>,
        method: &str,
        params: &Params<'_>,
        password_of: impl FnOnce(&str, Option<IpAddr>) -> Option<String>,
    ) -> Result<Verdict, ParamsError> {
        let username = params.require("username")?;
        let nonce = params.require("nonce")?;
        let uri = params.require("uri")?;
        let response = params.require("response")?;
        let name = params.find("algorithm").unwrap_or(Algorithm::Md5.name());
        let algorithm = match Algorithm::parse(name) {
            Some((algorithm, false)) if self.config.algorithms.contains(&algorithm) => algorithm,
            _ => return Err(invalid("algorithm", name, "one of those offered")),
        };
        // Without qop there is no nonce count; such a client gets one request out of each nonce.
        let (qop, nc, count, cnonce) = match params.find("qop") {
            None => (Qop::Legacy, "", 1, ""),
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let nc = params.require("nc")?;
                let count = Some(nc)
                    .filter(|nc| nc.len() == 8 && nc.bytes().all(|byte| byte.is_ascii_hexdigit()))
                    .and_then(|nc| u32::from_str_radix(nc, 16).ok())
                    .ok_or_else(|| invalid("nc", nc, "eight hexadecimal digits"))?;
                (Qop::Auth, nc, count, params.require("cnonce")?)
            }
            Some(other) => return Err(invalid("qop", other, "auth")),
        };

        // Before the password is: a nonce that is nobody's proof of where it was got must not tell right from wrong.
        let known = self.open(nonce, peer).filter(|known| self.is_in_use(now, known));
        let Some(known) = known else { return Ok(Verdict::Stale { username: username.to_owned() }) };
        let password = password_of(username, known.given_to);
        let expected = DigestInput {
            algorithm,
            session: false,
            qop,
            username,
            realm: &self.config.realm,
            // An unknown user must cost as much time as a wrong password.
            password: password.as_deref().unwrap_or("\0"),
            nonce,
            nc,
            cnonce,
            method,
            uri,
            body: b"",
        }
        .response();
        let matches = expected.as_bytes().ct_eq(response.to_ascii_lowercase().as_bytes());
        let username = username.to_owned();
        if !bool::from(matches) || password.is_none() {
            return Ok(Verdict::Rejected { username });
        }
        Ok(if self.use_nonce(now, &known, count) { Verdict::Accepted { username } } else { Verdict::Stale { username } })
    }

    /// Marks one nonce count as used; false when the nonce or the count may not be used (any more).
    fn use_nonce(&mut self, now: Instant, nonce: &Nonce, count: u32) -> bool {
        self.forget_expired(now);
        if let Some(usage) = self.used.get_mut(&nonce.serial) {
            return usage.mark(count);
        }
        let mut usage = Usage { issued_ms: nonce.issued_ms, highest: 0, seen: 0 };
        let fresh = usage.mark(count);
        self.used.insert(nonce.serial, usage);
        while self.used.len() > self.config.max_nonces {
            self.forget_oldest();
        }
        fresh && nonce.serial >= self.forgotten_below
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some((_, usage)) = self.used.first_key_value()
            && self.is_expired(now, usage.issued_ms)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((serial, _)) = self.used.pop_first() {
            self.forgotten_below = serial + 1;
        }
    }

    fn is_in_use(&self, now: Instant, nonce: &Nonce) -> bool {
        !self.is_expired(now, nonce.issued_ms) && nonce.serial >= self.forgotten_below
    }

    fn is_expired(&self, now: Instant, issued_ms: u64) -> bool {
        self.millis(now).saturating_sub(issued_ms) > millis(self.config.nonce_lifetime)
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch))
    }

    fn sign(&self, issued_ms: u64, serial: u64, peer: Option<IpAddr>) -> String {
        let mut bytes = Vec::with_capacity(NONCE_BYTES);
        bytes.extend_from_slice(&issued_ms.to_be_bytes());
        bytes.extend_from_slice(&serial.to_be_bytes());
        let (network, host) = place(peer);
        bytes.extend_from_slice(&host.to_be_bytes());
        let mac = self.mac.clone().chain_update(&bytes).chain_update(network.to_be_bytes()).finalize().into_bytes();
        bytes.extend(mac.iter().take(MAC_BYTES));
        hex(&bytes)
    }

    /// Reads a nonce of ours; `None` for anything we have not signed (another process, an earlier start, a forgery).
    fn open(&self, nonce: &str, peer: Option<IpAddr>) -> Option<Nonce> {
        let bytes = unhex(nonce)?;
        let (signed, mac) = bytes.split_at(NONCE_BYTES - MAC_BYTES);
        self.mac.clone().chain_update(signed).chain_update(place(peer).0.to_be_bytes()).verify_truncated_left(mac).ok()?;
        let (issued, rest) = signed.split_at(8);
        let (serial, host) = rest.split_at(8);
        let host = u16::from_be_bytes(host.try_into().ok()?);
        Some(Nonce {
            issued_ms: u64::from_be_bytes(issued.try_into().ok()?),
            serial: u64::from_be_bytes(serial.try_into().ok()?),
            given_to: peer.map(|peer| beside(peer, host)),
        })
    }
}

impl Usage {
    fn mark(&mut self, count: u32) -> bool {
        if count > self.highest {
            self.seen = self.seen.checked_shl(count - self.highest).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let bit = match 1_u64.checked_shl(self.highest - count) {
            Some(bit) if count > 0 => bit,
            _ => return false,
        };
        let fresh = self.seen & bit == 0;
        self.seen |= bit;
        fresh
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn unhex(text: &str) -> Option<[u8; NONCE_BYTES]> {
    if text.len() != NONCE_BYTES * 2 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; NONCE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

fn invalid(name: &'static str, got: &str, expected: &'static str) -> ParamsError {
    ParamsError::Invalid { name, got: got.chars().take(40).collect(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        auth: Authenticator,
        now: Instant,
    }

    /// What a client does with a challenge, spelled out independently of `ClientAuth`.
    struct Answer {
        nonce: String,
        algorithm: Algorithm,
        qop: Qop,
        username: &'static str,
        password: &'static str,
        count: u32,
    }

    impl Answer {
        fn header(&self) -> String {
            let nc = format!("{:08x}", self.count);
            let response = DigestInput {
                algorithm: self.algorithm,
                session: false,
                qop: self.qop,
                username: self.username,
                realm: "example.net",
                password: self.password,
                nonce: &self.nonce,
                nc: &nc,
                cnonce: "0a4f113b",
                method: "REGISTER",
                uri: "sip:example.net",
                body: b"",
            }
            .response();
            let qop = match self.qop {
                Qop::Legacy => String::new(),
                Qop::Auth | Qop::AuthInt => format!(", qop=auth, nc={nc}, cnonce=\"0a4f113b\""),
            };
            format!(
                "Digest username={}, realm=\"example.net\", nonce=\"{}\", uri=\"sip:example.net\", \
                 response=\"{response}\", algorithm={}{qop}",
                quote(self.username),
                self.nonce,
                self.algorithm.name()
            )
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
    fn rig() -> Rig {
        let now = Instant::now();
        Rig { auth: Authenticator::new(AuthenticatorConfig::new("example.net"), [7; 32], now), now }
    }

    impl Rig {
        fn nonce(&mut self) -> String {
            let challenges = self.auth.challenge(self.now, false);
            Params::parse(&challenges[0]).unwrap().find("nonce").unwrap().to_owned()
        }

        fn answer(&mut self) -> Answer {
            Answer {
                nonce: self.nonce(),
                algorithm: Algorithm::Sha256,
                qop: Qop::Auth,
                username: "1001",
                password: "secret",
                count: 1,
            }
        }

        fn verify(&mut self, header: &str) -> Verdict {
            self.auth.verify(self.now, "REGISTER", [header], |user| (user == "1001").then(|| "secret".to_owned()))
        }
    }

    fn accepted() -> Verdict {
        Verdict::Accepted { username: "1001".into() }
    }

    fn stale() -> Verdict {
        Verdict::Stale { username: "1001".into() }
    }

    #[test]
    fn offers_sha_256_before_md5_and_only_qop_auth() {
        let mut rig = rig();
        let challenges = rig.auth.challenge(rig.now, true);
        assert_eq!(challenges.len(), 2);
        assert!(challenges[0].contains("algorithm=SHA-256, qop=\"auth\", stale=true"), "{}", challenges[0]);
        assert!(challenges[1].contains("algorithm=MD5"), "{}", challenges[1]);
    }

    #[test]
    fn accepts_the_right_password_with_either_algorithm() {
        let mut rig = rig();
        for algorithm in [Algorithm::Sha256, Algorithm::Md5] {
            let header = Answer { algorithm, ..rig.answer() }.header();
            assert_eq!(rig.verify(&header), accepted());
        }
    }

    #[test]
    fn an_algorithm_that_is_not_offered_is_not_accepted() {
        let mut rig = rig();
        rig.auth.config.algorithms = vec![Algorithm::Sha256];
        assert_eq!(rig.auth.challenge(rig.now, false).len(), 1);
        let header = Answer { algorithm: Algorithm::Md5, ..rig.answer() }.header();
        assert!(matches!(rig.verify(&header), Verdict::Malformed(_)));
    }

    #[test]
    fn a_wrong_password_and_an_unknown_user_look_the_same() {
        let mut rig = rig();
        let wrong = Answer { password: "guess", ..rig.answer() }.header();
        assert_eq!(rig.verify(&wrong), Verdict::Rejected { username: "1001".into() });
        let unknown = Answer { username: "9999", ..rig.answer() }.header();
        assert_eq!(rig.verify(&unknown), Verdict::Rejected { username: "9999".into() });
        let dummy = Answer { username: "9999", password: "\0", ..rig.answer() }.header();
        assert_eq!(rig.verify(&dummy), Verdict::Rejected { username: "9999".into() });
    }

    #[test]
    fn a_nonce_count_is_good_for_one_request() {
        let mut rig = rig();
        let mut answer = rig.answer();
        assert_eq!(rig.verify(&answer.header()), accepted());
        assert_eq!(rig.verify(&answer.header()), stale());
        answer.count = 5;
        assert_eq!(rig.verify(&answer.header()), accepted());
        answer.count = 3;
        assert_eq!(rig.verify(&answer.header()), accepted(), "overtaken on the way");
        assert_eq!(rig.verify(&answer.header()), stale());
        answer.count = 1000;
        assert_eq!(rig.verify(&answer.header()), accepted());
        answer.count = 900;
        assert_eq!(rig.verify(&answer.header()), stale(), "below the window");
        answer.count = 0;
        assert_eq!(rig.verify(&answer.header()), stale());
    }

    #[test]
    fn a_client_without_qop_gets_one_request_out_of_a_nonce() {
        let mut rig = rig();
        let answer = Answer { algorithm: Algorithm::Md5, qop: Qop::Legacy, ..rig.answer() };
        assert_eq!(rig.verify(&answer.header()), accepted());
        assert_eq!(rig.verify(&answer.header()), stale());
    }

    #[test]
    fn an_old_nonce_is_stale_not_wrong() {
        let mut rig = rig();
        let mut answer = rig.answer();
        assert_eq!(rig.verify(&answer.header()), accepted());
        rig.now += Duration::from_secs(301);
        answer.count = 2;
        assert_eq!(rig.verify(&answer.header()), stale());
        let answer = rig.answer();
        assert_eq!(rig.verify(&answer.header()), accepted());
    }

    #[test]
    fn a_nonce_we_did_not_sign_is_stale() {
        let mut rig = rig();
        let mut answer = rig.answer();
        answer.nonce.replace_range(0..2, "ff");
        assert_eq!(rig.verify(&answer.header()), stale());
        answer.nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093".into();
        assert_eq!(rig.verify(&answer.header()), stale());
        answer.nonce = "+f".repeat(NONCE_BYTES);
        assert_eq!(rig.verify(&answer.header()), stale());
    }

    #[test]
    fn a_nonce_is_good_for_the_network_it_was_given_to() {
        let mut rig = rig();
        let shown = |rig: &mut Rig, from: &str, password: &'static str| {
            let challenges = rig.auth.challenge_peer(rig.now, false, Some("203.0.113.8".parse().unwrap()));
            let nonce = Params::parse(&challenges[0]).unwrap().find("nonce").unwrap().to_owned();
            let header = Answer { nonce, password, ..rig.answer() }.header();
            let now = rig.now;
            rig.auth.verify_peer(now, from.parse().ok(), "REGISTER", [header.as_str()], |_, given_to| {
                assert_eq!(given_to, "203.0.113.8".parse().ok(), "{from}");
                Some("secret".into())
            })
        };
        for from in ["203.0.113.8", "203.0.113.99", "::ffff:203.0.113.8"] {
            assert_eq!(shown(&mut rig, from, "secret"), accepted(), "{from}");
        }
        for (from, password) in [("203.0.114.8", "secret"), ("2001:db8::1", "secret"), ("203.0.114.8", "guess"), ("", "guess")] {
            assert_eq!(shown(&mut rig, from, password), stale(), "{from}: it does not tell right from wrong");
        }
        assert_eq!(shown(&mut rig, "203.0.113.8", "guess"), Verdict::Rejected { username: "1001".into() });
    }

    #[test]
    fn past_the_bound_the_oldest_nonces_become_stale() {
        let mut rig = rig();
        rig.auth.config.max_nonces = 2;
        let mut first = rig.answer();
        assert_eq!(rig.verify(&first.header()), accepted());
        let unused = rig.answer();
        for _ in 0..2 {
            let header = rig.answer().header();
            assert_eq!(rig.verify(&header), accepted());
        }
        first.count = 2;
        assert_eq!(rig.verify(&first.header()), stale());
        assert_eq!(rig.verify(&unused.header()), stale(), "older than everything remembered");
        assert_eq!(rig.auth.used.len(), 2);
    }

    #[test]
    fn credentials_of_other_realms_and_schemes_are_passed_over() {
        let mut rig = rig();
        let ours = rig.answer().header();
        let foreign = "Digest username=\"x\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:a\", response=\"0\"";
        let now = rig.now;
        let verdict = rig.auth.verify(now, "REGISTER", ["Bearer abcdef", foreign, &ours], |_| Some("secret".into()));
        assert_eq!(verdict, accepted());
        assert_eq!(rig.verify(foreign), Verdict::Missing);
        assert_eq!(rig.auth.verify(now, "REGISTER", [], |_| None), Verdict::Missing);
    }

    #[test]
    fn unreadable_credentials_are_named() {
        let mut rig = rig();
        let header = rig.answer().header();
        let cases = [
            (header.replace("nc=00000001", "nc=1"), "nc"),
            (header.replace("nc=00000001", "nc=+0000001"), "nc"),
            (header.replace("qop=auth", "qop=auth-int"), "qop"),
            (header.replace("algorithm=SHA-256", "algorithm=SHA-1"), "algorithm"),
            (header.replace("response=", "answer="), "response"),
        ];
        for (header, name) in cases {
            let Verdict::Malformed(error) = rig.verify(&header) else { panic!("accepted {header}") };
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_method_is_part_of_the_proof() {
        let mut rig = rig();
        let header = rig.answer().header();
        let now = rig.now;
        let verdict = rig.auth.verify(now, "INVITE", [header.as_str()], |_| Some("secret".into()));
        assert_eq!(verdict, Verdict::Rejected { username: "1001".into() });
    }
}
