//! Each account's own database: a file beside the store, for `cxUserspace.sql`.
//!
//! A script may do there whatever stays within the file: no other files, no settings that outlive the statement, bounded size, time
//! and results. One thread an account; a statement is a transaction of its own.
#![expect(clippy::disallowed_methods, reason = "a statement is bounded by the time it takes")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lockstep_ctx_api::ErrorCode;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ToSql};
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::Place;
use super::error::StoreError;

/// Statements of one account that may wait.
const QUEUE: usize = 1_024;
const PAGE_BYTES: u64 = 4_096;
/// Virtual machine steps between two looks at the clock.
const STEPS: i32 = 1_000;
/// The longest statement, in bytes.
const MAX_TEXT: i32 = 100_000;
/// The longest text or blob, in bytes.
const MAX_CELL: i32 = 4 << 20;
const MAX_PARAMETERS: i32 = 1_000;
/// The most columns of a result: SQLite has a whole row in memory before anybody sees it. A table may have more: SQLite holds its own
/// bound against the tables of the file whenever it reads the schema, and one that is past it closes them all.
const MAX_COLUMNS: usize = 200;
/// The most arguments of a function.
const MAX_ARGUMENTS: i32 = 200;
/// SQLite's name for what is temporary.
const TEMPORARY: &str = "temp";
/// Settings that only tell something.
const PRAGMAS: [&str; 9] = [
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "page_count",
    "page_size",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// What an account's database may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseLimits {
    /// Size of the file.
    pub max_bytes: u64,
    /// Time of one statement.
    pub time: Duration,
    /// Rows of one result.
    pub max_rows: usize,
    /// Size of one result as JSON.
    pub max_result_bytes: usize,
}

impl Default for DatabaseLimits {
    fn default() -> Self {
        Self { max_bytes: 256 << 20, time: Duration::from_secs(2), max_rows: 10_000, max_result_bytes: 4 << 20 }
    }
}

/// One statement with its parameters: a list for `?`, an object for `:name`, `@name` or `$name`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    pub text: String,
    pub parameters: Value,
}

/// What a statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Names of the columns; empty when the statement gives no rows.
    pub columns: Vec<String>,
    pub rows: Vec<Map<String, Value>>,
    /// Rows it changed.
    pub changes: u64,
    pub last_id: i64,
}

type Job = Box<dyn FnOnce(&mut Connection, &Deadline) + Send>;
/// When the statement under way is to end.
type Deadline = Arc<Mutex<Option<Instant>>>;

/// The databases of all accounts; clones share them.
#[derive(Clone)]
pub struct AccountDatabases {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    limits: DatabaseLimits,
    open: Mutex<BTreeMap<String, SyncSender<Job>>>,
}

impl std::fmt::Debug for AccountDatabases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountDatabases").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

impl AccountDatabases {
    /// Those beside the store at `place`.
    pub fn beside(place: &Place, limits: DatabaseLimits) -> Self {
        let place = match place {
            Place::Memory => Place::Memory,
            Place::File(store) => Place::File(store.with_extension("accounts")),
        };
        Self { shared: Arc::new(Shared { place, limits, open: Mutex::default() }) }
    }

    /// Runs a statement in the database of `account`, and `show` on what it gives, in the database's thread. It is in line when this
    /// returns.
    pub fn run<T, S>(
        &self,
        account: &str,
        statement: Statement,
        show: S,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'static + use<T, S>
    where
        T: Send + 'static,
        S: FnOnce(Rows) -> T + Send + 'static,
    {
        let limits = self.shared.limits;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection, deadline| {
            if !answer.is_closed() {
                set(deadline, Some(Instant::now() + limits.time));
                let result = execute(connection, &statement, limits, deadline);
                set(deadline, None);
                let _ = answer.send(result.map(show));
            }
        });
        let submitted = self.submit(account, job);
        async move {
            submitted?;
            answered.await.map_err(|_| StoreError::Stopped)?
        }
    }

    fn submit(&self, account: &str, job: Job) -> Result<(), StoreError> {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = match open.get(account) {
            Some(jobs) => jobs.clone(),
            None => {
                let jobs = start(&self.shared.place, account, self.shared.limits)?;
                open.insert(account.to_owned(), jobs.clone());
                jobs
            }
        };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Overloaded,
            TrySendError::Disconnected(_) => StoreError::Stopped,
        })
    }
}

fn start(place: &Place, account: &str, limits: DatabaseLimits) -> Result<SyncSender<Job>, StoreError> {
    let place = match place {
        Place::Memory => Place::Memory,
        Place::File(folder) => {
            std::fs::create_dir_all(folder)?;
            Place::File(file_of(folder, account))
        }
    };
    let deadline = Deadline::default();
    let mut connection = open(&place, limits, &deadline)?;
    let (jobs, line) = sync_channel::<Job>(QUEUE);
    std::thread::Builder::new().name("account-db".to_owned()).spawn(move || {
        while let Ok(job) = line.recv() {
            job(&mut connection, &deadline);
        }
    })?;
    Ok(jobs)
}

/// The name of an account may hold what a file's name may not.
fn file_of(folder: &Path, account: &str) -> PathBuf {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let name: String =
        account.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") }).collect();
    folder.join(format!("{name}.db"))
}

fn open(place: &Place, limits: DatabaseLimits, deadline: &Deadline) -> Result<Connection, StoreError> {
    let mut connection = super::connect(place, false)?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "max_page_count", (limits.max_bytes / PAGE_BYTES).max(1))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    for (limit, bound) in [
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, MAX_TEXT),
        (Limit::SQLITE_LIMIT_LENGTH, MAX_CELL),
        (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, MAX_PARAMETERS),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_FUNCTION_ARG, MAX_ARGUMENTS),
    ] {
        connection.set_limit(limit, bound)?;
    }
    let deadline = Arc::clone(deadline);
    connection.progress_handler(STEPS, Some(move || is_over(&deadline)))?;
    connection.authorizer(Some(authorize))?;
    Ok(connection)
}

fn set(deadline: &Deadline, at: Option<Instant>) {
    *deadline.lock().unwrap_or_else(PoisonError::into_inner) = at;
}

fn is_over(deadline: &Deadline) -> bool {
    deadline.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| Instant::now() >= at)
}

/// Keeps a statement within the file and within itself: a transaction left open would take in the next script's statements.
fn authorize(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Attach { .. }
        | AuthAction::Detach { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } => {
            if PRAGMAS.iter().any(|known| known.eq_ignore_ascii_case(pragma_name)) {
                Authorization::Allow
            } else {
                Authorization::Deny
            }
        }
        AuthAction::Function { function_name } => {
            let denied = ["load_extension", "fts3_tokenizer"].iter().any(|denied| denied.eq_ignore_ascii_case(function_name));
            if denied { Authorization::Deny } else { Authorization::Allow }
        }
        AuthAction::CreateVtable { module_name, .. } => {
            let known = ["fts5", "rtree"].iter().any(|known| known.eq_ignore_ascii_case(module_name));
            if known { Authorization::Allow } else { Authorization::Deny }
        }
        // What is temporary lies outside of the file and its bound, and would stay for the account's other scripts. Whatever is made
        // there is put into its schema.
        AuthAction::Insert { .. } if context.database_name == Some(TEMPORARY) => Authorization::Deny,
        // What is left are tables, indexes, views and triggers of the file.
        _ => Authorization::Allow,
    }
}

fn execute(
    connection: &mut Connection,
    statement: &Statement,
    limits: DatabaseLimits,
    deadline: &Deadline,
) -> Result<Rows, StoreError> {
    explain(query(connection, statement, limits, deadline), connection, limits)
}

fn query(
    connection: &Connection,
    statement: &Statement,
    limits: DatabaseLimits,
    deadline: &Deadline,
) -> Result<Rows, StoreError> {
    let before = connection.total_changes();
    let mut prepared = connection.prepare(&statement.text)?;
    if prepared.column_count() > MAX_COLUMNS {
        return Err(refused(ErrorCode::LimitError, format!("the result has more than {MAX_COLUMNS} columns")));
    }
    bind(&mut prepared, &statement.parameters)?;
    let columns: Vec<String> = prepared.column_names().map(str::to_owned).collect();
    let mut found = Vec::new();
    let mut room = limits.max_result_bytes;
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next()? {
        // A row may be many steps' worth of work.
        if is_over(deadline) {
            return Err(too_slow(limits));
        }
        if found.len() == limits.max_rows {
            return Err(refused(ErrorCode::LimitError, format!("the result has more than {} rows", limits.max_rows)));
        }
        let mut record = Map::new();
        for (index, column) in columns.iter().enumerate() {
            let value = row.get_ref(index)?;
            room = room.checked_sub(column.len() + size_of(value)).ok_or_else(|| {
                refused(ErrorCode::LimitError, format!("the result takes more than {} bytes", limits.max_result_bytes))
            })?;
            record.insert(column.clone(), cell(value));
        }
        found.push(record);
    }
    drop(rows);
    let changes = connection.total_changes() - before;
    Ok(Rows { columns, rows: found, changes, last_id: connection.last_insert_rowid() })
}

fn bind(statement: &mut rusqlite::Statement<'_>, parameters: &Value) -> Result<(), StoreError> {
    let expected = statement.parameter_count();
    match parameters {
        Value::Null if expected == 0 => {}
        Value::Array(list) if list.len() == expected => {
            for (index, value) in (1..).zip(list) {
                statement.raw_bind_parameter(index, parameter(value)?)?;
            }
        }
        Value::Object(named) => {
            for index in 1..=expected {
                let name = statement.parameter_name(index).unwrap_or("?").to_owned();
                let value = name.get(1..).and_then(|bare| named.get(bare)).or_else(|| named.get(&name));
                let value = value.ok_or_else(|| refused(ErrorCode::TypeError, format!("no value for the parameter {name}")))?;
                statement.raw_bind_parameter(index, parameter(value)?)?;
            }
        }
        other => {
            let got = match other {
                Value::Null => "none".to_owned(),
                Value::Array(list) => list.len().to_string(),
                _ => "something that is no list".to_owned(),
            };
            return Err(refused(ErrorCode::TypeError, format!("the statement has {expected} parameters, got {got}")));
        }
    }
    Ok(())
}

fn parameter(value: &Value) -> Result<Box<dyn ToSql>, StoreError> {
    Ok(match value {
        Value::Null => Box::new(rusqlite::types::Null),
        Value::Bool(flag) => Box::new(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Box::new(whole),
            None => Box::new(number.as_f64()),
        },
        Value::String(text) => Box::new(text.clone()),
        Value::Object(object) if object.contains_key(INTEGER) => {
            let whole = object.get(INTEGER).and_then(Value::as_str).and_then(|digits| digits.parse::<i64>().ok());
            Box::new(whole.ok_or_else(|| refused(ErrorCode::RangeError, "a BigInt must fit into 64 bits".to_owned()))?)
        }
        Value::Object(object) => match object.get(BYTES).and_then(Value::as_str).map(from_base64) {
            Some(Some(bytes)) => Box::new(bytes),
            _ => return Err(refused(ErrorCode::TypeError, "a parameter is an object; pass JSON.stringify of it".to_owned())),
        },
        Value::Array(_) => {
            return Err(refused(ErrorCode::TypeError, "a parameter is a list; pass JSON.stringify of it".to_owned()));
        }
    })
}

/// How bytes travel in JSON: `{"$bytes": "base64"}`.
const BYTES: &str = "$bytes";
/// How an integer travels that is a `BigInt` for a script: `{"$int": "9007199254740993"}`.
const INTEGER: &str = "$int";
/// JavaScript's numbers hold every integer up to this one.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

fn from_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// What [`cell`] makes of it, in bytes.
fn size_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(text) => text.len(),
        ValueRef::Blob(bytes) => bytes.len().div_ceil(3) * 4,
    }
}

fn cell(value: ValueRef<'_>) -> Value {
    use base64::Engine as _;
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(whole) if whole.unsigned_abs() > MAX_SAFE_INTEGER => json!({ INTEGER: whole.to_string() }),
        ValueRef::Integer(whole) => Value::from(whole),
        ValueRef::Real(number) => Value::from(number),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => json!({ BYTES: base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

fn refused(code: ErrorCode, message: String) -> StoreError {
    StoreError::refused(code, message)
}

fn too_slow(limits: DatabaseLimits) -> StoreError {
    refused(ErrorCode::TimeoutError, format!("the statement was ended: it took longer than {} ms", limits.time.as_millis()))
}

/// SQLite's codes for what our bounds did, as sentences.
fn explain(result: Result<Rows, StoreError>, connection: &Connection, limits: DatabaseLimits) -> Result<Rows, StoreError> {
    use rusqlite::ErrorCode as Code;
    let Err(StoreError::Sql(error)) = &result else { return result };
    match error.sqlite_error_code() {
        Some(Code::OperationInterrupted) => Err(too_slow(limits)),
        // SQLite has nothing to run of such a text.
        Some(Code::ApiMisuse) => Err(refused(ErrorCode::TypeError, "the text holds no statement".to_owned())),
        Some(Code::DiskFull) => {
            // SQLite does not tell its bound from the disk's.
            let pages: u64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap_or(0);
            let (taken, max) = (pages.saturating_mul(PAGE_BYTES), limits.max_bytes);
            let message = if taken.saturating_add(PAGE_BYTES) >= max {
                format!("the account's database is full: it may take {max} bytes")
            } else {
                format!(
                    "no room for what the statement writes: the account's database takes {taken} of the {max} bytes it may take; \
                     where that would do, the disk is full"
                )
            };
            Err(refused(ErrorCode::LimitError, message))
        }
        Some(Code::AuthorizationForStatementDenied) => {
            let message = "not permitted here: a statement may neither reach other files nor make temporary tables nor change settings nor \
                 leave a transaction open";
            Err(refused(ErrorCode::DatabaseError, message.to_owned()))
        }
        _ => result,
    }
}
