//! Audio on its way to the legs of a call: loading, playing, stopping.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lockstep_ctx_api::OpError;
use lockstep_media::codec::Codec;
use lockstep_media::digit::{Digit, DigitSet};
use lockstep_media::playout::{EncodedPrompt, PlayId, Playlist, PlayoutEnd, Repeat};
use lockstep_media::stream::Command;

use super::LegId;
use super::switchboard::{AudioSource, LoadId, Loading, Switchboard};

/// Names one piece of audio of a call, from the wish to its last packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AudioId(u64);

impl AudioId {
    /// The audio a playout belongs to.
    pub fn of_play(play: PlayId) -> Self {
        Self(play.0)
    }

    /// The audio a load belongs to.
    pub fn of_load(load: LoadId) -> Self {
        Self(load.0)
    }
}

/// How audio is played.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioOptions {
    /// 0: until stopped.
    pub repeat: u32,
    pub start: Duration,
    pub gain_db: f32,
    pub stop_on: DigitSet,
}

impl AudioOptions {
    /// Once, from the start, as loud as it is.
    pub const PLAIN: AudioOptions = AudioOptions { repeat: 1, start: Duration::ZERO, gain_db: 0.0, stop_on: DigitSet::NONE };
}

/// How audio ended.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioEnd {
    pub played: Duration,
    pub how: AudioStop,
}

/// Why audio ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioStop {
    Completed,
    Digit(char),
    Stopped,
}

#[derive(Debug)]
enum State {
    Loading(AudioOptions),
    Playing {
        stop_on: DigitSet,
        /// A key that did not come through the media has stopped it.
        stopped_by: Option<char>,
    },
}

#[derive(Debug)]
struct Piece {
    leg: LegId,
    state: State,
}

/// All audio of a call.
#[derive(Debug, Default)]
pub struct Audio {
    last: u64,
    pieces: BTreeMap<AudioId, Piece>,
    ended: VecDeque<(AudioId, Result<AudioEnd, OpError>)>,
}

impl Audio {
    /// Loads and plays; the end comes out of [`poll_ended`](Self::poll_ended).
    pub fn start(
        &mut self,
        board: &mut dyn Switchboard,
        leg: LegId,
        codec: Codec,
        source: &AudioSource,
        options: AudioOptions,
    ) -> AudioId {
        self.last += 1;
        let id = AudioId(self.last);
        self.pieces.insert(id, Piece { leg, state: State::Loading(options) });
        match board.load(LoadId(id.0), source, codec) {
            Loading::Ready(result) => self.loaded(board, id, result),
            Loading::Later => {}
        }
        id
    }

    /// The audio asked for is here, or cannot be had.
    pub fn loaded(&mut self, board: &mut dyn Switchboard, id: AudioId, result: Result<Vec<Arc<EncodedPrompt>>, OpError>) {
        let Some(piece) = self.pieces.get_mut(&id) else { return };
        let State::Loading(options) = &piece.state else { return };
        match result {
            Ok(prompts) => {
                let repeat = match options.repeat {
                    0 => Repeat::Forever,
                    times => Repeat::Times(times),
                };
                let playlist = Box::new(Playlist {
                    prompts,
                    repeat,
                    start: options.start,
                    gain_db: options.gain_db,
                    stop_on: options.stop_on,
                });
                piece.state = State::Playing { stop_on: options.stop_on, stopped_by: None };
                board.media(piece.leg, Command::Play { id: PlayId(id.0), playlist });
            }
            Err(error) => {
                self.pieces.remove(&id);
                self.ended.push_back((id, Err(error)));
            }
        }
    }

    /// A playout has ended.
    pub fn finished(&mut self, id: AudioId, played: Duration, end: PlayoutEnd) {
        if let Some(piece) = self.pieces.remove(&id) {
            let how = match (piece.state, end) {
                (State::Playing { stopped_by: Some(digit), .. }, _) => AudioStop::Digit(digit),
                (_, PlayoutEnd::Completed) => AudioStop::Completed,
                (_, PlayoutEnd::Digit(digit)) => AudioStop::Digit(digit.as_char()),
                (_, PlayoutEnd::Stopped | PlayoutEnd::Replaced) => AudioStop::Stopped,
            };
            self.ended.push_back((id, Ok(AudioEnd { played, how })));
        }
    }

    /// Stops and forgets: no end is reported.
    pub fn stop(&mut self, board: &mut dyn Switchboard, id: AudioId) {
        let Some(piece) = self.pieces.remove(&id) else { return };
        match piece.state {
            State::Loading(_) => board.forget(LoadId(id.0)),
            State::Playing { .. } => board.media(piece.leg, Command::Stop(PlayId(id.0))),
        }
    }

    /// A key came that the media did not see: stops the audio if it is one of its stop keys. The end is reported.
    pub fn stop_on_key(&mut self, board: &mut dyn Switchboard, id: AudioId, digit: char) {
        let Some(Piece { leg, state: State::Playing { stop_on, stopped_by } }) = self.pieces.get_mut(&id) else { return };
        if stopped_by.is_none() && Digit::from_char(digit).is_some_and(|digit| stop_on.contains(digit)) {
            *stopped_by = Some(digit);
            board.media(*leg, Command::Stop(PlayId(id.0)));
        }
    }

    /// Forgets what was for a leg that is gone.
    pub fn leg_over(&mut self, board: &mut dyn Switchboard, leg: LegId) {
        let gone: Vec<AudioId> = self.pieces.iter().filter(|(_, piece)| piece.leg == leg).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(Piece { state: State::Loading(_), .. }) = self.pieces.remove(&id) {
                board.forget(LoadId(id.0));
            }
        }
    }

    /// The next piece that has ended by itself or could not be loaded.
    pub fn poll_ended(&mut self) -> Option<(AudioId, Result<AudioEnd, OpError>)> {
        self.ended.pop_front()
    }
}
