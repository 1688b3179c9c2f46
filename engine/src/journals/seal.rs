//! How journals lie on disk: compressed where that pays (LZ4), then encrypted with AES-256-GCM (NIST SP 800-38D).
//!
//! ```text
//!   master key ──HKDF-SHA256 (RFC 5869), subject──► key of one journal or text
//!   sealed = form │ nonce, 12 random octets │ ciphertext │ tag, 16 octets
//! ```
//!
//! A key of its own for each subject keeps random nonces from repeating under one key, however many journals there are.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use lz4_flex::block;
use rand::Rng as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use thiserror::Error;

/// First octet of what was compressed before it was sealed.
const PACKED: u8 = 2;
/// First octet of what was sealed as it is.
const PLAIN: u8 = 3;
/// Up to this many octets compressing costs more than writing what it saves (docs/decisions/0064-short-journals.md).
const SHORT: usize = 4 << 10;
/// Octets of a master key.
const KEY_BYTES: usize = 32;
/// The most that anything sealed may unfold to, in octets: a journal is bounded at 1 MiB on the wire, a source text at 4 MiB.
const MAX_PLAIN: usize = 64 << 20;

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("expected 64 hexadecimal digits, found {0} characters that are something else")]
    Shape(usize),
    #[error("key of the journals, {}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("key of the journals, {}: expected 64 hexadecimal digits", path.display())]
    FileShape { path: PathBuf },
}

/// It was sealed with another key, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("sealed with another key, or damaged")]
pub(super) struct Unreadable;

/// The key from which every other is made. Shows nothing of itself.
#[derive(Clone)]
pub struct MasterKey(Prk);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// A key written as 64 hexadecimal digits.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        digits(text).map(|key| Self::new(&key)).ok_or(KeyError::Shape(text.chars().count()))
    }

    /// The key in a file of the data folder, which is made when it is not there; only its owner may read it.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn in_file(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File { path: path.to_owned(), error };
        if !path.try_exists().map_err(failed)? {
            make(path).map_err(failed)?;
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let key = digits(text.trim_end()).ok_or_else(|| KeyError::FileShape { path: path.to_owned() })?;
        Ok(Self::new(&key))
    }

    /// A key that is gone with the process.
    pub fn passing() -> Self {
        Self::new(&random())
    }

    fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(Salt::new(HKDF_SHA256, b"lockstep journals").extract(key))
    }

    fn key_of(&self, subject: &str) -> Option<LessSafeKey> {
        let info = [subject.as_bytes()];
        let key = self.0.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }

    /// Seals `plain` so that it opens as this part of this subject and as nothing else.
    pub(super) fn seal(&self, subject: &str, part: u32, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let (form, mut body) = if plain.len() > SHORT { (PACKED, packed(plain)) } else { (PLAIN, plain.to_vec()) };
        let tag = self.key_of(subject).and_then(|key| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            key.seal_in_place_separate_tag(nonce, Aad::from(part.to_be_bytes()), &mut body).ok()
        });
        // Only lengths of more than 64 GiB are refused.
        let tag = tag.map(|tag| tag.as_ref().to_vec()).unwrap_or_default();
        [&[form][..], &nonce, &body, &tag].concat()
    }

    /// What [`seal`](Self::seal) was given.
    pub(super) fn open(&self, subject: &str, part: u32, sealed: &[u8]) -> Result<Vec<u8>, Unreadable> {
        let (&form, rest) = sealed.split_first().filter(|(form, _)| matches!(**form, PACKED | PLAIN)).ok_or(Unreadable)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Unreadable)?;
        let key = self.key_of(subject).ok_or(Unreadable)?;
        let mut body = body.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.open_in_place(nonce, Aad::from(part.to_be_bytes()), &mut body).map_err(|_| Unreadable)?;
        if form == PLAIN { Ok(plain.to_vec()) } else { unpacked(plain) }
    }
}

fn packed(plain: &[u8]) -> Vec<u8> {
    block::compress_prepend_size(plain)
}

fn unpacked(packed: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let (size, block) = block::uncompressed_size(packed).map_err(|_| Unreadable)?;
    if size > MAX_PLAIN {
        return Err(Unreadable);
    }
    block::decompress(block, size).map_err(|_| Unreadable)
}

fn random() -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    key
}

/// Puts a new key into a file, whole or not at all; one that another engine has made meanwhile stays.
fn make(path: &Path) -> std::io::Result<()> {
    make_by(path, |draft, path| fs::hard_link(draft, path))
}

fn make_by(path: &Path, link: impl FnOnce(&Path, &Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let key = hex(&random());
    let write = |mut file: fs::File| {
        writeln!(file, "{key}")?;
        file.sync_all()
    };
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).and_then(write);
    let linked = written.and_then(|()| match link(&draft, path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            // There are no links on this file system.
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(write)
        }
        linked => linked,
    });
    // Whether or not it has become the key, the draft is not needed any more.
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn digits(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (octet, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

/// Lowercase hexadecimal.
pub(super) fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_sealed_opens_as_what_it_was_and_with_its_key_only() {
        let (key, other) = (MasterKey::passing(), MasterKey::passing());
        let sealed = key.seal("journal a", 3, b"hush hush hush");
        assert_eq!(key.open("journal a", 3, &sealed).unwrap(), b"hush hush hush");
        assert!(!sealed.windows(4).any(|part| part == b"hush"));
        assert_ne!(sealed, key.seal("journal a", 3, b"hush hush hush"), "no two are alike");
        for wrong in [
            other.open("journal a", 3, &sealed),
            key.open("journal b", 3, &sealed),
            key.open("journal a", 4, &sealed),
            key.open("journal a", 3, &sealed[..sealed.len() - 1]),
            key.open("journal a", 3, &[]),
            key.open("journal a", 3, &[1, 2, 3]),
            key.open("journal a", 3, &[&[1], &sealed[1..]].concat()),
        ] {
            assert_eq!(wrong, Err(Unreadable));
        }
        let mut damaged = sealed;
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(key.open("journal a", 3, &damaged), Err(Unreadable));
    }

    #[test]
    fn a_key_is_made_where_there_are_no_links() {
        let folder = std::env::temp_dir().join(format!("lockstep-key-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("s.db.key");
        let without = |_: &Path, _: &Path| Err(std::io::Error::from(std::io::ErrorKind::Unsupported));
        make_by(&path, without).unwrap();
        let made = fs::read_to_string(&path).unwrap();
        assert!(digits(made.trim_end()).is_some(), "{made}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        make_by(&path, without).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), made, "one that is there stays");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn long_texts_are_compressed_and_short_ones_are_not() {
        let key = MasterKey::passing();
        for (length, form) in [(SHORT, PLAIN), (SHORT + 1, PACKED)] {
            let text = b"hush ".iter().copied().cycle().take(length).collect::<Vec<_>>();
            let sealed = key.seal("journal a", 0, &text);
            assert_eq!(sealed.first(), Some(&form));
            assert_eq!(sealed.len() < length, form == PACKED);
            assert_eq!(key.open("journal a", 0, &sealed).unwrap(), text);
        }
    }

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = std::env::temp_dir().join(format!("lockstep-journal-key-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("lockstep.db.key");
        let sealed = MasterKey::in_file(&path).unwrap().seal("x", 0, b"1");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(MasterKey::in_file(&path).unwrap().open("x", 0, &sealed).unwrap(), b"1");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no draft is left");
        fs::write(&path, "").unwrap();
        assert!(MasterKey::in_file(&path).unwrap_err().to_string().contains("64 hexadecimal digits"));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_is_64_hexadecimal_digits() {
        assert!(MasterKey::parse(&"0aF9".repeat(16)).is_ok());
        for text in ["", "0a", &"0g".repeat(32), &"é".repeat(32)] {
            assert!(MasterKey::parse(text).is_err(), "{text}");
        }
    }
}
