//! Globals that exist once they are named.
//!
//! Thirty getters on the global object would cost every run more than most runs ever use. One exotic object in the global
//! object's prototype chain costs nothing until a name is looked up that the global object lacks.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;

use rquickjs::{Ctx, Value, qjs};

use super::modules;

/// Each global with the part of the prelude it comes from.
const GLOBALS: &[(&CStr, &str)] = &[
    (c"AbortController", "abort"),
    (c"AbortSignal", "abort"),
    (c"Buffer", "buffer"),
    (c"DOMException", "abort"),
    (c"Date", "time"),
    (c"Event", "abort"),
    (c"EventTarget", "abort"),
    (c"Headers", "fetch"),
    (c"Request", "fetch"),
    (c"Response", "fetch"),
    (c"TextDecoder", "text"),
    (c"TextEncoder", "text"),
    (c"URL", "url"),
    (c"URLSearchParams", "url"),
    (c"atob", "buffer"),
    (c"btoa", "buffer"),
    (c"clearImmediate", "timers"),
    (c"clearInterval", "timers"),
    (c"clearTimeout", "timers"),
    (c"console", "console"),
    (c"crypto", "crypto"),
    (c"err", "globals"),
    (c"exit", "globals"),
    (c"fetch", "fetch"),
    (c"global", "globals"),
    (c"performance", "time"),
    (c"process", "globals"),
    (c"setImmediate", "timers"),
    (c"setInterval", "timers"),
    (c"setTimeout", "timers"),
    (c"structuredClone", "clone"),
    (c"vars", "globals"),
];

static EXOTIC: qjs::JSClassExoticMethods = qjs::JSClassExoticMethods {
    get_own_property: Some(get_own_property),
    get_own_property_names: None,
    delete_property: None,
    define_own_property: None,
    has_property: None,
    get_property: None,
    set_property: None,
};

/// Puts the exotic object between the global object and `Object.prototype`.
pub(super) fn install(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    let raw = ctx.as_raw().as_ptr();
    // SAFETY: `EXOTIC` is static and QuickJS only reads it; every value made here is owned by the object graph or freed.
    unsafe {
        let runtime = qjs::JS_GetRuntime(raw);
        let mut class = 0;
        qjs::JS_NewClassID(runtime, &raw mut class);
        let definition = qjs::JSClassDef {
            class_name: c"Globals".as_ptr(),
            finalizer: None,
            gc_mark: None,
            call: None,
            exotic: (&raw const EXOTIC).cast_mut(),
        };
        if qjs::JS_NewClass(runtime, class, &raw const definition) < 0 {
            return Err(rquickjs::Error::Allocation);
        }
        let global = qjs::JS_GetGlobalObject(raw);
        let parent = qjs::JS_GetPrototype(raw, global);
        let object = qjs::JS_NewObjectProtoClass(raw, parent, class);
        qjs::JS_FreeValue(raw, parent);
        let set = if qjs::JS_IsException(object) { -1 } else { qjs::JS_SetPrototype(raw, global, object) };
        qjs::JS_FreeValue(raw, object);
        qjs::JS_FreeValue(raw, global);
        if set < 0 { Err(rquickjs::Error::Exception) } else { Ok(()) }
    }
}

/// Loads the global if it is one; 0 for any other name.
unsafe extern "C" fn get_own_property(
    raw: *mut qjs::JSContext,
    descriptor: *mut qjs::JSPropertyDescriptor,
    _object: qjs::JSValue,
    name: qjs::JSAtom,
) -> c_int {
    // SAFETY: QuickJS calls with a live context and an atom of it; the string lives until it is freed below.
    let found = unsafe {
        let text = qjs::JS_AtomToCStringLen(raw, std::ptr::null_mut(), name);
        if text.is_null() {
            return -1;
        }
        let found = GLOBALS.iter().find(|(global, _)| *global == CStr::from_ptr(text));
        qjs::JS_FreeCString(raw, text);
        found
    };
    let Some((global, part)) = found else { return 0 };
    let Some(raw) = NonNull::new(raw) else { return 0 };
    // SAFETY: the context outlives this call.
    let ctx = unsafe { Ctx::from_raw(raw) };
    match load(&ctx, global, part) {
        // SAFETY: QuickJS passes null or a descriptor to fill in, whose value it takes over.
        Ok(value) => unsafe {
            if let Some(descriptor) = descriptor.as_mut() {
                descriptor.flags = (qjs::JS_PROP_CONFIGURABLE | qjs::JS_PROP_WRITABLE) as c_int;
                descriptor.value = qjs::JS_DupValue(raw.as_ptr(), value.as_raw());
                descriptor.getter = qjs::JS_UNDEFINED;
                descriptor.setter = qjs::JS_UNDEFINED;
            }
            1
        },
        Err(error) => {
            if !matches!(error, rquickjs::Error::Exception) {
                rquickjs::Exception::throw_message(&ctx, &error.to_string());
            }
            -1
        }
    }
}

fn load<'js>(ctx: &Ctx<'js>, global: &CStr, part: &str) -> rquickjs::Result<Value<'js>> {
    let global = global.to_str()?;
    modules::load_global(ctx, part, global)
}
