//! Reading the arguments of an operation, with messages a script's author understands.

use std::cell::{Cell, RefCell};

use rquickjs::{Array, ArrayBuffer, Ctx, Object, Value};

use super::MAX_ASKED_BYTES;
use super::value::{self, length};
use crate::error::{ErrorCode, OpError};
use crate::op::Headers;
use crate::pattern::{Pattern, PatternError};

/// Most entries of a list argument (sources, targets, headers).
const MAX_LIST: usize = 100;
/// What the header fields of one place may take together, names included, in bytes: a SIP message must fit a datagram.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// What the source of `new RegExp('')` reads.
const EMPTY_PATTERN: &str = "(?:)";
/// The largest time an option takes, about 317 years, in ms: exact as a JavaScript number and far from overflow.
const MAX_MS: f64 = 1e13;

/// Why an operation was not issued.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The arguments do not fit.
    Op(OpError),
    /// Reading them ran script code (a getter, a `toString`) that threw; its exception is pending.
    Thrown(rquickjs::Error),
}

impl From<rquickjs::Error> for Refusal {
    fn from(error: rquickjs::Error) -> Self {
        Self::Thrown(error)
    }
}

impl From<OpError> for Refusal {
    fn from(error: OpError) -> Self {
        Self::Op(error)
    }
}

pub(super) type Converted<T> = Result<T, Refusal>;

/// The arguments of one call of an operation.
pub(super) struct CallArgs<'a, 'js> {
    pub(super) ctx: &'a Ctx<'js>,
    /// As the script named it: `say` rather than `tts` when that is what it called.
    pub(super) operation: &'a str,
    values: Vec<Value<'js>>,
    unknown: RefCell<Vec<String>>,
    /// What was read of all operations of the turn, in bytes.
    asked: &'a Cell<usize>,
}

impl<'a, 'js> CallArgs<'a, 'js> {
    /// `asked` counts what the turn's operations take.
    pub(super) fn new(
        ctx: &'a Ctx<'js>,
        operation: &'a str,
        values: &Array<'js>,
        asked: &'a Cell<usize>,
    ) -> rquickjs::Result<Self> {
        let values = values.iter().take(16).collect::<rquickjs::Result<_>>()?;
        Ok(Self { ctx, operation, values, unknown: RefCell::default(), asked })
    }

    /// Arguments within an argument.
    pub(super) fn nested(&self, values: &Array<'js>) -> rquickjs::Result<Self> {
        Self::new(self.ctx, self.operation, values, self.asked)
    }

    /// The value as `String(value)` shows it.
    pub(super) fn text(&self, value: &Value<'js>) -> Converted<String> {
        read_text(self.ctx, self.operation, self.asked, value)
    }

    /// The octets of a buffer; `None` where it was detached.
    pub(super) fn octets(&self, buffer: &ArrayBuffer<'js>) -> Converted<Option<Vec<u8>>> {
        // SAFETY: copied before any script code runs that could detach the buffer.
        let Some(octets) = (unsafe { buffer.as_bytes() }) else { return Ok(None) };
        count(self.operation, self.asked, octets.len())?;
        Ok(Some(octets.to_vec()))
    }

    /// Option names that no operation knows, found while converting.
    pub(super) fn into_unknown(self) -> Vec<String> {
        self.unknown.into_inner()
    }

    /// The `index`-th argument; absent, `undefined` and `null` are one.
    pub(super) fn at(&self, index: usize) -> Option<Value<'js>> {
        self.values.get(index).filter(|value| !value.is_undefined() && !value.is_null()).cloned()
    }

    /// A named view of one argument, for messages and conversion.
    pub(super) fn arg<'s>(&'s self, index: usize, name: &'s str) -> Arg<'s, 'js> {
        Arg { ctx: self.ctx, operation: self.operation, name, value: self.at(index), asked: self.asked }
    }

    /// The options object at `index`, read by name; a missing one has no options.
    pub(super) fn options(&self, index: usize) -> Converted<Options<'_, 'js>> {
        let object = match self.at(index) {
            None => None,
            Some(value) => match plain_object(&value) {
                Some(object) => Some(object),
                None => return Err(self.type_error("options", "an object", &value).into()),
            },
        };
        Ok(Options { args: self, object, known: RefCell::new(vec!["signal"]) })
    }

    /// Whether the `index`-th argument is an options object rather than a value or a list.
    pub(super) fn is_options(&self, index: usize) -> bool {
        self.at(index).is_some_and(|value| plain_object(&value).is_some())
    }

    pub(super) fn type_error(&self, name: &str, expected: &str, got: &Value<'_>) -> OpError {
        type_error(self.operation, name, expected, Some(got))
    }

    pub(super) fn range_error(&self, name: &str, expected: &str, got: impl std::fmt::Display) -> OpError {
        range_error(self.operation, name, expected, got)
    }
}

/// One argument or option.
pub(super) struct Arg<'a, 'js> {
    ctx: &'a Ctx<'js>,
    operation: &'a str,
    name: &'a str,
    value: Option<Value<'js>>,
    asked: &'a Cell<usize>,
}

impl<'js> Arg<'_, 'js> {
    pub(super) fn value(&self) -> Option<&Value<'js>> {
        self.value.as_ref()
    }

    fn text(&self, value: &Value<'js>) -> Converted<String> {
        read_text(self.ctx, self.operation, self.asked, value)
    }

    fn wrong_type(&self, expected: &str) -> Refusal {
        type_error(self.operation, self.name, expected, self.value.as_ref()).into()
    }

    fn out_of_range(&self, expected: &str, got: impl std::fmt::Display) -> Refusal {
        range_error(self.operation, self.name, expected, got).into()
    }

    /// A string; numbers are taken as they print, as classic scripts pass them for extensions and digits.
    pub(super) fn opt_string(&self) -> Converted<Option<String>> {
        match &self.value {
            None => Ok(None),
            Some(value) if value.is_string() || value.is_number() => self.text(value).map(Some),
            Some(_) => Err(self.wrong_type("a string")),
        }
    }

    /// A string, where an empty one is none: scripts fill options from variables and stores, in which it is what was not set.
    pub(super) fn opt_text(&self) -> Converted<Option<String>> {
        Ok(self.opt_string()?.filter(|text| !text.is_empty()))
    }

    /// A string with at least one character.
    pub(super) fn string(&self) -> Converted<String> {
        match self.opt_string()? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) | None => Err(self.wrong_type("a non-empty string")),
        }
    }

    /// A string that will travel in a protocol line, where a line break would begin another.
    pub(super) fn opt_line(&self) -> Converted<Option<String>> {
        let line = self.opt_string()?;
        if let Some(line) = &line {
            refuse_breaks(self.operation, self.name, line)?;
        }
        Ok(line)
    }

    pub(super) fn opt_bool(&self) -> Converted<Option<bool>> {
        match &self.value {
            None => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| self.wrong_type("true or false")),
        }
    }

    /// A number; a string that holds one counts, as it did in classic scripts, and an empty one is none.
    pub(super) fn opt_number(&self) -> Converted<Option<f64>> {
        let Some(value) = &self.value else { return Ok(None) };
        let number = match value.as_number() {
            Some(number) => Some(number),
            None if value.is_string() => match self.text(value)?.trim() {
                "" => return Ok(None),
                given => given.parse().ok(),
            },
            None => None,
        };
        match number {
            Some(number) if number.is_nan() => Err(self.wrong_type("a number")),
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_type("a number")),
        }
    }

    /// A whole number within `range`; fractions are cut off.
    pub(super) fn opt_integer(&self, range: std::ops::RangeInclusive<u32>) -> Converted<Option<u32>> {
        let Some(number) = self.opt_number()? else { return Ok(None) };
        let whole = number.trunc();
        if whole < f64::from(*range.start()) || whole > f64::from(*range.end()) {
            return Err(self.out_of_range(&format!("{} to {}", range.start(), range.end()), number));
        }
        Ok(Some(whole as u32))
    }

    /// A time in milliseconds.
    pub(super) fn opt_ms(&self) -> Converted<Option<u64>> {
        self.opt_time(1.0)
    }

    /// A time in seconds, as classic forms have it; the result is in milliseconds.
    pub(super) fn opt_seconds(&self) -> Converted<Option<u64>> {
        self.opt_time(1000.0)
    }

    fn opt_time(&self, unit_ms: f64) -> Converted<Option<u64>> {
        let Some(number) = self.opt_number()? else { return Ok(None) };
        if number < 0.0 {
            return Err(self.out_of_range("a time of 0 or more", number));
        }
        // Infinity, too, is as good as the largest.
        Ok(Some((number * unit_ms).min(MAX_MS).round() as u64))
    }

    /// One string, or a list of them.
    pub(super) fn strings(&self) -> Converted<Vec<String>> {
        let Some(value) = &self.value else { return Ok(Vec::new()) };
        let Some(array) = value.as_array() else {
            return Ok(vec![self.string()?]);
        };
        let count = length(array)?;
        if count > MAX_LIST as f64 {
            return Err(self.out_of_range(&format!("a list of at most {MAX_LIST}"), count));
        }
        array
            .iter::<Value<'js>>()
            .map(|item| {
                let item = Arg { value: Some(item?), ..*self };
                item.string()
            })
            .collect()
    }

    /// An option of one string or a list of them; an empty string is none.
    pub(super) fn opt_strings(&self) -> Converted<Vec<String>> {
        if self.value.as_ref().is_some_and(Value::is_string) && self.opt_text()?.is_none() {
            return Ok(Vec::new());
        }
        self.strings()
    }

    /// Telephone digits, `0-9 * # A-D`, in any case, without repeats.
    pub(super) fn opt_digit_set(&self) -> Converted<Option<String>> {
        let Some(given) = self.opt_string()? else { return Ok(None) };
        let mut digits = String::new();
        for digit in given.chars().map(|digit| digit.to_ascii_uppercase()) {
            if !is_digit(digit) {
                return Err(self.out_of_range("digits out of 0-9 * # A-D", format_args!("'{given}'")));
            }
            if !digits.contains(digit) {
                digits.push(digit);
            }
        }
        Ok(Some(digits))
    }

    /// A pattern: a string, or a `RegExp`, of which the source counts; one that the engine takes. An empty one is none.
    pub(super) fn opt_pattern(&self) -> Converted<Option<String>> {
        let Some(value) = &self.value else { return Ok(None) };
        let source = match value.as_object() {
            Some(object) => object.get::<_, Value<'js>>("source")?,
            None => value.clone(),
        };
        if !source.is_string() {
            return Err(self.wrong_type("a string or a RegExp"));
        }
        let source = self.text(&source)?;
        if matches!(source.as_str(), "" | EMPTY_PATTERN) {
            return Ok(None);
        }
        match Pattern::new(&source) {
            Ok(_) => Ok(Some(source)),
            Err(
                error @ (PatternError::TooLong { .. } | PatternError::TooLongUnlisted { .. } | PatternError::TooLarge { .. }),
            ) => {
                Err(OpError::new(ErrorCode::RangeError, format!("ctx.{}: `{}` must be {error}", self.operation, self.name))
                    .into())
            }
            Err(PatternError::Malformed(error)) => {
                let message = format!("ctx.{}: `{}` {source:?}: {error}", self.operation, self.name);
                Err(OpError::new(ErrorCode::TypeError, message).into())
            }
        }
    }

    /// Header fields of a SIP message.
    pub(super) fn headers(&self) -> Converted<Headers> {
        let headers = self.header_fields()?;
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > MAX_HEADER_BYTES {
            return Err(self.out_of_range(&format!("at most {MAX_HEADER_BYTES} bytes together"), bytes));
        }
        Ok(headers)
    }

    /// `{Name: 'value'}`, where a value may be a number or a list; also `[['Name', 'value'], …]`.
    pub(super) fn header_fields(&self) -> Converted<Headers> {
        let Some(value) = &self.value else { return Ok(Headers::new()) };
        let mut headers = Headers::new();
        if let Some(pairs) = value.as_array() {
            self.check_count(pairs)?;
            for pair in pairs.iter::<Value<'js>>() {
                let pair = pair?;
                let Some(pair) = pair.as_array() else { return Err(self.wrong_type("an object of header fields")) };
                self.push_header(&mut headers, self.text(&pair.get::<Value<'js>>(0)?)?, &pair.get(1)?)?;
            }
        } else if let Some(object) = plain_object(value) {
            for property in object.props::<Value<'js>, Value<'js>>() {
                let (name, value) = property?;
                let name = self.text(&name)?;
                match value.as_array() {
                    Some(values) => {
                        self.check_count(values)?;
                        for value in values.iter::<Value<'js>>() {
                            count(self.operation, self.asked, name.len())?;
                            self.push_header(&mut headers, name.clone(), &value?)?;
                        }
                    }
                    None => self.push_header(&mut headers, name, &value)?,
                }
            }
        } else {
            return Err(self.wrong_type("an object of header fields"));
        }
        Ok(headers)
    }

    fn check_count(&self, fields: &Array<'js>) -> Converted<()> {
        let count = length(fields)?;
        if count > MAX_LIST as f64 {
            return Err(self.out_of_range(&format!("at most {MAX_LIST} header fields"), count));
        }
        Ok(())
    }

    fn push_header(&self, headers: &mut Headers, name: String, value: &Value<'js>) -> Converted<()> {
        if value.is_undefined() || value.is_null() {
            return Ok(());
        }
        if headers.len() == MAX_LIST {
            return Err(self.out_of_range(&format!("at most {MAX_LIST} header fields"), "more"));
        }
        if !(value.is_string() || value.is_number() || value.is_bool()) {
            return Err(
                type_error(self.operation, &format!("{}['{name}']", self.name), "a string or a number", Some(value)).into()
            );
        }
        let value = self.text(value)?;
        check_header(self.operation, &name, &value)?;
        headers.push((name, value));
        Ok(())
    }
}

/// The options object of an operation. Options nobody asked for are reported: they are misspelt more often than meant.
pub(super) struct Options<'a, 'js> {
    args: &'a CallArgs<'a, 'js>,
    object: Option<Object<'js>>,
    known: RefCell<Vec<&'static str>>,
}

impl<'js> Options<'_, 'js> {
    pub(super) fn get(&self, name: &'static str) -> Converted<Arg<'_, 'js>> {
        self.known.borrow_mut().push(name);
        let value = match &self.object {
            Some(object) => object.get::<_, Value<'js>>(name)?,
            None => Value::new_undefined(self.args.ctx.clone()),
        };
        let value = Some(value).filter(|value| !value.is_undefined() && !value.is_null());
        Ok(Arg { ctx: self.args.ctx, operation: self.args.operation, name, value, asked: self.args.asked })
    }

    /// Notes the options that were given but are none.
    pub(super) fn finish(self) -> Converted<()> {
        let Some(object) = &self.object else { return Ok(()) };
        let known = self.known.borrow();
        for key in object.keys::<Value<'js>>().take(MAX_LIST) {
            let key = self.args.text(&key?)?;
            if !known.contains(&key.as_str()) {
                self.args.unknown.borrow_mut().push(key);
            }
        }
        Ok(())
    }
}

fn read_text<'js>(ctx: &Ctx<'js>, operation: &str, asked: &Cell<usize>, value: &Value<'js>) -> Converted<String> {
    let text = value::text(ctx, value)?;
    count(operation, asked, text.len())?;
    Ok(text)
}

/// Counts what a turn asks for: it lies outside of the script's memory, and has to fit a frame.
fn count(operation: &str, asked: &Cell<usize>, bytes: usize) -> Result<(), OpError> {
    let sum = asked.get().saturating_add(bytes);
    if sum > MAX_ASKED_BYTES {
        let message = format!("{operation}: the operations of one turn may take {MAX_ASKED_BYTES} bytes together");
        return Err(OpError::new(ErrorCode::LimitError, message));
    }
    asked.set(sum);
    Ok(())
}

/// An object that holds options: not a list, a function, or a pattern.
pub(super) fn plain_object<'js>(value: &Value<'js>) -> Option<Object<'js>> {
    let object = value.as_object()?;
    (!value.is_array() && !value.is_function()).then(|| object.clone())
}

pub(super) fn is_digit(digit: char) -> bool {
    matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D')
}

/// Refuses what would break out of a header line.
pub(super) fn check_header(operation: &str, name: &str, value: &str) -> Result<(), OpError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':') {
        let shown = name.escape_default();
        return Err(OpError::new(ErrorCode::TypeError, format!("ctx.{operation}: '{shown}' is not a header name")));
    }
    refuse_breaks(operation, name, value)
}

pub(super) fn refuse_breaks(operation: &str, name: &str, value: &str) -> Result<(), OpError> {
    let Some(found) = value.chars().find(|found| found.is_ascii_control() && *found != '\t') else { return Ok(()) };
    let found = match found {
        '\r' => "CR",
        '\n' => "LF",
        '\0' => "NUL",
        _ => "control character",
    };
    Err(OpError::new(ErrorCode::TypeError, format!("ctx.{operation}: the value of '{name}' holds a {found}")))
}

fn type_error(operation: &str, name: &str, expected: &str, got: Option<&Value<'_>>) -> OpError {
    let got = got.map_or("nothing", kind);
    OpError::new(ErrorCode::TypeError, format!("ctx.{operation}: `{name}` must be {expected}, got {got}"))
}

fn range_error(operation: &str, name: &str, expected: &str, got: impl std::fmt::Display) -> OpError {
    OpError::new(ErrorCode::RangeError, format!("ctx.{operation}: `{name}` must be {expected}, got {got}"))
}

/// What a value is, in the words of a message.
fn kind(value: &Value<'_>) -> &'static str {
    if value.as_number().is_some_and(f64::is_nan) {
        return "NaN";
    }
    if value.is_array() {
        "a list"
    } else if value.is_function() {
        "a function"
    } else if value.is_string() {
        if value.as_string().is_some_and(|text| matches!(text.to_string().as_deref(), Ok(""))) {
            "an empty string"
        } else {
            "a string"
        }
    } else if value.is_number() {
        "a number"
    } else if value.is_bool() {
        "a boolean"
    } else if value.is_symbol() {
        "a symbol"
    } else if value.is_null() || value.is_undefined() {
        "nothing"
    } else if value.is_object() {
        "an object"
    } else {
        "a value of another type"
    }
}
