//! The Class 4 hook over HTTP, as a SIP proxy in front of the engine asks for it.

use lockstep_tests::engine::{Engine, Setup};
use serde_json::{Value, json};

const ROUTES: &str = r#"
[[gateway]]
id = 7
address = "sip:127.0.0.1:5097"
[[gateway]]
id = 8
address = "sip:127.0.0.1:5098"
[[route]]
prefix = "44"
gateways = [7, 8]
script = "by-prefix"
timeout_s = 60
[[route]]
prefix = "449"
gateways = [7, 8]
script = "by-prefix"
timeout_s = 1
timeout_action = "486 Busy Here"
[[route]]
prefix = "33"
gateways = [8]
script = "broken"
on_error = "continue"
"#;

fn setup() -> Setup {
    Engine::setup()
        .config(ROUTES)
        .script("first.js", "// @lockstep run=first\nfunction main(data) { data.headers.push({ key: 'X-First', value: 1 }); return data; }")
        .script(
            "by-prefix.js",
            "function main({ routing }) {\n  if (routing.dest_number.endsWith('404')) throw new Error('404 Not Found');\n  if (routing.dest_number.endsWith('604')) return Promise.reject([604, 'Number on DNC List']);\n  if (routing.dest_number.endsWith('500')) null.x;\n  if (routing.dest_number.endsWith('999')) return new Promise(() => setTimeout(() => {}, 60_000));\n  routing.egress_routing.reverse();\n  routing.egress_routing[0].gw['8'].cli = '447';\n  return routing;\n}",
        )
        .script("broken.js", "function main() { throw new TypeError('no such thing') }")
        .script("last.js", "// @lockstep run=last\nfunction main(data) { data.remove_headers = ['X-Old']; }")
}

async fn route(engine: &Engine, query: &str, data: &Value) -> (u16, Value) {
    let (status, body) = engine.request("POST", &format!("/v1/route{query}"), &data.to_string()).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}")))
}

#[tokio::test]
async fn globals_and_the_scripts_of_the_route_change_the_object_in_turn() {
    let engine = setup().start();
    let asked = json!({ "routing": { "cli": "441", "dest_number": "442012" } });
    let (status, data) = route(&engine, "", &asked).await;
    assert_eq!(status, 200, "{data}");
    let rows = data["routing"]["egress_routing"].as_array().unwrap();
    assert_eq!(rows[0]["gw"]["8"]["cli"], "447");
    assert_eq!(rows[1]["gw"]["7"]["cli"], "441");
    assert_eq!(data["egress_routing"], data["routing"]["egress_routing"]);
    assert_eq!(data["headers"], json!([{ "key": "X-First", "value": 1 }]));
    assert_eq!(data["routing"]["remove_headers"], json!(["X-Old"]));
    assert!(data["sandbox_time"].is_number(), "{data}");
}

#[tokio::test]
async fn what_a_script_throws_is_the_reply_and_an_error_is_500_unless_the_route_goes_on() {
    let engine = setup().start();
    for (number, code, message) in [
        ("44404", 404, "Not Found"),
        ("44604", 604, "Number on DNC List"),
        ("44500", 500, "Script Error"),
        ("44999", 486, "Busy Here"),
    ] {
        let (status, answer) = route(&engine, "", &json!({ "routing": { "dest_number": number } })).await;
        assert_eq!(
            (status, &answer["error"]["code"], &answer["error"]["message"]),
            (422, &json!(code), &json!(message)),
            "{answer}"
        );
    }
    let (status, data) = route(&engine, "", &json!({ "routing": { "dest_number": "33123" } })).await;
    assert_eq!((status, &data["egress_routing"][0]["gw"]["8"]), (200, &json!({})), "{data}");
}

#[tokio::test]
async fn one_script_alone_and_nonsense() {
    let engine = setup().start();
    let (status, data) = route(&engine, "?script=last", &json!({ "routing": {} })).await;
    assert_eq!((status, &data["headers"], &data["remove_headers"]), (200, &json!([]), &json!(["X-Old"])), "{data}");
    assert_eq!(data["egress_routing"], json!([]));
    let (status, answer) = route(&engine, "?script=nobody", &json!({ "routing": {} })).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("no_such_script")), "{answer}");
    for body in ["", "[]", "{", "7"] {
        let (status, answer) = engine.request("POST", "/v1/route", body).await;
        assert_eq!(status, 422, "{body}: {answer}");
    }
}
