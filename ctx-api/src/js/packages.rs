//! npm packages of a worker: each text is compiled once, whichever programs carry it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::compile;
use super::compiled::Compiled;
use crate::packages::{NODE, PackageModule, Packages};
use crate::wire::ScriptError;

/// How the name of a package's module begins once it is resolved. No script's file can be called that.
const PREFIX: &str = "npm:";
/// Texts whose bytecode is kept; past it the one with the least hash goes, which only costs compiling it again.
const MAX_COMPILED: usize = 64;

/// Bytecode of packages, by the hash of their text.
#[derive(Debug, Default)]
pub(super) struct CompiledPackages(RefCell<BTreeMap<String, Arc<Vec<u8>>>>);

impl CompiledPackages {
    /// The compiled text of `package`: an expression that is a function.
    pub(super) fn get(&self, packages: &Packages, package: &str, shared: Option<&Compiled>) -> Result<Arc<Vec<u8>>, ScriptError> {
        let Some(bundle) = packages.bundles.get(package) else {
            return Err(super::program::not_found(format!("the package '{package}' was not sent along")));
        };
        if let Some(compiled) = self.0.borrow().get(&bundle.sha256) {
            return Ok(compiled.clone());
        }
        let compile = || {
            let source = format!("(function (exports, require, module, process, global) {{\n{}\n}})", bundle.source);
            compile::compile_sloppy_expression(&resolved(package), &source).map(Arc::new)
        };
        let compiled = match shared {
            Some(shared) => shared.package(package, &bundle.sha256, compile)?,
            None => compile()?,
        };
        let mut all = self.0.borrow_mut();
        if all.len() >= MAX_COMPILED {
            all.pop_first();
        }
        all.insert(bundle.sha256.clone(), compiled.clone());
        Ok(compiled)
    }
}

/// The name under which a run knows a module of a package.
pub(super) fn resolved(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// Whether a resolved name is that of a package's module.
pub(super) fn is_package(resolved: &str) -> bool {
    resolved.starts_with(PREFIX)
}

/// Where the module of a resolved name is.
pub(super) fn module_of<'a>(packages: &'a Packages, resolved: &str) -> Option<&'a PackageModule> {
    packages.modules.get(resolved.strip_prefix(PREFIX)?)
}

/// Finds what a script names. `None` when no package has to do with the name; the error is the sentence the script's author reads.
pub(super) fn find(packages: &Packages, name: &str) -> Option<Result<String, String>> {
    if let Some((known, module)) = packages.find(name).filter(|(_, module)| module.public) {
        if packages.bundles.contains_key(&module.package) {
            return Some(Ok(resolved(known)));
        }
        return Some(Err(format!(
            "Cannot find module '{name}': packages are found by the names that stand as strings in require('…') or import"
        )));
    }
    let reason = packages.absent.get(name).or_else(|| packages.absent.get(&format!("{NODE}:{name}")));
    reason.map(|reason| Err(format!("Cannot find module '{name}': {reason}")))
}

/// Finds what one package asks of another, or of Node.
pub(super) fn find_within(packages: &Packages, name: &str) -> Result<String, String> {
    match packages.find(name).filter(|(_, module)| packages.bundles.contains_key(&module.package)) {
        Some((known, _)) => Ok(resolved(known)),
        None => Err(format!("Cannot find module '{name}'")),
    }
}
