//! Event-socket clients and applications that were written for FreeSWITCH.

use lockstep_engine::phone::PhoneCall;
use lockstep_tests::caller::{Caller, USERS, incoming, registered};
use lockstep_tests::client::{Client, free_port};
use lockstep_tests::engine::{Engine, Setup, within};
use lockstep_tests::event_socket::{PASSWORD, Wire, config};
use tokio::net::TcpListener;

fn engine(more: &str) -> Setup {
    Engine::setup().config(&format!("{}{USERS}{more}", config())).main("1000", "await ctx.answer(); await ctx.waitForHangup();")
}

/// A client of another hand logs in, asks, listens, places a call, and ends it.
async fn watches_and_calls(client: &str) {
    let engine = engine("").start();
    let mut callee = registered(&engine, "1001").await;
    let port = engine.event_socket().port().to_string();
    let mut client = Client::start(client, &["inbound", &port, PASSWORD, "1001"]);
    client.says("authenticated").await;
    client.says("status").await;
    let mut call: PhoneCall = incoming(&mut callee).await;
    call.answer();
    let uuid = client.says("originated").await;
    assert_eq!(client.says("answered").await, uuid);
    assert_eq!(client.says("over").await, "NORMAL_CLEARING");
    within("the end of the call", call.ended()).await;
}

/// An application of another hand answers, plays, collects four keys, and hangs up.
async fn answers_plays_and_collects(application: &str, mode: &str) {
    let did = |socket: &str| format!("[[did]]\nnumber = \"4000\"\ndestinations = [\"{socket} {mode}\"]\n");
    has_its_calls(application, did).await;
}

/// The same, where `config` leads 4000 to the socket it is given.
async fn has_its_calls(application: &str, config: impl Fn(&str) -> String) {
    let port = free_port();
    let mut application = Client::start(application, &["outbound", &port.to_string()]);
    application.says("listening").await;
    let engine = engine(&config(&format!("socket:127.0.0.1:{port}"))).start();
    let caller = Caller::answered(&engine, "4000").await;
    application.says("called").await;
    application.says("played").await;
    caller.call.press("1234");
    assert_eq!(application.says("digits").await, "1234");
    let story = caller.over(&engine).await;
    assert_eq!(story.ended.code, 200);
}

#[tokio::test]
async fn esl_watches_and_places_calls() {
    watches_and_calls("esl.mjs").await;
}

#[tokio::test]
async fn modesl_watches_and_places_calls() {
    watches_and_calls("modesl.mjs").await;
}

#[tokio::test]
async fn esl_lite_watches_and_places_calls() {
    watches_and_calls("esl_lite.mjs").await;
}

#[tokio::test]
async fn greenswitch_watches_and_places_calls() {
    watches_and_calls("greenswitch_client.py").await;
}

#[tokio::test]
async fn genesis_watches_and_places_calls() {
    watches_and_calls("genesis_client.py").await;
}

#[tokio::test]
async fn an_esl_application_answers_calls() {
    answers_plays_and_collects("esl.mjs", "async full").await;
}

#[tokio::test]
async fn a_modesl_application_answers_calls() {
    answers_plays_and_collects("modesl.mjs", "async full").await;
}

#[tokio::test]
async fn an_application_may_have_a_class_5_destination() {
    let class5 = |socket: &str| format!("[[class5]]\ndestination = \"/40[0-9]+/\"\nto = \"{socket} async full\"\n");
    has_its_calls("greenswitch_client.py", class5).await;
}

/// A listening application that has the Class 5 destination 4000.
async fn application_at_4000() -> (Client, String) {
    let port = free_port();
    let mut application = Client::start("greenswitch_client.py", &["outbound", &port.to_string()]);
    application.says("listening").await;
    (application, format!("[[class5]]\ndestination = \"4000\"\nto = \"socket:127.0.0.1:{port} async full\"\n"))
}

#[tokio::test]
async fn a_script_reaches_an_application_by_its_class_5_destination() {
    let (mut application, class5) = application_at_4000().await;
    let engine = engine(&class5).main("3000", "await ctx.answer(); await ctx.bridge('4000');").start();
    let caller = Caller::answered(&engine, "3000").await;
    application.says("played").await;
    caller.call.press("1234");
    assert_eq!(application.says("digits").await, "1234");
    assert_eq!(caller.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn a_call_that_is_placed_is_handed_to_an_application() {
    let (mut application, class5) = application_at_4000().await;
    let engine = engine(&class5).start();
    let mut phone = registered(&engine, "1001").await;
    let (status, answer) = engine.request("POST", "/v1/calls", r#"{"to":"1001","destination":"4000","from":"555"}"#).await;
    assert!((200..300).contains(&status), "{status} {answer}");
    let mut call = incoming(&mut phone).await;
    call.answer();
    assert_eq!(application.says("called").await, "555");
    application.says("played").await;
    call.press("1234");
    assert_eq!(application.says("digits").await, "1234");
    within("the end of the call", call.ended()).await;
    let nowhere = engine.request("POST", "/v1/calls", r#"{"to":"1001","destination":"5000"}"#).await;
    assert_eq!(nowhere.0, 422, "{}", nowhere.1);
}

/// An application that only the event socket has named is as blind to other accounts as their keys are to one another.
#[tokio::test]
async fn an_application_of_an_account_neither_sees_nor_touches_other_accounts_calls() {
    let accounts = "[[account]]\nname = \"north\"\n[[app]]\nname = \"menus\"\naccount = \"north\"\n";
    let waits = "// @lockstep class5_destination=2000 app=menus\n\
        async function main(data, ctx) { await ctx.answer(); await ctx.waitForHangup(); }";
    let engine = engine(accounts).script("north.js", waits).start();
    let mut own = Caller::answered(&engine, "2000").await;
    own.state("answered").await;
    let other = Caller::answered(&engine, "1000").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut operator = Wire::logged_in(&engine).await;
    let to = format!("{} async full", listener.local_addr().unwrap());
    let id = &own.id;
    operator.send(&format!("sendmsg {id}\ncall-command: execute\nexecute-app-name: socket\nexecute-app-arg: {to}\n\n")).await;
    operator.until("+OK\n\n").await;
    let mut application = Wire::called(&listener).await;
    application.send("connect\n\n").await;
    application.until("Control: full\n").await;
    application.send("event plain ALL\n\n").await;
    application.until("+OK event listener enabled plain\n\n").await;
    let (mine, theirs) = (own.id.clone(), other.id.clone());
    for (command, answer) in [
        (format!("uuid_exists {mine}"), "true"),
        (format!("uuid_exists {theirs}"), "false"),
        (format!("uuid_dump {theirs}"), "-ERR No such channel!\n"),
        (format!("uuid_kill {theirs}"), "-ERR No such channel!\n"),
        (format!("uuid_bridge {mine} {theirs}"), "-ERR No such channel!\n"),
        (format!("uuid_hold toggle {theirs}"), "-ERR No such channel!\n"),
        (format!("sched_hangup +1 {theirs}"), "-ERR No such channel!\n"),
        (format!("eval uuid:{theirs} ${{caller_id_number}}"), "-ERR No such channel!\n"),
        ("show channels".to_owned(), "-ERR permission denied\n"),
        ("hupall".to_owned(), "-ERR permission denied\n"),
        ("sched_api +1 none hupall".to_owned(), "-ERR permission denied\n"),
    ] {
        assert_eq!(application.api(&command).await, answer, "{command}");
    }
    application.send(&format!("sendmsg {theirs}\ncall-command: hangup\n\n")).await;
    application.until(&format!("-ERR invalid session id [{theirs}]\n\n")).await;
    operator.send(&format!("api uuid_kill {theirs}\n\n")).await;
    assert_eq!(other.over(&engine).await.ended.code, 200);
    application.send("sendmsg\ncall-command: hangup\n\n").await;
    let seen = application.rest().await;
    assert!(seen.contains("Event-Name: CHANNEL_HANGUP_COMPLETE\n") && !seen.contains(&theirs), "{seen}");
    assert_eq!(own.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn a_key_leads_no_call_to_an_application() {
    let engine = engine("").start();
    let caller = Caller::answered(&engine, "1000").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("socket:{} async full", listener.local_addr().unwrap());
    let mut events = engine.events_at("").await;
    events.command(&serde_json::json!({ "id": 1, "command": "transfer", "call": caller.id, "to": to })).await;
    let reply = events.find("a reply", |event| (event["id"] == 1).then(|| event.clone())).await;
    assert_eq!(reply["error"]["code"], "target_refused", "{reply}");
    assert_eq!(caller.hang_up(&engine).await.ended.code, 200, "its script has kept it");
}

#[tokio::test]
async fn all_calls_are_hung_up_with_the_cause_that_is_said() {
    let engine = engine("").start();
    let mut wire = Wire::logged_in(&engine).await;
    wire.send("event plain CHANNEL_HANGUP\n\n").await;
    wire.until("enabled plain\n\n").await;
    for (command, cause) in [("hupall", "MANAGER_REQUEST"), ("hupall user_busy", "USER_BUSY")] {
        let caller = Caller::answered(&engine, "1000").await;
        wire.send(&format!("api {command}\n\n")).await;
        wire.until(&format!("+OK hangup all channels with cause {cause}\n")).await;
        wire.until(&format!("Hangup-Cause: {cause}\n")).await;
        caller.over(&engine).await;
    }
}

#[tokio::test]
async fn the_next_target_is_tried_when_the_call_with_the_id_that_was_asked_for_has_failed() {
    let engine = engine("").start();
    let mut phone = registered(&engine, "1001").await;
    let mut wire = Wire::logged_in(&engine).await;
    wire.send("api originate {origination_uuid=first}user/1002|user/1001 &park()\n\n").await;
    let mut call = incoming(&mut phone).await;
    call.answer();
    let answer = wire.until("\n+OK ").await;
    assert!(!answer.contains("-ERR"), "{answer}");
    wire.until("\n").await;
    wire.send("api hupall\n\n").await;
    within("the end of the call", call.ended()).await;
}

#[tokio::test]
async fn a_placed_call_that_its_target_cannot_have_is_hung_up() {
    let engine = engine("").start();
    let mut phone = registered(&engine, "1001").await;
    let mut wire = Wire::logged_in(&engine).await;
    // What a variable names is known only then.
    for target in ["&transfer(${nobody})", "&transfer()"] {
        wire.send(&format!("api originate {{nobody=9999}}user/1001 {target}\n\n")).await;
        let mut call = incoming(&mut phone).await;
        call.answer();
        within("the end of the call", call.ended()).await;
    }
}

/// Applications of calls, and those who have not logged in, take no client's place.
#[tokio::test]
async fn so_many_clients_may_be_connected_however_many_calls_have_applications() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let engine = engine(&format!("[[did]]\nnumber = \"4000\"\ndestinations = [\"socket:{to} async full\"]\n")).start();
    let caller = Caller::dial(&engine, "4000").await;
    let mut application = Wire::called(&listener).await;
    let silent = Wire::open(&engine).await;
    let mut clients = Vec::new();
    for _ in 0..256 {
        clients.push(Wire::logged_in(&engine).await);
    }
    let mut late = Wire::open(&engine).await;
    late.send(&format!("auth {PASSWORD}\n\n")).await;
    assert!(late.rest().await.contains("text/rude-rejection"), "one more has no place");
    let mut leaving = clients.pop().unwrap();
    leaving.send("exit\n\n").await;
    leaving.rest().await;
    clients.push(Wire::logged_in(&engine).await);
    drop(silent);
    application.send("sendmsg\ncall-command: hangup\n\n").await;
    application.until("+OK\n\n").await;
    drop(caller);
}

#[tokio::test]
async fn a_greenswitch_application_answers_calls() {
    answers_plays_and_collects("greenswitch_client.py", "async full").await;
}

#[tokio::test]
async fn a_genesis_application_answers_calls() {
    answers_plays_and_collects("genesis_client.py", "async full").await;
}

#[tokio::test]
async fn an_application_may_take_one_operation_after_another() {
    answers_plays_and_collects("genesis_client.py", "full").await;
}

#[tokio::test]
async fn a_wrong_password_ends_the_connection_as_it_does_elsewhere() {
    let engine = engine("").start();
    let mut wire = Wire::open(&engine).await;
    wire.send("api status\n\n").await;
    wire.until("Reply-Text: -ERR command not found\n\n").await;
    wire.send("auth wrong\n\n").await;
    let rest = wire.rest().await;
    assert!(
        rest.starts_with("Content-Type: command/reply\nReply-Text: -ERR invalid\n\nContent-Type: text/disconnect-notice\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn what_is_no_command_ends_that_connection_alone() {
    let engine = engine("").start();
    let mut other = Wire::logged_in(&engine).await;
    for garbage in [
        "sendevent X\nContent-Length: -1\n\n".to_owned(),
        "sendevent X\nContent-Length: 99999999999999999999\n\n".to_owned(),
        "sendevent X\nContent-Length: 2000000\n\n".to_owned(),
        "sendevent X\nContent-Length: 1\nContent-Length: 2\n\n".to_owned(),
        "api \0status\n\n".to_owned(),
        "x".repeat(100_000),
    ] {
        let mut wire = Wire::logged_in(&engine).await;
        wire.send(&garbage).await;
        let rest = wire.rest().await;
        assert!(rest.contains("text/disconnect-notice"), "{:?}: {rest}", garbage.get(..40));
    }
    // Half a frame, and gone.
    Wire::logged_in(&engine).await.send("sendevent X\nContent-Length: 10\n\nabc").await;
    other.send("api echo still here\n\n").await;
    other.until("still here").await;
}

#[tokio::test]
async fn commands_reach_a_call_that_a_script_has_and_say_what_cannot_be_done() {
    let engine = engine("").main("2000", "console.log('moved', ctx.get('color')); await ctx.play('ivr/0.wav');").start();
    let mut caller = Caller::answered(&engine, "1000").await;
    let mut wire = Wire::logged_in(&engine).await;
    let id = caller.id.clone();
    wire.send(&format!("api uuid_setvar {id} color blue\n\n")).await;
    wire.until("+OK\n").await;
    wire.send(&format!("api uuid_getvar {id} color\n\n")).await;
    wire.until("blue").await;
    wire.send(&format!("api uuid_record {id} start ../../x.wav\n\n")).await;
    wire.until("-ERR Cannot record session!\n").await;
    wire.send(&format!("event plain CHANNEL_HANGUP_COMPLETE\n\nfilter Unique-ID {id}\n\napi uuid_transfer {id} 2000\n\n")).await;
    caller.logged("moved blue").await;
    let over = wire.until("variable_hangup_cause_q850: 16\n").await;
    assert!(over.contains(&format!("Unique-ID: {id}\n")), "{over}");
    assert!(over.contains("variable_color: blue\n"), "{over}");
    assert_eq!(caller.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn what_is_scheduled_is_done_later_or_taken_back() {
    let engine = engine("").start();
    let caller = Caller::answered(&engine, "1000").await;
    let mut wire = Wire::logged_in(&engine).await;
    wire.send("event plain ADD_SCHEDULE DEL_SCHEDULE EXE_SCHEDULE CHANNEL_HANGUP_COMPLETE\n\n").await;
    wire.until("enabled plain\n\n").await;
    wire.send("api sched_api +3600 mine status\n\n").await;
    wire.until("+OK Added: 1\n").await;
    wire.send("api sched_api soon mine status\n\n").await;
    wire.until("-USAGE: [+@]<time> <group_name> <command_string>[&]\n").await;
    wire.send("api sched_del mine\n\n").await;
    wire.until("+OK Deleted: 1\n").await;
    wire.send("api unsched_api 1\n\n").await;
    wire.until("-ERR no such task\n").await;
    let id = caller.id.clone();
    wire.send(&format!("api sched_transfer +3600 {id} 1000\n\n")).await;
    wire.until("+OK\n").await;
    wire.send(&format!("api sched_hangup +0 {id}\n\n")).await;
    let told = wire.until("Hangup-Cause: ALLOTTED_TIMEOUT\n").await;
    assert!(told.contains("Event-Name: EXE_SCHEDULE\n") && told.contains("Task-Desc: uuid_kill\n"), "{told}");
    assert_eq!(caller.over(&engine).await.ended.code, 480);
    // What was to be done to the call has gone with it.
    wire.send("api unsched_api 2\n\n").await;
    wire.until("-ERR no such task\n").await;
    wire.send(&format!("api sched_hangup +1 {id}\n\n")).await;
    wire.until("-ERR No such channel!\n").await;
}

#[tokio::test]
async fn a_user_may_do_and_see_what_its_entry_says() {
    let user = "[[event_socket.user]]\nname = \"wall\"\npassword = \"secret\"\napi = [\"status\"]\nevents = [\"HEARTBEAT\"]\n";
    let engine = engine(user).start();
    let mut wire = Wire::open(&engine).await;
    wire.send("userauth wall@example.com:secret\n\n").await;
    let welcome = wire.until("Allowed-LOG: false\n\n").await;
    assert!(welcome.contains("Reply-Text: +OK accepted\nAllowed-Events: HEARTBEAT\nAllowed-API: status\n"), "{welcome}");
    wire.send("api originate user/1001 &park()\n\n").await;
    wire.until("Reply-Text: -ERR permission denied\n\n").await;
    wire.send("bgapi hupall\n\n").await;
    wire.until("Reply-Text: -ERR permission denied\n\n").await;
    wire.send("sendevent CUSTOM\nEvent-Subclass: x\n\n").await;
    wire.until("Reply-Text: -ERR permission denied\n\n").await;
    wire.send("api status\n\n").await;
    wire.until("Content-Type: api/response\n").await;
    let mut stranger = Wire::open(&engine).await;
    stranger.send("userauth wall:wrong\n\n").await;
    assert!(stranger.rest().await.starts_with("Content-Type: command/reply\nReply-Text: -ERR invalid\n\n"));
}

/// An application has every command: whoever has not cannot make one.
#[tokio::test]
async fn a_user_with_some_commands_leads_no_call_to_an_application() {
    let user = "[[event_socket.user]]\nname = \"wall\"\npassword = \"secret\"\n\
        api = [\"originate\", \"uuid_transfer\", \"uuid_broadcast\", \"sched_api\"]\n";
    let engine = engine(user).start();
    let caller = Caller::answered(&engine, "1000").await;
    let mut wire = Wire::open(&engine).await;
    wire.send("userauth wall:secret\n\n").await;
    wire.until("Allowed-LOG: false\n\n").await;
    let id = caller.id.clone();
    let refused = "-ERR socket:127.0.0.1:9";
    for (command, answer) in [
        ("originate user/1001 &socket(127.0.0.1:9 async full)".to_owned(), "-ERR permission denied\n"),
        ("originate user/1001 socket:127.0.0.1:9".to_owned(), "-ERR permission denied\n"),
        (format!("uuid_transfer {id} socket:127.0.0.1:9"), refused),
        (format!("uuid_transfer {id} 'socket:127.0.0.1:9 async full' inline"), refused),
        (format!("uuid_broadcast {id} socket::127.0.0.1:9 async full"), refused),
    ] {
        let answered = wire.api(&command).await;
        assert!(answered.starts_with(answer), "{command}: {answered}");
    }
    wire.send("api sched_api +1 none hupall\n\n").await;
    wire.until("Reply-Text: -ERR permission denied\n\n").await;
    assert_eq!(caller.hang_up(&engine).await.ended.code, 200, "its script has kept it");
}

#[tokio::test]
async fn a_parked_call_is_its_scripts_no_more_and_a_list_ends_the_call() {
    let engine = engine("").main("5000", "await ctx.answer(); for (;;) await ctx.play('tone:440,200/0');").start();
    let caller = Caller::answered(&engine, "5000").await;
    let mut wire = Wire::logged_in(&engine).await;
    assert_eq!(wire.api(&format!("uuid_park {}", caller.id)).await, "+OK\n");
    assert!(engine.get(&format!("/v1/calls/{}", caller.id)).await["script"].is_null());
    let list = "'m:^:set:a=b^playback:tone_stream://%(100,0,440)' inline";
    assert_eq!(wire.api(&format!("uuid_transfer {} {list}", caller.id)).await, "+OK\n");
    assert_eq!(caller.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn a_placed_call_has_a_list_of_applications_and_nobody_is_rung_in_vain() {
    let engine = engine("").start();
    let mut phone = registered(&engine, "1001").await;
    let mut wire = Wire::logged_in(&engine).await;
    for (target, refusal) in [
        ("&nonesuch(1)", "-ERR DESTINATION_OUT_OF_ORDER\n"),
        ("'answer,nonesuch:1' inline", "-ERR DESTINATION_OUT_OF_ORDER\n"),
        ("nosuch", "-ERR nobody is at nosuch"),
        ("&transfer(9999)", "-ERR nobody is at 9999"),
        ("'&socket(nonsense)'", "-ERR nobody is at socket:nonsense"),
    ] {
        let answered = wire.api(&format!("originate user/1001 {target}")).await;
        assert!(answered.starts_with(refusal), "{target}: {answered}");
    }
    let placed = wire.api("originate user/1001 'set:a=b,sleep:10' inline");
    let taken = async {
        let mut call = incoming(&mut phone).await;
        call.answer();
        within("the end of the call", call.ended()).await;
    };
    let (answer, ()) = tokio::join!(placed, taken);
    assert!(answer.starts_with("+OK "), "{answer}");
}

#[tokio::test]
async fn a_placed_call_that_is_led_elsewhere_while_it_rings_stays_there() {
    let engine = engine("").main("2000", "ctx.log('here'); await ctx.waitForHangup();").start();
    let mut phone = registered(&engine, "1001").await;
    let mut events = engine.events().await;
    let [mut wire, mut other] = [Wire::logged_in(&engine).await, Wire::logged_in(&engine).await];
    for (uuid, target) in [("a", "1000"), ("b", "'set:a=b,sleep:10' inline"), ("c", "&playback(tone_stream://%(100,0,440))")] {
        let command = format!("originate {{origination_uuid={uuid}}}user/1001 {target}");
        let placed = wire.api(&command);
        let led = async {
            let call = incoming(&mut phone).await;
            assert_eq!(other.api(&format!("uuid_transfer {uuid} 2000")).await, "+OK\n");
            call.answer();
            call
        };
        let (answer, mut call) = tokio::join!(placed, led);
        assert_eq!(answer, format!("+OK {uuid}\n"));
        events.logged("here").await;
        assert_eq!(engine.get(&format!("/v1/calls/{uuid}")).await["script"], "s2000");
        assert_eq!(other.api(&format!("uuid_kill {uuid}")).await, "+OK\n");
        within("the end of the call", call.ended()).await;
    }
}

#[tokio::test]
async fn a_list_for_a_placed_call_that_rings_is_carried_out_when_it_is_answered() {
    let engine = engine("").start();
    let mut phone = registered(&engine, "1001").await;
    let [mut wire, mut other] = [Wire::logged_in(&engine).await, Wire::logged_in(&engine).await];
    let mut watcher = Wire::logged_in(&engine).await;
    watcher.send("event plain CHANNEL_ANSWER CHANNEL_EXECUTE\n\n").await;
    watcher.until("enabled plain\n\n").await;
    let placed = wire.api("originate {origination_uuid=a}user/1001 &park()");
    let led = async {
        let mut call = incoming(&mut phone).await;
        assert_eq!(other.api("uuid_transfer a 'set:a=b,sleep:10' inline").await, "+OK\n");
        call.answer();
        within("the end of the call", call.ended()).await;
    };
    let (answer, ()) = tokio::join!(placed, led);
    assert_eq!(answer, "+OK a\n");
    let before = watcher.until("Event-Name: CHANNEL_EXECUTE\n").await;
    assert!(before.contains("Event-Name: CHANNEL_ANSWER\n"), "{before}");
}

#[tokio::test]
async fn a_list_that_ends_a_placed_call_does_so_while_it_rings() {
    let engine = engine("").start();
    let mut phone = registered(&engine, "1001").await;
    let [mut wire, mut other] = [Wire::logged_in(&engine).await, Wire::logged_in(&engine).await];
    let placed = wire.api("originate {origination_uuid=a}user/1001 &park()");
    let led = async {
        let mut call = incoming(&mut phone).await;
        assert_eq!(other.api("uuid_transfer a 'hangup:USER_BUSY' inline").await, "+OK\n");
        within("the end of the call", call.ended()).await;
    };
    let (answer, ()) = tokio::join!(placed, led);
    assert!(answer.starts_with("-ERR "), "{answer}");
}

#[tokio::test]
async fn an_application_is_disconnected_when_its_call_is_led_on() {
    let engine = engine("").start();
    let caller = Caller::answered(&engine, "1000").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut operator = Wire::logged_in(&engine).await;
    let to = format!("{} async full", listener.local_addr().unwrap());
    operator.send(&format!("api uuid_transfer {} 'socket:{to}' inline\n\n", caller.id)).await;
    let mut first = Wire::called(&listener).await;
    first.send("connect\n\n").await;
    first.until("Control: full\n").await;
    operator.send(&format!("api uuid_transfer {} 'socket:{to}' inline\n\n", caller.id)).await;
    let mut second = Wire::called(&listener).await;
    let told = first.rest().await;
    assert!(told.contains("Content-Type: text/disconnect-notice\n") && told.contains(&caller.id), "{told}");
    // The other one has the call, whatever becomes of the first.
    second.send("connect\n\n").await;
    second.until("Control: full\n").await;
    second.send("sendmsg\ncall-command: hangup\n\n").await;
    assert_eq!(caller.over(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn a_broadcast_may_end_the_call() {
    let engine = engine("").start();
    let caller = Caller::answered(&engine, "1000").await;
    let mut wire = Wire::logged_in(&engine).await;
    wire.send("event plain PLAYBACK_STOP\n\n").await;
    wire.until("enabled plain\n\n").await;
    wire.send(&format!("api uuid_broadcast {} playback!user_busy::tone_stream://%(100,0,440) both\n\n", caller.id)).await;
    wire.until("+OK Message sent\n").await;
    wire.until("Playback-Status: done\n").await;
    assert_eq!(caller.over(&engine).await.ended.code, 486);
}

#[tokio::test]
async fn a_call_whose_application_is_not_there_goes_to_the_next_destination() {
    let port = free_port();
    let did = format!("[[did]]\nnumber = \"4000\"\ndestinations = [\"socket:127.0.0.1:{port} async full\", \"class5:1000\"]\n");
    let engine = engine(&did).start();
    let caller = Caller::answered(&engine, "4000").await;
    assert_eq!(caller.hang_up(&engine).await.ended.code, 200);
}

#[tokio::test]
async fn events_are_numbered_and_resumed_and_the_socket_takes_commands() {
    let engine = engine("").start();
    let caller = Caller::answered(&engine, "1000").await;
    let mut events = engine.events_at("?types=channel").await;
    let seq = events.find("the first word", |event| (event["type"] == "hello").then(|| event["seq"].as_u64())).await.unwrap();
    let id = caller.id.clone();
    events.command(&serde_json::json!({ "id": 1, "command": "set", "call": id, "name": "a", "value": "1" })).await;
    let reply = events.find("a reply", |event| (event["id"] == 1).then(|| event.clone())).await;
    assert_eq!(reply["ok"], true, "{reply}");
    events.command(&serde_json::json!({ "id": 2, "command": "hangup", "call": id })).await;
    let end = events.find("the end", |event| (event["event"] == "destroyed").then(|| event["seq"].as_u64())).await.unwrap();
    drop(events);
    let mut again = engine.events_at(&format!("?types=channel&call={id}&since={seq}")).await;
    let hello = again.find("the first word", |event| (event["type"] == "hello").then(|| event.clone())).await;
    assert_eq!(hello["resumed"], true, "{hello}");
    let seen = again.find("the end again", |event| (event["event"] == "destroyed").then(|| event["seq"].as_u64())).await.unwrap();
    assert_eq!(seen, end);
    assert_eq!(caller.over(&engine).await.ended.code, 200);
}

/// Every client reads what it has asked for, or is cut off; whoever reads is not disturbed.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let engine = engine("").start();
    let mut lazy = Wire::logged_in(&engine).await;
    lazy.send("event plain CUSTOM flood\n\n").await;
    lazy.until("plain\n\n").await;
    let mut busy = Wire::logged_in(&engine).await;
    let body = "x".repeat(60_000);
    for _ in 0..600 {
        busy.send(&format!("sendevent CUSTOM\nEvent-Subclass: flood\nContent-Length: {}\n\n{body}", body.len())).await;
        busy.until("\n\n").await;
    }
    engine.log().line("cut off").await;
    // It hears so as soon as it reads again, and the connection ends; whoever reads goes on.
    let rest = lazy.rest().await;
    let (_, notice) = rest.rsplit_once("Content-Type: text/disconnect-notice\n").expect("a notice ends the connection");
    assert!(notice.contains("not read as fast as they came"), "{notice}");
    busy.send("api status\n\n").await;
    busy.until("api/response").await;
}
