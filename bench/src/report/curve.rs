//! A distribution of latencies as a curve over 1/(1-p): each point halves the share of requests that are slower, four points
//! to a halving, so that the tail is as well drawn as the middle, and a thousand million requests need 120 points.

use bireme_dataplane::telemetry::Latencies;

/// Percentiles and the nanoseconds that they stand for, from counts in the order of values. The last point is the maximum.
pub(crate) fn curve(counts: &[(u64, u64)]) -> Vec<(f64, u64)> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut points = Vec::new();
    let mut left = counts.iter().copied();
    let Some((mut value, mut seen)) = left.next() else { return points };
    for step in 0i32.. {
        let slower = (-f64::from(step) / STEPS_PER_HALVING).exp2();
        if slower * (total as f64) < 1.0 {
            break;
        }
        let rank = total as f64 * (1.0 - slower);
        while (seen as f64) < rank {
            let Some((next, count)) = left.next() else { break };
            (value, seen) = (next, seen + count);
        }
        points.push(((1.0 - slower) * 100.0, value));
    }
    let last = counts.last().map_or(value, |(value, _)| *value);
    points.push(((1.0 - 1.0 / total as f64) * 100.0, last));
    points
}

/// That of a histogram; its last point is exact, as the maximum is.
pub(crate) fn curve_of(latencies: &Latencies) -> Vec<(f64, u64)> {
    let counts: Vec<(u64, u64)> = latencies.counts().map(|(middle, count)| (middle.0, count)).collect();
    let mut points = curve(&counts);
    if let Some((_, longest)) = points.last_mut() {
        *longest = latencies.max().0;
    }
    points
}

const STEPS_PER_HALVING: f64 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_the_exact_percentiles_of_the_counts() {
        let counts: Vec<(u64, u64)> = (1..=1000).map(|value| (value, 1)).collect();
        let points = curve(&counts);
        for &(percentile, value) in &points[..points.len() - 1] {
            // Half of a thousand is the 500th: what is above that is what the division adds.
            let rank = (percentile * 10.0 - 1e-9).ceil().max(1.0);
            assert_eq!(value as f64, rank, "p{percentile}");
        }
        assert_eq!(points.first(), Some(&(0.0, 1)));
        assert_eq!(points.last(), Some(&(99.9, 1000)));
        assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1));
        assert!(points.len() < 50);
    }

    #[test]
    fn few_requests_make_few_points() {
        assert_eq!(curve(&[]), []);
        assert_eq!(curve(&[(7, 1)]), [(0.0, 7), (0.0, 7)]);
        assert_eq!(curve(&[(5, 1 << 40)]).len(), 162);
    }
}
