//! `lockstep phone` as a command: what it does in a call, what it prints and writes, and how it exits.

use std::path::Path;
use std::process::Stdio;

use lockstep_tests::audio::{assert_holds, prompt, share};
use lockstep_tests::caller::USERS;
use lockstep_tests::engine::{Engine, binary, within};
use lockstep_tests::wav::Wav;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The folder of the stock prompts.
const PROMPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/ivr");

/// A running `lockstep phone … --json`.
struct Softphone {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The names of the events it has told.
    told: Vec<String>,
}

impl Softphone {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.arg("phone").args(args).arg("--json").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the lockstep binary can be started");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe")).lines();
        Self { child, lines, told: Vec::new() }
    }

    /// The next event; `None` once it prints nothing more.
    async fn next(&mut self) -> Option<Value> {
        let line = self.lines.next_line().await.expect("stdout is text")?;
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.told.push(event["event"].as_str().unwrap_or_default().to_owned());
        Some(event)
    }

    /// Waits until it tells this.
    async fn tells(&mut self, name: &str) -> Value {
        let search = async {
            loop {
                let event = self.next().await;
                match event {
                    Some(event) if event["event"] == name => return event,
                    Some(_) => {}
                    None => panic!("it ended before it told `{name}`; it told {:?}", self.told),
                }
            }
        };
        within(name, search).await
    }

    /// Waits for its end: how it exits, and the names of all the events it told.
    async fn exits(mut self) -> (Option<i32>, Vec<String>) {
        within("its end", async { while self.next().await.is_some() {} }).await;
        let status = within("its end", self.child.wait()).await.expect("a child can be waited for");
        (status.code(), self.told)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("folders of tests have plain names")
}

#[tokio::test]
async fn a_call_presses_keys_and_writes_what_it_hears() {
    let body = "await ctx.answer();
const { value } = await ctx.gather({ min: 2, max: 2, timeout_ms: 50_000 });
ctx.log('keys ' + value);
await ctx.play('ivr/thank-you.wav');";
    let engine = Engine::setup().main("100", body).start();
    let mut events = engine.events().await;
    let file = engine.folder().join("heard.wav");
    let mut phone = Softphone::start(&["call", &engine.uri("100"), "--dtmf", "42@0.1", "--record", text(&file)]);
    assert_eq!(phone.tells("answered").await["codec"], "PCMU");
    events.logged("keys 42").await;
    let ended = phone.tells("ended").await;
    assert!(ended["code"] == 200 && ended["by"] == "remote", "{ended}");
    let (status, told) = phone.exits().await;
    assert_eq!(
        (status, told.first().map(String::as_str), told.last().map(String::as_str)),
        (Some(0), Some("calling"), Some("recorded"))
    );
    let wav = Wav::read(&file);
    assert_eq!((wav.channels, wav.rate), (1, 8_000));
    assert_holds(&wav.channel(0), "thank-you.wav");
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_a_failure() {
    let engine = Engine::setup().main("100", "await ctx.hangup(486);").start();
    for (number, code) in [("100", 486), ("999", 404)] {
        let mut phone = Softphone::start(&["call", &engine.uri(number)]);
        assert_eq!(phone.tells("ended").await["code"], code);
        assert_eq!(phone.exits().await.0, Some(1), "{number}");
    }
}

#[tokio::test]
async fn a_registered_softphone_answers_with_a_file_and_hangs_up() {
    let engine = Engine::setup().main("100", "await ctx.bridge('1001');").config(USERS).start();
    let (said, answer) = (format!("{PROMPTS}/welcome.wav"), format!("{PROMPTS}/thank-you.wav"));
    let [by_caller, by_callee] = ["caller.wav", "callee.wav"].map(|name| engine.folder().join(name));
    let (address, password) = (engine.uri("1001"), ["--password", "pw-1001"]);
    let once = ["--count", "1", "--duration", "5"];
    let listen: [&str; 7] = ["listen", "--register", &address, "--answer", &answer, "--record", text(&by_callee)];
    let mut callee = Softphone::start(&[&listen[..], &password, &once].concat());
    callee.tells("registered").await;
    callee.tells("listening").await;
    let caller = Softphone::start(&["call", &engine.uri("100"), "--play", &said, "--record", text(&by_caller)]);
    let (status, told) = caller.exits().await;
    assert_eq!(status, Some(0), "{told:?}");
    let (status, told) = callee.exits().await;
    assert_eq!(status, Some(0), "{told:?}");
    for name in ["incoming", "answered", "played", "ended"] {
        assert!(told.iter().any(|known| known == name), "no `{name}` in {told:?}");
    }
    // What is said before both are through is heard by nobody.
    for (file, name) in [(&by_caller, "thank-you.wav"), (&by_callee, "welcome.wav")] {
        let share = share(&Wav::read(file).channel(0), &prompt(name));
        assert!(share > 0.5, "{share} of {name}");
    }
}
