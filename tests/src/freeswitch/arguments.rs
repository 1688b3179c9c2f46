//! How FreeSWITCH reads the argument of an application: what it expands, where it splits, which quotes it takes away.

use std::collections::BTreeMap;

/// What happened while an argument was expanded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// `${name}` and `${command(…)}`, as they stood: the second kind runs a command of the server.
    pub expansions: Vec<String>,
}

/// Replaces `${…}`, the way every argument is treated before its application sees it.
pub fn expand(arg: &str, variables: &BTreeMap<String, String>) -> Expanded {
    let mut expanded = Expanded::default();
    let mut rest = arg;
    while let Some(at) = rest.find("${") {
        let before = rest.get(..at).unwrap_or_default();
        expanded.text.push_str(before.trim_end_matches('$'));
        let inside = rest.get(at + 2..).unwrap_or_default();
        let (name, after) = inside.split_once('}').unwrap_or((inside, ""));
        expanded.expansions.push(name.to_owned());
        expanded.text.push_str(variables.get(name).map_or("", String::as_str));
        rest = after;
    }
    expanded.text.push_str(rest);
    expanded
}

/// Splits at blanks, with quotes and escapes, into at most `most` parts; `^^x` at the start names another separator.
pub fn separate(text: &str, separator: char, most: usize) -> Vec<String> {
    let mut chars = text.chars();
    let (text, separator) = match (chars.next(), chars.next(), chars.next()) {
        (Some('^'), Some('^'), Some(other)) if chars.clone().next().is_some() => (chars.as_str(), other),
        _ => (text, separator),
    };
    let mut parts = vec![String::new()];
    let mut in_quotes = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let is_last = parts.len() == most;
        if c == '\\' {
            parts.last_mut().expect("there is always one").push(c);
            parts.last_mut().expect("there is always one").extend(chars.next());
            continue;
        }
        if c == '\'' {
            in_quotes = !in_quotes;
        }
        if c == separator && !in_quotes && !is_last {
            while separator == ' ' && chars.peek() == Some(&' ') {
                chars.next();
            }
            parts.push(String::new());
            continue;
        }
        parts.last_mut().expect("there is always one").push(c);
    }
    parts.iter().map(|part| unquote(part)).collect()
}

/// Takes quotes, escapes and outer blanks away.
fn unquote(part: &str) -> String {
    let mut text = String::new();
    let mut chars = part.trim_start_matches(' ').chars().peekable();
    let mut in_quotes = false;
    let mut end = 0;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let unescaped = match (c, next) {
            ('\\', Some(escaped @ ('\'' | '"' | '\\'))) => Some(escaped),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('s')) => Some(' '),
            _ => None,
        };
        if let Some(unescaped) = unescaped {
            chars.next();
            text.push(unescaped);
            end = text.len();
        } else if c == '\'' && (in_quotes || chars.clone().any(|c| c == '\'')) {
            in_quotes = !in_quotes;
            if in_quotes {
                end = text.len();
            }
        } else {
            text.push(c);
            if c != ' ' || in_quotes {
                end = text.len();
            }
        }
    }
    text.truncate(end);
    text
}

/// One endpoint of a dial string with its own variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub variables: BTreeMap<String, String>,
    pub address: String,
}

/// A dial string: groups that are tried one after another, of endpoints that ring together.
pub fn dial_string(text: &str) -> Vec<Vec<Endpoint>> {
    let split = |text: &str, separator: char| {
        let mut parts = vec![String::new()];
        let mut depth = 0;
        for c in text.chars() {
            match c {
                '[' | '{' | '<' => depth += 1,
                ']' | '}' | '>' => depth -= 1,
                _ => {}
            }
            if c == separator && depth == 0 {
                parts.push(String::new());
            } else {
                parts.last_mut().expect("there is always one").push(c);
            }
        }
        parts
    };
    let endpoint = |text: &String| {
        let (inside, address) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).unwrap_or(("", text.as_str()));
        let variables = separate(inside, ',', 100)
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Endpoint { variables, address: address.to_owned() }
    };
    let text = text.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or(text, |(_, rest)| rest);
    split(text, '|').iter().map(|group| split(group, ',').iter().map(endpoint).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_server_splits_them() {
        assert_eq!(separate("1 4  2 'a b' '' c\\'d", ' ', 10), ["1", "4", "2", "a b", "", "c'd"]);
        assert_eq!(separate(r"x '^(?:\\d+)$' y z", ' ', 3), ["x", r"^(?:\d+)$", "y z"]);
        assert_eq!(separate("^^:a:b c", ' ', 10), ["a", "b c"]);
    }

    #[test]
    fn expansion_is_noticed() {
        let variables = [("a".to_owned(), "1".to_owned())].into();
        let expanded = expand("x${a}y${system(ls)}", &variables);
        assert_eq!((expanded.text.as_str(), expanded.expansions.len()), ("x1y", 2));
    }

    #[test]
    fn dial_strings_are_groups_of_endpoints() {
        let groups = dial_string("[a=1,b='x y']user/1,user/2|error/USER_BUSY");
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0][0].variables["b"], "x y");
        assert_eq!(groups[1][0].address, "error/USER_BUSY");
    }
}
