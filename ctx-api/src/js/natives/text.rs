//! Between strings and bytes, in the encodings of `Buffer` and `TextDecoder`.

use rquickjs::{ArrayBuffer, Ctx, Exception, Object, Value};

use crate::js::hosted::function;
use crate::js::value::text;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// `encode(string, encoding)` → ArrayBuffer; `decode(buffer, offset, length, encoding)` → string, or `undefined` where the bytes are not
/// of that encoding.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set(
        "encode",
        function(ctx, |ctx: Ctx<'js>, string: Value<'js>, encoding: String| {
            let string = text(&ctx, &string)?;
            let Some(bytes) = encode(&string, &encoding) else {
                return Err(Exception::throw_type(&ctx, &format!("Unknown encoding: {encoding}")));
            };
            ArrayBuffer::new_copy(ctx, bytes)
        })?,
    )?;
    natives.set(
        "decode",
        function(ctx, |ctx: Ctx<'js>, buffer: ArrayBuffer<'js>, offset: usize, length: usize, encoding: String| {
            // SAFETY: read before any script code runs that could detach the buffer.
            let bytes = unsafe { buffer.as_bytes() }.and_then(|bytes| bytes.get(offset..)?.get(..length));
            let Some(bytes) = bytes else { return Err(Exception::throw_range(&ctx, "outside the buffer")) };
            match decode(bytes, &encoding) {
                Some(decoded) => Ok(decoded),
                None => Err(Exception::throw_type(&ctx, &format!("Unknown encoding: {encoding}"))),
            }
        })?,
    )?;
    Ok(natives)
}

/// The bytes of a string; `None` for an unknown encoding.
fn encode(string: &str, encoding: &str) -> Option<Vec<u8>> {
    Some(match encoding {
        "utf8" => string.as_bytes().to_vec(),
        "latin1" => string.encode_utf16().map(|unit| unit as u8).collect(),
        "utf16le" => string.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "hex" => hex_bytes(string),
        "base64" => base64_bytes(string),
        _ => return None,
    })
}

/// The string of some bytes. The outer `None` is an unknown encoding; the inner one, of `utf8-fatal` only, bytes that are not UTF-8.
fn decode(bytes: &[u8], encoding: &str) -> Option<Option<String>> {
    Some(Some(match encoding {
        "utf8" => String::from_utf8_lossy(bytes).into_owned(),
        "utf8-fatal" => return Some(std::str::from_utf8(bytes).ok().map(str::to_owned)),
        "latin1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
        "ascii" => bytes.iter().map(|byte| char::from(byte & 0x7f)).collect(),
        "utf16le" => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        "hex" => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        "base64" => base64_text(bytes, BASE64, true),
        "base64url" => base64_text(bytes, BASE64_URL, false),
        _ => return None,
    }))
}

/// As Node reads it: up to the first pair that is not hexadecimal.
fn hex_bytes(string: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    string.as_bytes().chunks_exact(2).map_while(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// As Node reads it: either alphabet, anything else skipped, padding not needed.
fn base64_bytes(string: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(string.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in string.bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => continue,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

fn base64_text(bytes: &[u8], alphabet: &[u8; 64], padded: bool) -> String {
    let mut string = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                string.push(char::from(alphabet[(bits >> (18 - 6 * place) & 63) as usize]));
            } else if padded {
                string.push('=');
            }
        }
    }
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_survives_the_round_trip_at_every_length() {
        for length in 0..20u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(67)).collect();
            for encoding in ["base64", "base64url", "hex", "latin1"] {
                let text = decode(&bytes, encoding).flatten().expect("a known encoding");
                let back = encode(&text, if encoding == "base64url" { "base64" } else { encoding }).expect("a known encoding");
                assert_eq!(back, bytes, "{encoding} {text}");
            }
        }
    }

    #[test]
    fn base64_is_padded_as_in_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(decode(plain.as_bytes(), "base64").flatten().as_deref(), Some(coded));
        }
    }

    #[test]
    fn broken_hex_stops_at_the_break() {
        assert_eq!(hex_bytes("00ffzz11"), [0, 255]);
        assert_eq!(hex_bytes("abc"), [0xab]);
    }
}
