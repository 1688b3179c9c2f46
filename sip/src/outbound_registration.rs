//! Keeps one of our own addresses registered at a provider (RFC 3261 §10.2). Sans-IO.
//!
//! ```text
//!             ┌── 401, 407, 423: at once, with what was asked for ──┐
//! Waiting ──► Trying ──200──► Registered ──before expiry──► Trying ─┘
//!    ▲          │ any other final response, time-out, transport error
//!    └──────────┘ back-off
//! ```

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha12Rng;
use thiserror::Error;

use crate::{
    auth::{ClientAuth, Refusal, Side},
    endpoint::OutgoingRequest,
    message::{Contacts, HeaderName, HeaderValue, Headers, Method, NameAddr, Response, StatusCode, Uri},
    net::Destination,
};

/// The shortest and longest pause after failures; doubled each time in between.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// After an answer that asking again soon will not change; providers lock accounts that insist.
const REFUSED_PAUSE: Duration = Duration::from_secs(600);
/// The longest Retry-After that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// The longest Min-Expires that is obeyed.
const MAX_MIN_EXPIRES: Duration = Duration::from_secs(86_400);
/// Answers that lead to another request at once, in one go.
const MAX_ROUNDS: u8 = 6;

/// What to register where.
#[derive(Clone, Debug)]
pub struct OutboundRegistrationConfig {
    /// Request-URI: the provider's domain, without a user.
    pub registrar: Uri,
    /// Our address of record, for From and To.
    pub address: Uri,
    pub username: String,
    pub password: String,
    /// The lifetime to ask for.
    pub expires: Duration,
}

/// A REGISTER to send now; its outcome is to be told to the registration that gave it.
#[derive(Clone, Debug)]
pub struct Register {
    pub registrar: Uri,
    pub address: Uri,
    /// Zero unregisters.
    pub expires: Duration,
    pub call_id: String,
    pub cseq: u32,
    /// `Authorization` and `Proxy-Authorization`, once asked for.
    pub credentials: Vec<(&'static str, String)>,
}

impl Register {
    /// The request as the endpoint takes it. `contact` names an address of ours that the provider can reach.
    pub fn into_request(self, contact: Uri, from_tag: &str, destinations: Vec<Destination>) -> OutgoingRequest {
        let mut headers = Headers::new();
        headers.push(HeaderName::Expires, self.expires.as_secs().to_string());
        for (name, value) in self.credentials {
            headers.push(name, value);
        }
        let to = NameAddr::new(self.address);
        let from = to.clone().with_tag(from_tag);
        OutgoingRequest {
            contact: Some(NameAddr::new(contact)),
            headers,
            series: Some((HeaderValue::from(self.call_id), self.cseq)),
            ..OutgoingRequest::new(Method::Register, self.registrar, from, to, destinations)
        }
    }
}

/// Why the address is not registered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("{code} {reason}")]
    Rejected { code: u16, reason: String },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("no answer")]
    Timeout,
    #[error("cannot be reached")]
    Unreachable,
}

/// What a registration wants or tells.
#[derive(Clone, Debug)]
pub enum RegistrationOutput {
    Send(Box<Register>),
    /// Registered, or registered anew.
    Registered {
        expires: Duration,
    },
    Failed {
        failure: Failure,
        retry_in: Duration,
    },
    /// The answer to [`OutboundRegistration::unregister`], whatever it was.
    Unregistered,
}

/// Where a registration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was sent yet, or it was taken back.
    Unregistered,
    Trying,
    /// Also while it is refreshed, and while a refresh that failed is to be tried again.
    Registered,
    /// It was not accepted, and is tried again later.
    Failed,
    Unregistering,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until: Instant },
    Trying { rounds: u8 },
    Registered { refresh_at: Instant },
    Unregistering { rounds: u8 },
    Ended,
}

/// One registration at a provider.
#[derive(Debug)]
pub struct OutboundRegistration {
    config: OutboundRegistrationConfig,
    auth: ClientAuth,
    rng: ChaCha12Rng,
    state: State,
    /// How long the provider still believes in us; outlives failed refreshes.
    valid_until: Option<Instant>,
    /// As configured, or as raised by a 423.
    expires: Duration,
    failures: u32,
    call_id: String,
    cseq: u32,
    outputs: Vec<RegistrationOutput>,
}

impl OutboundRegistration {
    /// Wants to register at once: see [`OutboundRegistration::handle_timeout`].
    pub fn new(config: OutboundRegistrationConfig, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha12Rng::from_seed(seed);
        let mut auth_seed = [0; 32];
        rng.fill_bytes(&mut auth_seed);
        let call_id = format!("{:016x}{:016x}", rng.next_u64(), rng.next_u64());
        OutboundRegistration {
            auth: ClientAuth::new(&*config.username, &*config.password, auth_seed),
            expires: config.expires,
            config,
            rng,
            state: State::Waiting { until: now },
            valid_until: None,
            failures: 0,
            call_id,
            cseq: 0,
            outputs: Vec::new(),
        }
    }

    /// Whether the provider should be sending calls for the address to us.
    pub fn is_registered(&self, now: Instant) -> bool {
        self.valid_until.is_some_and(|until| until > now)
    }

    pub fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Registered { .. } => Standing::Registered,
            // While a refresh is under way, or is to be tried again.
            State::Trying { .. } | State::Waiting { .. } if self.is_registered(now) => Standing::Registered,
            State::Trying { .. } => Standing::Trying,
            State::Waiting { .. } if self.failures > 0 => Standing::Failed,
            State::Waiting { .. } | State::Ended => Standing::Unregistered,
            State::Unregistering { .. } => Standing::Unregistering,
        }
    }

    /// When [`OutboundRegistration::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Registered { refresh_at } => Some(refresh_at),
            State::Trying { .. } | State::Unregistering { .. } | State::Ended => None,
        }
    }

    /// Next thing to do or to tell; call until `None` after every input.
    pub fn poll_output(&mut self) -> Option<RegistrationOutput> {
        if self.outputs.is_empty() { None } else { Some(self.outputs.remove(0)) }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Waiting { until: due } | State::Registered { refresh_at: due } if due <= now => {
                self.state = State::Trying { rounds: 0 };
                self.auth.begin_request();
                self.send(self.expires);
            }
            State::Waiting { .. }
            | State::Registered { .. }
            | State::Trying { .. }
            | State::Unregistering { .. }
            | State::Ended => {}
        }
    }

    /// Takes the final response to the REGISTER with that CSeq number; only the latest counts. `contact` is the one it carried.
    pub fn handle_response(&mut self, now: Instant, cseq: u32, contact: &Uri, response: &Response) {
        if cseq != self.cseq {
            return;
        }
        let rounds = match self.state {
            State::Trying { rounds } | State::Unregistering { rounds } => rounds,
            State::Waiting { .. } | State::Registered { .. } | State::Ended => return,
        };
        let leaving = matches!(self.state, State::Unregistering { .. });
        match self.next_round(rounds, response) {
            Ok(Some(expires)) => {
                let rounds = rounds + 1;
                self.state = if leaving { State::Unregistering { rounds } } else { State::Trying { rounds } };
                self.send(if leaving { Duration::ZERO } else { expires });
            }
            _ if leaving => self.end(),
            Ok(None) => self.accepted(now, contact, response),
            Err(failure) => {
                let pause = self.pause(response, &failure);
                self.fail(now, failure, pause);
            }
        }
    }

    /// The REGISTER with that CSeq number got no answer (Timer F) or could not be sent.
    pub fn handle_failure(&mut self, now: Instant, cseq: u32, failure: Failure) {
        if cseq != self.cseq {
            return;
        }
        match self.state {
            State::Trying { .. } => {
                let pause = self.back_off();
                self.fail(now, failure, pause);
            }
            State::Unregistering { .. } => self.end(),
            State::Waiting { .. } | State::Registered { .. } | State::Ended => {}
        }
    }

    /// Takes the address off the provider; ends with [`RegistrationOutput::Unregistered`].
    pub fn unregister(&mut self, now: Instant) {
        if matches!(self.state, State::Unregistering { .. } | State::Ended) {
            return;
        }
        // A REGISTER under way may yet be accepted, so it has to be undone as well.
        if self.is_registered(now) || matches!(self.state, State::Trying { .. }) {
            self.state = State::Unregistering { rounds: 0 };
            self.auth.begin_request();
            self.send(Duration::ZERO);
        } else {
            self.end();
        }
    }

    /// The lifetime to ask for in another request at once; `None` when the response was a success.
    fn next_round(&mut self, rounds: u8, response: &Response) -> Result<Option<Duration>, Failure> {
        let code = response.status.code();
        if response.status.is_success() {
            return Ok(None);
        }
        let rejected = || Failure::Rejected { code, reason: response.reason.text().chars().take(80).collect() };
        if rounds >= MAX_ROUNDS {
            return Err(rejected());
        }
        if let Some(side) = Side::of_status(code) {
            let challenges: Vec<_> = response.headers.get_all(side.challenge_header()).map(|value| value.text()).collect();
            self.auth.challenged(side, challenges.iter().map(AsRef::as_ref))?;
            return Ok(Some(self.expires));
        }
        let least = response.headers.min_expires().map(|seconds| Duration::from_secs(seconds.into()));
        match least {
            Some(least)
                if response.status == StatusCode::INTERVAL_TOO_BRIEF && least > self.expires && least <= MAX_MIN_EXPIRES =>
            {
                self.expires = least;
                // Another request: what has been answered for the last one may be asked again.
                self.auth.begin_request();
                Ok(Some(least))
            }
            _ => Err(rejected()),
        }
    }

    fn accepted(&mut self, now: Instant, contact: &Uri, response: &Response) {
        let granted = granted(contact, response).map_or(self.expires, |seconds| Duration::from_secs(seconds.into()));
        if granted.is_zero() {
            let failure = Failure::Rejected { code: response.status.code(), reason: "expires=0 granted".into() };
            let pause = self.back_off();
            return self.fail(now, failure, pause);
        }
        self.failures = 0;
        self.valid_until = Some(now + granted);
        // Early enough for Timer F and another try; spread, so that many addresses do not refresh in step.
        let share = 70 + u32::try_from(self.rng.next_u64() % 16).unwrap_or_default();
        self.state = State::Registered { refresh_at: now + granted * share / 100 };
        self.outputs.push(RegistrationOutput::Registered { expires: granted });
    }

    fn fail(&mut self, now: Instant, failure: Failure, pause: Duration) {
        self.state = State::Waiting { until: now + pause };
        self.outputs.push(RegistrationOutput::Failed { failure, retry_in: pause });
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.valid_until = None;
        self.outputs.push(RegistrationOutput::Unregistered);
    }

    fn send(&mut self, expires: Duration) {
        self.cseq += 1;
        let registrar = self.config.registrar.clone();
        let credentials = self.auth.authorize("REGISTER", &registrar.to_string(), b"");
        self.outputs.push(RegistrationOutput::Send(Box::new(Register {
            registrar,
            address: self.config.address.clone(),
            expires,
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            credentials,
        })));
    }

    fn pause(&mut self, response: &Response, failure: &Failure) -> Duration {
        let back_off = self.back_off();
        let asked = response.headers.retry_after().map(|seconds| Duration::from_secs(seconds.into()));
        match (asked, failure, response.status) {
            (Some(asked), _, _) => asked.clamp(BACK_OFF.0, MAX_RETRY_AFTER),
            (None, Failure::Refused(_), _)
            | (None, _, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) => REFUSED_PAUSE,
            (None, _, _) => back_off,
        }
    }

    /// Doubles with every failure in a row; between half and all of that by chance (RFC 5626 §4.5).
    fn back_off(&mut self) -> Duration {
        let (least, most) = BACK_OFF;
        let longest = least.saturating_mul(2_u32.saturating_pow(self.failures)).min(most);
        self.failures = self.failures.saturating_add(1);
        let spread = u32::try_from(self.rng.next_u64() % 51).unwrap_or_default();
        (longest * (50 + spread) / 100).max(least / 2)
    }
}

/// Where our Contact is not among those a provider lists, it has been granted the least of theirs; they may be about to run out, though.
const LEAST_OF_OTHERS: u32 = 30;

/// The lifetime the provider grants our Contact, in seconds.
fn granted(contact: &Uri, response: &Response) -> Option<u32> {
    let header = response.headers.expires();
    let Ok(Contacts::List(contacts)) = response.headers.contacts() else { return header };
    let ours = contacts.iter().find(|listed| listed.uri.is_equivalent(contact));
    // Some providers list what they saw instead of what we sent.
    let only = || Some(contacts.as_slice()).filter(|all| all.len() == 1).and_then(<[NameAddr]>::first);
    let least = || contacts.iter().filter_map(NameAddr::expires).min().map(|seconds| seconds.max(LEAST_OF_OTHERS));
    ours.or_else(only).and_then(NameAddr::expires).or(header).or_else(|| if ours.is_none() { least() } else { None })
}

#[cfg(test)]
mod tests;
