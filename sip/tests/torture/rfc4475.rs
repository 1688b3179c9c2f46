//! RFC 4475: what each of its 49 messages must lead to, seen from a user agent server on UDP.

use lockstep_sip::{
    auth::{Authenticator, AuthenticatorConfig, Verdict},
    endpoint::Event,
    message::{Contacts, HeaderName, Method, Request, StatusCode, Uri},
    registrar::{Registrar, RegistrarConfig},
    transport::framing::{Frame, FramingError, FramingLimits, StreamFramer},
};

use super::{Reaction, deliver, notation, origin, request, response, source};

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A new call for the engine.
    Call,
    /// Any other request for the engine.
    Request,
    /// Answered by the endpoint itself, the engine sees nothing.
    Refused(u16),
    /// A response to nothing of ours: no reaction at all.
    Stray,
    /// Not understood, and no answer is possible: counted only.
    Counted,
}

use Expected::{Call, Counted, Refused, Request as Accepted, Stray};

/// Where the RFC leaves a choice, the comment says what was chosen.
const EXPECTED: &[(&str, Expected)] = &[
    // It belongs to a dialog we do not have.
    ("wsinv", Refused(481)),
    ("intmeth", Refused(501)),
    ("esc01", Call),
    ("escnull", Accepted),
    ("esc02", Refused(501)),
    ("lwsdisp", Accepted),
    ("longreq", Call),
    ("dblreq", Accepted),
    ("semiuri", Accepted),
    ("transports", Accepted),
    ("mpart01", Accepted),
    ("unreason", Stray),
    ("noreason", Stray),
    ("badinv01", Refused(400)),
    ("clerr", Refused(400)),
    ("ncl", Refused(400)),
    ("scalar02", Refused(400)),
    ("scalarlg", Counted),
    ("quotbal", Refused(400)),
    ("ltgtruri", Refused(400)),
    ("lwsruri", Refused(400)),
    // Liberal: the meaning is plain.
    ("lwsstart", Call),
    ("trws", Accepted),
    // Liberal: headers in a Request-URI are ignored.
    ("escruri", Call),
    // Liberal: nobody here reads Date.
    ("baddate", Call),
    // Whose parameter it is cannot be told, so the registrar would have to guess; see its own test.
    ("regbadct", Accepted),
    // Liberal: spaces around an address change nothing.
    ("badaspec", Accepted),
    // Liberal: everything before the bracket is the name.
    ("baddn", Accepted),
    ("badvers", Refused(505)),
    ("mismatch01", Refused(400)),
    // 501 would be right as well.
    ("mismatch02", Refused(400)),
    ("bigcode", Counted),
    ("badbranch", Accepted),
    ("insuf", Refused(400)),
    ("unkscm", Refused(416)),
    ("novelsc", Refused(416)),
    ("unksm2", Accepted),
    ("bext01", Refused(420)),
    ("invut", Refused(415)),
    ("regaut01", Accepted),
    ("multi01", Refused(400)),
    ("mcl01", Refused(400)),
    ("bcast", Stray),
    ("zeromf", Accepted),
    ("cparam01", Accepted),
    ("cparam02", Accepted),
    ("regescrt", Accepted),
    ("sdp01", Refused(406)),
    ("inv2543", Call),
];

fn sample(name: &str) -> Vec<u8> {
    notation::find(&notation::load(include_str!("rfc4475.txt")), name).to_vec()
}

fn check(name: &str, expected: Expected, reaction: &Reaction) -> Result<(), String> {
    let codes = reaction.codes();
    let fits = match (expected, reaction.events.as_slice()) {
        (Call, [Event::Invite { .. }]) | (Accepted, [Event::Request { dialog: None, .. }]) => codes.is_empty(),
        (Refused(code), []) => codes == [code],
        (Stray, []) => codes.is_empty() && reaction.malformed == 0,
        (Counted, []) => codes.is_empty() && reaction.malformed == 1,
        (Call | Accepted | Refused(_) | Stray | Counted, _) => false,
    };
    if fits { Ok(()) } else { Err(format!("{name}: expected {expected:?}, got {codes:?} and {:?}", reaction.events)) }
}

#[test]
fn every_message_gets_its_answer() {
    let samples = notation::load(include_str!("rfc4475.txt"));
    assert_eq!(samples.len(), 49);
    let mut wrong = Vec::new();
    for sample in &samples {
        let (_, expected) = EXPECTED.iter().find(|(name, _)| *name == sample.name).expect("an expectation");
        let title = format!("{} {}", sample.section, sample.name);
        wrong.extend(check(&title, *expected, &deliver(&sample.bytes)).err());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn refusals_can_be_matched_by_the_sender() {
    for (name, expected) in EXPECTED {
        let Refused(_) = expected else { continue };
        let reaction = deliver(&sample(name));
        let headers = &reaction.response().headers;
        assert!(headers.top_via().is_some_and(|via| via.is_ok()), "{name}");
        if *name == "insuf" {
            continue;
        }
        for header in [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq] {
            assert!(headers.contains(header.clone()), "{name} lacks {header:?}");
        }
    }
}

#[test]
fn wsinv_is_read_through_all_its_folds() {
    let request = request(&sample("wsinv"));
    let headers = &request.headers;
    assert_eq!(request.method, Method::Invite);
    let to = headers.to().unwrap().unwrap();
    assert_eq!((to.uri.to_string().as_str(), to.tag()), ("sip:vivekg@chair-dnrc.example.com", Some("1918181833n")));
    let from = headers.from().unwrap().unwrap();
    assert_eq!((from.display_name.as_deref(), from.tag()), (Some("J Rosenberg \\\""), Some("98asjd8")));
    assert_eq!(headers.max_forwards(), Some(Ok(68)));
    let cseq = headers.cseq().unwrap().unwrap();
    assert_eq!((cseq.number, cseq.method), (9, Method::Invite));
    assert_eq!(headers.via_count(), 3);
    assert_eq!(headers.top_via().unwrap().unwrap().branch(), Some("390skdjuw"));
    assert_eq!(headers.get("Subject").unwrap().text(), "");
    assert_eq!(headers.get("NewFangledHeader").unwrap().text(), "newfangled value continued newfangled value");
    assert_eq!(headers.get("UnknownHeaderWithUnusualValue").unwrap().text(), ";;,,;;,;");
    let contact = headers.contact().unwrap();
    assert_eq!(contact.display_name.as_deref(), Some("Quoted string \"\""));
    assert_eq!((contact.params.get("newparam"), contact.params.contains("secondparam")), (Some("newvalue"), true));
    assert_eq!(contact.q_millis(), 330);
    let route = headers.name_addrs(HeaderName::Route).unwrap();
    assert!(route[0].uri.as_sip().unwrap().is_loose_router());
    assert_eq!(request.body.len(), 150);
    assert!(request.sdp().is_some());
}

#[test]
fn intmeth_keeps_every_unusual_octet() {
    let request = request(&sample("intmeth"));
    assert_eq!(request.method.as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    let Uri::Sip(uri) = &request.uri else { panic!("{:?}", request.uri) };
    assert_eq!(uri.user.as_deref(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password.as_deref(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    let from = request.headers.from().unwrap().unwrap();
    assert_eq!(from.display_name.as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(from.params.get_unquoted("fromParam''~+*_!.-%").as_deref(), Some("работающий"));
    let to = request.headers.to().unwrap().unwrap();
    assert_eq!(to.display_name.as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    assert_eq!(request.headers.call_id().unwrap().text(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert_eq!(request.headers.get("extensionHeader-!.%*+_`'~").unwrap().text(), "\u{feff}大停電");
    let allow = deliver(&sample("intmeth")).response().headers.allow().unwrap();
    assert!(allow.contains(&Method::Invite));
}

#[test]
fn escapes_are_decoded_for_meaning_and_kept_on_the_wire() {
    let esc01 = request(&sample("esc01"));
    assert_eq!(esc01.uri.user().as_deref(), Some("sips:user@example.com"));
    assert_eq!(esc01.headers.from().unwrap().unwrap().uri.user().as_deref(), Some("I have spaces"));
    let contact = esc01.headers.contact().unwrap();
    let same: Uri = "sip:caller@host5.example.net;lr;name=value%25%34%31".parse().unwrap();
    assert_eq!(contact.uri.to_string(), "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31");
    assert_eq!(contact.uri.user(), same.user());

    let escnull = request(&sample("escnull"));
    let Contacts::List(contacts) = escnull.headers.contacts().unwrap() else { panic!("no list") };
    assert_eq!(contacts[0].uri.user().as_deref(), Some("\0"));
    assert!(!contacts[0].uri.is_equivalent(&contacts[1].uri), "NUL ends nothing");

    let esc02 = request(&sample("esc02"));
    assert_eq!(esc02.method, Method::Other("RE%47IST%45R".into()), "no escapes in a method");
    assert_eq!(esc02.headers.from().unwrap().unwrap().display_name.as_deref(), Some("%Z%45"));
    assert_eq!(esc02.headers.get_all(HeaderName::Contact).count(), 2, "nor in a header name");
}

#[test]
fn the_parts_of_a_uri_are_told_apart() {
    let semiuri = request(&sample("semiuri"));
    assert_eq!(semiuri.uri.user().as_deref(), Some("user;par=u@example.net"));
    assert_eq!(semiuri.headers.list(HeaderName::Accept).len(), 6);
    let param_of = |name: &str| {
        let contact = request(&sample(name)).headers.contact().unwrap();
        (contact.params.contains("unknownparam"), contact.uri.as_sip().unwrap().params.contains("unknownparam"))
    };
    assert_eq!(param_of("cparam01"), (true, false), "without brackets it is the header's");
    assert_eq!(param_of("cparam02"), (false, true), "inside the brackets it is the URI's");
    let display = request(&sample("lwsdisp")).headers.from().unwrap().unwrap().display_name.clone();
    assert_eq!(display.as_deref(), Some("caller"));
    let longreq = request(&sample("longreq"));
    assert_eq!((longreq.headers.via_count(), longreq.body.len()), (34, 150));
    let vias = request(&sample("transports"));
    assert_eq!(vias.headers.via_count(), 5, "unknown transports below the topmost are nobody's business");
}

#[test]
fn mpart01_gives_its_parts_octet_for_octet() {
    let request = request(&sample("mpart01"));
    assert_eq!(request.body.len(), 553);
    let content_type = request.headers.content_type().unwrap().unwrap();
    let part = |kind: &str, subtype: &str| lockstep_sip::message::find_part(&content_type, &request.body, kind, subtype);
    assert_eq!(part("text", "plain").unwrap(), "Hello");
    let signature = part("application", "octet-stream").unwrap();
    assert_eq!((signature.len(), signature[0]), (342, 0x30));
}

#[test]
fn reasons_of_any_kind_are_read() {
    let unreason = response(&sample("unreason"));
    assert!(unreason.reason.text().ends_with("- простое"), "{:?}", unreason.reason);
    let noreason = response(&sample("noreason"));
    assert_eq!((noreason.status, noreason.reason.as_bytes()), (StatusCode::TRYING, &b""[..]));
}

#[test]
fn refusals_say_what_would_have_been_accepted() {
    let unsupported = deliver(&sample("bext01"));
    let tags = unsupported.response().headers.list(HeaderName::Unsupported);
    assert_eq!(tags, ["nothingSupportsThis", "nothingSupportsThisEither"], "Proxy-Require is not ours");
    for name in ["invut", "sdp01"] {
        let reaction = deliver(&sample(name));
        assert!(reaction.response().headers.list_contains(HeaderName::Accept, "application/sdp"), "{name}");
    }
}

#[test]
fn dblreq_is_one_request_in_a_datagram_and_two_on_a_stream() {
    let bytes = sample("dblreq");
    assert!(request(&bytes).body.is_empty());
    let mut framer = StreamFramer::new(FramingLimits::default());
    framer.buffer().extend_from_slice(&bytes);
    let mut frames = Vec::new();
    while let Some(Frame::Message(message)) = framer.next_frame().unwrap() {
        frames.push(message);
    }
    assert_eq!(frames.len(), 3);
    assert_eq!(request(&frames[0]).method, Method::Register);
    assert_eq!(request(&frames[1]).method, Method::Invite);
    assert_eq!(frames[2], "C\r\n\r\n", "its Content-Length is three octets short");
}

#[test]
fn lengths_that_lie_end_a_stream() {
    let framed = |name: &str| {
        let mut framer = StreamFramer::new(FramingLimits::default());
        framer.buffer().extend_from_slice(&sample(name));
        framer.next_frame()
    };
    assert!(matches!(framed("ncl"), Err(FramingError::BadContentLength { .. })));
    assert!(matches!(framed("mcl01"), Err(FramingError::BadContentLength { .. })));
    assert_eq!(framed("clerr"), Ok(None), "the rest may still come");
}

#[test]
fn an_rfc_2543_call_is_understood() {
    let request = request(&sample("inv2543"));
    assert_eq!(request.headers.from().unwrap().unwrap().tag(), None);
    assert_eq!(request.headers.top_via().unwrap().unwrap().branch(), None);
    assert!(request.sdp().is_some(), "the body runs to the end of the datagram");
}

fn register(name: &str) -> (StatusCode, Vec<String>) {
    let mut registrar = Registrar::new(RegistrarConfig::default());
    let request: Request = request(&sample(name));
    let reply = registrar.register(origin(), "user", &request, source());
    (reply.status, reply.headers.get_all(HeaderName::Contact).map(|value| value.text().into_owned()).collect())
}

#[test]
fn the_registrar_takes_odd_contacts_and_refuses_impossible_ones() {
    assert_eq!(
        register("regescrt"),
        (StatusCode::OK, vec!["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=3600".into()])
    );
    assert_eq!(register("escnull").1.len(), 2);
    assert_eq!(register("cparam01").1, ["<sip:+19725552222@gw1.example.net>;unknownparam;expires=3600"]);
    assert_eq!(register("regbadct").0, StatusCode::BAD_REQUEST);
    assert_eq!(register("unksm2").0, StatusCode::BAD_REQUEST);
}

#[test]
fn an_unknown_authorization_scheme_counts_as_none() {
    let request = request(&sample("regaut01"));
    let mut authenticator = Authenticator::new(AuthenticatorConfig::new("example.com"), [1; 32], origin());
    let credentials: Vec<_> = request.headers.get_all("Authorization").map(|value| value.text()).collect();
    let verdict = authenticator.verify(origin(), "REGISTER", credentials.iter().map(AsRef::as_ref), |_| Some("secret".into()));
    assert_eq!((credentials.len(), verdict), (1, Verdict::Missing));
}
