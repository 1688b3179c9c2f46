//! Numbers that scripts dial on a FreeSWITCH call: routes, routing scripts, limits and records are those of our own calls.

use lockstep_tests::engine::{Engine, Events, Setup as Configured, until};
use lockstep_tests::freeswitch::{Line, Peer, Setup};
use serde_json::{Value, json};

const ROUTES: &str = r#"
[event_socket]
freeswitch_outbound = "127.0.0.1:0"
media = { files = "/s", profile = "carriers" }
[[gateway]]
id = 7
address = "sip:203.0.113.7"
[[gateway]]
id = 8
address = "sip:203.0.113.8:5070;transport=tcp"
[[customer]]
id = 12
limits = { concurrent = 1 }
[[route]]
prefix = "44"
gateways = [7, 8]
cost = 0.6
ring_s = 20
[[route]]
prefix = "45"
gateways = [7]
customers = [12]
[[route]]
prefix = "46"
gateways = [7, 8]
script = "choose"
timeout_s = 60
[[route]]
prefix = "47"
gateways = [7]
customers = [12]
script = "slow"
timeout_s = 60
[[user]]
name = "1001"
password = "x"
"#;

/// Dials what the call's number says, and says what came of it. The stand-in's minutes are short: it may ring for ten of them.
const DIAL: &str = "const dial = async (to, options) => {
    const { status, code, reason } = await ctx.bridge(to, { continue_on: true, timeout_ms: 600_000, ...options });
    ctx.log(`${status} ${code} ${reason}`);
};
await ctx.answer();
await dial(ctx.get('to_dial').split(' '), { strategy: ctx.get('strategy') || 'sequential' });
await ctx.hangup();";

const CHOOSE: &str = "// @lockstep type=script
function main(data) {
    if (data.routing.dest_number === '4699') throw '604 Does Not Exist Anywhere';
    data.egress_routing.reverse();
    data.egress_routing[0].gw['8'].cli = '442079460001';
    data.egress_routing[0].headers = [{ key: 'X-Row', value: 8 }];
    data.remove_headers = ['x-secret'];
    return data;
}";

fn engine() -> Configured {
    let slow = "// @lockstep type=app\nexport async function main() { await new Promise(() => setTimeout(() => {}, 60_000)); }";
    Engine::setup().config(ROUTES).main("4000", DIAL).script("choose.js", CHOOSE).script("slow.js", slow)
}

fn fails(address: &str, cause: &str) -> (String, Peer) {
    (address.to_owned(), Peer::Fails { after_ms: 20, cause: cause.to_owned() })
}

/// A call that dials `numbers`; what became of it.
struct Dialled {
    line: Line,
    events: Events,
    id: String,
}

impl Dialled {
    async fn new(engine: &Engine, numbers: &str, variables: &[(&str, &str)], peers: Vec<(String, Peer)>) -> Self {
        let number = numbers.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        let mut setup = Setup { uuid: format!("00000000-0000-4000-8000-{number:012}"), peers, ..Setup::default() };
        setup.variables.insert("to_dial".to_owned(), numbers.to_owned());
        setup.variables.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let (events, id) = (engine.events().await, setup.uuid.clone());
        Self { line: Line::dial(engine.freeswitch(), setup).await, events, id }
    }

    /// The result the script has seen, and the dial strings.
    async fn result(mut self, expected: &str) -> (Vec<String>, Line) {
        self.events.logged(expected).await;
        self.events.ended(&self.id).await;
        self.line.over().await;
        let executed = self.line.with(|channel| channel.executed.clone());
        let bridges = executed.iter().filter_map(|application| application.strip_prefix("bridge("));
        (bridges.map(|arg| arg.trim_end_matches(')').to_owned()).collect(), self.line)
    }
}

/// The attempts of the newest record that has some, once there are `count`.
async fn attempts(engine: &Engine, count: usize) -> Vec<Value> {
    let mut attempts = Vec::new();
    until("the record", async || {
        let records = engine.get("/v1/cdrs?limit=1").await;
        attempts = records["cdrs"][0]["attempts"].as_array().cloned().unwrap_or_default();
        attempts.len() == count
    })
    .await;
    attempts
}

#[tokio::test]
async fn gateways_are_tried_one_after_another_and_recorded() {
    let engine = engine().start();
    let dialled = Dialled::new(&engine, "441234", &[], vec![fails("203.0.113.7", "NORMAL_TEMPORARY_FAILURE")]).await;
    let (bridges, _) = dialled.result("completed 200 OK").await;
    assert_eq!(bridges.len(), 2, "{bridges:?}");
    assert!(bridges[0].ends_with("]sofia/carriers/441234@203.0.113.7"), "{bridges:?}");
    assert!(bridges[0].contains("leg_timeout=20") && bridges[0].contains("leg_progress_timeout=10"), "{bridges:?}");
    assert!(bridges[0].contains("origination_caller_id_number=tester"), "{bridges:?}");
    assert!(bridges[1].ends_with("]sofia/carriers/441234@203.0.113.8:5070;transport=tcp"), "{bridges:?}");
    assert!(!bridges[1].contains("leg_progress_timeout"), "the last may take its time: {bridges:?}");
    let attempts = attempts(&engine, 2).await;
    let told = |attempt: &Value| json!([attempt["gateway"], attempt["number"], attempt["code"], attempt["price"]]);
    assert_eq!(told(&attempts[0]), json!([7, "441234", 503, 0.6]));
    assert_eq!(told(&attempts[1]), json!([8, "441234", 200, 0.6]));
    assert!(attempts[0]["answered_at"].is_null() && attempts[1]["answered_at"].is_u64(), "{attempts:?}");
}

#[tokio::test]
async fn the_callees_own_word_is_final() {
    let engine = engine().start();
    let dialled = Dialled::new(&engine, "441234", &[], vec![fails("203.0.113", "USER_BUSY")]).await;
    let (bridges, _) = dialled.result("busy 486 Busy Here").await;
    assert_eq!(bridges.len(), 1, "{bridges:?}");
    // Of all failures the caller hears of the one that says most.
    let both = vec![fails("203.0.113.7", "UNALLOCATED_NUMBER"), fails("203.0.113.8", "NORMAL_TEMPORARY_FAILURE")];
    let (bridges, _) = Dialled::new(&engine, "441235", &[], both).await.result("failed 404 Not Found").await;
    assert_eq!(bridges.len(), 2, "{bridges:?}");
}

#[tokio::test]
async fn a_number_that_no_route_leads_to_is_refused_and_an_extension_is_not() {
    let engine = engine().start();
    for numbers in ["331234", "451234"] {
        let (bridges, _) = Dialled::new(&engine, numbers, &[], Vec::new()).await.result("failed 404").await;
        assert_eq!(bridges, [""; 0], "{numbers}: nothing reaches FreeSWITCH");
    }
    let (bridges, _) = Dialled::new(&engine, "sales", &[], Vec::new()).await.result("completed").await;
    assert!(bridges[0].ends_with("]loopback/sales/public"), "{bridges:?}");
    let (bridges, _) = Dialled::new(&engine, "1001", &[], Vec::new()).await.result("completed").await;
    assert!(bridges[0].ends_with("]user/1001"), "{bridges:?}");
}

#[tokio::test]
async fn routing_scripts_decide() {
    let engine = engine().start();
    let headers = [("sip_h_X-Secret", "s"), ("sip_h_X-Open", "o")];
    let (bridges, line) = Dialled::new(&engine, "461234", &headers, vec![fails("203.0.113.8", "NO_ROUTE_DESTINATION")])
        .await
        .result("completed 200 OK")
        .await;
    assert!(bridges[0].contains("203.0.113.8") && bridges[1].contains("203.0.113.7"), "{bridges:?}");
    assert!(bridges[0].contains("origination_caller_id_number=442079460001"), "{bridges:?}");
    assert!(bridges[1].contains("origination_caller_id_number=tester"), "{bridges:?}");
    let at_bridge = |bridge, name: &str| line.with(|channel| channel.at_bridge(bridge, name).map(str::to_owned));
    assert_eq!(at_bridge(0, "sip_h_X-Row").as_deref(), Some("8"));
    assert_eq!(at_bridge(1, "sip_h_X-Row"), None, "it is the first row's");
    let second = at_bridge(1, "export_vars").unwrap_or_default();
    assert!(second.contains("sip_h_X-Open") && !second.contains("X-Row") && !second.contains("X-Secret"), "{second}");
    assert_eq!(line.with(|channel| channel.variable("sip_copy_custom_headers").map(str::to_owned)), None, "as it was before");
    let (bridges, _) = Dialled::new(&engine, "4699", &[], Vec::new()).await.result("failed 604 Does Not Exist Anywhere").await;
    assert_eq!(bridges, [""; 0]);
}

#[tokio::test]
async fn what_a_customer_may_dial_is_counted_for_whom_the_dialplan_names() {
    let engine = engine().start();
    let theirs = [("lockstep_customer", "12")];
    let ringing = Dialled::new(&engine, "451234", &theirs, vec![("203.0.113".to_owned(), Peer::Rings)]).await;
    ringing.line.executes("bridge").await;
    let refused = Dialled::new(&engine, "451235", &theirs, Vec::new()).await;
    let (bridges, _) = refused.result("failed 503 Too Many Concurrent Calls").await;
    assert_eq!(bridges, [""; 0]);
    let Dialled { line, mut events, id } = ringing;
    line.with(|channel| channel.caller_hangs_up());
    events.ended(&id).await;
    let attempts = attempts(&engine, 1).await;
    assert_eq!((&attempts[0]["code"], &attempts[0]["gateway"]), (&json!(487), &json!(7)));
    Dialled::new(&engine, "451236", &theirs, Vec::new()).await.result("completed 200 OK").await;
    let stranger = Dialled::new(&engine, "451237", &[("lockstep_customer", "99")], Vec::new()).await;
    stranger.line.over().await;
    assert_eq!(stranger.line.with(|channel| channel.response.clone()).as_deref(), Some("403 Forbidden"));
}

#[tokio::test]
async fn a_look_up_that_is_given_up_counts_no_more() {
    let body = "await ctx.answer();
const given_up = await ctx.bridge('471234', { continue_on: true, signal: AbortSignal.timeout(50) }).catch((error) => error);
const { status } = await ctx.bridge('451234', true);
ctx.log(`${given_up.name} ${status}`);
await ctx.hangup();";
    let engine = engine().main("5000", body).start();
    let mut setup = Setup { destination: "5000".to_owned(), ..Setup::default() };
    setup.variables.insert("lockstep_customer".to_owned(), "12".to_owned());
    let mut events = engine.events().await;
    let line = Line::dial(engine.freeswitch(), setup).await;
    events.logged("AbortError completed").await;
    line.over().await;
}

#[tokio::test]
async fn targets_called_at_once_ring_together_each_at_its_first_gateway() {
    let engine = engine().start();
    let all = [("strategy", "parallel")];
    let (bridges, _) = Dialled::new(&engine, "1001 441234 331234", &all, vec![("user/1001".to_owned(), Peer::Rings)])
        .await
        .result("completed 200 OK")
        .await;
    assert_eq!(bridges.len(), 1, "{bridges:?}");
    assert!(bridges[0].contains("]user/1001,[") && bridges[0].ends_with("]sofia/carriers/441234@203.0.113.7"), "{bridges:?}");
    assert_eq!(attempts(&engine, 1).await[0]["code"], 200);
    let (bridges, _) = Dialled::new(&engine, "441234 1001", &[], vec![fails("203.0.113", "NORMAL_TEMPORARY_FAILURE")])
        .await
        .result("completed 200 OK")
        .await;
    assert_eq!(bridges.len(), 3, "one after another, a gateway at a time: {bridges:?}");
}

#[tokio::test]
async fn gateways_may_be_those_of_the_media_server() {
    let named = ROUTES.replace("profile = \"carriers\"", "gateways = \"sofia/gateway/carrier-{gateway}/{target}\"");
    let engine = Engine::setup().config(&named).main("4000", DIAL).script("choose.js", CHOOSE).script("slow.js", CHOOSE).start();
    let (bridges, _) = Dialled::new(&engine, "441234", &[], Vec::new()).await.result("completed 200 OK").await;
    assert!(bridges[0].ends_with("]sofia/gateway/carrier-7/441234"), "{bridges:?}");
}
