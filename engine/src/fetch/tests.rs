use std::net::SocketAddr;

use lockstep_media::prompt::{Fetch as _, FetchError, FetchRequest, Fetched};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::config::SecurityConfig;

/// A web server that answers every request with what `answer` makes of its head.
async fn server<A: AsRef<[u8]> + Send + 'static>(answer: impl Fn(&str) -> A + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match socket.read(&mut buffer).await {
                    Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
                    _ => break,
                }
            }
            let response = answer(&String::from_utf8_lossy(&request));
            let _ = socket.write_all(response.as_ref()).await;
        }
    });
    address
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Served: yes\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn fetcher(allow: &[&str]) -> Fetcher {
    let fetch_allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    Fetcher::new(EgressPolicy::new(SecurityConfig { fetch_allow, ..SecurityConfig::default() })).unwrap()
}

fn get(url: String) -> FetchArgs {
    FetchArgs {
        method: "GET".into(),
        url,
        headers: vec![("X-Asked".into(), "1".into()), ("Authorization".into(), "Bearer k".into())],
        body: None,
        redirect: FetchRedirect::Follow,
        timeout_ms: Some(5_000),
    }
}

fn response(result: OpResult) -> FetchResponse {
    match result {
        Ok(Outcome::Fetched(response)) => response,
        other => panic!("expected a response, got {other:?}"),
    }
}

fn error(result: OpResult) -> (ErrorCode, String) {
    let error = result.unwrap_err();
    (error.code, error.message)
}

#[tokio::test]
async fn what_is_allowed_is_fetched() {
    let address = server(|head| ok(if head.contains("x-asked: 1") { "asked" } else { "forgotten" })).await;
    let response = response(fetcher(&["127.0.0.0/8"]).run("a", get(format!("http://{address}/a?b=c"))).await);
    assert_eq!((response.status, response.body.as_slice(), response.redirected), (200, &b"asked"[..], false));
    assert!(response.headers.contains(&("x-served".to_owned(), "yes".to_owned())));
}

#[tokio::test]
async fn what_could_have_a_body_and_has_none_says_so() {
    let address = server(|head| ok(if head.contains("\r\ncontent-length: 0\r\n") { "none" } else { "unsaid" })).await;
    for (method, body, said) in [
        ("POST", None, "none"),
        ("PUT", None, "none"),
        ("PATCH", Some(Vec::new()), "none"),
        ("DELETE", None, "unsaid"),
        ("GET", None, "unsaid"),
    ] {
        let args = FetchArgs { method: method.into(), body, ..get(format!("http://{address}/")) };
        assert_eq!(response(fetcher(&["127.0.0.0/8"]).run("a", args).await).body, said.as_bytes(), "{method}");
    }
}

#[tokio::test]
async fn a_redirect_that_keeps_the_method_keeps_its_empty_body() {
    let address = server(|head| match head.starts_with("POST / ") {
        true => redirect("/next").replace("302 Found", "307 Temporary Redirect"),
        false => ok(if head.contains("\r\ncontent-length: 0\r\n") { "none" } else { "unsaid" }),
    })
    .await;
    let args = FetchArgs { method: "POST".into(), ..get(format!("http://{address}/")) };
    assert_eq!(response(fetcher(&["127.0.0.0/8"]).run("a", args).await).body, b"none");
}

#[tokio::test]
async fn the_head_of_a_response_comes_as_the_server_wrote_it() {
    for (status, reason) in
        [("422 Card Is Locked", "Card Is Locked"), ("599 Wow There", "Wow There"), ("404 Not Found", "Not Found"), ("200 ", "")]
    {
        let head = format!("HTTP/1.1 {status}\r\nX-Name: M\u{fc}ller\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let octets: Vec<u8> = head.chars().map(|c| u8::try_from(c).unwrap()).collect();
        let address = server(move |_| octets.clone()).await;
        let response = response(fetcher(&["127.0.0.0/8"]).run("a", get(format!("http://{address}/"))).await);
        assert_eq!(response.status_text, reason, "{status}");
        assert!(response.headers.contains(&("x-name".to_owned(), "Müller".to_owned())), "{:?}", response.headers);
    }
}

#[tokio::test]
async fn our_own_machine_is_out_of_reach_by_address_and_by_name() {
    let address = server(|_| ok("secret")).await;
    for url in [format!("http://{address}/"), format!("http://localhost:{}/", address.port()), "http://[::1]:1/".into()] {
        let (code, message) = error(fetcher(&[]).run("a", get(url.clone())).await);
        assert_eq!(code, ErrorCode::NetworkError, "{url}: {message}");
        assert!(message.contains("not a public address"), "{url}: {message}");
    }
}

#[tokio::test]
async fn a_redirect_cannot_lead_where_a_request_may_not_go() {
    let inside = server(|_| ok("secret")).await;
    let outside = server(move |_| redirect(&format!("http://127.0.0.2:{}/", inside.port()))).await;
    let (code, message) = error(fetcher(&["127.0.0.1"]).run("a", get(format!("http://{outside}/"))).await);
    assert_eq!(code, ErrorCode::NetworkError, "{message}");
    assert!(message.contains("127.0.0.2 is not a public address"), "{message}");
}

#[tokio::test]
async fn credentials_do_not_follow_to_another_origin() {
    let target = server(|head| ok(if head.contains("authorization") { "leaked" } else { "clean" })).await;
    let first = server(move |_| redirect(&format!("http://{target}/next"))).await;
    let response = response(fetcher(&["127.0.0.0/8"]).run("a", get(format!("http://{first}/"))).await);
    assert_eq!((response.body.as_slice(), response.redirected), (&b"clean"[..], true));
    assert_eq!(response.url, format!("http://{target}/next"));
}

#[tokio::test]
async fn redirects_are_followed_refused_or_shown_as_the_script_says() {
    let address = server(|head| if head.starts_with("GET / ") { redirect("/there") } else { ok("there") }).await;
    let fetcher = fetcher(&["127.0.0.0/8"]);
    let with = |redirect| FetchArgs { redirect, ..get(format!("http://{address}/")) };
    assert_eq!(response(fetcher.run("a", with(FetchRedirect::Follow)).await).body, b"there");
    assert_eq!(response(fetcher.run("a", with(FetchRedirect::Manual)).await).status, 302);
    assert_eq!(error(fetcher.run("a", with(FetchRedirect::Error)).await).0, ErrorCode::NetworkError);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let address = server(|_| redirect("/")).await;
    let (_, message) = error(fetcher(&["127.0.0.0/8"]).run("a", get(format!("http://{address}/"))).await);
    assert!(message.contains("more than 20 redirects"), "{message}");
}

#[tokio::test]
async fn a_body_past_the_bound_is_an_error_whatever_it_claims() {
    let address = server(|head| match head.starts_with("GET /claims") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_owned(),
        false => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(MAX_BODY + 1)),
    })
    .await;
    for path in ["claims", "sends"] {
        let (code, _) = error(fetcher(&["127.0.0.0/8"]).run("a", get(format!("http://{address}/{path}"))).await);
        assert_eq!(code, ErrorCode::LimitError, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_a_type_error() {
    let fetcher = fetcher(&[]);
    for url in ["nonsense", "ftp://h/", "file:///etc/passwd", "http://"] {
        assert_eq!(error(fetcher.run("a", get(url.into())).await).0, ErrorCode::TypeError, "{url}");
    }
    let args = FetchArgs { method: "G ET".into(), ..get("http://192.0.2.1/".into()) };
    assert_eq!(error(fetcher.run("a", args).await).0, ErrorCode::TypeError);
}

#[tokio::test]
async fn a_server_that_says_nothing_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let args = FetchArgs { timeout_ms: Some(50), ..get(format!("http://{address}/")) };
    assert_eq!(error(fetcher(&["127.0.0.0/8"]).run("a", args).await).0, ErrorCode::TimeoutError);
}

#[tokio::test]
async fn prompts_are_fetched_under_the_same_policy_and_only_when_they_changed() {
    let address = server(|head| match head.contains("if-none-match: \"1\"") {
        true => "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned(),
        false => "HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 5\r\nConnection: close\r\n\r\naudio".to_owned(),
    })
    .await;
    let request = |etag: Option<&str>| FetchRequest {
        url: format!("http://{address}/x.wav"),
        etag: etag.map(str::to_owned),
        last_modified: None,
        max_bytes: 100,
    };
    let allowed = fetcher(&["127.0.0.0/8"]);
    let Ok(Fetched::Body { bytes, etag, .. }) = allowed.fetch(request(None)).await else { panic!("expected a body") };
    assert_eq!((&bytes[..], etag.as_deref()), (&b"audio"[..], Some("\"1\"")));
    assert!(matches!(allowed.fetch(request(Some("\"1\""))).await, Ok(Fetched::NotModified { .. })));
    assert!(matches!(fetcher(&[]).fetch(request(None)).await, Err(FetchError::Refused(_))));
    let small = FetchRequest { max_bytes: 3, ..request(None) };
    assert_eq!(allowed.fetch(small).await, Err(FetchError::TooLarge { max: 3 }));
}

#[tokio::test]
async fn an_account_whose_servers_do_not_answer_leaves_the_others_and_prompts_their_places() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let served = format!("http://{}/", server(|_| ok("there")).await);
    let fetcher = fetcher(&["127.0.0.0/8"]);
    let hang = |_| {
        let (fetcher, url) = (fetcher.clone(), url.clone());
        tokio::spawn(async move { fetcher.run("a", get(url)).await })
    };
    let hanging: Vec<_> = (0..MAX_CONCURRENT).map(hang).collect();
    while fetcher.share("a").available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(response(fetcher.run("b", get(served.clone())).await).body, b"there");
    assert_eq!(fetcher.permits.available_permits(), MAX_CONCURRENT / 2);
    let _all = fetcher.permits.acquire_many((MAX_CONCURRENT / 2) as u32).await.unwrap();
    let request = FetchRequest { url: served, max_bytes: 1_000, etag: None, last_modified: None };
    assert!(matches!(fetcher.fetch(request).await, Ok(Fetched::Body { .. })));
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}
