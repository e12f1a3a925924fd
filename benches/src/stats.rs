//! Medians and their spread.

use serde::{Deserialize, Serialize};

/// The middle of some samples and how sure we are of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// Lower end of the interval that holds the true median with a probability of about 95 %. One sample has no spread.
    pub low: f64,
    /// Upper end of that interval.
    pub high: f64,
    /// Number of samples.
    pub samples: usize,
}

/// Summarises samples; `None` when there are none.
pub fn summarize(samples: &[f64]) -> Option<Summary> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    if count == 0 {
        return None;
    }
    let trim = trimmed(count);
    let (median, mut low, mut high) = (middle(&sorted), sorted[trim], sorted[count - 1 - trim]);
    if let Some(reach) = reach(&sorted) {
        // What is never negative has no negative median either.
        let floor = if sorted[0] < 0.0 { f64::NEG_INFINITY } else { 0.0 };
        (low, high) = (low.min((median - reach).max(floor)), high.max(median + reach));
    }
    Some(Summary { median, low, high, samples: count })
}

/// Summarises samples that were taken in passes, minutes apart. Samples of one pass share the machine's mood, so they may agree
/// with each other more than they agree with the truth: the interval holds that of the passes' medians too.
pub fn summarize_passes(passes: &[&[f64]]) -> Option<Summary> {
    let mut summary = summarize(&passes.concat())?;
    let medians: Vec<f64> = passes.iter().filter_map(|pass| summarize(pass)).map(|pass| pass.median).collect();
    if let Some(between) = summarize(&medians).filter(|between| between.samples > 1) {
        summary.low = summary.low.min(between.low);
        summary.high = summary.high.max(between.high);
    }
    Some(summary)
}

/// How far around the middle of a few samples the true one may be. Even the smallest and the largest of fewer than six samples
/// hold the true median between them with less than 95 %, so here a normal distribution is supposed, and Student's t taken.
fn reach(samples: &[f64]) -> Option<f64> {
    /// The 97.5th percentile of Student's t for 1 to 4 degrees of freedom.
    const T: [f64; 4] = [12.706, 4.303, 3.182, 2.776];
    let count = samples.len() as f64;
    let t = T.get(samples.len().checked_sub(2)?)?;
    let mean = samples.iter().sum::<f64>() / count;
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some(t * (variance / count).sqrt())
}

/// The value below which the given share (0 to 1) of the samples lies: the nearest rank.
pub fn quantile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    // A rank is small and not negative, so the cast is exact.
    Some(sorted[((share * last as f64).round() as usize).min(last)])
}

/// Ratios of samples that were taken side by side: the first of ours by the first of theirs, and so on.
pub fn paired_ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).filter(|(_, theirs)| **theirs != 0.0).map(|(ours, theirs)| ours / theirs).collect()
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

/// How many samples may be cut off at each end so that the rest still holds the true median with 95 %: the number of
/// samples below the median is binomially distributed, whatever the samples' own distribution.
fn trimmed(count: usize) -> usize {
    let mut below = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut tail = below;
    let mut trim = 0;
    while trim + 1 < count.div_ceil(2) {
        below *= (count - trim) as f64 / (trim + 1) as f64;
        if 2.0 * (tail + below) > 0.05 {
            break;
        }
        tail += below;
        trim += 1;
    }
    if 2.0 * tail > 0.05 { 0 } else { trim }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_samples_spread_by_students_t() {
        let summary = summarize(&[13.0, 11.0, 12.0]).unwrap();
        assert_eq!((summary.median, summary.samples), (12.0, 3));
        // 4.303 times the standard error, 1 / √3.
        assert!((summary.low - 9.516).abs() < 0.001 && (summary.high - 14.484).abs() < 0.001, "{summary:?}");
        // Never less than the samples themselves, never below zero.
        let odd = summarize(&[1.0, 1.0, 1.0, 9.0]).unwrap();
        assert_eq!((odd.median, odd.low, odd.high), (1.0, 0.0, 9.0));
        assert_eq!(summarize(&[1.0, 2.0]).unwrap().median, 1.5);
        let one = summarize(&[1.0]).unwrap();
        assert_eq!((one.low, one.high, one.samples), (1.0, 1.0, 1));
        assert_eq!(summarize(&[]), None);
    }

    #[test]
    fn many_samples_give_the_interval_of_the_sign_test() {
        // Textbook values: of 9 samples the 2nd to the 8th, of 20 the 6th to the 15th.
        for (count, low, high) in [(6, 1, 6), (7, 1, 7), (9, 2, 8), (20, 6, 15), (100, 40, 61)] {
            let samples: Vec<f64> = (1..=count).map(f64::from).collect();
            let summary = summarize(&samples).unwrap();
            assert_eq!((summary.low, summary.high), (f64::from(low), f64::from(high)), "{count} samples");
        }
    }

    #[test]
    fn passes_that_disagree_widen_the_interval() {
        let passes: [&[f64]; 3] = [&[10.0; 5], &[11.0; 5], &[12.0; 5]];
        let alone = summarize(&passes.concat()).unwrap();
        assert_eq!((alone.low, alone.high), (10.0, 12.0));
        let summary = summarize_passes(&passes).unwrap();
        assert_eq!((summary.median, summary.samples), (11.0, 15));
        // 4.303 times the standard error of the three medians, 1 / √3.
        assert!((summary.low - 8.516).abs() < 0.001 && (summary.high - 13.484).abs() < 0.001, "{summary:?}");
        // Passes that agree leave it as it is, and so does a single one.
        let same: [&[f64]; 2] = [&[10.0, 11.0, 12.0, 13.0, 14.0, 15.0], &[15.0, 14.0, 13.0, 12.0, 11.0, 10.0]];
        assert_eq!(summarize_passes(&same), summarize(&same.concat()));
        assert_eq!(summarize_passes(&same[..1]), summarize(same[0]));
        assert_eq!(summarize_passes(&[]), None);
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        assert_eq!(paired_ratios(&[2.0, 9.0, 1.0], &[1.0, 3.0]), [2.0, 3.0]);
        assert_eq!(paired_ratios(&[2.0, 4.0], &[0.0, 2.0]), [2.0]);
    }

    #[test]
    fn quantiles_are_samples() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&samples, 0.5), Some(3.0));
        assert_eq!(quantile(&samples, 0.99), Some(5.0));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
