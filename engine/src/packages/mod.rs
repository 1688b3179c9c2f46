//! npm packages that scripts may load.
//!
//! They are installed with the ordinary npm client from a `package.json` and its lock file, whose `lockstep` section is the
//! allow-list; [`bundle()`] makes one text of each, and a [`Library`] hands those to programs whose scripts name them.

mod bundle;
mod library;
mod manifest;
mod names;

pub use bundle::{BundleError, bundle};
pub use library::Library;
pub use manifest::Manifest;
pub use names::{computes_names, named_modules};

/// Where the texts lie within the folder of `package.json`.
const BUNDLES: &str = ".bundles";
