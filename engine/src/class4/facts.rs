//! What is known of a call before it is routed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A call that is to be routed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// Call-ID of the incoming leg.
    pub callid: String,
    /// Our own id of the call.
    pub call: String,
    /// Host name or address the call came in at.
    pub server: String,
    pub customer: Option<i64>,
    /// Whose call it is where it has neither customer nor DID; absent: nobody's.
    pub account: Option<String>,
    /// The DID it came in by; scripts of routes do not run then.
    pub did: Option<String>,
    /// Caller id.
    pub cli: String,
    /// The number that was dialled.
    pub dialled: String,
    /// The only gateway that may be tried.
    pub gateway: Option<i64>,
    /// User part of the request URI and of From, as they came.
    pub request_user: String,
    pub from_user: String,
    pub user_agent: Option<String>,
    pub source_ip: String,
    pub source_port: u16,
    /// `udp`, `tcp`, ….
    pub proto: String,
    /// The Identity header (RFC 8224).
    pub identity: Option<String>,
    /// What has passed since the call came in, ms.
    pub waited_ms: f64,
}

/// What an Identity header claims (RFC 8225, RFC 8588): not verified here.
pub(super) fn stir_shaken(identity: &str) -> Option<Value> {
    let token = identity.split(';').next()?.trim();
    let mut parts = token.split('.');
    let (header, payload) = (parts.next()?, parts.next()?);
    let read = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let payload = read(payload)?;
    let certificate = read(header).and_then(|header| header.get("x5u").cloned());
    Some(json!({ "attest": payload.get("attest"), "origid": payload.get("origid"), "cert_id": certificate }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_and_nonsense_is_none() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(json!({ "alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": "https://cert.example/1" }));
        let payload = part(json!({ "attest": "A", "origid": "u-1", "iat": 1 }));
        let read = stir_shaken(&format!("{header}.{payload}.c2ln;info=<https://cert.example/1>;alg=ES256;ppt=shaken"));
        assert_eq!(read, Some(json!({ "attest": "A", "origid": "u-1", "cert_id": "https://cert.example/1" })));
        for nonsense in ["", "a.b.c", "..", "é.é.é", "e30"] {
            assert_eq!(stir_shaken(nonsense), None, "{nonsense}");
        }
    }
}
