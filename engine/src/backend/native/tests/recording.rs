use lockstep_ctx_api::op::{RecordAction, RecordArgs, RecordControlArgs};
use lockstep_media::stream::MAX_RECORDINGS;

use super::*;
use crate::backend::native::RecordingEvent;

impl Desk {
    fn record(&mut self, name: &str) -> OpId {
        self.submit(Op::Record(RecordArgs { name: name.to_owned(), ..RecordArgs::default() }))
    }
}

#[test]
fn one_recording_more_than_the_media_take_is_refused_until_another_is_stopped() {
    let mut desk = Desk::answered();
    let first = desk.record("0");
    for number in 1..MAX_RECORDINGS {
        desk.record(&number.to_string());
    }
    let further = desk.record("further");
    assert_eq!(error_of(&desk.outputs(), further).0, ErrorCode::LimitError);
    desk.backend.recording_event(RecordingId(0), RecordingEvent::Started);
    desk.submit(Op::RecordControl(RecordControlArgs { recording: first, action: RecordAction::Stop }));
    desk.asked();
    // Its file may take its time.
    desk.record("next");
    assert_eq!(desk.asked(), ["a record next in wav as 4"]);
    let further = desk.record("further");
    assert_eq!(error_of(&desk.outputs(), further).0, ErrorCode::LimitError);
}

#[test]
fn the_media_stop_with_a_recording_that_has_failed() {
    let mut desk = Desk::answered();
    let id = desk.record("x");
    desk.asked();
    let full = OpError::new(ErrorCode::MediaError, "no space left");
    desk.backend.recording_event(RecordingId(0), RecordingEvent::Failed(full));
    assert_eq!(desk.asked(), ["a StopRecording(RecordingId(0))"]);
    assert_eq!(error_of(&desk.outputs(), id).0, ErrorCode::MediaError);
}
