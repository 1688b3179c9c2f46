//! Objects that are a piece of text until they are touched.
//!
//! QuickJS asks a class with exotic methods for what it does not find among an object's properties. Until then such an object is
//! only a place on the tape. Touching it gives it a list of its members in their order, each of which is made when it is asked
//! for; those that are objects are such pieces of text again. What a script assigns goes into that list, too.
//!
//! ```text
//!   text ──touched──► listed ──a member deleted, hidden or closed──► plain
//! ```
//!
//! A `plain` object has properties like any other, and QuickJS finds them by itself. None becomes one while it is only looked at:
//! its shape must not change in the middle of an enumeration.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::{Array, Ctx, JsLifetime, Object, Value, qjs};

use super::members::{Made, Maker, Member, Pending, release, small_index};
use super::tape::{MAX_BYTES, Node, Tape};
use crate::wire::Start;

/// Texts up to this many octets are converted at once, which costs less.
const SMALL: usize = 256;

/// Members up to which a list takes further ones: those of ordinary objects are metered.
const MAX_LISTED: usize = 256;

/// The text that the objects of a run are pieces of.
pub(super) struct Document {
    /// Holds the text.
    start: Arc<Start>,
    pub(super) tape: Tape,
    /// Tells the objects of one run from those of another in the same context.
    serial: u64,
}

impl Document {
    pub(super) fn text(&self) -> &str {
        &self.start.data
    }

    /// The text of a value, or of a part of one.
    pub(super) fn slice(&self, start: u32, end: u32) -> &str {
        self.text().get(start as usize..end as usize).unwrap_or_default()
    }

    /// What stands between the quotes.
    pub(super) fn string(&self, node: Node) -> &str {
        self.slice(node.start + 1, node.end.saturating_sub(1))
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }
}

/// What a context needs for such objects.
struct Lazily {
    places: Places,
    document: RefCell<Option<Rc<Document>>>,
    serials: Cell<u64>,
}

/// What tells objects apart. Prototypes live as long as the context.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// Of objects that are text.
    pub(super) class: qjs::JSClassID,
    pub(super) object_class: qjs::JSClassID,
    pub(super) array_class: qjs::JSClassID,
    pub(super) object_prototype: qjs::JSValue,
    pub(super) array_prototype: qjs::JSValue,
    pub(super) to_json: qjs::JSAtom,
}

/// Keeps what the context points to.
struct Kept(#[expect(dead_code, reason = "what the pointer leads to lives for as long as this")] Rc<Lazily>);

// SAFETY: the type has no lifetime of its own.
unsafe impl JsLifetime<'_> for Kept {
    type Changed<'to> = Kept;
}

impl Lazily {
    fn serial(&self) -> u64 {
        self.document.borrow().as_ref().map_or(0, |document| document.serial)
    }

    /// Moves on to another document, or to another print of the same one.
    fn count(&self) -> u64 {
        self.serials.set(self.serials.get() + 1);
        self.serials.get()
    }
}

/// What an object of the class is at the moment.
pub(super) enum State {
    /// The node of the document that it is.
    Text(u32),
    Listed(*mut Made),
    Plain(*mut Made),
    /// Of a run that is over.
    Stale,
}

static EXOTIC: qjs::JSClassExoticMethods = qjs::JSClassExoticMethods {
    get_own_property: Some(get_own_property),
    get_own_property_names: Some(get_own_property_names),
    delete_property: Some(delete_property),
    define_own_property: Some(define_own_property),
    has_property: None,
    get_property: None,
    set_property: None,
};

/// Lets a context have such objects.
pub(crate) fn install(ctx: &Ctx<'_>) -> rquickjs::Result<()> {
    let mut class = 0;
    let definition = qjs::JSClassDef {
        class_name: c"Object".as_ptr(),
        finalizer: Some(finalize),
        gc_mark: Some(mark),
        call: None,
        exotic: (&raw const EXOTIC).cast_mut(),
    };
    // SAFETY: the runtime of a live context; `EXOTIC` is static and QuickJS only reads it, and it copies the definition.
    let added = unsafe {
        let runtime = qjs::JS_GetRuntime(ctx.as_raw().as_ptr());
        qjs::JS_NewClassID(runtime, &raw mut class);
        qjs::JS_NewClass(runtime, class, &raw const definition)
    };
    if added < 0 {
        return Err(rquickjs::Error::Allocation);
    }
    let (object, array) = (Object::new(ctx.clone())?, Array::new(ctx.clone())?);
    let [object_prototype, array_prototype] = [&object, array.as_object()].map(Object::get_prototype);
    let (Some(object_prototype), Some(array_prototype)) = (object_prototype, array_prototype) else {
        return Err(rquickjs::Error::Unknown);
    };
    // SAFETY: a live context and objects of it; the class was just added, and takes over a reference to its prototype. `toJSON` is an
    // atom of QuickJS's own, of which it counts no references.
    let places = unsafe {
        let raw = ctx.as_raw().as_ptr();
        qjs::JS_SetClassProto(raw, class, qjs::JS_DupValue(raw, object_prototype.as_raw()));
        Places {
            class,
            object_class: qjs::JS_GetClassID(object.as_raw()),
            array_class: qjs::JS_GetClassID(array.as_raw()),
            object_prototype: object_prototype.as_raw(),
            array_prototype: array_prototype.as_raw(),
            to_json: qjs::JS_NewAtom(raw, c"toJSON".as_ptr()),
        }
    };
    let lazily = Rc::new(Lazily { places, document: RefCell::default(), serials: Cell::new(0) });
    let pointer = Rc::as_ptr(&lazily).cast_mut().cast();
    ctx.store_userdata(Kept(lazily)).map_err(|_| rquickjs::Error::Unknown)?;
    // SAFETY: a live context, whose pointer nobody else uses; what it points to lives as long as its data.
    unsafe { qjs::JS_SetContextOpaque(ctx.as_raw().as_ptr(), pointer) };
    Ok(())
}

/// The data of a run that begins; the objects of the one before it are empty from now on.
pub(crate) fn read<'js>(ctx: &Ctx<'js>, start: &Arc<Start>) -> rquickjs::Result<Value<'js>> {
    let raw = ctx.as_raw().as_ptr();
    // SAFETY: a live context.
    let Some(lazily) = (unsafe { of(raw) }) else { return ctx.json_parse(start.data.as_str()) };
    lazily.document.replace(None);
    let tape = if start.data.len() > SMALL { Tape::read(&start.data, MAX_BYTES) } else { None };
    // A text that is none is refused by QuickJS, in its words.
    let Some((tape, root)) = tape.and_then(|tape| tape.node(0).map(|root| (tape, root))) else {
        return ctx.json_parse(start.data.as_str());
    };
    let document = Rc::new(Document { start: Arc::clone(start), tape, serial: lazily.count() });
    lazily.document.replace(Some(Rc::clone(&document)));
    let maker = Maker { raw, class: lazily.places.class, document: &document };
    // SAFETY: the value was just made and is handed over.
    unsafe {
        let made = maker.value(0, root);
        made.map(|value| Value::from_raw(ctx.clone(), value)).map_err(|Pending| rquickjs::Error::Exception)
    }
}

/// Makes `value` an ordinary object if it is one of these, for what QuickJS does without asking.
pub(crate) fn touch(ctx: &Ctx<'_>, value: &Value<'_>) -> rquickjs::Result<()> {
    let raw = ctx.as_raw().as_ptr();
    // SAFETY: a live context, and an object of the class.
    unsafe {
        let Some(lazily) = of(raw).filter(|lazily| qjs::JS_GetClassID(value.as_raw()) == lazily.places.class) else {
            return Ok(());
        };
        settle(raw, lazily, value.as_raw()).map(|_| ()).map_err(|Pending| rquickjs::Error::Exception)
    }
}

/// What tells the objects of a run apart, its document unless that is small, and the number of a new print.
pub(super) fn print_of(ctx: &Ctx<'_>) -> Option<(Places, Option<Rc<Document>>, u64)> {
    // SAFETY: a live context.
    let lazily = unsafe { of(ctx.as_raw().as_ptr()) }?;
    let document = lazily.document.borrow().clone();
    Some((lazily.places, document, lazily.count()))
}

/// What a context has for such objects, if it may have any.
///
/// # Safety
/// The context is live for as long as the result is used.
unsafe fn of<'a>(raw: *mut qjs::JSContext) -> Option<&'a Lazily> {
    // SAFETY: as promised; what the pointer leads to lives as long as the context.
    unsafe { qjs::JS_GetContextOpaque(raw).cast::<Lazily>().as_ref() }
}

// What an untouched object holds in place of a pointer: a bit that no pointer has, its node, and its document's serial.
const NODE_BITS: u32 = 22;

pub(super) fn pack(node: u32, serial: u64) -> *mut c_void {
    std::ptr::without_provenance_mut(((serial as usize) << (NODE_BITS + 1)) | ((node as usize) << 1) | 1)
}

/// # Safety
/// `object` is of the class.
pub(super) unsafe fn state(object: qjs::JSValue, serial: u64) -> State {
    let mut class = 0;
    // SAFETY: an object.
    let held = unsafe { qjs::JS_GetAnyOpaque(object, &raw mut class) };
    if held.is_null() {
        return State::Stale;
    }
    if held.addr() & 1 == 1 {
        let node = ((held.addr() >> 1) & ((1 << NODE_BITS) - 1)) as u32;
        return if held == pack(node, serial) { State::Text(node) } else { State::Stale };
    }
    let made = held.cast::<Made>();
    // SAFETY: what is held is a box of the object's, or a packed number.
    unsafe {
        match &*made {
            Made { is_plain: true, .. } => State::Plain(made),
            Made { serial: of, .. } if *of != serial => State::Stale,
            Made { .. } => State::Listed(made),
        }
    }
}

/// The members of an object that is text, which it has from now on.
///
/// # Safety
/// `object` is of the class, and untouched.
unsafe fn list(raw: *mut qjs::JSContext, lazily: &Lazily, object: qjs::JSValue, node: u32) -> Result<*mut Made, Pending> {
    let Some(document) = lazily.document.borrow().clone() else { return Err(Pending) };
    let maker = Maker { raw, class: lazily.places.class, document: &document };
    // SAFETY: as promised; the object owns the box from now on.
    unsafe {
        let made = Box::into_raw(maker.members(node)?);
        qjs::JS_SetOpaque(object, made.cast());
        Ok(made)
    }
}

/// What an object of the class has as members; `None`: properties, or nothing.
///
/// # Safety
/// `object` is of the class.
unsafe fn members(raw: *mut qjs::JSContext, lazily: &Lazily, object: qjs::JSValue) -> Result<Option<*mut Made>, Pending> {
    // SAFETY: as promised.
    unsafe {
        match state(object, lazily.serial()) {
            State::Text(node) => list(raw, lazily, object, node).map(Some),
            State::Listed(made) => Ok(Some(made)),
            State::Plain(_) | State::Stale => Ok(None),
        }
    }
}

/// The value of a member, which keeps the reference.
///
/// # Safety
/// The box is that of a live object of this run.
unsafe fn value_of(raw: *mut qjs::JSContext, lazily: &Lazily, made: *mut Made, at: usize) -> Result<qjs::JSValue, Pending> {
    // SAFETY: as promised. Nothing is borrowed while a value is made, which may be when QuickJS collects garbage.
    unsafe {
        let known = &*made;
        let Some(member) = known.members.get(at) else { return Err(Pending) };
        if let Some(value) = member.value {
            return Ok(value);
        }
        let name = member.name.ok_or(Pending)?;
        let document = lazily.document.borrow().clone().ok_or(Pending)?;
        let maker = Maker { raw, class: lazily.places.class, document: &document };
        let value = maker.value(name + 1, document.tape.node(name + 1).ok_or(Pending)?)?;
        let known = &mut *made;
        if let Some(member) = known.members.get_mut(at) {
            member.value = Some(value);
        }
        Ok(value)
    }
}

/// Gives an object its properties unless it has them; whether it just got them.
///
/// # Safety
/// `object` is of the class.
unsafe fn settle(raw: *mut qjs::JSContext, lazily: &Lazily, object: qjs::JSValue) -> Result<bool, Pending> {
    // SAFETY: as promised; the box lives as long as the object.
    unsafe {
        let Some(made) = members(raw, lazily, object)? else { return Ok(false) };
        let flags = (qjs::JS_PROP_C_W_E | qjs::JS_PROP_NO_EXOTIC) as c_int;
        let known = &*made;
        let count = known.members.len();
        for at in 0..count {
            let value = value_of(raw, lazily, made, at)?;
            let known = &*made;
            let Some(atom) = known.members.get(at).map(|member| member.atom) else { continue };
            if qjs::JS_DefinePropertyValue(raw, object, atom, qjs::JS_DupValue(raw, value), flags) < 0 {
                return Err(Pending);
            }
        }
        (*made).is_plain = true;
        Ok(true)
    }
}

unsafe extern "C" fn get_own_property(
    raw: *mut qjs::JSContext,
    descriptor: *mut qjs::JSPropertyDescriptor,
    object: qjs::JSValue,
    name: qjs::JSAtom,
) -> c_int {
    // SAFETY: QuickJS calls with a live context and an object of the class, whose box lives as long as the call; the descriptor is
    // null or to be filled in.
    unsafe {
        // All that a plain object has are properties, and QuickJS has looked among them.
        if held(object).is_some_and(|made| (*made).is_plain) {
            return 0;
        }
        let Some(lazily) = of(raw) else { return 0 };
        let made = match members(raw, lazily, object) {
            Ok(Some(made)) => made,
            Ok(None) => return 0,
            Err(Pending) => return -1,
        };
        let Some(at) = (*made).find(name) else { return 0 };
        if let Some(descriptor) = descriptor.as_mut() {
            let Ok(value) = value_of(raw, lazily, made, at) else { return -1 };
            descriptor.flags = qjs::JS_PROP_C_W_E as c_int;
            descriptor.value = qjs::JS_DupValue(raw, value);
            descriptor.getter = qjs::JS_UNDEFINED;
            descriptor.setter = qjs::JS_UNDEFINED;
        }
        1
    }
}

unsafe extern "C" fn get_own_property_names(
    raw: *mut qjs::JSContext,
    names: *mut *mut qjs::JSPropertyEnum,
    count: *mut u32,
    object: qjs::JSValue,
) -> c_int {
    // SAFETY: as above; the list is the caller's, who frees it with its atoms.
    unsafe {
        names.write(std::ptr::null_mut());
        count.write(0);
        let Some(lazily) = of(raw) else { return 0 };
        let made = match members(raw, lazily, object) {
            Ok(Some(made)) => made,
            Ok(None) => return 0,
            Err(Pending) => return -1,
        };
        let Some(document) = lazily.document.borrow().clone() else { return 0 };
        let members = &(*made).members;
        let bytes = size_of::<qjs::JSPropertyEnum>() * members.len().max(1);
        let list = qjs::js_malloc(raw, bytes as _).cast::<qjs::JSPropertyEnum>();
        if list.is_null() {
            return -1;
        }
        for (at, member) in members.iter().enumerate() {
            let atom = qjs::JS_DupAtom(raw, member.atom);
            list.add(at).write(qjs::JSPropertyEnum { is_enumerable: true, atom });
        }
        names.write(list);
        count.write(members.len() as u32);
        // Array indexes come first, in their order.
        if members.len() > 1 && members.iter().any(|member| array_index(&document, member).is_some()) {
            let mut order: Vec<(Option<u32>, qjs::JSAtom)> =
                members.iter().map(|member| (array_index(&document, member), member.atom)).collect();
            order.sort_by_key(|(index, _)| index.map_or((1, 0), |index| (0, index)));
            for (at, (_, atom)) in order.into_iter().enumerate() {
                (*list.add(at)).atom = atom;
            }
        }
        0
    }
}

/// The array index that a member's name is, if it is one. What scripts add is none.
fn array_index(document: &Document, member: &Member) -> Option<u32> {
    let small = small_index(member.atom);
    if small.is_some() {
        return small;
    }
    let name = document.string(document.tape.node(member.name?)?);
    let is_canonical = !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|index| is_canonical && *index != u32::MAX)
}

unsafe extern "C" fn delete_property(raw: *mut qjs::JSContext, object: qjs::JSValue, name: qjs::JSAtom) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(lazily) = of(raw) else { return 1 };
        match settle(raw, lazily, object) {
            Ok(true) => qjs::JS_DeleteProperty(raw, object, name, 0),
            // There is no such property.
            Ok(false) => 1,
            Err(Pending) => -1,
        }
    }
}

unsafe extern "C" fn define_own_property(
    raw: *mut qjs::JSContext,
    object: qjs::JSValue,
    name: qjs::JSAtom,
    value: qjs::JSValue,
    getter: qjs::JSValue,
    setter: qjs::JSValue,
    flags: c_int,
) -> c_int {
    // SAFETY: as above.
    unsafe {
        if let Some(lazily) = of(raw) {
            match assign(raw, lazily, object, name, value, flags) {
                Ok(true) => return 1,
                Ok(false) => {}
                Err(Pending) => return -1,
            }
            if settle(raw, lazily, object).is_err() {
                return -1;
            }
        }
        qjs::JS_DefineProperty(raw, object, name, value, getter, setter, flags | qjs::JS_PROP_NO_EXOTIC as c_int)
    }
}

/// Puts a value into the list of members if it is an ordinary one; `false`: it is to be a property.
///
/// # Safety
/// `object` is of the class.
unsafe fn assign(
    raw: *mut qjs::JSContext,
    lazily: &Lazily,
    object: qjs::JSValue,
    name: qjs::JSAtom,
    value: qjs::JSValue,
    flags: c_int,
) -> Result<bool, Pending> {
    let has = |flag: u32| flags & flag as c_int != 0;
    let says = |said: u32, flag: u32| has(said).then(|| has(flag));
    let attributes = [
        says(qjs::JS_PROP_HAS_CONFIGURABLE, qjs::JS_PROP_CONFIGURABLE),
        says(qjs::JS_PROP_HAS_WRITABLE, qjs::JS_PROP_WRITABLE),
        says(qjs::JS_PROP_HAS_ENUMERABLE, qjs::JS_PROP_ENUMERABLE),
    ];
    let is_ordinary =
        has(qjs::JS_PROP_HAS_VALUE) && !has(qjs::JS_PROP_HAS_GET | qjs::JS_PROP_HAS_SET) && !attributes.contains(&Some(false));
    if !is_ordinary {
        return Ok(false);
    }
    // SAFETY: as promised; the list keeps references of its own, and what it held is let go of once it is out of it.
    unsafe {
        let Some(made) = members(raw, lazily, object)? else { return Ok(false) };
        if let Some(at) = (*made).find(name) {
            let known = &mut *made;
            let Some(member) = known.members.get_mut(at) else { return Ok(false) };
            member.is_changed = true;
            let before = member.value.replace(qjs::JS_DupValue(raw, value));
            if let Some(before) = before {
                qjs::JS_FreeValue(raw, before);
            }
            return Ok(true);
        }
        let known = &*made;
        let is_full = known.members.len() >= MAX_LISTED;
        if is_full || attributes != [Some(true); 3] || !is_word(raw, name) {
            return Ok(false);
        }
        let (atom, value) = (qjs::JS_DupAtom(raw, name), qjs::JS_DupValue(raw, value));
        (*made).add(Member { atom, value: Some(value), name: None, is_changed: true });
        Ok(true)
    }
}

/// Whether a name is neither a symbol nor an array index, whose place would not be the last.
unsafe fn is_word(raw: *mut qjs::JSContext, name: qjs::JSAtom) -> bool {
    // SAFETY: an atom of the context; the value and its text live until they are freed.
    unsafe {
        let value = qjs::JS_AtomToValue(raw, name);
        let mut is_word = false;
        if qjs::JS_VALUE_GET_NORM_TAG(value) == qjs::JS_TAG_STRING {
            let text = qjs::JS_ToCStringLen2(raw, std::ptr::null_mut(), value, false);
            if text.is_null() {
                qjs::JS_FreeValue(raw, qjs::JS_GetException(raw));
            } else {
                is_word = !CStr::from_ptr(text).to_bytes().first().is_some_and(u8::is_ascii_digit);
                qjs::JS_FreeCString(raw, text);
            }
        }
        qjs::JS_FreeValue(raw, value);
        is_word
    }
}

/// The box of an object that has one.
unsafe fn held(object: qjs::JSValue) -> Option<*mut Made> {
    let mut class = 0;
    // SAFETY: an object of the class.
    let held = unsafe { qjs::JS_GetAnyOpaque(object, &raw mut class) };
    (!held.is_null() && held.addr() & 1 == 0).then(|| held.cast())
}

unsafe extern "C" fn mark(runtime: *mut qjs::JSRuntime, object: qjs::JSValue, mark: qjs::JS_MarkFunc) {
    // SAFETY: QuickJS calls with an object of the class; its box lives as long as it does.
    unsafe {
        if let Some(made) = held(object) {
            let known = &*made;
            let values = known.members.iter().filter_map(|member| member.value);
            values.for_each(|value| qjs::JS_MarkValue(runtime, value, mark));
        }
    }
}

unsafe extern "C" fn finalize(runtime: *mut qjs::JSRuntime, object: qjs::JSValue) {
    // SAFETY: as above; this is the last that is heard of the object.
    unsafe {
        if let Some(made) = held(object) {
            release(runtime, &mut Box::from_raw(made));
        }
    }
}
