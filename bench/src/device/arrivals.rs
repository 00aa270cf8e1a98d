//! When requests are to start: as soon as there is room (closed loop), or at times that do not depend on the device.
//!
//! Times of a schedule are absolute. Whoever is late starts what is due at once, and its response time counts from when it
//! should have started: so a stall of the device shows in the figures of all requests that it delayed, and not of one only
//! (Tene's "coordinated omission").

use bireme_control::units::Nanos;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, Exp1};

/// How requests arrive at one peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// The next one starts as soon as one has ended.
    Closed,
    /// At equal distances, so many per second.
    Constant { per_s: f64 },
    /// At random, so many per second on average, each independent of all others.
    Poisson { per_s: f64 },
}

/// The times of one peer.
#[derive(Debug)]
pub(super) struct Schedule {
    per_s: f64,
    poisson: bool,
    /// How many came before this one.
    count: u64,
    random: SmallRng,
    began: Nanos,
    /// Since the beginning, in nanoseconds.
    at: f64,
}

impl Schedule {
    /// From now on; `None` in a closed loop.
    pub(super) fn new(arrivals: Arrivals, seed: u64, now: Nanos) -> Option<Schedule> {
        let (per_s, poisson) = match arrivals {
            Arrivals::Closed => return None,
            Arrivals::Constant { per_s } => (per_s, false),
            Arrivals::Poisson { per_s } => (per_s, true),
        };
        let random = SmallRng::seed_from_u64(seed);
        let mut schedule = Schedule { per_s, poisson, count: 0, random, began: now, at: 0.0 };
        schedule.advance();
        Some(schedule)
    }

    /// When the next one is to start.
    #[inline]
    pub(super) fn next(&self) -> Nanos {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive span of less than years"
        )]
        let since = self.at as u64;
        self.began + Nanos(since)
    }

    /// It has started, or was given up.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.count += 1;
        if self.poisson {
            let distance: f64 = Exp1.sample(&mut self.random);
            self.at += distance * 1e9 / self.per_s;
        } else {
            // From the count, so that no rounding adds up.
            self.at = self.count as f64 * 1e9 / self.per_s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(arrivals, 5, Nanos(1000)).expect("a schedule");
        let mut next = || {
            let at = schedule.next().0 - 1000;
            schedule.advance();
            at
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn constant_arrivals_do_not_drift() {
        // 300,000 per second are 3333.3 ns apart: whole microseconds would be off by a tenth, whole nanoseconds drift.
        let times = times(Arrivals::Constant { per_s: 300_000.0 }, 3_000_000);
        assert_eq!(times[299_999], 1_000_000_000);
        assert_eq!(times[2_999_999], 10_000_000_000);
        assert!(times.windows(2).all(|pair| (3333..=3334).contains(&(pair[1] - pair[0]))));
    }

    #[test]
    fn poisson_arrivals_are_exponential_and_independent() {
        for per_s in [10_000.0, 100_000.0, 300_000.0] {
            let times = times(Arrivals::Poisson { per_s }, 1_000_001);
            let distances: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
            let mean = distances.iter().sum::<f64>() / 1e6;
            assert!((mean * per_s / 1e9 - 1.0).abs() < 0.005, "{per_s}: mean {mean}");
            // Kolmogorov and Smirnov: the largest difference of the distributions exceeds 1.95 / sqrt(n) in 1 of 1000 cases.
            let mut sorted = distances.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let differs = |(index, distance): (usize, &f64)| {
                let want = 1.0 - (-distance * per_s / 1e9).exp();
                (want - index as f64 / 1e6).abs()
            };
            let largest = sorted.iter().enumerate().map(differs).fold(0.0, f64::max);
            // Whole nanoseconds are a step of per_s / 1e9 in the distribution.
            assert!(largest < 1.95 / 1e3 + per_s / 1e9, "{per_s}: {largest}");
            let covariance: f64 =
                distances.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>() / 1e6;
            assert!((covariance / mean / mean).abs() < 0.005, "{per_s}: neighbours depend on each other");
        }
    }
}
