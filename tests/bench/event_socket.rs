//! Calls that a FreeSWITCH hands over: how fast they are taken, and what an operation costs on our side.
//!
//! The other side answers at once: what is measured is the engine, its worker and the loopback socket between. And events of our
//! own event socket, handed to many clients.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use lockstep_engine::esl::{Command, Event, FrameReader, Limits, Message};

use crate::server::{PASSWORD, Server};
use crate::stats::{Figure, Sorted};

/// Connections at once.
const CALLERS: usize = 16;
const TIME: Duration = Duration::from_secs(4);

/// A channel that does at once whatever it is asked.
struct Quick {
    stream: TcpStream,
    reader: FrameReader,
    uuid: String,
}

impl Quick {
    fn dial(engine: SocketAddrV4, number: &str, uuid: String) -> io::Result<Self> {
        let stream = TcpStream::connect(engine)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut channel = Self { stream, reader: FrameReader::of_commands(Limits::FROM_CLIENT), uuid };
        channel.command()?;
        let mut greeting = channel.event("CHANNEL_DATA", "ringing");
        for (name, value) in [("Caller-Destination-Number", number), ("Socket-Mode", "async"), ("Control", "full")] {
            greeting.push(name, value);
        }
        greeting.push("Content-Type", "command/reply");
        greeting.push("Reply-Text", "+OK");
        channel.stream.write_all(greeting.to_plain().as_bytes())?;
        Ok(channel)
    }

    /// An event with as many headers as real ones have.
    fn event(&self, name: &str, state: &str) -> Event {
        let mut event = Event::new(name);
        event.push("Unique-ID", &self.uuid);
        event.push("Answer-State", state);
        for number in 0..120 {
            event.push(&format!("variable_of_the_channel_{number}"), "sip:tester@127.0.0.1:54063");
        }
        event
    }

    fn command(&mut self) -> io::Result<Option<Command>> {
        let mut buffer = [0; 16 * 1024];
        loop {
            if let Some(frame) = self.reader.poll_frame().map_err(io::Error::other)? {
                return Ok(Some(Command::parse(frame)));
            }
            match self.stream.read(&mut buffer)? {
                0 => return Ok(None),
                length => self.reader.push(&buffer[..length]),
            }
        }
    }

    /// Does what is asked until the call is over; times from an answer of ours to the next command, in µs.
    fn serve(&mut self) -> io::Result<Vec<f64>> {
        let mut times = Vec::new();
        let mut out = Vec::new();
        loop {
            let since = Instant::now();
            let Some(command) = self.command()? else { return Ok(times) };
            times.push(since.elapsed().as_secs_f64() * 1e6);
            out.clear();
            match command.verb() {
                "api" if command.args().starts_with("uuid_kill") => {
                    Message::api_response("+OK\n").write(&mut out);
                    Message::event_plain(&self.event("CHANNEL_HANGUP", "hangup")).write(&mut out);
                }
                "api" => Message::api_response("+OK\n").write(&mut out),
                "sendmsg" => {
                    Message::reply("+OK").write(&mut out);
                    let mut event = self.event("CHANNEL_EXECUTE_COMPLETE", "answered");
                    event.push("Application-UUID", command.headers().get("Event-UUID").unwrap_or_default());
                    Message::event_plain(&event).write(&mut out);
                }
                "exit" => return Ok(times),
                _ => Message::reply("+OK").write(&mut out),
            }
            self.stream.write_all(&out)?;
        }
    }
}

fn address(server: &Server) -> io::Result<SocketAddrV4> {
    server.freeswitch.ok_or_else(|| io::Error::other("the engine takes no calls from FreeSWITCH"))
}

/// Calls that are taken, answered and hung up again.
pub(crate) fn calls(_: &[usize]) -> io::Result<Figure> {
    let server = Server::start()?;
    let engine = address(&server)?;
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            std::thread::spawn(move || -> io::Result<usize> {
                let began = Instant::now();
                let mut calls = 0;
                while began.elapsed() < TIME {
                    Quick::dial(engine, "7006", format!("bench-{caller}-{calls}"))?.serve()?;
                    calls += 1;
                }
                Ok(calls)
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.join().map_err(|_| io::Error::other("a caller panicked"))??;
    }
    let rate = calls as f64 / TIME.as_secs_f64();
    Ok(Figure {
        name: "calls taken over from FreeSWITCH: answered, hung up",
        measured: format!("{rate:.0}/s"),
        bar: "> 80/s",
        comparison: "FreeSWITCH itself drives 60–80 calls/s by event socket".to_owned(),
        met: rate > 80.0,
    })
}

/// From the answer to an operation to the next operation of a script that waits for each.
pub(crate) fn operation(_: &[usize]) -> io::Result<Figure> {
    let server = Server::start()?;
    let times = Sorted::new(Quick::dial(address(&server)?, "7004", "bench-operation".to_owned())?.serve()?);
    let (p50, p99) = (times.percentile(0.5), times.percentile(0.99));
    Ok(Figure {
        name: "added latency of an awaited operation on FreeSWITCH, our side",
        measured: format!("p50 {p50:.0} µs, p99 {p99:.0} µs ({} operations)", times.len()),
        bar: "p99 < 2 ms",
        comparison: "FreeSWITCH's own tick: 20 ms".to_owned(),
        met: p99 < 2_000.0,
    })
}

/// Clients that want every event.
const LISTENERS: usize = 50;
/// Events a second, and for how long.
const EVENTS_A_SECOND: usize = 10_000;
const EVENT_SECONDS: usize = 4;
/// Events sent together: the time between two such groups is a millisecond.
const GROUP: usize = 10;
/// What stands once in every event that is counted.
const MARK: &str = "\nbench-number: ";

/// Connects to the event socket and logs in.
async fn log_in(address: SocketAddrV4) -> io::Result<tokio::net::TcpStream> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("auth {PASSWORD}\n\nevent plain CUSTOM bench\n\n").as_bytes()).await?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"enabled plain\n\n") {
        seen.push(stream.read_u8().await?);
    }
    Ok(stream)
}

/// Reads until `count` events have come; when the last did.
async fn listen(mut stream: tokio::net::TcpStream, count: usize) -> io::Result<(usize, Instant)> {
    let mark = regex::bytes::Regex::new(MARK).map_err(io::Error::other)?;
    let mut buffer = vec![0; 256 << 10];
    let mut kept = 0;
    let mut seen = 0;
    let mut last = Instant::now();
    while seen < count {
        let read = tokio::time::timeout(TIME, stream.read(&mut buffer[kept..])).await;
        let Ok(Ok(length)) = read else { break };
        if length == 0 {
            break;
        }
        let end = kept + length;
        let found = mark.find_iter(&buffer[..end]).last().map_or(0, |found| found.end());
        seen += mark.find_iter(&buffer[..end]).count();
        // A mark may be cut in two.
        let from = found.max(end.saturating_sub(MARK.len() - 1));
        buffer.copy_within(from..end, 0);
        kept = end - from;
        last = Instant::now();
    }
    Ok((seen, last))
}

async fn send(mut stream: tokio::net::TcpStream, count: usize) -> io::Result<Instant> {
    let (mut replies, mut commands) = stream.split();
    let drain = async {
        let mut buffer = vec![0; 64 << 10];
        while replies.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
    };
    let feed = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(1_000) * GROUP as u32 / EVENTS_A_SECOND as u32);
        for group in 0..count / GROUP {
            ticks.tick().await;
            let events: String = (0..GROUP)
                .map(|at| format!("sendevent CUSTOM\nEvent-Subclass: bench\nbench-number: {}\n\n", group * GROUP + at))
                .collect();
            commands.write_all(events.as_bytes()).await?;
        }
        Ok(Instant::now())
    };
    tokio::select! {
        sent = feed => sent,
        () = drain => Err(io::Error::other("the engine has ended the connection")),
    }
}

/// One client sends events, and fifty others are told of each.
pub(crate) fn events(_: &[usize]) -> io::Result<Figure> {
    let server = Server::with_event_socket()?;
    let address = server.event_socket.ok_or_else(|| io::Error::other("the engine has no event socket"))?;
    let count = EVENTS_A_SECOND * EVENT_SECONDS;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (fewest, late_ms) = runtime.block_on(async {
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            listeners.push(tokio::spawn(listen(log_in(address).await?, count)));
        }
        let began = Instant::now();
        let sent = send(log_in(address).await?, count).await?;
        let rate = count as f64 / (sent - began).as_secs_f64();
        if rate < 0.95 * EVENTS_A_SECOND as f64 {
            eprintln!("only {rate:.0} events/s were sent");
        }
        let mut fewest = usize::MAX;
        let mut late = Duration::ZERO;
        for listener in listeners {
            let (seen, last) = listener.await.map_err(io::Error::other)??;
            fewest = fewest.min(seen);
            late = late.max(last.saturating_duration_since(sent));
        }
        io::Result::Ok((fewest, late.as_millis()))
    })?;
    Ok(Figure {
        name: "events to 50 clients of the event socket, 10,000/s",
        measured: format!("{fewest} of {count} arrived at each; the last {late_ms} ms after it was sent"),
        bar: "none lost",
        comparison: "issue: 10,000 events/s to 50 clients".to_owned(),
        met: fewest == count && late_ms < 1_000,
    })
}
