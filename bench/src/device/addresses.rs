//! Where the next request goes: in order, anywhere alike, or some places more often than others.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Which places are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Order {
    /// One after the other, and again from the start.
    Sequential,
    /// All alike.
    Uniform,
    /// Place number k of a fixed shuffle as often as 1 / k^theta (Zipf's law).
    Zipf { theta: f64 },
    /// So many of a thousand requests go to so many thousandths of the places.
    HotSpot { requests: u32, places: u32 },
}

/// The places of one peer on one device: `count` of `step` bytes each, from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) start: u64,
    pub(crate) step: u64,
    pub(crate) count: u64,
}

/// Draws offsets.
#[derive(Debug)]
pub(crate) struct Addresses {
    places: Places,
    drawing: Drawing,
    random: SmallRng,
}

#[derive(Debug)]
enum Drawing {
    Sequential { next: u64 },
    Uniform,
    Zipf { law: Zipf<f64>, stride: u64 },
    HotSpot { requests: u32, hot: u64 },
}

impl Addresses {
    /// For places of which there is at least one.
    ///
    /// # Panics
    /// When there is none, or theta is no positive number.
    pub(crate) fn new(places: Places, order: Order, seed: u64) -> Addresses {
        assert!(places.count > 0, "a region holds at least one place");
        let drawing = match order {
            Order::Sequential => Drawing::Sequential { next: 0 },
            Order::Uniform => Drawing::Uniform,
            Order::Zipf { theta } => Drawing::Zipf {
                law: Zipf::new(places.count as f64, theta).expect("the options were checked"),
                stride: coprime(places.count),
            },
            Order::HotSpot { requests, places: share } => {
                let hot = (u128::from(places.count) * u128::from(share)).div_ceil(1000);
                Drawing::HotSpot { requests, hot: u64::try_from(hot).unwrap_or(places.count).clamp(1, places.count) }
            }
        };
        Addresses { places, drawing, random: SmallRng::seed_from_u64(seed) }
    }

    /// The next offset, in bytes.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let Places { start, step, count } = self.places;
        let place = match &mut self.drawing {
            Drawing::Sequential { next } => {
                let place = *next;
                *next = if place + 1 == count { 0 } else { place + 1 };
                place
            }
            Drawing::Uniform => below(&mut self.random, count),
            Drawing::Zipf { law, stride } => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank from 1 to count")]
                let rank = (law.sample(&mut self.random) as u64).clamp(1, count) - 1;
                // Ranks that follow one another lie far apart, as hot data does; each place has one rank.
                u64::try_from(u128::from(rank) * u128::from(*stride) % u128::from(count)).expect("less than count")
            }
            Drawing::HotSpot { requests, hot } => {
                if below(&mut self.random, 1000) < u64::from(*requests) || *hot == count {
                    below(&mut self.random, *hot)
                } else {
                    *hot + below(&mut self.random, count - *hot)
                }
            }
        };
        start + place * step
    }

    /// A number below `bound`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        below(&mut self.random, bound)
    }
}

/// A number below `bound` without a division: the high half of a product (Lemire, "Fast random integer generation in an
/// interval", 2019). Without his rejection step it is off by less than bound / 2^64.
#[inline]
fn below(random: &mut SmallRng, bound: u64) -> u64 {
    let product = u128::from(random.random::<u64>()) * u128::from(bound);
    (product >> 64) as u64
}

/// A number with no divisor in common with `count`, near its golden section.
fn coprime(count: u64) -> u64 {
    let golden = u64::try_from(u128::from(count) * 618_034 / 1_000_000).unwrap_or(1).max(1);
    (golden..).find(|&stride| gcd(stride, count) == 1).unwrap_or(1)
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places = Places { start: 1 << 20, step: 4096, count: 1000 };

    fn counts(order: Order, draws: usize) -> Vec<u32> {
        let mut counts = vec![0; 1000];
        let mut addresses = Addresses::new(PLACES, order, 7);
        for _ in 0..draws {
            let offset = addresses.next();
            assert!(offset >= 1 << 20 && (offset - (1 << 20)).is_multiple_of(4096), "{offset}");
            counts[usize::try_from((offset - (1 << 20)) / 4096).expect("small")] += 1;
        }
        counts
    }

    #[test]
    fn in_order_each_place_comes_once_a_round() {
        let mut addresses = Addresses::new(PLACES, Order::Sequential, 1);
        let two_rounds: Vec<u64> = (0..2000).map(|_| addresses.next()).collect();
        assert!(two_rounds.iter().zip(0u64..).all(|(&offset, index)| offset == (1 << 20) + index % 1000 * 4096));
    }

    #[test]
    fn uniform_draws_are_even() {
        let counts = counts(Order::Uniform, 1_000_000);
        // The chi-square of 999 degrees of freedom lies below 1142 in 999 of 1000 cases; the seed is fixed.
        let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi_square < 1142.0, "{chi_square}");
    }

    #[test]
    fn zipf_draws_follow_the_law_and_are_spread() {
        let mut counts = counts(Order::Zipf { theta: 1.0 }, 1_000_000);
        let neighbours = counts[0].abs_diff(counts[1]);
        assert!(neighbours > counts[0] / 2, "the second place is not the second in rank");
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let harmonic: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1u32, 2, 10, 100] {
            let want = 1e6 / harmonic / f64::from(rank);
            let got = f64::from(counts[rank as usize - 1]);
            assert!((got / want - 1.0).abs() < 0.08, "rank {rank}: {got} for {want}");
        }
        assert!(counts.iter().all(|&count| count > 0), "each place has a rank");
    }

    #[test]
    fn a_hot_spot_gets_its_share() {
        let counts = counts(Order::HotSpot { requests: 900, places: 100 }, 1_000_000);
        let hot: u32 = counts[..100].iter().sum();
        assert!(hot.abs_diff(900_000) < 2000, "{hot}");
        assert!(counts[100..].iter().all(|&count| count > 0));
    }
}
