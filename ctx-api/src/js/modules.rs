//! How `import` finds modules, and how it shares them with `require`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use rquickjs::function::IntoArgs;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::{Declarations, Declared, Exports, ModuleDef};
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Exception, Function, JsLifetime, Module, Object, Persistent, Promise, Value};

use super::compile::{self, Kind};
use super::imports::imports;
use super::program::{Program, is_built_in};
use super::{hosted, packages};
use crate::wire::ScriptError;

/// A module and the promise of its evaluation.
type Evaluated<'js> = rquickjs::Result<(Module<'js, rquickjs::module::Evaluated>, Promise<'js>)>;

/// The modules of one run.
pub(super) struct Modules {
    program: Rc<Program>,
    /// ECMAScript modules by file, however they were first reached.
    declared: RefCell<BTreeMap<String, Persistent<Held<'static>>>>,
    /// What the prelude's `core` returned.
    dispatch: RefCell<Option<Persistent<Object<'static>>>>,
}

impl Modules {
    pub(super) fn new(program: Rc<Program>) -> Rc<Self> {
        Rc::new(Self { program, declared: RefCell::default(), dispatch: RefCell::default() })
    }

    /// Makes `import` and the lazily loaded globals work in `ctx`.
    pub(super) fn install<'js>(self: &Rc<Self>, ctx: &Ctx<'js>, dispatch: &Object<'js>) -> rquickjs::Result<()> {
        *self.dispatch.borrow_mut() = Some(Persistent::save(ctx, dispatch.clone()));
        ctx.store_userdata(Handle(self.clone())).map_err(|_| rquickjs::Error::Unknown)?;
        Ok(())
    }

    /// Undoes [`install`](Self::install).
    pub(super) fn uninstall(ctx: &Ctx<'_>) {
        // It fails while somebody looks at it: nobody does between turns.
        drop(ctx.remove_userdata::<Handle>());
    }

    /// Lets go of every JavaScript value, which must happen before the runtime is freed.
    pub(super) fn clear(&self) {
        self.declared.borrow_mut().clear();
        *self.dispatch.borrow_mut() = None;
    }

    /// The canonical name of a module: its file, or its name when it is built in.
    pub(super) fn resolve(&self, ctx: &Ctx<'_>, name: &str) -> rquickjs::Result<String> {
        match self.program.resolve(name) {
            Ok(found) => Ok(found.name().to_owned()),
            Err(message) => Err(not_found(ctx, &message)),
        }
    }

    /// As [`Modules::resolve`], for what one package asks of another.
    pub(super) fn resolve_within(&self, ctx: &Ctx<'_>, name: &str) -> rquickjs::Result<String> {
        packages::find_within(self.program.packages(), name).map_err(|message| not_found(ctx, &message))
    }

    /// As [`Modules::resolve`], for an `import` of the file `importer`.
    fn resolve_import(&self, ctx: &Ctx<'_>, importer: &str, name: &str) -> rquickjs::Result<String> {
        self.resolve(ctx, name).map_err(|error| {
            let place = self.program.source(importer).and_then(|source| {
                let import = imports(source).find(|import| import.module == name)?;
                Some(located(importer, import.place(source)))
            });
            place.map_or(error, |place| throw_at(ctx, &place))
        })
    }

    /// Links and evaluates a module. What cannot be linked is placed where it is asked for.
    fn evaluate<'js>(&self, ctx: &Ctx<'js>, module: Module<'js, Declared>) -> Evaluated<'js> {
        module.eval().map_err(|error| match self.unlinked(ctx) {
            Some(place) => throw_at(ctx, &place),
            None => error,
        })
    }

    /// Where the export is asked for that the pending exception says is missing; the exception stays pending.
    fn unlinked(&self, ctx: &Ctx<'_>) -> Option<String> {
        let thrown = ctx.catch();
        let message = thrown.as_exception().and_then(Exception::message);
        ctx.throw(thrown);
        let message = message?;
        let (export, rest) = message.split_once("export '")?.1.split_once("' in module '")?;
        let module = rest.split('\'').next()?;
        let declared = self.declared.borrow();
        declared.keys().find_map(|file| {
            let source = self.program.source(file)?;
            let leads_there = |name: &str| self.program.resolve(name).is_ok_and(|found| found.name() == module);
            let import = imports(source).find(|import| import.asks_for(export) && leads_there(import.module))?;
            Some(located(file, import.place(source)))
        })
    }

    fn declare<'js>(&self, ctx: &Ctx<'js>, file: &str) -> rquickjs::Result<Module<'js, Declared>> {
        if let Some(module) = self.declared.borrow().get(file) {
            return Ok(module.clone().restore(ctx)?.0);
        }
        if !is_built_in(file) && !packages::is_package(file) {
            let unit = self.program.unit(file).map_err(|error| load_error(ctx, &error))?;
            if unit.kind == Kind::Module {
                let module = compile::load_module(ctx, &unit)?;
                self.declared.borrow_mut().insert(file.to_owned(), Persistent::save(ctx, Held(module.clone())));
                return Ok(module);
            }
        }
        Module::declare_def::<Bridged, _>(ctx.clone(), file)
    }

    /// Evaluates the entry module: `{promise, namespace}`.
    pub(super) fn start<'js>(&self, ctx: &Ctx<'js>, file: &str) -> rquickjs::Result<Object<'js>> {
        let (module, promise) = self.evaluate(ctx, self.declare(ctx, file)?)?;
        let started = Object::new(ctx.clone())?;
        started.set("promise", promise)?;
        started.set("namespace", module.namespace()?)?;
        Ok(started)
    }

    /// `require` of an ECMAScript module, which works as long as it does not await at its top level.
    pub(super) fn require<'js>(&self, ctx: &Ctx<'js>, file: &str) -> rquickjs::Result<Object<'js>> {
        let (module, promise) = self.evaluate(ctx, self.declare(ctx, file)?)?;
        match promise.state() {
            PromiseState::Resolved => module.namespace(),
            PromiseState::Rejected => {
                // Listening takes the rejection out of the unhandled ones: the error is thrown here instead.
                ignore_rejection(ctx, &promise)?;
                promise.finish::<Value<'js>>().and_then(|_| module.namespace())
            }
            PromiseState::Pending => {
                let message = format!("'{file}' awaits at its top level and cannot be required; import it");
                Err(Exception::throw_message(ctx, &message))
            }
        }
    }
}

fn not_found(ctx: &Ctx<'_>, message: &str) -> rquickjs::Error {
    match Exception::from_message(ctx.clone(), message) {
        Ok(exception) => match exception.as_object().set("code", "MODULE_NOT_FOUND") {
            Ok(()) => exception.throw(),
            Err(error) => error,
        },
        Err(error) => error,
    }
}

fn ignore_rejection<'js>(ctx: &Ctx<'js>, promise: &Promise<'js>) -> rquickjs::Result<()> {
    let ignore = hosted::function(ctx, || {})?;
    promise.catch()?.call::<_, Value<'js>>((rquickjs::function::This(promise.clone()), ignore))?;
    Ok(())
}

/// Throws an error of loading as a `SyntaxError` at its place.
pub(super) fn load_error(ctx: &Ctx<'_>, error: &ScriptError) -> rquickjs::Error {
    let message = error.message.strip_prefix("SyntaxError: ").unwrap_or(&error.message);
    let thrown = Exception::throw_syntax(ctx, message);
    error.at.as_ref().map_or(thrown, |at| throw_at(ctx, &at.to_string()))
}

/// Throws the pending exception as one of the place `at`.
fn throw_at(ctx: &Ctx<'_>, at: &str) -> rquickjs::Error {
    let exception = ctx.catch();
    if let Some(object) = exception.as_object()
        && object.set("stack", format!("    at {at}\n")).is_err()
    {
        ctx.catch();
    }
    ctx.throw(exception)
}

fn located(file: &str, (line, column): (usize, usize)) -> String {
    format!("{file}:{line}:{column}")
}

/// A module that can be kept from turn to turn.
#[derive(Clone)]
struct Held<'js>(Module<'js, Declared>);

// SAFETY: the lifetime of the module is the lifetime of the type, and nothing else in it has one.
unsafe impl<'js> JsLifetime<'js> for Held<'js> {
    type Changed<'to> = Held<'to>;
}

/// The way from a native module's definition, which has no state, to its run.
struct Handle(Rc<Modules>);

// SAFETY: the type has no lifetime of its own.
unsafe impl JsLifetime<'_> for Handle {
    type Changed<'to> = Handle;
}

/// Calls a function that the prelude's `core` or one of its parts left for the worker.
pub(super) fn dispatched<'js>(ctx: &Ctx<'js>, function: &str, args: impl IntoArgs<'js>) -> rquickjs::Result<Value<'js>> {
    let dispatch = of_run(ctx)?.dispatch.borrow().clone();
    match dispatch {
        Some(dispatch) => dispatch.restore(ctx)?.get::<_, Function<'js>>(function)?.call(args),
        None => Err(rquickjs::Error::Unknown),
    }
}

/// A built-in or classic file, seen by `import`: its exports are properties of `module.exports`.
struct Bridged;

impl ModuleDef for Bridged {
    fn declare(declarations: &Declarations<'_>) -> rquickjs::Result<()> {
        let module = declarations.module();
        let name: String = module.name()?;
        let exports = dispatched(module.ctx(), "exportsOf", (name.as_str(),))?;
        declarations.declare("default")?;
        if let Some(object) = exports.as_object() {
            for key in object.keys::<String>() {
                let key = key?;
                if key != "default" {
                    declarations.declare(key)?;
                }
            }
        }
        Ok(())
    }

    fn evaluate<'js>(ctx: &Ctx<'js>, exports: &Exports<'js>) -> rquickjs::Result<()> {
        let name: String = exports.module().name()?;
        let value = dispatched(ctx, "exportsOf", (name.as_str(),))?;
        let mut default = value.clone();
        if let Some(object) = value.as_object() {
            for key in object.keys::<String>() {
                let key = key?;
                let member: Value<'js> = object.get(key.as_str())?;
                if key != "default" {
                    // A name that appeared after the module was linked has no binding to go to.
                    if exports.export(key, member).is_err() {
                        ctx.catch();
                    }
                } else if object.get::<_, Option<bool>>("__esModule")?.unwrap_or(false) {
                    default = member;
                }
            }
        }
        exports.export("default", default)?;
        Ok(())
    }
}

/// Resolves and loads for QuickJS, whichever run the context is of.
pub(super) struct ModuleLoader;

fn of_run(ctx: &Ctx<'_>) -> rquickjs::Result<Rc<Modules>> {
    ctx.userdata::<Handle>().map(|handle| handle.0.clone()).ok_or(rquickjs::Error::Unknown)
}

impl Resolver for ModuleLoader {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        of_run(ctx)?.resolve_import(ctx, base, name)
    }
}

impl Loader for ModuleLoader {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _attributes: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        of_run(ctx)?.declare(ctx, name)
    }
}
