//! Small bodies that would become large, or deep: archives, JSON, forms, scripts. Each is refused by name, and a call that lives meanwhile
//! notices nothing.

use flate2::Compression;
use flate2::read::GzEncoder;
use lockstep_tests::engine::{Engine, Setup};
use lockstep_tests::neighbour::{self, Neighbour, Noticed, ROUNDS};
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::Read as _;

#[path = "../../../engine/tests/packages/zip_file.rs"]
mod zip_file;

/// What the bombs would become: more than a script may have unpacked at once.
const UNPACKED: usize = 65 << 20;
/// Levels that end the stack of whoever recurses.
const DEEP: usize = 20_000;

const UNPACK: &str = "// @lockstep public=true
const fs = require('fs');
const zlib = require('zlib');
const DecompressZip = require('decompress-zip');
exports.zip = ({ file }) => new Promise((resolve, reject) => {
  const unzipper = new DecompressZip(file.path);
  unzipper.on('error', reject);
  unzipper.on('extract', () => resolve(fs.statSync('/out/a.txt').size));
  unzipper.extract({ path: '/out' });
});
exports.gzip = async ({ file }) => zlib.gunzipSync(await fs.promises.readFile(file.path)).length;
exports.main = (form) => Object.keys(form).length;
exports.deep = ({ levels }) => { let value = 1; for (let n = 0; n < levels; n++) value = [value]; return value; };
exports.keep = async ({ levels }) => { await require('cxKV').ko.set('deep', exports.deep({ levels })); };
exports.parse = ({ levels }) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)).length;";

fn setup() -> Setup {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts");
    Engine::setup()
        .variable("LOCKSTEP_SCRIPTS__PACKAGES", packages)
        .variable("LOCKSTEP_SCRIPTS__WORKERS", "1")
        .main("100", neighbour::SCRIPT)
        .script("unpack.js", UNPACK)
}

/// Sends each of the bombs to an engine, again and again while a call presses a key and hears its prompt: beside each of them the
/// key is answered as soon as ever.
async fn beside_a_call<Bomb>(bombs: &[Bomb], send: impl AsyncFn(&Engine, &Bomb)) {
    let engine = setup().start();
    let mut neighbour = Neighbour::call(&engine, "100").await;
    for (index, bomb) in bombs.iter().enumerate() {
        let mut rounds: Vec<Noticed> = Vec::new();
        while rounds.iter().copied().reduce(Noticed::least).is_none_or(|least| !least.is_nothing()) {
            assert!(rounds.len() < ROUNDS, "bomb {index}: {rounds:?}");
            let is_over = Cell::new(false);
            let round = async {
                let noticed = neighbour.asks(&engine).await;
                is_over.set(true);
                noticed
            };
            let bombing = async {
                while !is_over.get() {
                    send(&engine, bomb).await;
                }
            };
            let (noticed, ()) = tokio::join!(round, bombing);
            rounds.push(noticed);
        }
    }
    neighbour.leaves(&engine).await;
    assert_eq!(engine.get("/v1/health").await["status"], "ok");
    assert_eq!(call(&engine, "main", json!({ "a": 1 })).await, (200, json!(1)), "other runs of the same script go on");
}

async fn call(engine: &Engine, function: &str, data: Value) -> (u16, Value) {
    let body = json!({ "fn": function, "data": data }).to_string();
    let (status, body) = engine.request("POST", "/v1/scripts/unpack/run", &body).await;
    let answer: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status, if status == 200 { answer["result"].clone() } else { answer["error"].clone() })
}

fn upload(bytes: &[u8]) -> Vec<u8> {
    let head = b"--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    [head.as_slice(), bytes, b"\r\n--B--\r\n"].concat()
}

#[tokio::test]
async fn archives_end_at_the_size_that_may_be_unpacked() {
    let zeros = vec![0; UNPACKED];
    let zip = zip_file::zip(&[("a.txt", &zeros)]);
    let mut gzip = Vec::new();
    GzEncoder::new(zeros.as_slice(), Compression::fast()).read_to_end(&mut gzip).expect("memory can be read");
    assert!(zip.len() < 1 << 18 && gzip.len() < 1 << 20, "they are small");
    let small = zip_file::zip(&[("a.txt", b"hello")]);
    let bombs = [
        ("zip", upload(&zip), 422, "larger than"),
        ("gzip", upload(&gzip), 422, "larger than"),
        ("zip", upload(&small), 200, "5"),
    ];
    beside_a_call(&bombs, async |engine, (function, body, expected, said)| {
        let path = format!("/v1/forms/unpack?fn={function}");
        let (status, answer) = engine.post_as("multipart/form-data; boundary=B", &path, body).await;
        assert_eq!(status, *expected, "{function}: {answer}");
        assert!(answer.contains(said), "{function}: {answer}");
    })
    .await;
}

#[tokio::test]
async fn forms_of_very_many_or_strange_fields_are_refused() {
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n";
    let urlencoded = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=B";
    let cases = [
        (urlencoded, "a&".repeat(400_000), 413, "fields"),
        (urlencoded, format!("a{}=1", "[b]".repeat(DEEP)), 200, ""),
        (multipart, part.repeat(20_000) + "--B--\r\n", 413, "fields"),
        (multipart, part.replace("\"a\"", &format!("\"{}\"", "a".repeat(100_000))) + "--B--\r\n", 400, ""),
        (multipart, "--B\r\n".to_owned() + &"X: y\r\n".repeat(100_000), 400, ""),
        ("application/json", "[".repeat(DEEP), 422, "deeper"),
        ("application/json", format!("{{\"a\":{}}}", "{\"a\":".repeat(DEEP)), 422, "deeper"),
    ];
    beside_a_call(&cases, async |engine, (content_type, body, expected, said)| {
        let uuid = engine.get("/v1/scripts/unpack").await["uuid"].as_str().expect("it has one").to_owned();
        for path in ["/v1/forms/unpack".to_owned(), format!("/f/{uuid}")] {
            let (status, answer) = engine.post_as(content_type, &path, body.as_bytes()).await;
            let begin = &body[..60.min(body.len())];
            assert_eq!(status, *expected, "{path} {content_type} {begin:?}: {answer}");
            assert!(answer.contains(said), "{path} {content_type} {begin:?}: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn values_that_are_too_deep_are_an_error_of_their_run() {
    beside_a_call(&["deep", "keep", "parse"], async |engine, function| {
        let (status, error) = call(engine, function, json!({ "levels": DEEP })).await;
        assert_eq!(status, 422, "{function}: {error}");
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains("stack") || message.contains("deep"), "{function}: {error}");
        assert_eq!(call(engine, "deep", json!({ "levels": 50 })).await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn scripts_that_would_overflow_whoever_reads_them_are_refused_with_their_place() {
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
    let texts = [
        nested("[", "]"),
        nested("(", ")"),
        nested("{", "}"),
        nested("{a:", "}"),
        nested("(()=>", ")"),
        nested("`${", "}`"),
        nested("!", ""),
        nested("a?", ":1"),
        nested("if(1)", ""),
        nested("class A{static{", "}}"),
        nested("1+(", ")"),
        nested("a=>", ""),
        nested("<", ">"),
        nested("let x: A<", ">"),
        nested("let x: (", ")"),
        nested("type T = [", "]"),
        format!("// @lockstep vars={}\n", nested("{a=", "}")),
        format!("// @lockstep vars={}\n", nested("[", "]")),
    ];
    beside_a_call(&texts, async |engine, text| {
        for file in ["deep.js", "deep.ts"] {
            let body = json!({ "file": file, "source": text }).to_string();
            let (status, answer) = engine.request("POST", "/v1/scripts", &body).await;
            let begin = &text[..40];
            if status == 201 {
                // What can be read may be kept.
                assert_eq!(engine.request("DELETE", "/v1/scripts/deep", "").await.0, 204);
                continue;
            }
            let error: Value = serde_json::from_str(&answer).unwrap_or_default();
            let message = error["error"]["message"].as_str().unwrap_or_default();
            assert_eq!((status, &error["error"]["code"]), (422, &json!("invalid_script")), "{file} {begin}: {answer}");
            assert!(message.starts_with(file) && message.len() < 1_000, "{file} {begin}: {answer}");
        }
    })
    .await;
}
