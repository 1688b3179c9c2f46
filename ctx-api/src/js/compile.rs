//! From source text to bytecode and back.
//!
//! A run's own context cannot compile (it has no `eval`), so sources are compiled in a throw-away runtime and evaluated from
//! bytecode. Bytecode never leaves the process: QuickJS trusts what it reads.

use std::ffi::CString;

use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::{Declared, ModuleDef};
use rquickjs::{Context, Ctx, Module, Runtime, Value, qjs};

use super::errors;
use crate::wire::{ScriptError, ScriptErrorKind};

/// How a file is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A function over `exports`, `require`, `module`, sloppy unless the file says otherwise.
    Classic,
    /// An ECMAScript module.
    Module,
}

/// One compiled file.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) kind: Kind,
    bytecode: Vec<u8>,
}

/// Name of the wrapper's parameter through which a classic file's own `main` and `onMessage` are reached.
const LOCALS: &str = "__lockstep_locals";

/// Compiles behind a module that has a function `main` and does not export it.
const HAS_OWN_MAIN: &str = ";export { main };";
/// Ends such a module: the prelude's `core` finds it by this name.
const OWN_MAIN: &str = ";export { main as __lockstep_main };";

/// Compiles a file in whichever of the two dialects it is written in.
///
/// The syntax decides: a file that is a valid function body is classic; one with `import`, `export` or top-level `await` is not, and
/// is a module. When it is neither, the error further into the file is the one its author made, unless it lies past its end, where
/// the wrapper of classic files goes on.
pub(super) fn compile(name: &str, source: &str) -> Result<Unit, ScriptError> {
    with_compiler(|ctx| {
        let classic =
            match compile_raw(ctx, name, &wrap(source), qjs::JS_EVAL_TYPE_GLOBAL, WRAPPER_LINE, qjs::JS_WRITE_OBJ_STRIP_SOURCE) {
                Ok(bytecode) => return Ok(Unit { kind: Kind::Classic, bytecode }),
                Err(()) => errors::caught(ctx, ScriptErrorKind::Load),
            };
        let as_module = |source: &str| {
            let flags = qjs::JS_EVAL_TYPE_MODULE | qjs::JS_EVAL_FLAG_STRICT;
            compile_raw(ctx, name, source, flags, 1, qjs::JS_WRITE_OBJ_STRIP_SOURCE)
        };
        match as_module(source) {
            Ok(bytecode) => {
                let ended = as_module(&format!("{source}\n{HAS_OWN_MAIN}"));
                let bytecode = ended.and_then(|_| as_module(&format!("{source}\n{OWN_MAIN}"))).unwrap_or_else(|()| {
                    ctx.catch();
                    bytecode
                });
                Ok(Unit { kind: Kind::Module, bytecode })
            }
            Err(()) => {
                let module = errors::caught(ctx, ScriptErrorKind::Load);
                let lines = u32::try_from(source.lines().count()).unwrap_or(u32::MAX);
                let place = |error: &ScriptError| error.at.as_ref().map(|at| (at.line, at.column)).filter(|at| at.0 <= lines);
                let mut error = if place(&module) >= place(&classic) { module } else { classic };
                // What is missing at the end is missed at the end of the last line, not below it.
                if let Some(at) = error.at.as_mut().filter(|at| at.line > lines) {
                    let last = source.lines().last().map_or(0, |line| line.encode_utf16().count());
                    (at.line, at.column) = (lines.max(1), u32::try_from(last + 1).unwrap_or(u32::MAX));
                }
                Err(error)
            }
        }
    })
}

/// Compiles an expression of the runtime's own, without file names and lines: it loads faster, and its frames are told by that.
pub(super) fn compile_expression(name: &str, source: &str) -> Result<Vec<u8>, ScriptError> {
    with_compiler(|ctx| {
        let flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_STRICT;
        compile_raw(ctx, name, source, flags, 1, qjs::JS_WRITE_OBJ_STRIP_DEBUG)
            .map_err(|()| errors::caught(ctx, ScriptErrorKind::Load))
    })
}

/// As [`compile_expression`], for what was written without strictness in mind: npm packages.
pub(super) fn compile_sloppy_expression(name: &str, source: &str) -> Result<Vec<u8>, ScriptError> {
    with_compiler(|ctx| {
        compile_raw(ctx, name, source, qjs::JS_EVAL_TYPE_GLOBAL, 1, qjs::JS_WRITE_OBJ_STRIP_DEBUG)
            .map_err(|()| errors::caught(ctx, ScriptErrorKind::Load))
    })
}

/// Evaluates a classic unit: the result is the wrapper function.
pub(super) fn load_classic<'js>(ctx: &Ctx<'js>, unit: &Unit) -> rquickjs::Result<Value<'js>> {
    debug_assert_eq!(unit.kind, Kind::Classic, "modules are declared, not evaluated");
    load_expression(ctx, &unit.bytecode)
}

/// Declares a module unit under the name it was compiled with.
pub(super) fn load_module<'js>(ctx: &Ctx<'js>, unit: &Unit) -> rquickjs::Result<Module<'js, Declared>> {
    debug_assert_eq!(unit.kind, Kind::Module, "classic files are evaluated, not declared");
    // SAFETY: the bytes were written by `compile_raw` in this process.
    unsafe { Module::load(ctx.clone(), &unit.bytecode) }
}

/// Evaluates what [`compile_expression`] compiled.
pub(super) fn load_expression<'js>(ctx: &Ctx<'js>, bytecode: &[u8]) -> rquickjs::Result<Value<'js>> {
    let raw = ctx.as_raw().as_ptr();
    // SAFETY: the bytes were written by `compile_raw` in this process; `JS_EvalFunction` takes over the object read.
    unsafe {
        let function = qjs::JS_ReadObject(raw, bytecode.as_ptr(), bytecode.len() as _, qjs::JS_READ_OBJ_BYTECODE as i32);
        if qjs::JS_IsException(function) {
            return Err(rquickjs::Error::Exception);
        }
        let value = qjs::JS_EvalFunction(raw, function);
        if qjs::JS_IsException(value) {
            return Err(rquickjs::Error::Exception);
        }
        Ok(Value::from_raw(ctx.clone(), value))
    }
}

fn with_compiler<T>(compile: impl FnOnce(&Ctx<'_>) -> Result<T, ScriptError>) -> Result<T, ScriptError> {
    let unavailable = |error: rquickjs::Error| ScriptError {
        sip: None,
        kind: ScriptErrorKind::Load,
        message: format!("the compiler could not be started: {error}"),
        at: None,
        stack: Vec::new(),
    };
    let runtime = Runtime::new().map_err(unavailable)?;
    runtime.set_loader(AnyModule, AnyModule);
    let context = Context::full(&runtime).map_err(unavailable)?;
    context.with(|ctx| compile(&ctx))
}

/// QuickJS looks for what a module imports while it compiles it. Whether that exists is found out by the run: here everything does.
struct AnyModule;

impl Resolver for AnyModule {
    fn resolve<'js>(
        &mut self,
        _ctx: &Ctx<'js>,
        _base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        Ok(name.to_owned())
    }
}

impl Loader for AnyModule {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        Module::declare_def::<Self, _>(ctx.clone(), name)
    }
}

impl ModuleDef for AnyModule {}

/// Number of the wrapper's line, two above the file's first one: positions in the file stay true. (0 would be taken for 1.)
const WRAPPER_LINE: i32 = -1;

fn wrap(source: &str) -> String {
    let strict = if has_strict_directive(source) { "'use strict';" } else { "" };
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let hashbang = if source.starts_with("#!") { "//" } else { "" };
    format!(
        "(function (exports, require, module, __filename, __dirname, {LOCALS}) {{{strict}\
         {LOCALS}((name) => name === 'onMessage' ? typeof onMessage === 'undefined' ? undefined : onMessage \
         : typeof main === 'undefined' ? undefined : main);\n\n{hashbang}{source}\n}})"
    )
}

/// Whether the file begins with `'use strict'`, past comments.
fn has_strict_directive(source: &str) -> bool {
    let mut rest = source.trim_start_matches('\u{feff}');
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("//").or_else(|| rest.strip_prefix("#!")) {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            return rest.starts_with("'use strict'") || rest.starts_with("\"use strict\"");
        }
    }
}

/// Compiles without evaluating. On failure the exception is pending in `ctx`.
fn compile_raw(ctx: &Ctx<'_>, name: &str, source: &str, flags: u32, first_line: i32, strip: u32) -> Result<Vec<u8>, ()> {
    // A NUL in a file name cannot come from a file system; the name is only shown.
    let file_name = CString::new(name.replace('\0', "")).map_err(|_| ())?;
    let mut text = Vec::with_capacity(source.len() + 1);
    text.extend_from_slice(source.as_bytes());
    text.push(0);
    let mut options = qjs::JSEvalOptions {
        version: qjs::JS_EVAL_OPTIONS_VERSION as i32,
        eval_flags: (flags | qjs::JS_EVAL_FLAG_COMPILE_ONLY) as i32,
        filename: file_name.as_ptr(),
        line_num: first_line,
    };
    let raw = ctx.as_raw().as_ptr();
    // SAFETY: `text` ends in a NUL that its length does not count; everything passed outlives the call; the compiled object is
    // freed once and the buffer given back to the allocator that made it.
    unsafe {
        let object = qjs::JS_Eval2(raw, text.as_ptr().cast(), source.len() as _, &raw mut options);
        if qjs::JS_IsException(object) {
            return Err(());
        }
        let mut length = 0;
        let flags = qjs::JS_WRITE_OBJ_BYTECODE | strip;
        let buffer = qjs::JS_WriteObject(raw, &raw mut length, object, flags as i32);
        if qjs::JS_VALUE_GET_TAG(object) != qjs::JS_TAG_MODULE {
            qjs::JS_FreeValue(raw, object);
        }
        if buffer.is_null() {
            return Err(());
        }
        let bytecode = std::slice::from_raw_parts(buffer, length as usize).to_vec();
        qjs::js_free(raw, buffer.cast());
        Ok(bytecode)
    }
}
