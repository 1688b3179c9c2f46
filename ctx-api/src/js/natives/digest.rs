//! Hashes, MACs and key derivation for `crypto`.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use rquickjs::{ArrayBuffer, Ctx, Exception, Object};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::js::hosted::function;

/// The longest key that is derived, in bytes.
const MAX_DERIVED: usize = 1 << 20;

/// `hash(algorithm, data)`, `hmac(algorithm, key, data)` and `pbkdf2(algorithm, password, salt, iterations, length)` → ArrayBuffer;
/// `equal(a, b)` → boolean, in a time that does not tell where they differ.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set(
        "hash",
        function(ctx, |ctx: Ctx<'js>, algorithm: String, data: ArrayBuffer<'js>| {
            let sum = Algorithm::named(&ctx, &algorithm)?.hash(bytes(&ctx, &data)?);
            ArrayBuffer::new_copy(ctx, sum)
        })?,
    )?;
    natives.set(
        "hmac",
        function(ctx, |ctx: Ctx<'js>, algorithm: String, key: ArrayBuffer<'js>, data: ArrayBuffer<'js>| {
            let sum = Algorithm::named(&ctx, &algorithm)?.hmac(bytes(&ctx, &key)?, &[bytes(&ctx, &data)?]);
            ArrayBuffer::new_copy(ctx, sum)
        })?,
    )?;
    natives.set("pbkdf2", function(ctx, pbkdf2)?)?;
    natives.set(
        "equal",
        function(ctx, |ctx: Ctx<'js>, a: ArrayBuffer<'js>, b: ArrayBuffer<'js>| {
            let (a, b) = (bytes(&ctx, &a)?, bytes(&ctx, &b)?);
            let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
            Ok::<_, rquickjs::Error>(a.len() == b.len() && std::hint::black_box(differences) == 0)
        })?,
    )?;
    Ok(natives)
}

fn pbkdf2<'js>(
    ctx: Ctx<'js>,
    algorithm: String,
    password: ArrayBuffer<'js>,
    salt: ArrayBuffer<'js>,
    iterations: u32,
    length: usize,
) -> rquickjs::Result<ArrayBuffer<'js>> {
    if iterations == 0 || length > MAX_DERIVED {
        let message = format!("pbkdf2: at least one iteration and at most {MAX_DERIVED} bytes expected");
        return Err(Exception::throw_range(&ctx, &message));
    }
    let derived = Algorithm::named(&ctx, &algorithm)?.pbkdf2(bytes(&ctx, &password)?, bytes(&ctx, &salt)?, iterations, length);
    ArrayBuffer::new_copy(ctx, derived)
}

/// The bytes of a buffer, for as long as no script code runs that could detach it.
pub(super) fn bytes<'a>(ctx: &Ctx<'_>, buffer: &'a ArrayBuffer<'_>) -> rquickjs::Result<&'a [u8]> {
    // SAFETY: read by natives that call back into no script.
    unsafe { buffer.as_bytes() }.ok_or_else(|| Exception::throw_type(ctx, "the buffer is detached"))
}

#[derive(Clone, Copy, Debug)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    fn named(ctx: &Ctx<'_>, name: &str) -> rquickjs::Result<Self> {
        Ok(match name {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            other => return Err(Exception::throw_type(ctx, &format!("unknown hash: {other}"))),
        })
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => Md5::digest(data).to_vec(),
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha384 => Sha384::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[&[u8]]) -> Vec<u8> {
        fn sum<M: Mac + KeyInit>(key: &[u8], data: &[&[u8]]) -> Vec<u8> {
            // HMAC takes keys of any length.
            let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
            data.iter().for_each(|part| mac.update(part));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Md5 => sum::<Hmac<Md5>>(key, data),
            Self::Sha1 => sum::<Hmac<Sha1>>(key, data),
            Self::Sha256 => sum::<Hmac<Sha256>>(key, data),
            Self::Sha384 => sum::<Hmac<Sha384>>(key, data),
            Self::Sha512 => sum::<Hmac<Sha512>>(key, data),
        }
    }

    /// RFC 8018 §5.2.
    fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32, length: usize) -> Vec<u8> {
        let mut derived = Vec::with_capacity(length);
        for block in 1u32.. {
            if derived.len() >= length {
                break;
            }
            let mut last = self.hmac(password, &[salt, &block.to_be_bytes()]);
            let mut sum = last.clone();
            for _ in 1..iterations {
                last = self.hmac(password, &[&last]);
                sum.iter_mut().zip(&last).for_each(|(sum, byte)| *sum ^= byte);
            }
            derived.extend_from_slice(&sum);
        }
        derived.truncate(length);
        derived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn sums_are_those_of_the_standards() {
        assert_eq!(hex(&Algorithm::Md5.hash(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&Algorithm::Sha1.hash(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        // RFC 4231, test case 2.
        assert_eq!(
            hex(&Algorithm::Sha256.hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn keys_are_derived_as_in_rfc_6070() {
        assert_eq!(hex(&Algorithm::Sha1.pbkdf2(b"password", b"salt", 2, 20)), "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957");
        let long = Algorithm::Sha1.pbkdf2(b"passwordPASSWORDpassword", b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096, 25);
        assert_eq!(hex(&long), "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038");
    }
}
