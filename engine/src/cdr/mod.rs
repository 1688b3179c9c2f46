//! Call detail records: what every call was, kept in the store. They are written behind: no call waits for its record.

mod keeper;
mod table;

use serde::{Deserialize, Serialize};

pub(crate) use keeper::Keeper;
pub use table::{CdrFilter, list};
pub(crate) use table::{add, find, spent_since, sweep};

/// Milliseconds of a day, by which spending is limited: UTC's.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// One call. Times are ms since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cdr {
    /// The engine's id of the call.
    pub call: String,
    /// Call-ID of the leg that called; of a call of ours empty.
    pub sip_call_id: String,
    /// `inbound`, or `outbound` for calls that were asked for.
    pub direction: String,
    pub from: String,
    pub to: String,
    pub did: Option<String>,
    pub customer: Option<i64>,
    pub account: String,
    /// The Class 5 script that had the call.
    pub script: Option<String>,
    /// Time that routing scripts took, ms.
    pub script_ms: f64,
    pub started_at: u64,
    pub ringing_at: Option<u64>,
    pub answered_at: Option<u64>,
    pub ended_at: u64,
    /// Final code of the call: 200 after an answer that ended by hanging up.
    pub code: u16,
    pub reason: String,
    /// Who released: `caller`, `callee`, `script` or `engine`.
    pub by: String,
    /// Gateways that were tried, in order.
    pub attempts: Vec<CdrAttempt>,
    /// Of all attempts that were answered, where a route has a price.
    pub cost: Option<f64>,
}

/// One INVITE to a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CdrAttempt {
    pub gateway: i64,
    pub number: String,
    pub cli: Option<String>,
    pub started_at: u64,
    pub ringing_at: Option<u64>,
    pub answered_at: Option<u64>,
    pub ended_at: Option<u64>,
    /// Final code: 200 once answered, 487 when it was taken back.
    pub code: Option<u16>,
    pub reason: Option<String>,
    /// Price of a minute.
    pub price: Option<f64>,
}

impl CdrAttempt {
    /// What it has cost until `now`, by the second begun.
    pub(crate) fn cost(&self, now: u64) -> Option<f64> {
        let price = self.price?;
        let talked = self.answered_at.map_or(0, |from| self.ended_at.unwrap_or(now).saturating_sub(from));
        Some(price * talked.div_ceil(1_000) as f64 / 60.0)
    }
}

/// What attempts have cost; `None`: none of them has a price.
pub(crate) fn total_cost(attempts: &[CdrAttempt], now: u64) -> Option<f64> {
    attempts.iter().filter_map(|attempt| attempt.cost(now)).fold(None, |sum, cost| Some(sum.unwrap_or(0.0) + cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_were_begun_are_paid_for_and_silence_is_not() {
        let talked = |ms: u64| CdrAttempt {
            answered_at: Some(1_000),
            ended_at: Some(1_000 + ms),
            price: Some(0.6),
            ..CdrAttempt::default()
        };
        let unanswered = CdrAttempt { price: Some(0.6), ..CdrAttempt::default() };
        let free = CdrAttempt { price: None, ..talked(60_000) };
        let near = |cost: Option<f64>, expected: f64| (cost.unwrap() - expected).abs() < 1e-9;
        assert!(near(talked(60_000).cost(0), 0.6) && near(talked(59_001).cost(0), 0.6) && near(talked(1).cost(0), 0.01));
        assert_eq!((unanswered.cost(99), free.cost(99)), (Some(0.0), None));
        assert!(near(total_cost(&[talked(60_000), unanswered, free.clone()], 0), 0.6));
        assert_eq!(total_cost(&[free], 0), None);
    }
}
