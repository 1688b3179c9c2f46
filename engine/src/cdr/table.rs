//! Records in the store. Every function works within a read or write of it.

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};

use super::Cdr;
use crate::config::DEFAULT_ACCOUNT;
use crate::store::StoreError;

/// The most records of one answer.
const MAX_LISTED: usize = 1_000;

/// Which records a list shows; the newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CdrFilter {
    pub account: Option<String>,
    pub customer: Option<i64>,
    pub did: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    /// A gateway that was tried.
    pub gateway: Option<i64>,
    pub code: Option<u16>,
    pub answered: Option<bool>,
    /// Calls that began then or later, ms since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Calls that began before then.
    pub until_ms: Option<u64>,
    /// Records older than the one of this number: the next page.
    pub before: Option<i64>,
    pub limit: usize,
}

/// Adds a record.
pub(crate) fn add(connection: &Connection, cdr: &Cdr) -> Result<(), StoreError> {
    let data = serde_json::to_string(cdr).map_err(|error| StoreError::Io(std::io::Error::other(error)))?;
    let gateways: String = cdr.attempts.iter().map(|attempt| format!(" {} ", attempt.gateway)).collect();
    let sql = "INSERT INTO cdrs (call, account, customer, did, caller, callee, gateways, code, started_ms, answered_ms, ended_ms,
                 cost, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    connection.prepare_cached(sql)?.execute(params![
        cdr.call,
        cdr.account,
        cdr.customer,
        cdr.did,
        cdr.from,
        cdr.to,
        gateways,
        cdr.code,
        cdr.started_at,
        cdr.answered_at,
        cdr.ended_at,
        cdr.cost,
        data,
    ])?;
    Ok(())
}

/// The statement of a list, and what is bound to it.
fn statement(filter: &CdrFilter) -> (String, Vec<Sql>) {
    let mut conditions = vec!["1"];
    let mut values: Vec<Sql> = Vec::new();
    let integer = |value: u64| Sql::Integer(i64::try_from(value).unwrap_or(i64::MAX));
    let wanted = [
        ("account = ?", filter.account.clone().map(Sql::Text)),
        ("customer = ?", filter.customer.map(Sql::Integer)),
        ("did = ?", filter.did.clone().map(Sql::Text)),
        ("caller = ?", filter.from.clone().map(Sql::Text)),
        ("callee = ?", filter.to.clone().map(Sql::Text)),
        ("instr(gateways, ?) > 0", filter.gateway.map(|id| Sql::Text(format!(" {id} ")))),
        ("code = ?", filter.code.map(|code| Sql::Integer(code.into()))),
        ("(answered_ms IS NOT NULL) = ?", filter.answered.map(|answered| Sql::Integer(answered.into()))),
        ("started_ms >= ?", filter.since_ms.map(integer)),
        ("started_ms < ?", filter.until_ms.map(integer)),
        ("id < ?", filter.before.map(Sql::Integer)),
    ];
    for (condition, value) in wanted {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value);
        }
    }
    let of_account = filter.account.as_ref().is_some_and(|account| account != DEFAULT_ACCOUNT);
    if of_account {
        conditions.push("account <> 'default'");
    }
    values.push(integer(filter.limit.clamp(1, MAX_LISTED) as u64));
    // SQLite knows nothing of how many rows have a value: the first of these is likely to leave the fewest.
    let by = [
        (filter.from.is_some(), "INDEXED BY cdrs_caller"),
        (filter.to.is_some(), "INDEXED BY cdrs_callee"),
        (filter.did.is_some(), "INDEXED BY cdrs_did"),
        (filter.since_ms.is_some() && filter.until_ms.is_some(), "INDEXED BY cdrs_started"),
        (filter.customer.is_some(), "INDEXED BY cdrs_customer"),
        (of_account, "INDEXED BY cdrs_account"),
    ];
    let by = by.into_iter().find_map(|(is_asked, by)| is_asked.then_some(by)).unwrap_or_default();
    let found = format!("SELECT id FROM cdrs {by} WHERE {} ORDER BY id DESC LIMIT ?", conditions.join(" AND "));
    (format!("SELECT id, data FROM cdrs WHERE id IN ({found}) ORDER BY id DESC"), values)
}

/// Records with their numbers, the newest first.
///
/// # Errors
/// When SQLite fails.
pub fn list(connection: &Connection, filter: &CdrFilter) -> Result<Vec<(i64, Cdr)>, StoreError> {
    let (sql, values) = statement(filter);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let mut records = Vec::new();
    for row in rows {
        let (id, data) = row?;
        match serde_json::from_str(&data) {
            Ok(cdr) => records.push((id, cdr)),
            Err(error) => tracing::error!(id, %error, "a call detail record cannot be read"),
        }
    }
    Ok(records)
}

/// The record of a call that began at `started_ms`, if there is one.
pub(crate) fn find(connection: &Connection, call: &str, started_ms: u64) -> Result<Option<Cdr>, StoreError> {
    let sql = "SELECT data FROM cdrs WHERE started_ms = ? AND call = ?";
    let data: Option<String> =
        connection.prepare_cached(sql)?.query_row(params![started_ms, call], |row| row.get(0)).optional()?;
    Ok(data.and_then(|data| serde_json::from_str(&data).ok()))
}

/// What customers have spent on calls that ended at `since_ms` or later.
pub(crate) fn spent_since(connection: &Connection, since_ms: u64) -> Result<Vec<(i64, f64)>, StoreError> {
    let sql = "SELECT customer, sum(cost) FROM cdrs WHERE ended_ms >= ? AND customer IS NOT NULL AND cost > 0 GROUP BY customer";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([since_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Forgets up to `limit` records of calls that ended before `before_ms`; how many.
pub(crate) fn sweep(connection: &Connection, before_ms: u64, limit: usize) -> Result<usize, StoreError> {
    let sql = "DELETE FROM cdrs WHERE id IN (SELECT id FROM cdrs WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?)";
    Ok(connection.prepare_cached(sql)?.execute(params![before_ms, limit])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on::block_on;
    use crate::cdr::CdrAttempt;
    use crate::store::{Clock, Store};

    fn record(call: &str, customer: i64, started_at: u64, gateway: i64) -> Cdr {
        Cdr {
            call: call.into(),
            account: "default".into(),
            customer: Some(customer),
            from: "441".into(),
            to: "442".into(),
            started_at,
            answered_at: (gateway == 7).then_some(started_at),
            ended_at: started_at + 10,
            code: if gateway == 7 { 200 } else { 503 },
            attempts: vec![CdrAttempt { gateway, ..CdrAttempt::default() }],
            cost: Some(0.5),
            ..Cdr::default()
        }
    }

    #[test]
    fn records_are_found_by_what_they_say_and_swept_by_age() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let calls = |filter: CdrFilter| {
            let filter = CdrFilter { limit: 10, ..filter };
            let found = block_on(store.read(move |connection, _| list(connection, &filter))).unwrap();
            found.into_iter().map(|(_, cdr)| cdr.call).collect::<Vec<_>>()
        };
        for cdr in [record("a", 12, 100, 7), record("b", 12, 200, 77), record("c", 13, 300, 7)] {
            block_on(store.write(move |connection, _| add(connection, &cdr))).unwrap();
        }
        assert_eq!(calls(CdrFilter::default()), ["c", "b", "a"]);
        assert_eq!(calls(CdrFilter { customer: Some(12), ..CdrFilter::default() }), ["b", "a"]);
        assert_eq!(calls(CdrFilter { gateway: Some(7), ..CdrFilter::default() }), ["c", "a"], "77 is another gateway");
        assert_eq!(calls(CdrFilter { answered: Some(false), code: Some(503), ..CdrFilter::default() }), ["b"]);
        assert_eq!(calls(CdrFilter { since_ms: Some(200), until_ms: Some(300), ..CdrFilter::default() }), ["b"]);
        assert_eq!(calls(CdrFilter { before: Some(2), ..CdrFilter::default() }), ["a"]);
        assert_eq!(calls(CdrFilter { from: Some("' OR 1".into()), ..CdrFilter::default() }), [""; 0]);
        let spent = block_on(store.read(|connection, _| spent_since(connection, 150))).unwrap();
        assert_eq!(spent, [(12, 0.5), (13, 0.5)]);
        assert_eq!(block_on(store.write(|connection, _| sweep(connection, 250, 10))).unwrap(), 2);
        assert_eq!(calls(CdrFilter::default()), ["c"]);
    }

    #[test]
    fn a_list_of_what_has_an_index_does_not_look_through_the_whole_table() {
        let store = Store::in_memory(Clock::system()).unwrap();
        let of = |filter: CdrFilter| CdrFilter { account: Some("north".into()), ..filter };
        for filter in [
            CdrFilter { from: Some("441".into()), ..CdrFilter::default() },
            of(CdrFilter { to: Some("442".into()), customer: Some(12), ..CdrFilter::default() }),
            CdrFilter { did: Some("442".into()), before: Some(7), ..CdrFilter::default() },
            of(CdrFilter { since_ms: Some(1), until_ms: Some(2), ..CdrFilter::default() }),
            CdrFilter { customer: Some(12), code: Some(503), ..CdrFilter::default() },
            of(CdrFilter { answered: Some(true), ..CdrFilter::default() }),
        ] {
            let (sql, values) = statement(&filter);
            let plan = block_on(store.read(move |connection, _| {
                let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
                let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3))?;
                Ok(steps.collect::<rusqlite::Result<Vec<_>>>()?)
            }));
            let plan = plan.unwrap();
            assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{filter:?}: {plan:?}");
        }
    }
}
