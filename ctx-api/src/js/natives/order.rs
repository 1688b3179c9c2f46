//! The order of texts in a dictionary: by their letters, then by the accents of these, then by their case.

use std::cmp::Ordering;
use std::iter::Peekable;

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use icu_properties::{CodePointMapData, CodePointMapDataBorrowed};
use rquickjs::{Ctx, Object, Value};

use crate::js::hosted::function;
use crate::js::value::text;

const NFD: DecomposingNormalizerBorrowed<'static> = DecomposingNormalizerBorrowed::new_nfd();
const CATEGORIES: CodePointMapDataBorrowed<'static, GeneralCategory> = CodePointMapData::<GeneralCategory>::new();

/// What is not a letter or a digit comes first, in the order of the Unicode Collation Algorithm.
const MARKS: &str = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";
/// Accents of Latin letters, in the order of the same.
const ACCENTS: &str = "\u{301}\u{300}\u{306}\u{302}\u{30c}\u{30a}\u{308}\u{30b}\u{303}\u{307}\u{327}\u{328}\u{304}\u{309}\u{30f}\u{311}\u{31b}\u{323}\u{324}\u{325}\u{326}\u{32d}\u{32e}\u{330}\u{331}";
/// Ranks below are those of white space.
const FIRST_MARK: u32 = 0x1_0000;
const FIRST_LETTER: u32 = 0x2_0000;

/// What texts are compared by, apart from their letters.
#[derive(Clone, Copy, Debug)]
struct Rules {
    accents: bool,
    case: bool,
    /// Digits stand for the number that they write.
    numeric: bool,
    /// `å`, `ä` and `ö` are letters, and come last.
    swedish: bool,
}

/// `compare(one, other, accents, case, numeric, swedish)` → -1, 0 or 1.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set(
        "compare",
        function(
            ctx,
            |ctx: Ctx<'js>,
             one: Value<'js>,
             other: Value<'js>,
             accents: bool,
             case: bool,
             numeric: bool,
             swedish: bool|
             -> rquickjs::Result<i32> {
                let (one, other) = (text(&ctx, &one)?, text(&ctx, &other)?);
                Ok(compare(&one, &other, Rules { accents, case, numeric, swedish }) as i32)
            },
        )?,
    )?;
    Ok(natives)
}

fn compare(one: &str, other: &str, rules: Rules) -> Ordering {
    if one == other {
        return Ordering::Equal;
    }
    let (one, other) = if rules.numeric { (one, other) } else { without_beginning(one, other) };
    let order = compare_letters(letters(one, rules).peekable(), letters(other, rules).peekable(), rules);
    let by_accents = || if rules.accents { accents(one, rules).cmp(accents(other, rules)) } else { Ordering::Equal };
    let by_case = || if rules.case { capitals(one, rules).cmp(capitals(other, rules)) } else { Ordering::Equal };
    order.then_with(by_accents).then_with(by_case)
}

/// Both from the last ASCII character of their common beginning on: an accent of that one may follow.
fn without_beginning<'a>(one: &'a str, other: &'a str) -> (&'a str, &'a str) {
    let common = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other && one.is_ascii()).count();
    let from = common.saturating_sub(1);
    (one.get(from..).unwrap_or(one), other.get(from..).unwrap_or(other))
}

#[derive(Clone, Copy, Debug)]
enum Piece {
    Letter { rank: u32, is_capital: bool },
    Accent(char),
}

fn pieces(text: &str, rules: Rules) -> impl Iterator<Item = Piece> {
    let mut characters = NFD.normalize_iter(text.chars()).peekable();
    std::iter::from_fn(move || {
        let character = characters.next()?;
        if is_accent(character) {
            return Some(Piece::Accent(character));
        }
        let small = character.to_lowercase().next().unwrap_or(character);
        let rank = if rules.swedish { swedish_rank(small, characters.peek().copied()) } else { rank(small) };
        Some(Piece::Letter { rank, is_capital: small != character })
    })
}

fn is_accent(character: char) -> bool {
    character >= '\u{300}' && GeneralCategoryGroup::Mark.contains(CATEGORIES.get(character))
}

fn rank(small: char) -> u32 {
    if small.is_ascii_alphanumeric() {
        return letter_rank(small);
    }
    // As JavaScript's `\s`.
    if small == '\u{feff}' || (small.is_whitespace() && small != '\u{85}') {
        return u32::from(small);
    }
    let mark = MARKS.chars().zip(FIRST_MARK..).find(|(mark, _)| *mark == small);
    mark.map_or_else(|| letter_rank(small), |(_, rank)| rank)
}

/// With room behind each letter.
fn letter_rank(small: char) -> u32 {
    FIRST_LETTER + 4 * u32::from(small)
}

fn swedish_rank(small: char, accent: Option<char>) -> u32 {
    match (small, accent) {
        ('a', Some('\u{30a}')) => letter_rank('z') + 1,
        ('a', Some('\u{308}')) => letter_rank('z') + 2,
        ('o', Some('\u{308}')) => letter_rank('z') + 3,
        ('u', Some('\u{308}')) => letter_rank('y'),
        _ => rank(small),
    }
}

fn letters(text: &str, rules: Rules) -> impl Iterator<Item = u32> {
    pieces(text, rules).filter_map(|piece| match piece {
        Piece::Letter { rank, .. } => Some(rank),
        Piece::Accent(_) => None,
    })
}

fn compare_letters(
    mut one: Peekable<impl Iterator<Item = u32>>,
    mut other: Peekable<impl Iterator<Item = u32>>,
    rules: Rules,
) -> Ordering {
    loop {
        let order = match (one.peek().copied(), other.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (Some(first), Some(second)) if rules.numeric && is_digit(&first) && is_digit(&second) => {
                compare_numbers(&mut one, &mut other)
            }
            (first, second) => {
                one.next();
                other.next();
                first.cmp(&second)
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Takes the digits that come next from both.
fn compare_numbers(one: &mut Peekable<impl Iterator<Item = u32>>, other: &mut Peekable<impl Iterator<Item = u32>>) -> Ordering {
    let zero = letter_rank('0');
    while one.next_if_eq(&zero).is_some() {}
    while other.next_if_eq(&zero).is_some() {}
    let mut order = Ordering::Equal;
    loop {
        match (one.next_if(is_digit), other.next_if(is_digit)) {
            (None, None) => return order,
            (Some(first), Some(second)) => order = order.then(first.cmp(&second)),
            // The one that is longer.
            (first, second) => return first.is_some().cmp(&second.is_some()),
        }
    }
}

fn is_digit(rank: &u32) -> bool {
    (letter_rank('0')..=letter_rank('9')).contains(rank)
}

/// Nothing for a letter, with its accents behind it. Zeros may stand before numbers, so that digits do not count.
fn accents(text: &str, rules: Rules) -> impl Iterator<Item = Option<u32>> {
    pieces(text, rules).filter_map(|piece| match piece {
        Piece::Letter { rank, .. } => (!is_digit(&rank)).then_some(None),
        Piece::Accent(accent) => Some(Some(accent_rank(accent))),
    })
}

fn accent_rank(accent: char) -> u32 {
    let known = ACCENTS.chars().zip(0..).find(|(known, _)| *known == accent);
    known.map_or(u32::from(accent), |(_, rank)| rank)
}

/// Which letters are capitals.
fn capitals(text: &str, rules: Rules) -> impl Iterator<Item = bool> {
    pieces(text, rules).filter_map(|piece| match piece {
        Piece::Letter { rank, is_capital } if !is_digit(&rank) => Some(is_capital),
        Piece::Letter { .. } | Piece::Accent(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Rules = Rules { accents: true, case: true, numeric: false, swedish: false };

    fn assert_in_order(texts: &[&str], rules: Rules) {
        for (at, one) in texts.iter().enumerate() {
            for (other_at, other) in texts.iter().enumerate() {
                assert_eq!(compare(one, other, rules), at.cmp(&other_at), "{one} {other}");
            }
        }
    }

    #[test]
    fn letters_come_before_accents_and_these_before_case() {
        assert_in_order(
            &["", " ", "_", "-", "$", "1", "10", "2", "a", "A", "a b", "ab", "Ab", "äb", "Äb", "abc", "b", "z", "ж"],
            USUAL,
        );
        assert_in_order(&["resume", "Resume", "resumé", "résume", "résumé", "resumes"], USUAL);
    }

    #[test]
    fn accents_have_an_order_of_their_own() {
        assert_in_order(&["a", "á", "à", "ă", "â", "å", "ä", "ã", "ą", "ā", "ạ", "b"], USUAL);
    }

    #[test]
    fn composed_and_decomposed_letters_are_the_same() {
        assert_eq!(compare("M\u{fc}ller", "Mu\u{308}ller", USUAL), Ordering::Equal);
        assert_eq!(compare("Mu\u{308}ller", "Muller", USUAL), Ordering::Greater);
    }

    #[test]
    fn numbers_of_any_length_are_told_apart() {
        let numeric = Rules { numeric: true, ..USUAL };
        assert_in_order(&["a1", "A1", "a2", "a10", "a10b", "a011", "b", "b8946201000000000001", "b8946201000000000002"], numeric);
        assert_eq!(compare("a007é", "a7é", numeric), Ordering::Equal);
    }

    #[test]
    fn swedish_has_three_letters_behind_z() {
        let swedish = Rules { swedish: true, ..USUAL };
        assert_in_order(&["a", "á", "o", "y", "ü", "z", "å", "Å", "åa", "ä", "ö", "ж"], swedish);
        assert_eq!(compare("a\u{30a}", "å", swedish), Ordering::Equal);
    }
}
