//! Frames of the event socket: of clients that we serve, and of media servers that we steer.

use lockstep_engine::esl::{Command, Event, Frame, FrameError, FrameReader, Limits, Message};

/// Frames do not depend on how a stream was cut into packets, and events are written so that they read the same.
pub fn frames(data: &[u8]) {
    let commands = || FrameReader::of_commands(Limits::FROM_CLIENT);
    let messages = || FrameReader::of_messages(Limits::FROM_SERVER);
    for frame in same(data, commands) {
        let command = Command::parse(frame);
        let _ = (command.verb(), command.args(), command.body());
        command.write(&mut Vec::new());
    }
    for frame in same(data, messages) {
        let message = Message::parse(frame);
        let _ = (message.kind(), message.reply_text(), message.notice());
        check(&message.connected());
        if let Some(Ok(event)) = message.to_event() {
            check(&event);
        }
        let mut written = Vec::new();
        message.write(&mut written);
    }
}

/// The frames of a stream that comes at once, which are those of the same stream in small pieces.
fn same(data: &[u8], reader: impl Fn() -> FrameReader) -> Vec<Frame> {
    let (frames, error) = read(reader(), data.chunks(data.len().max(1)));
    for size in [1, 7] {
        assert_eq!(read(reader(), data.chunks(size)), (frames.clone(), error.clone()), "in pieces of {size}");
    }
    frames
}

fn read<'a>(mut reader: FrameReader, pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut frames = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.poll_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// Whatever an event was made of: once it was written and read, it stays the same.
fn check(event: &Event) {
    let plain = |event: &Event| Event::from_plain(&event.to_plain()).ok();
    if let Some(once) = plain(event) {
        assert_eq!(plain(&once).expect("it has a name").to_plain(), once.to_plain());
    }
    let json = |event: &Event| Event::from_json(event.to_json().as_bytes()).ok();
    if let Some(once) = json(event) {
        assert_eq!(json(&once).expect("it has a name").to_json(), once.to_json());
    }
    let _ = event.to_xml();
}
