//! What a script outside any call may ask of the engine.

use futures_util::future::{BoxFuture, FutureExt as _};
use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::{ErrorCode, OpError, OpResult};

use crate::fetch::Fetcher;
use crate::host::{HostServices, RunContext};

/// Carries out operations for runs outside calls.
#[derive(Clone)]
pub(super) struct HostOps {
    pub(super) fetcher: Fetcher,
    pub(super) services: HostServices,
}

impl HostOps {
    /// Starts an operation. Dropping the future gives it up.
    pub(super) fn perform(&self, context: impl FnOnce() -> RunContext, op: Op) -> BoxFuture<'static, OpResult> {
        match op {
            Op::Fetch(args) => {
                let fetcher = self.fetcher.clone();
                async move { fetcher.run(args).await }.boxed()
            }
            Op::Host(call) => self.services.call(&context(), call),
            op => {
                let message = format!("{}: this run owns no call", op.name());
                std::future::ready(Err(OpError::new(ErrorCode::InvalidState, message))).boxed()
            }
        }
    }
}
