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

/// A figure, and how the machine was while it was measured.
pub(crate) struct Row {
    pub(crate) figure: Figure,
    /// The share (0–1) of the processors' time that was stolen.
    pub(crate) stolen: f64,
    /// The slower one of the paces before and after.
    pub(crate) pace: f64,
}

impl Row {
    /// How much the machine could have done.
    pub(crate) fn effective(&self) -> f64 {
        self.pace * (1.0 - self.stolen)
    }
}

/// The table as Markdown; paces are given as shares of the `quickest`.
pub(crate) fn table(rows: &[Row], quickest: f64) -> String {
    let mut text = String::from(
        "| figure | measured | bar | | comparison in the same run | machine's pace, stolen |\n|---|---|---|---|---|---|\n",
    );
    for Row { figure: Figure { name, measured, bar, comparison, met }, stolen, pace } in rows {
        let verdict = if *met { "met" } else { "MISSED" };
        let (pace, stolen) = (pace / quickest * 100.0, stolen * 100.0);
        let _ = writeln!(text, "| {name} | {measured} | {bar} | {verdict} | {comparison} | {pace:.0} %, {stolen:.0} % |");
    }
    text
}
