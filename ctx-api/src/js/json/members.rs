//! What an object of the text has in it, as JavaScript values.

use std::collections::HashSet;
use std::ffi::{CString, c_int};

use rquickjs::qjs;

use super::object::{Document, pack};
use super::tape::{Kind, Node};

/// Members up to which names are compared one with another.
const FEW: usize = 16;

/// An exception is pending in the context.
#[derive(Debug)]
pub(super) struct Pending;

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
    pub(super) is_plain: bool,
    /// No name comes twice: the members are what the text says.
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

    /// # Safety
    /// The context is live; the references belong to whoever gets the members.
    pub(super) unsafe fn members(&self, index: u32) -> Result<Box<Made>, Pending> {
        let mut owned = Owned { raw: self.raw, made: Made::of(self.document.serial()) };
        let made = &mut owned.made;
        let mut known: HashSet<qjs::JSAtom> = HashSet::new();
        let mut children = self.document.tape.children(index);
        while let (Some((name, key)), Some((at, node))) = (children.next(), children.next()) {
            // SAFETY: as promised; what is made is the members'.
            let (atom, value) = unsafe {
                let atom = self.atom(key);
                if atom == 0 {
                    return Err(Pending);
                }
                match self.value(at, node) {
                    Ok(value) => (atom, value),
                    Err(Pending) => {
                        qjs::JS_FreeAtom(self.raw, atom);
                        return Err(Pending);
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
        Ok(Box::new(std::mem::replace(&mut owned.made, Made::of(0))))
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
            qjs::JS_FreeValueRT(runtime, value);
            qjs::JS_FreeAtomRT(runtime, atom);
        }
    }
}
