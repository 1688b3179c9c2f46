//! Objects whose properties come to be when they are first named.
//!
//! Making thirty functions costs every run more than most runs ever use. An exotic object costs nothing until it is asked for a
//! name that it lacks.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

use rquickjs::{Ctx, FromJs, Object, Value, qjs};

/// Makes the property of a name; `None` when there is none.
pub(super) type Source = Box<dyn for<'js> Fn(&Ctx<'js>, &str) -> rquickjs::Result<Option<Value<'js>>>>;

/// What an object has in place of its properties.
struct Lazy {
    source: Source,
    /// Whether a property stays with the object once it is made.
    keeps: bool,
}

/// The class of such objects in one runtime.
#[derive(Clone, Copy)]
pub(super) struct LazyClass(qjs::JSClassID);

static EXOTIC: qjs::JSClassExoticMethods = qjs::JSClassExoticMethods {
    get_own_property: Some(get_own_property),
    get_own_property_names: None,
    delete_property: None,
    define_own_property: None,
    has_property: None,
    get_property: None,
    set_property: None,
};

impl LazyClass {
    /// Adds the class to the runtime of `ctx`.
    pub(super) fn new(ctx: &Ctx<'_>) -> rquickjs::Result<Self> {
        let mut class = 0;
        let definition = qjs::JSClassDef {
            class_name: c"Lazy".as_ptr(),
            finalizer: Some(finalize),
            gc_mark: None,
            call: None,
            exotic: (&raw const EXOTIC).cast_mut(),
        };
        // SAFETY: the runtime of a live context; `EXOTIC` is static and QuickJS only reads it, and it copies the definition.
        let added = unsafe {
            let runtime = qjs::JS_GetRuntime(ctx.as_raw().as_ptr());
            qjs::JS_NewClassID(runtime, &raw mut class);
            qjs::JS_NewClass(runtime, class, &raw const definition)
        };
        if added < 0 { Err(rquickjs::Error::Allocation) } else { Ok(Self(class)) }
    }

    /// An object that has what `source` gives. With `keeps` each property is asked for once.
    pub(super) fn object<'js>(
        &self,
        ctx: &Ctx<'js>,
        prototype: Option<&Object<'js>>,
        keeps: bool,
        source: Source,
    ) -> rquickjs::Result<Object<'js>> {
        let prototype = prototype.map_or(qjs::JS_NULL, |prototype| prototype.as_raw());
        // SAFETY: the class was added to this runtime; the box is given to the object, whose finalizer frees it.
        unsafe {
            let object = qjs::JS_NewObjectProtoClass(ctx.as_raw().as_ptr(), prototype, self.0);
            if qjs::JS_IsException(object) {
                return Err(rquickjs::Error::Exception);
            }
            let lazy: *mut Lazy = Box::into_raw(Box::new(Lazy { source, keeps }));
            qjs::JS_SetOpaque(object, lazy.cast::<c_void>());
            Object::from_js(ctx, Value::from_raw(ctx.clone(), object))
        }
    }
}

unsafe extern "C" fn finalize(_runtime: *mut qjs::JSRuntime, object: qjs::JSValue) {
    let mut class = 0;
    // SAFETY: objects of the class own their box; null when making one failed half-way.
    unsafe {
        let lazy = qjs::JS_GetAnyOpaque(object, &raw mut class).cast::<Lazy>();
        if !lazy.is_null() {
            drop(Box::from_raw(lazy));
        }
    }
}

/// Makes the property if the object's source has it; 0 for any other name.
unsafe extern "C" fn get_own_property(
    raw: *mut qjs::JSContext,
    descriptor: *mut qjs::JSPropertyDescriptor,
    object: qjs::JSValue,
    name: qjs::JSAtom,
) -> c_int {
    let Some(live) = NonNull::new(raw) else { return -1 };
    let mut class = 0;
    // SAFETY: QuickJS calls with a live context, an object of the class and an atom of the context; the object and with it its box
    // live as long as the call; the text lives until it is freed.
    let (ctx, lazy, made) = unsafe {
        let Some(lazy) = qjs::JS_GetAnyOpaque(object, &raw mut class).cast::<Lazy>().as_ref() else { return 0 };
        let text = qjs::JS_AtomToCStringLen(raw, std::ptr::null_mut(), name);
        if text.is_null() {
            return -1;
        }
        let ctx = Ctx::from_raw(live);
        let made = CStr::from_ptr(text).to_str().map_or(Ok(None), |name| (lazy.source)(&ctx, name));
        qjs::JS_FreeCString(raw, text);
        (ctx, lazy, made)
    };
    let flags = (qjs::JS_PROP_CONFIGURABLE | qjs::JS_PROP_WRITABLE) as c_int;
    match made {
        Ok(None) => 0,
        // SAFETY: both calls take over a reference of their own; the descriptor is null or to be filled in.
        Ok(Some(value)) => unsafe {
            if lazy.keeps && qjs::JS_DefinePropertyValue(raw, object, name, qjs::JS_DupValue(raw, value.as_raw()), flags) < 0 {
                return -1;
            }
            if let Some(descriptor) = descriptor.as_mut() {
                descriptor.flags = flags;
                descriptor.value = qjs::JS_DupValue(raw, value.as_raw());
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
