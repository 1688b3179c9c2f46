//! Deflate, zlib and gzip for `zlib`. What is unpacked is bounded.

use std::io::{self, Read};

use flate2::Compression;
use flate2::bufread::{DeflateDecoder, DeflateEncoder, GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use rquickjs::{ArrayBuffer, Ctx, Exception, Object};

use super::digest::bytes;

use crate::js::hosted::function;

/// What a member of a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// `compress(format, data, level)` → ArrayBuffer; `decompress(format, data, limit, lenient)` → `{output}` or `{failure}`;
/// `crc32(data, start)` → number.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set(
        "compress",
        function(ctx, |ctx: Ctx<'js>, format: String, data: ArrayBuffer<'js>, level: i32| {
            let level = u32::try_from(level).map_or_else(|_| Compression::default(), |level| Compression::new(level.min(9)));
            let Some(packed) = compress(&format, bytes(&ctx, &data)?, level) else {
                return Err(Exception::throw_type(&ctx, &format!("unknown format: {format}")));
            };
            ArrayBuffer::new_copy(ctx, packed)
        })?,
    )?;
    natives.set(
        "decompress",
        function(ctx, |ctx: Ctx<'js>, format: String, data: ArrayBuffer<'js>, limit: usize, lenient: bool| {
            let answer = Object::new(ctx.clone())?;
            match decompress(&format, bytes(&ctx, &data)?, limit, lenient) {
                Ok(output) => answer.set("output", ArrayBuffer::new_copy(ctx, output)?)?,
                Err(failure) => answer.set("failure", failure.sentence())?,
            }
            Ok::<_, rquickjs::Error>(answer)
        })?,
    )?;
    natives.set(
        "crc32",
        function(ctx, |ctx: Ctx<'js>, data: ArrayBuffer<'js>, start: u32| {
            Ok::<_, rquickjs::Error>(crc32(start, bytes(&ctx, &data)?))
        })?,
    )?;
    Ok(natives)
}

/// The checksum of gzip and zip (RFC 1952 §8), going on from `start`.
fn crc32(start: u32, data: &[u8]) -> u32 {
    let mut crc = !start;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

/// `None` for an unknown format.
fn compress(format: &str, data: &[u8], level: Compression) -> Option<Vec<u8>> {
    let mut packed = Vec::new();
    let done = match format {
        "raw" => DeflateEncoder::new(data, level).read_to_end(&mut packed),
        "zlib" => ZlibEncoder::new(data, level).read_to_end(&mut packed),
        "gzip" => GzEncoder::new(data, level).read_to_end(&mut packed),
        _ => return None,
    };
    // Reading from memory does not fail.
    done.ok().map(|_| packed)
}

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    TooLarge,
    Truncated,
    Corrupt,
    UnknownFormat,
}

impl Failure {
    /// As zlib says it.
    fn sentence(&self) -> &'static str {
        match self {
            Self::TooLarge => "too large",
            Self::Truncated => "unexpected end of file",
            Self::Corrupt => "incorrect header check",
            Self::UnknownFormat => "unknown compression method",
        }
    }
}

/// Unpacks at most `limit` bytes. With `lenient`, what there is of a stream that was cut off counts.
fn decompress(format: &str, data: &[u8], limit: usize, lenient: bool) -> Result<Vec<u8>, Failure> {
    let format = match format {
        "auto" if data.starts_with(&GZIP_MAGIC) => "gzip",
        "auto" => "zlib",
        other => other,
    };
    match format {
        "raw" => read_bounded(DeflateDecoder::new(data), limit, lenient),
        "zlib" => read_bounded(ZlibDecoder::new(data), limit, lenient),
        "gzip" if !data.is_empty() && !data.starts_with(&GZIP_MAGIC) => Err(Failure::Corrupt),
        "gzip" => gunzip(data, limit, lenient),
        _ => Err(Failure::UnknownFormat),
    }
}

/// One member after another (RFC 1952, section 2.2); what follows and is none is left aside.
fn gunzip(data: &[u8], limit: usize, lenient: bool) -> Result<Vec<u8>, Failure> {
    let (mut output, mut rest) = (Vec::new(), data);
    loop {
        let mut decoder = GzDecoder::new(rest);
        output.extend(read_bounded(&mut decoder, limit - output.len(), lenient)?);
        let behind = decoder.into_inner();
        if behind.len() == rest.len() || !behind.starts_with(&GZIP_MAGIC) {
            return Ok(output);
        }
        rest = behind;
    }
}

fn read_bounded(decoder: impl Read, limit: usize, lenient: bool) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let done = decoder.take(bound).read_to_end(&mut output);
    if output.len() > limit {
        return Err(Failure::TooLarge);
    }
    match done {
        Ok(_) => Ok(output),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            if lenient {
                Ok(output)
            } else {
                Err(Failure::Truncated)
            }
        }
        Err(_) => Err(Failure::Corrupt),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let text: Vec<u8> = b"lockstep ".repeat(1_000);
        for format in ["raw", "zlib", "gzip"] {
            let packed = compress(format, &text, Compression::default()).expect("a known format");
            assert!(packed.len() < text.len() / 10, "{format}");
            assert_eq!(decompress(format, &packed, 1 << 20, false).as_deref(), Ok(&*text), "{format}");
            if format != "raw" {
                assert_eq!(decompress("auto", &packed, 1 << 20, false).as_deref(), Ok(&*text), "{format}");
            }
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let bomb = compress("raw", &vec![0; 1 << 20], Compression::best()).expect("a known format");
        assert_eq!(decompress("raw", &bomb, (1 << 20) - 1, false), Err(Failure::TooLarge));
        assert_eq!(decompress("raw", &bomb, 1 << 20, false).map(|output| output.len()), Ok(1 << 20));
    }

    #[test]
    fn broken_input_is_told_from_input_that_is_cut_off() {
        let packed =
            compress("zlib", b"some text that is longer than its header", Compression::default()).expect("a known format");
        let cut = &packed[..packed.len() - 6];
        assert_eq!(decompress("zlib", cut, 100, false), Err(Failure::Truncated));
        assert!(decompress("zlib", cut, 100, true).is_ok());
        assert_eq!(decompress("zlib", b"no zlib at all", 100, false), Err(Failure::Corrupt));
    }

    #[test]
    fn what_follows_the_members_of_a_gzip_file_is_left_aside() {
        let member = |text: &[u8]| compress("gzip", text, Compression::default()).expect("a known format");
        let two = [member(b"one "), member(b"two")].concat();
        for end in [&b""[..], b"\0\0\0", b"<html>"] {
            let file = [&two[..], end].concat();
            assert_eq!(decompress("gzip", &file, 7, false).as_deref(), Ok(&b"one two"[..]), "{end:?}");
        }
        assert_eq!(decompress("gzip", &two, 6, false), Err(Failure::TooLarge));
        for cut in [1, 8] {
            let cut = &two[..two.len() - cut];
            assert_eq!(decompress("gzip", cut, 7, false), Err(Failure::Truncated));
            assert_eq!(decompress("gzip", cut, 7, true).as_deref(), Ok(&b"one two"[..]));
        }
        assert!(decompress("gzip", &GZIP_MAGIC, 7, true).is_ok());
    }

    #[test]
    fn the_checksum_is_that_of_zip() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
    }
}
