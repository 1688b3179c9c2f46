//! The functions the prelude calls.

use std::rc::Rc;

use rquickjs::{Array, Ctx, Exception, Function, Object, Value, qjs};

use super::convert::{CallArgs, Refusal};
use super::modules::{Modules, load_error};
use super::prelude::Prelude;
use super::shared::{Shared, Verdict, op_id};
use super::value::{facts, number, text};
use super::{MAX_OPS_PER_TURN, compile, errors, natives, ops};
use crate::catalog;
use crate::error::{ErrorCode, OpError};
use crate::op::{Op, OpClass};
use crate::wire::{LogLevel, ScriptErrorKind, ScriptType};

/// Builds the object the prelude's `core` gets.
pub(super) fn object<'js>(
    ctx: &Ctx<'js>,
    shared: &Rc<Shared>,
    prelude: &Rc<Prelude>,
    modules: &Rc<Modules>,
) -> rquickjs::Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    run_facts(ctx, &host, shared)?;
    clock_and_chance(ctx, &host, shared)?;
    operations(ctx, &host, shared)?;
    verdicts(ctx, &host, shared)?;
    mirror(ctx, &host, shared)?;
    loading(ctx, &host, shared, prelude, modules)?;
    Ok(host)
}

fn run_facts<'js>(ctx: &Ctx<'js>, host: &Object<'js>, shared: &Rc<Shared>) -> rquickjs::Result<()> {
    host.set(
        "type",
        match shared.header.script_type {
            ScriptType::Script => "script",
            ScriptType::App => "app",
            ScriptType::Driver => "driver",
            ScriptType::Worker => "worker",
        },
    )?;
    host.set("entry", shared.program.entry())?;
    host.set("fn", shared.header.function.as_deref().unwrap_or("main"))?;
    host.set("hasCall", shared.start.call.is_some())?;
    host.set("startedAt", number(shared.start.at))?;
    host.set("isOperation", Function::new(ctx.clone(), |name: String| catalog::is_issued(&name))?)?;
    let run = shared.clone();
    host.set("input", Function::new(ctx.clone(), move |ctx: Ctx<'js>| ctx.json_parse(run.start.data.as_str()))?)?;
    let run = shared.clone();
    host.set(
        "env",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>| {
            let env = Object::new(ctx)?;
            for (name, value) in &run.header.env {
                env.set(name.as_str(), value.as_str())?;
            }
            Ok::<_, rquickjs::Error>(env)
        })?,
    )
}

fn clock_and_chance<'js>(ctx: &Ctx<'js>, host: &Object<'js>, shared: &Rc<Shared>) -> rquickjs::Result<()> {
    let run = shared.clone();
    host.set("now", Function::new(ctx.clone(), move || number(run.now.get()))?.with_name("now")?)?;
    let run = shared.clone();
    host.set("random", Function::new(ctx.clone(), move || run.random())?.with_name("random")?)
}

fn operations<'js>(ctx: &Ctx<'js>, host: &Object<'js>, shared: &Rc<Shared>) -> rquickjs::Result<()> {
    let run = shared.clone();
    let issue = move |ctx: Ctx<'js>, operation: String, values: Array<'js>, stack: Value<'js>| {
        issue(&ctx, &run, &operation, &values, &stack)
    };
    host.set("issue", Function::new(ctx.clone(), issue)?)?;
    let run = shared.clone();
    host.set(
        "awaited",
        Function::new(ctx.clone(), move |key: f64| {
            if let Some(id) = op_id(key) {
                run.awaited(id);
            }
        })?,
    )?;
    let run = shared.clone();
    host.set(
        "cancel",
        Function::new(ctx.clone(), move |key: f64| {
            if let Some(id) = op_id(key) {
                run.cancel(id);
            }
        })?,
    )?;
    let run = shared.clone();
    let log = move |ctx: Ctx<'js>, level: String, line: Value<'js>, stack: Value<'js>| -> rquickjs::Result<()> {
        let level = match level.as_str() {
            "debug" => LogLevel::Debug,
            "warn" => LogLevel::Warn,
            "error" => LogLevel::Error,
            _ => LogLevel::Info,
        };
        let line = text(&ctx, &line)?;
        let at = errors::call_site(&errors::stack_text(&ctx, &stack));
        run.log(level, line, at);
        Ok(())
    };
    host.set("log", Function::new(ctx.clone(), log)?)
}

/// Converts and notes one operation; the key its promise is kept under. What is refused is thrown.
fn issue<'js>(ctx: &Ctx<'js>, run: &Shared, operation: &str, values: &Array<'js>, stack: &Value<'js>) -> rquickjs::Result<f64> {
    let at = errors::call_site(&errors::stack_text(ctx, stack));
    if run.output.borrow().issued.len() >= MAX_OPS_PER_TURN {
        let message = format!("{operation}: more than {MAX_OPS_PER_TURN} operations in one turn");
        return Err(throw(ctx, OpError::new(ErrorCode::LimitError, message)));
    }
    let args = CallArgs::new(ctx, operation, values)?;
    let op = match ops::convert(&args) {
        Ok(op) => op,
        Err(Refusal::Op(error)) => return Err(throw(ctx, error)),
        Err(Refusal::Thrown(error)) => return Err(error),
    };
    for option in args.into_unknown() {
        run.log(LogLevel::Warn, format!("ctx.{operation} has no option '{option}'"), at.clone());
    }
    if run.ended.get() && op.class() != OpClass::Host {
        return Err(throw(ctx, OpError::invalid_state(operation, "ended")));
    }
    if let Op::Set(set) = &op {
        let mut mirror = run.mirror.borrow_mut();
        match &set.value {
            Some(value) => mirror.vars.insert(set.key.clone(), value.clone()),
            None => mirror.vars.remove(&set.key),
        };
    }
    Ok(run.issue(op, at))
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
        | ErrorCode::LimitError => match Exception::from_message(ctx.clone(), &error.message) {
            Ok(exception) => match exception.as_object().set("name", error.code.name()) {
                Ok(()) => exception.throw(),
                Err(error) => error,
            },
            Err(error) => error,
        },
    }
}

fn verdicts<'js>(ctx: &Ctx<'js>, host: &Object<'js>, shared: &Rc<Shared>) -> rquickjs::Result<()> {
    let run = shared.clone();
    host.set(
        "finish",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, json: Value<'js>| {
            run.decide(Verdict::Finished(optional_text(&ctx, &json)?));
            Ok::<_, rquickjs::Error>(())
        })?,
    )?;
    let run = shared.clone();
    host.set(
        "fail",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, reason: Value<'js>| {
            run.decide(Verdict::Failed(errors::describe(&ctx, &reason, ScriptErrorKind::Thrown)));
        })?,
    )?;
    let run = shared.clone();
    host.set(
        "exit",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, json: Value<'js>| -> rquickjs::Result<()> {
            run.decide(Verdict::Finished(optional_text(&ctx, &json)?));
            run.exited.set(true);
            Err(throw_uncatchable(&ctx))
        })?,
    )?;
    let run = shared.clone();
    host.set(
        "err",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, reason: Value<'js>| -> rquickjs::Result<()> {
            run.decide(Verdict::Failed(errors::describe(&ctx, &reason, ScriptErrorKind::Thrown)));
            run.exited.set(true);
            Err(throw_uncatchable(&ctx))
        })?,
    )
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

fn mirror<'js>(ctx: &Ctx<'js>, host: &Object<'js>, shared: &Rc<Shared>) -> rquickjs::Result<()> {
    let run = shared.clone();
    host.set(
        "get",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, key: Value<'js>| {
            let key = text(&ctx, &key)?;
            Ok::<_, rquickjs::Error>(run.mirror.borrow().var(&key).map(str::to_owned))
        })?,
    )?;
    let run = shared.clone();
    host.set(
        "header",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, name: Value<'js>| {
            let name = text(&ctx, &name)?;
            Ok::<_, rquickjs::Error>(run.mirror.borrow().header(&name).map(str::to_owned))
        })?,
    )?;
    let run = shared.clone();
    host.set("facts", Function::new(ctx.clone(), move |ctx: Ctx<'js>| facts(&ctx, &run.mirror.borrow().facts))?)
}

fn loading<'js>(
    ctx: &Ctx<'js>,
    host: &Object<'js>,
    shared: &Rc<Shared>,
    prelude: &Rc<Prelude>,
    modules: &Rc<Modules>,
) -> rquickjs::Result<()> {
    let parts = prelude.clone();
    host.set("part", Function::new(ctx.clone(), move |ctx: Ctx<'js>, name: String| parts.part(&ctx, &name))?)?;
    let run = shared.clone();
    host.set("natives", Function::new(ctx.clone(), move |ctx: Ctx<'js>, name: String| natives::object(&ctx, &run, &name))?)?;
    let table = modules.clone();
    host.set(
        "resolve",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, name: Value<'js>| {
            let name = text(&ctx, &name)?;
            table.resolve(&ctx, &name)
        })?,
    )?;
    host.set("isBuiltIn", Function::new(ctx.clone(), |name: String| super::program::is_built_in(&name))?)?;
    let run = shared.clone();
    host.set(
        "isModule",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, file: String| {
            let unit = run.program.unit(&file).map_err(|error| load_error(&ctx, &error))?;
            Ok::<_, rquickjs::Error>(unit.kind == compile::Kind::Module)
        })?,
    )?;
    let run = shared.clone();
    host.set(
        "loadClassic",
        Function::new(ctx.clone(), move |ctx: Ctx<'js>, file: String| {
            let unit = run.program.unit(&file).map_err(|error| load_error(&ctx, &error))?;
            compile::load_classic(&ctx, &unit)
        })?,
    )?;
    let table = modules.clone();
    host.set("startModule", Function::new(ctx.clone(), move |ctx: Ctx<'js>, file: String| table.start(&ctx, &file))?)?;
    let table = modules.clone();
    host.set("requireModule", Function::new(ctx.clone(), move |ctx: Ctx<'js>, file: String| table.require(&ctx, &file))?)
}

fn optional_text<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> rquickjs::Result<Option<String>> {
    if value.is_undefined() { Ok(None) } else { text(ctx, value).map(Some) }
}
