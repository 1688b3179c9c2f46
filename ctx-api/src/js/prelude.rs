//! The JavaScript part of the runtime, compiled once per worker.
//!
//! `core` is evaluated for every run and must stay small; everything else is loaded when a script first touches the global or
//! module it belongs to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use rquickjs::{Ctx, Function};

use super::compile;
use crate::wire::ScriptError;

macro_rules! parts {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("prelude/", $name, ".js")))),*]
    };
}

const CORE: &str = include_str!("prelude/core.js");

/// Every other part: an expression that is a function.
const PARTS: &[(&str, &str)] = parts!["abort" "api" "arguments" "buffer" "call" "clone" "console" "crypto" "ctx" "env" "failures" "fetch" "globals" "inspect" "locale" "ops" "packages" "served" "test/expect" "test/phones" "test/steps" "test/suite" "test/surroundings" "text" "time" "timers" "url" "warm"];

macro_rules! modules {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("prelude/modules/", $name, ".js")))),*]
    };
}

/// Every module a script can name, in order: an expression that is a function of `host(service, function, args, body, options)`,
/// which calls a service of the engine, and of what the parts share; it returns the module's exports.
const MODULES: &[(&str, &str)] = modules![
    "cxCallControl"
    "cxHelper"
    "cxJob"
    "cxKV"
    "cxOriginate"
    "cxPubSub"
    "cxRest"
    "cxSend"
    "cxUserspace"
    "cxWebSocket"
];

/// The module that only test files can name.
pub(super) const TEST_MODULE: &str = "lockstep:test";
const TESTS: &[(&str, &str)] = &[(TEST_MODULE, include_str!("prelude/modules/lockstep-test.js"))];

/// Names of the modules.
pub(super) fn module_names() -> impl Iterator<Item = &'static str> {
    MODULES.iter().chain(TESTS).map(|(name, _)| *name)
}

/// Bytecode of the prelude's parts and modules.
pub(super) struct Prelude {
    core: Arc<Vec<u8>>,
    lazy: RefCell<BTreeMap<&'static str, Arc<Vec<u8>>>>,
}

impl Prelude {
    pub(super) fn new() -> Result<Rc<Self>, ScriptError> {
        Ok(Rc::new(Self { core: compile_part("core", CORE)?, lazy: RefCell::default() }))
    }

    pub(super) fn core<'js>(&self, ctx: &Ctx<'js>) -> rquickjs::Result<Function<'js>> {
        compile::load_expression(ctx, &self.core)?.get()
    }

    /// Evaluates a lazily loaded part.
    pub(super) fn part<'js>(&self, ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
        self.evaluate(ctx, PARTS, name)
    }

    /// Evaluates a module.
    pub(super) fn module<'js>(&self, ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
        self.evaluate(ctx, if name == TEST_MODULE { TESTS } else { MODULES }, name)
    }

    fn evaluate<'js>(
        &self,
        ctx: &Ctx<'js>,
        sources: &[(&'static str, &'static str)],
        name: &str,
    ) -> rquickjs::Result<Function<'js>> {
        let Some((name, source)) = sources.iter().copied().find(|(part, _)| *part == name) else {
            return Err(rquickjs::Exception::throw_reference(ctx, &format!("the runtime has no part '{name}'")));
        };
        let cached = self.lazy.borrow().get(name).cloned();
        let bytecode = match cached {
            Some(bytecode) => bytecode,
            None => {
                let bytecode =
                    compile_part(name, source).map_err(|error| rquickjs::Exception::throw_message(ctx, &error.message))?;
                self.lazy.borrow_mut().entry(name).or_insert(bytecode).clone()
            }
        };
        compile::load_expression(ctx, &bytecode)?.get()
    }
}

/// Bytecode that this process has compiled, by text: workers of a simulation come and go by the thousand.
static COMPILED: Mutex<BTreeMap<&'static str, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());

fn compile_part(name: &str, source: &'static str) -> Result<Arc<Vec<u8>>, ScriptError> {
    let compiled = || COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = compiled().get(source) {
        return Ok(Arc::clone(known));
    }
    let bytecode = Arc::new(compile::compile_expression(&format!("lockstep:{name}"), source)?);
    compiled().insert(source, Arc::clone(&bytecode));
    Ok(bytecode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_has_types() {
        let types = crate::catalog::type_declarations();
        for name in module_names() {
            assert!(types.contains(&format!("declare module '{name}'")), "{name}");
        }
    }

    #[test]
    fn every_part_and_module_compiles() {
        for (name, source) in PARTS.iter().chain(MODULES).chain(TESTS).chain(&[("core", CORE)]) {
            compile_part(name, source).unwrap_or_else(|error| panic!("{name}: {error} at {:?}", error.at));
        }
    }
}
