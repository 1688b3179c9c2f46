//! Calls through the engine to carriers, and the sample routing scripts: by SIP, over HTTP, and from the command line.

use std::path::Path;
use std::process::Command;

use lockstep_engine::phone::{Dial, Phone, PhoneCall};
use lockstep_sip::net::Protocol;
use lockstep_tests::caller::{incoming, phone, phone_config};
use lockstep_tests::engine::{Engine, Setup, binary, until, within};
use serde_json::{Value, json};

/// Two carriers, and an engine with the sample scripts of the repository, one to a prefix.
struct Carriers {
    engine: Engine,
    seven: Phone,
    eight: Phone,
}

/// The samples and the prefix they are tried under.
const SAMPLES: [(&str, &str); 5] =
    [("random-caller-id", "441"), ("do-not-call", "442"), ("peak-hours", "443"), ("account-jump", "444"), ("honeypot", "445")];

fn vars() -> Value {
    json!({
        "caller_ids": ["442079460001", "442079460002"],
        "peak": { "from": 0, "to": 24, "gateways": [8] },
        "accounts": { "44770": 1201, "44": 1200 },
        "honeypots": ["4455"],
        "honeypot_calls": 2,
    })
}

fn config(seven: &Phone, eight: &Phone) -> String {
    let address = |phone: &Phone| phone.address(Protocol::Udp).expect("a phone listens on UDP");
    let mut config = format!(
        "[[gateway]]\nid = 7\naddress = \"sip:{}\"\n[[gateway]]\nid = 8\naddress = \"sip:{}\"\n[[customer]]\nid = 12\n\
         addresses = [\"127.0.0.1\"]\nlimits = {{ concurrent = 5 }}\nvars = {{ accounts = {{ 44770 = 1201, 44 = 1200 }} }}\n",
        address(seven),
        address(eight)
    );
    for (name, prefix) in SAMPLES {
        config.push_str(&format!(
            "[[route]]\nprefix = \"{prefix}\"\ngateways = [7, 8]\ncost = 0.6\nscript = \"{name}\"\ntimeout_s = 60\n\
             vars = {{ caller_ids = [\"442079460001\", \"442079460002\"], peak = {{ from = 0, to = 24, gateways = [8] }}, \
             honeypots = [\"4455\"], honeypot_calls = 2 }}\n"
        ));
    }
    config
}

fn with_samples(setup: Setup) -> Setup {
    let scripts = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    SAMPLES.iter().fold(setup, |setup, (name, _)| {
        let source = std::fs::read_to_string(scripts.join(format!("{name}.js"))).expect("the samples lie in scripts/");
        setup.script(&format!("{name}.js"), &source)
    })
}

/// What a routing script did to a call, however it was asked.
#[derive(Debug, PartialEq)]
enum Routed {
    Reply(u64),
    /// Gateway, caller id, `X-Account`.
    To(u64, String, Option<String>),
}

impl Carriers {
    async fn start() -> Self {
        let (seven, eight) = (phone("seven").await, phone("eight").await);
        let engine = with_samples(Engine::setup().config(&config(&seven, &eight))).start();
        Self { engine, seven, eight }
    }

    async fn dial(&self, number: &str, cli: &str) -> (Phone, PhoneCall) {
        let caller = Phone::start(phone_config("caller")).await.expect("a phone can be started");
        let headers = vec![("X-Account".to_owned(), "1".to_owned()), ("X-Trace".to_owned(), "abc".to_owned())];
        let dial = Dial { from: Some(cli.to_owned()), headers, ..Dial::default() };
        let call = caller.dial(&self.engine.uri(number), dial).await.expect("the engine can be called");
        (caller, call)
    }

    async fn by_sip(&mut self, number: &str, cli: &str) -> Routed {
        let (_caller, mut call) = self.dial(number, cli).await;
        let (gateway, arrived) = tokio::select! {
            arrived = incoming(&mut self.seven) => (7, arrived),
            arrived = incoming(&mut self.eight) => (8, arrived),
            ended = call.ended() => return Routed::Reply(ended.code.into()),
        };
        assert_eq!(arrived.header("X-Trace"), Some("abc"), "what the caller says is passed on");
        let cli = arrived.from().uri.user().unwrap_or_default().into_owned();
        let account = arrived.header("X-Account").map(str::to_owned);
        arrived.reject(486);
        assert_eq!(within("the end of the call", call.ended()).await.code, 486);
        Routed::To(gateway, cli, account)
    }

    async fn by_http(&self, number: &str, cli: &str) -> Routed {
        let asked = json!({ "routing": { "cli": cli, "dest_number": number, "account_id": 12 } });
        let (status, body) = self.engine.request("POST", "/v1/route", &asked.to_string()).await;
        let answer: Value = serde_json::from_str(&body).expect("the answer is JSON");
        if status == 422 {
            return Routed::Reply(answer["error"]["code"].as_u64().expect("a SIP code"));
        }
        assert_eq!(status, 200, "{body}");
        read(&Value::Null, &answer, cli)
    }

    /// `lockstep run` with the engine's own store.
    fn command(&self, file: &Path) -> Command {
        let mut command = Command::new(binary());
        command.arg("run").arg(file).arg("--config").arg(self.engine.folder());
        command
    }

    fn by_command(&self, script: &str, number: &str, cli: &str) -> Routed {
        let row = |id: u8| json!({ "gw": { id.to_string(): { "cli": cli } }, "headers": [], "remove_headers": [] });
        let rows = json!([row(7), row(8)]);
        let mut data = vars();
        data["routing"] = json!({ "cli": cli, "dest_number": number, "account_id": 12, "egress_routing": rows, "headers": [],
            "remove_headers": [], "log": [] });
        data["egress_routing"] = rows;
        data["headers"] = json!([]);
        data["remove_headers"] = json!([]);
        let file = self.engine.folder().join("scripts").join(format!("{script}.js"));
        let output = self.command(&file).args(["--data", &data.to_string()]).output().expect("it runs");
        if output.status.success() {
            let result: Value = serde_json::from_slice(&output.stdout).expect("the result is JSON");
            return read(&data, &result, cli);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let codes = said.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok());
        Routed::Reply(codes.into_iter().find(|code| (300..700).contains(code)).unwrap_or_else(|| panic!("no code in: {said}")))
    }
}

/// The first gateway of a routing object, of whose two spellings the one that was changed counts.
fn read(given: &Value, data: &Value, original: &str) -> Routed {
    let changed = |name: &str| {
        let top = data.get(name).filter(|list| given.get(name) != Some(list));
        top.or_else(|| data.pointer(&format!("/routing/{name}"))).cloned()
    };
    let rows = changed("egress_routing").expect("rows are left");
    let (id, gateway) = rows[0]["gw"].as_object().and_then(|gw| gw.iter().next()).expect("a gateway");
    let cli = gateway["cli"].as_str().unwrap_or(original).to_owned();
    let headers = changed("headers").unwrap_or_default();
    let account = headers.as_array().and_then(|list| list.iter().find(|header| header["key"] == "X-Account"));
    Routed::To(id.parse().expect("a number"), cli, account.map(|header| header["value"].to_string()))
}

#[tokio::test]
async fn a_sample_does_the_same_by_sip_over_http_and_from_the_command_line() {
    let mut carriers = Carriers::start().await;

    let random = [
        carriers.by_sip("4411", "44770").await,
        carriers.by_http("4411", "44770").await,
        carriers.by_command("random-caller-id", "4411", "44770"),
    ];
    for routed in random {
        let Routed::To(7, cli, _) = &routed else { panic!("{routed:?}") };
        assert!(["442079460001", "442079460002"].contains(&cli.as_str()), "{cli}");
    }

    let list = carriers
        .command(&carriers.engine.folder().join("scripts/do-not-call.js"))
        .args(["--fn", "add", "--data", "{\"number\":\"+4422\"}"])
        .output()
        .expect("it runs");
    assert!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
    let to = |gateway, account: Option<&str>| Routed::To(gateway, "44770".into(), account.map(str::to_owned));
    // Without the script's word the caller's own header goes through.
    for (script, number, by_sip, asked) in [
        ("do-not-call", "4422", Routed::Reply(604), Routed::Reply(604)),
        ("do-not-call", "4423", to(7, Some("1")), to(7, None)),
        ("peak-hours", "4433", to(8, Some("1")), to(8, None)),
        ("account-jump", "4444", to(7, Some("1201")), to(7, Some("1201"))),
    ] {
        assert_eq!(carriers.by_sip(number, "44770").await, by_sip, "{script}");
        assert_eq!(carriers.by_http(number, "44770").await, asked, "{script}");
        assert_eq!(carriers.by_command(script, number, "44770"), asked, "{script}");
    }

    for number in ["4455", "4455", "4456"] {
        let reply = Routed::Reply(if number == "4455" { 404 } else { 603 });
        assert_eq!(carriers.by_sip(number, "4471").await, reply);
        assert_eq!(carriers.by_http(number, "4472").await, reply);
        assert_eq!(carriers.by_command("honeypot", number, "4473"), reply);
    }
}

#[tokio::test]
async fn a_call_to_a_carrier_is_heard_recorded_and_paid_for() {
    let mut carriers = Carriers::start().await;
    let (_caller, mut call) = carriers.dial("4433", "44770").await;
    let failing = incoming(&mut carriers.eight).await;
    failing.reject(503);
    let mut callee = incoming(&mut carriers.seven).await;
    callee.ring();
    callee.answer();
    within("an answer", call.answered()).await.expect("the call is up");
    within("an ACK", callee.answered()).await.expect("the call is up");
    call.press("5");
    assert_eq!(within("a key", callee.digit()).await.expect("the call is up"), '5');
    call.hangup();
    within("the end", callee.ended()).await;
    let mut records = Value::Null;
    until("a record", async || {
        records = carriers.engine.get("/v1/cdrs?customer=12&answered=true&gateway=8").await["cdrs"].take();
        records.as_array().is_some_and(|list| !list.is_empty())
    })
    .await;
    let record = &records[0];
    let tried: Vec<_> = record["attempts"].as_array().expect("a list").iter().map(|a| (&a["gateway"], &a["code"])).collect();
    assert_eq!(tried, [(&json!(8), &json!(503)), (&json!(7), &json!(200))], "{record}");
    assert_eq!((&record["from"], &record["to"], &record["by"]), (&json!("44770"), &json!("4433"), &json!("caller")));
    assert!(record["cost"].as_f64().is_some_and(|cost| cost >= 0.01), "{record}");
    assert!(record["script_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{record}");
    assert_eq!(carriers.engine.get("/v1/cdrs?customer=13").await["cdrs"], json!([]));
}
