use std::path::Path;

use proptest::prelude::*;

use super::*;

fn frames(mut reader: FrameReader, bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    reader.push(bytes);
    let mut frames = Vec::new();
    loop {
        match reader.poll_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

fn messages(bytes: &[u8]) -> (Vec<Frame>, Option<FrameError>) {
    frames(FrameReader::of_messages(Limits { head: 1_000, body: 1_000 }), bytes)
}

/// What one side said in a recorded conversation, message by message. Names of hosts were made neutral in the recordings, not so
/// the lengths that counted them.
fn said(transcript: &str, mark: &str) -> Vec<String> {
    let is_mark = |line: &str| [">> ", "<< ", "-- "].iter().any(|mark| line.starts_with(mark));
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in transcript.split_inclusive('\n') {
        if is_mark(line) {
            blocks.extend(block.take());
            block = line.starts_with(mark).then(String::new);
        } else if let Some(block) = &mut block {
            block.push_str(line);
        }
    }
    blocks.extend(block);
    blocks.iter().map(|block| with_true_length(block)).collect()
}

fn with_true_length(block: &str) -> String {
    let Some((head, body)) = block.split_once("\n\n") else { return block.to_owned() };
    let length = |line: &str| line.strip_prefix("Content-Length: ").and_then(|length| length.parse::<usize>().ok());
    let stated = head.lines().find_map(length).unwrap_or(0);
    if stated == 0 {
        return block.to_owned();
    }
    // A line end stands between two messages of a recording, which may be counted too.
    let body = if body.len() == stated { body } else { body.strip_suffix('\n').unwrap_or(body) };
    let head = head.replace(&format!("Content-Length: {stated}"), &format!("Content-Length: {}", body.len()));
    format!("{head}\n\n{body}")
}

fn transcripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/freeswitch/transcripts");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

#[test]
fn recorded_conversations_are_read_message_by_message() {
    for (name, transcript) in transcripts() {
        let said = said(&transcript, "<< ");
        for limit in [1, 7, usize::MAX] {
            let mut reader = FrameReader::of_messages(Limits::FROM_SERVER);
            let mut read = Vec::new();
            for block in &said {
                for piece in block.as_bytes().chunks(limit) {
                    reader.push(piece);
                    while let Some(frame) = reader.poll_frame().unwrap_or_else(|error| panic!("{name}: {error}")) {
                        read.push(Message::parse(frame));
                    }
                }
            }
            assert_eq!(read.len(), said.len(), "{name}");
            for message in read {
                assert_ne!(message.kind(), Kind::Other, "{name}: {message:?}");
                if let Some(event) = message.to_event() {
                    let event = event.unwrap_or_else(|error| panic!("{name}: {error}"));
                    assert!(event.get("Unique-ID").is_some() || event.name() == "BACKGROUND_JOB", "{name}: {event:?}");
                }
            }
        }
    }
}

#[test]
fn recorded_events_are_written_as_they_were_read() {
    let (_, transcript) = transcripts().into_iter().find(|(name, _)| name == "outbound-errors").unwrap();
    let mut compared = 0;
    for block in said(&transcript, "<< ") {
        let (read, _) = frames(FrameReader::of_messages(Limits::FROM_SERVER), block.as_bytes());
        let body = String::from_utf8(read[0].body.to_vec()).unwrap();
        let message = Message::parse(read[0].clone());
        if message.kind() == Kind::EventPlain {
            assert_eq!(message.to_event().unwrap().unwrap().to_plain(), body);
            compared += 1;
        }
    }
    assert!(compared > 10);
}

#[test]
fn a_job_has_a_body_within_its_event() {
    let (_, transcript) = transcripts().into_iter().find(|(name, _)| name == "inbound-commands").unwrap();
    let block = said(&transcript, "<< ").into_iter().find(|block| block.contains("BACKGROUND_JOB\n")).unwrap();
    let (read, _) = frames(FrameReader::of_messages(Limits::FROM_SERVER), block.as_bytes());
    let event = Message::parse(read[0].clone()).to_event().unwrap().unwrap();
    assert!(event.body.as_ref().unwrap().starts_with("UP 0 years"), "{event:?}");
    assert_eq!(Event::from_plain(&event.to_plain()).unwrap().body, event.body);
    assert_eq!(Event::from_json(event.to_json().as_bytes()).unwrap().body, event.body);
}

#[test]
fn the_answer_to_connect_carries_the_channel() {
    let (_, transcript) = transcripts().into_iter().find(|(name, _)| name == "outbound-async-full").unwrap();
    let block = said(&transcript, "<< ").remove(0);
    let (read, _) = frames(FrameReader::of_messages(Limits::FROM_SERVER), block.as_bytes());
    let message = Message::parse(read[0].clone());
    assert_eq!(message.kind(), Kind::CommandReply);
    let event = message.connected();
    assert_eq!(event.name(), "CHANNEL_DATA");
    assert_eq!(event.variable("sip_h_X-Customer-ID"), Some("77"));
    assert_eq!(event.get("Channel-Name"), Some("sofia/internal/tester@127.0.0.1:54063"));
    assert_eq!(event.get("Control"), Some("full"));
}

#[test]
fn commands_are_read_with_headers_and_body() {
    let bytes =
        b"\r\n\napi  show calls\r\n\r\nsendmsg abc\nEvent-Lock: true\nexecute-app-name:answer\ncontent-length: 3\n\na\nbexit\n\n";
    let (read, error) = frames(FrameReader::of_commands(Limits::FROM_CLIENT), bytes);
    let read: Vec<Command> = read.into_iter().map(Command::parse).collect();
    assert_eq!(error, None);
    assert_eq!(read.iter().map(Command::verb).collect::<Vec<_>>(), ["api", "sendmsg", "exit"]);
    assert_eq!((read[0].args(), read[1].args(), read[2].args()), ("show calls", "abc", ""));
    assert_eq!(read[1].headers().get("execute-app-name"), Some("answer"));
    assert_eq!(read[1].headers().get("event-lock"), Some("true"));
    assert_eq!(read[1].body(), "a\nb");
}

#[test]
fn a_frame_that_breaks_the_format_ends_the_stream() {
    for (bytes, expected) in [
        ("Content-Length: -1\n\n", FrameError::BadContentLength("-1".into())),
        ("Content-Length: 99999999999999999999\n\n", FrameError::BadContentLength("99999999999999999999".into())),
        ("Content-Length: 1001\n\n", FrameError::BodyTooLong { limit: 1_000, found: 1_001 }),
        ("Content-Length: 1e3\n\n", FrameError::BadContentLength("1e3".into())),
        ("Content-Length:\n\n", FrameError::BadContentLength(String::new())),
        ("Content-Length: 1\nContent-Length: 2\n\n", FrameError::BadContentLength("2".into())),
        ("a\0b\n\n", FrameError::Binary(0)),
        (&"x".repeat(1_001), FrameError::HeadTooLong(1_000)),
        (&format!("{}\n\n", "x".repeat(1_000)), FrameError::HeadTooLong(1_000)),
    ] {
        let (read, error) = messages(format!("A: 1\n\n{bytes}B: 1\n\n").as_bytes());
        assert_eq!((read.len(), error), (1, Some(expected)), "{bytes:.40}");
    }
}

#[test]
fn half_a_frame_waits_for_the_rest() {
    let whole = b"A: 1\r\nContent-Length: 2\r\n\r\nxyB: 2\n\n";
    for cut in 0..whole.len() {
        let mut reader = FrameReader::of_messages(Limits::FROM_SERVER);
        let mut read = Vec::new();
        for piece in [&whole[..cut], &whole[cut..]] {
            reader.push(piece);
            while let Some(frame) = reader.poll_frame().unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read.len(), 2, "cut at {cut}");
        assert_eq!(&read[0].body[..], b"xy");
    }
}

#[test]
fn nothing_that_is_sent_can_become_two_lines() {
    assert!(Command::new("api status\n\nexit").is_err());
    assert!(Command::new("sendmsg").unwrap().header("execute-app-arg", "a\nexecute-app-name: system").is_err());
    assert!(Command::new("sendmsg").unwrap().header("a\r", "b").is_err());
    let mut out = Vec::new();
    Message::reply("+OK\n\nContent-Type: x").write(&mut out);
    assert_eq!(out, b"Content-Type: command/reply\nReply-Text: +OK  Content-Type: x\n\n");
}

#[test]
fn notices_tell_a_call_that_is_over_from_a_connection_that_ends() {
    let linger = "Content-Type: text/disconnect-notice\nContent-Disposition: linger\nLinger-Time: 2\nContent-Length: 0\n\n";
    let (read, _) = messages(linger.as_bytes());
    assert_eq!(Message::parse(read[0].clone()).notice(), Some(Notice::Linger { seconds: 2 }));
    let (read, _) = messages(b"Content-Type: text/disconnect-notice\nContent-Length: 1\n\nx");
    assert_eq!(Message::parse(read[0].clone()).notice(), Some(Notice::Disconnect));
}

#[test]
fn xml_holds_encoded_values_and_an_escaped_body() {
    let mut event = Event::new("CUSTOM");
    event.push("a b", "<x>");
    event.body = Some("1 < 2".into());
    assert_eq!(
        event.to_xml(),
        "<event>\n  <headers>\n    <Event-Name>CUSTOM</Event-Name>\n    <a_b>%3Cx%3E</a_b>\n  </headers>\n  \
         <Content-Length>5</Content-Length>\n  <body>1 &lt; 2</body>\n</event>\n"
    );
}

proptest! {
    #[test]
    fn any_value_survives_plain_and_json(name in "[A-Za-z-]{1,12}", value in any::<String>(), body in proptest::option::of(any::<String>())) {
        let mut event = Event::new("CUSTOM");
        event.push(&format!("x-{name}"), &value);
        event.body = body;
        let read = Event::from_plain(&event.to_plain()).unwrap();
        prop_assert_eq!(&read.body, &event.body);
        prop_assert_eq!(read.get(&format!("x-{name}")), Some(value.as_str()));
        let read = Event::from_json(event.to_json().as_bytes()).unwrap();
        prop_assert_eq!(read.get(&format!("x-{name}")), Some(value.as_str()));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
        for mut reader in [FrameReader::of_messages(Limits::FROM_SERVER), FrameReader::of_commands(Limits { head: 50, body: 50 })] {
            for piece in [&bytes[..cut.min(bytes.len())], &bytes[cut.min(bytes.len())..]] {
                reader.push(piece);
                while let Ok(Some(frame)) = reader.poll_frame() {
                    let _ = Message::parse(frame.clone()).to_event();
                    let _ = Command::parse(frame).args();
                }
            }
        }
    }
}
