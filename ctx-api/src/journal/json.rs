//! JSON as it is written: what its strings say and where they stand, so that some can be replaced and the rest stays octet by octet.

use std::ops::Range;

/// A value of a text.
#[derive(Debug)]
pub(super) enum Node {
    Text(Text),
    Array(Vec<Node>),
    /// Fields in their order, doubled ones included.
    Object(Vec<(String, Node)>),
    /// A number, `true`, `false` or `null`, as it is written.
    Plain(Text),
}

/// A string, or what stands without quotes.
#[derive(Debug)]
pub(super) struct Text {
    /// Its quotes included.
    at: Range<usize>,
    said: String,
    is_changed: bool,
}

impl Text {
    pub(super) fn as_str(&self) -> &str {
        &self.said
    }

    pub(super) fn set(&mut self, said: String) {
        self.is_changed |= said != self.said;
        self.said = said;
    }
}

impl Node {
    /// Reads a text; `None` where it is no JSON. Text that is none may be taken for some: whoever asks has made sure.
    pub(super) fn read(text: &str) -> Option<Self> {
        Reader { text, at: 0 }.value()
    }

    /// The string it is.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Array(_) | Self::Object(_) | Self::Plain(_) => None,
        }
    }

    /// `text`, of which it was read, with strings in place of what has been set since; `None` when all is what it was.
    pub(super) fn write(&self, text: &str) -> Option<String> {
        let mut changed = Vec::new();
        self.collect_changed(&mut changed);
        if changed.is_empty() {
            return None;
        }
        let (mut written, mut taken) = (String::with_capacity(text.len()), 0);
        for Text { at, said, .. } in changed {
            written.push_str(text.get(taken..at.start)?);
            written.push_str(&serde_json::Value::from(said.as_str()).to_string());
            taken = at.end;
        }
        written.push_str(text.get(taken..)?);
        Some(written)
    }

    fn collect_changed<'n>(&'n self, changed: &mut Vec<&'n Text>) {
        match self {
            Self::Text(text) | Self::Plain(text) if text.is_changed => changed.push(text),
            Self::Array(items) => items.iter().for_each(|item| item.collect_changed(changed)),
            Self::Object(fields) => fields.iter().for_each(|(_, item)| item.collect_changed(changed)),
            Self::Text(_) | Self::Plain(_) => {}
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Node> {
        Some(match self.peek()? {
            b'"' => Node::Text(self.string()?),
            b'[' => {
                let mut items = Vec::new();
                self.at += 1;
                while self.peek()? != b']' {
                    items.push(self.value()?);
                    self.skip(b',')?;
                }
                self.at += 1;
                Node::Array(items)
            }
            b'{' => {
                let mut fields = Vec::new();
                self.at += 1;
                while self.peek()? != b'}' {
                    let name = self.string()?.said;
                    self.skip(b':')?;
                    fields.push((name, self.value()?));
                    self.skip(b',')?;
                }
                self.at += 1;
                Node::Object(fields)
            }
            _ => {
                let rest = self.text.get(self.at..)?;
                let length = rest.find([',', ':', ']', '}', ' ', '\t', '\r', '\n']).unwrap_or(rest.len());
                let at = self.at..self.at + length;
                self.at = at.end;
                let said = rest.get(..length).filter(|said| !said.is_empty())?.to_owned();
                Node::Plain(Text { at, said, is_changed: false })
            }
        })
    }

    /// The next octet that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.octet()? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                octet => return Some(octet),
            }
        }
    }

    fn octet(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Goes past a mark, where it is the next.
    fn skip(&mut self, mark: u8) -> Option<()> {
        if self.peek()? == mark {
            self.at += 1;
        }
        Some(())
    }

    fn string(&mut self) -> Option<Text> {
        let start = (self.peek()? == b'"').then_some(self.at)?;
        self.at += 1;
        loop {
            match self.octet()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let at = start..self.at;
        let said = serde_json::from_str(self.text.get(at.clone())?).ok()?;
        Some(Text { at, said, is_changed: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles every string of a value.
    fn double(node: &mut Node) {
        match node {
            Node::Text(text) => text.set(text.as_str().repeat(2)),
            Node::Array(items) => items.iter_mut().for_each(double),
            Node::Object(fields) => fields.iter_mut().for_each(|(_, item)| double(item)),
            Node::Plain(_) => {}
        }
    }

    #[test]
    fn strings_are_replaced_where_they_stand() {
        for (text, expected) in [
            (
                r#" { "b" : "x\"\\" , "a":[ "\u0041" ,1.10, -1E+3,{}, [] ], "b":"" } "#,
                r#" { "b" : "x\"\\x\"\\" , "a":[ "AA" ,1.10, -1E+3,{}, [] ], "b":"" } "#,
            ),
            ("\"é\"", "\"éé\""),
            ("[\n\t\"a\",\r\n\"]\"\n]", "[\n\t\"aa\",\r\n\"]]\"\n]"),
        ] {
            let mut node = Node::read(text).unwrap();
            assert_eq!(node.write(text), None);
            double(&mut node);
            assert_eq!(node.write(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn what_is_no_json_ends() {
        for text in ["", "[", "{", "[}", "{]", "{\"a\"", "{\"a\":", "\"", "\"\\", "[:]", "{1:2}"] {
            assert!(Node::read(text).is_none(), "{text}");
        }
    }
}
