//! Time zones by their names.

use rquickjs::{Ctx, Object};

use crate::js::hosted::function;
use crate::js::time_zone;

/// `offset(zone, ms)` → seconds ahead of UTC, or `undefined` for a zone that is not known.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set("offset", function(ctx, |zone: String, at: f64| time_zone::offset(&zone, at))?)?;
    Ok(natives)
}
