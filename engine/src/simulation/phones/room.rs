//! The noise of the room a phone stands in: what it sends while nobody speaks.
//!
//! No two rooms sound alike, so what one phone hears tells whose room it comes from: that is how a test sees that two
//! phones are joined, without anybody having to speak. It lies around −70 dBFS, which every detector takes for silence.

use std::sync::Arc;
use std::time::Duration;

use lockstep_media::codec::Codec;
use lockstep_media::playout::EncodedPrompt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The noise repeats after this long.
const LENGTH: Duration = Duration::from_secs(2);
/// Largest sample.
const PEAK: i32 = 24;

#[derive(Debug)]
pub(super) struct Room {
    seed: u64,
    noise: Option<Arc<EncodedPrompt>>,
}

impl Room {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, noise: None }
    }

    /// Its noise, encoded.
    pub(super) fn noise(&mut self, codec: Codec) -> Arc<EncodedPrompt> {
        if let Some(noise) = self.noise.as_ref().filter(|noise| noise.codec() == codec) {
            return Arc::clone(noise);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut bytes = vec![0; codec.payload_len(LENGTH)];
        rng.fill_bytes(&mut bytes);
        let samples: Vec<i16> = bytes.into_iter().map(|byte| ((i32::from(byte) - 128) * PEAK / 128) as i16).collect();
        let noise = Arc::new(EncodedPrompt::from_samples(codec, &samples));
        self.noise = Some(Arc::clone(&noise));
        noise
    }
}

/// Whether a sample is as quiet as a room.
pub(crate) fn is_quiet(sample: i16) -> bool {
    i32::from(sample).abs() <= 2 * PEAK
}
