//! One turn of a run.

use crate::error::{CallEndedCause, OpError};
use crate::event::{CallState, Event};
use crate::js::shared::{Pending, Shared, Verdict, op_key};
use crate::js::{errors, json, value};
use crate::op::{OpClass, OpId};
use crate::outcome::OpResult;
use crate::well_formed;
use crate::wire::{LogLevel, ScriptErrorKind};
use rquickjs::{Ctx, FromJs, Function, Object, Value, qjs};
use std::rc::Rc;

use super::{Rejection, Rejections};

/// The turn that runs now.
pub(super) struct Turn<'a, 'js> {
    pub(super) ctx: &'a Ctx<'js>,
    pub(super) dispatch: Object<'js>,
    pub(super) shared: &'a Rc<Shared>,
}

impl<'js> Turn<'_, 'js> {
    pub(super) fn call_for<T: FromJs<'js>>(
        &self,
        function: &str,
        args: impl rquickjs::function::IntoArgs<'js>,
    ) -> rquickjs::Result<T> {
        self.dispatch.get::<_, Function<'js>>(function)?.call(args)
    }

    pub(super) fn call(&self, function: &str, args: impl rquickjs::function::IntoArgs<'js>) -> rquickjs::Result<()> {
        self.call_for::<Value<'js>>(function, args).map(|_| ())
    }

    /// Begins a run in a context that it shares.
    pub(super) fn begin(&self) -> rquickjs::Result<()> {
        let data = json::read(self.ctx, &self.shared.start())?;
        self.call("start", (data,))
    }

    /// Runs a synchronous script once in a context that it shares.
    pub(super) fn serve(&self) -> rquickjs::Result<()> {
        let data = json::read(self.ctx, &self.shared.start())?;
        let header = self.shared.header();
        let result: Value<'js> = self.call_for("serve", (data, header.function.as_deref()))?;
        if self.shared.verdict.borrow().is_some() {
            return Ok(());
        }
        match json::print(self.ctx, &result) {
            Some(printed) => {
                self.shared.decide(Verdict::Finished(Some(well_formed(printed))));
                Ok(())
            }
            None => self.call("finish", (result,)),
        }
    }

    /// Runs microtasks until none is left.
    pub(super) fn drain(&self) -> rquickjs::Result<()> {
        // SAFETY: the runtime of a live context.
        let runtime = unsafe { qjs::JS_GetRuntime(self.ctx.as_raw().as_ptr()) };
        while !self.shared.exited.get() {
            let mut context = std::ptr::null_mut();
            // SAFETY: `runtime` is live; the context a failed job leaves its exception in is this one, the runtime's only one.
            match unsafe { qjs::JS_ExecutePendingJob(runtime, &raw mut context) } {
                0 => break,
                1.. => {}
                _ => return Err(rquickjs::Error::Exception),
            }
        }
        Ok(())
    }

    /// Settles the promise of an operation that is no longer pending.
    pub(super) fn settle(&self, id: OpId, pending: &Pending, result: OpResult) -> rquickjs::Result<()> {
        self.shared.warn_unless_awaited(pending, result.as_ref().err());
        if pending.hangs_up && result.is_ok() {
            self.shared.hung_up.set(true);
            // The engine's own word of it comes after this.
            self.shared.mirror.borrow_mut().facts.state = CallState::Ended;
        }
        match result {
            Ok(outcome) => self.call("settle", (op_key(id), value::outcome(self.ctx, outcome)?)),
            Err(error) => self.fail(id, pending, &error),
        }
    }

    pub(super) fn fail(&self, id: OpId, pending: &Pending, error: &OpError) -> rquickjs::Result<()> {
        let place = pending.at.as_ref().map(ToString::to_string);
        let cause = error.cause.as_ref().map(|cause| value::cause(self.ctx, cause)).transpose()?;
        self.call("fail", (op_key(id), error.code.name(), error.message.as_str(), place, cause))
    }

    pub(super) fn event(&self, event: Event) -> rquickjs::Result<()> {
        if let Event::Facts(change) = event {
            self.shared.mirror.borrow_mut().apply(change);
            return Ok(());
        }
        match value::event(self.ctx, &event)? {
            Some(event) => self.call("event", (event,)),
            None => Ok(()),
        }
    }

    /// Runs the timers of the earliest deadline that has come: one `Wake` a deadline.
    pub(super) fn wake(&self) -> rquickjs::Result<()> {
        let Some(deadline) = self.call_for::<Option<f64>>("nextDeadline", ())? else { return Ok(()) };
        if deadline > value::number(self.shared.now.get()) {
            return Ok(());
        }
        while !self.shared.exited.get() && self.call_for::<bool>("fire", (deadline,))? {
            self.drain()?;
        }
        Ok(())
    }

    /// Lets the clock go on from another time. As long as before is left of every timer, and has passed since the run began.
    pub(super) fn clock_set(&self, by_ms: i64) -> rquickjs::Result<()> {
        self.shared.set_clock(by_ms);
        self.call("clockSet", (value::difference(by_ms),))
    }

    pub(super) fn ended(&self, cause: &CallEndedCause) -> rquickjs::Result<()> {
        *self.shared.end.borrow_mut() = Some(cause.clone());
        self.shared.mirror.borrow_mut().facts.state = CallState::Ended;
        let all = self.shared.pending.take();
        let (over, host): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, pending)| pending.class != OpClass::Host);
        self.shared.pending.borrow_mut().extend(host);
        let error = OpError::call_ended(cause.clone());
        for (id, pending) in over {
            let error = match pending.after_hangup {
                true => &OpError::after_the_end(&pending.operation, cause),
                false => &error,
            };
            self.shared.warn_unless_awaited(&pending, Some(error));
            self.fail(id, &pending, error)?;
        }
        self.drain()?;
        self.call("ended", (value::cause(self.ctx, cause)?, error.message))
    }

    /// Concludes the turn; the deadline of the next timer.
    pub(super) fn end(&self) -> rquickjs::Result<Option<f64>> {
        let wake_at = self.call_for("turnEnd", ())?;
        if self.shared.end.borrow().is_some() {
            let lingers = self.call_for("lingers", ())?;
            self.shared.output.borrow_mut().lingers = lingers;
        }
        Ok(wake_at)
    }

    /// Promises nobody listened to fail the script, if it was not over (`concluded`) before this turn; operations are only spoken of,
    /// and the end of a call is no failure.
    pub(super) fn report_unhandled(&self, rejections: &Rejections, concluded: bool) -> rquickjs::Result<()> {
        for Rejection { promise, reason, .. } in rejections.take() {
            let (promise, reason) = (promise.restore(self.ctx)?, reason.restore(self.ctx)?);
            let error = errors::describe(self.ctx, &reason, ScriptErrorKind::Thrown);
            if error.kind == ScriptErrorKind::CallEnded {
                continue;
            }
            match self.call_for::<Option<bool>>("opIssued", (promise,))? {
                // Its outcome was reported when it came.
                Some(true) => {}
                Some(false) => {
                    let place = error.at.as_ref().map(|at| format!("{}:{}: ", at.file, at.line)).unwrap_or_default();
                    self.shared.log(LogLevel::Warn, format!("{place}{} (and was not awaited)", error.message), error.at);
                }
                None if concluded => self.shared.decide(Verdict::Failed(error)),
                None => self.shared.overrule(error),
            }
        }
        Ok(())
    }
}
