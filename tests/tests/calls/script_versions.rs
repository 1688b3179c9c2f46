//! Scripts over HTTP and from the command line: saved, refused, gone back to.

use std::process::Command;

use lockstep_tests::caller::Caller;
use lockstep_tests::engine::{Engine, binary};
use serde_json::{Value, json};

fn text(number: u32) -> String {
    format!(
        "// @lockstep class5_destination=100\nexport async function main(data, ctx) {{ await ctx.answer(); ctx.log('text {number}') }}\nexport const number = () => {number};\n"
    )
}

async fn ask(engine: &Engine, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = engine.request(method, path, &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn put(engine: &Engine, text: &str) -> (u16, Value) {
    ask(engine, "PUT", "/v1/scripts/menu", &json!({ "source": text })).await
}

async fn live(engine: &Engine) -> Value {
    ask(engine, "POST", "/v1/scripts/menu/run", &json!({ "fn": "number" })).await.1["result"].clone()
}

#[tokio::test]
async fn a_saved_script_serves_the_next_call_and_a_wrong_one_never_does() {
    let engine = Engine::setup().start();
    let (status, script) = ask(&engine, "POST", "/v1/scripts", &json!({ "file": "menu.js", "source": text(1) })).await;
    assert_eq!((status, &script["name"], &script["class5_destination"]), (201, &json!("menu"), &json!("100")));
    let story = Caller::answered(&engine, "100").await.over(&engine).await;
    assert!(story.has_logged("text 1"), "{:#}", story.timeline);
    assert_eq!(ask(&engine, "POST", "/v1/scripts", &json!({ "file": "menu.js", "source": text(2) })).await.0, 409);

    let (status, refused) = put(&engine, "export function main() {\n  let = ;\n}").await;
    let error = &refused["error"];
    assert_eq!((status, &error["code"], &error["details"]["line"]), (422, &json!("invalid_script"), &json!(2)), "{refused}");
    assert!(error["message"].as_str().is_some_and(|message| message.starts_with("menu.js:2:")), "{refused}");
    assert_eq!(live(&engine).await, 1, "the last good version stays");

    assert_eq!(put(&engine, &text(2)).await.0, 200);
    assert_eq!(live(&engine).await, 2, "at once");
    let file = std::fs::read_to_string(engine.folder().join("scripts/menu.js")).unwrap();
    assert_eq!(file, text(2), "files stay the truth");
    assert_eq!(ask(&engine, "DELETE", "/v1/scripts/menu", &Value::Null).await.0, 204);
    assert_eq!(ask(&engine, "GET", "/v1/scripts/menu", &Value::Null).await.0, 404);

    let versions = engine.get("/v1/scripts/menu/versions").await;
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(2), "they stay: {versions}");
    assert_eq!(versions["versions"][0]["live"], false, "{versions}");
    assert_eq!(ask(&engine, "POST", "/v1/scripts/menu/rollback", &json!({})).await.0, 200);
    assert_eq!(live(&engine).await, 2, "what was live last is back");
}

#[tokio::test]
async fn what_becomes_live_is_checked() {
    let engine = Engine::setup().start();
    let source = "// @lockstep class5_destination=100\nexport async function main(data, ctx) {\n  await ctx.answer();\n  ctx.play('ivr/1.wav');\n  require('no-such');\n}\n";
    let (status, saved) = ask(&engine, "POST", "/v1/scripts", &json!({ "file": "menu.js", "source": source })).await;
    let found = saved["findings"].as_array().into_iter().flatten();
    let found: Vec<_> = found.map(|finding| json!([finding["file"], finding["line"], finding["code"]])).collect();
    assert_eq!((status, found), (201, vec![json!(["menu.js", 4, "floating"]), json!(["menu.js", 5, "module"])]), "{saved}");
    let line = engine.log().line("menu.js:4:").await;
    assert!(line.contains("WARN") && line.contains("[floating]"), "{line}");
    let (status, saved) = put(&engine, &text(1)).await;
    assert_eq!((status, &saved["findings"]), (200, &json!([])), "{saved}");
    let file = engine.folder().join("scripts/other.js");
    std::fs::write(file, source.replace("class5_destination=100", "class5_destination=200")).unwrap();
    engine.log().line("other.js:4:").await;
}

#[tokio::test]
async fn versions_are_kept_over_a_restart_and_gone_back_to() {
    let engine = Engine::setup().script("menu.js", &text(1)).start();
    for number in 2..=3 {
        assert_eq!(put(&engine, &text(number)).await.0, 200);
    }
    let engine = engine.crash_and_restart();
    let listed = engine.get("/v1/scripts/menu/versions").await;
    let versions = listed["versions"].as_array().unwrap();
    let shown: Vec<Value> =
        versions.iter().map(|version| json!([version["version"], version["origin"], version["live"]])).collect();
    assert_eq!(json!(shown), json!([[3, "http", true], [2, "http", false], [1, "folder", false]]));
    assert_eq!(engine.get("/v1/scripts/menu/versions/2").await["source"], json!(text(2)));
    for expected in [2, 1] {
        assert_eq!(ask(&engine, "POST", "/v1/scripts/menu/rollback", &json!({})).await.0, 200);
        assert_eq!(live(&engine).await, expected);
    }
    let (status, refused) = ask(&engine, "POST", "/v1/scripts/menu/rollback", &json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("no_earlier_version")));
    assert_eq!(ask(&engine, "POST", "/v1/scripts/menu/rollback", &json!({ "version": 3 })).await.0, 200);
    assert_eq!(live(&engine).await, 3);
    assert_eq!(ask(&engine, "POST", "/v1/scripts/menu/rollback", &json!({ "version": 9 })).await.0, 404);
}

#[tokio::test]
async fn a_text_that_cannot_be_run_leaves_the_last_good_one_live_over_a_restart() {
    let engine = Engine::setup().script("menu.js", &text(1)).start();
    assert_eq!(put(&engine, &text(2)).await.0, 200);
    std::fs::write(engine.folder().join("scripts/menu.js"), "function (").expect("the folder is there");
    let engine = engine.crash_and_restart();
    assert_eq!(live(&engine).await, 2);
    let (_, listed) = ask(&engine, "GET", "/v1/scripts/menu", &Value::Null).await;
    assert!(listed["error"].to_string().contains("menu.js:"), "{listed}");
    assert_eq!(put(&engine, &text(3)).await.0, 200);
    assert_eq!(live(&engine).await, 3);
}

#[tokio::test]
async fn the_command_line_pushes_shows_and_rolls_back() {
    let engine = Engine::setup().start();
    let folder = engine.folder().to_owned();
    let cli = async |args: &[&str]| {
        let mut command = Command::new(binary());
        command.arg("scripts").args(args).arg("--url").arg(engine.url()).current_dir(&folder);
        let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (done.status.success(), said(done.stdout), said(done.stderr))
    };
    for number in 1..=2 {
        std::fs::write(folder.join("menu.js"), text(number)).unwrap();
        let (ok, said, error) = cli(&["push", "menu.js"]).await;
        assert!(ok && said.starts_with("menu: version "), "{said}{error}");
    }
    std::fs::write(folder.join("menu.js"), "function (").unwrap();
    let (ok, _, error) = cli(&["push", "menu.js"]).await;
    assert!(!ok && error.starts_with("menu.js:1:"), "{error}");
    assert_eq!(cli(&["show", "menu"]).await.1, text(2));
    assert_eq!(cli(&["show", "menu", "--version", "1"]).await.1, text(1));
    let (_, versions, _) = cli(&["versions", "menu"]).await;
    assert_eq!(versions.lines().map(|line| line.starts_with('*')).collect::<Vec<_>>(), [true, false], "{versions}");
    assert!(cli(&["rollback", "menu"]).await.0);
    assert_eq!(cli(&["show", "menu"]).await.1, text(1));
    assert!(cli(&["list"]).await.1.contains("menu"));
    assert!(cli(&["remove", "menu"]).await.0);
    assert_eq!(cli(&["list"]).await.1, "no scripts\n");
}
