//! What a run has changed of its image: all that has to be kept of its region while it waits.

/// Words of a region that are not what its image has there, in stretches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changes {
    stretches: Box<[Stretch]>,
    /// Those of all stretches, one after another.
    words: Box<[usize]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    /// Index of the first word.
    begin: u32,
    length: u32,
}

impl Changes {
    /// What `now` has otherwise than `image`; `None` for more than `most` words.
    pub(super) fn between(image: impl Iterator<Item = usize>, now: &[usize], most: usize) -> Option<Self> {
        let (mut stretches, mut words) = (Vec::<Stretch>::new(), Vec::new());
        for ((was, is), at) in image.zip(now).zip(0_u32..) {
            if was == *is {
                continue;
            }
            if words.len() == most {
                return None;
            }
            words.push(*is);
            match stretches.last_mut() {
                Some(last) if last.begin + last.length == at => last.length += 1,
                Some(_) | None => stretches.push(Stretch { begin: at, length: 1 }),
            }
        }
        Some(Self { stretches: stretches.into(), words: words.into() })
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

    #[test]
    fn only_what_differs_is_kept() {
        let image = [1, 2, 3, 4, 5, 6];
        let changes = Changes::between(image.into_iter(), &[1, 20, 30, 4, 5, 60], 3).unwrap();
        assert_eq!(*changes.stretches, [Stretch { begin: 1, length: 2 }, Stretch { begin: 5, length: 1 }]);
        assert_eq!(*changes.words, [20, 30, 60]);
    }

    #[test]
    fn nothing_is_kept_where_more_differs_than_may() {
        assert_eq!(Changes::between([1, 2, 3].into_iter(), &[0, 0, 3], 1), None);
        assert!(Changes::between([1, 2, 3].into_iter(), &[0, 2, 3], 1).is_some());
    }

    proptest! {
        #[test]
        fn what_was_kept_makes_the_words_again(pairs in prop::collection::vec((0_usize..4, 0_usize..4), 0..200)) {
            let (image, now): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
            let changes = Changes::between(image.iter().copied(), &now, usize::MAX).unwrap();
            let mut words = image;
            changes.apply(&mut words);
            prop_assert_eq!(words, now);
        }
    }
}
