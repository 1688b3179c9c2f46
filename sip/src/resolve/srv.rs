//! The order of servers: by priority, then by weighted chance (RFC 2782).

use rand::Rng;

/// Orders servers for one request: lower ranks first, within one each drawn in proportion to its weight. `place` tells rank and weight.
pub(super) fn order<T, R: Ord>(mut servers: Vec<T>, place: impl Fn(&T) -> (R, u16), rng: &mut impl Rng) -> Vec<T> {
    // Weightless ones first, so that they keep a small chance.
    servers.sort_by_key(&place);
    let mut ordered = Vec::with_capacity(servers.len());
    while let Some((first, _)) = servers.first().map(&place) {
        let group = servers.iter().map(&place).take_while(|(rank, _)| *rank == first);
        let total: u64 = group.map(|(_, weight)| u64::from(weight)).sum();
        let drawn = rng.next_u64() % (total + 1);
        let mut sum = 0;
        let at = servers.iter().position(|server| {
            sum += u64::from(place(server).1);
            sum >= drawn
        });
        ordered.push(servers.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::resolve::SrvRecord;

    fn record(priority: u16, weight: u16, target: &str) -> SrvRecord {
        SrvRecord { priority, weight, port: 5060, target: target.into() }
    }

    fn ordered(records: &[SrvRecord], seed: u64) -> Vec<SrvRecord> {
        order(records.to_vec(), |record| (record.priority, record.weight), &mut ChaCha8Rng::seed_from_u64(seed))
    }

    fn firsts(records: &[SrvRecord], target: &str) -> usize {
        (0..1000).filter(|seed| ordered(records, *seed)[0].target == target).count()
    }

    #[test]
    fn priorities_are_never_mixed_and_nothing_is_lost() {
        let records = [record(20, 60000, "c"), record(10, 0, "a"), record(10, 65535, "b"), record(30, 0, "d")];
        for seed in 0..50 {
            let priorities: Vec<u16> = ordered(&records, seed).iter().map(|record| record.priority).collect();
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
