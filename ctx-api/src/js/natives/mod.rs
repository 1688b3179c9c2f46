//! Functions for the lazily loaded parts of the prelude, made when their part is.

mod call;
mod data_url;
mod digest;
mod order;
mod random;
mod text;
mod url;
mod zlib;
mod zone;

use std::rc::Rc;

use rquickjs::{Ctx, Exception, Object};

use super::globals::{self, Intrinsic};
use super::shared::Shared;

/// The functions of one part.
pub(super) fn object<'js>(ctx: &Ctx<'js>, shared: &Rc<Shared>, part: &str) -> rquickjs::Result<Object<'js>> {
    if matches!(part, "data_url" | "digest" | "random" | "text" | "zlib") {
        globals::ensure(ctx, Intrinsic::Binary)?;
    }
    match part {
        "call" => call::object(ctx, shared),
        "data_url" => data_url::object(ctx),
        "digest" => digest::object(ctx),
        "date" => globals::native_date(ctx),
        "order" => order::object(ctx),
        "random" => random::object(ctx, shared),
        "text" => text::object(ctx),
        "url" => url::object(ctx),
        "zlib" => zlib::object(ctx),
        "zone" => zone::object(ctx, shared),
        other => Err(Exception::throw_reference(ctx, &format!("the runtime has no natives '{other}'"))),
    }
}
