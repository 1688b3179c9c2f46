//! Text messages of scripts: MESSAGE requests to gateways and users.

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

/// Takes one MESSAGE and answers it with a status line's end.
async fn answer(wire: &Wire, status: &str) -> String {
    let text = String::from_utf8(wire.receive().await).expect("a MESSAGE in UTF-8");
    let (head, _) = text.split_once("\r\n\r\n").expect("a whole message");
    let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
    let copied: Vec<&str> = head.lines().filter(|line| kept.iter().any(|name| line.starts_with(&format!("{name}:")))).collect();
    let to_tag = copied.join("\r\n").replace("\r\nCall-ID:", ";tag=peer\r\nCall-ID:");
    wire.send(format!("SIP/2.0 {status}\r\n{to_tag}\r\nContent-Length: 0\r\n\r\n")).await;
    text
}

#[tokio::test]
async fn a_text_goes_through_the_gateways_of_its_number_and_its_answer_is_the_scripts() {
    let wire = Wire::to(([127, 0, 0, 1], 9).into()).await;
    let spare = Wire::to(([127, 0, 0, 1], 9).into()).await;
    let config = format!(
        "[[gateway]]\nid = 7\naddress = \"sip:{}\"\n[[gateway]]\nid = 8\naddress = \"sip:{}\"\n[[route]]\nprefix = \"44\"\ngateways = [7, 8]",
        wire.address(),
        spare.address()
    );
    let engine = Engine::setup().config(&config).script("texts.js", SCRIPT).start();
    let (wire, spare) = (wire.towards(engine.udp()), spare.towards(engine.udp()));
    let (sent, text) = tokio::join!(run(&engine, "text", json!({ "to": "441234" })), answer(&wire, "202 Accepted"));
    assert_eq!(sent, json!({ "sent": true, "code": 202 }));
    assert!(text.starts_with(&format!("MESSAGE sip:441234@{} SIP/2.0\r\n", wire.address())), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("From: <sip:442000@") && head.contains("Content-Type: text/plain;charset=UTF-8"), "{head}");
    assert!(!head.contains("\r\nContact:"), "RFC 3428, section 4: {head}");
    assert_eq!(body, "Grüße");

    let told = run(&engine, "caught", json!({ "to": "441234" }));
    let (sent, _, _) = tokio::join!(told, answer(&wire, "503 Service Unavailable"), answer(&spare, "200 OK"));
    assert_eq!(sent, json!({ "sent": true, "code": 200 }), "the next gateway");
    let (sent, _) = tokio::join!(run(&engine, "caught", json!({ "to": "441234" })), answer(&wire, "404 Not Found"));
    assert_eq!(sent, "NetworkError: cxSend.sms: the message was refused: 404 Not Found", "a refusal is the last word");
    let sent = run(&engine, "caught", json!({ "to": "441234", "size": 1_301 })).await;
    assert!(sent.as_str().is_some_and(|text| text.starts_with("LimitError: cxSend.sms:")), "{sent}");
    let sent = run(&engine, "caught", json!({ "to": "33123" })).await;
    assert!(
        sent.as_str().is_some_and(|text| text.starts_with("NetworkError: cxSend.sms: the message was refused: 404")),
        "{sent}"
    );
}
