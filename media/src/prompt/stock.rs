//! The stock prompts of `scripts/ivr/`, built into the binary so that `ivr/…` works in an empty folder.

macro_rules! prompts {
    ($($name:literal)*) => {
        /// File names with their content, in order of name.
        const PROMPTS: &[(&str, &[u8])] = &[
            $(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/ivr/", $name))),)*
        ];
    };
}

prompts! {
    "0.wav"
    "1.wav"
    "10.wav"
    "11.wav"
    "12.wav"
    "13.wav"
    "14.wav"
    "15.wav"
    "16.wav"
    "17.wav"
    "18.wav"
    "19.wav"
    "2.wav"
    "20.wav"
    "3.wav"
    "30.wav"
    "4.wav"
    "40.wav"
    "5.wav"
    "50.wav"
    "6.wav"
    "60.wav"
    "7.wav"
    "70.wav"
    "8.wav"
    "80.wav"
    "9.wav"
    "90.wav"
    "accepted.wav"
    "and.wav"
    "beep.wav"
    "busy.wav"
    "call-failed.wav"
    "closed.wav"
    "connecting.wav"
    "echo-test.wav"
    "enter-extension.wav"
    "enter-number.wav"
    "enter-pin.wav"
    "error-tone.wav"
    "error.wav"
    "goodbye.wav"
    "hundred.wav"
    "invalid-pin.wav"
    "invalid.wav"
    "leave-message.wav"
    "main-menu.wav"
    "message-saved.wav"
    "minutes.wav"
    "no-answer.wav"
    "please-hold.wav"
    "pound.wav"
    "press-1-to-accept.wav"
    "recorded.wav"
    "star.wav"
    "thank-you.wav"
    "thousand.wav"
    "try-again.wav"
    "unavailable.wav"
    "welcome.wav"
    "you-entered.wav"
    "you-have.wav"
}

/// The stock prompt of that file name, e.g. `welcome.wav`.
#[must_use]
pub fn find(name: &str) -> Option<&'static [u8]> {
    let at = PROMPTS.binary_search_by_key(&name, |(name, _)| name).ok()?;
    PROMPTS.get(at).map(|(_, content)| *content)
}

/// The names of all stock prompts, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROMPTS.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::Codec,
        prompt::wav::{PlainWav, read},
    };

    #[test]
    fn every_file_of_the_folder_is_built_in_and_in_order() {
        let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/ivr"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(names().collect::<Vec<_>>(), files);
    }

    #[test]
    fn every_prompt_plays_without_conversion() {
        for name in names() {
            let prompt = read(find(name).unwrap());
            assert!(
                matches!(prompt, Some(PlainWav::G711 { codec: Codec::Pcmu, rate: 8000, data }) if data.len() > 800),
                "{name}"
            );
        }
    }
}
