//! How long requests took: a log-linear histogram in a fixed array of 17 KB, small enough to stay near the core.
//!
//! Below 64 ns each value has a bucket of its own; above, each octave has 64 buckets of equal width:
//!
//! ```text
//!   64 ..= 127 ns   buckets of 1 ns       128 ..= 255   of 2 ns       256 ..= 511   of 4 ns  ...
//! ```
//!
//! A reported value is the middle of its bucket, and so differs from the true one by at most 1/128. Values past 4.5 minutes
//! share the last bucket; the maximum and the mean are exact always. Histograms are merged by adding, percentiles are never averaged.

use bireme_control::units::Nanos;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

/// A histogram of latencies. In JSON its [`LatencySummary`].
#[derive(Clone)]
pub struct Latencies {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    sum: u64,
    max: Nanos,
}

impl Latencies {
    /// Empty; the only allocation that it makes.
    pub fn new() -> Latencies {
        Latencies { buckets: Box::new([0; BUCKETS]), count: 0, sum: 0, max: Nanos::ZERO }
    }

    /// Counts one latency.
    #[inline]
    pub fn record(&mut self, latency: Nanos) {
        self.buckets[bucket_of(latency.0)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(latency.0);
        self.max = self.max.max(latency);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if self.count > 0 {
            self.buckets.fill(0);
            (self.count, self.sum, self.max) = (0, 0, Nanos::ZERO);
        }
    }

    /// Adds what another peer counted.
    pub fn merge(&mut self, other: &Latencies) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> Nanos {
        self.max
    }

    /// The mean, exactly; 0 of none.
    pub fn mean(&self) -> Nanos {
        Nanos(self.sum.checked_div(self.count).unwrap_or(0))
    }

    /// The latency that `per_100_000` of 100,000 requests do not exceed: 50,000 is the median, 99,900 is p99.9.
    pub fn percentile(&self, per_100_000: u32) -> Nanos {
        let rank = (u128::from(self.count) * u128::from(per_100_000)).div_ceil(100_000).max(1);
        if rank >= u128::from(self.count) {
            return self.max;
        }
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += u128::from(count);
            if seen >= rank {
                return if bucket == BUCKETS - 1 { self.max } else { Nanos(middle_of(bucket)).min(self.max) };
            }
        }
        self.max
    }

    /// What was counted, by bucket, in order: the middle of the bucket and how many. It leaves out empty buckets.
    pub fn counts(&self) -> impl Iterator<Item = (Nanos, u64)> + '_ {
        let used = self.buckets.iter().enumerate().filter(|&(_, &count)| count > 0);
        used.map(|(bucket, &count)| (Nanos(middle_of(bucket)).min(self.max), count))
    }

    /// All latencies together.
    pub fn sum(&self) -> Nanos {
        Nanos(self.sum)
    }

    /// The shortest, to within its bucket; 0 of none.
    pub fn min(&self) -> Nanos {
        self.counts().next().map_or(Nanos::ZERO, |(middle, _)| middle)
    }

    /// The standard deviation in nanoseconds, to within the buckets; 0 of none.
    pub fn stddev(&self) -> f64 {
        let mean = self.sum as f64 / self.count.max(1) as f64;
        let squares: f64 = self.counts().map(|(middle, count)| (middle.0 as f64 - mean).powi(2) * count as f64).sum();
        (squares / self.count.max(1) as f64).sqrt()
    }

    /// The figures that reports show.
    pub fn summary(&self) -> LatencySummary {
        LatencySummary {
            count: self.count,
            mean: self.mean(),
            p50: self.percentile(50_000),
            p90: self.percentile(90_000),
            p99: self.percentile(99_000),
            p99_9: self.percentile(99_900),
            max: self.max,
        }
    }

    /// How many there were between one power of two and the next, for those between which there were any: from, up to and
    /// without, count. It allocates: not for the data path.
    pub fn octaves(&self) -> Vec<(Nanos, Nanos, u64)> {
        let mut octaves: Vec<(Nanos, Nanos, u64)> = Vec::new();
        for (bucket, &count) in self.buckets.iter().enumerate().filter(|&(_, &count)| count > 0) {
            let from = Nanos(1 << top_of(bucket).max(1).ilog2());
            match octaves.last_mut() {
                Some((last, _, all)) if *last == from => *all += count,
                _ => octaves.push((from, Nanos(from.0 * 2), count)),
            }
        }
        octaves
    }

    /// The same counts for the formats that hdrhistogram writes. It allocates: not for the data path.
    pub fn to_hdrhistogram(&self) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).expect("three digits are within hdrhistogram's limits");
        for (value, count) in self.counts() {
            histogram.record_n(value.0, count).expect("the histogram grows by itself to the values it is given");
        }
        histogram
    }
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

impl std::fmt::Debug for Latencies {
    /// The summary: two thousand buckets help nobody.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.summary().fmt(f)
    }
}

impl Serialize for Latencies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.summary().serialize(serializer)
    }
}

/// The figures of a histogram that reports show, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LatencySummary {
    /// How many requests.
    pub count: u64,
    /// Their mean, exactly.
    pub mean: Nanos,
    /// The median.
    pub p50: Nanos,
    /// The 90th percentile.
    pub p90: Nanos,
    /// The 99th percentile.
    pub p99: Nanos,
    /// The 99.9th percentile.
    pub p99_9: Nanos,
    /// The longest, exactly.
    pub max: Nanos,
}

#[inline]
fn bucket_of(nanos: u64) -> usize {
    // The octave above the linear part: 0 for 64 ..= 127. `| 32` lets small values take the same path.
    let octave = (nanos | (PER_OCTAVE >> 1)).ilog2().saturating_sub(PER_OCTAVE.ilog2());
    let bucket = u64::from(octave) * PER_OCTAVE + (nanos >> octave);
    usize::try_from(bucket).map_or(BUCKETS - 1, |bucket| bucket.min(BUCKETS - 1))
}

/// The largest value of a bucket.
fn top_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let octave = (bucket / PER_OCTAVE).saturating_sub(1);
    ((bucket - octave * PER_OCTAVE + 1) << octave) - 1
}

fn middle_of(bucket: usize) -> u64 {
    let bottom = if bucket == 0 { 0 } else { top_of(bucket - 1) + 1 };
    bottom.midpoint(top_of(bucket))
}

const PER_OCTAVE: u64 = 64;
/// The linear part and 32 octaves: up to 2^38 ns, which is 275 seconds.
const BUCKETS: usize = 33 * 64;
const _: () = assert!(BUCKETS * size_of::<u64>() <= 17_000);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        assert_eq!([0, 63, 64, 127, 128, 129, 130].map(bucket_of), [0, 63, 64, 127, 128, 128, 129]);
        assert_eq!([0, 63, 64, 127, 128, 129].map(top_of), [0, 63, 64, 127, 129, 131]);
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(top_of(bucket)), bucket);
            assert_eq!(bucket_of(top_of(bucket) + 1), bucket + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_counted_gives_zeros_and_an_hour_keeps_its_maximum() {
        assert_eq!(Latencies::new().summary(), LatencySummary::default());
        let mut latencies = Latencies::new();
        latencies.record(Nanos::from_secs(3600));
        assert_eq!(latencies.percentile(50_000), Nanos::from_secs(3600));
        latencies.clear();
        assert_eq!(latencies.summary(), LatencySummary::default());
    }

    #[test]
    fn octaves_hold_everything_once() {
        let mut latencies = Latencies::new();
        [0, 1, 63, 64, 65, 127, 128, 1000, 1_000_000].into_iter().for_each(|nanos| latencies.record(Nanos(nanos)));
        let octaves: Vec<_> = latencies.octaves().iter().map(|&(from, to, count)| (from.0, to.0, count)).collect();
        assert_eq!(
            octaves,
            [(1, 2, 2), (32, 64, 1), (64, 128, 3), (128, 256, 1), (512, 1024, 1), (524_288, 1_048_576, 1)]
        );
    }

    proptest! {
        #[test]
        fn percentiles_are_within_a_part_of_128_of_hdrhistogram(
            values in prop::collection::vec((0u32..38, 0u64..u64::MAX).prop_map(|(octave, x)| x % (2 << octave)), 1..400),
            cut in 0usize..400,
        ) {
            let mut want = Histogram::<u64>::new(5).expect("a histogram");
            let (mut one, mut two) = (Latencies::new(), Latencies::new());
            for (index, &value) in values.iter().enumerate() {
                want.record(value).expect("it grows");
                if index < cut { one.record(Nanos(value)) } else { two.record(Nanos(value)) }
            }
            one.merge(&two);
            prop_assert_eq!(one.count(), values.len() as u64);
            prop_assert_eq!(one.max().0, values.iter().copied().max().unwrap_or(0));
            prop_assert_eq!(one.mean().0, values.iter().sum::<u64>() / values.len() as u64);
            let exported = one.to_hdrhistogram();
            for per_100_000 in [50_000u32, 90_000, 99_000, 99_900, 100_000] {
                let exact = want.value_at_quantile(f64::from(per_100_000) / 100_000.0);
                let got = one.percentile(per_100_000).0;
                prop_assert!(got.abs_diff(exact) * 127 <= exact.max(127), "p{per_100_000}: {got} for {exact}");
                let there = exported.value_at_quantile(f64::from(per_100_000) / 100_000.0);
                prop_assert!(there.abs_diff(exact) * 120 <= exact.max(120), "exported p{per_100_000}: {there} for {exact}");
            }
        }
    }
}
