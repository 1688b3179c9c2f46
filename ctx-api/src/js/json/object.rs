//! Objects that are a piece of text until they are touched.
//!
//! QuickJS asks a class with exotic methods for what it does not find among an object's properties. Until then such an object is
//! only a place on the tape. Whatever a script does to it first gives it all its members, in their order; those that are
//! objects are such pieces of text again. From then on it has properties like any other object, and QuickJS finds them by itself.
//!
//! ```text
//!   text ──enumerated──► listed ──changed──► plain
//!     └────────touched in any other way───────┘
//! ```
//!
//! An object that is enumerated while it is still text must not change its shape in the middle of that, hence `listed`: members are
//! made and are handed out, but are no properties yet.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ffi::{CString, c_int, c_void};
use std::rc::Rc;
use std::sync::Arc;

use rquickjs::{Array, Ctx, JsLifetime, Object, Value, qjs};

use super::tape::{Kind, Node, Tape};
use crate::wire::Start;

/// Texts up to this many octets are converted at once, which costs less.
const SMALL: usize = 256;
/// Members up to which names are compared one with another.
const FEW: usize = 16;

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

    fn string(&self, node: Node) -> &str {
        self.slice(node.start + 1, node.end.saturating_sub(1))
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

// SAFETY: the type has no lifetime of its own.
unsafe impl JsLifetime<'_> for Lazily {
    type Changed<'to> = Lazily;
}

/// A member as it was made.
pub(super) struct Member {
    pub(super) atom: qjs::JSAtom,
    pub(super) value: qjs::JSValue,
    /// Its name on the tape; its value follows.
    pub(super) name: u32,
}

/// An object that has been touched.
pub(super) struct Made {
    /// As in the text. Its references are the object's, which marks and frees them.
    pub(super) members: Vec<Member>,
    /// Members have become properties.
    is_plain: bool,
    /// No name comes twice: the members are what the text says.
    pub(super) is_regular: bool,
    serial: u64,
    /// Where it was printed last: number of the print, and the part of its text.
    pub(super) printed: Option<(u64, usize, usize)>,
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
    let lazily = Lazily { places, document: RefCell::default(), serials: Cell::new(0) };
    ctx.store_userdata(lazily).map(|_| ()).map_err(|_| rquickjs::Error::Unknown)
}

/// The data of a run that begins; the objects of the one before it are empty from now on.
pub(crate) fn read<'js>(ctx: &Ctx<'js>, start: &Arc<Start>) -> rquickjs::Result<Value<'js>> {
    let serial = {
        let Some(lazily) = ctx.userdata::<Lazily>() else { return ctx.json_parse(start.data.as_str()) };
        lazily.document.replace(None);
        lazily.serials.set(lazily.serials.get() + 1);
        lazily.serials.get()
    };
    let tape = if start.data.len() > SMALL { Tape::read(&start.data) } else { None };
    // A text that is none is refused by QuickJS, in its words.
    let Some(tape) = tape else { return ctx.json_parse(start.data.as_str()) };
    let document = Rc::new(Document { start: Arc::clone(start), tape, serial });
    if let Some(lazily) = ctx.userdata::<Lazily>() {
        lazily.document.replace(Some(Rc::clone(&document)));
    }
    let Some(root) = document.tape.node(0) else { return Err(rquickjs::Error::Unknown) };
    let maker = Maker::of(ctx, &document)?;
    // SAFETY: the value was just made and is handed over.
    unsafe { maker.value(0, root).map(|value| Value::from_raw(ctx.clone(), value)) }
}

/// Makes `value` an ordinary object if it is one of these, for what QuickJS does without asking.
pub(crate) fn touch(ctx: &Ctx<'_>, value: &Value<'_>) -> rquickjs::Result<()> {
    // SAFETY: a live context, and an object of the class.
    let done = unsafe { class_of(ctx) != Some(qjs::JS_GetClassID(value.as_raw())) || settle(ctx, value.as_raw()).is_ok() };
    if done { Ok(()) } else { Err(rquickjs::Error::Exception) }
}

/// What tells the objects of a run apart, its document, and the number of a new print.
pub(super) fn print_of(ctx: &Ctx<'_>) -> Option<(Places, Rc<Document>, u64)> {
    let lazily = ctx.userdata::<Lazily>()?;
    let document = lazily.document.borrow().clone()?;
    lazily.serials.set(lazily.serials.get() + 1);
    Some((lazily.places, document, lazily.serials.get()))
}

fn class_of(ctx: &Ctx<'_>) -> Option<qjs::JSClassID> {
    ctx.userdata::<Lazily>().map(|lazily| lazily.places.class)
}

fn document_of(ctx: &Ctx<'_>) -> Option<Rc<Document>> {
    ctx.userdata::<Lazily>().and_then(|lazily| lazily.document.borrow().clone())
}

/// Whatever went wrong is pending in the context.
#[derive(Debug)]
pub(super) struct Pending;

// What an untouched object holds in place of a pointer: a bit that no pointer has, its node, and its document's serial.
const NODE_BITS: u32 = 22;

fn pack(node: u32, serial: u64) -> *mut c_void {
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

impl Document {
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }
}

/// Makes values of a document.
struct Maker<'a> {
    raw: *mut qjs::JSContext,
    class: qjs::JSClassID,
    document: &'a Document,
}

impl<'a> Maker<'a> {
    fn of(ctx: &Ctx<'_>, document: &'a Document) -> rquickjs::Result<Self> {
        let class = class_of(ctx).ok_or(rquickjs::Error::Unknown)?;
        Ok(Self { raw: ctx.as_raw().as_ptr(), class, document })
    }

    /// # Safety
    /// The context is live; the reference belongs to the caller.
    unsafe fn value(&self, index: u32, node: Node) -> rquickjs::Result<qjs::JSValue> {
        // SAFETY: as promised; every value made on the way is handed over or freed.
        let value = unsafe {
            match node.kind {
                Kind::Null => qjs::JS_NULL,
                Kind::True => qjs::JS_TRUE,
                Kind::False => qjs::JS_FALSE,
                Kind::Number => self.number(node),
                Kind::String { escaped } => self.string(node, escaped),
                Kind::Array => self.array(index)?,
                Kind::Object if node.next == index + 1 => qjs::JS_NewObject(self.raw),
                Kind::Object => {
                    let object = qjs::JS_NewObjectClass(self.raw, self.class);
                    if !qjs::JS_IsException(object) {
                        qjs::JS_SetOpaque(object, pack(index, self.document.serial));
                    }
                    object
                }
            }
        };
        // SAFETY: only the tag is looked at.
        if unsafe { qjs::JS_IsException(value) } { Err(rquickjs::Error::Exception) } else { Ok(value) }
    }

    unsafe fn number(&self, node: Node) -> qjs::JSValue {
        let text = self.document.slice(node.start, node.end);
        match text.parse::<i32>() {
            // The one whole number that is none.
            Ok(0) if text.starts_with('-') => qjs::JS_NewFloat64(-0.0),
            Ok(number) => qjs::JS_MKVAL(qjs::JS_TAG_INT, number),
            Err(_) => qjs::JS_NewFloat64(text.parse().unwrap_or(f64::NAN)),
        }
    }

    unsafe fn string(&self, node: Node, escaped: bool) -> qjs::JSValue {
        // SAFETY: the text outlives the calls; the one that is parsed ends with a zero.
        unsafe {
            if escaped {
                let Ok(text) = CString::new(self.document.slice(node.start, node.end)) else { return qjs::JS_EXCEPTION };
                return qjs::JS_ParseJSON(self.raw, text.as_ptr(), text.as_bytes().len() as _, c"data".as_ptr());
            }
            let text = self.document.string(node);
            qjs::JS_NewStringLen(self.raw, text.as_ptr().cast(), text.len() as _)
        }
    }

    unsafe fn array(&self, index: u32) -> rquickjs::Result<qjs::JSValue> {
        let mut values = Vec::new();
        for (index, node) in self.document.tape.children(index) {
            // SAFETY: the array takes the values over, or they are freed.
            unsafe {
                match self.value(index, node) {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        values.into_iter().for_each(|value| qjs::JS_FreeValue(self.raw, value));
                        return Err(error);
                    }
                }
            }
        }
        // SAFETY: as many values as it is told; it takes them over whatever happens.
        Ok(unsafe { qjs::JS_NewArrayFrom(self.raw, values.len() as c_int, values.as_ptr()) })
    }

    /// The name of a member as an atom; 0 when there is no memory for it.
    unsafe fn atom(&self, node: Node) -> qjs::JSAtom {
        let text = self.document.string(node);
        // SAFETY: the text outlives the call; the string is freed.
        unsafe {
            match node.kind {
                // QuickJS takes other texts than ASCII for ones of single octets when it looks for an atom.
                Kind::String { escaped: false } if text.is_ascii() => {
                    qjs::JS_NewAtomLen(self.raw, text.as_ptr().cast(), text.len() as _)
                }
                kind => {
                    let name = self.string(node, kind == Kind::String { escaped: true });
                    if qjs::JS_IsException(name) {
                        return 0;
                    }
                    let atom = qjs::JS_ValueToAtom(self.raw, name);
                    qjs::JS_FreeValue(self.raw, name);
                    atom
                }
            }
        }
    }

    /// # Safety
    /// The context is live; the references belong to whoever gets the members.
    unsafe fn members(&self, index: u32) -> rquickjs::Result<Box<Made>> {
        let mut owned = Owned { raw: self.raw, made: Some(Box::new(Made::of(self.document.serial))) };
        let Some(made) = owned.made.as_mut() else { return Err(rquickjs::Error::Unknown) };
        let mut known: HashSet<qjs::JSAtom> = HashSet::new();
        let mut children = self.document.tape.children(index);
        while let (Some((name, key)), Some((at, node))) = (children.next(), children.next()) {
            // SAFETY: as promised; what is made is the members'.
            let (atom, value) = unsafe {
                let atom = self.atom(key);
                if atom == 0 {
                    return Err(rquickjs::Error::Exception);
                }
                match self.value(at, node) {
                    Ok(value) => (atom, value),
                    Err(error) => {
                        qjs::JS_FreeAtom(self.raw, atom);
                        return Err(error);
                    }
                }
            };
            let is_known = if made.members.len() < FEW {
                made.members.iter().any(|member| member.atom == atom)
            } else {
                if known.is_empty() {
                    known.extend(made.members.iter().map(|member| member.atom));
                }
                !known.insert(atom)
            };
            if !is_known {
                made.members.push(Member { atom, value, name });
                continue;
            }
            // Of two members of one name the later counts, in the place of the earlier.
            made.is_regular = false;
            if let Some(member) = made.members.iter_mut().find(|member| member.atom == atom) {
                let before = std::mem::replace(&mut member.value, value);
                // SAFETY: both references are the members'.
                unsafe {
                    qjs::JS_FreeValue(self.raw, before);
                    qjs::JS_FreeAtom(self.raw, atom);
                }
            }
        }
        owned.made.take().ok_or(rquickjs::Error::Unknown)
    }
}

impl Made {
    fn of(serial: u64) -> Self {
        Self { members: Vec::new(), is_plain: false, is_regular: true, serial, printed: None }
    }
}

/// Members that no object has taken over yet.
struct Owned {
    raw: *mut qjs::JSContext,
    made: Option<Box<Made>>,
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(made) = self.made.take() {
            // SAFETY: the context is live as long as its values are made.
            unsafe { release(qjs::JS_GetRuntime(self.raw), *made) };
        }
    }
}

/// # Safety
/// The runtime is the members'.
unsafe fn release(runtime: *mut qjs::JSRuntime, made: Made) {
    for Member { atom, value, .. } in made.members {
        // SAFETY: as promised; each reference is given up once.
        unsafe {
            qjs::JS_FreeValueRT(runtime, value);
            qjs::JS_FreeAtomRT(runtime, atom);
        }
    }
}

/// The members of an object that is text, which it has from now on.
///
/// # Safety
/// `object` is of the class, and untouched.
unsafe fn list(ctx: &Ctx<'_>, object: qjs::JSValue, node: u32, document: &Document) -> Result<*mut Made, Pending> {
    let maker = Maker::of(ctx, document).map_err(|_| Pending)?;
    // SAFETY: as promised; the object owns the box from now on.
    unsafe {
        let made = maker.members(node).map_err(|error| pend(ctx, error))?;
        let made = Box::into_raw(made);
        qjs::JS_SetOpaque(object, made.cast());
        Ok(made)
    }
}

fn pend(ctx: &Ctx<'_>, error: rquickjs::Error) -> Pending {
    if !matches!(error, rquickjs::Error::Exception) {
        rquickjs::Exception::throw_message(ctx, &error.to_string());
    }
    Pending
}

/// Gives an object its properties unless it has them; its members when it just got them.
///
/// # Safety
/// `object` is of the class.
unsafe fn settle(ctx: &Ctx<'_>, object: qjs::JSValue) -> Result<Option<*mut Made>, Pending> {
    let document = document_of(ctx);
    let serial = document.as_ref().map_or(0, |document| document.serial);
    // SAFETY: as promised; the box lives as long as the object.
    unsafe {
        let made = match (state(object, serial), &document) {
            (State::Text(node), Some(document)) => list(ctx, object, node, document)?,
            (State::Listed(made), _) => made,
            (State::Plain(_) | State::Stale | State::Text(_), _) => return Ok(None),
        };
        let raw = ctx.as_raw().as_ptr();
        let flags = (qjs::JS_PROP_C_W_E | qjs::JS_PROP_NO_EXOTIC) as c_int;
        for Member { atom, value, .. } in &(*made).members {
            if qjs::JS_DefinePropertyValue(raw, object, *atom, qjs::JS_DupValue(raw, *value), flags) < 0 {
                return Err(Pending);
            }
        }
        (*made).is_plain = true;
        Ok(Some(made))
    }
}

/// The context QuickJS calls with.
///
/// # Safety
/// It is live for as long as the call lasts.
unsafe fn enter<'js>(raw: *mut qjs::JSContext) -> Option<Ctx<'js>> {
    // SAFETY: as promised.
    std::ptr::NonNull::new(raw).map(|raw| unsafe { Ctx::from_raw(raw) })
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
        let Some(ctx) = enter(raw) else { return -1 };
        let serial = document_of(&ctx).map_or(0, |document| document.serial);
        let made = match state(object, serial) {
            State::Text(_) => match settle(&ctx, object) {
                Ok(Some(made)) => made,
                Ok(None) => return 0,
                Err(Pending) => return -1,
            },
            State::Listed(made) => made,
            // All it has are properties, and QuickJS has looked among them.
            State::Plain(_) | State::Stale => return 0,
        };
        let Some(member) = (*made).members.iter().find(|member| member.atom == name) else { return 0 };
        if let Some(descriptor) = descriptor.as_mut() {
            descriptor.flags = qjs::JS_PROP_C_W_E as c_int;
            descriptor.value = qjs::JS_DupValue(raw, member.value);
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
        let Some(ctx) = enter(raw) else { return -1 };
        names.write(std::ptr::null_mut());
        count.write(0);
        let document = document_of(&ctx);
        let serial = document.as_ref().map_or(0, |document| document.serial);
        let made = match (state(object, serial), &document) {
            (State::Text(node), Some(document)) => match list(&ctx, object, node, document) {
                Ok(made) => made,
                Err(Pending) => return -1,
            },
            (State::Listed(made), _) => made,
            (State::Plain(_) | State::Stale | State::Text(_), _) => return 0,
        };
        let Some(document) = document else { return 0 };
        let members = &(*made).members;
        // Array indexes come first, in their order.
        let mut order: Vec<(Option<u32>, &Member)> =
            members.iter().map(|member| (array_index(&document, member), member)).collect();
        order.sort_by_key(|(index, _)| index.map_or((1, 0), |index| (0, index)));
        let bytes = size_of::<qjs::JSPropertyEnum>() * order.len().max(1);
        let list = qjs::js_malloc(raw, bytes as _).cast::<qjs::JSPropertyEnum>();
        if list.is_null() {
            return -1;
        }
        for (at, (_, member)) in order.iter().enumerate() {
            let atom = qjs::JS_DupAtom(raw, member.atom);
            list.add(at).write(qjs::JSPropertyEnum { is_enumerable: true, atom });
        }
        names.write(list);
        count.write(order.len() as u32);
        0
    }
}

/// The array index that a name is, if it is one.
fn array_index(document: &Document, member: &Member) -> Option<u32> {
    let name = document.string(document.tape.node(member.name)?);
    let is_canonical = name == "0" || (!name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit()));
    name.parse().ok().filter(|index| is_canonical && *index != u32::MAX)
}

unsafe extern "C" fn delete_property(raw: *mut qjs::JSContext, object: qjs::JSValue, name: qjs::JSAtom) -> c_int {
    // SAFETY: as above.
    unsafe {
        let Some(ctx) = enter(raw) else { return -1 };
        match settle(&ctx, object) {
            Ok(Some(_)) => qjs::JS_DeleteProperty(raw, object, name, 0),
            // There is no such property.
            Ok(None) => 1,
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
        let Some(ctx) = enter(raw) else { return -1 };
        if settle(&ctx, object).is_err() {
            return -1;
        }
        qjs::JS_DefineProperty(raw, object, name, value, getter, setter, flags | qjs::JS_PROP_NO_EXOTIC as c_int)
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
            (*made).members.iter().for_each(|member| qjs::JS_MarkValue(runtime, member.value, mark));
        }
    }
}

unsafe extern "C" fn finalize(runtime: *mut qjs::JSRuntime, object: qjs::JSValue) {
    // SAFETY: as above; this is the last that is heard of the object.
    unsafe {
        if let Some(made) = held(object) {
            release(runtime, *Box::from_raw(made));
        }
    }
}
