//! Where the values of a JSON text stand in it.

/// Nesting past which a text is left to QuickJS.
const MAX_DEPTH: usize = 128;
/// Octets of a text past which it is left to QuickJS, whose memory is metered.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    Number,
    /// `escaped`: its text holds a backslash.
    String {
        escaped: bool,
    },
    Array,
    Object,
}

/// One value, or the name of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Octets of the text.
    pub(super) start: u32,
    pub(super) end: u32,
    /// The node after this one and all that is in it.
    pub(super) next: u32,
}

/// The values of a text in their order; of an object its members' names and values by turns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tape(Vec<Node>);

impl Tape {
    /// `None` for a text that is no JSON, and for one that has more than `most` octets or is nested too deeply.
    pub(super) fn read(text: &str, most: usize) -> Option<Self> {
        if text.len() > most.min(u32::MAX as usize) {
            return None;
        }
        let mut reader = Reader { bytes: text.as_bytes(), at: 0, nodes: Vec::with_capacity(text.len() / 16) };
        reader.value(0)?;
        reader.skip_space();
        (reader.at == text.len()).then_some(Self(reader.nodes))
    }

    pub(super) fn node(&self, index: u32) -> Option<Node> {
        self.0.get(index as usize).copied()
    }

    /// Indexes of what is directly in an array or object: elements, or names and values by turns.
    pub(super) fn children(&self, index: u32) -> impl Iterator<Item = (u32, Node)> {
        let end = self.node(index).map_or(0, |node| node.next);
        let mut next = index.saturating_add(1);
        std::iter::from_fn(move || {
            let node = self.node(next).filter(|_| next < end)?;
            Some((std::mem::replace(&mut next, node.next), node))
        })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        self.skip_space();
        let (index, start) = (self.nodes.len(), self.at);
        let node = Node { kind: Kind::Null, start: start as u32, end: 0, next: 0 };
        self.nodes.push(node);
        let kind = match self.peek()? {
            b'{' => self.list(b'}', depth, Self::member).map(|()| Kind::Object)?,
            b'[' => self.list(b']', depth, Self::value).map(|()| Kind::Array)?,
            b'"' => Kind::String { escaped: self.string()? },
            b't' => self.word(b"true").map(|()| Kind::True)?,
            b'f' => self.word(b"false").map(|()| Kind::False)?,
            b'n' => self.word(b"null").map(|()| Kind::Null)?,
            _ => self.number().map(|()| Kind::Number)?,
        };
        let next = self.nodes.len() as u32;
        *self.nodes.get_mut(index)? = Node { kind, end: self.at as u32, next, ..node };
        Some(())
    }

    fn list(&mut self, end: u8, depth: usize, item: fn(&mut Self, usize) -> Option<()>) -> Option<()> {
        if depth == MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.skip_space();
        if self.take(end).is_some() {
            return Some(());
        }
        loop {
            item(self, depth + 1)?;
            self.skip_space();
            if self.take(end).is_some() {
                return Some(());
            }
            self.take(b',')?;
        }
    }

    fn member(&mut self, depth: usize) -> Option<()> {
        self.skip_space();
        let start = self.at as u32;
        let kind = Kind::String { escaped: self.string()? };
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { kind, start, end: self.at as u32, next });
        self.skip_space();
        self.take(b':')?;
        self.value(depth)
    }

    /// Whether it holds a backslash.
    fn string(&mut self) -> Option<bool> {
        self.take(b'"')?;
        let mut escaped = false;
        loop {
            while self.peek().is_some_and(is_plain) {
                self.at += 1;
            }
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    let hex = match self.bytes.get(self.at + 1)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
                        b'u' => 4,
                        _ => return None,
                    };
                    let digits = self.bytes.get(self.at + 2..self.at + 2 + hex)?;
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return None;
                    }
                    self.at += 2 + hex;
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        // A number without a minus is no error.
        let _ = self.take(b'-');
        if self.take(b'0').is_none() {
            self.digits()?;
        }
        if self.take(b'.').is_some() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > begin).then_some(())
    }
}

/// Which octets stand for themselves in a string.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut octet = 0;
    while octet < 0x20 {
        plain[octet] = false;
        octet += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};

fn is_plain(octet: u8) -> bool {
    PLAIN[usize::from(octet)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_found_where_they_stand() {
        let text = r#" {"a" : [1, {"b":null}], "c":"x\"y"} "#;
        let tape = Tape::read(text, MAX_BYTES).expect("JSON");
        let shown = |(_, node): (u32, Node)| &text[node.start as usize..node.end as usize];
        assert_eq!(tape.children(0).map(shown).collect::<Vec<_>>(), ["\"a\"", r#"[1, {"b":null}]"#, "\"c\"", r#""x\"y""#]);
        let (array, _) = tape.children(0).nth(1).expect("an array");
        assert_eq!(tape.children(array).map(shown).collect::<Vec<_>>(), ["1", r#"{"b":null}"#]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "{}x",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "'a'",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "tru",
            "nul",
            "\"",
            "\"\n\"",
            r#""\x""#,
            r#""\u12g4""#,
            "{\"a\"}",
            "[1 2]",
            "NaN",
            "\u{feff}{}",
            "/**/1",
        ] {
            assert_eq!(Tape::read(text, MAX_BYTES), None, "{text:?}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?}");
        }
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        assert_eq!(Tape::read(&deep, MAX_BYTES), None);
    }

    proptest! {
        #[test]
        fn any_text_is_taken_or_refused_as_elsewhere(text in r#"[\[\]{}",:\\0-9ab\-+.eEtrufalsn ]{0,24}"#) {
            // Lone surrogates are JSON here and a number may be of any size; neither can be written with these characters.
            let known = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(Tape::read(&text, MAX_BYTES).is_some(), known);
        }
    }
}
