//! Text in HTML and XML: pages of calls, pictures of scripts, reports of tests.

/// Text as it may stand in an element or in a quoted attribute, of HTML as of XML 1.0, which knows no control characters but tabs
/// and line ends. What would turn the direction of the text around it is replaced too: names come from strangers.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() => escaped.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_an_element_an_attribute_or_the_direction_of_the_text() {
        assert_eq!(escape("<a b='\"&\">"), "&lt;a b=&#39;&quot;&amp;&quot;&gt;");
        assert_eq!(escape("one\ntwo\u{0}\u{1b}\u{202e}\u{ffff}ü"), "one\ntwo\u{fffd}\u{fffd}\u{fffd}\u{fffd}ü");
    }
}
