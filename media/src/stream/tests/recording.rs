//! Recording what a leg hears and says.

use super::*;
use crate::recording::{RecordingDirection, RecordingOptions};

fn record(line: &mut Line, id: u64, stereo: bool) {
    let options = RecordingOptions { stereo, direction: RecordingDirection::Both };
    line.command(Command::Record { id: RecordingId(id), options });
}

fn samples(line: &Line, id: u64) -> Vec<i16> {
    line.recorded.iter().filter(|(known, _)| *known == RecordingId(id)).flat_map(|(_, samples)| samples.clone()).collect()
}

#[test]
fn both_directions_are_recorded_aligned_and_to_the_end() {
    let mut line = Line::connected();
    record(&mut line, 1, true);
    line.play(1, &[&prompt(0x80, 100)]);
    for _ in 0..50 {
        line.audio(0);
        line.run(20);
    }
    line.command(Command::StopRecording(RecordingId(1)));
    line.run(1);
    let finished = MediaEvent::RecordingFinished { id: RecordingId(1), duration: Duration::from_secs(1) };
    assert_eq!(line.events.last(), Some(&(1000, finished)));
    let all = samples(&line, 1);
    assert_eq!(all.len(), 16_000);
    let loud = |channel: usize| all.iter().skip(channel).step_by(2).filter(|sample| sample.abs() > 1000).count();
    assert_eq!(loud(0), 8000);
    let prompt = loud(1);
    assert_eq!(prompt, 800, "the prompt was heard for 100 ms");
}

#[test]
fn two_recordings_run_side_by_side() {
    let mut line = Line::connected();
    record(&mut line, 1, false);
    line.run(500);
    record(&mut line, 2, false);
    line.run(500);
    line.command(Command::StopRecording(RecordingId(1)));
    line.command(Command::StopRecording(RecordingId(2)));
    assert_eq!((samples(&line, 1).len(), samples(&line, 2).len()), (8000, 4000));
}

#[test]
fn a_recording_that_is_stopped_makes_room_for_another_at_once() {
    let mut line = Line::connected();
    (1..=4).for_each(|id| record(&mut line, id, false));
    line.run(500);
    line.command(Command::StopRecording(RecordingId(1)));
    record(&mut line, 5, false);
    line.run(500);
    line.command(Command::StopRecording(RecordingId(5)));
    assert_eq!((samples(&line, 1).len(), samples(&line, 5).len()), (4000, 4000));
}

#[test]
fn a_recording_ends_with_its_stream() {
    let mut line = Line::connected();
    record(&mut line, 1, false);
    line.run(500);
    line.stream.close(line.now);
    line.drain();
    assert_eq!(samples(&line, 1).len(), 4000);
    assert!(matches!(line.events.last(), Some((_, MediaEvent::RecordingFinished { .. }))));
}

#[test]
fn a_fifth_recording_is_refused_by_ending_it_empty() {
    let mut line = Line::connected();
    (1..=5).for_each(|id| record(&mut line, id, false));
    let refused = MediaEvent::RecordingFinished { id: RecordingId(5), duration: Duration::ZERO };
    assert_eq!(line.events, [(0, refused)]);
}
