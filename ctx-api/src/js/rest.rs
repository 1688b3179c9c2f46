//! What a run has changed of its image: all that has to be kept of its region while it waits.

/// Words of a region that are not what its image has there, in stretches.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    stretches: Vec<Stretch>,
    /// Those of all stretches, one after another.
    words: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// Index of the first word.
    begin: u32,
    length: u32,
}

impl Changes {
    /// Adds what is otherwise in `now` than in `image`, whose first word has the index `begin`: after all that was noted before.
    pub(super) fn note(&mut self, begin: usize, image: &[usize], now: &[usize]) {
        // Most pages are as they were.
        if now.starts_with(image) {
            return;
        }
        for ((was, is), at) in image.iter().zip(now).zip(begin as u32..) {
            if was == is {
                continue;
            }
            self.words.push(*is);
            match self.stretches.last_mut() {
                Some(last) if last.begin + last.length == at => last.length += 1,
                Some(_) | None => self.stretches.push(Stretch { begin: at, length: 1 }),
            }
        }
    }

    /// How many words.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// Takes no more memory than is needed.
    pub(super) fn shrink(&mut self) {
        self.stretches.shrink_to_fit();
        self.words.shrink_to_fit();
    }

    /// Makes them again to words that are as the image has them.
    pub(super) fn apply(&self, words: &mut [usize]) {
        let mut changed = self.words.iter();
        for Stretch { begin, length } in &self.stretches {
            let place = words.iter_mut().skip(*begin as usize).take(*length as usize);
            for (word, is) in place.zip(&mut changed) {
                *word = *is;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn between(image: &[usize], now: &[usize]) -> Changes {
        let mut changes = Changes::default();
        for (part, begin) in image.chunks(4).zip((0..).step_by(4)) {
            changes.note(begin, part, &now[begin..]);
        }
        changes
    }

    #[test]
    fn only_what_differs_is_kept() {
        let changes = between(&[1, 2, 3, 4, 5, 6], &[1, 2, 3, 40, 50, 6]);
        assert_eq!(*changes.stretches, [Stretch { begin: 3, length: 2 }]);
        assert_eq!((&*changes.words, changes.words()), (&[40, 50][..], 2));
    }

    proptest! {
        #[test]
        fn what_was_kept_makes_the_words_again(pairs in prop::collection::vec((0_usize..4, 0_usize..4), 0..200)) {
            let (image, now): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let changes = between(&image, &now);
            let mut words = image;
            changes.apply(&mut words);
            prop_assert_eq!(words, now);
        }
    }
}
