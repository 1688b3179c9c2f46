//! E-mail by template, sent by a job of a sample script to a mail server that has a bad day.

use lockstep_tests::engine::{Engine, until, within};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail server (RFC 5321) that turns the first `refusals` messages away; what it took is received.
async fn mail_server(refusals: u32) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port can be had");
    let port = listener.local_addr().expect("a listener has an address").port();
    let (taken, messages) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut refusals = refusals;
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(Some(message)) = serve(stream, &mut refusals).await {
                // The test may be over.
                let _ = taken.send(message);
            }
        }
    });
    (port, messages)
}

/// Serves one client; the envelope's recipients and the message it brought.
async fn serve(stream: TcpStream, refusals: &mut u32) -> std::io::Result<Option<String>> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 test\r\n").await?;
    let mut message = String::new();
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let command = line.trim_end().to_owned();
        line.clear();
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "RCPT" => message.push_str(&format!("{command}\n")),
            "DATA" if *refusals > 0 => {
                *refusals -= 1;
                message.clear();
                stream.write_all(b"451 try again later\r\n").await?;
                continue;
            }
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await?;
                while stream.read_line(&mut line).await? > 0 && line.trim_end() != "." {
                    message.push_str(&line);
                    line.clear();
                }
                line.clear();
                stream.write_all(b"250 taken\r\n").await?;
                return Ok(Some(message));
            }
            "QUIT" => return Ok(None),
            _ => {}
        }
        stream.write_all(b"250 fine\r\n").await?;
    }
    Ok(None)
}

#[tokio::test]
async fn the_sample_form_is_answered_at_once_and_its_message_sent_until_it_is_taken() {
    let (port, mut messages) = mail_server(1).await;
    let engine = Engine::setup()
        .config(&format!(
            "[email]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\nfrom = \"Desk <desk@example.net>\"\n\
             [[app]]\nname = \"site\"\nenv = {{ CONTACT_TO = \"owner@example.net\" }}\n\
             [[script]]\nfile = \"contact-form.js\"\napp = \"site\""
        ))
        .script("contact-form.js", include_str!("../../../scripts/contact-form.js"))
        .script("templates/contact.txt", include_str!("../../../scripts/templates/contact.txt"))
        .script("templates/contact.html", include_str!("../../../scripts/templates/contact.html"))
        .start();
    let uuid = engine.get("/v1/scripts/contact-form").await["uuid"].as_str().expect("it has one").to_owned();
    let fields = b"name=Ada+%3Cb%3E&email=ada%40example.net&text=1+%3C+2+%26c.";
    let (status, body) = engine.post_as("application/x-www-form-urlencoded", &format!("/f/{uuid}"), fields).await;
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    assert_eq!((status, &answer["sent"]), (200, &json!(true)), "{body}");

    let message = within("a message", messages.recv()).await.expect("the server lives");
    for part in [
        "RCPT TO:<owner@example.net>",
        "Reply-To: ada@example.net",
        "Subject: Ada <b> has written",
        "Ada <b> <ada@example.net> writes:",
        "1 < 2 &c.",
        "<b>Ada &lt;b&gt;</b>",
        "1 &lt; 2 &amp;c.",
    ] {
        assert!(message.contains(part), "{part} is missing in:\n{message}");
    }
    let mut job = Value::Null;
    until("the job's end", async || {
        job = engine.get(&format!("/v1/jobs/{}", answer["job"])).await;
        job["state"] == "completed"
    })
    .await;
    assert_eq!((&job["attempt"], &job["result"]["recipients"]), (&json!(2), &json!(1)), "{job}");
}
