//! Recorded calls run again from the command line: what they did, where another script differs, and as tests.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::{Engine, binary, until, within};
use serde_json::{Value, json};

const MENU: &str = r#"
await ctx.answer();
const keys = [];
ctx.on('dtmf', (e) => { keys.push(e.digit); });
const { value: choice } = await ctx.gather({ min: 1, max: 1, timeout_ms: 50_000 });
console.log('chose', choice);
if (choice === '7') await ctx.play('tone:440,100/0');
await fetch('https://api.example.invalid/?key=' + process.env.API_KEY).catch((error) => console.log(error.name));
"#;
const APP: &str =
    "[[app]]\nname = \"desk\"\nenv = { API_KEY = \"k3y-of-the-desk\" }\n[[script]]\nfile = \"s100.js\"\napp = \"desk\"\n";

fn lockstep(dir: &Path, args: &[&str]) -> Output {
    told(dir, args, "")
}

/// Runs a command that reads these lines.
fn told(dir: &Path, args: &[&str], lines: &str) -> Output {
    // No engine answers there: what is wanted lies in the folder, or is not found.
    let nowhere = "http://127.0.0.1:9";
    let mut child = Command::new(binary())
        .args(args)
        .current_dir(dir)
        .env("LOCKSTEP_URL", nowhere)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // One that ends before it has read everything shows so in its output.
    let _ = child.stdin.take().expect("stdin is a pipe").write_all(lines.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A folder with a recorded call: its engine has stopped, its script and store are still there.
struct Recorded {
    folder: PathBuf,
    call: String,
    /// As the engine gave it, with the texts that were run.
    journal: String,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // A folder that is left behind harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn record() -> Recorded {
    record_of(MENU).await
}

async fn record_of(script: &str) -> Recorded {
    let engine = Engine::setup().main("100", script).config(APP).start();
    let user = json!({ "password": "s3same-of-ann" }).to_string();
    let (status, body) = engine.request("PUT", "/v1/users/1001", &user).await;
    assert!((200..300).contains(&status), "{status} {body}");
    let mut caller = Caller::answered(&engine, "100").await;
    caller.call.press("7");
    within("a BYE", caller.call.ended()).await;
    let call = caller.id.clone();
    engine.whole_timeline(&call).await;
    let journal = engine.get(&format!("/v1/calls/{call}/journal?sources=true")).await;
    let journal = journal.as_str().expect("a journal is text").to_owned();
    let folder = engine.folder().with_extension("recorded");
    let from = engine.folder().to_owned();
    // The folder of an engine goes with it: a copy is made once everything is on disk.
    let engine = engine.restart().await;
    copy(&from, &folder);
    engine.stop().await;
    Recorded { folder, call, journal }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_recorded_call_is_repeated_and_a_changed_script_differs_at_its_line() {
    let recorded = record().await;
    let (folder, call) = (recorded.folder.as_path(), recorded.call.as_str());
    // The script on disk is another one by now: what was run is in the journal.
    let script = folder.join("scripts/s100.js");
    let changed = fs::read_to_string(&script).unwrap().replace("440,100", "880,100");
    fs::write(&script, changed).unwrap();

    let same = lockstep(folder, &["replay", call]);
    let trace = text(&same.stdout);
    assert_eq!(same.status.code(), Some(0), "{trace}{}", text(&same.stderr));
    for part in [
        "start of s100.js",
        "operation answer()  [0.0]  s100.js:3:",
        "key 7",
        "variable  keys = [\"7\"]  s100.js:2 main",
        "info      chose 7  s100.js:7:",
        "play(tone:440,100/0)",
        "variable  choice = \"7\"  s100.js:2 main",
        "the call has ended: 200",
        "the same as recorded: ",
    ] {
        assert!(trace.contains(part), "no `{part}` in:\n{trace}");
    }

    let other = lockstep(folder, &["replay", call, "--script", "scripts/s100.js"]);
    let trace = text(&other.stdout);
    assert_eq!(other.status.code(), Some(1), "{trace}");
    for part in
        ["LS-R001", "recorded   ctx.play", "tone:440,100/0", "attempted  ctx.play", "tone:880,100/0", "line       s100.js:8:"]
    {
        assert!(trace.contains(part), "no `{part}` in:\n{trace}");
    }

    let early = lockstep(folder, &["replay", call, "--script", "scripts/s100.js", "--until", "1"]);
    assert_eq!(early.status.code(), Some(0), "{}", text(&early.stdout));
    assert!(text(&early.stdout).ends_with("stopped after turn 1\n"));
    let nobody = lockstep(folder, &["replay", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no engine answers"), "{}", text(&nobody.stderr));
}

#[tokio::test]
async fn a_recorded_call_becomes_a_test_without_its_secrets() {
    let recorded = record().await;
    let folder = recorded.folder.as_path();
    let made = lockstep(folder, &["test", "--from-journal", &recorded.call]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let test = folder.join(text(&made.stdout).trim());
    assert_eq!(test.parent().unwrap().canonicalize().unwrap(), folder.join("scripts/tests").canonicalize().unwrap());
    let journal = fs::read_to_string(test.with_extension("").with_extension("journal.jsonl")).unwrap();
    assert!(journal.contains("[redacted]") && !journal.contains("k3y-of-the-desk"), "{journal}");

    let passes = lockstep(folder, &["test"]);
    assert_eq!(passes.status.code(), Some(0), "{}{}", text(&passes.stdout), text(&passes.stderr));
    assert!(text(&passes.stdout).contains("1 passed, 0 failed"), "{}", text(&passes.stdout));
    let again = lockstep(folder, &["test", "--from-journal", &recorded.call]);
    assert_eq!(again.status.code(), Some(1), "a test that is there is not written over");

    let script = folder.join("scripts/s100.js");
    let broken = fs::read_to_string(&script).unwrap().replace("'7'", "'8'");
    fs::write(&script, broken).unwrap();
    let fails = lockstep(folder, &["test"]);
    assert_eq!(fails.status.code(), Some(1));
    let report = text(&fails.stdout);
    for part in ["s100.js does not do what it did", "recorded   ctx.play", "s100.js:8:"] {
        assert!(report.contains(part), "no `{part}` in:\n{report}");
    }
}

#[tokio::test]
async fn a_password_put_over_http_stands_in_no_test_made_of_a_call() {
    let recorded = record_of(&MENU.replace("?key=", "?of=s3same-of-ann&key=")).await;
    let folder = recorded.folder.as_path();
    let made = lockstep(folder, &["test", "--from-journal", &recorded.call]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let test = folder.join(text(&made.stdout).trim());
    let journal = fs::read_to_string(test.with_extension("").with_extension("journal.jsonl")).unwrap();
    assert!(journal.contains("?of=[redacted]&key=") && !journal.contains("s3same-of-ann"), "{journal}");
    let passes = lockstep(folder, &["test"]);
    assert_eq!(passes.status.code(), Some(0), "{}{}", text(&passes.stdout), text(&passes.stderr));
}

#[tokio::test]
async fn a_file_is_replayed_turn_by_turn_as_somebody_asks() {
    let recorded = record().await;
    let folder = recorded.folder.join("elsewhere");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("call.jsonl"), &recorded.journal).unwrap();

    let steps = told(&folder, &["replay", "call.jsonl", "--step"], "\nv\n3\nperhaps\nq\n");
    let trace = text(&steps.stdout);
    assert_eq!(steps.status.code(), Some(0), "{trace}{}", text(&steps.stderr));
    let turns: Vec<&str> = trace.lines().filter_map(|line| line.strip_prefix("turn ")?.split(' ').next()).collect();
    assert_eq!(turns, ["0", "1", "2", "3"], "Enter went on by one, 3 up to the turn of this number, and q ended it:\n{trace}");
    let (asked, _) = trace.split_once("turn 2").unwrap();
    assert!(asked.contains("\n  s100.js:2 main  ctx = {}\n"), "`v` shows variables that have not changed, too:\n{trace}");
    assert!(!trace.contains("the same as recorded"), "{trace}");
    assert!(text(&steps.stderr).contains("expected Enter, the number of a turn, v, or q"), "{}", text(&steps.stderr));
    assert!(text(&steps.stderr).contains("secrets of this journal are redacted"), "{}", text(&steps.stderr));

    // Whoever has nothing to say any more sees the rest.
    let rest = text(&told(&folder, &["replay", "call.jsonl", "--step"], "\n").stdout);
    assert!(rest.contains("play(tone:440,100/0)") && rest.contains("the same as recorded: "), "{rest}");

    let bare: Vec<&str> = recorded.journal.lines().filter(|line| !line.starts_with("{\"bundle\"")).collect();
    fs::write(folder.join("bare.jsonl"), bare.join("\n")).unwrap();
    let refused = lockstep(&folder, &["replay", "bare.jsonl"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("bare.jsonl holds no sources: say which script with --script FILE"));
    fs::copy(recorded.folder.join("scripts/s100.js"), folder.join("s100.js")).unwrap();
    let given = lockstep(&folder, &["replay", "bare.jsonl", "--script", "s100.js"]);
    assert_eq!(given.status.code(), Some(0), "{}{}", text(&given.stdout), text(&given.stderr));

    fs::write(folder.join("call.jsonl"), "not a journal\n").unwrap();
    let refused = lockstep(&folder, &["replay", "call.jsonl"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("call.jsonl: "), "{}", text(&refused.stderr));
}

#[tokio::test]
async fn a_run_that_failed_outside_a_call_is_kept_and_replayed() {
    let script = "exports.half = (data) => {
  const whole = data.whole * 1;
  console.log('of', whole);
  if (whole % 2) throw new Error('an odd number');
  return whole / 2;
};";
    let engine = Engine::setup().script("halves.js", script).start();
    let mut events = engine.events_at("?types=alert").await;
    let run = async |whole: u32| {
        let body = json!({ "fn": "half", "data": { "whole": whole } });
        let (status, text) = engine.request("POST", "/v1/scripts/halves/run", &body.to_string()).await;
        (status, serde_json::from_str::<Value>(&text).expect("the answer is JSON"))
    };
    let (status, good) = run(10).await;
    assert_eq!((status, &good["result"]), (200, &json!(5)));
    assert_eq!(run(11).await.0, 422);
    let failed = events.find("an alert", |event| event["data"]["run"].as_str().map(str::to_owned)).await;
    // The alert comes first.
    let journal = format!("/v1/runs/{failed}/journal");
    until("the run's journal", async || engine.request("GET", &journal, "").await.0 == 200).await;

    let again = lockstep(engine.folder(), &["replay", &failed]);
    let trace = text(&again.stdout);
    assert_eq!(again.status.code(), Some(0), "{trace}{}", text(&again.stderr));
    for part in ["start of halves.js", "of 11  halves.js:3:", "an odd number", "the same as recorded: "] {
        assert!(trace.contains(part), "no `{part}` in:\n{trace}");
    }
    let forgotten = lockstep(engine.folder(), &["replay", good["run"].as_str().expect("a run has an id")]);
    assert_eq!(forgotten.status.code(), Some(1), "nobody asked to keep runs that did not fail");
    assert!(text(&forgotten.stderr).contains("no engine answers"), "{}", text(&forgotten.stderr));
}
