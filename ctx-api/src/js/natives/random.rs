use std::rc::Rc;

use rquickjs::{ArrayBuffer, Ctx, Exception, Object};

use crate::js::hosted::function;
use crate::js::shared::Shared;

/// What the web allows one call of `getRandomValues`.
const MAX_BYTES: usize = 65_536;

/// `bytes(count)`, from the run's own seed.
pub(super) fn object<'js>(ctx: &Ctx<'js>, shared: &Rc<Shared>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    let run = shared.clone();
    natives.set(
        "bytes",
        function(ctx, move |ctx: Ctx<'js>, count: usize| {
            if count > MAX_BYTES {
                return Err(Exception::throw_range(&ctx, "at most 65536 random bytes at once"));
            }
            let mut bytes = vec![0; count];
            run.random_bytes(&mut bytes);
            ArrayBuffer::new_copy(ctx, bytes)
        })?,
    )?;
    Ok(natives)
}
