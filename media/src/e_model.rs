//! How good a call sounds, from what the network did to it: the E-model (ITU-T G.107).
//!
//! ```text
//!   R = Ro − Is − Id − Ie,eff + A          Ro − Is = 93.2 with the default values of table 2
//! ```

use std::time::Duration;

use crate::codec::Codec;

/// Ro − Is with every parameter at its default (G.107 clause 7.7).
const BASE: f64 = 93.2;

/// What a listener was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The codec.
    pub codec: Codec,
    /// Share of the packets that were lost, 0 to 1.
    pub loss: f64,
    /// From mouth to ear, one way.
    pub delay: Duration,
}

/// The transmission rating factor R, 0 (nothing gets through) to 93.2 (nothing is in the way).
pub fn rating(conditions: &Conditions) -> f64 {
    (BASE - delay_impairment(conditions.delay) - loss_impairment(conditions.codec, conditions.loss)).clamp(0.0, BASE)
}

/// The mean opinion score to be expected of a rating, 1 (bad) to 4.5 (G.107 annex B).
pub fn mean_opinion_score(rating: f64) -> f64 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    (1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6).max(1.0)
}

/// Id without echo: Idd of clause 7.4.
fn delay_impairment(delay: Duration) -> f64 {
    let ms = delay.as_secs_f64() * 1_000.0;
    if ms <= 100.0 {
        return 0.0;
    }
    let x = (ms / 100.0).log2();
    25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
}

/// Ie,eff of clause 7.5, loss taken as random (BurstR = 1).
fn loss_impairment(codec: Codec, loss: f64) -> f64 {
    let (ie, robustness) = equipment(codec);
    let percent = loss.clamp(0.0, 1.0) * 100.0;
    ie + (95.0 - ie) * percent / (percent + robustness)
}

/// Ie and Bpl (G.113 appendix I). Whether a listener's device conceals loss is not known: it is taken not to.
fn equipment(codec: Codec) -> (f64, f64) {
    match codec {
        Codec::Pcmu | Codec::Pcma => (0.0, 4.3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(loss: f64, ms: u64) -> f64 {
        mean_opinion_score(rating(&Conditions { codec: Codec::Pcmu, loss, delay: Duration::from_millis(ms) }))
    }

    #[test]
    fn an_untouched_call_scores_as_the_recommendation_says() {
        assert!((score(0.0, 0) - 4.41).abs() < 0.01, "{}", score(0.0, 0));
    }

    #[test]
    fn delay_costs_nothing_at_first_and_then_more_and_more() {
        assert_eq!(score(0.0, 100), score(0.0, 0));
        let idd = |ms| delay_impairment(Duration::from_millis(ms));
        // G.107 figure: about 3.7 at 200 ms, 14 at 300 ms, 24 at 400 ms.
        for (ms, expected) in [(150, 0.3), (200, 3.0), (300, 14.5), (400, 24.0)] {
            assert!((idd(ms) - expected).abs() < 1.5, "{ms} ms: {}", idd(ms));
        }
    }

    #[test]
    fn loss_costs_much_where_nothing_conceals_it() {
        let impairment = loss_impairment(Codec::Pcma, 0.01);
        assert!((impairment - 95.0 / 5.3).abs() < 1e-9);
        assert!(score(0.01, 0) > score(0.02, 0));
        assert!(score(0.2, 0) < 1.5);
        assert_eq!(score(2.0, 0), score(1.0, 0), "a share is at most all of it");
    }

    #[test]
    fn scores_stay_on_their_scale() {
        for rating in [-5.0, 0.0, 0.5, 50.0, 93.2, 100.0, 200.0] {
            assert!((1.0..=4.5).contains(&mean_opinion_score(rating)), "{rating}");
        }
    }
}
