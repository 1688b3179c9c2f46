//! Class 4: the routing hook. The configuration's routes are laid out as the object that routing scripts know (`data.routing`), the
//! scripts run one after another, and what they made of it is read back as attempts: which gateway, which number, caller id and headers.
//!
//! [`RouteTable`] and [`change`] are pure; [`Class4`] runs the scripts.

mod answer;
mod bounds;
mod chain;
mod change;
mod decision;
mod facts;
mod table;

pub use chain::Class4;
pub(crate) use chain::{Runner, hook, route, route_without_scripts};
pub(crate) use change::{Given, RoutingObject};
pub use decision::{Attempt, Decision, Fields};
pub use facts::Facts;
pub use table::RouteTable;

/// A SIP reply in place of a route (contract, section 4).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{code} {text}")]
pub struct Rejection {
    /// 300–699; for 3xx the text is the Contact.
    pub code: u16,
    pub text: String,
    /// What went wrong, for the log; `None`: a script chose this reply.
    pub why: Option<String>,
}

impl Rejection {
    fn new(code: u16, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), why: None }
    }

    fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }
}
