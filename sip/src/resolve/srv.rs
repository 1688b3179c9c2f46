//! The order of SRV records: by priority, then by weighted chance (RFC 2782).

use rand::Rng;

use super::SrvRecord;

/// Orders records for one request: lower priorities first, within one each drawn in proportion to its weight.
pub(super) fn order(mut records: Vec<SrvRecord>, rng: &mut impl Rng) -> Vec<SrvRecord> {
    // Weightless ones first, so that they keep a small chance.
    records.sort_by(|a, b| (a.priority, a.weight, a.port, &a.target).cmp(&(b.priority, b.weight, b.port, &b.target)));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let group = records.iter().take_while(|record| record.priority == priority);
        let total: u64 = group.map(|record| u64::from(record.weight)).sum();
        let drawn = rng.next_u64() % (total + 1);
        let mut sum = 0;
        let at = records.iter().position(|record| {
            sum += u64::from(record.weight);
            sum >= drawn
        });
        ordered.push(records.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn record(priority: u16, weight: u16, target: &str) -> SrvRecord {
        SrvRecord { priority, weight, port: 5060, target: target.into() }
    }

    fn firsts(records: &[SrvRecord], target: &str) -> usize {
        (0..1000).filter(|seed| order(records.to_vec(), &mut ChaCha8Rng::seed_from_u64(*seed))[0].target == target).count()
    }

    #[test]
    fn priorities_are_never_mixed_and_nothing_is_lost() {
        let records = [record(20, 60000, "c"), record(10, 0, "a"), record(10, 65535, "b"), record(30, 0, "d")];
        for seed in 0..50 {
            let ordered = order(records.to_vec(), &mut ChaCha8Rng::seed_from_u64(seed));
            let priorities: Vec<u16> = ordered.iter().map(|record| record.priority).collect();
            assert_eq!(priorities, [10, 10, 20, 30]);
        }
    }

    #[test]
    fn weights_are_chances() {
        let records = [record(1, 75, "often"), record(1, 25, "seldom")];
        let often = firsts(&records, "often");
        assert!((690..=810).contains(&often), "{often} of 1000");
        let never = [record(1, 99, "often"), record(1, 0, "rare")];
        let rare = firsts(&never, "rare");
        assert!((1..=40).contains(&rare), "{rare} of 1000");
    }
}
