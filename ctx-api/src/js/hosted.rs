//! Functions and objects of the runtime's own, and what they hold on the Rust side.
//!
//! Making thirty functions costs every run more than most runs ever use. A *lazy* object costs nothing until it is asked for a
//! name that it lacks. What lazy objects and functions hold is on a list, so that a runtime may be given up without walking through
//! its objects.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::rc::Rc;

use rquickjs::{Array, ArrayBuffer, Ctx, Exception, FromJs, Function, IntoJs, JsLifetime, Object, Value, qjs};

/// Makes the property of a name; `None` when there is none.
pub(super) type Source = Box<dyn for<'js> Fn(&Ctx<'js>, &str) -> rquickjs::Result<Option<Value<'js>>>>;

/// A function that scripts and the prelude call.
type Callee<'js> = Box<dyn Fn(&Ctx<'js>, &mut Arguments<'_>) -> rquickjs::Result<Value<'js>> + 'js>;

enum What {
    Lazy {
        source: Source,
        /// Whether a property stays with the object once it is made.
        keeps: bool,
    },
    /// Callable in the lifetime of whichever context calls it.
    Function(Callee<'static>),
}

/// What one object holds.
struct Hosted {
    what: What,
    /// Its place in the list.
    at: Cell<usize>,
    list: Rc<Owned>,
}

/// What the objects of one context hold.
#[derive(Default)]
pub(super) struct Owned(RefCell<Vec<*mut Hosted>>);

impl Owned {
    fn adopt(self: &Rc<Self>, what: What) -> *mut c_void {
        let mut list = self.0.borrow_mut();
        let hosted = Box::into_raw(Box::new(Hosted { what, at: Cell::new(list.len()), list: Rc::clone(self) }));
        list.push(hosted);
        hosted.cast()
    }

    /// Takes one out of the list.
    fn release(&self, hosted: &Hosted) {
        let mut list = self.0.borrow_mut();
        let at = hosted.at.get();
        list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            // SAFETY: what is in the list lives.
            unsafe { (**moved).at.set(at) };
        }
    }

    /// Frees everything.
    ///
    /// # Safety
    /// No code of the context runs any more, its finalizers included.
    pub(super) unsafe fn free_all(&self) {
        for hosted in self.0.take() {
            // SAFETY: in the list once, and nobody will look at it again.
            drop(unsafe { Box::from_raw(hosted) });
        }
    }
}

/// The two classes of such objects in one runtime.
#[derive(Clone, Copy, Debug)]
pub(super) struct Classes {
    lazy: qjs::JSClassID,
    function: qjs::JSClassID,
}

static EXOTIC: qjs::JSClassExoticMethods = qjs::JSClassExoticMethods {
    get_own_property: Some(get_own_property),
    get_own_property_names: None,
    delete_property: None,
    define_own_property: None,
    has_property: None,
    get_property: None,
    set_property: None,
};

impl Classes {
    /// Adds the classes to the runtime of `ctx`.
    pub(super) fn add(ctx: &Ctx<'_>) -> rquickjs::Result<Self> {
        let class = |name: &'static CStr, call: qjs::JSClassCall, exotic: *mut qjs::JSClassExoticMethods| {
            let mut class = 0;
            let definition =
                qjs::JSClassDef { class_name: name.as_ptr(), finalizer: Some(finalize), gc_mark: None, call, exotic };
            // SAFETY: the runtime of a live context; QuickJS copies the definition, and what it points to is static.
            let added = unsafe {
                let runtime = qjs::JS_GetRuntime(ctx.as_raw().as_ptr());
                qjs::JS_NewClassID(runtime, &raw mut class);
                qjs::JS_NewClass(runtime, class, &raw const definition)
            };
            if added < 0 { Err(rquickjs::Error::Allocation) } else { Ok(class) }
        };
        Ok(Self {
            lazy: class(c"Lazy", None, (&raw const EXOTIC).cast_mut())?,
            function: class(c"Function", Some(call), std::ptr::null_mut())?,
        })
    }

    /// A lazy object that has nothing until it is [filled](Hosting::fill).
    pub(super) fn lazy_object<'js>(self, ctx: &Ctx<'js>, prototype: Option<&Object<'js>>) -> rquickjs::Result<Object<'js>> {
        self.object(ctx, self.lazy, prototype)
    }

    fn object<'js>(
        self,
        ctx: &Ctx<'js>,
        class: qjs::JSClassID,
        prototype: Option<&Object<'js>>,
    ) -> rquickjs::Result<Object<'js>> {
        let prototype = prototype.map_or(qjs::JS_NULL, |prototype| prototype.as_raw());
        // SAFETY: the class was added to this runtime.
        unsafe {
            let object = qjs::JS_NewObjectProtoClass(ctx.as_raw().as_ptr(), prototype, class);
            if qjs::JS_IsException(object) {
                return Err(rquickjs::Error::Exception);
            }
            Object::from_js(ctx, Value::from_raw(ctx.clone(), object))
        }
    }
}

/// The way from a context to its classes and its list.
#[derive(Clone)]
pub(super) struct Hosting {
    classes: Classes,
    owned: Rc<Owned>,
}

// SAFETY: the type has no lifetime of its own.
unsafe impl JsLifetime<'_> for Hosting {
    type Changed<'to> = Hosting;
}

impl Hosting {
    /// Lets [`lazy`] and [`function`] work in `ctx`.
    pub(super) fn install(ctx: &Ctx<'_>, classes: Classes, owned: Rc<Owned>) -> rquickjs::Result<Self> {
        let hosting = Self { classes, owned };
        ctx.store_userdata(hosting.clone()).map_err(|_| rquickjs::Error::Unknown)?;
        Ok(hosting)
    }

    /// Undoes [`install`](Self::install).
    pub(super) fn uninstall(ctx: &Ctx<'_>) {
        // It fails while somebody looks at it: nobody does between turns.
        drop(ctx.remove_userdata::<Self>());
    }

    /// Gives a lazy object that has nothing yet what `source` makes. With `keeps` each property is asked for once.
    pub(super) fn fill(&self, object: &Object<'_>, keeps: bool, source: Source) {
        // SAFETY: an object of a class of ours, which holds nothing; its finalizer or the list's owner frees what it holds.
        unsafe { qjs::JS_SetOpaque(object.as_raw(), self.owned.adopt(What::Lazy { source, keeps })) };
    }
}

fn hosting(ctx: &Ctx<'_>) -> rquickjs::Result<Hosting> {
    ctx.userdata::<Hosting>().map(|hosting| (*hosting).clone()).ok_or(rquickjs::Error::Unknown)
}

/// An object that has what `source` makes. With `keeps` each property is asked for once.
pub(super) fn lazy<'js>(
    ctx: &Ctx<'js>,
    prototype: Option<&Object<'js>>,
    keeps: bool,
    source: Source,
) -> rquickjs::Result<Object<'js>> {
    let hosting = hosting(ctx)?;
    let object = hosting.classes.lazy_object(ctx, prototype)?;
    hosting.fill(&object, keeps, source);
    Ok(object)
}

/// A function of the runtime's own.
pub(super) fn function<'js, P>(ctx: &Ctx<'js>, native: impl Native<'js, P> + 'js) -> rquickjs::Result<Function<'js>> {
    let hosting = hosting(ctx)?;
    let prototype = Function::prototype(ctx.clone());
    let object = hosting.classes.object(ctx, hosting.classes.function, Some(&prototype))?;
    let callee: Callee<'js> = Box::new(move |ctx, arguments| native.call(ctx, arguments));
    // SAFETY: only the lifetime changes, which is that of the context: `call` gives it the one that calls, and natives keep no
    // values of theirs.
    let callee = unsafe { std::mem::transmute::<Callee<'js>, Callee<'static>>(callee) };
    // SAFETY: as in `Hosting::fill`.
    unsafe { qjs::JS_SetOpaque(object.as_raw(), hosting.owned.adopt(What::Function(callee))) };
    Function::from_js(ctx, object.into_value())
}

/// What a function is called with; what is missing is `undefined`.
pub(super) struct Arguments<'a>(std::slice::Iter<'a, qjs::JSValue>);

impl Arguments<'_> {
    fn next<'js>(&mut self, ctx: &Ctx<'js>) -> Value<'js> {
        match self.0.next() {
            // SAFETY: a live value of the calling context; the reference is one of our own.
            Some(raw) => unsafe { Value::from_raw(ctx.clone(), qjs::JS_DupValue(ctx.as_raw().as_ptr(), *raw)) },
            None => Value::new_undefined(ctx.clone()),
        }
    }
}

/// What a native function may ask for.
pub(super) trait Parameter<'js>: Sized {
    fn take(ctx: &Ctx<'js>, arguments: &mut Arguments<'_>) -> rquickjs::Result<Self>;
}

impl<'js> Parameter<'js> for Ctx<'js> {
    fn take(ctx: &Ctx<'js>, _: &mut Arguments<'_>) -> rquickjs::Result<Self> {
        Ok(ctx.clone())
    }
}

macro_rules! parameters {
    ($($type:ty)*) => {
        $(impl<'js> Parameter<'js> for $type {
            fn take(ctx: &Ctx<'js>, arguments: &mut Arguments<'_>) -> rquickjs::Result<Self> {
                let value = arguments.next(ctx);
                FromJs::from_js(ctx, value)
            }
        })*
    };
}

parameters!(bool f64 i32 u32 usize String Array<'js> ArrayBuffer<'js> Value<'js>);

/// A closure that can be called from JavaScript.
pub(super) trait Native<'js, P> {
    fn call(&self, ctx: &Ctx<'js>, arguments: &mut Arguments<'_>) -> rquickjs::Result<Value<'js>>;
}

macro_rules! natives {
    ($(($($parameter:ident)*))*) => {
        $(impl<'js, T, R, $($parameter,)*> Native<'js, (R, $($parameter,)*)> for T
        where
            T: Fn($($parameter),*) -> R,
            R: IntoJs<'js>,
            $($parameter: Parameter<'js>,)*
        {
            fn call(&self, ctx: &Ctx<'js>, _arguments: &mut Arguments<'_>) -> rquickjs::Result<Value<'js>> {
                (self)($($parameter::take(ctx, _arguments)?),*).into_js(ctx)
            }
        })*
    };
}

natives!(() (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G));

/// What an object of ours holds; `None` for a lazy one that has not been filled.
///
/// # Safety
/// The object is of one of our classes, and lives as long as what is returned is used.
unsafe fn held<'a>(object: qjs::JSValue) -> Option<&'a Hosted> {
    let mut class = 0;
    // SAFETY: as promised; objects of our classes hold null or what `Owned` has listed.
    unsafe { qjs::JS_GetAnyOpaque(object, &raw mut class).cast::<Hosted>().as_ref() }
}

unsafe extern "C" fn finalize(_runtime: *mut qjs::JSRuntime, object: qjs::JSValue) {
    // SAFETY: QuickJS finalizes objects of the class once, and nobody sees them afterwards.
    if let Some(hosted) = unsafe { held(object) } {
        hosted.list.release(hosted);
        // SAFETY: made by `Owned::adopt`, and out of its list.
        drop(unsafe { Box::from_raw(std::ptr::from_ref(hosted).cast_mut()) });
    }
}

/// Throws what is no exception of JavaScript's yet.
fn thrown(ctx: &Ctx<'_>, error: &rquickjs::Error) {
    if !matches!(error, rquickjs::Error::Exception) {
        Exception::throw_type(ctx, &error.to_string());
    }
}

unsafe extern "C" fn call(
    raw: *mut qjs::JSContext,
    function: qjs::JSValue,
    _this: qjs::JSValue,
    count: c_int,
    values: *mut qjs::JSValue,
    _flags: c_int,
) -> qjs::JSValue {
    let Some(live) = NonNull::new(raw) else { return qjs::JS_EXCEPTION };
    // SAFETY: QuickJS calls with a live context, a function of the class that lives as long as the call, and as many values.
    let (ctx, hosted, values) = unsafe {
        let count = if values.is_null() { 0 } else { usize::try_from(count).unwrap_or(0) };
        let values = if count == 0 { &[] } else { std::slice::from_raw_parts(values, count) };
        (Ctx::from_raw(live), held(function), values)
    };
    let Some(Hosted { what: What::Function(callee), .. }) = hosted else { return qjs::JS_UNDEFINED };
    match callee(&ctx, &mut Arguments(values.iter())) {
        // SAFETY: a live value; the caller takes over a reference of its own.
        Ok(value) => unsafe { qjs::JS_DupValue(raw, value.as_raw()) },
        Err(error) => {
            thrown(&ctx, &error);
            qjs::JS_EXCEPTION
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
    // SAFETY: QuickJS calls with a live context, an object of the class and an atom of the context; the object and with it what it
    // holds live as long as the call; the text lives until it is freed.
    let (ctx, keeps, made) = unsafe {
        let Some(Hosted { what: What::Lazy { source, keeps }, .. }) = held(object) else { return 0 };
        let text = qjs::JS_AtomToCStringLen(raw, std::ptr::null_mut(), name);
        if text.is_null() {
            return -1;
        }
        let ctx = Ctx::from_raw(live);
        let made = CStr::from_ptr(text).to_str().map_or(Ok(None), |name| source(&ctx, name));
        qjs::JS_FreeCString(raw, text);
        (ctx, *keeps, made)
    };
    let flags = (qjs::JS_PROP_CONFIGURABLE | qjs::JS_PROP_WRITABLE) as c_int;
    match made {
        Ok(None) => 0,
        // SAFETY: both calls take over a reference of their own; the descriptor is null or to be filled in.
        Ok(Some(value)) => unsafe {
            if keeps && qjs::JS_DefinePropertyValue(raw, object, name, qjs::JS_DupValue(raw, value.as_raw()), flags) < 0 {
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
            thrown(&ctx, &error);
            -1
        }
    }
}
