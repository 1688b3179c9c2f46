//! `cxUserspace`: records in named areas, and SQL on the account's own database.

use bytes::Bytes;
use lockstep_ctx_api::OpError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::kv::reply;
use super::{Arguments, HostFuture, HostService, RunContext, answered, no_such_function};
use crate::store::userspace::{self, DEFAULT_LIST, MAX_LIST, Record};
use crate::store::{AccountDatabases, Rows, Statement, Store};

/// The service.
pub(super) struct Userspace {
    store: Store,
    databases: AccountDatabases,
    max_bytes: u64,
}

/// Options of `list`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ListOptions {
    prefix: Option<String>,
    limit: Option<f64>,
    after: Option<String>,
}

impl Userspace {
    pub(super) fn new(store: &Store, databases: &AccountDatabases, max_bytes: u64) -> Self {
        Self { store: store.clone(), databases: databases.clone(), max_bytes }
    }

    fn begin(&self, account: String, function: &str, args: &mut Arguments) -> Result<HostFuture, OpError> {
        let max_bytes = self.max_bytes;
        Ok(match function {
            "create" => {
                let (area, key, data) = (args.text("area")?, args.text("key")?, args.json("data")?);
                let create = move |connection: &_, now| {
                    userspace::create(connection, now, (&account, max_bytes), (&area, &key), &data).map(|()| data)
                };
                reply(args, self.store.write(create), |data| data)
            }
            "get" => {
                let (area, key) = (args.text("area")?, args.text("key")?);
                let found = self.store.read(move |connection, _| userspace::read(connection, &account, &area, &key));
                reply(args, found, or_null)
            }
            "update" => {
                let (area, key, data) = (args.text("area")?, args.text("key")?, args.json("data")?);
                let update = move |connection: &_, now| {
                    let changed = userspace::update(connection, now, (&account, max_bytes), (&area, &key), &data)?;
                    Ok(changed.then_some(data))
                };
                reply(args, self.store.write(update), or_null)
            }
            "delete" => {
                let (area, key) = (args.text("area")?, args.text("key")?);
                let gone = self.store.write(move |connection, _| userspace::delete(connection, &account, &area, &key));
                reply(args, gone, |gone| json!(gone).to_string())
            }
            "random" => {
                let area = args.text("area")?;
                let chance = rand::random_range(0.0..1.0);
                let found = self.store.read(move |connection, _| userspace::random(connection, &account, &area, chance));
                reply(args, found, or_null)
            }
            "list" => {
                let area = args.text("area")?;
                let ListOptions { prefix, limit, after } = args.shape("options")?;
                let limit = limit.map_or(DEFAULT_LIST, |limit| limit.clamp(0.0, MAX_LIST as f64) as usize);
                let found = self.store.read(move |connection, _| {
                    let bounds = (prefix.as_deref().unwrap_or_default(), after.as_deref().unwrap_or_default());
                    userspace::list(connection, &account, &area, bounds, limit).map(|records| records_json(&records))
                });
                reply(args, found, |json| json)
            }
            "sql" => {
                let statement = Statement { text: args.text("text")?, parameters: args.value() };
                reply(args, self.databases.run(&account, statement, rows_json), |json| json)
            }
            _ => no_such_function(args),
        })
    }
}

impl HostService for Userspace {
    fn call(&self, context: &RunContext, function: &str, mut args: Arguments, _: Option<Bytes>) -> HostFuture {
        self.begin(context.account.clone(), function, &mut args).unwrap_or_else(|error| answered(Err(error)))
    }
}

fn or_null(data: Option<String>) -> String {
    data.unwrap_or_else(|| Value::Null.to_string())
}

/// The data goes in as it was stored: a script's keys keep their order.
fn records_json(records: &[Record]) -> String {
    let record = |record: &Record| format!("{{\"key\":{},\"data\":{}}}", json!(record.key), record.data);
    format!("[{}]", records.iter().map(record).collect::<Vec<_>>().join(","))
}

fn rows_json(rows: Rows) -> String {
    let Rows { columns, rows, changes, last_id } = rows;
    json!({ "columns": columns, "rows": rows, "changes": changes, "lastID": last_id }).to_string()
}
