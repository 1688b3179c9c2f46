//! `cxHelper`.

#![expect(clippy::disallowed_methods, reason = "a key is good from now on")]

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lockstep_ctx_api::ErrorCode;
use lockstep_ctx_api::host::HostReply;
use serde_json::Value;

use super::late::{Late, Served};
use super::send::not_configured;
use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::config::{Config, DEFAULT_ACCOUNT, Secret};
use crate::security_key;

/// What needs the engine's secret.
pub(super) struct Helper {
    secret: Option<Secret>,
    /// Whose customers they are, where no engine is served.
    customers: BTreeMap<i64, String>,
    late: Late,
}

impl Helper {
    pub(super) fn new(config: &Config, late: &Late) -> Self {
        let customers = config.customers.iter().map(|customer| (customer.id, customer.account.clone())).collect();
        Self { secret: config.security.secret.clone(), customers, late: late.clone() }
    }

    /// Whether scripts of an account may sign for a customer: for the account's own; those of the operator also for one that another engine
    /// knows.
    fn may_sign(&self, account: &str, customer: i64) -> bool {
        let owner = match self.late.get() {
            Some(Served { engine, .. }) => {
                engine.platform().provisioning.current().account_of_customer(customer).map(str::to_owned)
            }
            None => self.customers.get(&customer).cloned(),
        };
        owner.as_deref().unwrap_or(DEFAULT_ACCOUNT) == account
    }
}

impl HostService for Helper {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _body: Option<Bytes>) -> HostFuture {
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
            if !self.may_sign(&context.account, customer) {
                return Err(args.error(ErrorCode::NotFound, format_args!("there is no customer {customer}")));
            }
            security_key::make(secret.expose(), customer, &server, unix_s)
                .ok_or_else(|| args.error(ErrorCode::TypeError, "`server` must be a host name or address"))
        })();
        answered(made.map(|key| HostReply::json(&Value::from(key))))
    }
}
