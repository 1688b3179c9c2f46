//! Frames between engine and worker. The engine must survive a worker that a script has taken over.

use lockstep_ctx_api::{
    journal::lines,
    wire::{FromWorker, ToWorker, read_frame, write_frame},
};

/// A frame that is read is written so that it reads the same.
pub fn frames(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((frame, used))) = read_frame::<FromWorker>(rest) {
        let mut written = Vec::new();
        write_frame(&frame, &mut written).expect("what was read can be written");
        let (again, length) = read_frame::<FromWorker>(&written).expect("readable").expect("whole");
        assert_eq!(length, written.len());
        let mut rewritten = Vec::new();
        write_frame(&again, &mut rewritten).expect("what was read can be written");
        assert_eq!(written, rewritten);
        rest = rest.get(used..).expect("no more than there was");
    }
    let _ = read_frame::<ToWorker>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = lines::parse(text);
    }
}
