//! What an object of the text has in it, as JavaScript values.

use std::collections::HashMap;
use std::ffi::{CString, c_int};

use rquickjs::qjs;

use super::object::{Document, pack};
use super::tape::{Kind, Node};

/// Members up to which they are looked through for a name.
const FEW: usize = 16;

/// An exception is pending in the context.
#[derive(Debug)]
pub(super) struct Pending;

/// A member of an object.
pub(super) struct Member {
    pub(super) atom: qjs::JSAtom,
    /// `None` until somebody asks for it.
    pub(super) value: Option<qjs::JSValue>,
    /// Its name on the tape, which its value follows; `None`: a script has added it.
    pub(super) name: Option<u32>,
    /// A script has put its value in the place of the text's.
    pub(super) is_changed: bool,
}

/// An object that has been touched.
pub(super) struct Made {
    /// As in the text, with what scripts have added after it. Its references are the object's, which marks and frees them.
    pub(super) members: Vec<Member>,
    /// Where they are by name, when they are many.
    places: HashMap<qjs::JSAtom, usize>,
    /// Members have become properties.
    pub(super) is_plain: bool,
    /// No name comes twice, and all are in the order in which JavaScript names them: the members are what the text says.
    pub(super) is_regular: bool,
    pub(super) serial: u64,
    /// Where it was printed last: number of the print, and the part of its text.
    pub(super) printed: Option<(u64, usize, usize)>,
}

/// Makes values of a document.
pub(super) struct Maker<'a> {
    pub(super) raw: *mut qjs::JSContext,
    /// Of objects that are text.
    pub(super) class: qjs::JSClassID,
    pub(super) document: &'a Document,
}

impl Maker<'_> {
    /// # Safety
    /// The context is live; the reference belongs to the caller.
    pub(super) unsafe fn value(&self, index: u32, node: Node) -> Result<qjs::JSValue, Pending> {
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
                        qjs::JS_SetOpaque(object, pack(index, self.document.serial()));
                    }
                    object
                }
            }
        };
        // SAFETY: only the tag is looked at.
        if unsafe { qjs::JS_IsException(value) } { Err(Pending) } else { Ok(value) }
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

    unsafe fn array(&self, index: u32) -> Result<qjs::JSValue, Pending> {
        let mut values = Vec::new();
        for (index, node) in self.document.tape.children(index) {
            // SAFETY: the array takes the values over, or they are freed.
            unsafe {
                match self.value(index, node) {
                    Ok(value) => values.push(value),
                    Err(Pending) => {
                        values.into_iter().for_each(|value| qjs::JS_FreeValue(self.raw, value));
                        return Err(Pending);
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

    /// Whether a name that stands behind another in the text is named behind it by JavaScript, too: array indexes come first and
    /// in their order.
    fn is_in_order(&self, before: Option<&Member>, atom: qjs::JSAtom, name: Node) -> bool {
        let Some(before) = before else { return true };
        match (small_index(before.atom), small_index(atom)) {
            (Some(before), Some(index)) => before < index,
            (None, Some(_)) => false,
            // Larger ones are no such atoms.
            (_, None) => !self.document.string(name).starts_with(|first: char| first.is_ascii_digit() || first == '\\'),
        }
    }

    /// The members of an object, without their values.
    ///
    /// # Safety
    /// The context is live; the references belong to whoever gets the members.
    pub(super) unsafe fn members(&self, index: u32) -> Result<Box<Made>, Pending> {
        let mut owned = Owned { raw: self.raw, made: Made::of(self.document.serial()) };
        let made = &mut owned.made;
        // As many as there are where none is an object or array.
        let nodes = self.document.tape.node(index).map_or(0, |node| node.next.saturating_sub(index));
        made.members.reserve_exact((nodes / 2).min(FEW as u32) as usize);
        let mut children = self.document.tape.children(index);
        while let (Some((name, key)), Some(_)) = (children.next(), children.next()) {
            // SAFETY: as promised; what is made is the members'.
            let atom = unsafe { self.atom(key) };
            if atom == 0 {
                return Err(Pending);
            }
            match made.find(atom).and_then(|at| made.members.get_mut(at)) {
                None => {
                    made.is_regular &= self.is_in_order(made.members.last(), atom, key);
                    made.add(Member { atom, value: None, name: Some(name), is_changed: false });
                }
                Some(member) => {
                    // Of two members of one name the later counts, in the place of the earlier.
                    member.name = Some(name);
                    made.is_regular = false;
                    // SAFETY: the reference was just made.
                    unsafe { qjs::JS_FreeAtom(self.raw, atom) };
                }
            }
        }
        Ok(Box::new(std::mem::replace(&mut owned.made, Made::of(0))))
    }
}

impl Made {
    fn of(serial: u64) -> Self {
        Self { members: Vec::new(), places: HashMap::new(), is_plain: false, is_regular: true, serial, printed: None }
    }

    /// Which member has that name.
    pub(super) fn find(&self, name: qjs::JSAtom) -> Option<usize> {
        if self.places.is_empty() {
            self.members.iter().position(|member| member.atom == name)
        } else {
            self.places.get(&name).copied()
        }
    }

    /// Adds a member of a name that none has.
    pub(super) fn add(&mut self, member: Member) {
        let count = self.members.len();
        if count == FEW {
            self.places = self.members.iter().map(|member| member.atom).zip(0..).collect();
        }
        if count >= FEW {
            self.places.insert(member.atom, count);
        }
        self.members.push(member);
    }
}

/// The number that an atom is, as those of array indexes below 2^31 are.
pub(super) fn small_index(atom: qjs::JSAtom) -> Option<u32> {
    (atom >> 31 == 1).then_some(atom & (u32::MAX >> 1))
}

/// Members that no object has taken over yet.
struct Owned {
    raw: *mut qjs::JSContext,
    made: Made,
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the context is live as long as its values are made.
        unsafe { release(qjs::JS_GetRuntime(self.raw), &mut self.made) };
    }
}

/// # Safety
/// The runtime is the members'.
pub(super) unsafe fn release(runtime: *mut qjs::JSRuntime, made: &mut Made) {
    for Member { atom, value, .. } in made.members.drain(..) {
        // SAFETY: as promised; each reference is given up once.
        unsafe {
            if let Some(value) = value {
                qjs::JS_FreeValueRT(runtime, value);
            }
            qjs::JS_FreeAtomRT(runtime, atom);
        }
    }
}
