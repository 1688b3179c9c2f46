//! From an empty context to one that runs a script.
//!
//! What is the same for all runs is made first, so that it may be [copied](super::image) instead; what belongs to one run is put
//! in afterwards.

use std::rc::Rc;

use rquickjs::context::intrinsic;
use rquickjs::{Ctx, Object, Persistent};

use super::hosted::{Classes, Hosting, Owned};
use super::modules::Modules;
use super::prelude::Prelude;
use super::shared::Shared;
use super::{globals, host, marks};

/// What a script may use, besides what [`globals`] adds when it is named. Without `Eval` there is neither `eval` nor `new Function`;
/// without `WeakRef` garbage collection cannot be seen; `performance` is the prelude's, on the script's clock.
pub(super) type Intrinsics = (intrinsic::RegExpCompiler, intrinsic::RegExp, intrinsic::Json, intrinsic::Promise);

/// A context that belongs to no run yet.
pub(super) struct Prepared<'js> {
    pub(super) classes: Classes,
    /// Lazy, without properties so far: globals that come to be when they are named.
    pub(super) globals: Object<'js>,
    /// Lazy, without properties so far: what the prelude calls.
    pub(super) host: Object<'js>,
    /// What the worker calls.
    pub(super) dispatch: Object<'js>,
}

impl<'js> Prepared<'js> {
    /// Evaluates the prelude's core, which calls nothing of the host.
    pub(super) fn new(ctx: &Ctx<'js>, prelude: &Prelude) -> rquickjs::Result<Self> {
        let classes = Classes::add(ctx)?;
        let globals = globals::make_room(ctx, classes)?;
        let host = classes.lazy_object(ctx, None)?;
        let dispatch = prelude.core(ctx)?.call((host.clone(),))?;
        Ok(Self { classes, globals, host, dispatch })
    }

    /// Makes it a run's.
    pub(super) fn belong_to(
        self,
        ctx: &Ctx<'js>,
        shared: &Rc<Shared>,
        prelude: &Rc<Prelude>,
        modules: &Rc<Modules>,
        owned: Rc<Owned>,
    ) -> rquickjs::Result<Persistent<Object<'static>>> {
        let hosting = Hosting::install(ctx, self.classes, owned)?;
        globals::install(ctx, &hosting, &self.globals)?;
        hosting.fill(&self.host, true, host::source(shared, prelude, modules));
        if let Some(hits) = shared.hit_sink() {
            marks::install(ctx, hits)?;
        }
        modules.install(ctx, &self.dispatch)?;
        Ok(Persistent::save(ctx, self.dispatch))
    }
}

/// Undoes what [`Prepared::belong_to`] has left with the runtime; the context is not used again.
pub(super) fn leave(ctx: &Ctx<'_>) {
    Hosting::uninstall(ctx);
    globals::uninstall(ctx);
    Modules::uninstall(ctx);
}
