//! The digest computation itself (RFC 7616 §3.4, RFC 2617 §3.2.2).

use md5::Md5;
use sha2::{Digest, Sha256, Sha512_256};

/// A digest hash function; the order is the order of preference, weakest first (RFC 8760 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Md5,
    Sha512_256,
    Sha256,
}

impl Algorithm {
    /// The name as registered for the `algorithm` parameter.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha512_256 => "SHA-512-256",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    /// Parses an `algorithm` value; the flag says whether it is the `-sess` variant.
    pub(super) fn parse(value: &str) -> Option<(Algorithm, bool)> {
        let (name, session) = match value.len().checked_sub("-sess".len()).and_then(|at| value.split_at_checked(at)) {
            Some((name, suffix)) if suffix.eq_ignore_ascii_case("-sess") => (name, true),
            Some(_) | None => (value, false),
        };
        [Algorithm::Md5, Algorithm::Sha512_256, Algorithm::Sha256]
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
            .map(|algorithm| (algorithm, session))
    }

    fn hex_digest(self, parts: &[&[u8]]) -> String {
        fn run<D: Digest>(parts: &[&[u8]]) -> String {
            let mut hasher = D::new();
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    hasher.update(b":");
                }
                hasher.update(part);
            }
            hex(&hasher.finalize())
        }
        match self {
            Algorithm::Md5 => run::<Md5>(parts),
            Algorithm::Sha512_256 => run::<Sha512_256>(parts),
            Algorithm::Sha256 => run::<Sha256>(parts),
        }
    }
}

/// Quality of protection. `Legacy` is the RFC 2069 form without `qop`, `nc` and `cnonce`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qop {
    Legacy,
    Auth,
    AuthInt,
}

/// Everything a digest response is computed from; values are unquoted.
pub(super) struct DigestInput<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) session: bool,
    pub(super) qop: Qop,
    pub(super) username: &'a str,
    pub(super) realm: &'a str,
    pub(super) password: &'a str,
    pub(super) nonce: &'a str,
    /// Eight hexadecimal digits as they stand on the wire.
    pub(super) nc: &'a str,
    pub(super) cnonce: &'a str,
    pub(super) method: &'a str,
    pub(super) uri: &'a str,
    pub(super) body: &'a [u8],
}

impl DigestInput<'_> {
    /// The `response` value: lower-case hexadecimal.
    pub(super) fn response(&self) -> String {
        let hash = |parts: &[&[u8]]| self.algorithm.hex_digest(parts);
        let mut ha1 = hash(&[self.username.as_bytes(), self.realm.as_bytes(), self.password.as_bytes()]);
        if self.session {
            ha1 = hash(&[ha1.as_bytes(), self.nonce.as_bytes(), self.cnonce.as_bytes()]);
        }
        let ha2 = match self.qop {
            Qop::Legacy | Qop::Auth => hash(&[self.method.as_bytes(), self.uri.as_bytes()]),
            Qop::AuthInt => {
                let body = hash(&[self.body]);
                hash(&[self.method.as_bytes(), self.uri.as_bytes(), body.as_bytes()])
            }
        };
        let qop = match self.qop {
            Qop::Legacy => return hash(&[ha1.as_bytes(), self.nonce.as_bytes(), ha2.as_bytes()]),
            Qop::Auth => "auth",
            Qop::AuthInt => "auth-int",
        };
        hash(&[ha1.as_bytes(), self.nonce.as_bytes(), self.nc.as_bytes(), self.cnonce.as_bytes(), qop.as_bytes(), ha2.as_bytes()])
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;

    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7616 §3.9.1: the same request with both hash functions.
    fn rfc7616(algorithm: Algorithm) -> String {
        DigestInput {
            algorithm,
            session: false,
            qop: Qop::Auth,
            username: "Mufasa",
            realm: "http-auth@example.org",
            password: "Circle of Life",
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            nc: "00000001",
            cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        }
        .response()
    }

    #[test]
    fn matches_the_examples_of_rfc_7616() {
        assert_eq!(rfc7616(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(rfc7616(Algorithm::Sha256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    #[test]
    fn matches_the_legacy_example_of_rfc_2069_as_corrected() {
        let input = DigestInput {
            algorithm: Algorithm::Md5,
            session: false,
            qop: Qop::Legacy,
            username: "Mufasa",
            realm: "testrealm@host.com",
            password: "CircleOfLife",
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093",
            nc: "",
            cnonce: "",
            method: "GET",
            uri: "/dir/index.html",
            body: b"",
        };
        assert_eq!(input.response(), "1949323746fe6a43ef61f9606e7febea");
    }

    #[test]
    fn algorithm_names_are_read_in_any_case_and_with_the_session_suffix() {
        assert_eq!(Algorithm::parse("md5"), Some((Algorithm::Md5, false)));
        assert_eq!(Algorithm::parse("SHA-256-SESS"), Some((Algorithm::Sha256, true)));
        assert_eq!(Algorithm::parse("SHA-512-256"), Some((Algorithm::Sha512_256, false)));
        assert_eq!(Algorithm::parse("AKAv1-MD5"), None);
        assert_eq!(Algorithm::parse("é-sess"), None);
        assert_eq!(Algorithm::parse(""), None);
    }
}
