//! What has been compiled, by its text, for workers that come and go within one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::compile::{self, Unit};
use crate::wire::ScriptError;

/// Texts of a kind that are kept; past it all are given up, which only costs compiling them again.
const MAX_TEXTS: usize = 1_024;

/// Compiled texts that workers share: those of a simulation live as long as one test. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Compiled(Arc<Mutex<Texts>>);

#[derive(Debug, Default)]
struct Texts {
    /// Files of scripts, by name and text.
    units: HashMap<(String, Arc<str>), Arc<Unit>>,
    /// Packages, by name and the hash of their text.
    packages: HashMap<(String, String), Arc<Vec<u8>>>,
}

impl Compiled {
    /// A script's file, compiled now or before.
    pub(super) fn unit(&self, file: &str, source: &Arc<str>) -> Result<Arc<Unit>, ScriptError> {
        let key = (file.to_owned(), Arc::clone(source));
        if let Some(known) = self.lock().units.get(&key) {
            return Ok(Arc::clone(known));
        }
        // Two that need the same at once both compile it: neither waits for the other.
        let unit = Arc::new(compile::compile(file, source)?);
        let mut texts = self.lock();
        make_room(&mut texts.units).insert(key, Arc::clone(&unit));
        Ok(unit)
    }

    /// A package, compiled now or before.
    pub(super) fn package(
        &self,
        name: &str,
        sha256: &str,
        compile: impl FnOnce() -> Result<Arc<Vec<u8>>, ScriptError>,
    ) -> Result<Arc<Vec<u8>>, ScriptError> {
        let key = (name.to_owned(), sha256.to_owned());
        if let Some(known) = self.lock().packages.get(&key) {
            return Ok(Arc::clone(known));
        }
        let package = compile()?;
        make_room(&mut self.lock().packages).insert(key, Arc::clone(&package));
        Ok(package)
    }

    fn lock(&self) -> MutexGuard<'_, Texts> {
        // Whoever panicked left whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_room<K, V>(texts: &mut HashMap<K, V>) -> &mut HashMap<K, V> {
    if texts.len() >= MAX_TEXTS {
        texts.clear();
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_of_the_same_file_is_compiled_once() {
        let compiled = Compiled::default();
        let unit = |file: &str, source: &str| compiled.unit(file, &source.into()).unwrap();
        let first = unit("a.js", "exports.a = 1");
        assert!(Arc::ptr_eq(&first, &unit("a.js", "exports.a = 1")));
        assert!(!Arc::ptr_eq(&first, &unit("b.js", "exports.a = 1")), "errors name the file");
        assert!(!Arc::ptr_eq(&first, &unit("a.js", "exports.a = 2")));
        assert!(compiled.unit("a.js", &"let = ;".into()).is_err());
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let compiled = Compiled::default();
        for number in 0..=MAX_TEXTS {
            compiled.package("p", &number.to_string(), || Ok(Arc::default())).unwrap();
        }
        assert_eq!(compiled.lock().packages.len(), 1);
    }
}
