use std::rc::Rc;

use rquickjs::{ArrayBuffer, Ctx, Exception, Object};

use crate::js::hosted::function;
use crate::js::shared::Shared;

/// Bytes that may be asked for at once.
const MAX_BYTES: usize = 16 << 20;

/// `bytes(count)`, from the run's own seed.
pub(super) fn object<'js>(ctx: &Ctx<'js>, shared: &Rc<Shared>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    let run = shared.clone();
    natives.set(
        "bytes",
        function(ctx, move |ctx: Ctx<'js>, count: usize| {
            if count > MAX_BYTES {
                return Err(Exception::throw_range(&ctx, &format!("at most {MAX_BYTES} random bytes at once")));
            }
            let mut bytes = vec![0; count];
            run.random_bytes(&mut bytes);
            ArrayBuffer::new_copy(ctx, bytes)
        })?,
    )?;
    Ok(natives)
}
