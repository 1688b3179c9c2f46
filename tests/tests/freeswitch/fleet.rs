//! Servers that the engine connects to.

use lockstep_tests::engine::{Engine, until};
use lockstep_tests::freeswitch::Server;
use serde_json::Value;

async fn engine(servers: &[&Server]) -> Engine {
    let hosts: String = servers
        .iter()
        .enumerate()
        .map(|(number, server)| {
            format!("[[freeswitch]]\nname = \"fs{number}\"\naddress = \"{}\"\npassword = \"ClueCon\"\n", server.address)
        })
        .collect();
    let engine = Engine::setup()
        .config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"")
        .config(&hosts)
        .main("4000", "ctx.log(`${ctx.call.direction} ${ctx.call.state} ${ctx.get('who')}`);\nawait ctx.hangup();")
        .start();
    connected(&engine).await;
    engine
}

/// Waits until the engine is connected to all its servers.
pub(crate) async fn connected(engine: &Engine) {
    until("a connection to each server", async || {
        let listed = engine.get("/v1/freeswitch").await;
        listed["hosts"].as_array().expect("a list").iter().all(|host| host["connected"] == true)
    })
    .await;
}

async fn place(engine: &Engine, to: &str) -> (u16, Value) {
    let body =
        format!("{{\"to\":{},\"destination\":\"4000\",\"from\":\"4420\",\"vars\":{{\"who\":\"O'Neill\"}}}}", Value::from(to));
    let body = body.replace("O'Neill", "Ann B");
    let (status, body) = engine.request("POST", "/v1/calls", &body).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_call_is_placed_there_and_its_script_runs_here() {
    let server = Server::start("ClueCon").await;
    let engine = engine(&[&server]).await;
    let mut events = engine.events().await;
    let (status, body) = place(&engine, "freeswitch:user/1001").await;
    assert_eq!(status, 201, "{body}");
    let id = body["id"].as_str().unwrap();
    events.logged("outbound answered Ann B").await;
    assert_eq!(server.line(0).await.over().await, "NORMAL_CLEARING");
    assert_eq!(engine.get(&format!("/v1/calls/{id}")).await["direction"], "outbound");
    let command = server.command("originate ").await;
    assert!(
        command.contains("origination_caller_id_number=4420") && command.contains("}user/1001 '&socket(127.0.0.1:"),
        "{command}"
    );
}

#[tokio::test]
async fn why_a_call_was_not_answered_is_told_and_nothing_is_smuggled_in() {
    let server = Server::start("ClueCon").await;
    let engine = engine(&[&server]).await;
    let (status, body) = place(&engine, "freeswitch:error/USER_BUSY").await;
    assert_eq!((status, body["error"]["message"].as_str()), (422, Some("USER_BUSY")));
    assert_eq!(engine.get("/v1/freeswitch").await["hosts"][0]["sessions"], 0, "it is no call there");
    let before = server.count("originate");
    for hostile in ["user/1,user/2", "user/1 &system(ls)", "user/1|user/2", "[a=b]user/1", "{a=b}user/1", "user/${x}", "user/1'"]
    {
        let (status, body) = place(&engine, &format!("freeswitch:{hostile}")).await;
        assert_eq!(status, 422, "{hostile}: {body}");
    }
    assert_eq!(server.count("originate"), before);
    assert_eq!(place(&engine, "freeswitch@nowhere:user/1").await.0, 404);
}

#[tokio::test]
async fn a_script_takes_over_a_call_that_runs_there() {
    let (server, other) = (Server::start("ClueCon").await, Server::start("ClueCon").await);
    let uuid = "64e042bd-4aba-4490-9a5f-eda875c7136d";
    other.run(uuid);
    let engine = engine(&[&server, &other]).await;
    let mut events = engine.events().await;
    let body = format!("{{\"call\":\"{uuid}\",\"script\":\"4000\"}}");
    let misspelt = body.replace("4000", "400");
    let (status, answer) = engine.request("POST", "/v1/freeswitch/attach", &misspelt).await;
    assert!(status == 404 && answer.contains("no_such_script"), "{status} {answer}");
    assert_eq!(other.count("uuid_"), 0, "the call is left alone");
    let (status, answer) = engine.request("POST", "/v1/freeswitch/attach", &body).await;
    assert_eq!(status, 202, "{answer}");
    events.logged("outbound answered").await;
    assert_eq!(other.line(0).await.over().await, "NORMAL_CLEARING");
    let unknown = body.replace("64e042bd", "00000000");
    assert_eq!(engine.request("POST", "/v1/freeswitch/attach", &unknown).await.0, 422);
}

#[tokio::test]
async fn hosts_are_told_of_balanced_and_connected_again() {
    let (server, other) = (Server::start("ClueCon").await, Server::start("ClueCon").await);
    let engine = engine(&[&server, &other]).await;
    for _ in 0..4 {
        assert_eq!(place(&engine, "freeswitch:user/1001").await.0, 201);
    }
    assert_eq!((server.count("originate"), other.count("originate")), (2, 2));
    let rows = engine.get("/v1/freeswitch/fs0/registrations").await;
    assert_eq!(rows["registrations"][0]["reg_user"], "1001");
    // Whatever else it is ready for.
    let ready: Value = serde_json::from_str(&engine.request("GET", "/v1/ready", "").await.1).unwrap();
    assert_eq!(ready["freeswitch"][1]["connected"], true);
    let metrics = engine.request("GET", "/metrics", "").await.1;
    assert!(metrics.contains("lockstep_freeswitch_connected{host=\"fs1\"} 1"), "{metrics}");
    other.disconnect();
    engine.log().line("not connected").await;
    assert_eq!(place(&engine, "freeswitch:user/1001").await.0, 201);
    until("another connection", async || other.count("auth") >= 2).await;
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let server = Server::start("another").await;
    let engine = Engine::setup()
        .config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"")
        .config(&format!("[[freeswitch]]\naddress = \"{}\"\npassword = \"ClueCon\"\n", server.address))
        .main("4000", "")
        .start();
    engine.log().line("the password is wrong").await;
    let hosts = engine.get("/v1/freeswitch").await;
    assert_eq!(hosts["hosts"][0]["connected"], false);
    assert_eq!(place(&engine, "freeswitch:user/1001").await.0, 503);
}
