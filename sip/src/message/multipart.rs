//! Bodies inside multipart bodies (RFC 2046 5.1, RFC 5621).

use bytes::Bytes;

use super::{ContentType, limits};

/// The first part of the wanted media type: the body itself, or a part of a multipart body, at any depth up to the limit.
#[must_use]
pub fn find_part(content_type: &ContentType, body: &Bytes, kind: &str, subtype: &str) -> Option<Bytes> {
    find(content_type, body, kind, subtype, 0)
}

fn find(content_type: &ContentType, body: &Bytes, kind: &str, subtype: &str, depth: usize) -> Option<Bytes> {
    if content_type.is(kind, subtype) {
        return Some(body.clone());
    }
    if content_type.kind != "multipart" || depth == limits::MULTIPART_DEPTH {
        return None;
    }
    let boundary = content_type.params.get_unquoted("boundary")?;
    for part in parts(body, boundary.as_bytes()) {
        let (head, content) = split_head(&part);
        // RFC 2046 5.2: a part without a type is plain text.
        let Some(part_type) = part_type(head) else {
            continue;
        };
        if let Some(found) = find(&part_type, &content, kind, subtype, depth + 1) {
            return Some(found);
        }
    }
    None
}

/// The octets between delimiter lines, without the line break that belongs to the delimiter.
fn parts(body: &Bytes, boundary: &[u8]) -> Vec<Bytes> {
    let mut parts = Vec::new();
    if boundary.is_empty() || boundary.len() > 70 {
        return parts;
    }
    let mut start: Option<usize> = None;
    let mut line_start = 0;
    while line_start < body.len() && parts.len() < limits::MULTIPART_PARTS {
        let rest = body.get(line_start..).unwrap_or_default();
        let line_len = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |i| i + 1);
        let line = rest.get(..line_len).unwrap_or_default();
        if let Some(after) = line.strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary)) {
            let closing = after.starts_with(b"--");
            let delimiter = closing || after.iter().all(u8::is_ascii_whitespace);
            if delimiter {
                if let Some(start) = start {
                    parts.push(body.slice(start..strip_line_break(body, start, line_start)));
                }
                if closing {
                    return parts;
                }
                start = Some(line_start + line_len);
            }
        }
        line_start += line_len;
    }
    // The closing delimiter is often forgotten; the rest is then the last part.
    if let Some(start) = start
        && start < body.len()
        && parts.len() < limits::MULTIPART_PARTS
    {
        parts.push(body.slice(start..));
    }
    parts
}

fn strip_line_break(body: &[u8], start: usize, end: usize) -> usize {
    let part = body.get(start..end).unwrap_or_default();
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    let part = part.strip_suffix(b"\r").unwrap_or(part);
    start + part.len()
}

/// Part headers and content, separated by the first empty line.
fn split_head(part: &Bytes) -> (Bytes, Bytes) {
    let mut at = 0;
    while let Some(newline) = part.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'\n')) {
        let line = part.get(at..at + newline).unwrap_or_default();
        at += newline + 1;
        if line.is_empty() || line == b"\r" {
            return (part.slice(..at), part.slice(at..));
        }
    }
    (part.clone(), Bytes::new())
}

fn part_type(head: Bytes) -> Option<ContentType> {
    let text = String::from_utf8_lossy(&head);
    // Unfold, so that a boundary on a continuation line is found.
    let text = text.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.trim();
        (name.eq_ignore_ascii_case("content-type") || name.eq_ignore_ascii_case("c"))
            .then(|| ContentType::parse(value).ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(content_type: &str, body: &str) -> Option<String> {
        let content_type = ContentType::parse(content_type).expect("a content type");
        let body = Bytes::copy_from_slice(body.as_bytes());
        find_part(&content_type, &body, "application", "sdp").map(|b| String::from_utf8_lossy(&b).into_owned())
    }

    #[test]
    fn the_description_is_found_among_parts_and_in_nested_ones() {
        let body = "preamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b1\r\nContent-Type: multipart/alternative;\r\n boundary=\"b 2\"\r\n\r\n--b 2\r\nc: application/SDP\r\n\r\nv=0\r\ns=-\r\n\r\n--b 2--\r\n--b1--\r\n";
        assert_eq!(sdp("multipart/mixed;boundary=b1", body).as_deref(), Some("v=0\r\ns=-\r\n"));
    }

    #[test]
    fn a_missing_closing_delimiter_keeps_the_last_part() {
        let body = "--x\nContent-Type: application/sdp\n\nv=0\n";
        assert_eq!(sdp("multipart/mixed;boundary=x", body).as_deref(), Some("v=0\n"));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| {
            let mut body = "v=0\r\n".to_owned();
            let mut content_type = "application/sdp".to_owned();
            for level in 0..levels {
                body = format!("--b{level}\r\nContent-Type: {content_type}\r\n\r\n{body}\r\n--b{level}--\r\n");
                content_type = format!("multipart/mixed;boundary=b{level}");
            }
            sdp(&content_type, &body)
        };
        assert!(nested(limits::MULTIPART_DEPTH).is_some());
        assert_eq!(nested(limits::MULTIPART_DEPTH + 1), None);
        assert_eq!(sdp("multipart/mixed", "--\r\n"), None);
    }
}
