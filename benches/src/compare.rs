//! What changed between two runs, beyond noise.

use std::fmt::Write as _;

use crate::page::number;
use crate::report::{Better, Measurement, Report};
use crate::stats::Summary;

/// A change smaller than this share of the median is not told, however sure it is.
const SMALLEST: f64 = 0.05;

/// How a measurement moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// For the better.
    Better,
    /// For the worse.
    Worse,
    /// Not, as far as these samples tell.
    Same,
}

/// The text of `bench-compare`. What has a peer is compared by its ratio to the peer, because that doesn't change with
/// the machine's mood; the rest by its own numbers.
pub fn compare(old: &Report, new: &Report) -> String {
    let mut text = String::new();
    if old.machine.processor != new.machine.processor || old.machine.processors != new.machine.processors {
        text.push_str("The machines differ: only ratios can be compared.\n");
    }
    let mut same = 0;
    for after in &new.measurements {
        let Some(before) = old.measurement(&after.id) else {
            // Writing to a String can't fail, here and below.
            let _ = writeln!(text, "new     {}", after.id);
            continue;
        };
        let Some((from, to, what)) = comparable(before, after) else { continue };
        let word = match change(&from, &to, after.better) {
            Change::Same => {
                same += 1;
                continue;
            }
            Change::Better => "better",
            Change::Worse => "worse ",
        };
        let alone = if from.samples < 2 || to.samples < 2 { ", of a single sample" } else { "" };
        let _ = writeln!(
            text,
            "{word}  {}: {} ({} – {}) → {} ({} – {}) {what}{alone}",
            after.id,
            number(from.median),
            number(from.low),
            number(from.high),
            number(to.median),
            number(to.low),
            number(to.high)
        );
    }
    for gone in old.measurements.iter().filter(|m| new.measurement(&m.id).is_none()) {
        let _ = writeln!(text, "gone    {}", gone.id);
    }
    for after in &new.budgets {
        let before = old.budgets.iter().find(|before| before.what == after.what);
        if let Some(before) = before.filter(|before| before.outcome != after.outcome) {
            let _ = writeln!(text, "budget  {}: {} → {}", after.what, before.outcome.word(), after.outcome.word());
        }
    }
    let _ = writeln!(text, "{same} measurements did not change beyond their spread");
    text
}

/// The numbers to compare, and what they are.
fn comparable(before: &Measurement, after: &Measurement) -> Option<(Summary, Summary, String)> {
    for peer in &after.peers {
        if let Some((from, to)) = before.peer(&peer.name).and_then(|p| before.ratio(p)).zip(after.ratio(peer)) {
            return Some((from, to, format!("× {}", peer.name)));
        }
    }
    Some((before.ours.summary()?, after.ours.summary()?, after.unit.clone()))
}

/// Two runs differ when their spreads don't touch and the medians are far enough from each other to matter.
pub fn change(from: &Summary, to: &Summary, better: Better) -> Change {
    let apart = from.high < to.low || to.high < from.low;
    let far = (to.median - from.median).abs() > SMALLEST * from.median.abs();
    if !(apart && far) {
        return Change::Same;
    }
    let up = to.median > from.median;
    if up == (better == Better::Higher) { Change::Better } else { Change::Worse }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(low: f64, median: f64, high: f64) -> Summary {
        Summary { median, low, high, samples: 7 }
    }

    #[test]
    fn spreads_that_touch_are_no_change() {
        let change = |from, to| change(&from, &to, Better::Higher);
        assert_eq!(change(summary(9.0, 10.0, 11.0), summary(11.0, 12.0, 13.0)), Change::Same);
        assert_eq!(change(summary(9.0, 10.0, 11.0), summary(11.5, 12.0, 13.0)), Change::Better);
        assert_eq!(change(summary(9.0, 10.0, 11.0), summary(7.0, 8.0, 8.9)), Change::Worse);
    }

    #[test]
    fn a_sure_but_tiny_change_is_not_told() {
        assert_eq!(change(&summary(9.99, 10.0, 10.01), &summary(10.2, 10.3, 10.4), Better::Higher), Change::Same);
    }

    #[test]
    fn what_is_counted_once_is_told_when_it_moves() {
        let change = |from, to| change(&summary(from, from, from), &summary(to, to, to), Better::Lower);
        assert_eq!(change(10.0, 10.4), Change::Same);
        assert_eq!(change(10.0, 10.6), Change::Worse);
    }

    #[test]
    fn less_is_better_where_less_is_better() {
        assert_eq!(change(&summary(9.0, 10.0, 11.0), &summary(1.0, 2.0, 3.0), Better::Lower), Change::Better);
    }
}
