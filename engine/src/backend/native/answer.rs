//! `answer`, `ring`, `earlyMedia`.

use std::time::Instant;

use lockstep_ctx_api::op::{AnswerArgs, RingArgs};
use lockstep_ctx_api::{ErrorCode, OpError, OpId, Outcome};
use lockstep_media::codec::Codec;
use lockstep_media::digit::DigitSet;

use super::{NativeBackend, Task};
use crate::backend::set_headers::narrowed;
use crate::call::{LegState, Switchboard};

impl<S: Switchboard> NativeBackend<S> {
    pub(super) fn start_answer(&mut self, now: Instant, id: OpId, args: AnswerArgs) {
        // The same script serves calls that come in, calls that we place and calls that are led to it: of those somebody has
        // answered already.
        let begun = match self.a.state() {
            LegState::Answered if std::mem::take(&mut self.answered_before) => return self.complete(id, Ok(Outcome::Unit)),
            LegState::Answering if std::mem::take(&mut self.answered_before) => Ok(()),
            LegState::New | LegState::Ringing | LegState::Early | LegState::Answering | LegState::Answered | LegState::Over => {
                self.send_answer(args)
            }
        };
        self.begin(id, begun.map(|()| Task::Answer));
        self.tell_facts(now);
    }

    fn send_answer(&mut self, args: AnswerArgs) -> Result<(), OpError> {
        if self.originated || self.a.state() >= LegState::Answering {
            return Err(OpError::invalid_state("answer", self.a.state().name()));
        }
        let codecs = codecs_by_name("answer", &args.codecs, &self.setup.codecs)?;
        let headers = narrowed(self.headers.fields().clone(), &args.headers);
        self.a.answer(&mut self.board, headers, &codecs).map_err(|error| super::prefixed("answer", error))?;
        self.headers.take();
        Ok(())
    }

    pub(super) fn ring(&mut self, now: Instant, id: OpId, args: RingArgs) {
        if self.is_answered_before() {
            return self.complete(id, Ok(Outcome::Unit));
        }
        if self.originated || self.a.state() >= LegState::Answering {
            return self.complete(id, Err(OpError::invalid_state("ring", self.a.state().name())));
        }
        let headers = narrowed(self.headers.take(), &args.headers);
        self.a.ring(&mut self.board, headers);
        self.tell_facts(now);
        self.complete(id, Ok(Outcome::Unit));
    }

    pub(super) fn start_early_media(&mut self, now: Instant, id: OpId) {
        let result = if self.is_answered_before() {
            Ok(())
        } else if self.originated || self.a.state() >= LegState::Answering {
            Err(OpError::invalid_state("earlyMedia", self.a.state().name()))
        } else {
            self.audio_path(now, "earlyMedia")
        };
        self.complete(id, result.map(|()| Outcome::Unit));
    }

    /// Another script has the call from now on.
    pub fn has_new_script(&mut self) {
        self.answered_before = self.originated || self.a.state() >= LegState::Answering;
    }

    /// The call is taken from its script: what that has set for what it was about to do is no more.
    pub fn leaves_script(&mut self) {
        self.headers.take();
        self.block_keys(DigitSet::NONE);
    }

    /// Whether the call was answered before its script came, which has not been told.
    fn is_answered_before(&self) -> bool {
        self.answered_before && self.a.state() >= LegState::Answering
    }
}

/// The codecs a script names, in its order; all of `known` when it names none.
pub(super) fn codecs_by_name(operation: &str, names: &[String], known: &[Codec]) -> Result<Vec<Codec>, OpError> {
    if names.is_empty() {
        return Ok(known.to_vec());
    }
    names
        .iter()
        .map(|name| {
            let codec = name.parse::<Codec>().ok().filter(|codec| known.contains(codec));
            codec.ok_or_else(|| {
                let ours: Vec<&str> = known.iter().map(|codec| codec.name()).collect();
                OpError::new(
                    ErrorCode::RangeError,
                    format!("{operation}: no codec {name:?} here, expected {}", ours.join(" or ")),
                )
            })
        })
        .collect()
}
