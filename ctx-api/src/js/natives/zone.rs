//! Time zones by their names.

use std::rc::Rc;

use rquickjs::{Ctx, Object};

use crate::js::hosted::function;
use crate::js::shared::Shared;
use crate::js::time_zone;

/// `offset(zone, ms)` → seconds ahead of UTC, and `abbreviation(zone, ms)` such as `CEST`; `undefined` for a zone that is not known.
/// `local()` → the name of the run's own.
pub(super) fn object<'js>(ctx: &Ctx<'js>, shared: &Rc<Shared>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set("offset", function(ctx, |zone: String, at: f64| time_zone::offset(&zone, at))?)?;
    natives.set("abbreviation", function(ctx, |zone: String, at: f64| time_zone::abbreviation(&zone, at))?)?;
    let run = shared.clone();
    natives.set("local", function(ctx, move || run.header().time_zone.clone())?)?;
    Ok(natives)
}
