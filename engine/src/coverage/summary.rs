//! The table that `lockstep test --coverage` prints, and the figures in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::counts::{Counts, Coverage};
use super::instrument::{Branch, Instrumented};

/// How much of something was reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub reached: usize,
    pub all: usize,
}

impl Share {
    fn add(&mut self, other: Self) {
        self.reached += other.reached;
        self.all += other.all;
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.all == 0 {
            return f.pad("–");
        }
        let percent = self.reached as f64 * 100.0 / self.all as f64;
        f.pad(&format!("{percent:.1} % ({}/{})", self.reached, self.all))
    }
}

/// Lines with statements, and how often the most frequent of each line's statements ran.
pub(super) fn lines(made: &Instrumented, counts: &Counts) -> BTreeMap<u32, u64> {
    let mut lines = BTreeMap::new();
    for statement in &made.statements {
        let count: &mut u64 = lines.entry(statement.line).or_default();
        *count = (*count).max(counts.of(statement.mark));
    }
    lines
}

pub(super) fn line_share(made: &Instrumented, counts: &Counts) -> Share {
    let lines = lines(made, counts);
    Share { reached: lines.values().filter(|count| **count > 0).count(), all: lines.len() }
}

pub(super) fn branch_share(made: &Instrumented, counts: &Counts) -> Share {
    let arms = || made.branches.iter().flat_map(|branch| &branch.arms);
    Share { reached: arms().filter(|arm| counts.of(arm.mark) > 0).count(), all: arms().count() }
}

/// What was not reached: lines as ranges, then ways of branches on lines that were.
fn missing(made: &Instrumented, counts: &Counts) -> String {
    let lines = lines(made, counts);
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    let mut is_run = false;
    for (line, count) in &lines {
        match ranges.last_mut().filter(|_| is_run && *count == 0) {
            Some((_, end)) => *end = *line,
            None if *count == 0 => ranges.push((*line, *line)),
            None => {}
        }
        is_run = *count == 0;
    }
    let shown = |(from, to): (u32, u32)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    let mut parts: Vec<String> = ranges.into_iter().map(shown).collect();
    let silent = |branch: &Branch| lines.get(&branch.line).is_none_or(|count| *count > 0);
    for branch in made.branches.iter().filter(|branch| silent(branch)) {
        let arms = branch.arms.iter().filter(|arm| counts.of(arm.mark) == 0 && lines.get(&arm.line) != Some(&0));
        parts.extend(arms.map(|arm| format!("{}:{} {}", branch.line, branch.column, arm.kind)));
    }
    parts.join(", ")
}

/// A line a script, then one for all.
pub(crate) fn table(coverage: &Coverage) -> String {
    let width = coverage.files().map(|(file, ..)| file.chars().count()).max().unwrap_or(0).max("all scripts".len());
    let mut text = String::new();
    let mut row = |file: &str, lines: &str, branches: &str, missing: &str| {
        let row = format!("# {file:width$}  {lines:>18}  {branches:>18}  {missing}");
        let _ = writeln!(text, "{}", row.trim_end());
    };
    row("script", "lines", "branches", "not reached");
    let (mut all_lines, mut all_branches) = (Share::default(), Share::default());
    for (file, _, made, counts) in coverage.files() {
        let (lines, branches) = (line_share(made, &counts), branch_share(made, &counts));
        all_lines.add(lines);
        all_branches.add(branches);
        row(file, &lines.to_string(), &branches.to_string(), &missing(made, &counts));
    }
    row("all scripts", &all_lines.to_string(), &all_branches.to_string(), "");
    text
}

#[cfg(test)]
mod tests {
    use super::super::instrument::instrument;
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_lines_and_ways() {
        let made = instrument("a.js", "a();\nif (b) c();\nif (d) {\n  e();\n  f();\n}\n", 0).unwrap();
        let passed = ["a();", "if (b)", "c();", "if (d)"];
        let source = "a();\nif (b) c();\nif (d) {\n  e();\n  f();\n}\n";
        let mut counts = Counts(vec![0; made.marks as usize]);
        for statement in &made.statements {
            let text = &source[statement.span.start as usize..];
            counts.0[statement.mark as usize] = u64::from(passed.iter().any(|passed| text.starts_with(passed)));
        }
        // `b` was always true, `d` always false.
        for (branch, arm) in [(0, 0), (1, 1)] {
            counts.0[made.branches[branch].arms[arm].mark as usize] = 1;
        }
        assert_eq!(missing(&made, &counts), "4-5, 2:1 no");
        assert_eq!(
            (line_share(&made, &counts), branch_share(&made, &counts)),
            (Share { reached: 3, all: 5 }, Share { reached: 2, all: 4 })
        );
    }
}
