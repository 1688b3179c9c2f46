//! A script's text split up: as much of the grammar as is needed to tell what it does with built-ins.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    /// A string, without its quotation marks and with its escapes.
    Text(&'a str),
    Mark(char),
    /// A regular expression, or a piece of a template.
    Pattern,
}

/// A text split up, without its comments.
pub(super) struct Tokens<'a> {
    pub(super) tokens: Vec<Token<'a>>,
    /// Each slash was told for a division or a regular expression, and everything that was opened is closed.
    pub(super) is_certain: bool,
}

/// Words after which an expression begins, and so a slash begins a regular expression.
const BEFORE_EXPRESSIONS: [&str; 14] =
    ["await", "case", "delete", "do", "else", "in", "instanceof", "new", "of", "return", "throw", "typeof", "void", "yield"];

impl<'a> Tokens<'a> {
    pub(super) fn of(source: &'a str) -> Self {
        let mut split = Self { tokens: Vec::new(), is_certain: true };
        // For each template that is open, the braces that are open in the code within it.
        let mut templates: Vec<usize> = Vec::new();
        let mut rest = source;
        while let Some(first) = rest.chars().next() {
            let skipped = |end: Option<usize>| rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
            let mut token = None;
            rest = if rest.starts_with("//") {
                skipped(rest.find('\n'))
            } else if rest.starts_with("/*") {
                skipped(rest.find("*/").map(|end| end + 2))
            } else if let Some((text, length)) = string(rest, first) {
                token = Some(Token::Text(text));
                skipped(Some(length))
            } else if is_word(first) {
                let end = rest.find(|next| !is_word(next)).unwrap_or(rest.len());
                token = Some(Token::Word(rest.get(..end).unwrap_or_default()));
                skipped(Some(end))
            } else if first == '`' || (first == '}' && templates.last() == Some(&0)) {
                if first == '}' {
                    templates.pop();
                }
                token = Some(Token::Pattern);
                let (length, goes_on) = template(rest);
                if goes_on {
                    templates.push(0);
                }
                skipped(length)
            } else if first == '/'
                && let Some(length) = split.pattern(rest)
            {
                token = Some(Token::Pattern);
                skipped(Some(length))
            } else {
                match (first, templates.last_mut()) {
                    ('{', Some(open)) => *open += 1,
                    ('}', Some(open)) => *open = open.saturating_sub(1),
                    ('"' | '\'' | '\\', _) => split.is_certain = false,
                    _ => {}
                }
                token = Some(Token::Mark(first)).filter(|_| !first.is_whitespace());
                skipped(Some(first.len_utf8()))
            };
            split.tokens.extend(token);
        }
        split.is_certain &= templates.is_empty();
        split
    }

    /// The length of the regular expression that a text begins with, which begins with a slash.
    fn pattern(&mut self, text: &str) -> Option<usize> {
        match self.tokens.last() {
            Some(Token::Word(word)) if !BEFORE_EXPRESSIONS.contains(word) => return None,
            Some(Token::Text(_) | Token::Pattern | Token::Mark(']')) => return None,
            // After the head of an `if` it is one, after the end of a block it may be.
            Some(Token::Mark(')' | '}' | '+' | '-')) => {
                self.is_certain = false;
                return None;
            }
            Some(Token::Word(_) | Token::Mark(_)) | None => {}
        }
        let (mut escaped, mut in_class) = (false, false);
        for (at, next) in text.char_indices().skip(1) {
            match next {
                '\n' | '\r' | '\u{2028}' | '\u{2029}' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '[' => in_class = true,
                ']' => in_class = false,
                '/' if !in_class => return Some(at + 1),
                _ => {}
            }
        }
        self.is_certain = false;
        None
    }
}

/// How far a piece of a template reaches, its first mark and its last included, and whether code follows; `None`: to the end.
fn template(text: &str) -> (Option<usize>, bool) {
    let mut before = ' ';
    for (at, next) in text.char_indices().skip(1) {
        before = match (before, next) {
            ('\\', _) => ' ',
            ('$', '{') => return (Some(at + 1), true),
            (_, '`') => return (Some(at + 1), false),
            _ => next,
        };
    }
    (None, true)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// The string that a text begins with, and its length with the marks around it; none where it is not closed in its line.
fn string(text: &str, first: char) -> Option<(&str, usize)> {
    if first != '"' && first != '\'' {
        return None;
    }
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\n' => return None,
            _ if next == first => return Some((text.get(1..at)?, at + 1)),
            _ => {}
        }
    }
    None
}
