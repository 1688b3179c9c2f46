//! Keys by which a telephone system that a script has set up proves that it is a customer's.
//!
//! `1.CUSTOMER.SERVER.UNIX-TIME.HMAC`: made for a script by `cxHelper`, shown to us again in `X-PBX-Security-Key`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// How long a key is good.
pub(crate) const VALID: Duration = Duration::from_secs(24 * 3_600);
/// The header that carries it.
pub(crate) const HEADER: &str = "X-PBX-Security-Key";
/// Octets of a server's name.
const MAX_SERVER: usize = 253;

/// A key for `customer` on `server`; `None` when the server's name is none.
pub(crate) fn make(secret: &str, customer: i64, server: &str, unix_s: u64) -> Option<String> {
    let is_name = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.' || c == b':';
    if server.is_empty() || server.len() > MAX_SERVER || !server.bytes().all(is_name) {
        return None;
    }
    // The name may have dots itself.
    let server = URL_SAFE_NO_PAD.encode(server);
    let what = format!("1.{customer}.{server}.{unix_s}");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), what.as_bytes());
    Some(format!("{what}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// The customer whose key this is, while it is good.
pub(crate) fn customer(secret: &str, key: &str, unix_s: u64) -> Option<i64> {
    let (what, tag) = key.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), what.as_bytes(), &tag).ok()?;
    let mut parts = what.split('.');
    let (version, customer, _server, made) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let made: u64 = made.parse().ok()?;
    let is_good = version == "1" && made <= unix_s && unix_s - made < VALID.as_secs();
    if is_good { customer.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_a_day_and_for_its_customer_only() {
        let key = make("hush", 12, "pbx.example.net", 1_000).unwrap();
        assert_eq!(customer("hush", &key, 1_000), Some(12));
        assert_eq!(customer("hush", &key, 1_000 + VALID.as_secs() - 1), Some(12));
        assert_eq!(customer("hush", &key, 1_000 + VALID.as_secs()), None);
        assert_eq!(customer("hush", &key, 999), None);
        assert_eq!(customer("other", &key, 1_000), None);
        assert_eq!(customer("hush", &key.replace("1.12.", "1.13."), 1_000), None);
    }

    #[test]
    fn nonsense_is_no_key_and_no_server() {
        for key in ["", ".", "1.12.x.5", "1.12.x.5.AAAA", "....", "é.é"] {
            assert_eq!(customer("hush", key, 10), None, "{key}");
        }
        for server in ["", "a b", "a\r\nX: y", &"a".repeat(300)] {
            assert_eq!(make("hush", 1, server, 0), None, "{server}");
        }
    }
}
