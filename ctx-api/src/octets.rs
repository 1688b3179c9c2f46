//! Bodies: octets between engine and worker; in text, where people read journals, a string where they are one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

struct Octets<'b>(&'b [u8]);

impl Serialize for Octets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_bytes(self.0);
        }
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Coded { base64: STANDARD.encode(self.0) }.serialize(serializer),
        }
    }
}

/// What is no text.
#[derive(Serialize, Deserialize)]
struct Coded {
    base64: String,
}

struct Owned(Vec<u8>);

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shown {
            Text(String),
            Coded(Coded),
        }
        if !deserializer.is_human_readable() {
            return serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Self(bytes.into_vec()));
        }
        match Shown::deserialize(deserializer)? {
            Shown::Text(text) => Ok(Self(text.into_bytes())),
            Shown::Coded(Coded { base64 }) => STANDARD.decode(base64).map(Self).map_err(serde::de::Error::custom),
        }
    }
}

pub(crate) fn serialize<S: Serializer>(octets: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    Octets(octets).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    Owned::deserialize(deserializer).map(|Owned(octets)| octets)
}

/// The same for a body that may be absent.
pub(crate) mod opt {
    use super::{Deserialize, Deserializer, Octets, Owned, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(octets: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        octets.as_deref().map(Octets).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Owned>::deserialize(deserializer)?.map(|Owned(octets)| octets))
    }
}
