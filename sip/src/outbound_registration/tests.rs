use super::*;
use crate::auth::{Authenticator, AuthenticatorConfig, Verdict};

const CONTACT: &str = "sip:441234@192.0.2.1:5060";

struct Rig {
    registration: OutboundRegistration,
    /// CSeq number of the latest REGISTER.
    cseq: u32,
    now: Instant,
}

#[expect(clippy::disallowed_methods, reason = "an origin for a manual clock")]
fn rig() -> Rig {
    let now = Instant::now();
    let config = OutboundRegistrationConfig {
        registrar: "sip:sbc.example.net".parse().unwrap(),
        address: "sip:441234@sbc.example.net".parse().unwrap(),
        username: "441234".into(),
        password: "secret".into(),
        expires: Duration::from_secs(600),
    };
    Rig { registration: OutboundRegistration::new(config, [3; 32], now), cseq: 0, now }
}

impl Rig {
    /// Jumps to the next time-out and gives what is to be sent then.
    fn wake(&mut self) -> Register {
        self.now = self.registration.poll_timeout().expect("nothing planned");
        self.registration.handle_timeout(self.now);
        self.sent()
    }

    fn output(&mut self) -> RegistrationOutput {
        let output = self.registration.poll_output().expect("no output");
        assert!(self.registration.poll_output().is_none());
        if let RegistrationOutput::Send(register) = &output {
            self.cseq = register.cseq;
        }
        output
    }

    fn sent(&mut self) -> Register {
        match self.output() {
            RegistrationOutput::Send(register) => *register,
            other => panic!("expected a REGISTER, got {other:?}"),
        }
    }

    fn failed(&mut self) -> (Failure, Duration) {
        match self.output() {
            RegistrationOutput::Failed { failure, retry_in } => (failure, retry_in),
            other => panic!("expected a failure, got {other:?}"),
        }
    }

    fn answer(&mut self, code: u16, headers: &[(&str, &str)]) {
        self.answer_to(self.cseq, code, headers);
    }

    fn answer_to(&mut self, cseq: u32, code: u16, headers: &[(&str, &str)]) {
        let mut response = Response::new(StatusCode::new(code).unwrap());
        for (name, value) in headers {
            response.headers.push(*name, *value);
        }
        self.registration.handle_response(self.now, cseq, &CONTACT.parse().unwrap(), &response);
    }

    fn registered(&mut self) -> Duration {
        match self.output() {
            RegistrationOutput::Registered { expires } => expires,
            other => panic!("expected a registration, got {other:?}"),
        }
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn registers_at_once_and_refreshes_before_what_was_granted_runs_out() {
    let mut rig = rig();
    let first = rig.wake();
    assert_eq!((first.expires, first.cseq, first.credentials.len()), (seconds(600), 1, 0));
    let listed = format!("<{CONTACT}>;expires=120");
    rig.answer(200, &[("Contact", "<sip:441234@198.51.100.1>;expires=3000"), ("Contact", &listed)]);
    assert_eq!(rig.registered(), seconds(120), "ours among several");
    let registered_at = rig.now;
    let refresh = rig.wake();
    let after = rig.now - registered_at;
    assert!(after >= seconds(84) && after <= seconds(103), "{after:?}");
    assert_eq!((refresh.call_id, refresh.cseq), (first.call_id, 2), "one series (RFC 3261 §10.2.4)");
    assert!(rig.registration.is_registered(rig.now));
    assert!(!rig.registration.is_registered(registered_at + seconds(120)));
}

#[test]
fn the_lifetime_is_read_wherever_a_provider_writes_it() {
    for (headers, want) in [
        (&[("Expires", "90")][..], 90),
        (&[("Contact", "<sip:441234@203.0.113.9:40000>;expires=70"), ("Expires", "90")], 70),
        (&[("Contact", "<sip:441234@192.0.2.1:5060>"), ("Expires", "80")], 80),
        (&[("Contact", "<sip:441234@203.0.113.9:40000>;expires=120, <sip:441234@203.0.113.9:40001>;expires=70")], 70),
        (&[("Contact", "<sip:441234@203.0.113.9:40000>;expires=120, <sip:441234@203.0.113.9:40001>;expires=2")], 30),
        (&[("Contact", "<sip:441234@203.0.113.9:40000>;expires=120, <sip:441234@192.0.2.1:5060>")], 600),
        (&[], 600),
    ] {
        let mut rig = rig();
        rig.wake();
        rig.answer(200, headers);
        assert_eq!(rig.registered(), seconds(want), "{headers:?}");
    }
}

#[test]
fn a_challenge_is_answered_at_once_and_remembered() {
    let mut rig = rig();
    let mut server = Authenticator::new(AuthenticatorConfig::new("sbc"), [9; 32], rig.now);
    rig.wake();
    let challenges = server.challenge(rig.now, false);
    rig.answer(401, &[("WWW-Authenticate", &challenges[0]), ("WWW-Authenticate", &challenges[1])]);
    let mut verify = |rig: &Rig, register: &Register| {
        let values: Vec<&str> = register.credentials.iter().map(|(_, value)| value.as_str()).collect();
        server.verify(rig.now, "REGISTER", values, |_| Some("secret".into()))
    };
    let retried = rig.sent();
    assert_eq!(retried.cseq, 2);
    assert_eq!(verify(&rig, &retried), Verdict::Accepted { username: "441234".into() });
    rig.answer(200, &[("Expires", "120")]);
    rig.registered();
    let refresh = rig.wake();
    assert_eq!(verify(&rig, &refresh), Verdict::Accepted { username: "441234".into() }, "unasked");
}

#[test]
fn a_wrong_password_is_not_tried_again_soon() {
    let mut rig = rig();
    rig.wake();
    let challenge = ("WWW-Authenticate", "Digest realm=\"sbc\", nonce=\"1\", qop=\"auth\"");
    rig.answer(401, &[challenge]);
    rig.sent();
    rig.answer(401, &[challenge]);
    let (failure, pause) = rig.failed();
    assert_eq!(failure, Failure::Refused(Refusal::Refused { realm: "sbc".into() }));
    assert_eq!(pause, REFUSED_PAUSE);
    rig.wake();
}

#[test]
fn too_brief_an_interval_is_raised_to_what_is_asked_for() {
    let mut rig = rig();
    rig.wake();
    rig.answer(423, &[("Min-Expires", "1800")]);
    assert_eq!(rig.sent().expires, seconds(1800));
    rig.answer(200, &[]);
    assert_eq!(rig.registered(), seconds(1800));
    rig.wake();
    rig.answer(423, &[("Min-Expires", "1800")]);
    assert!(matches!(rig.failed().0, Failure::Rejected { code: 423, .. }), "asked for what we already offer");
    rig.wake();
    rig.answer(423, &[("Min-Expires", "4000000000")]);
    rig.failed();
}

#[test]
fn failures_back_off_to_a_bound_and_a_success_resets_them() {
    let mut rig = rig();
    let mut pauses = Vec::new();
    for _ in 0..12 {
        rig.wake();
        rig.registration.handle_failure(rig.now, rig.cseq, Failure::Timeout);
        let (failure, pause) = rig.failed();
        assert_eq!(failure, Failure::Timeout);
        pauses.push(pause);
    }
    assert!(pauses[0] <= seconds(5) && pauses[3] >= seconds(20) && pauses[3] <= seconds(40), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= seconds(300)));
    rig.wake();
    rig.answer(200, &[]);
    rig.registered();
    rig.wake();
    rig.answer(500, &[]);
    assert!(rig.failed().1 <= seconds(5));
    assert!(rig.registration.is_registered(rig.now), "the old registration still stands");
    assert_eq!(rig.registration.standing(rig.now), Standing::Registered);
    assert_eq!(rig.registration.standing(rig.now + seconds(1_000_000)), Standing::Failed);
}

#[test]
fn retry_after_is_believed_within_reason() {
    let mut rig = rig();
    for (asked, want) in [("120", 120), ("0", 5), ("99999999", 3600)] {
        rig.wake();
        rig.answer(503, &[("Retry-After", asked)]);
        assert_eq!(rig.failed().1, seconds(want));
    }
}

#[test]
fn a_peer_that_always_asks_for_more_is_not_followed_for_ever() {
    let mut rig = rig();
    rig.wake();
    let mut rounds = 0;
    loop {
        let challenge = format!("Digest realm=\"{rounds}\", nonce=\"1\"");
        rig.answer(407, &[("Proxy-Authenticate", &challenge)]);
        match rig.output() {
            RegistrationOutput::Send(_) => rounds += 1,
            RegistrationOutput::Failed { .. } => break,
            other => panic!("{other:?}"),
        }
        assert!(rounds < 10);
    }
}

#[test]
fn unregistering_takes_one_request_with_its_challenges() {
    let mut rig = rig();
    rig.wake();
    rig.answer(200, &[]);
    rig.registered();
    rig.registration.unregister(rig.now);
    assert_eq!(rig.sent().expires, Duration::ZERO);
    rig.answer(401, &[("WWW-Authenticate", "Digest realm=\"sbc\", nonce=\"1\", qop=\"auth\"")]);
    let again = rig.sent();
    assert_eq!((again.expires, again.credentials.len()), (Duration::ZERO, 1));
    rig.answer(200, &[]);
    assert!(matches!(rig.output(), RegistrationOutput::Unregistered));
    assert_eq!(rig.registration.poll_timeout(), None);
    assert!(!rig.registration.is_registered(rig.now));
    rig.registration.unregister(rig.now);
    assert!(rig.registration.poll_output().is_none());
}

#[test]
fn a_registration_accepted_while_it_is_being_undone_does_not_count() {
    let mut rig = rig();
    let first = rig.wake();
    rig.registration.unregister(rig.now);
    let last = rig.sent();
    rig.answer_to(first.cseq, 200, &[]);
    rig.registration.handle_failure(rig.now, first.cseq, Failure::Timeout);
    assert!(rig.registration.poll_output().is_none());
    rig.answer_to(last.cseq, 200, &[]);
    assert!(matches!(rig.output(), RegistrationOutput::Unregistered));
}

#[test]
fn an_address_that_was_never_registered_just_ends() {
    let mut rig = rig();
    rig.registration.unregister(rig.now);
    assert!(matches!(rig.output(), RegistrationOutput::Unregistered));
}

#[test]
fn the_request_carries_what_the_provider_needs() {
    let mut rig = rig();
    let register = rig.wake();
    let call_id = register.call_id.clone();
    let request = register.into_request(CONTACT.parse().unwrap(), "t1", Vec::new());
    assert_eq!(request.method, Method::Register);
    assert_eq!(request.uri.to_string(), "sip:sbc.example.net");
    assert_eq!(request.from.tag(), Some("t1"));
    assert_eq!(request.to.to_string(), "<sip:441234@sbc.example.net>");
    assert_eq!(request.headers.expires(), Some(600));
    assert_eq!(request.series, Some((HeaderValue::from(call_id), 1)));
}
