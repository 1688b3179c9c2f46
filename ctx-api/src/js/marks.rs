//! Marks in instrumented sources: how a worker learns which lines and branches a script has reached.

use std::rc::Rc;

use rquickjs::object::Property;
use rquickjs::{Ctx, Value};

use super::hosted::function;
use super::shared::HitSink;
use super::value::text;

/// The function that instrumented sources call: `__lockstep_mark(number)`, or `__lockstep_mark(number, value)`, which is `value`.
///
/// It is there only where somebody counts, see [`Worker::with_marks`](super::Worker::with_marks).
pub const MARK: &str = "__lockstep_mark";

/// Gives a context the function.
pub(super) fn install<'js>(ctx: &Ctx<'js>, sink: &Rc<HitSink>) -> rquickjs::Result<()> {
    let sink = Rc::clone(sink);
    let mark = move |ctx: Ctx<'js>, number: u32, value: Value<'js>| {
        // Objects could tell that they are looked at.
        let shown = if value.is_string() || value.is_number() { text(&ctx, &value).ok() } else { None };
        sink(number, shown.as_deref());
        value
    };
    // A context that serves many runs moves what is configurable to where its runs cannot change it.
    let function = function(ctx, mark)?.with_name(MARK)?;
    ctx.globals().prop(MARK, Property::from(function).configurable())
}
