//! Bounds of what scripts name and store.

use lockstep_ctx_api::ErrorCode;

use super::error::StoreError;

/// The longest key or area, in bytes.
const MAX_KEY: usize = 512;
/// The longest value, in bytes.
const MAX_VALUE: usize = 1 << 20;

/// Checks a key, or the like, that `what` names.
pub(crate) fn check_key(what: &str, key: &str) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > MAX_KEY {
        let message = format!("{what} must have 1 to {MAX_KEY} bytes, got {}", key.len());
        return Err(StoreError::refused(ErrorCode::RangeError, message));
    }
    Ok(())
}

/// Checks the length of a value.
pub(crate) fn check_value(value: &str) -> Result<(), StoreError> {
    if value.len() > MAX_VALUE {
        let message = format!("a value may have {MAX_VALUE} bytes, got {}", value.len());
        return Err(StoreError::refused(ErrorCode::LimitError, message));
    }
    Ok(())
}

/// Checks that a value is JSON.
pub(crate) fn check_json(value: &str) -> Result<(), StoreError> {
    check_value(value)?;
    serde_json::from_str::<serde::de::IgnoredAny>(value)
        .map(|_| ())
        .map_err(|error| StoreError::refused(ErrorCode::TypeError, format!("the value is not JSON: {error}")))
}

/// The end of the range of texts that begin with `prefix`: nothing assigned comes after it.
pub(crate) fn prefix_end(prefix: &str) -> String {
    format!("{prefix}\u{10FFFF}")
}
