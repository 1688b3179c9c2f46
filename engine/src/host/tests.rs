//! Providers of the configuration, against servers on this machine.

use lockstep_ctx_api::{OpResult, Outcome};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::core::EngineEvent;
use crate::platform::Platform;
use crate::store::Clock;

fn services_of(toml: &str, scripts: &Path) -> HostServices {
    let config: Config = toml::from_str(toml).unwrap();
    HostServices::new(providers(&config, scripts, &Late::default(), &Store::in_memory(Clock::system()).unwrap()).unwrap())
}

async fn call(services: &HostServices, service: &str, function: &str, args: Value) -> OpResult {
    call_by(&RunContext::default(), services, service, function, args).await
}

async fn call_by(by: &RunContext, services: &HostServices, service: &str, function: &str, args: Value) -> OpResult {
    let call = HostCall {
        service: service.to_owned(),
        function: function.to_owned(),
        args: args.to_string(),
        body: None,
        listens: false,
    };
    services.call(by, call).await
}

fn value(result: OpResult) -> Value {
    match result {
        Ok(Outcome::Host(reply)) => serde_json::from_str(&reply.value).unwrap(),
        other => panic!("expected a reply, got {other:?}"),
    }
}

fn message(result: OpResult) -> String {
    result.expect_err("refused").to_string()
}

/// A web server that answers each request with the next of `answers` and collects what it was asked.
async fn web(answers: Vec<&'static str>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            let mut length = 0;
            loop {
                let mut octet = [0];
                stream.read_exact(&mut octet).await.unwrap();
                head.push(octet[0]);
                if head.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            let mut request = String::from_utf8(head).unwrap();
            for line in request.lines() {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
            request.push_str(std::str::from_utf8(&body).unwrap());
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
            requests.push(request);
        }
        requests
    });
    (url, requests)
}

/// A mail server that takes one message (RFC 5321), but nobody called `stranger`: the commands, and the message.
async fn mail_server() -> (u16, JoinHandle<(Vec<String>, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let session = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 mail.example.net\r\n").await.unwrap();
        let mut commands = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap() == 0 {
                panic!("the client left after {commands:?}");
            }
            let command = line.trim_end().to_owned();
            commands.push(command.clone());
            if command == "DATA" {
                break;
            }
            if command == "QUIT" {
                return (commands, String::new());
            }
            let answer: &[u8] = if command.contains("stranger") { b"550 no such user\r\n" } else { b"250 OK\r\n" };
            stream.write_all(answer).await.unwrap();
        }
        stream.write_all(b"354 go on\r\n").await.unwrap();
        let mut message = String::new();
        while !message.ends_with("\r\n.\r\n") {
            stream.read_line(&mut message).await.unwrap();
        }
        stream.write_all(b"250 queued\r\n").await.unwrap();
        (commands, message)
    });
    (port, session)
}

#[tokio::test]
async fn a_mail_from_a_template_reaches_the_server_with_all_its_recipients() {
    let scripts = std::env::temp_dir().join(format!("lockstep-mail-{}", std::process::id()));
    std::fs::create_dir_all(scripts.join("templates")).unwrap();
    std::fs::write(scripts.join("templates/missed.txt"), "Subject: Call from {{ from }}\n\nYou missed {{ from }}.\n").unwrap();
    std::fs::write(scripts.join("templates/missed.html"), "<p>You missed {{ from }}.</p>").unwrap();
    let (port, session) = mail_server().await;
    let toml = format!("[email]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\nfrom = 'Desk <desk@example.net>'");
    let services = services_of(&toml, &scripts);
    let mail = json!([{ "to": "a@example.net, B <b@example.net>", "bcc": ["c@example.net"], "template": "missed", "vars": { "from": "44<1>" } }]);
    let sent = value(call(&services, "send", "email", mail).await);
    assert_eq!(sent["recipients"], 3);
    let (commands, message) = session.await.unwrap();
    let recipients: Vec<_> = commands.iter().filter(|command| command.starts_with("RCPT")).collect();
    assert_eq!(recipients, ["RCPT TO:<a@example.net>", "RCPT TO:<b@example.net>", "RCPT TO:<c@example.net>"]);
    assert!(message.contains("Subject: Call from 44<1>"), "{message}");
    assert!(message.contains("You missed 44&lt;1&gt;."), "{message}");
    assert!(!message.contains("c@example.net"), "a blind copy shows: {message}");
    let missing = message_of(&services, json!([{ "to": "a@example.net", "template": "other" }])).await;
    assert_eq!(missing, "NotFound: cxSend.email: there is no template other.txt or other.html");
    std::fs::remove_dir_all(&scripts).unwrap();
}

async fn message_of(services: &HostServices, mail: Value) -> String {
    message(call(services, "send", "email", mail).await)
}

#[tokio::test]
async fn a_mail_is_refused_with_the_recipient_that_the_server_does_not_take() {
    let (port, session) = mail_server().await;
    let toml = format!("[email]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\nfrom = 'desk@example.net'");
    let services = services_of(&toml, Path::new("/"));
    let mail = json!([{ "to": ["a@example.net", "stranger@example.net"], "bcc": "c@example.net", "text": "Hi" }]);
    let said = message_of(&services, mail).await;
    let expected =
        "NetworkError: cxSend.email: the mail server refused stranger@example.net with 550: permanent error (550): no such user";
    assert_eq!(said, expected);
    let (commands, _) = session.await.unwrap();
    assert_eq!(commands.last().map(String::as_str), Some("QUIT"), "nobody gets it: {commands:?}");
}

/// A mail server that says nothing more after `answers`, the first of which is its greeting, and does not hang up.
async fn mail_server_that_falls_silent(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for answer in answers {
            stream.write_all(format!("{answer}\r\n").as_bytes()).await.unwrap();
            let end = if answer.starts_with("354") { "\r\n.\r\n" } else { "\r\n" };
            let mut said = String::new();
            while !said.ends_with(end) {
                assert_ne!(stream.read_line(&mut said).await.unwrap(), 0, "the client left after {said}");
            }
        }
        std::future::pending::<()>().await;
        drop(stream);
    });
    port
}

#[tokio::test]
async fn a_mail_server_that_falls_silent_is_waited_for_as_long_as_it_may_take() {
    let toml = |port| format!("[email]\nhost = '127.0.0.1'\nport = {port}\ntls = 'none'\nfrom = 'desk@example.net'\n");
    let mail = json!([{ "to": "a@example.net", "text": "Hi" }]);
    let silences: [&'static [&'static str]; 3] =
        [&[], &["220 here", "250 OK"], &["220 here", "250 OK", "250 OK", "250 OK", "354 go on"]];
    for answers in silences {
        let port = mail_server_that_falls_silent(answers).await;
        let services = services_of(&(toml(port) + "timeout_ms = 200"), Path::new("/"));
        let said = message_of(&services, mail.clone()).await;
        assert_eq!(said, "TimeoutError: cxSend.email: the mail server has not answered within 200 ms", "{answers:?}");
    }
    let port = mail_server_that_falls_silent(&["220 here", "250 OK", "250 OK", "250 OK", "354 go on", "250 queued"]).await;
    let sent = value(call(&services_of(&toml(port), Path::new("/")), "send", "email", mail).await);
    assert_eq!(sent["recipients"], 1, "it has the message, and does not answer QUIT");
}

#[tokio::test]
async fn a_template_that_cannot_be_read_at_once_holds_nobody_up() {
    let scripts = std::env::temp_dir().join(format!("lockstep-slow-mail-{}", std::process::id()));
    std::fs::create_dir_all(scripts.join("templates")).unwrap();
    // Who reads a pipe waits until somebody writes.
    let pipe = scripts.join("templates/slow.txt");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let services = services_of("[email]\nhost = '127.0.0.1'\nport = 9\ntls = 'none'\nfrom = 'desk@example.net'", &scripts);
    let mail = json!([{ "to": "a@example.net", "template": "slow" }]);
    let sending = tokio::spawn(async move { message_of(&services, mail).await });
    tokio::task::yield_now().await;
    std::fs::write(&pipe, "Subject: Hi\n\nBody\n").unwrap();
    assert!(sending.await.unwrap().starts_with("NetworkError"));
    std::fs::remove_dir_all(&scripts).unwrap();
}

#[tokio::test]
async fn a_mail_that_says_nothing_sensible_is_refused_before_it_leaves() {
    let services = services_of("[email]\nhost = '127.0.0.1'\nport = 9\ntls = 'none'\nfrom = 'desk@example.net'", Path::new("/"));
    for (mail, expected) in [
        (json!([{ "subject": "x" }]), "`to` names nobody"),
        (json!([{ "to": "nobody" }]), "`to`: \"nobody\" is no address"),
        (json!([{ "to": "a@example.net", "subject": "x\r\nBcc: b@example.net" }]), "`subject` must be one line"),
        (json!([{ "to": "a@example.net", "template": "../secret" }]), "expected letters, digits"),
        (json!([{ "to": "a@example.net", "colour": "red" }]), "unknown field `colour`"),
    ] {
        let said = message_of(&services, mail).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn what_is_not_configured_says_what_to_set() {
    let services = services_of("", Path::new("/"));
    let said = message(call(&services, "send", "email", json!([{}])).await);
    assert_eq!(said, "NotConfigured: cxSend.email: set [email] host and from in lockstep.toml");
    let said = message(call(&services, "send", "sms", json!(["1", "x"])).await);
    assert_eq!(
        said,
        "NotConfigured: cxSend.sms: no engine runs here that could send a SIP MESSAGE; set [sms] url in lockstep.toml"
    );
    let said = message(call(&services, "lookup", "hlr", json!(["1"])).await);
    assert_eq!(said, "NotConfigured: api.lookup.hlr: set [lookup.hlr] url in lockstep.toml");
    let said = message(call(&services, "lookup", "userspaceLookup", json!(["1"])).await);
    assert_eq!(said, "NotConfigured: api.lookup.userspaceLookup: set [lookup.userspaceLookup] area in lockstep.toml");
    assert_eq!(value(call(&services, "lookup", "ping", json!([])).await), "pong");
}

#[tokio::test]
async fn a_text_message_goes_to_the_provider_as_the_template_says() {
    let (url, requests) = web(vec![r#"{"id":7}"#]).await;
    let toml = format!(
        "[sms]\nurl = '{url}/send'\nfrom = 'Desk'\nbody = '{{\"to\":\"{{to}}\",\"text\":\"{{text}}\",\"from\":\"{{from}}\"}}'\nheaders = {{ Content-Type = 'application/json' }}"
    );
    let services = services_of(&toml, Path::new("/"));
    let sent = value(call(&services, "send", "sms", json!(["+441", "Say \"hi\""])).await);
    assert_eq!(sent, json!({ "sent": true, "answer": { "id": 7 } }));
    let request = requests.await.unwrap().remove(0);
    assert!(request.ends_with(r#"{"to":"+441","text":"Say \"hi\"","from":"Desk"}"#), "{request}");
    let said = message(call(&services, "send", "sms", json!(["44;1", "x"])).await);
    assert!(said.contains("\"44;1\" is no telephone number"), "{said}");
}

#[tokio::test]
async fn a_message_over_sip_has_one_body() {
    let services = services_of("", Path::new("/"));
    let said = message(call(&services, "send", "sip", json!([{ "to": "1001", "text": "a", "body": "b" }])).await);
    assert!(said.starts_with("TypeError: ") && said.ends_with("`text` and `body` are the same; give one of them"), "{said}");
}

#[tokio::test]
async fn a_look_up_is_asked_once_while_its_answer_is_kept() {
    let (url, requests) = web(vec![r#"{"data":{"carrier":"A"}}"#, r#"{"data":{"carrier":"B"}}"#]).await;
    let services = services_of(&format!("[lookup.hlr]\nurl = '{url}/?n={{number}}'\nresult = '/data/carrier'"), Path::new("/"));
    assert_eq!(value(call(&services, "lookup", "hlr", json!(["44 1"])).await), "A");
    assert_eq!(value(call(&services, "lookup", "hlr", json!(["44 1"])).await), "A");
    assert_eq!(value(call(&services, "lookup", "hlr", json!([442])).await), "B");
    let requests = requests.await.unwrap();
    assert!(requests[0].starts_with("GET /?n=44%201 HTTP/1.1"), "{requests:?}");
    assert!(requests[1].starts_with("GET /?n=442 HTTP/1.1"), "{requests:?}");
}

#[tokio::test]
async fn a_number_is_looked_up_among_the_records_of_an_area() {
    let config: Config = toml::from_str("[lookup.userspaceLookup]\narea = 'dnc'").unwrap();
    let services = Platform::passing(&config, Path::new("/")).unwrap().services;
    call(&services, "cxUserspace", "create", json!(["dnc", "441", r#"{"listed":true}"#])).await.unwrap();
    assert_eq!(value(call(&services, "lookup", "userspaceLookup", json!([441])).await), json!({ "listed": true }));
    assert_eq!(value(call(&services, "lookup", "userspaceLookup", json!(["442"])).await), Value::Null);
}

#[test]
fn a_wrong_section_is_named_by_key() {
    let dir = std::env::temp_dir().join(format!("lockstep-messaging-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for (toml, expected) in [
        ("[email]\nhost = 'x'\nfrom = 'nobody'\n", "email.from"),
        ("[sms]\nurl = 'x'\n", "sms.url"),
        ("[lookup.hlr]\narea = 'x'\n", "lookup.hlr.url"),
        ("[notify]\nurl = 'ftp://x'\n", "notify.url"),
    ] {
        std::fs::write(dir.join(crate::config::FILE_NAME), toml).unwrap();
        let error = Config::load(&dir).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn a_script_signs_for_its_accounts_customers_alone() {
    let config = "[security]\nsecret = 'sixteen letters!'\n[[account]]\nname = 'north'\n[[customer]]\nid = 12\naddresses = ['198.51.100.1']\naccount = 'north'\n[[customer]]\nid = 13\naddresses = ['198.51.100.2']\n";
    let services = services_of(config, Path::new("."));
    for (account, customer, signs) in [
        ("north", 12, true),
        ("north", 13, false),
        ("north", 14, false),
        ("default", 13, true),
        ("default", 12, false),
        ("default", 14, true),
    ] {
        let by = RunContext { account: account.to_owned(), ..RunContext::default() };
        let made = call_by(&by, &services, "helper", "generatePbxSecurityKey", json!([customer, "pbx.example.net"])).await;
        assert_eq!(made.is_ok(), signs, "{account} {customer}: {made:?}");
    }
}

#[tokio::test]
async fn those_who_watch_keys_see_what_becomes_of_them_and_no_secrets() {
    let platform = Platform::in_memory(&Config::default()).unwrap();
    let mut watcher = platform.events.watch();
    let change = async |service: &str, function: &str, args: Value| {
        value(call(&platform.services, service, function, args).await);
    };
    change("kv", "incr", json!(["before", 1])).await;
    let _watched = platform.events.watch_keys();
    for (key, text) in [("colour", "red"), ("user:token", "hush"), ("long", "x".repeat(5_000).as_str())] {
        assert!(call(&platform.services, "kv", "set", json!([key, text])).await.is_ok());
    }
    assert!(call(&platform.services, "ko", "set", json!(["user", r#"{"password":"hush"}"#])).await.is_ok());
    change("kv", "incr", json!(["n", 2])).await;
    change("kv", "del", json!(["none"])).await;
    change("kv", "del", json!(["colour"])).await;
    let seen = std::iter::from_fn(|| watcher.try_recv()).map(|event| match &event.unwrap().event {
        EngineEvent::Kv(changed) => {
            let value = changed.value.as_deref().unwrap_or("-");
            format!("{} {} {} {:?} {value}", changed.account, changed.space, changed.key, changed.change)
        }
        other => panic!("{other:?}"),
    });
    let expected = [
        "default kv colour Set red",
        "default kv user:token Set [redacted]",
        "default kv long Set -",
        r#"default ko user Set {"password":"[redacted]"}"#,
        "default kv n Set 2",
        "default kv colour Deleted -",
    ];
    assert_eq!(seen.collect::<Vec<_>>(), expected);
}
