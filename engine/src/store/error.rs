//! Why something was not stored or not found.

use std::path::PathBuf;

use lockstep_ctx_api::{ErrorCode, OpError};
use thiserror::Error;

use super::REPORT_TIME;

/// What a store answers instead of a result.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("store {}: {why}", path.display())]
    Open { path: PathBuf, why: String },
    #[error("the store's tables are of version {got}, this engine knows versions up to {known}")]
    Version { got: u32, known: u32 },
    #[error("it can be read, but not be written")]
    ReadOnly,
    /// The request does not fit what is there; the message is for whoever asked.
    #[error("{message}")]
    Refused { code: ErrorCode, message: String },
    #[error("the store has more to write than it can hold; try again later")]
    Overloaded,
    #[error("the answer was not found within {} s: ask for less, such as a shorter time or a number", REPORT_TIME.as_secs())]
    TooLong,
    #[error("the store has stopped")]
    Stopped,
    #[error("{0}")]
    Sql(#[from] rusqlite::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl StoreError {
    /// The request does not fit what is there.
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    /// The disk has no room.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Sql(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull))
    }

    /// It is what is to be written that does not fit; a later try would be refused as well.
    pub(crate) fn is_for_good(&self) -> bool {
        use rusqlite::ErrorCode as Sql;
        match self {
            Self::Refused { .. } | Self::Sql(rusqlite::Error::ToSqlConversionFailure(_)) => true,
            Self::Sql(error) => matches!(
                error.sqlite_error_code(),
                Some(Sql::ConstraintViolation | Sql::TypeMismatch | Sql::TooBig | Sql::ParameterOutOfRange)
            ),
            Self::Open { .. }
            | Self::Version { .. }
            | Self::ReadOnly
            | Self::Overloaded
            | Self::TooLong
            | Self::Stopped
            | Self::Io(_) => false,
        }
    }

    /// Of a read that is bounded: SQLite says only that it was interrupted.
    pub(super) fn of_report(self) -> Self {
        let interrupted = Some(rusqlite::ErrorCode::OperationInterrupted);
        if matches!(&self, Self::Sql(error) if error.sqlite_error_code() == interrupted) { Self::TooLong } else { self }
    }

    /// As a script gets it from the call that messages name `label`.
    pub fn into_op_error(self, label: &str) -> OpError {
        let code = match &self {
            Self::Refused { code, .. } => *code,
            Self::Overloaded => ErrorCode::LimitError,
            Self::TooLong => ErrorCode::TimeoutError,
            Self::Sql(_) if self.is_disk_full() => ErrorCode::LimitError,
            Self::Sql(_) | Self::Open { .. } | Self::Version { .. } | Self::ReadOnly | Self::Stopped | Self::Io(_) => {
                ErrorCode::DatabaseError
            }
        };
        OpError::new(code, format!("{label}: {self}"))
    }
}
