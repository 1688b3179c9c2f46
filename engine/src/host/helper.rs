//! `cxHelper`.

#![expect(clippy::disallowed_methods, reason = "a key is good from now on")]

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockstep_ctx_api::ErrorCode;
use lockstep_ctx_api::host::HostReply;
use serde_json::Value;

use super::send::not_configured;
use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::config::Secret;
use crate::security_key;

/// What needs the engine's secret.
pub(super) struct Helper {
    secret: Option<Secret>,
}

impl Helper {
    pub(super) fn new(secret: Option<Secret>) -> Self {
        Self { secret }
    }
}

impl HostService for Helper {
    fn call(&self, _context: &RunContext, function: &str, mut args: Arguments, _body: Option<Bytes>) -> HostFuture {
        if function != "generatePbxSecurityKey" {
            return no_such_function(&args);
        }
        let Some(secret) = &self.secret else {
            return not_configured("cxHelper.generatePbxSecurityKey", "[security] secret");
        };
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let made = (|| {
            let (customer, server) = (args.number("companyId")?, args.text("server")?);
            #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
            let customer = if customer.fract() == 0.0 && customer.abs() < 9e15 {
                customer as i64
            } else {
                return Err(args.error(ErrorCode::TypeError, "`companyId` must be a whole number"));
            };
            security_key::make(secret.expose(), customer, &server, unix_s)
                .ok_or_else(|| args.error(ErrorCode::TypeError, "`server` must be a host name or address"))
        })();
        answered(made.map(|key| HostReply::json(&Value::from(key))))
    }
}
