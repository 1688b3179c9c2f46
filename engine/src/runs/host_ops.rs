//! What a script outside any call may ask of the engine.

use futures_util::future::{BoxFuture, FutureExt as _};
use lockstep_ctx_api::op::Op;
use lockstep_ctx_api::wire::ScriptType;
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
    pub(super) fn perform(
        &self,
        script_type: ScriptType,
        context: impl FnOnce() -> RunContext,
        op: Op,
    ) -> BoxFuture<'static, OpResult> {
        if script_type == ScriptType::Worker && !is_open_to_workers(&op) {
            let message = format!("{}: a script of type 'worker' has KV, Userspace, pub/sub and jobs only", op.label());
            return std::future::ready(Err(OpError::new(ErrorCode::Unsupported, message))).boxed();
        }
        match op {
            Op::Fetch(args) => {
                let (fetcher, account) = (self.fetcher.clone(), context().account);
                async move { fetcher.run(&account, args).await }.boxed()
            }
            Op::Host(call) => self.services.call(&context(), call),
            op => {
                let message = format!("{}: this run owns no call", op.name());
                std::future::ready(Err(OpError::new(ErrorCode::InvalidState, message))).boxed()
            }
        }
    }
}

/// Workers live in a stricter sandbox (contract, section 1): no network, no packages, no call.
fn is_open_to_workers(op: &Op) -> bool {
    const SERVICES: [&str; 7] = ["kv", "ko", "cxUserspace", "messages", "pubsub", "jobs", "env"];
    matches!(op, Op::Host(call) if SERVICES.contains(&call.service.as_str()))
}
