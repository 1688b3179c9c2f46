use bytes::Bytes;
use lockstep_ctx_api::host::HostReply;
use lockstep_ctx_api::{ErrorCode, OpError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Net;
use crate::config::SecurityConfig;
use crate::fetch::EgressPolicy;
use crate::host::{Arguments, HostService, RunContext};

fn net(allow: &[&str]) -> Net {
    let fetch_allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    Net::new(EgressPolicy::new(SecurityConfig { fetch_allow, ..SecurityConfig::default() }))
}

async fn call_as(net: &Net, account: &str, function: &str, args: Value, body: &[u8]) -> Result<HostReply, OpError> {
    let Value::Array(args) = args else { panic!("arguments are a list") };
    let context = RunContext { account: account.to_owned(), ..RunContext::default() };
    let body = (!body.is_empty()).then(|| Bytes::copy_from_slice(body));
    net.call(&context, function, Arguments::new(format!("net.{function}"), args), body).await
}

async fn call(net: &Net, function: &str, args: Value, body: &[u8]) -> Result<HostReply, OpError> {
    call_as(net, "default", function, args, body).await
}

async fn connect(net: &Net, listener: &TcpListener) -> String {
    let port = listener.local_addr().unwrap().port();
    let reply = call(net, "connect", json!(["127.0.0.1", port]), &[]).await.unwrap();
    let opened: Value = serde_json::from_str(&reply.value).unwrap();
    assert_eq!(opened["remote"], json!(["127.0.0.1", port]));
    opened["handle"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_written_arrives_and_what_comes_is_read_up_to_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = net(&["127.0.0.0/8"]);
    let handle = connect(&net, &listener).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    call(&net, "write", json!([handle]), b"hello").await.unwrap();
    call(&net, "end", json!([handle]), &[]).await.unwrap();
    let mut received = Vec::new();
    peer.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"hello");
    peer.write_all(b"world").await.unwrap();
    drop(peer);
    assert_eq!(call(&net, "read", json!([handle]), &[]).await.unwrap().body.as_deref(), Some(&b"world"[..]));
    assert_eq!(call(&net, "read", json!([handle]), &[]).await.unwrap().body.as_deref(), Some(&b""[..]));
    call(&net, "close", json!([handle]), &[]).await.unwrap();
    assert_eq!(net.table.len(), 0);
}

#[tokio::test]
async fn addresses_of_our_own_network_are_refused() {
    let error = call(&net(&[]), "connect", json!(["127.0.0.1", 25]), &[]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NetworkError);
    assert!(error.message.contains("not a public address"), "{error}");
    let error = call(&net(&[]), "lookup", json!(["localhost"]), &[]).await.unwrap_err();
    assert!(error.message.contains("not a public address"), "{error}");
}

#[tokio::test]
async fn a_connection_is_its_accounts_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = net(&["127.0.0.0/8"]);
    let handle = connect(&net, &listener).await;
    for function in ["read", "write", "end"] {
        let error = call_as(&net, "other", function, json!([handle]), b"x").await.unwrap_err();
        assert!(error.message.ends_with("the connection is closed"), "{error}");
    }
    call_as(&net, "other", "close", json!([handle]), &[]).await.unwrap();
    assert_eq!(net.table.len(), 1);
}

#[tokio::test]
async fn a_read_that_is_given_up_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = net(&["127.0.0.0/8"]);
    let handle = connect(&net, &listener).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    let mut pending = Box::pin(call(&net, "read", json!([handle]), &[]));
    assert!(futures_util::poll!(&mut pending).is_pending());
    drop(pending);
    assert_eq!(net.table.len(), 0);
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0, "the peer sees the end");
}

#[tokio::test]
async fn connections_of_an_account_are_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = net(&["127.0.0.0/8"]);
    for _ in 0..64 {
        connect(&net, &listener).await;
    }
    let port = listener.local_addr().unwrap().port();
    let error = call(&net, "connect", json!(["127.0.0.1", port]), &[]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitError, "{error}");
}

#[tokio::test]
async fn tls_is_not_spoken_with_who_has_no_certificate() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let net = net(&["127.0.0.0/8"]);
    let handle = connect(&net, &listener).await;
    let (mut peer, _) = listener.accept().await.unwrap();
    let waiting = call(&net, "read", json!([handle]), &[]);
    let upgrade = call(&net, "startTls", json!([handle, "example.com"]), &[]);
    let answer = async {
        let mut hello = [0; 5];
        peer.read_exact(&mut hello).await.unwrap();
        assert_eq!(hello[0], 22, "a TLS handshake record");
        peer.write_all(b"500 no\r\n").await.unwrap();
    };
    let (waited, upgraded, ()) = tokio::join!(waiting, upgrade, answer);
    assert_eq!(waited.unwrap().body.as_deref(), Some(&b""[..]), "the plain read lets go");
    let error = upgraded.unwrap_err();
    assert!(error.message.contains("TLS with example.com"), "{error}");
    assert_eq!(net.table.len(), 0);
}
