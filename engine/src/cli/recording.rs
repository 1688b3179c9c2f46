//! Where commands get a recorded call from: a file, the store of a folder, or a running engine.

use std::path::Path;
use std::sync::Arc;

use lockstep_ctx_api::journal::{Journal, REDACTED, lines};
use lockstep_ctx_api::wire::Bundle;
use serde_json::Value;

use super::calls::encode;
use super::client::Target;
use super::out;
use crate::config::Config;
use crate::journals::{Journals, Redaction};
use crate::platform::journal_key;
use crate::provisioning::Provisioning;
use crate::store::{Clock, Place, Store};

/// The largest file that is read as a journal, in bytes: sources and packages may be in it.
const MAX_FILE: u64 = 64 << 20;

/// A recorded call.
pub(super) struct Recording {
    pub(super) journal: Journal,
    pub(super) bundle: Option<Bundle>,
    /// Set where secrets were taken out of the journal: turns are compared without them.
    pub(super) redaction: Option<Redaction>,
    /// Of a recording with its secrets, the configuration and what was put beside it over HTTP.
    pub(super) config: Option<Arc<Config>>,
}

/// Finds a journal: a file of this name, else the call of this id.
pub(super) async fn find(what: &str, dir: &Path, target: &Target) -> Result<Recording, String> {
    let path = Path::new(what);
    if path.is_file() {
        let failed = |error: std::io::Error| format!("{what}: {error}");
        let size = std::fs::metadata(path).map_err(failed)?.len();
        if size > MAX_FILE {
            return Err(format!("{what} has {size} bytes, at most {MAX_FILE} expected of a journal"));
        }
        return read(what, &std::fs::read_to_string(path).map_err(failed)?);
    }
    match in_store(what, dir).await {
        Ok(Some(recording)) => return Ok(recording),
        Ok(None) => {}
        // An engine may have what the folder does not show.
        Err(error) => out::error(format!("warning: {error}")),
    }
    let answer = target.get(&format!("/v1/calls/{}/journal?sources=true", encode(what))).await?;
    match answer {
        Value::String(text) if !text.is_empty() => read(what, &text),
        _ => Err(format!("the call {what} had no script")),
    }
}

fn read(what: &str, text: &str) -> Result<Recording, String> {
    let (journal, bundle) = lines::parse_with(text).map_err(|error| format!("{what}: {error}"))?;
    let redaction = text.contains(REDACTED).then(|| Redaction::default().for_journal(&journal, bundle.as_ref()));
    Ok(Recording { journal, bundle, redaction, config: None })
}

/// The call in the store of a folder, with everything a replay needs; `None` where there is no such store, or no such call.
async fn in_store(name: &str, dir: &Path) -> Result<Option<Recording>, String> {
    let loaded = Config::load(dir).map_err(|error| error.to_string())?;
    let Place::File(path) = Place::of(&loaded.config.store.path) else { return Ok(None) };
    let path = loaded.resolve(&path);
    if !path.is_file() {
        return Ok(None);
    }
    let store = Store::open(Place::File(path), Clock::system()).map_err(|error| error.to_string())?;
    let key = journal_key(&loaded.config, store.place()).map_err(|error| error.to_string())?;
    let journals = Journals::off(&store, key);
    let found = journals.find(name, true).await.map_err(|error| error.to_string())?;
    let Some((journal, bundle)) = found.and_then(|found| Some((found.journal?, found.bundle))) else { return Ok(None) };
    let provisioning = Provisioning::load(&loaded.config, &store).map_err(|error| error.to_string())?;
    let config = Some(Arc::clone(&provisioning.current().config));
    Ok(Some(Recording { journal, bundle, redaction: None, config }))
}
