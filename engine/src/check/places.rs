//! Lines and columns of a text.

/// Finds them for offsets that come in order, going through the text once.
pub(crate) struct Places<'s> {
    rest: &'s str,
    offset: usize,
    line: usize,
    column: usize,
}

impl<'s> Places<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { rest: source, offset: 0, line: 1, column: 1 }
    }

    /// Line and column of a byte offset, counted from 1; columns in UTF-16 code units. What is past the text is at its end.
    pub(crate) fn at(&mut self, offset: usize) -> (usize, usize) {
        let ahead = offset.saturating_sub(self.offset);
        let (passed, rest) = self.rest.split_at_checked(ahead).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.offset += passed.len();
        let last = match passed.rsplit_once('\n') {
            Some((lines, last)) => {
                self.line += lines.matches('\n').count() + 1;
                self.column = 1;
                last
            }
            None => passed,
        };
        self.column += last.encode_utf16().count();
        (self.line, self.column)
    }
}

/// Line and column of one byte offset, as [`Places::at`].
pub(crate) fn line_column(source: &str, offset: usize) -> (usize, usize) {
    Places::new(source).at(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_as_editors_do() {
        assert_eq!(line_column("a😀b", 5), (1, 4));
    }

    #[test]
    fn places_in_order_are_those_found_alone() {
        let source = "a\n\nbc😀d\r\ne\n";
        let mut places = Places::new(source);
        for offset in [0, 0, 1, 2, 3, 5, 9, 10, 12, 13, 14, 20] {
            assert_eq!(places.at(offset), line_column(source, offset), "{offset}");
        }
        assert_eq!(line_column(source, 9), (3, 5));
        assert_eq!(line_column(source, 14), (5, 1));
    }
}
