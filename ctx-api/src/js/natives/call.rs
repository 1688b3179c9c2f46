use std::rc::Rc;

use rquickjs::{Ctx, Object, Value};

use crate::js::errors;
use crate::js::hosted::function;
use crate::js::shared::Shared;
use crate::wire::ScriptErrorKind;

/// `unawaited(operation, site, failed, value)`: what the worker carried out by itself settled, and nobody listened.
pub(super) fn object<'js>(ctx: &Ctx<'js>, shared: &Rc<Shared>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    let run = shared.clone();
    natives.set(
        "unawaited",
        function(ctx, move |ctx: Ctx<'js>, operation: String, site: Value<'js>, failed: bool, value: Value<'js>| {
            let error = failed.then(|| errors::describe(&ctx, &value, ScriptErrorKind::Thrown));
            let error = error.filter(|error| error.kind != ScriptErrorKind::CallEnded).map(|error| error.message);
            let at = errors::call_site(&errors::stack_text(&ctx, &site));
            run.warn_unawaited(&format!("ctx.{operation}()"), at, error.as_deref());
        })?,
    )?;
    Ok(natives)
}
