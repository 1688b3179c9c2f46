//! What services can reach only while an engine is served: the engine itself. A run without one never has it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::EngineHandle;

/// Filled in by whoever serves the engine; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Late(Arc<Mutex<Option<Served>>>);

/// A running engine, and where its management interface is.
#[derive(Clone, Debug)]
pub struct Served {
    pub engine: EngineHandle,
    pub api: SocketAddr,
}

impl Late {
    /// The engine is served from now on, or, with `None`, no more: the handle keeps an engine alive.
    pub fn set(&self, served: Option<Served>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = served;
    }

    /// The engine, if there is one.
    pub(super) fn get(&self) -> Option<Served> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
