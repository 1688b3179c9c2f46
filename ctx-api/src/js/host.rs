//! The functions the prelude calls, each made when it is first named.

use std::rc::Rc;

use rquickjs::{Array, Ctx, Exception, Function, IntoJs, Object, Value, qjs};

use super::convert::{CallArgs, Refusal};
use super::hosted::{self, Source};
use super::modules::{Modules, dispatched, load_error};
use super::prelude::Prelude;
use super::shared::{Shared, Verdict, op_id};
use super::value::{self, facts, number, text};
use super::{MAX_OPS_PER_TURN, compile, errors, json, natives, ops, packages};
use crate::catalog;
use crate::error::{ErrorCode, OpError};
use crate::op::{Op, OpClass};
use crate::well_formed;
use crate::wire::{Location, LogLevel, ScriptError, ScriptErrorKind, ScriptType};

/// Makes the properties of the object the prelude's parts get. A run uses few of its functions, and only those are made.
pub(super) fn source(shared: &Rc<Shared>, prelude: &Rc<Prelude>, modules: &Rc<Modules>) -> Source {
    let (run, prelude, modules) = (shared.clone(), prelude.clone(), modules.clone());
    Box::new(move |ctx, name| {
        if name == "operations" {
            return operations(ctx).map(|operations| Some(operations.into_value()));
        }
        if let Some(fact) = fact(ctx, &run, name)? {
            return Ok(Some(fact));
        }
        let function = match function(ctx, &run, name)? {
            Some(function) => Some(function),
            None => loading(ctx, &run, &prelude, &modules, name)?,
        };
        Ok(function.map(Function::into_value))
    })
}

/// The prototype of `ctx`: the methods of the catalogue.
fn operations<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let parent = Object::new(ctx.clone())?.get_prototype();
    hosted::lazy(
        ctx,
        parent.as_ref(),
        true,
        Box::new(|ctx, name| match catalog::find(name) {
            Some(_) => dispatched(ctx, "method", (name, catalog::is_issued(name))).map(Some),
            None => Ok(None),
        }),
    )
}

fn fact<'js>(ctx: &Ctx<'js>, run: &Shared, name: &str) -> rquickjs::Result<Option<Value<'js>>> {
    match name {
        "type" => {
            let script_type = match run.header().script_type {
                ScriptType::Script => "script",
                ScriptType::App => "app",
                ScriptType::Driver => "driver",
                ScriptType::Worker => "worker",
            };
            script_type.into_js(ctx)
        }
        "entry" => run.program.entry().into_js(ctx),
        "assigned" => run.program.assigned().into_js(ctx),
        "assignedFunctions" => run.program.assigned_functions().into_iter().collect::<Vec<_>>().into_js(ctx),
        "onlyDeclares" => run.program.only_declares_functions().into_js(ctx),
        "hasCall" => run.start().call.is_some().into_js(ctx),
        _ => return Ok(None),
    }
    .map(Some)
}

fn function<'js>(ctx: &Ctx<'js>, run: &Rc<Shared>, name: &str) -> rquickjs::Result<Option<Function<'js>>> {
    let run = run.clone();
    match name {
        "input" => hosted::function(ctx, move |ctx: Ctx<'js>| {
            let start = run.start();
            let call = start.call.as_ref().and_then(|call| Some((call, call.data_vars.as_deref()?)));
            match call {
                Some((call, vars)) => value::data_of(&ctx, call, vars).map(Object::into_value),
                None => ctx.json_parse(start.data.as_str()),
            }
        }),
        "isAwaited" => hosted::function(ctx, move || run.header().is_awaited),
        "fn" => hosted::function(ctx, move || run.header().function.clone().unwrap_or_else(|| "main".to_owned())),
        "startedAt" => hosted::function(ctx, move || number(run.began.get())),
        "hasEnded" => hosted::function(ctx, move || run.end.borrow().is_some()),
        "env" => hosted::function(ctx, move |ctx: Ctx<'js>| {
            let env = Object::new(ctx)?;
            for (name, value) in &run.header().env {
                env.set(name.as_str(), value.as_str())?;
            }
            Ok::<_, rquickjs::Error>(env)
        }),
        "now" => hosted::function(ctx, move || number(run.now.get()))?.with_name("now"),
        "random" => hosted::function(ctx, move || run.random())?.with_name("random"),
        "issue" => hosted::function(ctx, move |ctx: Ctx<'js>, operation: String, values: Array<'js>, stack: Value<'js>| {
            counted(&run, || issue(&ctx, &run, &operation, &values, &stack))
        }),
        "awaited" => hosted::function(ctx, move |key: f64| op_id(key).into_iter().for_each(|id| run.awaited(id))),
        "cancel" => hosted::function(ctx, move |key: f64| op_id(key).into_iter().for_each(|id| run.cancel(id))),
        "log" => hosted::function(ctx, move |ctx: Ctx<'js>, level: String, line: Value<'js>, stack: Value<'js>| {
            log(&ctx, &run, &level, &line, &stack)
        }),
        "finish" => hosted::function(ctx, move |ctx: Ctx<'js>, json: Value<'js>| {
            run.decide(Verdict::Finished(optional_json(&ctx, &json)?));
            Ok::<_, rquickjs::Error>(())
        }),
        "fail" => hosted::function(ctx, move |ctx: Ctx<'js>, reason: Value<'js>| {
            run.decide(Verdict::Failed(errors::describe(&ctx, &reason, ScriptErrorKind::Thrown)));
        }),
        "exit" => hosted::function(ctx, move |ctx: Ctx<'js>, json: Value<'js>| -> rquickjs::Result<()> {
            run.decide(Verdict::Finished(optional_json(&ctx, &json)?));
            run.exited.set(true);
            Err(throw_uncatchable(&ctx))
        }),
        "err" => hosted::function(ctx, move |ctx: Ctx<'js>, reason: Value<'js>| -> rquickjs::Result<()> {
            run.decide(Verdict::Failed(errors::describe(&ctx, &reason, ScriptErrorKind::Thrown)));
            run.exited.set(true);
            Err(throw_uncatchable(&ctx))
        }),
        "get" => hosted::function(ctx, move |ctx: Ctx<'js>, key: Value<'js>| {
            let key = text(&ctx, &key)?;
            Ok::<_, rquickjs::Error>(run.mirror.borrow().var(&key).map(str::to_owned))
        }),
        "header" => hosted::function(ctx, move |ctx: Ctx<'js>, name: Value<'js>| {
            let name = text(&ctx, &name)?;
            Ok::<_, rquickjs::Error>(run.mirror.borrow().header(&name).map(str::to_owned))
        }),
        "natives" => hosted::function(ctx, move |ctx: Ctx<'js>, name: String| natives::object(&ctx, &run, &name)),
        "loaded" => hosted::function(ctx, move || run.loads.set(run.loads.get().wrapping_add(1))),
        "print" => hosted::function(ctx, |ctx: Ctx<'js>, value: Value<'js>| json::print(&ctx, &value)),
        "touch" => hosted::function(ctx, |ctx: Ctx<'js>, value: Value<'js>| json::touch(&ctx, &value)),
        "facts" => hosted::function(ctx, move |ctx: Ctx<'js>| facts(&ctx, &run.mirror.borrow().facts)),
        _ => return Ok(None),
    }
    .map(Some)
}

/// How one part of the prelude gets at the rest, and at the script's files.
fn loading<'js>(
    ctx: &Ctx<'js>,
    run: &Rc<Shared>,
    prelude: &Rc<Prelude>,
    modules: &Rc<Modules>,
    name: &str,
) -> rquickjs::Result<Option<Function<'js>>> {
    let (run, modules, prelude) = (run.clone(), modules.clone(), prelude.clone());
    let program = run.program.clone();
    let unit = move |ctx: &Ctx<'js>, file: &str| run.program.unit(file).map_err(|error| load_error(ctx, &error));
    match name {
        "part" => hosted::function(ctx, move |ctx: Ctx<'js>, name: String| prelude.part(&ctx, &name)),
        "moduleSource" => hosted::function(ctx, move |ctx: Ctx<'js>, name: String| prelude.module(&ctx, &name)),
        "resolve" => hosted::function(ctx, move |ctx: Ctx<'js>, name: Value<'js>| modules.resolve(&ctx, &text(&ctx, &name)?)),
        "isBuiltIn" => hosted::function(ctx, |name: String| super::program::is_built_in(&name)),
        "isPackage" => hosted::function(ctx, |name: String| packages::is_package(&name)),
        "hasPackage" => hosted::function(ctx, move |name: String| program.packages().bundles.contains_key(&name)),
        "resolvePackage" => hosted::function(ctx, move |ctx: Ctx<'js>, name: String| modules.resolve_within(&ctx, &name)),
        "packageModule" => {
            hosted::function(ctx, move |ctx: Ctx<'js>, name: String| match packages::module_of(program.packages(), &name) {
                Some(module) => Ok(vec![module.package.clone(), module.entry.clone()]),
                None => Err(Exception::throw_reference(&ctx, &format!("no package has '{name}'"))),
            })
        }
        "loadPackage" => hosted::function(ctx, move |ctx: Ctx<'js>, name: String| {
            let compiled = program.package(&name).map_err(|error| load_error(&ctx, &error))?;
            compile::load_expression(&ctx, &compiled)
        }),
        "namesExit" => hosted::function(ctx, move |file: String| program.names_exit(&file)),
        "isModule" => hosted::function(ctx, move |ctx: Ctx<'js>, file: String| {
            Ok::<_, rquickjs::Error>(unit(&ctx, &file)?.kind == compile::Kind::Module)
        }),
        "loadClassic" => {
            hosted::function(ctx, move |ctx: Ctx<'js>, file: String| compile::load_classic(&ctx, &*unit(&ctx, &file)?))
        }
        "startModule" => hosted::function(ctx, move |ctx: Ctx<'js>, file: String| modules.start(&ctx, &file)),
        "requireModule" => hosted::function(ctx, move |ctx: Ctx<'js>, file: String| modules.require(&ctx, &file)),
        _ => return Ok(None),
    }
    .map(Some)
}

fn log<'js>(ctx: &Ctx<'js>, run: &Shared, level: &str, line: &Value<'js>, stack: &Value<'js>) -> rquickjs::Result<()> {
    let level = match level {
        "debug" => LogLevel::Debug,
        "warn" => LogLevel::Warn,
        "error" => LogLevel::Error,
        _ => LogLevel::Info,
    };
    let at = errors::call_site(&errors::stack_text(ctx, stack));
    run.log(level, text(ctx, line)?, at);
    Ok(())
}

/// Takes back what was counted of an operation that is refused. Where reading it issued another, which counts, all stays.
fn counted(run: &Shared, issue: impl FnOnce() -> rquickjs::Result<f64>) -> rquickjs::Result<f64> {
    let issued = || run.output.borrow().issued.len();
    let (asked_before, issued_before) = (run.asked_bytes.get(), issued());
    let result = issue();
    if result.is_err() && issued() == issued_before {
        run.asked_bytes.set(asked_before);
    }
    result
}

/// Converts and notes one operation; the key its promise is kept under. What is refused is thrown.
fn issue<'js>(ctx: &Ctx<'js>, run: &Shared, operation: &str, values: &Array<'js>, stack: &Value<'js>) -> rquickjs::Result<f64> {
    let at = errors::call_site(&errors::stack_text(ctx, stack));
    if run.output.borrow().issued.len() >= MAX_OPS_PER_TURN {
        let message = format!("{operation}: more than {MAX_OPS_PER_TURN} operations in one turn");
        return Err(throw(ctx, OpError::new(ErrorCode::LimitError, message)));
    }
    let args = CallArgs::new(ctx, operation, values, &run.asked_bytes)?;
    let mut op = match ops::convert(&args) {
        Ok(op) => op,
        Err(Refusal::Op(error)) => return Err(throw(ctx, error)),
        Err(Refusal::Thrown(error)) => return Err(error),
    };
    for option in args.into_unknown() {
        run.log(LogLevel::Warn, format!("ctx.{operation} has no option '{option}'"), at.clone());
    }
    if op.class() == OpClass::Host && run.header().script_type == ScriptType::Script {
        return Err(refuse_asynchronous(ctx, run, operation, &op, at));
    }
    if op.class() != OpClass::Host
        && let Some(cause) = &*run.end.borrow()
    {
        return Err(throw(ctx, OpError::after_the_end(operation, cause)));
    }
    if let Op::Set(set) = &mut op {
        let mut mirror = run.mirror.borrow_mut();
        if let Some(known) = mirror.spelling(&set.key) {
            set.key = known;
        }
        mirror.set(&set.key, set.value.as_deref()).map_err(|error| throw(ctx, error))?;
    }
    Ok(run.issue(op, at))
}

/// Ends a run of type `script` that starts what it could never hear the end of.
fn refuse_asynchronous(ctx: &Ctx<'_>, run: &Shared, operation: &str, op: &Op, at: Option<Location>) -> rquickjs::Error {
    let called = match op {
        Op::Host(call) => format!("{}.{}", call.service, call.function),
        _ => operation.to_owned(),
    };
    let message = format!("Error: a script of type 'script' is synchronous and cannot call {called}; make it type 'app'");
    run.decide(Verdict::Failed(ScriptError { sip: None, kind: ScriptErrorKind::Thrown, message, at, stack: Vec::new() }));
    run.exited.set(true);
    throw_uncatchable(ctx)
}

/// Throws what a script would see had the engine refused the operation.
pub(super) fn throw(ctx: &Ctx<'_>, error: OpError) -> rquickjs::Error {
    match error.code {
        ErrorCode::TypeError => Exception::throw_type(ctx, &error.message),
        ErrorCode::RangeError => Exception::throw_range(ctx, &error.message),
        ErrorCode::AbortError
        | ErrorCode::TimeoutError
        | ErrorCode::CallEnded
        | ErrorCode::InvalidState
        | ErrorCode::NotFound
        | ErrorCode::MediaError
        | ErrorCode::Unsupported
        | ErrorCode::NotConfigured
        | ErrorCode::NetworkError
        | ErrorCode::DatabaseError
        | ErrorCode::LimitError => exception_of(ctx, &error).map_or_else(|error| error, Exception::throw),
    }
}

fn exception_of<'js>(ctx: &Ctx<'js>, error: &OpError) -> rquickjs::Result<Exception<'js>> {
    let exception = Exception::from_message(ctx.clone(), &error.message)?;
    exception.as_object().set("name", error.code.name())?;
    if let Some(cause) = &error.cause {
        exception.as_object().set("cause", value::cause(ctx, cause)?)?;
    }
    Ok(exception)
}

/// Unwinds the script past every `catch` and `finally`.
fn throw_uncatchable(ctx: &Ctx<'_>) -> rquickjs::Error {
    let exception = match Exception::from_message(ctx.clone(), "the script has exited") {
        Ok(exception) => exception.into_object().into_value(),
        Err(error) => return error,
    };
    // SAFETY: the value is an error object of this context.
    unsafe { qjs::JS_SetUncatchableError(ctx.as_raw().as_ptr(), exception.as_raw()) };
    ctx.throw(exception)
}

/// JSON, as everybody can read it.
fn optional_json<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> rquickjs::Result<Option<String>> {
    if value.is_undefined() { Ok(None) } else { text(ctx, value).map(|json| Some(well_formed(json))) }
}
