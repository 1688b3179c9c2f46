//! Drivers that the configuration binds: numbers from a carrier, and alerts.

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::{Engine, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NUMBERS: &str = "// @lockstep type=driver
const { ko } = require('cxKV');
module.exports = {
  search: async ({ number }) => [{ did: number + '000' }, { did: number + '001' }],
  allocate: async ({ did }) => {
    if (did.endsWith('9')) throw '404 Not Found';
    await ko.set(`ours:${did}`, { at: 1 });
    if (did.endsWith('7')) return { did: did.slice(0, -1) + '8' };
    return { did: '+' + did, order: 'A-17' };
  },
  release: async ({ did, vars }) => {
    await ko.set('released', { did, order: vars?.order });
    return did !== '442080000001';
  },
  list: async () => [],
  released: () => ko.get('released'),
};";

async fn post(engine: &Engine, path: &str, body: Value) -> (u16, Value) {
    let (status, text) = engine.request("POST", path, &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test]
async fn an_allocated_number_is_called_at_once_and_a_released_one_no_more() {
    let engine = Engine::setup()
        .config("[drivers]\ndid = \"numbers\"")
        .script("numbers.js", NUMBERS)
        .main("100", "await ctx.answer();\nctx.log('number ' + JSON.stringify([data.did, data.vars.order]));")
        .start();
    let found = post(&engine, "/v1/dids/search", json!({ "number": "442080000" })).await;
    assert_eq!(found, (200, json!([{ "did": "442080000000" }, { "did": "442080000001" }])));
    let wanted = json!({ "did": "442080000000", "destinations": ["class5:100"] });
    let (status, did) = post(&engine, "/v1/dids/allocate", wanted.clone()).await;
    assert_eq!((status, &did["number"], &did["vars"]["order"]), (201, &json!("442080000000"), &json!("A-17")), "{did}");
    let story = Caller::answered(&engine, "442080000000").await.over(&engine).await;
    assert_eq!(story.value("number"), json!(["442080000000", "A-17"]));
    assert_eq!(post(&engine, "/v1/dids/allocate", wanted).await.0, 409, "it is ours already");

    let nowhere = json!({ "did": "442080000005", "destinations": ["user:7"] });
    assert_eq!(post(&engine, "/v1/dids/allocate", nowhere).await.0, 422);
    let unknown = json!({ "did": "442080000004", "colour": "red" });
    assert_eq!(post(&engine, "/v1/dids/allocate", unknown).await.0, 422);
    let last = post(&engine, "/v1/scripts/numbers/run", json!({ "fn": "released" })).await.1;
    assert_eq!(last["result"], Value::Null, "neither was bought first");
    let (status, refused) = post(&engine, "/v1/dids/allocate", json!({ "did": "442080000009" })).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!(404)), "what the driver says: {refused}");
    let (status, refused) = post(&engine, "/v1/dids/allocate", json!({ "did": "442080000006" })).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_entry")), "it leads nowhere: {refused}");
    let last = post(&engine, "/v1/scripts/numbers/run", json!({ "fn": "released" })).await.1;
    assert_eq!(last["result"]["did"], "442080000006", "and was given back");

    let (status, _) = post(&engine, "/v1/dids/release", json!({ "did": "442080000000" })).await;
    assert_eq!(status, 200);
    let last = post(&engine, "/v1/scripts/numbers/run", json!({ "fn": "released" })).await.1;
    assert_eq!(last["result"], json!({ "did": "442080000000", "order": "A-17" }), "the driver gets what it said");
    assert_eq!(engine.request("GET", "/v1/dids/442080000000", "").await.0, 404);
    assert_eq!(post(&engine, "/v1/dids/release", json!({ "did": "442080000000" })).await.0, 404);

    let kept = json!({ "did": "442080000001", "destinations": ["class5:100"] });
    assert_eq!(post(&engine, "/v1/dids/allocate", kept).await.0, 201);
    assert_eq!(post(&engine, "/v1/dids/release", json!({ "did": "442080000001" })).await.0, 409, "the driver said no");
    assert_eq!(engine.request("GET", "/v1/dids/442080000001", "").await.0, 200);
}

#[tokio::test]
async fn the_number_that_the_carrier_gave_is_ours_whichever_was_asked_for() {
    let engine = Engine::setup().config("[drivers]\ndid = \"numbers\"").script("numbers.js", NUMBERS).main("100", "").start();
    let wanted = json!({ "did": "442080000007", "destinations": ["class5:100"] });
    let (status, did) = post(&engine, "/v1/dids/allocate", wanted.clone()).await;
    assert_eq!((status, &did["number"]), (201, &json!("442080000008")), "{did}");
    assert_eq!(engine.request("GET", "/v1/dids/442080000007", "").await.0, 404);
    let (status, refused) = post(&engine, "/v1/dids/allocate", wanted).await;
    assert_eq!((status, &refused["error"]["code"]), (502, &json!("driver_failed")), "{refused}");
    let last = post(&engine, "/v1/scripts/numbers/run", json!({ "fn": "released" })).await.1;
    assert_eq!(last["result"], Value::Null, "it stays ours");
    assert_eq!(engine.request("GET", "/v1/dids/442080000008", "").await.0, 200);
}

#[tokio::test]
async fn without_a_bound_driver_the_key_to_set_is_named() {
    let engine = Engine::setup().start();
    let (status, refused) = post(&engine, "/v1/dids/search", json!({})).await;
    assert_eq!((status, &refused["error"]["message"]), (409, &json!("set [drivers] did in lockstep.toml")));
}

#[tokio::test]
async fn failures_of_calls_scripts_and_jobs_reach_the_alert_driver_once() {
    let driver = "// @lockstep type=driver
const { kv, incr } = require('cxKV');
exports.alert = async ({ name, severity, text, data }) => {
  await kv.set('last:' + name, JSON.stringify({ severity, text, data }));
  await incr('told:' + name);
};";
    let engine = Engine::setup()
        .config("[drivers]\nalert = \"alarm\"")
        .script("alarm.js", driver)
        .script("bad.js", "// @lockstep class5_destination=100\nfunction main() {\n  null.x;\n}")
        .start();
    let mut events = engine.events_at("?types=alert,job").await;
    // Ten times the same, and one alert.
    for _ in 0..10 {
        assert_eq!(post(&engine, "/v1/scripts/bad/run", json!({})).await.0, 422);
    }
    let told = events.find("an alert", |event| (event["type"] == "alert").then(|| event.clone())).await;
    assert_eq!(
        (&told["name"], &told["severity"], &told["data"]["script"]),
        (&json!("script-error"), &json!("error"), &json!("bad"))
    );
    assert_eq!(told["data"]["at"], "bad.js:3:3", "{told}");

    let (status, job) = post(&engine, "/v1/jobs", json!({ "script": "bad", "attempts": 2, "backoff_ms": 1 })).await;
    assert_eq!(status, 201, "{job}");
    let mut states = Vec::new();
    let failed = events
        .find("the alert of a job", |event| {
            if event["type"] == "job" {
                states.push(event["state"].as_str().unwrap_or_default().to_owned());
            }
            (event["name"] == "job-failed").then(|| event.clone())
        })
        .await;
    assert_eq!((&failed["data"]["job"], &failed["data"]["attempts"]), (&job["id"], &json!(2)));
    assert_eq!(states, ["active", "delayed", "active", "failed"]);

    let wire = lockstep_tests::wire::Wire::to(engine.udp()).await;
    let invite = lockstep_tests::wire::Request::invite("100", engine.udp(), lockstep_tests::wire::plain_offer(wire.address()));
    assert_eq!(wire.exchange(&invite).await.code(), 500);
    let failed = events.find("the alert of a call", |event| (event["name"] == "call-failed").then(|| event.clone())).await;
    assert_eq!((&failed["data"]["code"], &failed["data"]["to"]), (&json!(500), &json!("100")));

    let value = async |key: &str| {
        let path = format!("/v1/kv/{key}");
        until(key, async || engine.request("GET", &path, "").await.0 == 200).await;
        engine.get(&path).await["value"].clone()
    };
    assert_eq!(value("told:call-failed").await, "1");
    assert_eq!(value("told:job-failed").await, "1");
    assert_eq!(value("told:script-error").await, "1", "of eleven");
}

#[tokio::test]
async fn the_sample_driver_keeps_a_stock_of_its_own() {
    let sample = include_str!("../../../scripts/number-stock.js");
    let engine = Engine::setup()
        .config("[drivers]\ndid = \"number-stock\"")
        .script("number-stock.js", sample)
        .main("100", "await ctx.answer();\nctx.log('stock ' + JSON.stringify(data.vars.stock));")
        .start();
    let (status, filled) = post(&engine, "/v1/drivers/number-stock/fill", json!({ "from": "442080000000", "count": 3 })).await;
    assert_eq!((status, &filled), (200, &json!({ "added": 3 })));
    let wanted = json!({ "did": "442080000001", "destinations": ["class5:100"] });
    assert_eq!(post(&engine, "/v1/dids/allocate", wanted).await.0, 201);
    let free = post(&engine, "/v1/dids/search", json!({ "number": "44208" })).await.1;
    assert_eq!(free, json!([{ "did": "442080000000" }, { "did": "442080000002" }]));
    let story = Caller::answered(&engine, "442080000001").await.over(&engine).await;
    assert_eq!(story.value("stock"), "own");
    assert_eq!(post(&engine, "/v1/drivers/number-stock/list", json!({})).await.1, json!([{ "did": "442080000001" }]));
    assert_eq!(post(&engine, "/v1/dids/release", json!({ "did": "442080000001" })).await.0, 200);
    assert_eq!(post(&engine, "/v1/drivers/number-stock/list", json!({})).await.1, json!([]));
}

#[tokio::test]
async fn a_number_that_is_being_bought_while_the_engine_stops_is_ours_afterwards() {
    let slow = "// @lockstep type=driver
const { kv } = require('cxKV');
exports.allocate = async ({ did }) => {
  await kv.set('ordered:' + did, 'yes');
  await new Promise((done) => setTimeout(done, 500));
  return { did };
};";
    let mut engine =
        Engine::setup().config("[drivers]\ndid = \"slow\"").script("slow.js", slow).main("100", "await ctx.answer();").start();
    for (did, stays) in [("4420", true), ("4421", false)] {
        let mut client = TcpStream::connect(engine.api()).await.unwrap();
        let body = json!({ "did": did, "destinations": ["class5:100"] }).to_string();
        let head = format!("POST /v1/dids/allocate HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n", engine.api(), body.len());
        client.write_all((head + &body).as_bytes()).await.unwrap();
        let ordered = format!("/v1/kv/ordered:{did}");
        until("the order", async || engine.request("GET", &ordered, "").await.0 == 200).await;
        let client = stays.then_some(client);
        engine = engine.restart().await;
        if let Some(mut client) = client {
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        }
        let (status, found) = engine.request("GET", &format!("/v1/dids/{did}"), "").await;
        assert_eq!(status, 200, "{found}");
    }
}
