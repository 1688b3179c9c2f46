//! `[lookup.NAME]`: what `api.lookup.NAME(number)` asks.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Secret;

/// `[lookup.NAME]`: an HTTP request that answers with JSON or text, or, for `userspaceLookup`, an area of records.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupProvider {
    /// `{number}` is filled in in the URL, header values and body.
    pub url: Option<String>,
    #[serde(default = "get")]
    pub method: String,
    /// Values may be secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    pub body: Option<String>,
    /// Part of the answer that is the result, as a JSON pointer (RFC 6901); absent: all of it.
    pub result: Option<String>,
    #[serde(default = "two_seconds")]
    pub timeout_ms: u32,
    /// How long an answer is kept, in seconds; 0: it is not.
    #[serde(default = "five_minutes")]
    pub cache_s: u32,
    /// `userspaceLookup` only: the area of `cxUserspace` whose records are read.
    pub area: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

fn two_seconds() -> u32 {
    2_000
}

fn five_minutes() -> u32 {
    300
}
