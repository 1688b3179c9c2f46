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
        let mut reader = Reader { octets: text.len(), kept, nodes: Vec::with_capacity(text.len() / 16) };
        let rest = reader.value(after_space(text.as_bytes()), 0)?;
        after_space(rest).is_empty().then_some(Self(reader.nodes))
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

struct Reader {
    /// Of the whole text.
    octets: usize,
    /// The depth past which values make no nodes.
    kept: usize,
    nodes: Vec<Node>,
}

/// Each of these is given what is left of the text, and gives what is left after what it has read.
impl Reader {
    fn at(&self, rest: &[u8]) -> u32 {
        (self.octets - rest.len()) as u32
    }

    fn value<'a>(&mut self, rest: &'a [u8], depth: usize) -> Option<&'a [u8]> {
        if depth > self.kept {
            return Some(self.whole(rest, depth)?.1);
        }
        let index = self.nodes.len();
        let node = Node { kind: Kind::Null, start: self.at(rest), end: 0, next: 0 };
        self.nodes.push(node);
        let (kind, after) = self.whole(rest, depth)?;
        let (end, next) = (self.at(after), self.nodes.len() as u32);
        if let Some(slot) = self.nodes.get_mut(index) {
            *slot = Node { kind, end, next, ..node };
        }
        Some(after)
    }

    #[inline(always)]
    fn whole<'a>(&mut self, rest: &'a [u8], depth: usize) -> Option<(Kind, &'a [u8])> {
        Some(match rest {
            [b'"', after @ ..] => string(after).map(|(escaped, after)| (Kind::String { escaped }, after))?,
            [b'{', after @ ..] => (Kind::Object, self.list(after, b'}', depth, Self::member)?),
            [b'[', after @ ..] => (Kind::Array, self.list(after, b']', depth, Self::value)?),
            [b't', b'r', b'u', b'e', after @ ..] => (Kind::True, after),
            [b'f', b'a', b'l', b's', b'e', after @ ..] => (Kind::False, after),
            [b'n', b'u', b'l', b'l', after @ ..] => (Kind::Null, after),
            _ => (Kind::Number, number(rest)?),
        })
    }

    #[inline(always)]
    fn list<'a>(
        &mut self,
        rest: &'a [u8],
        end: u8,
        depth: usize,
        item: impl Fn(&mut Self, &'a [u8], usize) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        if depth == MAX_DEPTH {
            return None;
        }
        let mut rest = after_space(rest);
        if let Some((_, after)) = rest.split_first().filter(|(octet, _)| **octet == end) {
            return Some(after);
        }
        loop {
            match after_space(item(self, rest, depth + 1)?) {
                [b',', after @ ..] => rest = after_space(after),
                [octet, after @ ..] if *octet == end => return Some(after),
                _ => return None,
            }
        }
    }

    #[inline(always)]
    fn member<'a>(&mut self, rest: &'a [u8], depth: usize) -> Option<&'a [u8]> {
        let [b'"', name @ ..] = rest else { return None };
        let (escaped, after) = string(name)?;
        if depth <= self.kept {
            let node = Node {
                kind: Kind::String { escaped },
                start: self.at(rest),
                end: self.at(after),
                next: self.nodes.len() as u32 + 1,
            };
            self.nodes.push(node);
        }
        let [b':', after @ ..] = after_space(after) else { return None };
        self.value(after_space(after), depth)
    }
}

#[inline(always)]
fn after_space(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = rest {
        rest = after;
    }
    rest
}

/// The rest of a string: whether it holds a backslash.
#[inline(always)]
fn string(mut rest: &[u8]) -> Option<(bool, &[u8])> {
    let mut escaped = false;
    loop {
        while let Some(eight) = rest.first_chunk() {
            let plain = leading_plain(u64::from_le_bytes(*eight));
            rest = rest.get(plain..)?;
            if plain < 8 {
                break;
            }
        }
        rest = match rest {
            [b'"', after @ ..] => return Some((escaped, after)),
            [b'\\', after @ ..] => {
                escaped = true;
                match after {
                    [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', after @ ..] => after,
                    [b'u', a, b, c, d, after @ ..] if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) => after,
                    _ => return None,
                }
            }
            // Fewer than eight are left.
            [octet, after @ ..] if *octet >= 0x20 => after,
            _ => return None,
        };
    }
}

fn number(rest: &[u8]) -> Option<&[u8]> {
    let mut rest = match rest.strip_prefix(b"-").unwrap_or(rest) {
        [b'0', after @ ..] => after,
        rest => digits(rest)?,
    };
    if let [b'.', after @ ..] = rest {
        rest = digits(after)?;
    }
    if let [b'e' | b'E', after @ ..] = rest {
        rest = match after {
            [b'+' | b'-', after @ ..] => digits(after)?,
            _ => digits(after)?,
        };
    }
    Some(rest)
}

fn digits(rest: &[u8]) -> Option<&[u8]> {
    let count = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    rest.get(count..).filter(|_| count > 0)
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
            let plain = octets.iter().take_while(|octet| **octet >= 0x20 && !matches!(octet, b'"' | b'\\')).count();
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
