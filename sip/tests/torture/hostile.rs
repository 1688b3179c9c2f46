//! What no RFC lists: cut, damaged, oversized and random datagrams. Never a panic, never more than one answer, always bounded.

use std::time::{Duration, Instant};

use lockstep_sip::{
    endpoint::{Endpoint, Event, Output, Reply},
    message::{Fault, StatusCode, limits, parse},
    transport::framing::{FramingLimits, StreamFramer},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{deliver, endpoint, notation, origin, react};

fn all_samples() -> Vec<notation::Sample> {
    let mut samples = notation::load(include_str!("rfc4475.txt"));
    samples.extend(notation::load(include_str!("rfc5118.txt")));
    samples
}

fn frame(bytes: &[u8]) -> usize {
    let mut framer = StreamFramer::new(FramingLimits::default());
    framer.buffer().extend_from_slice(bytes);
    let mut frames = 0;
    while let Ok(Some(_)) = framer.next_frame() {
        frames += 1;
    }
    frames
}

#[test]
fn every_prefix_of_every_message_is_survived() {
    for sample in all_samples() {
        for end in 0..sample.bytes.len() {
            let prefix = &sample.bytes[..end];
            if let Err(error) = parse(prefix)
                && let Some(reply) = error.response("tag")
            {
                assert!(reply.status.is_final(), "{} cut at {end}", sample.name);
            }
            frame(prefix);
        }
    }
}

/// Replaces, drops, doubles and inserts octets and pieces of other messages.
fn mutate(rng: &mut ChaCha8Rng, samples: &[notation::Sample]) -> Vec<u8> {
    const SPICE: [&[u8]; 12] =
        [b"\r\n", b"\r\n\r\n", b"\0", b"\"", b"<", b">", b";", b",", b"\xff\xfe", b"%", b"Content-Length: 99999999999", b"["];
    let mut pick = |bound: usize| usize::try_from(rng.next_u64() % bound.max(1) as u64).unwrap();
    let mut bytes = samples[pick(samples.len())].bytes.clone();
    for _ in 0..=pick(6) {
        let at = pick(bytes.len());
        match pick(5) {
            0 => bytes[at] = pick(256) as u8,
            1 => drop(bytes.drain(at..(at + 1 + pick(20)).min(bytes.len()))),
            2 => drop(bytes.splice(at..at, SPICE[pick(SPICE.len())].iter().copied())),
            3 => {
                let other = &samples[pick(samples.len())].bytes;
                let from = pick(other.len());
                let piece = other[from..(from + pick(80)).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let piece = bytes[at..(at + pick(40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece.repeat(1 + pick(8)));
            }
        }
        if bytes.is_empty() {
            bytes.push(b'x');
        }
    }
    bytes
}

#[test]
fn damaged_messages_get_one_answer_at_most_and_leave_nothing_behind_for_ever() {
    let samples = all_samples();
    let mut rng = ChaCha8Rng::seed_from_u64(4475);
    let mut endpoint = endpoint();
    let mut now = origin();
    for round in 0..5_000 {
        let bytes = mutate(&mut rng, &samples);
        let reaction = react(&mut endpoint, now, &bytes);
        assert!(reaction.responses.len() <= 1, "round {round}: {reaction:?}");
        refuse(&mut endpoint, now, reaction.events);
        frame(&bytes);
        if round % 100 == 0 {
            now += Duration::from_millis(100);
            endpoint.handle_timeout(now);
            refuse(&mut endpoint, now, Vec::new());
        }
    }
    assert!(endpoint.stats().malformed > 500, "{:?}", endpoint.stats());
    for _ in 0..100 {
        now += Duration::from_secs(1);
        endpoint.handle_timeout(now);
        refuse(&mut endpoint, now, Vec::new());
    }
    assert_eq!((endpoint.transaction_count(), endpoint.dialog_count()), (0, 0));
}

/// Answers what the endpoint asks about, and takes what it sends.
fn refuse(endpoint: &mut Endpoint, now: Instant, events: Vec<Event>) {
    for event in events {
        if let Event::Invite { id, .. } | Event::Request { id, .. } = event {
            // Its CANCEL may have been answered at once.
            let _ = endpoint.respond(now, id, Reply::new(StatusCode::BUSY_HERE));
        }
    }
    while !matches!(endpoint.poll_output(), Output::Timeout(_)) {}
}

#[test]
fn noise_is_counted_and_never_answered() {
    let mut rng = ChaCha8Rng::seed_from_u64(5118);
    let mut endpoint = endpoint();
    for round in 0..2_000_usize {
        let mut noise = vec![0; 1 + round % 1500];
        rng.fill_bytes(&mut noise);
        let reaction = react(&mut endpoint, origin(), &noise);
        assert!(reaction.responses.is_empty() && reaction.events.is_empty(), "round {round}: {reaction:?}");
        frame(&noise);
    }
    assert_eq!(endpoint.transaction_count(), 0);
}

fn options_with(lines: &str) -> Vec<u8> {
    format!(
        "OPTIONS sip:a@example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:b@h>;tag=1\r\n\
         To: <sip:a@h>\r\nCall-ID: big\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{lines}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn oversized_messages_are_refused_or_dropped_never_half_read() {
    let too_many = options_with(&"X: y\r\n".repeat(limits::HEADERS));
    assert_eq!(parse(&too_many).unwrap_err().fault, Fault::TooManyHeaders);
    assert_eq!(deliver(&too_many).codes(), [400]);
    let too_long = options_with(&format!("X: {}\r\n", "y".repeat(limits::HEADER_LINE + 1)));
    assert_eq!(deliver(&too_long).codes(), [513]);
    let too_large = options_with(&format!("X: {}\r\n", "y".repeat(15_000)).repeat(5));
    assert_eq!(parse(&too_large).unwrap_err().fault, Fault::TooLarge);
    let vias = options_with(&"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n".repeat(200));
    assert!(deliver(&vias).responses.len() <= 1);
    let commas = options_with(&format!("Contact: {}\r\nSupported: {}\r\n", ",".repeat(10_000), "a,".repeat(5_000)));
    assert!(deliver(&commas).responses.len() <= 1);
    let nested = options_with(&format!("Contact: {}\r\n", "<".repeat(10_000)));
    assert!(deliver(&nested).responses.len() <= 1);
}

#[test]
fn a_flood_of_new_requests_stays_within_the_limits() {
    let mut endpoint = lockstep_sip::endpoint::Endpoint::new(
        lockstep_sip::endpoint::Config { max_transactions: 100, ..Default::default() },
        [5; 32],
    );
    let mut refused = 0;
    for n in 0..1_000 {
        let text = String::from_utf8(options_with("")).unwrap();
        let text = text.replace("z9hG4bK1", &format!("z9hG4bK-{n}")).replace("Call-ID: big", &format!("Call-ID: {n}"));
        let reaction = react(&mut endpoint, origin(), text.as_bytes());
        refused += reaction.codes().iter().filter(|code| **code == 503).count();
        if let [response] = reaction.responses.as_slice() {
            assert!(response.headers.retry_after().is_some());
        }
    }
    assert_eq!((endpoint.transaction_count(), refused), (100, 900));
}
