//! What exists: one table, from which scopes are enforced and the OpenAPI document is written.

mod calls;
mod engine;
mod provisioning;
mod scripts;
mod storage;

use axum::http::Method;

use crate::config::Scope;

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What a key needs; `None`: no key is asked for.
    pub(super) scope: Option<Scope>,
    pub(super) reach: Reach,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    /// Schema of the request body.
    pub(super) body: Option<&'static str>,
    /// Status and schema of success.
    pub(super) success: (u16, &'static str),
    /// Statuses of failure besides those of keys.
    pub(super) failures: &'static [u16],
}

/// Whose things an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing that belongs to anybody.
    Open,
    /// The account's of the key: those of others are as if they were not there.
    Account,
    /// Everybody's: for the operator of the engine alone.
    Engine,
}

/// What is of use to whoever asks alone: it ends with the connection.
const QUESTIONS: [&str; 2] = ["/v1/route", "/v1/dids/search"];
/// What a script does for whoever asks, whatever the method is.
const FUNCTIONS: [&str; 2] = ["/f/{id}", "/f/{id}/{fn}"];

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) kind: &'static str,
}

const fn text(name: &'static str, summary: &'static str) -> Parameter {
    Parameter { name, summary, kind: "string" }
}

/// Every operation, in the order of the document.
pub(super) fn operations() -> impl Iterator<Item = &'static Operation> {
    [engine::OPERATIONS, calls::OPERATIONS, scripts::OPERATIONS, storage::OPERATIONS, provisioning::OPERATIONS]
        .into_iter()
        .flatten()
}

/// The operation a request is for.
pub(super) fn operation(method: &Method, path: &str) -> Option<&'static Operation> {
    // axum answers HEAD with the handler of GET.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    operations().find(|operation| operation.method == *method && operation.path == path)
}

/// Whether a request changes something, or may have a script do so, and so is carried through once it has come.
pub(super) fn is_change(method: &Method, path: &str) -> bool {
    FUNCTIONS.contains(&path) || !method.is_safe() && !QUESTIONS.contains(&path)
}
