//! A result as JSON: what was not changed is copied out of the text it came in.
//!
//! Only what is data through and through is printed here, so that no line of a script runs meanwhile. Whatever could run one (an
//! accessor, a `toJSON`, a proxy), or is to be refused in QuickJS's words (a circle, a BigInt), is left to `JSON.stringify`.

use std::io::Write as _;
use std::rc::Rc;

use rquickjs::{Ctx, Value, qjs};

use super::members::Made;
use super::object::{Document, Places, State, print_of, state};
use super::tape::Kind;

/// Nesting past which a value is left to QuickJS.
const MAX_DEPTH: usize = 128;
/// Octets past which it is, whose memory is metered.
const MAX_BYTES: usize = 4 << 20;
/// Values and members looked at past which it is.
const MAX_STEPS: usize = 1 << 20;

/// JSON of a run's result; `None`: `JSON.stringify` is to print it.
pub(crate) fn print(ctx: &Ctx<'_>, value: &Value<'_>) -> Option<String> {
    let (places, document, print) = print_of(ctx)?;
    let capacity = document.as_ref().map_or(64, |document| document.text().len() * 2);
    let raw = ctx.as_raw().as_ptr();
    let mut printer = Printer { raw, places, document, print, out: Vec::with_capacity(capacity), within: Vec::new(), steps: 0 };
    // SAFETY: the context is live, and nothing is pending in it.
    let printed = unsafe { printer.has_plain_prototypes() && printer.value(value.as_raw()) == Ok(true) };
    if !printed {
        return None;
    }
    String::from_utf8(printer.out).ok()
}

/// Left to QuickJS.
#[derive(Debug, PartialEq, Eq)]
struct Refused;

struct Printer {
    raw: *mut qjs::JSContext,
    places: Places,
    /// Absent where it was small: then no object is text.
    document: Option<Rc<Document>>,
    /// Number of this print.
    print: u64,
    out: Vec<u8>,
    /// Objects that are being printed.
    within: Vec<usize>,
    steps: usize,
}

/// A property's value.
struct Held {
    raw: *mut qjs::JSContext,
    value: qjs::JSValue,
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: the reference is this one's.
        unsafe { qjs::JS_FreeValue(self.raw, self.value) };
    }
}

/// Names of an object's properties.
struct Names {
    raw: *mut qjs::JSContext,
    list: *mut qjs::JSPropertyEnum,
    count: u32,
}

impl Names {
    fn atoms(&self) -> impl ExactSizeIterator<Item = qjs::JSAtom> {
        // SAFETY: QuickJS gave the list and its length.
        unsafe { std::slice::from_raw_parts(self.list, self.count as usize) }.iter().map(|name| name.atom)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the list is this one's.
        unsafe { qjs::JS_FreePropertyEnum(self.raw, self.list, self.count) };
    }
}

impl Printer {
    /// No object has a `toJSON` of its prototype's.
    unsafe fn has_plain_prototypes(&self) -> bool {
        [self.places.object_prototype, self.places.array_prototype].into_iter().all(|prototype| {
            // SAFETY: prototypes live as long as their context.
            unsafe { !self.has_own(prototype, self.places.to_json) }
        })
    }

    unsafe fn has_own(&self, object: qjs::JSValue, name: qjs::JSAtom) -> bool {
        // SAFETY: an ordinary object: nothing of a script's runs.
        unsafe { qjs::JS_GetOwnProperty(self.raw, std::ptr::null_mut(), object, name) != 0 }
    }

    /// The value of an object's own property; `None`: it has none.
    unsafe fn own(&self, object: qjs::JSValue, name: qjs::JSAtom) -> Result<Option<Held>, Refused> {
        let mut descriptor = std::mem::MaybeUninit::<qjs::JSPropertyDescriptor>::uninit();
        // SAFETY: as above; the descriptor is filled in when there is one.
        unsafe {
            match qjs::JS_GetOwnProperty(self.raw, descriptor.as_mut_ptr(), object, name) {
                0 => Ok(None),
                1 => {
                    let descriptor = descriptor.assume_init();
                    if descriptor.flags & qjs::JS_PROP_GETSET as i32 != 0 {
                        qjs::JS_FreeValue(self.raw, descriptor.getter);
                        qjs::JS_FreeValue(self.raw, descriptor.setter);
                        return Err(Refused);
                    }
                    Ok(Some(Held { raw: self.raw, value: descriptor.value }))
                }
                _ => Err(self.forget()),
            }
        }
    }

    /// Memory is short: QuickJS will find that out by itself.
    unsafe fn forget(&self) -> Refused {
        // SAFETY: the context is live.
        unsafe { qjs::JS_FreeValue(self.raw, qjs::JS_GetException(self.raw)) };
        Refused
    }

    fn step(&mut self) -> Result<(), Refused> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.out.len() > MAX_BYTES { Err(Refused) } else { Ok(()) }
    }

    /// Prints a value; `false`: JSON has none for it.
    unsafe fn value(&mut self, value: qjs::JSValue) -> Result<bool, Refused> {
        self.step()?;
        // SAFETY: the value lives as long as the call.
        unsafe {
            match qjs::JS_VALUE_GET_NORM_TAG(value) {
                qjs::JS_TAG_NULL => self.out.extend_from_slice(b"null"),
                qjs::JS_TAG_BOOL if qjs::JS_VALUE_GET_BOOL(value) => self.out.extend_from_slice(b"true"),
                qjs::JS_TAG_BOOL => self.out.extend_from_slice(b"false"),
                qjs::JS_TAG_INT => self.whole(qjs::JS_VALUE_GET_INT(value)),
                qjs::JS_TAG_FLOAT64 if !qjs::JS_VALUE_GET_FLOAT64(value).is_finite() => self.out.extend_from_slice(b"null"),
                qjs::JS_TAG_FLOAT64 => self.text(value, |text, out| out.extend_from_slice(text))?,
                qjs::JS_TAG_STRING | qjs::JS_TAG_STRING_ROPE => self.quoted(value)?,
                qjs::JS_TAG_UNDEFINED | qjs::JS_TAG_SYMBOL => return Ok(false),
                qjs::JS_TAG_OBJECT => self.object(value)?,
                _ => return Err(Refused),
            }
        }
        Ok(true)
    }

    unsafe fn object(&mut self, object: qjs::JSValue) -> Result<(), Refused> {
        // SAFETY: an object; its class is looked at before anything else.
        unsafe {
            let class = qjs::JS_GetClassID(object);
            if class == self.places.class {
                return match state(object, self.serial()) {
                    State::Text(node) => {
                        let document = self.document.clone().ok_or(Refused)?;
                        let node = document.tape.node(node).ok_or(Refused)?;
                        self.copy(&document, node.start, node.end);
                        Ok(())
                    }
                    State::Listed(made) | State::Plain(made) => self.once(object, made),
                    State::Stale => Err(Refused),
                };
            }
            if class == self.places.array_class {
                return self.enter(object, |printer| printer.array(object));
            }
            if class != self.places.object_class {
                return Err(Refused);
            }
            self.enter(object, |printer| printer.all(object))
        }
    }

    unsafe fn all(&mut self, object: qjs::JSValue) -> Result<(), Refused> {
        // SAFETY: an object of a known class.
        unsafe {
            let names = self.names(object)?;
            self.properties(object, &names)
        }
    }

    /// Prints what may be there twice, such as a row in both spellings of a list, and copies it the second time.
    unsafe fn once(&mut self, object: qjs::JSValue, made: *mut Made) -> Result<(), Refused> {
        // SAFETY: the box lives as long as its object.
        let known = unsafe { (*made).printed };
        if let Some((print, start, end)) = known
            && print == self.print
        {
            self.out.extend_from_within(start..end);
            return Ok(());
        }
        let start = self.out.len();
        // SAFETY: as above.
        unsafe {
            let (is_plain, is_regular) = ((*made).is_plain, (*made).is_regular);
            self.enter(object, |printer| {
                if is_regular && !is_plain {
                    return printer.members(object, &*made);
                }
                // What is asked for here may make members.
                let names = printer.names(object)?;
                let made = &*made;
                let is_whole = is_regular && names.atoms().eq(made.members.iter().map(|member| member.atom));
                if is_whole { printer.members(object, made) } else { printer.properties(object, &names) }
            })?;
            (*made).printed = Some((self.print, start, self.out.len()));
        }
        Ok(())
    }

    /// Goes into an object, unless there may be a `toJSON` or it is within itself.
    unsafe fn enter(
        &mut self,
        object: qjs::JSValue,
        print: impl FnOnce(&mut Self) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        // SAFETY: an object of a known class.
        let (address, is_plain) = unsafe {
            let prototype = Held { raw: self.raw, value: qjs::JS_GetPrototype(self.raw, object) };
            let known = [self.places.object_prototype, self.places.array_prototype, qjs::JS_NULL];
            let is_plain =
                known.into_iter().any(|known| is_same(known, prototype.value)) && !self.has_own(object, self.places.to_json);
            (qjs::JS_VALUE_GET_PTR(object).addr(), is_plain)
        };
        if !is_plain || self.within.len() == MAX_DEPTH || self.within.contains(&address) {
            return Err(Refused);
        }
        self.within.push(address);
        let printed = print(self);
        self.within.pop();
        printed
    }

    unsafe fn names(&self, object: qjs::JSValue) -> Result<Names, Refused> {
        let (mut list, mut count) = (std::ptr::null_mut(), 0);
        let flags = (qjs::JS_GPN_STRING_MASK | qjs::JS_GPN_ENUM_ONLY) as i32;
        // SAFETY: an object of a known class.
        unsafe {
            if qjs::JS_GetOwnPropertyNames(self.raw, &raw mut list, &raw mut count, object, flags) < 0 {
                return Err(self.forget());
            }
        }
        Ok(Names { raw: self.raw, list, count })
    }

    unsafe fn array(&mut self, array: qjs::JSValue) -> Result<(), Refused> {
        let mut length = 0;
        // SAFETY: an array, whose length is a number.
        unsafe {
            if qjs::JS_GetLength(self.raw, array, &raw mut length) < 0 {
                return Err(self.forget());
            }
            self.out.push(b'[');
            for index in 0..length {
                if index > 0 {
                    self.out.push(b',');
                }
                // Indexes of arrays that are longer are no small numbers any more.
                let index = u32::try_from(index).ok().filter(|index| *index < 1 << 31).ok_or(Refused)?;
                // A hole shows what the prototype has there.
                let element = self.own(array, index | 1 << 31)?.ok_or(Refused)?;
                if !self.value(element.value)? {
                    self.out.extend_from_slice(b"null");
                }
            }
        }
        self.out.push(b']');
        Ok(())
    }

    /// Prints an object that has the text's members, in their order, and after them what a script has added.
    unsafe fn members(&mut self, object: qjs::JSValue, made: &Made) -> Result<(), Refused> {
        let document = self.document.clone().ok_or(Refused)?;
        self.out.push(b'{');
        let begin = self.out.len();
        // Members one after another that go back as they came.
        let mut same: Option<(u32, u32)> = None;
        for member in &made.members {
            self.step()?;
            let text = member.name.and_then(|name| document.tape.node(name).zip(document.tape.node(name + 1)));
            // SAFETY: values live as long as they are held.
            unsafe {
                let own = if made.is_plain { Some(self.own(object, member.atom)?.ok_or(Refused)?) } else { None };
                let value = own.as_ref().map(|own| own.value).or(member.value);
                if let Some((name, text)) = text.filter(|_| !member.is_changed)
                    && self.is_untouched(value.zip(member.value), text.kind)
                {
                    same = Some((same.map_or(name.start, |(start, _)| start), text.end));
                    continue;
                }
                if let Some((start, end)) = same.take() {
                    self.separate(begin);
                    self.copy(&document, start, end);
                }
                let before = self.out.len();
                self.separate(begin);
                match text {
                    Some((name, _)) => self.copy(&document, name.start, name.end),
                    None => self.name(member.atom)?,
                }
                self.out.push(b':');
                if !self.value(value.ok_or(Refused)?)? {
                    self.out.truncate(before);
                }
            }
        }
        if let Some((start, end)) = same {
            self.separate(begin);
            self.copy(&document, start, end);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Whether a value is the one that was made of the text, and still what it was then; `None`: nobody has asked for it.
    unsafe fn is_untouched(&self, values: Option<(qjs::JSValue, qjs::JSValue)>, kind: Kind) -> bool {
        let Some((value, made)) = values else { return true };
        if !is_same(value, made) {
            return false;
        }
        match kind {
            Kind::Null | Kind::True | Kind::False | Kind::Number | Kind::String { .. } => true,
            Kind::Array => false,
            // SAFETY: an object; an empty one is of no class of ours.
            Kind::Object => unsafe {
                qjs::JS_GetClassID(value) == self.places.class && matches!(state(value, self.serial()), State::Text(_))
            },
        }
    }

    unsafe fn properties(&mut self, object: qjs::JSValue, names: &Names) -> Result<(), Refused> {
        self.out.push(b'{');
        let begin = self.out.len();
        for name in names.atoms() {
            // SAFETY: an object of a known class.
            unsafe {
                let value = self.own(object, name)?.ok_or(Refused)?;
                let before = self.out.len();
                self.separate(begin);
                self.name(name)?;
                self.out.push(b':');
                if !self.value(value.value)? {
                    self.out.truncate(before);
                }
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    unsafe fn name(&mut self, atom: qjs::JSAtom) -> Result<(), Refused> {
        // SAFETY: an atom of the context, and a string.
        unsafe {
            let text = Held { raw: self.raw, value: qjs::JS_AtomToString(self.raw, atom) };
            self.quoted(text.value)
        }
    }

    fn whole(&mut self, number: i32) {
        // Writing to memory cannot fail.
        let _ = write!(self.out, "{number}");
    }

    fn separate(&mut self, begin: usize) {
        if self.out.len() > begin {
            self.out.push(b',');
        }
    }

    fn copy(&mut self, document: &Document, start: u32, end: u32) {
        self.out.extend_from_slice(document.slice(start, end).as_bytes());
    }

    fn serial(&self) -> u64 {
        self.document.as_ref().map_or(0, |document| document.serial())
    }

    unsafe fn quoted(&mut self, value: qjs::JSValue) -> Result<(), Refused> {
        // SAFETY: a string.
        unsafe { self.text(value, quote) }
    }

    /// Appends a string or number as `shape` makes it.
    unsafe fn text(&mut self, value: qjs::JSValue, shape: fn(&[u8], &mut Vec<u8>)) -> Result<(), Refused> {
        let mut length = 0;
        // SAFETY: no object, so that nothing of a script's runs; the buffer holds `length` bytes until it is freed, once.
        unsafe {
            let bytes = qjs::JS_ToCStringLen2(self.raw, &raw mut length, value, false);
            if bytes.is_null() {
                return Err(self.forget());
            }
            shape(std::slice::from_raw_parts(bytes.cast::<u8>(), length as usize), &mut self.out);
            qjs::JS_FreeCString(self.raw, bytes);
        }
        Ok(())
    }
}

/// One value and not just an equal one.
fn is_same(one: qjs::JSValue, other: qjs::JSValue) -> bool {
    // SAFETY: only the bits that the tag stands for are looked at.
    unsafe {
        let tag = qjs::JS_VALUE_GET_NORM_TAG(one);
        tag == qjs::JS_VALUE_GET_NORM_TAG(other)
            && match tag {
                qjs::JS_TAG_NULL | qjs::JS_TAG_UNDEFINED => true,
                qjs::JS_TAG_INT => qjs::JS_VALUE_GET_INT(one) == qjs::JS_VALUE_GET_INT(other),
                qjs::JS_TAG_BOOL => qjs::JS_VALUE_GET_BOOL(one) == qjs::JS_VALUE_GET_BOOL(other),
                qjs::JS_TAG_FLOAT64 => qjs::JS_VALUE_GET_FLOAT64(one).to_bits() == qjs::JS_VALUE_GET_FLOAT64(other).to_bits(),
                _ => qjs::JS_VALUE_GET_PTR(one) == qjs::JS_VALUE_GET_PTR(other),
            }
    }
}

/// Appends a JSON string. `text` is UTF-8 but for halves of surrogate pairs, each in three octets.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0xed)).unwrap_or(rest.len());
        let (before, special) = rest.split_at(plain);
        out.extend_from_slice(before);
        let code = match special {
            [] => break,
            [0xed, second @ 0xa0..=0xbf, third, ..] => 0xd000 | u32::from(second & 0x3f) << 6 | u32::from(third & 0x3f),
            [byte, ..] => u32::from(*byte),
        };
        let short = match code {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            0x22 => b'"',
            0x5c => b'\\',
            _ => 0,
        };
        let taken = match (short, code) {
            (0, 0xed) => {
                out.push(0xed);
                1
            }
            (0, _) => {
                // Writing to memory cannot fail.
                let _ = write!(out, "\\u{code:04x}");
                if code > 0xff { 3 } else { 1 }
            }
            (short, _) => {
                out.extend_from_slice(&[b'\\', short]);
                1
            }
        };
        rest = special.get(taken..).unwrap_or_default();
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted_as_json_stringify_does() {
        let quoted = |text: &[u8]| {
            let mut out = Vec::new();
            quote(text, &mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(quoted(b"a\"b\\c\n\x01\x7f"), "\"a\\\"b\\\\c\\n\\u0001\x7f\"");
        assert_eq!(quoted("한é🙂".as_bytes()), "\"한é🙂\"");
        assert_eq!(quoted(b"\xed\xa0\xbdx\xed\xb8\x80"), r#""\ud83dx\ude00""#);
    }
}
