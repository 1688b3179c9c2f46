//! Calls that a FreeSWITCH hands over: how fast they are taken, and what an operation costs on our side.
//!
//! The other side answers at once: what is measured is the engine, its worker and the loopback socket between.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use lockstep_engine::esl::{Command, Event, FrameReader, Limits, Message};

use crate::server::Server;
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
