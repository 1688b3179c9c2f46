//! decompress-zip, csv-parse, fast-csv and the scratch folder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::harness::run;
use crate::zip_file::zip;

const UNZIP: &str = r#"
    const fs = require('fs');
    const DecompressZip = require('decompress-zip');
    async function main({ archive }) {
      fs.writeFileSync('/tmp/in.zip', Buffer.from(archive, 'base64'));
      const unzip = (method, options) => new Promise((resolve, reject) => {
        const unzipper = new DecompressZip('/tmp/in.zip');
        unzipper.on('error', reject);
        unzipper.on(method, resolve);
        unzipper[method](options);
      });
      const files = await unzip('list');
      const log = await unzip('extract', { path: '/out' });
      return [files, log.map((entry) => Object.values(entry)[0]), fs.readFileSync('/out/a.txt', 'utf8').length, fs.readFileSync('/out/deep/b.csv', 'utf8')];
    }"#;

#[tokio::test]
async fn decompress_zip_lists_and_extracts() {
    let long = "many words ".repeat(10_000);
    let archive = zip(&[("a.txt", long.as_bytes()), ("deep/b.csv", b"x,y\n1,2\n")]);
    let value = run(UNZIP, json!({ "archive": STANDARD.encode(archive) })).await.value();
    assert_eq!(value[0], json!(["a.txt", "deep/b.csv"]));
    assert_eq!(value[2], long.len());
    assert_eq!(value[3], "x,y\n1,2\n");
}

#[tokio::test]
async fn a_zip_bomb_is_stopped() {
    let archive = zip(&[("a.txt", &vec![0; 80 << 20])]);
    assert!(archive.len() < 1 << 20);
    let outcome = run(UNZIP, json!({ "archive": STANDARD.encode(archive) })).await;
    assert!(outcome.result.is_none(), "{outcome:?}");
}

#[tokio::test]
async fn csv_parse_reads_at_once_and_as_a_stream() {
    let source = r#"
        import parse from 'csv-parse/lib/sync';
        import stream from 'csv-parse';
        import { Readable } from 'stream';
        export async function main() {
          const text = 'name,price\n"Smith, J",1.5\n"say ""hi""",2\n';
          const rows = parse(text, { columns: true, cast: true });
          const streamed = [];
          const parser = Readable.from([text.slice(0, 15), text.slice(15)]).pipe(stream({ from_line: 2 }));
          for await (const row of parser) streamed.push(row);
          let broken;
          try { parse('a,b\n1'); } catch (error) { broken = error.code; }
          return [rows, streamed, broken];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value[0], json!([{ "name": "Smith, J", "price": 1.5 }, { "name": "say \"hi\"", "price": 2 }]));
    assert_eq!(value[1], json!([["Smith, J", "1.5"], ["say \"hi\"", "2"]]));
    assert_eq!(value[2], "CSV_INCONSISTENT_RECORD_LENGTH");
}

#[tokio::test]
async fn fast_csv_writes_a_file_and_reads_it_back() {
    let source = r#"
        const fs = require('fs');
        const csv = require('fast-csv');
        async function main() {
          await new Promise((resolve, reject) => {
            const out = fs.createWriteStream('/tmp/cdr.csv');
            const format = csv.format({ headers: true });
            format.pipe(out).on('finish', resolve).on('error', reject);
            for (let n = 0; n < 1000; n++) format.write({ id: n, text: `a "${n}", b` });
            format.end();
          });
          const rows = [];
          for await (const row of fs.createReadStream('/tmp/cdr.csv').pipe(csv.parse({ headers: true }))) rows.push(row);
          return [rows.length, rows[999], await csv.writeToString([['a', 'b,c']])];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!([1000, { "id": "999", "text": "a \"999\", b" }, "a,\"b,c\""]));
}

#[tokio::test]
async fn a_forms_file_that_is_not_waited_for_says_how_it_is_read() {
    let source = r#"
        const fs = require('fs');
        async function main() {
          const messages = [];
          for (const name of ['/upload-1.csv', '/other.csv']) {
            try { fs.readFileSync(name); } catch (error) { messages.push(error.code, error.message); }
          }
          await fs.promises.readFile('/upload-1.csv').catch((error) => messages.push(error.message));
          return messages;
        }"#;
    let missing = |name: &str| format!("ENOENT: no such file or directory, open '{name}'");
    let how = "(a form's file is read asynchronously first: await fs.promises.readFile(path))";
    let upload = missing("/upload-1.csv");
    let expected = json!(["ENOENT", format!("{upload} {how}"), "ENOENT", missing("/other.csv"), upload]);
    assert_eq!(run(source, json!({})).await.value(), expected);
}

#[tokio::test]
async fn the_scratch_folder_is_a_runs_own_and_bounded() {
    let source = r#"
        const fs = require('fs');
        async function main() {
          const attempt = (action) => { try { return action(); } catch (error) { return error.code; } };
          fs.mkdirSync('/data/a/b', { recursive: true });
          await fs.promises.writeFile('/data/a/b/c.txt', 'one');
          fs.appendFileSync('/data/a/b/c.txt', ' two');
          fs.renameSync('/data/a/b/c.txt', '/data/d.txt');
          const big = Buffer.alloc(16 * 1024 * 1024);
          return [
            fs.readdirSync('/data'), fs.readFileSync('/data/../data/d.txt', 'utf8'), fs.statSync('/data/d.txt').size,
            attempt(() => fs.readFileSync('/etc/passwd')), attempt(() => fs.rmdirSync('/data')), attempt(() => fs.readFileSync('/data')),
            attempt(() => { for (let n = 0; ; n++) fs.writeFileSync(`/tmp/${n}`, big); }),
          ];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!([["a", "d.txt"], "one two", 7, "ENOENT", "ENOTEMPTY", "EISDIR", "ENOSPC"]));
}
