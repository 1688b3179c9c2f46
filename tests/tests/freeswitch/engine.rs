//! A running engine that FreeSWITCH hands calls to.

use std::path::Path;

use lockstep_tests::engine::{Engine, Setup as Configured};
use lockstep_tests::freeswitch::{Line, Peer, Setup};

fn engine() -> Configured {
    Engine::setup().config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"\nmedia = { files = \"/s\" }")
}

fn channel(destination: &str, number: u32) -> Setup {
    Setup {
        uuid: format!("00000000-0000-4000-8000-{number:012}"),
        caller: format!("44200{number:05}"),
        destination: destination.to_owned(),
        files: ["welcome", "menu"].map(|name| (format!("/s/user/{name}.wav"), 500)).into(),
        ..Setup::default()
    }
}

const MENU: &str = "await ctx.answer();
await ctx.play('user/welcome.wav');
const { value } = await ctx.ivr('user/menu.wav', 5, 1, 1);
ctx.log(`chose ${value} of ${ctx.get('sip_h_X-Customer-ID')} from ${data.from} in ${ctx.call.state}`);
const { status } = await ctx.bridge('1001', true);
ctx.log(`bridge ${status}`);
await ctx.hangup();";

#[tokio::test]
async fn the_same_script_runs_in_every_mode_of_the_socket() {
    let engine = engine().main("4000", MENU).start();
    for (number, (is_async, is_full)) in [(true, true), (true, false), (false, true), (false, false)].into_iter().enumerate() {
        let mut events = engine.events().await;
        let number = u32::try_from(number).unwrap();
        let setup = Setup { is_async, is_full, is_json: number == 0, ..channel("4000", number) };
        let (caller, id) = (setup.caller.clone(), setup.uuid.clone());
        let line = Line::dial(engine.freeswitch(), setup).await;
        assert_eq!(events.started(&caller).await, id, "both sides speak of the call by the same name");
        line.executes("play_and_get_digits").await;
        line.with(|channel| channel.press('2'));
        events.logged(&format!("chose 2 of 77 from {caller} in answered")).await;
        events.logged("bridge completed").await;
        assert_eq!(line.over().await, "NORMAL_CLEARING");
        let cause = events.ended(&id).await;
        assert_eq!((cause["code"].as_u64(), cause["by"].as_str()), (Some(200), Some("script")));
        assert_eq!(line.with(|channel| channel.incidents.clone()), [""; 0]);
        let timeline = engine.timeline(&id).await;
        let names: Vec<&str> =
            timeline["entries"].as_array().unwrap().iter().filter_map(|entry| entry["name"].as_str()).collect();
        for name in ["answer", "play", "ivr", "bridge", "hangup"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
    }
}

#[tokio::test]
async fn the_dialplan_names_the_script_or_the_destination_does() {
    let engine = engine().main("4000", "await ctx.reject(486);").main("5000", "await ctx.reject(603);").start();
    for (destination, script, response) in [
        ("4000", None, "486 Busy Here"),
        ("4000", Some("5000"), "603 Decline"),
        ("9999", Some("s4000"), "486 Busy Here"),
        ("9999", None, "404 Not Found"),
        ("4000", Some("nobody"), "404 Not Found"),
    ] {
        let mut setup = channel(destination, 1);
        setup.variables.extend(script.map(|script| ("lockstep_script".to_owned(), script.to_owned())));
        let line = Line::dial(engine.freeswitch(), setup).await;
        line.over().await;
        let got = line.with(|channel| channel.response.clone());
        assert_eq!(got.as_deref(), Some(response), "{destination} {script:?}");
    }
}

#[tokio::test]
async fn numbers_and_users_that_are_put_over_http_count_for_the_next_call() {
    let body = "ctx.log('came by ' + JSON.stringify([data.did, data.customer_id, data.vars.greeting]));\nawait ctx.bridge('1009', true);\nawait ctx.reject(486);";
    let engine = engine().main("4000", body).start();
    let dial = async |number: u32| Line::dial(engine.freeswitch(), channel("442080000000", number)).await;
    let line = dial(1).await;
    line.over().await;
    assert_eq!(line.with(|channel| channel.response.clone()).as_deref(), Some("404 Not Found"), "nobody knows the number");

    let put = async |path: &str, entry: &str| assert_eq!(engine.request("PUT", path, entry).await.0, 201, "{path}");
    put("/v1/customers/12", r#"{"vars":{"greeting":"hello"}}"#).await;
    put("/v1/dids/442080000000", r#"{"destinations":["class5:4000"],"customer":12}"#).await;
    let mut events = engine.events().await;
    let line = dial(2).await;
    events.logged(r#"came by ["442080000000",12,"hello"]"#).await;
    assert!(line.executes("bridge").await.contains("loopback/1009/"), "no user of ours yet");
    line.over().await;
    put("/v1/users/1009", r#"{"password":"pw-1009"}"#).await;
    let line = dial(3).await;
    assert!(line.executes("bridge").await.contains("user/1009"), "one now");
    line.over().await;
}

#[tokio::test]
async fn a_script_of_an_account_plays_and_records_in_the_accounts_folder() {
    let accounts = "[[account]]\nname = \"north\"\n[[app]]\nname = \"menus\"\naccount = \"north\"\n";
    let script = "// @lockstep class5_destination=4000 app=menus
async function main(data, ctx) {
    await ctx.answer();
    const recording = await ctx.record('message');
    await ctx.play('user/welcome.wav');
    const { file } = await recording.stop();
    ctx.log(`recorded ${file}`);
}";
    let engine = engine().config(accounts).script("menu.js", script).start();
    let mut events = engine.events().await;
    let mut setup = channel("4000", 1);
    setup.files = [("/s/accounts/north/user/welcome.wav".to_owned(), 100)].into();
    let line = Line::dial(engine.freeswitch(), setup).await;
    assert!(line.executes("playback").await.contains("/s/accounts/north/user/welcome.wav"));
    assert_eq!(line.with(|channel| channel.recordings.clone()), ["/s/accounts/north/user/message.wav"]);
    events.logged("recorded user/message.wav").await;
    line.over().await;
}

#[tokio::test]
async fn such_a_call_is_in_the_list_and_can_be_ended_from_outside() {
    let engine = engine().main("4000", "await ctx.answer();\nawait ctx.sleep(600_000);").start();
    let setup = channel("4000", 7);
    let id = setup.uuid.clone();
    let mut events = engine.events().await;
    let line = Line::dial(engine.freeswitch(), setup).await;
    events.find("the answer", |event| (event["type"] == "call-state" && event["state"] == "answered").then_some(())).await;
    let call = engine.get(&format!("/v1/calls/{id}")).await;
    assert_eq!(
        (call["to"].as_str(), call["state"].as_str(), call["script"].as_str()),
        (Some("4000"), Some("answered"), Some("s4000"))
    );
    let (status, body) = engine.request("DELETE", &format!("/v1/calls/{id}"), "").await;
    assert!((200..300).contains(&status), "{status} {body}");
    assert_eq!(line.over().await, "NORMAL_CLEARING");
    assert_eq!(events.ended(&id).await["by"], "engine");
}

#[tokio::test]
async fn a_connection_that_breaks_ends_the_call_and_its_script_goes_on_to_its_end() {
    let body = "await ctx.answer();\ntry { await ctx.play('tone:440,60000/0'); } catch (e) { ctx.log(`${e.name} ${e.cause.code} ${e.cause.by}`); }";
    let engine = engine().main("4000", body).start();
    let mut events = engine.events().await;
    let line = Line::dial(engine.freeswitch(), channel("4000", 8)).await;
    line.executes("playback").await;
    line.cut();
    events.logged("CallEnded 503 engine").await;
}

#[tokio::test]
async fn the_sample_scripts_run() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    let mut setup = Engine::setup().config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"");
    for entry in std::fs::read_dir(&samples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "js") {
            setup = setup.file(Path::new("scripts").join(path.file_name().unwrap()), std::fs::read(&path).unwrap());
        }
    }
    for entry in std::fs::read_dir(samples.join("ivr")).unwrap() {
        let path = entry.unwrap().path();
        setup = setup.file(Path::new("scripts/ivr").join(path.file_name().unwrap()), std::fs::read(&path).unwrap());
    }
    let engine = setup.start();
    let mut number = 100;
    for (destination, keys, app) in [("1000", "1", "bridge("), ("2001", "4711#", "bridge("), ("2009", "", "group_confirm_file")] {
        number += 1;
        let peers = vec![(String::new(), Peer::Answers { after_ms: 200, talks_ms: 400 })];
        let setup = Setup { files: Default::default(), peers, ..channel(destination, number) };
        let line = Line::dial(engine.freeswitch(), setup).await;
        if !keys.is_empty() {
            line.executes("play_and_get_digits").await;
        }
        line.with(|channel| keys.chars().for_each(|digit| channel.press(digit)));
        line.executes(app).await;
        line.over().await;
        assert_eq!(line.with(|channel| channel.incidents.clone()), [""; 0], "{destination}");
    }
}
