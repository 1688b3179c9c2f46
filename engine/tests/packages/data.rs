//! Packages that compute: card-validator, data-forge, fast-toml, moment, tough-cookie; and how modules are found.

use serde_json::json;

use crate::harness::{run, run_with};

#[tokio::test]
async fn card_validator_knows_cards_dates_and_codes() {
    let source = r#"
        import valid from 'card-validator';
        export function main() {
          const visa = valid.number('4111 1111 1111 1111');
          return [visa.isValid, visa.card.type, visa.card.lengths, valid.number('4111111111111112').isValid, valid.expirationDate('10/20').isValid, valid.expirationDate('12/2031').isValid, valid.cvv('123', 3).isValid];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!([true, "visa", [16, 18, 19], false, false, true, true]));
}

#[tokio::test]
async fn data_forge_groups_and_joins_tables() {
    let source = r#"
        const forge = require('data-forge');
        function main() {
          const calls = forge.fromCSV('user,seconds\n1001,30\n1002,5\n1001,60\n').parseInts('seconds');
          const totals = calls.groupBy((row) => row.user).select((group) => ({ user: group.first().user, seconds: group.deflate((row) => row.seconds).sum() })).inflate();
          return [totals.orderByDescending((row) => row.seconds).toArray(), calls.where((row) => row.seconds > 10).toCSV()];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value[0], json!([{ "user": "1001", "seconds": 90 }, { "user": "1002", "seconds": 5 }]));
    assert_eq!(value[1].as_str().map(|csv| csv.replace("\r\n", "\n")), Some("user,seconds\n1001,30\n1001,60".to_owned()));
}

#[tokio::test]
async fn csv_parse_takes_the_mark_of_its_encoding_away() {
    let source = r#"
        const parse = require('csv-parse/lib/sync');
        function main() {
          const options = { bom: true, columns: true };
          return ['utf8', 'utf16le'].map((encoding) => parse(Buffer.from('\ufeffx,y\n1,2', encoding), options));
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!([[{ "x": "1", "y": "2" }], [{ "x": "1", "y": "2" }]]));
}

#[tokio::test]
async fn fast_toml_parses_variables_of_customers() {
    let source = r#"
        const TOML = require('fast-toml');
        function main() {
          const parsed = TOML.parse('greeting = "hello"\n[schedule]\nweek = "9-21"\noffset = -4\ndays = [1, 2]\n[[rule]]\nprefix = "44"\n');
          let line;
          try { TOML.parse('a = \n'); } catch (error) { line = error.message; }
          return [parsed, typeof line];
        }"#;
    let value = run(source, json!({})).await.value();
    let parsed = json!({ "greeting": "hello", "schedule": { "week": "9-21", "offset": -4, "days": [1, 2] }, "rule": [{ "prefix": "44" }] });
    assert_eq!(value, json!([parsed, "string"]));
}

#[tokio::test]
async fn moment_speaks_the_languages_of_its_package() {
    let source = r#"
        const moment = require('moment');
        function main() {
          const then = moment.utc(0);
          return [
            moment.locales(), moment.locale('xx'), then.clone().locale('de').format('LLLL'),
            moment.duration(5, 'minutes').locale('pt-br').humanize(true), then.format('dddd'), moment.locale('fr'), moment.utc(0).format('dddd'),
          ];
        }"#;
    let value = run(source, json!({})).await.value();
    let expected = json!([["en"], "en", "Donnerstag, 1. Januar 1970 00:00", "em 5 minutos", "Thursday", "fr", "jeudi"]);
    assert_eq!(value, expected);
}

#[tokio::test]
async fn moment_computes_with_dates() {
    let source = r#"
        const moment = require('moment');
        function main() {
          const start = moment.utc('2026-03-28T22:30:00Z');
          return [start.clone().add(2, 'hours').format('dddd D MMMM YYYY HH:mm'), moment.duration(3725, 'seconds').humanize(), moment('31/02/2026', 'DD/MM/YYYY', true).isValid(), start.isBetween('2026-03-01', '2026-04-01'), moment.utc().year() >= 2024];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!(["Sunday 29 March 2026 00:30", "an hour", false, true, true]));
}

#[tokio::test]
async fn tough_cookie_keeps_cookies_where_they_belong() {
    let source = r#"
        const { CookieJar, Cookie } = require('tough-cookie');
        async function main() {
          const jar = new CookieJar();
          await jar.setCookie('a=1; Domain=example.com; Path=/', 'http://www.example.com/');
          await jar.setCookie('b=2; Secure; Path=/x', 'https://www.example.com/x');
          const refused = await jar.setCookie('c=3; Domain=com', 'http://example.com/').catch((error) => error.message);
          return [await jar.getCookieString('http://api.example.com/'), await jar.getCookieString('https://www.example.com/x/y'), refused, Cookie.parse('d=4; Max-Age=60').maxAge];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value[0], "a=1");
    assert_eq!(value[1], "b=2; a=1");
    assert!(value[2].as_str().unwrap().contains("public suffix"), "{value}");
    assert_eq!(value[3], 60);
}

#[tokio::test]
async fn crypto_and_zlib_stand_in_for_nodes() {
    let source = r#"
        const crypto = require('node:crypto');
        const { promisify } = require('util');
        const zlib = require('zlib');
        async function main() {
          const packed = await promisify(zlib.deflate)('text');
          const broken = await promisify(zlib.gunzip)(Buffer.from('no gzip')).catch((error) => error.code);
          return [
            crypto.createHash('sha256').update('a').update('bc').digest('hex').slice(0, 16), crypto.createHmac('sha1', 'key').update('data').digest('base64'),
            crypto.timingSafeEqual(Buffer.from('a'), Buffer.from('a')), crypto.randomBytes(8).length, zlib.inflateSync(packed).toString(), broken,
          ];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!(["ba7816bf8f01cfea", "EEFSxb/coHvGM+69RhmfAlXJ9J0=", true, 8, "text", "Z_DATA_ERROR"]));
}

#[tokio::test]
async fn what_is_not_on_the_list_is_refused_with_the_page_that_says_why() {
    let outcome = run("const x = require('left-pad'); function main() {}", json!({})).await;
    assert!(outcome.stderr.contains("Cannot find module 'left-pad' (not on the allow-list; see docs/modules.md)"), "{outcome:?}");
    for module in ["child_process", "vm", "worker_threads", "knex", "tty", "lodash", "axios/package.json"] {
        let outcome = run(&format!("const x = require('{module}'); function main() {{}}"), json!({})).await;
        assert!(outcome.stderr.contains(&format!("Cannot find module '{module}'")), "{outcome:?}");
    }
}

#[tokio::test]
async fn packages_that_are_not_installed_are_named_with_the_command_that_installs_them() {
    let dir = std::env::temp_dir().join(format!("lockstep-no-packages-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let list = json!({ "lockstep": { "modules": ["axios"], "builtins": ["url"] } });
    std::fs::write(dir.join("package.json"), list.to_string()).unwrap();
    for module in ["axios", "url", "node:url"] {
        std::fs::write(dir.join("main.js"), format!("require('{module}'); function main() {{}}")).unwrap();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .env("LOCKSTEP_SCRIPTS__PACKAGES", &dir)
            .args(["run", "--config"])
            .arg(&dir)
            .arg(dir.join("main.js"))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let dir = dir.display();
        let expected = format!(
            "Cannot find module '{module}': the npm packages are not installed; run `npm ci --prefix {dir}` and then `lockstep bundle {dir}`"
        );
        assert!(stderr.contains(&expected), "{stderr}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_script_of_type_worker_or_script_has_no_packages() {
    let source = "// @lockstep type=script\nconst moment = require('moment'); function main() {}";
    let outcome = run_with(source, json!({}), "").await;
    assert!(outcome.stderr.contains("has no require"), "{outcome:?}");
}

#[tokio::test]
async fn siblings_come_before_packages_and_both_before_nodes_modules() {
    let source = "const { join } = require('path'); const same = require('events') === require('node:events'); function main() { return [join('a', '..', 'b'), same] }";
    assert_eq!(run(source, json!({})).await.value(), json!(["b", true]));
}

#[tokio::test]
async fn timers_come_as_promises_too() {
    let source = r#"
        const { promisify } = require('util');
        const { setTimeout: wait, setInterval: every, scheduler } = require('timers/promises');
        async function main() {
          const began = Date.now();
          await promisify(setTimeout)(20);
          await scheduler.wait(20);
          let rounds = '';
          for await (const mark of every(10, 'x')) {
            rounds += mark;
            if (rounds.length === 3) break;
          }
          const aborted = await wait(1000, 0, { signal: AbortSignal.abort('no') }).catch(({ name, code, cause }) => [name, code, cause]);
          return [Date.now() - began >= 70, rounds, aborted];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!([true, "xxx", ["AbortError", "ABORT_ERR", "no"]]));
}

#[tokio::test]
async fn events_are_looped_over_and_what_is_no_error_is_told() {
    let source = r#"
        const EventEmitter = require('events');
        async function main() {
          const emitter = new EventEmitter();
          const seen = [];
          setTimeout(() => (emitter.emit('x', 1, 2), emitter.emit('x', 3)), 5);
          setTimeout(() => emitter.emit('error', new Error('broken')), 10);
          try {
            for await (const args of EventEmitter.on(emitter, 'x')) seen.push(args);
          } catch (error) {
            seen.push(error.message);
          }
          setTimeout(() => emitter.emit('x', 4), 5);
          for await (const args of EventEmitter.on(emitter, 'x')) {
            seen.push(args);
            break;
          }
          try {
            emitter.emit('error', 'text');
          } catch (error) {
            seen.push([error.message, error.code]);
          }
          const stop = new AbortController();
          const next = EventEmitter.on(emitter, 'x', { signal: stop.signal }).next();
          stop.abort();
          seen.push(await next.catch((error) => error.name), emitter.eventNames());
          const listener = () => {};
          return [seen, EventEmitter.getEventListeners(emitter.on('y', listener), 'y')[0] === listener];
        }"#;
    let value = run(source, json!({})).await.value();
    let seen = json!([[1, 2], [3], "broken", [4], ["Unhandled error. ('text')", "ERR_UNHANDLED_ERROR"], "AbortError", []]);
    assert_eq!(value, json!([seen, true]));
}

#[tokio::test]
async fn the_next_event_is_waited_for_as_long_as_a_signal_says() {
    let source = r#"
        const EventEmitter = require('events');
        const { once } = EventEmitter;
        const told = ({ name, code, cause }) => [name, code, cause?.name ?? cause];
        async function main() {
          const emitter = new EventEmitter();
          setTimeout(() => emitter.emit('x', 1, 2), 5);
          const seen = [await once(emitter, 'x', { signal: AbortSignal.timeout(20000) })];
          setTimeout(() => emitter.emit('error', new Error('broken')), 5);
          seen.push(await once(emitter, 'x').catch((error) => error.message));
          const target = new EventTarget();
          setTimeout(() => target.dispatchEvent(new Event('x')), 5);
          seen.push((await once(target, 'x'))[0].type);
          setTimeout(() => emitter.emit('error', 5), 5);
          seen.push(await once(emitter, 'error'));
          seen.push(await once(emitter, 'x', { signal: AbortSignal.timeout(10) }).catch(told));
          const stop = new AbortController();
          const next = once(emitter, 'x', { signal: stop.signal });
          stop.abort('no');
          seen.push(await next.catch(told), await once(emitter, 'x', { signal: stop.signal }).catch(told));
          seen.push(await once({}, 'x').catch(({ code }) => code), emitter.eventNames());
          return seen;
        }"#;
    let value = run(source, json!({})).await.value();
    let aborted = json!(["AbortError", "ABORT_ERR", "no"]);
    let late = json!(["AbortError", "ABORT_ERR", "TimeoutError"]);
    assert_eq!(value, json!([[1, 2], "broken", "x", [5], late, aborted, aborted, "ERR_INVALID_ARG_TYPE", []]));
}

#[tokio::test]
async fn inspect_takes_its_depth_in_either_form() {
    let source = r#"
        const { inspect } = require('util');
        function main() {
          const value = { a: { b: { c: { d: 1 } } } };
          return [inspect(value, false, null), inspect(value, false, 0), inspect(value, { depth: 1 }), inspect(value)];
        }"#;
    let value = run(source, json!({})).await.value();
    let all = "{ a: { b: { c: { d: 1 } } } }";
    assert_eq!(value, json!([all, "{ a: [Object] }", "{ a: { b: [Object] } }", "{ a: { b: { c: [Object] } } }"]));
}

#[tokio::test]
async fn query_strings_are_escaped_as_nodes() {
    let source = r#"
        const { escape, unescape, parse, stringify } = require('querystring');
        function main() {
          return [escape("a b&c='ä'"), unescape('a%20b%C3%A4'), unescape('100%/ä%41'), parse('a=1&b=x+y'), stringify({ a: [1, 2] })];
        }"#;
    let value = run(source, json!({})).await.value();
    assert_eq!(value, json!(["a%20b%26c%3D'%C3%A4'", "a bä", "100%/äA", { "a": "1", "b": "x y" }, "a=1&a=2"]));
}

#[tokio::test]
async fn urls_are_made_of_their_parts() {
    let source = r#"
        const url = require('url');
        function main() {
          const parsed = url.parse('http://h/p?a=1&b=%E4', true);
          parsed.search = null;
          parsed.query.c = ['3', '4'];
          return [
            url.format({ protocol: 'https', hostname: 'api.example.com', pathname: '/v1/calls', query: { from: '441', to: 'a b' } }),
            url.format({ pathname: '/a', query: { x: 1, y: 2 } }), url.format(parsed), parsed.format(), url.resolve('http://h/a/b?c=1', '../d?e=2&f=3'),
          ];
        }"#;
    let value = run(source, json!({})).await.value();
    let parsed = "http://h/p?a=1&b=%EF%BF%BD&c=3&c=4";
    assert_eq!(
        value,
        json!(["https://api.example.com/v1/calls?from=441&to=a%20b", "/a?x=1&y=2", parsed, parsed, "http://h/d?e=2&f=3"])
    );
}

#[tokio::test]
async fn query_strings_are_read_whatever_they_are() {
    let source = r#"
        const { parse } = require('querystring');
        function main() { return [
          parse('b=%E4%F6'), parse('a=%&&b=%zz+c'), parse('a=1&a=2&a=3'), parse('x:1;y', ';', ':'), parse('a&b&c', null, null, { maxKeys: 2 }),
          parse('a=1', null, null, { decodeURIComponent: (text) => { if (text === 'a') throw 0; return text + '!' } }),
        ] }"#;
    let value = run(source, json!({})).await.value();
    let expected = json!([
        { "b": "\u{fffd}\u{fffd}" }, { "a": "%", "b": "%zz c" }, { "a": ["1", "2", "3"] }, { "x": "1", "y": "" }, { "a": "", "b": "" },
        { "a": "1!" },
    ]);
    assert_eq!(value, expected);
}
