//! What a web page or a webhook sends, as one object for a script: urlencoded, multipart with files, or JSON.

mod fields;
mod json;
mod read;

pub use fields::{Fields, FormData};
pub use json::JsonError;
pub(crate) use json::{read as read_json, without_mark};
pub(crate) use read::check_encoding;
pub use read::{FormError, FormLimits, read};
