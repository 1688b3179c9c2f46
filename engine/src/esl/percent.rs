//! Percent-encoding of event header values, as event sockets do it.

/// Printable characters that are encoded besides control characters, the blank and everything outside ASCII.
const UNSAFE: &[u8] = b"\"#%&+:;<=>?@[\\]^`{|}";

/// Appends `text` to `out`, encoded: nothing that could end a header line stays.
pub fn encode(text: &str, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !UNSAFE.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 0xf].iter().filter_map(|nibble| HEX.get(usize::from(*nibble))));
        }
    }
}

/// Appends `text` to `out`, decoded. A `%` that two hexadecimal digits do not follow stands for itself; what is not UTF-8
/// becomes U+FFFD.
pub fn decode(text: &str, out: &mut String) {
    if !text.contains('%') {
        return out.push_str(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.split_first_chunk::<2>()).flatten();
        let value = escaped.and_then(|([high, low], after)| Some((hex(*high)? << 4 | hex(*low)?, after)));
        let (byte, left) = value.unwrap_or((first, after));
        bytes.push(byte);
        rest = left;
    }
    out.push_str(&String::from_utf8_lossy(&bytes));
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
