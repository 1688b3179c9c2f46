//! `URL`, by the WHATWG standard.

use rquickjs::{Ctx, Exception, Object, Value};
use url::{Url, quirks};

use crate::js::hosted::function;
use crate::js::value::text;

/// Reads one part of a URL.
type Part = fn(&Url) -> &str;

/// Parts a URL is taken apart into, with their names.
const PARTS: [(&str, Part); 8] = [
    ("protocol", quirks::protocol),
    ("username", quirks::username),
    ("password", quirks::password),
    ("host", quirks::host),
    ("hostname", quirks::hostname),
    ("port", quirks::port),
    ("pathname", quirks::pathname),
    ("search", quirks::search),
];

/// `parse(url, base?)` → the parts, or `undefined` for what is no URL; `with(url, part, value)` → the parts after a change.
pub(super) fn object<'js>(ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let natives = Object::new(ctx.clone())?;
    natives.set(
        "parse",
        function(ctx, |ctx: Ctx<'js>, url: Value<'js>, base: Value<'js>| {
            let url = text(&ctx, &url)?;
            let parsed = if base.is_undefined() {
                Url::parse(&url)
            } else {
                Url::parse(&text(&ctx, &base)?).and_then(|base| base.join(&url))
            };
            parsed.ok().map(|url| parts(&ctx, &url)).transpose()
        })?,
    )?;
    natives.set(
        "with",
        function(ctx, |ctx: Ctx<'js>, href: String, part: String, value: Value<'js>| {
            let value = text(&ctx, &value)?;
            let Ok(mut url) = Url::parse(&href) else { return Err(Exception::throw_type(&ctx, "Invalid URL")) };
            // By the standard, a part that does not fit leaves the URL as it was.
            let _: Result<(), ()> = match part.as_str() {
                "protocol" => quirks::set_protocol(&mut url, &value),
                "username" => quirks::set_username(&mut url, &value),
                "password" => quirks::set_password(&mut url, &value),
                "host" => quirks::set_host(&mut url, &value),
                "hostname" => quirks::set_hostname(&mut url, &value),
                "port" => quirks::set_port(&mut url, &value),
                "pathname" => {
                    quirks::set_pathname(&mut url, &value);
                    Ok(())
                }
                "search" => {
                    quirks::set_search(&mut url, &value);
                    Ok(())
                }
                "hash" => {
                    quirks::set_hash(&mut url, &value);
                    Ok(())
                }
                _ => Err(()),
            };
            parts(&ctx, &url)
        })?,
    )?;
    Ok(natives)
}

fn parts<'js>(ctx: &Ctx<'js>, url: &Url) -> rquickjs::Result<Object<'js>> {
    let object = Object::new(ctx.clone())?;
    object.set("href", quirks::href(url))?;
    object.set("origin", quirks::origin(url))?;
    object.set("hash", quirks::hash(url))?;
    for (name, part) in PARTS {
        object.set(name, part(url))?;
    }
    Ok(object)
}
