//! axios, axios-cookiejar-support, rss-parser, and what the network may not do.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::harness::{run, run_with};
use crate::http_server::{Server, json as json_answer};

#[tokio::test]
async fn axios_sends_queries_headers_and_json_and_reads_json_back() {
    let server = Server::start(|asked| {
        json_answer(201, json!({ "method": asked.method, "path": asked.path, "key": asked.header("x-key"), "type": asked.header("content-type"), "body": asked.body }))
    })
    .await;
    let source = r#"
        const axios = require('axios');
        async function main({ url }) {
          const client = axios.create({ baseURL: url, headers: { 'X-Key': 'secret' } });
          client.interceptors.response.use((response) => ({ ...response, seen: true }));
          const got = await client.get('/search', { params: { q: 'a b', n: 1 } });
          const posted = await client.post('/items', { name: 'é' });
          return [got.status, got.data, got.seen, posted.data, got.headers['content-type']];
        }"#;
    let value = run(source, json!({ "url": server.url() })).await.value();
    assert_eq!(value[0], 201);
    assert_eq!(value[1], json!({ "method": "GET", "path": "/search?q=a+b&n=1", "key": "secret", "type": "", "body": "" }));
    assert_eq!(value[2], true);
    assert_eq!(value[3]["body"], r#"{"name":"é"}"#);
    assert_eq!(value[3]["type"], "application/json");
    assert_eq!(value[4], "application/json");
}

#[tokio::test]
async fn axios_follows_redirects_unpacks_gzip_and_streams() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/old" => (302, vec![("location", "/new".to_owned())], Vec::new()),
        _ => {
            let mut packed = GzEncoder::new(Vec::new(), Compression::default());
            packed.write_all("packed text ".repeat(1_000).as_bytes()).unwrap();
            (200, vec![("content-encoding", "gzip".to_owned())], packed.finish().unwrap())
        }
    })
    .await;
    let source = r#"
        import axios from 'axios';
        export async function main({ url }) {
          const { data, request } = await axios.get(`${url}/old`);
          const { data: stream } = await axios.get(`${url}/new`, { responseType: 'stream' });
          let streamed = 0;
          for await (const chunk of stream) streamed += chunk.length;
          const { data: bytes } = await axios.get(`${url}/new`, { responseType: 'arraybuffer' });
          return [data.slice(0, 12), data.length, request.path, streamed, Buffer.isBuffer(bytes), bytes.length];
        }"#;
    let value = run(source, json!({ "url": server.url() })).await.value();
    assert_eq!(value, json!(["packed text ", 12_000, "/new", 12_000, true, 12_000]));
}

#[tokio::test]
async fn axios_tells_statuses_time_outs_and_dead_hosts_apart() {
    let server = Server::start(|_| json_answer(404, json!({ "error": "gone" }))).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let source = r#"
        const axios = require('axios');
        const attempt = (url, options) => axios.get(url, options).then(() => 'answered', (error) => [error.isAxiosError, error.code, error.response?.status, error.response?.data.error]);
        async function main({ url, silent, closed }) {
          const stop = new AbortController();
          setTimeout(() => stop.abort(), 50);
          return [await attempt(url), await attempt(silent, { timeout: 50 }), await attempt(closed), await attempt(silent, { signal: stop.signal })];
        }"#;
    let data = json!({ "url": server.url(), "silent": format!("http://{}", silent.local_addr().unwrap()), "closed": format!("http://{closed}") });
    let value = run(source, data).await.value();
    assert_eq!(value[0], json!([true, "ERR_BAD_REQUEST", 404, "gone"]));
    assert_eq!(value[1], json!([true, "ECONNABORTED", null, null]));
    assert_eq!(value[2], json!([true, "ECONNREFUSED", null, null]));
    assert_eq!(value[3], json!([true, "ERR_CANCELED", null, null]));
}

#[tokio::test]
async fn axios_cookiejar_support_keeps_cookies_over_redirects() {
    let server = Server::start(|asked| match asked.path.as_str() {
        "/login" => (
            302,
            vec![
                ("location", "/home".to_owned()),
                ("set-cookie", "session=abc; Path=/; HttpOnly".to_owned()),
                ("set-cookie", "theme=dark".to_owned()),
            ],
            Vec::new(),
        ),
        _ => json_answer(200, json!({ "cookie": asked.header("cookie") })),
    })
    .await;
    let source = r#"
        import axios from 'axios';
        import { wrapper } from 'axios-cookiejar-support';
        import { CookieJar } from 'tough-cookie';
        export async function main({ url }) {
          const jar = new CookieJar();
          const client = wrapper(axios.create({ jar }));
          const first = await client.post(`${url}/login`, 'user=a');
          const second = await client.get(`${url}/again`);
          const plain = await axios.get(`${url}/plain`);
          return [first.data.cookie, second.data.cookie, plain.data.cookie, (await jar.getCookies(url)).map((cookie) => cookie.key)];
        }"#;
    let value = run(source, json!({ "url": server.url() })).await.value();
    assert_eq!(value, json!(["session=abc; theme=dark", "session=abc; theme=dark", "", ["session", "theme"]]));
}

#[tokio::test]
async fn rss_parser_reads_a_feed_from_its_url() {
    let feed = r#"<?xml version="1.0"?><rss version="2.0"><channel><title>News &amp; more</title>
        <item><title>One</title><link>http://example.com/1</link><pubDate>Sat, 21 Nov 2026 10:00:00 GMT</pubDate></item>
        <item><title>Two</title><description><![CDATA[<b>bold</b>]]></description></item></channel></rss>"#;
    let server = Server::start(move |asked| match asked.path.as_str() {
        "/feed" => (301, vec![("location", "/feed.xml".to_owned())], Vec::new()),
        _ => (200, vec![("content-type", "application/rss+xml".to_owned())], feed.as_bytes().to_vec()),
    })
    .await;
    let source = r#"
        const Parser = require('rss-parser');
        async function main({ url }) {
          const feed = await new Parser().parseURL(`${url}/feed`);
          return [feed.title, feed.items.map((item) => item.title), feed.items[0].isoDate, feed.items[1].contentSnippet];
        }"#;
    let value = run(source, json!({ "url": server.url() })).await.value();
    assert_eq!(value, json!(["News & more", ["One", "Two"], "2026-11-21T10:00:00.000Z", "bold"]));
}

#[tokio::test]
async fn packages_reach_no_address_that_the_configuration_does_not_open() {
    let server = Server::start(|_| json_answer(200, json!({}))).await;
    let source = r#"
        const axios = require('axios');
        const net = require('net');
        async function main({ url, port }) {
          const http = await axios.get(url).catch((error) => [error.code, error.message]);
          const tcp = await new Promise((resolve) => net.connect(port, '127.0.0.1', () => resolve('connected')).on('error', (error) => resolve([error.code, error.message])));
          return [http, tcp];
        }"#;
    let data = json!({ "url": server.url(), "port": server.address.port() });
    let value = run_with(source, data, "").await.value();
    for refusal in value.as_array().unwrap() {
        assert_eq!(refusal[0], "EACCES", "{refusal}");
        assert!(refusal[1].as_str().unwrap().contains("not a public address; [security] fetch_allow"), "{refusal}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_is_checked_as_the_first_address_was() {
    let inside = Server::start(|_| json_answer(200, json!({ "secret": true }))).await;
    let target = format!("http://127.0.0.2:{}/", inside.address.port());
    let outside = Server::start(move |_| (302, vec![("location", target.clone())], Vec::new())).await;
    let source =
        "const axios = require('axios'); const main = ({ url }) => axios.get(url).then((r) => r.data, (error) => error.code);";
    let config = "[security]\nfetch_allow = [\"127.0.0.1\"]\n";
    assert_eq!(run_with(source, json!({ "url": outside.url() }), config).await.value(), "EACCES");
    assert!(inside.asked().is_empty());
}
