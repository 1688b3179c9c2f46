//! Percentiles and the printed table.

use std::fmt::Write as _;

/// Figures in ascending order, so that percentiles can be read off.
pub(crate) struct Sorted(Vec<f64>);

impl Sorted {
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which `share` (0–1) of the figures lie; NaN when there are none.
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One line of what `make bench` prints.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) measured: String,
    pub(crate) bar: &'static str,
    pub(crate) comparison: String,
    pub(crate) met: bool,
}

/// The table as Markdown.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from("| figure | measured | bar | | comparison in the same run |\n|---|---|---|---|---|\n");
    for figure in figures {
        let verdict = if figure.met { "met" } else { "MISSED" };
        let _ = writeln!(text, "| {} | {} | {} | {verdict} | {} |", figure.name, figure.measured, figure.bar, figure.comparison);
    }
    text
}
