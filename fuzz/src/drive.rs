//! Runs a fuzz target under `cargo test`: its seeds, every prefix of them, and a few thousand damaged copies, other ones each time.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::{env, fs, path::Path};

/// The environment variable with the number that a failure told: the same copies again.
const SEED: &str = "LOCKSTEP_FUZZ_SEED";

/// Prefixes of one seed, evenly spread over its length.
const PREFIXES: usize = 400;

/// Small pieces that parsers stumble over.
const SPICE: [&[u8]; 14] = [
    b"\r\n",
    b"\n",
    b"\0",
    b"\"",
    b"<",
    b">",
    b";",
    b",",
    b"%",
    b"[",
    b"\xff\xff\xff\xff",
    b"\x80",
    b"-1",
    b"99999999999999999999",
];

/// Calls `target` with everything made from `fuzz/seeds/<name>`: `rounds` damaged copies among it. A panic is the failure.
pub fn drive(name: &str, rounds: usize, target: fn(&[u8])) {
    let seeds = seeds(name);
    for seed in &seeds {
        for end in (0..=seed.len()).step_by(seed.len() / PREFIXES + 1) {
            target(&seed[..end]);
        }
        target(seed);
    }
    let number = env::var(SEED).map_or_else(|_| RandomState::new().hash_one(name), |text| text.parse().expect("a number"));
    // Shown when the test fails.
    eprintln!("{SEED}={number}");
    let mut chance = Chance(number | 1);
    for _ in 0..rounds {
        target(&chance.damage(&seeds));
    }
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("no seeds in {}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.iter().map(|path| fs::read(path).expect("a readable seed")).collect();
    assert!(!seeds.is_empty(), "no seeds in {}", folder.display());
    seeds
}

/// xorshift64, whose state is never 0: reproducible, and in need of no crate.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("below a usize")
    }

    fn damage(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(30)).min(bytes.len());
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 => drop(bytes.drain(at..end)),
                3 => drop(bytes.splice(at..at, SPICE[self.below(SPICE.len())].iter().copied())),
                4 => {
                    let other = &seeds[self.below(seeds.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(120)).min(other.len());
                    drop(bytes.splice(at..end, other[from..to].iter().copied()));
                }
                _ => {
                    let piece = bytes[at..end].repeat(1 + self.below(6));
                    drop(bytes.splice(at..at, piece));
                }
            }
        }
        bytes
    }
}
