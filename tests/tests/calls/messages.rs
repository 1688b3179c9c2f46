//! Text messages of scripts: MESSAGE requests to gateways and users.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::SocketAddr;

use lockstep_sip::auth::{Authenticator, AuthenticatorConfig, Verdict};
use lockstep_tests::engine::Engine;
use lockstep_tests::wire::Wire;
use serde_json::{Value, json};

const SCRIPT: &str = "const { sms, sip } = require('cxSend');
exports.text = ({ to }) => sms(to, 'Grüße', '442000');
exports.raw = () => sip({ to: '1001', content_type: 'application/json', body: '{\"a\":1}' });
exports.caught = async ({ to, size }) => { try { return await sms(to, 'x'.repeat(size ?? 1)) } catch (e) { return `${e.name}: ${e.message}` } };";

async fn run(engine: &Engine, function: &str, data: Value) -> Value {
    let body = json!({ "fn": function, "data": data }).to_string();
    let (status, body) = engine.request("POST", "/v1/scripts/texts/run", &body).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200, "{body}");
    body["result"].clone()
}

/// Who answers at the address of a gateway.
struct Gateway {
    wire: Wire,
    /// The transactions it has answered: a request that comes again is none of its own.
    answered: RefCell<HashSet<String>>,
}

impl Gateway {
    async fn new() -> Self {
        Self { wire: Wire::to(([127, 0, 0, 1], 9).into()).await, answered: RefCell::default() }
    }

    fn address(&self) -> SocketAddr {
        self.wire.address()
    }

    fn towards(self, engine: &Engine) -> Self {
        Self { wire: self.wire.towards(engine.udp()), ..self }
    }

    /// The next MESSAGE.
    async fn receive(&self) -> String {
        loop {
            let text = String::from_utf8(self.wire.receive().await).expect("a MESSAGE in UTF-8");
            let via = text.lines().find(|line| line.starts_with("Via:")).expect("a request has one").to_owned();
            if self.answered.borrow_mut().insert(via) {
                return text;
            }
        }
    }
}

/// Takes one MESSAGE and answers it with a status line's end, and the header lines behind it.
async fn answer(gateway: &Gateway, status: &str) -> String {
    let text = gateway.receive().await;
    let (head, _) = text.split_once("\r\n\r\n").expect("a whole message");
    let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
    let copied: Vec<&str> = head.lines().filter(|line| kept.iter().any(|name| line.starts_with(&format!("{name}:")))).collect();
    let to_tag = copied.join("\r\n").replace("\r\nCall-ID:", ";tag=peer\r\nCall-ID:");
    gateway.wire.send(format!("SIP/2.0 {status}\r\n{to_tag}\r\nContent-Length: 0\r\n\r\n")).await;
    text
}

#[tokio::test]
async fn a_text_goes_through_the_gateways_of_its_number_and_its_answer_is_the_scripts() {
    let (gateway, spare) = (Gateway::new().await, Gateway::new().await);
    let config = format!(
        "[[gateway]]\nid = 7\naddress = \"sip:{}\"\n[[gateway]]\nid = 8\naddress = \"sip:{}\"\n[[route]]\nprefix = \"44\"\ngateways = [7, 8]",
        gateway.address(),
        spare.address()
    );
    let engine = Engine::setup().config(&config).script("texts.js", SCRIPT).start();
    let (gateway, spare) = (gateway.towards(&engine), spare.towards(&engine));
    let (sent, text) = tokio::join!(run(&engine, "text", json!({ "to": "441234" })), answer(&gateway, "202 Accepted"));
    assert_eq!(sent, json!({ "sent": true, "code": 202 }));
    assert!(text.starts_with(&format!("MESSAGE sip:441234@{} SIP/2.0\r\n", gateway.address())), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("From: <sip:442000@") && head.contains("Content-Type: text/plain;charset=UTF-8"), "{head}");
    assert!(!head.contains("\r\nContact:"), "RFC 3428, section 4: {head}");
    assert_eq!(body, "Grüße");

    let told = run(&engine, "caught", json!({ "to": "441234" }));
    let (sent, _, _) = tokio::join!(told, answer(&gateway, "503 Service Unavailable"), answer(&spare, "200 OK"));
    assert_eq!(sent, json!({ "sent": true, "code": 200 }), "the next gateway");
    let (sent, _) = tokio::join!(run(&engine, "caught", json!({ "to": "441234" })), answer(&gateway, "404 Not Found"));
    assert_eq!(sent, "NetworkError: cxSend.sms: the message was refused: 404 Not Found", "a refusal is the last word");
    let sent = run(&engine, "caught", json!({ "to": "441234", "size": 1_301 })).await;
    assert!(sent.as_str().is_some_and(|text| text.starts_with("LimitError: cxSend.sms:")), "{sent}");
    let sent = run(&engine, "caught", json!({ "to": "33123" })).await;
    assert!(
        sent.as_str().is_some_and(|text| text.starts_with("NetworkError: cxSend.sms: the message was refused: 404")),
        "{sent}"
    );
}

#[tokio::test]
async fn a_gateway_that_challenges_a_text_is_shown_its_credentials_once() {
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin")]
    let now = std::time::Instant::now();
    let gateway = Gateway::new().await;
    let config = format!(
        "[[gateway]]\nid = 7\naddress = \"sip:{}\"\nusername = \"desk\"\npassword = \"pw\"\n[[route]]\nprefix = \"44\"\ngateways = [7]",
        gateway.address()
    );
    let engine = Engine::setup().config(&config).script("texts.js", SCRIPT).start();
    let gateway = gateway.towards(&engine);
    let challenges = [
        ("401 Unauthorized", "WWW-Authenticate", "Authorization"),
        ("407 Proxy Auth", "Proxy-Authenticate", "Proxy-Authorization"),
    ];
    for (status, asks, shows) in challenges {
        let mut carrier = Authenticator::new(AuthenticatorConfig::new("carrier"), [7; 32], now);
        let challenge: Vec<String> = carrier.challenge(now, false).iter().map(|value| format!("{asks}: {value}")).collect();
        let exchange = async {
            let first = answer(&gateway, &format!("{status}\r\n{}", challenge.join("\r\n"))).await;
            assert!(!first.contains("uthorization:"), "nothing is shown before it is asked for: {first}");
            let second = answer(&gateway, "202 Accepted").await;
            let field = |text: &str, name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned);
                value.unwrap_or_else(|| panic!("no {name} in {text}"))
            };
            let verdict = carrier
                .verify(now, "MESSAGE", [field(&second, shows).as_str()], |user| (user == "desk").then(|| "pw".to_owned()));
            assert_eq!(verdict, Verdict::Accepted { username: "desk".to_owned() }, "{second}");
            assert_eq!(field(&first, "Call-ID"), field(&second, "Call-ID"));
            assert_ne!(field(&first, "CSeq"), field(&second, "CSeq"), "another request (RFC 3261, section 22.1)");
            assert!(second.ends_with("Grüße"), "{second}");
        };
        let (sent, ()) = tokio::join!(run(&engine, "text", json!({ "to": "441234" })), exchange);
        assert_eq!(sent, json!({ "sent": true, "code": 202 }));
    }
    let refusing = async {
        for _ in 0..2 {
            answer(&gateway, "407 No\r\nProxy-Authenticate: Digest realm=\"carrier\", nonce=\"n\", algorithm=MD5, qop=\"auth\"")
                .await;
        }
    };
    let (sent, ()) = tokio::join!(run(&engine, "caught", json!({ "to": "441234" })), refusing);
    assert_eq!(sent, "NetworkError: cxSend.sms: the message was refused: 407 No", "wrong credentials are not tried again");
}
