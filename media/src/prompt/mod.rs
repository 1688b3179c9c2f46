//! Prompts: from the name a script writes to encoded packets ready to send.
//!
//! ```text
//! source  "user/x.wav" | "ivr/x.wav" | "https://…"      what the script named
//!   │ beneath, stock, remote                             bytes, and what tells that they changed
//!   │ decode (wav | ogg_opus | symphonia)                mono PCM, or G.711 as it lay in the file
//!   │ resample                                           to the codec's rate
//!   │ encode                                             one frame a packet time
//!   ▼ library                                            cached, one load for all who wait
//! Arc<EncodedPrompt>
//! ```
//!
//! Everything below `library` is synchronous and runs on the loader threads of [`pool`]; nothing of it ever runs on
//! a media thread or on the engine's core thread.

pub mod decode;
pub mod encode;
pub mod error;
pub mod http;
pub mod library;
pub mod lru;
mod ogg_opus;
pub mod pool;
mod resample;
pub mod source;
pub mod stock;
mod wav;

pub use decode::{Audio, Limits};
pub use error::{Cause, PromptError};
pub use http::{Fetch, FetchError, FetchRequest, Fetched};
pub use library::{Loaded, PromptConfig, PromptLibrary};
pub use source::{Folder, Folders, Source};
