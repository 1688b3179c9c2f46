//! What a web page or a webhook sends, as one object for a script: urlencoded, multipart with files, or JSON.

mod fields;
mod read;

pub use fields::Fields;
pub use read::{FormError, FormLimits, read};
pub(crate) use read::{check_encoding, without_mark};
