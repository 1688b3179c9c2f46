//! The regular expression that what a caller keys must match.
//!
//! It is a script's and is compiled on the core's thread, so what it may cost is bounded. The worker compiles it first: an
//! expression that is refused costs its script the time, and the engine none.

use fancy_regex::{Assertion, Expr, Regex, RegexBuilder};
use thiserror::Error;

/// The longest source, in bytes.
const MAX_SOURCE: usize = 16 * 1024;
/// The longest source without the texts that it lists, which cost little.
const MAX_UNLISTED: usize = 1_000;
/// The most characters and classes an expression may come to with its repetitions written out, beside the texts that it lists.
const MAX_SIZE: usize = 1_000;
/// The same for one that looks around or back, each part of which is compiled by itself, with the texts.
const MAX_SIZE_IN_PARTS: usize = 200;
/// What a class of Unicode counts: thousands of characters.
const UNICODE_CLASS: usize = 100;
/// The memory of one compiled part, in bytes.
const MAX_COMPILED: usize = 1 << 20;
/// How far an expression may backtrack on one entry.
const BACKTRACK_LIMIT: usize = 20_000;

/// What the digits must match as a whole.
#[derive(Debug)]
pub struct Pattern(Regex);

/// Why an expression is not taken.
#[derive(Debug, Error)]
pub enum PatternError {
    #[error("at most {MAX_SOURCE} bytes long, got {got}")]
    TooLong { got: usize },
    #[error("at most {MAX_UNLISTED} bytes long without the texts that it lists, got {got}")]
    TooLongUnlisted { got: usize },
    #[error("at most {most} characters and classes with its repetitions written out, got {got}")]
    TooLarge { most: usize, got: usize },
    #[error(transparent)]
    Malformed(#[from] fancy_regex::Error),
}

impl Pattern {
    /// Compiles a regular expression as scripts write it. As in JavaScript, `\d`, `\w` and `\s` mean characters of ASCII.
    ///
    /// # Errors
    /// Says where in `source` it is no expression, or that it is too long or would take too much.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        if source.len() > MAX_SOURCE {
            return Err(PatternError::TooLong { got: source.len() });
        }
        let tree = Expr::parse_tree(source)?;
        let mut in_parts = false;
        let size = size(&tree.expr, &mut in_parts);
        let (most, listed) = if in_parts { (MAX_SIZE_IN_PARTS, Listed::default()) } else { (MAX_SIZE, listed(&tree.expr)) };
        let got = size.saturating_sub(listed.chars);
        if got > most {
            return Err(PatternError::TooLarge { most, got });
        }
        let got = source.len().saturating_sub(listed.bytes);
        if got > MAX_UNLISTED {
            return Err(PatternError::TooLongUnlisted { got });
        }
        let compiled = RegexBuilder::new(&format!("^(?:{})$", with_ascii_classes(source)))
            .backtrack_limit(BACKTRACK_LIMIT)
            .delegate_size_limit(MAX_COMPILED)
            .build()?;
        Ok(Self(compiled))
    }

    pub fn matches(&self, digits: &str) -> bool {
        // An expression that backtracks past the limit is treated as one that does not match.
        self.0.is_match(digits).unwrap_or(false)
    }
}

/// How many characters and classes an expression comes to; `in_parts` becomes true if it is not one automaton.
fn size(expr: &Expr, in_parts: &mut bool) -> usize {
    match expr {
        Expr::Empty | Expr::Any { .. } => 1,
        Expr::Assertion(assertion) => {
            *in_parts |= match assertion {
                Assertion::StartText | Assertion::EndText | Assertion::StartLine { .. } | Assertion::EndLine { .. } => false,
                Assertion::LeftWordBoundary
                | Assertion::LeftWordHalfBoundary
                | Assertion::RightWordBoundary
                | Assertion::RightWordHalfBoundary
                | Assertion::WordBoundary
                | Assertion::NotWordBoundary => true,
            };
            1
        }
        Expr::Literal { val, .. } => val.chars().count(),
        Expr::Delegate { inner, .. } if inner.contains("\\p") || inner.contains("\\P") => UNICODE_CLASS,
        Expr::Delegate { .. } => 1,
        Expr::Concat(parts) | Expr::Alt(parts) => parts.iter().map(|part| size(part, in_parts)).fold(0, usize::saturating_add),
        Expr::Group(inner) => size(inner, in_parts),
        Expr::Repeat { child, lo, hi, .. } => {
            let times = if *hi == usize::MAX { *lo } else { *hi };
            size(child, in_parts).max(1).saturating_mul(times.max(1))
        }
        Expr::LookAround(inner, _) | Expr::AtomicGroup(inner) => {
            *in_parts = true;
            size(inner, in_parts).saturating_add(1)
        }
        Expr::Conditional { condition, true_branch, false_branch } => {
            *in_parts = true;
            let parts = [condition, true_branch, false_branch];
            parts.into_iter().map(|part| size(part, in_parts)).fold(1, usize::saturating_add)
        }
        Expr::Backref { .. }
        | Expr::BackrefWithRelativeRecursionLevel { .. }
        | Expr::KeepOut
        | Expr::ContinueFromPreviousMatchEnd
        | Expr::BackrefExistsCondition(_)
        | Expr::SubroutineCall(_)
        | Expr::UnresolvedNamedSubroutineCall { .. } => {
            *in_parts = true;
            1
        }
    }
}

/// The texts that an expression lists, as `1234|1235` does: those outside of repetitions.
#[derive(Default)]
struct Listed {
    chars: usize,
    /// What they take in the source, with the strokes between them.
    bytes: usize,
}

fn listed(expr: &Expr) -> Listed {
    let (parts, strokes) = match expr {
        Expr::Literal { val, casei: false } => return Listed { chars: val.chars().count(), bytes: val.len() },
        Expr::Group(inner) => return listed(inner),
        Expr::Concat(parts) => (parts, 0),
        Expr::Alt(parts) => (parts, parts.len().saturating_sub(1)),
        _ => return Listed::default(),
    };
    parts.iter().map(listed).fold(Listed { chars: 0, bytes: strokes }, |sum, part| Listed {
        chars: sum.chars.saturating_add(part.chars),
        bytes: sum.bytes.saturating_add(part.bytes),
    })
}

/// The compiler takes `\d` for the digits of all scripts of the world, sixty ranges.
fn with_ascii_classes(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 16);
    let mut chars = source.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str("[\t\n\r ]"),
            Some('S') => out.push_str("[^\t\n\r ]"),
            Some(escaped) => out.extend(['\\', escaped]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_must_match_the_whole_entry() {
        let pattern = Pattern::new(r"(?!0000)\d{4}|9").unwrap();
        assert!(pattern.matches("1234") && pattern.matches("9"));
        assert!(!pattern.matches("0000") && !pattern.matches("12345") && !pattern.matches("99"));
    }

    #[test]
    fn classes_are_those_of_javascript() {
        let matches = |source: &str, text: &str| Pattern::new(source).unwrap().matches(text);
        assert!(matches(r"[\d*]+", "12*") && matches(r"\D", "#") && matches(r"\w\W", "A*") && matches(r"[^\d]", "*"));
        assert!(!matches(r"\d", "\u{0663}") && !matches(r"\D", "1") && matches(r"\\d", "\\d"));
    }

    #[test]
    fn a_pattern_that_backtracks_without_end_does_not_match() {
        let pattern = Pattern::new(r"(?:(?=1)1+)+$(?=2)").unwrap();
        assert!(!pattern.matches(&"1".repeat(120)));
    }

    #[test]
    fn a_broken_pattern_is_refused_with_the_place_and_the_reason() {
        let reason = |source| Pattern::new(source).unwrap_err().to_string();
        assert!(reason("[").starts_with("Parsing error at position 1: "), "{}", reason("["));
        assert!(!reason("(").is_empty());
        assert!(matches!(Pattern::new(r"(a)\g<1>"), Err(PatternError::Malformed(_))));
    }

    #[test]
    fn what_scripts_ask_for_is_small_enough() {
        for source in [r"\d{1,128}", ".{128}", r"(?=.{8,10}$)(?!.*(\d)\1{3})\d+", r"[^*#]{1,128}"] {
            assert!(Pattern::new(source).is_ok(), "{source}: {:?}", Pattern::new(source));
        }
    }

    #[test]
    fn a_long_list_of_plain_texts_is_taken() {
        let extensions = (2_000..5_270).map(|code: u32| code.to_string()).collect::<Vec<_>>();
        let pattern = Pattern::new(&format!("^({})$", extensions.join("|"))).unwrap();
        assert!(pattern.matches("2000") && pattern.matches("5269") && !pattern.matches("5270") && !pattern.matches("20002001"));
        let numbers = (0..1_489).map(|index: u64| (1_000_000_000 + index * 6_041_771).to_string()).collect::<Vec<_>>();
        let pattern = Pattern::new(&numbers.join("|")).unwrap();
        assert!(numbers.iter().all(|number| pattern.matches(number)) && !pattern.matches("1000000001"));
    }

    #[test]
    fn a_pattern_that_would_take_long_is_refused_before_it_is_compiled() {
        for source in [
            r"\w{1001}",
            r"\p{L}{11}",
            "(?:a{1000}){1000}",
            "(?<=(?:a{1000}){1000}b*)",
            r"(?:(?=a)\w{250}){2}",
            &r"(?=a)\w{40}".repeat(6),
        ] {
            assert!(matches!(Pattern::new(source), Err(PatternError::TooLarge { .. })), "{source}");
        }
        assert!(matches!(Pattern::new(&"1".repeat(16_385)), Err(PatternError::TooLong { got: 16_385 })));
        let class = format!("[{}]|1234", "1".repeat(999));
        assert!(matches!(Pattern::new(&class), Err(PatternError::TooLongUnlisted { got: 1_001 })), "a stroke is the list's");
        assert!(matches!(Pattern::new(&format!("(?:{})*", "1".repeat(1_001))), Err(PatternError::TooLarge { .. })));
        assert!(matches!(Pattern::new(&format!(r"\b{}", "1".repeat(200))), Err(PatternError::TooLarge { .. })));
    }
}
