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
        if text.len() > most { None } else { Self::read_outer(text, usize::MAX) }
    }

    /// Values within more than `kept` others are looked at, and left out.
    pub(super) fn read_outer(text: &str, kept: usize) -> Option<Self> {
        if text.len() > u32::MAX as usize {
            return None;
        }
        let mut reader = Reader { bytes: text.as_bytes(), at: 0, kept, nodes: Vec::with_capacity(text.len() / 16) };
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
    /// The depth past which values make no nodes.
    kept: usize,
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
        if depth <= self.kept {
            self.nodes.push(node);
        }
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
        if let Some(slot) = self.nodes.get_mut(index) {
            *slot = Node { kind, end: self.at as u32, next, ..node };
        }
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
        if depth <= self.kept {
            let next = self.nodes.len() as u32 + 1;
            self.nodes.push(Node { kind, start, end: self.at as u32, next });
        }
        self.skip_space();
        self.take(b':')?;
        self.value(depth)
    }

    /// Whether it holds a backslash.
    fn string(&mut self) -> Option<bool> {
        self.take(b'"')?;
        let mut escaped = false;
        loop {
            match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) {
                Some(eight) => {
                    let plain = leading_plain(u64::from_le_bytes(*eight));
                    self.at += plain;
                    if plain == 8 {
                        continue;
                    }
                }
                None => {
                    while self.peek().is_some_and(is_plain) {
                        self.at += 1;
                    }
                }
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

/// How many of eight octets, the lowest first, stand for themselves before one that does not.
fn leading_plain(eight: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    // The lowest high bit that is set is right: what a borrow makes of the octets above it does not matter.
    let below = |octets: u64, bound: u8| octets.wrapping_sub(ONES * u64::from(bound)) & !octets & HIGHS;
    let equal = |octet: u8| below(eight ^ (ONES * u64::from(octet)), 1);
    ((below(eight, 0x20) | equal(b'"') | equal(b'\\')).trailing_zeros() / 8) as usize
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

    #[test]
    fn what_is_too_far_in_is_looked_at_and_left_out() {
        let tape = Tape::read_outer(r#"{"a":[1,{"b":2}],"c":3}"#, 1).expect("JSON");
        let nodes = tape.children(0).map(|(_, node)| (node.start, node.end, node.next));
        assert_eq!(nodes.collect::<Vec<_>>(), [(1, 4, 2), (5, 16, 3), (17, 20, 4), (21, 22, 5)]);
        assert_eq!(Tape::read_outer(r#"{"a":[1,{"b":}],"c":3}"#, 1), None);
    }

    proptest! {
        #[test]
        fn octets_that_stand_for_themselves_are_counted(octets in prop::array::uniform8(prop_oneof![
            8 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'\\'), 1 => 0x1e_u8..0x24, 8 => Just(b'a')
        ])) {
            let plain = octets.iter().take_while(|octet| is_plain(**octet)).count();
            prop_assert_eq!(leading_plain(u64::from_le_bytes(octets)), plain);
        }

        #[test]
        fn any_text_is_taken_or_refused_as_elsewhere(text in r#"[\[\]{}",:\\0-9ab\-+.eEtrufalsn ]{0,24}"#) {
            // Lone surrogates are JSON here and a number may be of any size; neither can be written with these characters.
            let known = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(Tape::read(&text, MAX_BYTES).is_some(), known);
        }
    }
}
