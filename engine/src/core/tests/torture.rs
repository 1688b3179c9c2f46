//! What the engine answers to each message of RFC 4475 and RFC 5118, where a script takes every call.

use lockstep_sip::net::{Protocol, Received, Source};

use super::lab::{ENGINE, Lab};
use notation::Sample;

#[path = "../../../../sip/tests/torture/notation.rs"]
#[expect(dead_code, reason = "messages are not asked for by name here")]
mod notation;

/// The final response to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// To whoever sends it.
    Same(u16),
    /// To a caller in a local network; a stranger is challenged.
    Call(u16),
    /// There is none: a response, or one whose sender could not match it.
    Nothing,
}

use Answer::{Call, Nothing, Same};

const RFC_4475: &[(&str, Answer)] = &[
    ("wsinv", Same(481)),
    ("intmeth", Same(501)),
    ("esc01", Call(200)),
    ("escnull", Same(401)),
    ("esc02", Same(501)),
    ("lwsdisp", Same(200)),
    ("longreq", Call(200)),
    ("dblreq", Same(401)),
    ("semiuri", Same(200)),
    ("transports", Same(200)),
    ("mpart01", Same(405)),
    ("unreason", Nothing),
    ("noreason", Nothing),
    ("badinv01", Same(400)),
    ("clerr", Same(400)),
    ("ncl", Same(400)),
    ("scalar02", Same(400)),
    ("scalarlg", Nothing),
    ("quotbal", Same(400)),
    ("ltgtruri", Same(400)),
    ("lwsruri", Same(400)),
    ("lwsstart", Call(200)),
    ("trws", Same(200)),
    ("escruri", Call(200)),
    ("baddate", Call(200)),
    ("regbadct", Same(401)),
    ("badaspec", Same(200)),
    ("baddn", Same(200)),
    ("badvers", Same(505)),
    ("mismatch01", Same(400)),
    ("mismatch02", Same(400)),
    ("bigcode", Nothing),
    ("badbranch", Same(200)),
    ("insuf", Same(400)),
    ("unkscm", Same(416)),
    ("novelsc", Same(416)),
    ("unksm2", Same(401)),
    ("bext01", Same(420)),
    ("invut", Same(415)),
    ("regaut01", Same(401)),
    ("multi01", Same(400)),
    ("mcl01", Same(400)),
    ("bcast", Nothing),
    ("zeromf", Same(200)),
    ("cparam01", Same(401)),
    ("cparam02", Same(401)),
    ("regescrt", Same(401)),
    ("sdp01", Same(406)),
    ("inv2543", Call(200)),
];

const RFC_5118: &[(&str, Answer)] = &[
    ("ipv6-good", Same(401)),
    ("ipv6-bad", Same(400)),
    ("port-ambiguous", Same(401)),
    ("port-unambiguous", Same(401)),
    ("via-received-param-with-delim", Same(481)),
    ("via-received-param-no-delim", Same(200)),
    ("ipv6-in-sdp", Call(488)),
    ("mult-ip-in-header", Same(481)),
    ("mult-ip-in-sdp", Call(200)),
    ("ipv4-mapped-ipv6", Call(488)),
    ("ipv6-bug-abnf-3-colons", Same(200)),
    ("ipv6-correct-abnf-2-colons", Same(200)),
];

const LOCAL: &str = "127.0.0.1:5066";
const STRANGER: &str = "203.0.113.9:5066";

/// The codes that a fresh engine answers a message with, `100` left out.
fn codes(bytes: &[u8], remote: &str) -> Vec<u16> {
    let script = "async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
    let mut lab = Lab::new("", &[("/.*/", script)]);
    let source = Source { protocol: Protocol::Udp, local: ENGINE.parse().unwrap(), remote: remote.parse().unwrap(), flow: None };
    lab.switch.set_time(lab.now);
    lab.switch.received(Received { source, bytes });
    lab.switch.pump();
    let sent = std::mem::take(&mut lab.book.borrow_mut().wire);
    let code = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok()).unwrap_or(0)
    };
    sent.iter().map(|transmit| code(&transmit.bytes)).filter(|code| *code != 100).collect()
}

fn check(samples: &[Sample], expected: &[(&str, Answer)]) {
    assert_eq!(samples.len(), expected.len());
    let mut wrong = Vec::new();
    for Sample { section, name, bytes } in samples {
        let (_, answer) = expected.iter().find(|(of, _)| of == name).expect("an expectation");
        let (local, stranger) = match answer {
            Same(code) => (vec![*code], vec![*code]),
            Call(code) => (vec![*code], vec![401]),
            Nothing => (Vec::new(), Vec::new()),
        };
        for (remote, expected) in [(LOCAL, local), (STRANGER, stranger)] {
            let codes = codes(bytes, remote);
            if codes != expected {
                wrong.push(format!("{section} {name} from {remote}: expected {expected:?}, got {codes:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_message_of_rfc_4475_gets_its_answer() {
    check(&notation::load(include_str!("../../../../sip/tests/torture/rfc4475.txt")), RFC_4475);
}

#[test]
fn every_message_of_rfc_5118_gets_its_answer() {
    check(&notation::load(include_str!("../../../../sip/tests/torture/rfc5118.txt")), RFC_5118);
}
