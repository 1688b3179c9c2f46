//! Globals that exist once they are named: those of the prelude's parts, and those of QuickJS that most scripts never touch.

use std::cell::Cell;
use std::ffi::c_int;

use rquickjs::{Ctx, JsLifetime, Object, Value, qjs};

use super::hosted::{Classes, Hosting};
use super::modules;

/// Built-ins that are added to a context together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intrinsic {
    /// `ArrayBuffer`, the typed arrays and `DataView`.
    Binary,
    /// `Map`, `Set` and their weak kin.
    Collections,
    /// QuickJS's own `Date`, which scripts see through the prelude's.
    Date,
    Proxy,
}

impl Intrinsic {
    const ALL: [Self; 4] = [Self::Binary, Self::Collections, Self::Date, Self::Proxy];

    fn add(self, ctx: &Ctx<'_>) -> rquickjs::Result<()> {
        let raw = ctx.as_raw().as_ptr();
        // SAFETY: a live context; each is added once.
        let added = unsafe {
            match self {
                Self::Binary => qjs::JS_AddIntrinsicTypedArrays(raw),
                Self::Collections => qjs::JS_AddIntrinsicMapSet(raw),
                Self::Date => qjs::JS_AddIntrinsicDate(raw),
                Self::Proxy => qjs::JS_AddIntrinsicProxy(raw),
            }
        };
        if added < 0 {
            return Err(rquickjs::Error::Exception);
        }
        if self == Self::Binary {
            // What two runs of the same journal could see differently.
            for shared in ["SharedArrayBuffer", "Atomics"] {
                ctx.globals().remove(shared)?;
            }
        }
        Ok(())
    }
}

/// What tells whether a run has changed the global object: how many properties it has, and what it inherits from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) own: Option<u32>,
    /// The address of its prototype.
    prototype: usize,
    is_extensible: bool,
}

impl Shape {
    pub(super) fn of(ctx: &Ctx<'_>) -> Self {
        let (raw, globals) = (ctx.as_raw().as_ptr(), ctx.globals());
        // SAFETY: a live context and an object of it; only the address of the prototype is used, and the reference given up.
        let (prototype, is_extensible) = unsafe {
            let prototype = qjs::JS_GetPrototype(raw, globals.as_raw());
            let address = qjs::JS_VALUE_GET_PTR(prototype).addr();
            qjs::JS_FreeValue(raw, prototype);
            (address, qjs::JS_IsExtensible(raw, globals.as_raw()) == 1)
        };
        Self { own: own_count(ctx), prototype, is_extensible }
    }
}

/// How many properties the global object has of its own; `None` when there is no memory to count them.
fn own_count(ctx: &Ctx<'_>) -> Option<u32> {
    let (raw, globals) = (ctx.as_raw().as_ptr(), ctx.globals());
    let (mut names, mut count) = (std::ptr::null_mut(), 0);
    let which = (qjs::JS_GPN_STRING_MASK | qjs::JS_GPN_SYMBOL_MASK) as c_int;
    // SAFETY: a live context and an object of it; the names are freed as many as they are.
    unsafe {
        if qjs::JS_GetOwnPropertyNames(raw, &raw mut names, &raw mut count, globals.as_raw(), which) < 0 {
            ctx.catch();
            return None;
        }
        qjs::JS_FreePropertyEnum(raw, names, count);
    }
    Some(count)
}

/// Which of them a context has.
#[derive(Debug, Default)]
struct Added([Cell<bool>; Intrinsic::ALL.len()]);

// SAFETY: the type has no lifetime of its own.
unsafe impl JsLifetime<'_> for Added {
    type Changed<'to> = Added;
}

/// Adds the built-ins unless they are there; whether they were not.
pub(super) fn ensure(ctx: &Ctx<'_>, intrinsic: Intrinsic) -> rquickjs::Result<bool> {
    let was_there = {
        let Some(added) = ctx.userdata::<Added>() else { return Err(rquickjs::Error::Unknown) };
        added.0.get(intrinsic as usize).is_none_or(|added| added.replace(true))
    };
    if !was_there {
        intrinsic.add(ctx)?;
    }
    Ok(!was_there)
}

/// Where a global comes from.
enum Origin {
    /// A part of the prelude.
    Part(&'static str),
    Intrinsic(Intrinsic),
}

use Origin::Part;

const GLOBALS: &[(&str, Origin)] = &[
    ("AbortController", Part("abort")),
    ("AbortSignal", Part("abort")),
    ("ArrayBuffer", Origin::Intrinsic(Intrinsic::Binary)),
    ("BigInt64Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("BigUint64Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Buffer", Part("buffer")),
    ("DOMException", Part("abort")),
    ("DataView", Origin::Intrinsic(Intrinsic::Binary)),
    ("Date", Part("time")),
    ("Event", Part("abort")),
    ("EventTarget", Part("abort")),
    ("Float16Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Float32Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Float64Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Headers", Part("fetch")),
    ("Int16Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Int32Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Int8Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Map", Origin::Intrinsic(Intrinsic::Collections)),
    ("Proxy", Origin::Intrinsic(Intrinsic::Proxy)),
    ("Request", Part("fetch")),
    ("Response", Part("fetch")),
    ("Set", Origin::Intrinsic(Intrinsic::Collections)),
    ("TextDecoder", Part("text")),
    ("TextEncoder", Part("text")),
    ("URL", Part("url")),
    ("URLSearchParams", Part("url")),
    ("Uint16Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Uint32Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Uint8Array", Origin::Intrinsic(Intrinsic::Binary)),
    ("Uint8ClampedArray", Origin::Intrinsic(Intrinsic::Binary)),
    ("WeakMap", Origin::Intrinsic(Intrinsic::Collections)),
    ("WeakSet", Origin::Intrinsic(Intrinsic::Collections)),
    ("api", Part("api")),
    ("atob", Part("buffer")),
    ("btoa", Part("buffer")),
    ("clearImmediate", Part("timers")),
    ("clearInterval", Part("timers")),
    ("clearTimeout", Part("timers")),
    ("console", Part("console")),
    ("crypto", Part("crypto")),
    ("err", Part("globals")),
    ("exit", Part("globals")),
    ("fetch", Part("fetch")),
    ("getEnvVars", Part("env")),
    ("global", Part("globals")),
    ("performance", Part("time")),
    ("process", Part("globals")),
    ("setEnvVar", Part("env")),
    ("setImmediate", Part("timers")),
    ("setInterval", Part("timers")),
    ("setTimeout", Part("timers")),
    ("structuredClone", Part("clone")),
    ("vars", Part("globals")),
];

/// Puts an object between the global object and `Object.prototype` that is to have them.
pub(super) fn make_room<'js>(ctx: &Ctx<'js>, classes: Classes) -> rquickjs::Result<Object<'js>> {
    let globals = ctx.globals();
    let parent = globals.get_prototype();
    let object = classes.lazy_object(ctx, parent.as_ref())?;
    globals.set_prototype(Some(&object))?;
    Ok(object)
}

/// Gives them to the object.
pub(super) fn install(ctx: &Ctx<'_>, hosting: &Hosting, object: &Object<'_>) -> rquickjs::Result<()> {
    ctx.store_userdata(Added::default()).map_err(|_| rquickjs::Error::Unknown)?;
    // A property belongs to the global object itself once it is made.
    hosting.fill(object, false, Box::new(load));
    Ok(())
}

/// Forgets what has been added.
pub(super) fn uninstall(ctx: &Ctx<'_>) {
    // It fails while somebody looks at it: nobody does between turns.
    drop(ctx.remove_userdata::<Added>());
}

fn load<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Option<Value<'js>>> {
    let Some((_, origin)) = GLOBALS.iter().find(|(global, _)| *global == name) else { return Ok(None) };
    match origin {
        Origin::Part(part) => modules::dispatched(ctx, "global", (*part, name)).map(Some),
        Origin::Intrinsic(intrinsic) => {
            // Once they are there, a name that is not is one that the script has deleted.
            if ensure(ctx, *intrinsic)? { ctx.globals().get(name).map(Some) } else { Ok(None) }
        }
    }
}

/// QuickJS's `Date`, which no script gets to see.
pub(super) fn native_date<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    ensure(ctx, Intrinsic::Date)?;
    let globals = ctx.globals();
    let date = globals.get("Date")?;
    globals.remove("Date")?;
    Ok(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_global_of_the_prelude_has_types() {
        let types = crate::catalog::type_declarations();
        // The language's own types have `Date`.
        let own = GLOBALS.iter().filter(|(name, origin)| matches!(origin, Part(_)) && *name != "Date");
        for name in
            own.map(|(name, _)| *name).chain(["require", "module", "exports", "__filename", "__dirname", "queueMicrotask"])
        {
            let is_declared = ["var", "const", "function"].iter().any(|kind| types.contains(&format!("declare {kind} {name}")));
            assert!(is_declared, "{name}");
        }
    }
}
