//! `${name}` in arguments: the value of a channel variable, once. Values are not expanded again, and nothing is called.

/// The longest result, in bytes.
const MAX_LENGTH: usize = 64 << 10;

/// `text` with its variables in place. Unknown ones are empty; what is no variable stays as it is.
pub(super) fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        out.push_str(before.strip_suffix('$').unwrap_or(before));
        let inside = from.get(2..).unwrap_or_default();
        let Some((name, after)) = inside.split_once('}') else {
            out.push_str(from);
            return out;
        };
        out.push_str(&value(name).unwrap_or_default());
        rest = after;
        if out.len() > MAX_LENGTH {
            return out;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_put_in_once() {
        let value = |name: &str| (name == "a").then(|| "${b}".to_owned());
        assert_eq!(expand("x ${a} y ${none}z", value), "x ${b} y z");
        assert_eq!(expand("$${a}", value), "${b}");
        assert_eq!(expand("50$ {a} ${a", value), "50$ {a} ${a");
    }
}
