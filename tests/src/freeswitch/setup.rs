//! What a channel of the stand-in is set up with.

use std::collections::BTreeMap;

/// How a called party behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Answers after so many milliseconds and hangs up so many later.
    Answers { after_ms: u64, talks_ms: u64 },
    /// Ends the attempt after so many milliseconds with a cause.
    Fails { after_ms: u64, cause: String },
    /// Rings until it is given up.
    Rings,
}

/// A channel as the dialplan hands it over.
#[derive(Clone, Debug)]
pub struct Setup {
    pub uuid: String,
    pub caller: String,
    pub destination: String,
    pub is_async: bool,
    pub is_full: bool,
    pub is_json: bool,
    pub is_answered: bool,
    pub is_outbound: bool,
    pub variables: BTreeMap<String, String>,
    /// Length in milliseconds of the files there are; others are looked for on disk.
    pub files: BTreeMap<String, u64>,
    /// Called parties by a part of their address; others answer at once and talk for a second.
    pub peers: Vec<(String, Peer)>,
    /// Names of events that are lost, each once.
    pub lost: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            uuid: "ab421cb6-e5d5-422e-8c7a-69ca25007fc1".to_owned(),
            caller: "tester".to_owned(),
            destination: "4000".to_owned(),
            is_async: true,
            is_full: true,
            is_json: false,
            is_answered: false,
            is_outbound: false,
            variables: BTreeMap::new(),
            files: BTreeMap::new(),
            peers: Vec::new(),
            lost: Vec::new(),
        }
    }
}
