//! What a script finds around it besides `ctx`.

use std::sync::Arc;

use lockstep_ctx_api::op::{FetchArgs, FetchRedirect};
use lockstep_ctx_api::outcome::{FetchResponse, Outcome};
use lockstep_ctx_api::wire::LogLevel;
use lockstep_ctx_api::{ErrorCode, Op, OpError};

use crate::harness::Setup;

/// Evaluates expressions: each must be true.
fn assert_true(expressions: &[&str]) {
    for expression in expressions {
        let run = Setup::app(&format!("async function main() {{ return {expression} }}")).start();
        assert_eq!(run.result(), "true", "{expression}");
    }
}

fn logged(call: &str) -> Vec<String> {
    let run = Setup::app(&format!("function main() {{ {call} }}")).start();
    run.result();
    run.texts().into_iter().map(str::to_owned).collect()
}

#[test]
fn a_long_list_is_shown_by_its_first_members() {
    let lines = logged("console.log(new Array(600_000).fill(0))");
    assert!(lines[0].ends_with("  0,\n  ... 599900 more items\n]"), "{lines:?}");
}

#[test]
fn console_shows_values_as_node_does() {
    for (call, line) in [
        ("console.log('a', 1, true, null, undefined, 5n, -0)", "a 1 true null undefined 5n -0"),
        (
            "console.log({ a: 1, 'b-c': 'x', d: [1, 'two'], e: { f: { g: { h: 1 } } } })",
            "{ a: 1, 'b-c': 'x', d: [ 1, 'two' ], e: { f: { g: [Object] } } }",
        ),
        ("console.log([], {}, [undefined, , 3])", "[] {} [ undefined, <1 empty item>, 3 ]"),
        (
            "console.log('%s is %d years, %i, %f, %j %o %%', 'Bob', 42.5, 42.9, '1.5', { a: 1 }, [1], 'rest')",
            "Bob is 42.5 years, 42, 1.5, {\"a\":1} [ 1 ] % rest",
        ),
        ("console.log('100%', 'sure')", "100% sure"),
        ("console.log('%d %i %f %s', ...['a', 'b', 'c', 'd'].map(Symbol))", "NaN NaN NaN Symbol(d)"),
        ("console.log('%d %i %f', 5n, 6n, 7n)", "5n 6n 7"),
        ("console.log(new Map([['a', 1]]), new Set([1]))", "Map(1) { 'a' => 1 } Set(1) { 1 }"),
        ("console.log(new Date(0), /x/g, Symbol('s'))", "1970-01-01T00:00:00.000Z /x/g Symbol(s)"),
        ("console.log(function f() {}, () => {}, class A {})", "[Function: f] [Function (anonymous)] [Function: A]"),
        ("console.log(new (class Point { constructor() { this.x = 1 } })())", "Point { x: 1 }"),
        ("const a = {}; a.self = a; console.log(a)", "{ self: [Circular *1] }"),
        ("console.log(new Uint8Array([1, 2]))", "Uint8Array(2) [ 1, 2 ]"),
        ("console.log(Buffer.from('hi'), [Buffer.alloc(0)])", "<Buffer 68 69> [ <Buffer > ]"),
        ("console.log(\"it's\", [\"it's\"])", "it's [ \"it's\" ]"),
        ("console.log({ get a() { return 1 } })", "{ a: [Getter] }"),
        ("const a = []; a[44208000] = 1; a.b = 2; console.log(a)", "[ <44208000 empty items>, 1, b: 2 ]"),
        ("const a = [1]; a.length = 3; console.log(a)", "[ 1, <2 empty items> ]"),
        ("console.log(new Proxy({}, { get() { throw new Error('trap') }, ownKeys() { throw new Error('trap') } }))", "[Object]"),
        ("const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); console.log(proxy, 1)", "[Object] 1"),
        ("console.log({ __proto__: { get constructor() { throw new Error('no') } }, a: 1 })", "{ a: 1 }"),
        ("console.log([1.5, 'x'].map(String))", "[ '1.5', 'x' ]"),
    ] {
        assert_eq!(logged(call), [line], "{call}");
    }
}

#[test]
fn the_sites_of_a_stack_give_away_no_function() {
    let source = "Error.prepareStackTrace = (error, sites) => sites;
      function main() { return new Error().stack.map((site) => [site.getFunctionName(), typeof site.getFunction()]) }";
    let run = Setup::app(source).start();
    assert!(run.result().starts_with(r#"[["main","undefined"]"#) && !run.result().contains("\"function\""), "{}", run.result());
}

#[test]
fn console_lines_have_level_and_place() {
    let run = Setup::app("function main() {\n  console.debug('a'); console.info('b'); console.warn('c'); console.error('d')\n}")
        .start();
    let levels: Vec<_> = run.lines.iter().map(|line| line.level).collect();
    assert_eq!(levels, [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error]);
    assert!(run.lines.iter().all(|line| line.at.as_ref().is_some_and(|at| at.line == 2)));
}

#[test]
fn console_does_the_rest() {
    assert_eq!(logged("console.assert(true, 'x'); console.assert(false, 'no %s', 'good')"), ["Assertion failed: no good"]);
    assert_eq!(logged("console.count(); console.count('a'); console.count()"), ["default: 1", "a: 1", "default: 2"]);
    assert_eq!(logged("console.group('g'); console.log('in'); console.groupEnd(); console.log('out')"), ["g", "  in", "out"]);
    assert_eq!(logged("console.time('t'); console.timeEnd('t')"), ["t: 0ms"]);
    assert_eq!(
        logged("console.table([{ a: 1 }, { a: 22 }])"),
        ["| (index) | a  |\n|---------|----|\n| 0       | 1  |\n| 1       | 22 |"]
    );
}

#[test]
fn an_error_is_shown_with_its_stack_and_cause() {
    let lines = logged("console.log(new Error('outer', { cause: new TypeError('inner') }))");
    assert!(lines[0].starts_with("Error: outer\n    at main (main.js:1:"), "{lines:?}");
    assert!(lines[0].contains("cause: TypeError: inner") && !lines[0].contains("lockstep:"), "{lines:?}");
}

#[test]
fn urls_are_the_webs() {
    assert_true(&[
        "new URL('../b?x=1#y', 'https://user:pw@example.net:8443/a/c').href === 'https://user:pw@example.net:8443/b?x=1#y'",
        "new URL('HTTP://EXAMPLE.com:80/%7Efoo/../bar').href === 'http://example.com/bar'",
        "(() => { const u = new URL('http://a/'); u.searchParams.append('q', 'ä b&c'); return u.href === 'http://a/?q=%C3%A4+b%26c' })()",
        "(() => { const u = new URL('http://a/?x=1'); const p = u.searchParams; u.search = '?y=2'; return p.get('y') === '2' && p.get('x') === null })()",
        "(() => { const u = new URL('http://a/x'); u.pathname = '/y z'; u.port = '8080'; u.hash = 'h'; return String(u) === 'http://a:8080/y%20z#h' })()",
        "JSON.stringify({ u: new URL('http://a') }) === '{\"u\":\"http://a/\"}'",
        "!URL.canParse('nonsense') && URL.parse('nonsense') === null",
        "new URLSearchParams({ a: 1, b: 'x y' }).toString() === 'a=1&b=x+y'",
        "new URLSearchParams('?a=1&a=2&b=%C3%A9+%zz').getAll('a').join() === '1,2'",
        "new URLSearchParams('b=%C3%A9+%zz').get('b') === 'é %zz'",
        "[...new URLSearchParams([['a', '1'], ['b', '2']])].flat().join() === 'a,1,b,2'",
    ]);
    let run = Setup::app("function main() { new URL('nonsense') }").start();
    assert_eq!(run.error().message, "TypeError: Invalid URL");
}

#[test]
fn text_and_bytes() {
    assert_true(&[
        "new TextEncoder().encode('é€').join() === '195,169,226,130,172'",
        "new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff])) === 'a\\ufffd'",
        "(() => { const d = new TextDecoder(); return d.decode(new Uint8Array([0xe2, 0x82]), { stream: true }) + d.decode(new Uint8Array([0xac])) === '€' })()",
        "(() => { try { new TextDecoder('utf-8', { fatal: true }).decode(new Uint8Array([0xff])) } catch (e) { return e instanceof TypeError } })()",
        "Buffer.from('héllo').toString('base64') === 'aMOpbGxv' && Buffer.from('aMOpbGxv', 'base64').toString() === 'héllo'",
        "Buffer.from('ff00', 'hex')[0] === 255 && Buffer.from([1, 2, 3]).toString('hex') === '010203'",
        "Buffer.concat([Buffer.from('a'), Buffer.from('b')]).toString() === 'ab' && Buffer.isBuffer(Buffer.alloc(2))",
        "Buffer.from('abcdef').compare(Buffer.from('cd'), 0, 2, 2, 4) === 0 && Buffer.from('ab').compare(Buffer.from('abc')) === -1",
        "Buffer.from('\\ufeff').compare(Buffer.from('\\ufeffx,y'), 0, 3) === 0 && Buffer.from('b').compare(Buffer.from('a'), 5) === 1",
        "[[0, 3], [-1], [1.5], [0, 2, 0, 7]].every((range) => { try { Buffer.from('abcdef').compare(Buffer.from('cd'), ...range) } catch (e) { return e.code === 'ERR_OUT_OF_RANGE' } })",
        "Buffer.from('hi').toLocaleString() === 'hi'",
        "[['UInt8', 255], ['Int8', 127], ['UInt16LE', 65535], ['Int32BE', 2 ** 31 - 1], ['BigUInt64LE', 2n ** 64n - 1n], ['BigInt64BE', 2n ** 63n - 1n]].every(([kind, most]) => {
            const b = Buffer.alloc(8);
            const one = typeof most === 'bigint' ? 1n : 1;
            b[`write${kind}`](most);
            try { b[`write${kind}`](most + one) } catch (e) { return e.code === 'ERR_OUT_OF_RANGE' && b[`read${kind}`]() === most }
        })",
        "(() => { const b = Buffer.alloc(4); b.writeIntBE(-(2 ** 23), 0, 3); try { b.writeUIntLE(2 ** 24, 0, 3) } catch (e) { return e.name === 'RangeError' && b.readIntBE(0, 3) === -(2 ** 23) } })()",
        "[[() => Buffer.from(5), 'ERR_INVALID_ARG_TYPE'], [() => Buffer.alloc(-1), 'ERR_OUT_OF_RANGE'], [() => Buffer.alloc('5'), 'ERR_INVALID_ARG_TYPE'], [() => Buffer.from('a', 'nosuch'), 'ERR_UNKNOWN_ENCODING']].every(([make, code]) => { try { make() } catch (e) { return e.code === code } })",
        "JSON.stringify(Buffer.from('a')) === '{\"type\":\"Buffer\",\"data\":[97]}'",
        "Buffer.from('abc').slice(1).toString() === 'bc' && Buffer.from('abcabc').indexOf('ca') === 2",
        "(() => { const b = Buffer.alloc(4); b.writeUInt16BE(258, 1); return b.toString('hex') === '00010200' && b.readUInt16LE(1) === 513 })()",
        "Buffer.byteLength('é') === 2 && Buffer.from('aé', 'latin1').length === 2 && Buffer.alloc(3, 'ab').toString() === 'aba'",
        "atob('aGk=') === 'hi' && btoa('hi') === 'aGk=' && atob(' a G k ') === 'hi'",
        "(() => { try { atob('a') } catch (e) { return e.name === 'InvalidCharacterError' } })()",
        "new TextEncoder().encode('a\\ud800b\\udc00\\u{1f600}').join() === '97,239,191,189,98,239,191,189,240,159,152,128'",
        "Buffer.from('\\ud800').toString('hex') === 'efbfbd' && Buffer.byteLength('\\udfff') === 3",
        "Buffer.from('a\\udfff', 'utf16le').toString('hex') === '6100ffdf' && Buffer.from('\\ud800', 'latin1')[0] === 0",
        "Buffer.from('-_8', 'base64url').toString('hex') === 'fbff'",
    ]);
}

#[test]
fn a_date_that_is_given_no_number_is_none() {
    assert_true(&[
        "['Date', 'FullYear', 'Hours', 'Milliseconds', 'Minutes', 'Month', 'Seconds'].every((field) => ['set', 'setUTC'].every((set) => {
            const date = new Date(2026, 0, 5);
            return Number.isNaN(date[set + field](NaN)) && Number.isNaN(date.getTime());
        }))",
        "(() => { const date = new Date(0); return date.setUTCHours(1, 2) === 3_720_000 && date.getTime() === 3_720_000 })()",
        "(() => { const date = new Date(NaN); return Number.isNaN(date.setHours(1)) && date.setUTCFullYear(1970) === 0 })()",
    ]);
}

#[test]
fn structured_clone_copies_deeply() {
    assert_true(&[
        "(() => { const a = { d: new Date(5), m: new Map([[1, { x: 1 }]]), b: new Uint8Array([7]) }; a.self = a; const c = structuredClone(a); return c !== a && c.self === c && c.d.getTime() === 5 && c.m.get(1).x === 1 && c.m.get(1) !== a.m.get(1) && c.b[0] === 7 })()",
        "(() => { try { structuredClone(() => {}) } catch (e) { return e.name === 'DataCloneError' } })()",
    ]);
}

#[test]
fn signals_of_several_leave_nothing_with_a_signal_that_stays() {
    let source = "function main() {
        const life = new AbortController();
        for (let i = 0; i < 10000; i++) {
          const any = AbortSignal.any([life.signal, new AbortController().signal]);
          const listener = () => {};
          any.addEventListener('abort', listener);
          any.removeEventListener('abort', listener);
        }
        return 'done';
    }";
    let mut setup = Setup::app(source);
    setup.header.limits.memory_bytes = 4 << 20;
    assert_eq!(setup.start().result(), "\"done\"");
}

#[test]
fn abort_signals_and_events() {
    assert_true(&[
        "(() => { const c = new AbortController(); let seen = ''; c.signal.onabort = () => seen += 'a'; c.signal.addEventListener('abort', () => seen += 'b'); c.abort(); c.abort(); return seen === 'ab' && c.signal.aborted && c.signal.reason.name === 'AbortError' })()",
        "(() => { try { AbortSignal.abort('x').throwIfAborted() } catch (e) { return e === 'x' } })()",
        "(() => { try { new AbortSignal() } catch (e) { return e instanceof TypeError } })()",
        "(() => { const t = new EventTarget(); let n = 0; t.addEventListener('x', () => n++, { once: true }); t.dispatchEvent(new Event('x')); t.dispatchEvent(new Event('x')); return n === 1 })()",
        "AbortSignal.any([AbortSignal.abort(5)]).reason === 5",
        "(() => { const c = new AbortController(); const any = AbortSignal.any([AbortSignal.any([c.signal])]); if (any.aborted) return false; c.abort(7); return any.aborted && any.reason === 7 })()",
        "(() => { const c = new AbortController(); const any = AbortSignal.any([AbortSignal.any([c.signal])]); let seen = ''; const a = () => { seen += 'a' }; any.addEventListener('abort', a); any.addEventListener('abort', () => { seen += 'b' }); any.removeEventListener('abort', a); any.onabort = () => { seen += any.reason }; c.abort(7); c.abort(8); return seen === '7b' })()",
        "(() => { const c = new AbortController(); const any = AbortSignal.any([c.signal]); let n = 0; any.onabort = () => { n++ }; any.onabort = null; c.abort(); return n === 0 && any.aborted })()",
        "(() => { const [a, b, c] = [0, 0, 0].map(() => new AbortController()); const inner = AbortSignal.any([b.signal, c.signal]); const any = AbortSignal.any([a.signal, inner]); c.abort('c'); a.abort('a'); b.abort('b'); return any.reason === 'c' && inner.reason === 'c' && any.reason === 'c' && AbortSignal.any([a.signal, inner]).reason === 'a' })()",
        "(() => { const [a, b] = [0, 0].map(() => new AbortController()); const inner = AbortSignal.any([b.signal]); const any = AbortSignal.any([a.signal, inner]); b.abort('b'); a.abort('a'); return inner.aborted && any.reason === 'b' && AbortSignal.turnOf === undefined })()",
        "(() => { try { AbortSignal.timeout(Infinity) } catch (e) { return e instanceof RangeError && !AbortSignal.timeout(5e9).aborted } })()",
        "new DOMException('m', 'AbortError').code === 20",
    ]);
}

#[test]
fn fetch_is_an_operation_of_the_engine() {
    let mut run = Setup::app(
        "async function main() {
            const response = await fetch('https://example.net/a?b', { method: 'post', headers: { 'X-A': ' b ' }, body: JSON.stringify({ q: 1 }), redirect: 'manual' });
            return [response.ok, response.status, response.statusText, response.url, response.headers.get('Content-Type'), response.headers.getSetCookie(), await response.json(), response.bodyUsed];
        }",
    )
    .start();
    let expected = FetchArgs {
        method: "POST".to_owned(),
        url: "https://example.net/a?b".to_owned(),
        headers: vec![("content-type".to_owned(), "text/plain;charset=UTF-8".to_owned()), ("x-a".to_owned(), "b".to_owned())],
        body: Some(br#"{"q":1}"#.to_vec()),
        redirect: FetchRedirect::Manual,
        timeout_ms: None,
    };
    assert_eq!(run.op("fetch"), &Op::Fetch(expected));
    let headers = [("content-type", "application/json"), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
    let response = FetchResponse {
        status: 201,
        status_text: "Created".to_owned(),
        url: "https://example.net/a?b".to_owned(),
        redirected: false,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: br#"{"id":7}"#.to_vec(),
    };
    run.settle("fetch", Ok(Outcome::Fetched(response)));
    assert_eq!(run.result(), r#"[true,201,"Created","https://example.net/a?b","application/json",["a=1","b=2"],{"id":7},true]"#);
    run.assert_replays();
}

/// The result of a run whose `fetch` is answered so.
fn fetched(source: &str, encoding: &str, body: &[u8]) -> String {
    let mut run = Setup::app(source).start();
    let response = FetchResponse {
        status: 200,
        status_text: "OK".to_owned(),
        url: "http://example.net/".to_owned(),
        redirected: false,
        headers: vec![("content-encoding".to_owned(), encoding.to_owned())],
        body: body.to_vec(),
    };
    run.settle("fetch", Ok(Outcome::Fetched(response)));
    run.result().to_owned()
}

#[test]
fn packed_bodies_are_unpacked() {
    let source = "async function main() { const r = await fetch('http://example.net/'); return [r.headers.get('content-encoding'), await r.text()] }";
    let gzip: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 202, 76, 81, 178, 50, 175, 5, 0, 67, 95, 7, 18, 8, 0, 0, 0];
    let cases: [(&str, &[u8]); 6] = [
        ("gzip", gzip),
        // Without its trailer, and padded.
        ("gzip", &gzip[..20]),
        ("gzip", &[gzip, &[0; 9]].concat()),
        ("X-GZIP", gzip),
        ("deflate", &[120, 156, 171, 86, 202, 76, 81, 178, 50, 175, 5, 0, 11, 89, 2, 123]),
        ("deflate", &[171, 86, 202, 76, 81, 178, 50, 175, 5, 0]),
    ];
    for (encoding, body) in cases {
        assert_eq!(fetched(source, encoding, body), format!(r#"["{encoding}","{{\"id\":7}}"]"#));
    }
    assert_eq!(fetched(source, "br", b"packed"), r#"["br","packed"]"#);
    let source =
        "async function main() { try { await fetch('http://example.net/') } catch (e) { return [e.message, e.cause.code] } }";
    assert_eq!(fetched(source, "gzip", b"no gzip"), r#"["fetch failed","Z_DATA_ERROR"]"#);
}

#[test]
fn a_body_can_be_read_as_a_stream() {
    assert_true(&[
        "await (async () => { let text = ''; for await (const chunk of new Response('äb').body) text += chunk.length; return text === '3' })()",
        "await (async () => { const r = new Response('ab').body.getReader(); const [a, b] = [await r.read(), await r.read()]; return a.value.join() === '97,98' && !a.done && b.done && b.value === undefined })()",
        "await (async () => { const r = new Response('ab'); await r.body.getReader().read(); return r.bodyUsed && r.text().then(() => false, (e) => e instanceof TypeError) })()",
        "await (async () => { const r = new Response('ab'); r.body.getReader(); try { r.body.getReader() } catch (e) { return e instanceof TypeError && r.body.locked } })()",
        "new Response().body === null && new Response(null).body === null",
        "new Response('x', null).status === 200 && new Request('http://a/', null).method === 'GET' && Response.json(1, null).ok",
        "crypto.randomBytes(70000).length === 70000 && (() => { try { crypto.getRandomValues(new Uint8Array(70000)) } catch (e) { return e.name === 'QuotaExceededError' } })()",
    ]);
}

#[test]
fn fetch_fails_as_the_web_does() {
    let mut run = Setup::app("async function main() { try { await fetch('http://example.net/') } catch (e) { return [e.name, e.message, e.cause.name, e.cause.message, e.cause.code] } }").start();
    run.settle("fetch", Err(OpError::new(ErrorCode::NetworkError, "connection refused")));
    assert_eq!(run.result(), r#"["TypeError","fetch failed","NetworkError","connection refused","ECONNREFUSED"]"#);
    for (message, code) in [
        ("ECONNRESET", "ECONNRESET"),
        ("connect ETIMEDOUT 192.0.2.1:443", "ETIMEDOUT"),
        ("example.net: end of file before message length reached", "ECONNRESET"),
        ("example.net: invalid HTTP version parsed", "HPE_INVALID_CONSTANT"),
        // Not axios's `ECONNABORTED`: that is its word for a time-out of its own.
        ("example.net: something else", "ECONNRESET"),
    ] {
        let mut run = Setup::app("const main = () => fetch('http://example.net/').catch((e) => e.cause.code);").start();
        run.settle("fetch", Err(OpError::new(ErrorCode::NetworkError, message)));
        assert_eq!(run.result(), format!("\"{code}\""), "{message}");
    }
    let mut run = Setup::app("async function main() {\n  await fetch('http://example.net/');\n}").start();
    run.settle("fetch", Err(OpError::new(ErrorCode::NetworkError, "connection refused")));
    assert_eq!(run.error().at.as_ref().map(ToString::to_string).as_deref(), Some("main.js:2:9"));
    assert_eq!(run.error().message, "TypeError: fetch failed (cause: NetworkError: connection refused)");
    for (call, part) in [
        ("fetch('nonsense')", "Invalid URL"),
        ("fetch('file:///etc/passwd')", "is not http, https or data"),
        ("fetch('http://u:p@a/')", "credentials"),
        ("fetch('http://a/', { body: 'x' })", "has no body"),
        ("fetch('http://a/', { method: 'connect' })", "'connect' is forbidden"),
        ("new Request('http://a/', { method: 'TRACE' })", "'TRACE' is forbidden"),
        ("fetch('http://a/', { headers: { 'A B': 'c' } })", "is not a header name"),
        ("fetch('http://a/', { headers: { A: 'c\\r\\nd' } })", "CR, LF"),
    ] {
        let run = Setup::app(&format!("async function main() {{ await {call} }}")).start();
        assert!(run.error().message.contains(part), "{call}: {}", run.error());
    }
}

#[test]
fn a_data_url_is_read_without_the_network() {
    assert_true(&[
        "await (async () => { const r = await fetch('data:text/plain;charset=utf-8,caf%C3%A9#x'); return r.ok && r.status === 200 && r.url === 'data:text/plain;charset=utf-8,caf%C3%A9' && r.headers.get('content-type') === 'text/plain;charset=utf-8' && (await r.text()) === 'café' })()",
        "(await (await fetch(new URL('data:application/json;base64,eyJhIjoxfQ=='))).json()).a === 1",
        "(await (await fetch('data:,a', { method: 'HEAD' })).text()) === ''",
        "await fetch('data:;base64,*').catch((e) => e instanceof TypeError && e.message === 'fetch failed' && e.cause.code === 'ERR_INVALID_URL')",
        "await fetch('data:,a', { signal: AbortSignal.abort() }).catch((e) => e.name === 'AbortError')",
    ]);
}

#[test]
fn an_aborted_fetch_rejects_with_the_signals_reason() {
    let mut run = Setup::app("async function main() { try { await fetch('http://a/', { signal: AbortSignal.timeout(100) }) } catch (e) { return e.name } }").start();
    assert_eq!(run.wake().cancels.len(), 1);
    run.settle("fetch", Err(OpError::aborted("fetch")));
    assert_eq!(run.result(), "\"TimeoutError\"");
}

#[test]
fn responses_can_be_made_and_read_once() {
    assert_true(&[
        "(await Response.json({ a: 1 }).json()).a === 1",
        "(await new Response('x', { status: 404 }).text()) === 'x' && !new Response('', { status: 404 }).ok",
        "await (async () => { const r = new Response('x'); await r.text(); try { await r.text() } catch (e) { return e instanceof TypeError } })()",
        "await (async () => { const r = new Response('x'); const c = r.clone(); return (await r.text()) + (await c.text()) === 'xx' })()",
        "new Uint8Array(await new Response(new Uint8Array([1, 2])).arrayBuffer()).join() === '1,2'",
        "await (async () => { const r = new Response('x'), s = new Response(r.body); return r.bodyUsed && s.headers.get('content-type') === null && (await s.text()) === 'x' })()",
        "await (async () => { const [a, b] = new Response('x').body.tee(); return (await new Request('http://a', { method: 'POST', body: a }).text()) + (await new Response(b).text()) === 'xx' })()",
        "await (async () => { const r = new Response('x'); r.body.getReader(); try { await r.text() } catch (e) { return e instanceof TypeError } })()",
        "(() => { const r = new Response('x'); r.body.getReader(); try { r.clone() } catch (e) { return e instanceof TypeError } })()",
        "(() => { try { new Response((async function* () {})()) } catch (e) { return e instanceof TypeError } })()",
        "new Headers([['a', '1'], ['A', '2']]).get('a') === '1, 2'",
    ]);
}

#[test]
fn a_clone_has_what_is_its_own() {
    assert_true(&[
        r#"structuredClone(JSON.parse('{"__proto__":{"admin":true}}')).admin === undefined"#,
        "Object.keys(structuredClone(JSON.parse('{\"__proto__\":{}}'))).join() === '__proto__'",
        "structuredClone(Object.assign(new Error('x'), { name: 'constructor' })) instanceof Error",
    ]);
}

#[test]
fn what_was_aborted_before_is_not_listened_to() {
    assert_true(&[
        "(() => { let n = 0; const t = new EventTarget(); t.addEventListener('x', () => { n++ }, { signal: AbortSignal.abort() }); t.dispatchEvent(new Event('x')); return n === 0 })()",
        "new DOMException('x', 'NotFoundError').code === 8 && new DOMException('x', 'constructor').code === 0",
    ]);
}

#[test]
fn a_mark_is_one_at_the_beginning_of_a_stream_only() {
    assert_true(&["(() => { const d = new TextDecoder(), mark = [0xef, 0xbb, 0xbf], all = new Uint8Array([...mark, 97]);
        return d.decode(all, { stream: true }) + d.decode(all, { stream: true }) + d.decode() + d.decode(all) === 'a\\ufeffaa' })()"]);
}

#[test]
fn data_of_a_call_is_made_of_its_facts_its_headers_and_its_variables() {
    let mut setup = Setup::call(
        "export function main(data) { console.log(JSON.stringify(data), Object.keys(data.headers), data.headers.__proto__); }",
    );
    let call = setup.call.as_mut().unwrap();
    let headers = [("X-Id", "1"), ("Subject", "Hello"), ("X-Id", "2"), ("__proto__", "odd")];
    call.headers = Arc::new(headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    call.data_vars = Some(r#"{"limits":{"max":3}}"#.to_owned());
    call.facts.customer_id = Some(12);
    let run = setup.start();
    let data = r#"{"call_id":"call-1","customer_id":12,"did":null,"direction":"inbound","from":"441234567890","headers":{"Subject":"Hello","X-Id":"1","__proto__":"odd"},"to":"1000","vars":{"limits":{"max":3}}}"#;
    assert_eq!(run.lines[0].text, format!("{data} [ 'Subject', 'X-Id', '__proto__' ] odd"));
}

#[test]
fn header_fields_of_a_call_are_variables() {
    let run = Setup::call("export function main(data, ctx) { console.log(ctx.get('sip_h_Subject'), ctx.get('sip_h_subject'), ctx.get('sip_h_X')); }").start();
    assert_eq!(run.lines[0].text, "Hello Hello undefined");
}

#[test]
fn a_header_field_is_one_variable_however_it_is_written() {
    let run = Setup::call(
        "async function main(data, ctx) {
            ctx.set('sip_h_X-Account', '12'); ctx.set('sip_h_x-account', '99');
            ctx.log(ctx.get('sip_h_X-Account'), ctx.get('sip_h_x-account'), ctx.get('sip_h_X-ACCOUNT'));
            ctx.set('sip_h_x-ACCOUNT', null);
            ctx.log(ctx.get('sip_h_X-Account'));
        }",
    )
    .start();
    assert_eq!(run.texts(), ["99 99 99", "undefined"]);
}

#[test]
fn vars_is_the_data_and_a_function() {
    assert_true(&[
        "vars.n === 1 && vars().n === 1 && 'n' in vars && Object.keys(vars).join() === 'n'",
        "JSON.stringify(vars) === '{\"n\":1}' && typeof vars === 'function'",
        "(vars.x = 5, delete vars.n, vars().x === 5 && !('n' in vars()))",
        "(Object.defineProperty(vars, 'y', { value: 6, enumerable: true }), vars().y === 6)",
    ]);
}

#[test]
fn globals_can_be_replaced_by_the_script() {
    for source in [
        "const fetch = () => 'mine'; function main() { return fetch() }",
        "var URL = 'mine'; function main() { return URL }",
        "console = 'mine'; function main() { return console }",
        "const { URL, Buffer } = { URL: 'mine' }; function main() { return URL }",
        "import { x } from 'lib'; const process = x; export const main = () => process",
    ] {
        let run = Setup::app(source).file("lib.js", "exports.x = 'mine'").start();
        assert_eq!(run.result(), "\"mine\"", "{source}");
    }
}

#[test]
fn built_ins_are_there_when_they_are_named_however_that_happens() {
    let run = Setup::app(
        "function main() {
            const before = ['Map', 'Proxy', 'Uint8Array'].map((name) => Object.hasOwn(globalThis, name));
            const kinds = [typeof WeakMap, typeof globalThis.Proxy, 'Float64Array' in globalThis, typeof DataView, typeof Reflect, typeof WeakSet];
            const all = [new Map([[1, new Set('ab')]]), new Proxy({}, { get: () => 7 }).x, new Uint8Array(2), new Date(0), new ArrayBuffer(1)];
            const same = Map === globalThis.Map && new Map() instanceof Map && Object.getPrototypeOf(Uint8Array) === Object.getPrototypeOf(Int8Array);
            console.log(all);
            return [before, kinds, same, Object.hasOwn(globalThis, 'Map')];
        }",
    )
    .start();
    let kinds = r#"["function","function",true,"function","object","function"]"#;
    assert_eq!(run.result(), format!("[[false,false,false],{kinds},true,true]"));
    let shown = "[\n  Map(1) { 1 => Set(2) { 'a', 'b' } },\n  7,\n  Uint8Array(2) [ 0, 0 ],\n  1970-01-01T00:00:00.000Z,\n  ArrayBuffer { byteLength: 1 }\n]";
    assert_eq!(run.texts(), [shown]);
}

#[test]
fn what_could_tell_two_runs_apart_never_appears() {
    let run = Setup::app(
        "function main() {
            new Uint8Array(1); new Map(); performance.now(); new Date();
            return ['SharedArrayBuffer', 'Atomics', 'WeakRef', 'FinalizationRegistry'].map((name) => typeof globalThis[name])
                .concat(Date.now() === new Date().getTime(), new Date(0).constructor === Date);
        }",
    )
    .start();
    assert_eq!(run.result(), r#"["undefined","undefined","undefined","undefined",true,true]"#);
}

#[test]
fn a_global_that_was_deleted_or_replaced_stays_so() {
    let run = Setup::app(
        "function main() {
            new Map();
            delete globalThis.Map;
            globalThis.Set = 1;
            globalThis.fetch = () => 2;
            return [typeof Map, Set, fetch(), typeof WeakMap];
        }",
    )
    .start();
    assert_eq!(run.result(), r#"["undefined",1,2,"function"]"#);
}
