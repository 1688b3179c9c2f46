//! Connections that do not speak the language end alone.

use lockstep_tests::engine::{Engine, within};
use lockstep_tests::freeswitch::{Line, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn broken_frames_end_their_connection_and_no_other() {
    let body =
        "await ctx.answer();\nfor (;;) { const { value } = await ctx.ivr('silence:100', 60, 1, 1);\nctx.log(`key ${value}`); }";
    let engine = Engine::setup().config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"").main("4000", body).start();
    let mut events = engine.events().await;
    let line = Line::dial(engine.freeswitch(), Setup { caller: "good".into(), ..Setup::default() }).await;
    line.executes("play_and_get_digits").await;
    let huge = vec![b'x'; (1 << 20) + 10];
    let greeting = "Event-Name: CHANNEL_DATA\nContent-Type: command/reply\n";
    let channel = format!("{greeting}Unique-ID: bad\nCaller-Destination-Number: 4000\nSocket-Mode: async\nControl: full\n\n");
    let cases: Vec<Vec<u8>> = vec![
        b"Content-Length: -5\n\n".to_vec(),
        b"Content-Length: 99999999999999999999\n\n".to_vec(),
        b"Content-Length: 4000000000\n\n".to_vec(),
        b"\0\x01\x02\xff\xfe\n\n".to_vec(),
        huge,
        format!("{greeting}\n").into_bytes(),
        format!("{greeting}Unique-ID: a b\n\n").into_bytes(),
        format!("{channel}Content-Type: text/event-plain\nContent-Length: x\n\n").into_bytes(),
        format!("{channel}Content-Type: text/event-json\nContent-Length: 2\n\n[]Content-Length: -1\n\n").into_bytes(),
    ];
    for case in cases {
        let shown = String::from_utf8_lossy(&case).chars().take(60).collect::<String>();
        let mut stream = TcpStream::connect(engine.freeswitch()).await.unwrap();
        let mut asked = [0; 9];
        within("connect", stream.read_exact(&mut asked)).await.unwrap();
        assert_eq!(&asked, b"connect\n\n");
        // The engine may hang up before it has read everything.
        let _ = stream.write_all(&case).await;
        let ended = async {
            let mut rest = Vec::new();
            // A reset ends the connection as well as an orderly end.
            let _ = stream.read_to_end(&mut rest).await;
        };
        within(&format!("the end of {shown:?}"), ended).await;
    }
    line.with(|channel| channel.press('7'));
    events.logged("key 7").await;
}

#[tokio::test]
async fn half_frames_wait_and_unknown_ones_are_passed_over() {
    let engine = Engine::setup()
        .config("[event_socket]\nfreeswitch_outbound = \"127.0.0.1:0\"")
        .main("4000", "await ctx.answer();\nctx.log('answered');")
        .start();
    let mut events = engine.events().await;
    let mut stream = TcpStream::connect(engine.freeswitch()).await.unwrap();
    let greeting = "Event-Name: CHANNEL_DATA\nUnique-ID: half\nCaller-Destination-Number: 4000\nSocket-Mode: async\nControl: full\nContent-Type: command/reply\n\n";
    let noise = "Content-Type: text/unheard-of\nContent-Length: 3\n\nabcContent-Type: text/event-plain\nContent-Length: 4\n\n%%%%Content-Type: command/reply\nReply-Text: +OK\n\n";
    let done = "Event-Name: CHANNEL_EXECUTE_COMPLETE\nUnique-ID: half\nAnswer-State: answered\nApplication-UUID: 0.0\n\n";
    let done = format!("Content-Length: {}\nContent-Type: text/event-plain\n\n{done}", done.len());
    for text in [greeting, noise] {
        for piece in text.as_bytes().chunks(7) {
            stream.write_all(piece).await.unwrap();
        }
    }
    let mut sent = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&sent).contains("execute-app-name: answer") {
        let length = within("the answer", stream.read(&mut buffer)).await.unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&sent));
        sent.extend_from_slice(&buffer[..length]);
    }
    let sent = String::from_utf8_lossy(&sent);
    let id = sent.split("Event-UUID: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    stream.write_all(done.replace("0.0", id).as_bytes()).await.unwrap();
    events.logged("answered").await;
}
