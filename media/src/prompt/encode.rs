//! Decoded audio to the octets of a codec.

use super::decode::Audio;
use crate::{
    codec::{Codec, g711},
    playout::EncodedPrompt,
};

/// Encodes for `codec`. G.711 of the same law stays as it is, the other law is translated code by code.
#[must_use]
pub fn encode(audio: &Audio, codec: Codec) -> EncodedPrompt {
    match audio {
        Audio::G711 { codec: law, data } if *law == codec => EncodedPrompt::new(codec, data.to_vec()),
        Audio::G711 { codec: law, data } => {
            let table = g711::translation(*law, codec, 1.0);
            let octets: Vec<u8> = data.iter().map(|&octet| table[usize::from(octet)]).collect();
            EncodedPrompt::new(codec, octets)
        }
        Audio::Linear { samples, .. } => EncodedPrompt::from_samples(codec, samples),
    }
}
