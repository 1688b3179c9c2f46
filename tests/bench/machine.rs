//! What else a virtual machine's host does with its processors: it takes them away, and shares them with others.

use std::{fs, io};

use crate::{class4, net};

/// How fast the processors were, the server's and the load's: routing scripts a second in a bare QuickJS.
pub(crate) fn pace() -> io::Result<f64> {
    net::pin(0);
    let servers = class4::pace();
    net::pin(1);
    Ok(servers?.min(class4::pace()?))
}

/// Clock ticks of all processors since the machine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticks {
    stolen: u64,
    all: u64,
}

impl Ticks {
    /// Those until now; none where the system does not tell.
    pub(crate) fn now() -> Self {
        fs::read_to_string("/proc/stat").map(|text| Self::read(&text)).unwrap_or_default()
    }

    /// The first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of user and nice.
    fn read(text: &str) -> Self {
        let line = text.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
        Self { stolen: ticks.get(7).copied().unwrap_or(0), all: ticks.iter().sum() }
    }

    /// The share (0–1) of the time since `earlier` that was stolen.
    pub(crate) fn stolen_since(&self, earlier: &Self) -> f64 {
        let [stolen, all] = [self.stolen - earlier.stolen.min(self.stolen), self.all - earlier.all.min(self.all)];
        stolen as f64 / all.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steal_is_the_eighth_number_and_a_share_of_the_first_eight() {
        let [before, after] =
            ["cpu  10 0 10 80 0 0 0 0 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n", "cpu  20 0 20 130 0 0 0 30 99 9\n"].map(Ticks::read);
        assert_eq!(after.stolen_since(&before), 0.3);
        assert_eq!(after.stolen_since(&after), 0.0);
        assert_eq!(Ticks::read("nothing\n"), Ticks::default());
    }
}
