//! The median of a sample and its confidence interval by order statistics.
//!
//! Each value lies below the true median with probability 1/2, so how many do is binomial: the true median is outside
//! `[x(k), x(n-k+1)]` with probability `2 P(B(n, 1/2) < k)`, whatever the distribution.

use serde::Serialize;

/// An interval that holds the true median with probability `coverage`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end, a value of the sample.
    pub low: f64,
    /// The upper end, a value of the sample.
    pub high: f64,
    /// At least 0.95; seldom exactly, because the ends are values of the sample.
    pub coverage: f64,
}

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    match sorted.len() {
        0 => 0.0,
        n if n.is_multiple_of(2) => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        n => sorted[n / 2],
    }
}

/// The narrowest symmetric interval of at least 95 %; fewer than six values have none.
pub fn interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values);
    let n = sorted.len();
    let (mut k, mut outside) = (0, 0.0);
    // The probability that exactly k values lie below the median: C(n, k) / 2^n.
    let mut exactly = 0.5f64.powf(n as f64);
    while k < n / 2 && 2.0 * (outside + exactly) <= 0.05 {
        outside += exactly;
        exactly *= (n - k) as f64 / (k + 1) as f64;
        k += 1;
    }
    (k > 0).then(|| Interval { low: sorted[k - 1], high: sorted[n - k], coverage: 1.0 - 2.0 * outside })
}

/// The median with its interval, as a part of a sentence.
pub fn verdict(ratios: &[f64]) -> String {
    let middle = median(ratios);
    match interval(ratios) {
        Some(Interval { low, high, coverage }) => {
            format!("{middle:.3}, between {low:.3} and {high:.3} with {:.1} % confidence", coverage * 100.0)
        }
        None => format!("{middle:.3}; fewer than six pairs allow no interval of 95 %"),
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_those_of_the_printed_tables() {
        // The rank of the lower end for n values, from tables of the sign test at 5 %.
        for (n, rank) in [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (21, 6), (25, 8), (50, 18)] {
            let values: Vec<f64> = (1..=n).rev().map(f64::from).collect();
            let got = interval(&values).expect("enough values");
            assert_eq!((got.low, got.high), (f64::from(rank), f64::from(n + 1 - rank)), "{n} values");
            assert!((0.95..1.0).contains(&got.coverage));
        }
        assert_eq!(interval(&[1.0; 5]), None);
        assert_eq!(interval(&[]), None);
        assert!(interval(&vec![1.0; 999]).is_some());
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
