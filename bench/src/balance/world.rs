//! How fast peers are: the part of the model that stands for the devices.
//!
//! A peer takes `noise / rate + stall` for a transfer. The rate is its speed, which drift makes wander and a flip
//! exchanges; noise and stalls belong to the peer's n-th transfer. The arithmetic is in floating point, because this is
//! the world and no decision; the same seed gives the same world.

use crate::balance::Scenario;
use crate::random;

/// All peers' speeds over time.
#[derive(Clone, Debug)]
pub(super) struct World {
    /// What a transfer costs without disturbance, in nanoseconds, by peer.
    costs: Vec<f64>,
    noise_sigma: f64,
    drift_sigma: f64,
    /// The last step of the drift that was asked for, and its value, by peer.
    drifts: Vec<(u64, f64)>,
    stall: Option<(f64, f64)>,
    seed: u64,
    flip_at: u64,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> World {
        let slowest = scenario.speeds.iter().copied().fold(f64::INFINITY, f64::min);
        World {
            costs: scenario.speeds.iter().map(|speed| UNIT as f64 * slowest / speed).collect(),
            noise_sigma: (1.0 + scenario.noise * scenario.noise).ln().sqrt(),
            drift_sigma: scenario.drift,
            drifts: vec![(u64::MAX, 0.0); scenario.speeds.len()],
            stall: scenario.stall.map(|stall| (stall.permille / 1000.0, stall.length * UNIT as f64)),
            seed: scenario.seed,
            flip_at: u64::MAX,
        }
    }

    pub(super) fn peers(&self) -> usize {
        self.costs.len()
    }

    /// From then on the first peer is as fast as the last one was, and so on.
    pub(super) fn flip(&mut self, at: u64) {
        self.flip_at = at;
    }

    /// How long peer `peer` works at its transfer number `count` if it begins at `at`: at least a nanosecond.
    pub(super) fn service(&mut self, peer: usize, at: u64, count: u64) -> u64 {
        let who = if at >= self.flip_at { self.costs.len() - 1 - peer } else { peer };
        let mut cost = self.costs[who];
        if self.drift_sigma > 0.0 {
            let sigma = self.drift_sigma;
            cost /= (sigma * self.drift(peer, at) - sigma * sigma / 2.0).exp();
        }
        if self.noise_sigma > 0.0 {
            let sigma = self.noise_sigma;
            let deviate = random::gaussian(self.seed, stream(peer, NOISE), count);
            cost *= (sigma * deviate - sigma * sigma / 2.0).exp();
        }
        if let Some((probability, length)) = self.stall
            && random::uniform(self.seed, stream(peer, STALL), count) <= probability
        {
            cost += length;
        }
        nanos(cost).max(1)
    }

    /// The shortest time in which the peers do so many transfers from `start` on, if none is ever idle and each begins
    /// with its transfer number `counts[peer]`: the end of the last one.
    pub(super) fn ideal(&mut self, counts: &[u64], start: u64, transfers: u64) -> u64 {
        let mut counts = counts.to_vec();
        let mut ends: Vec<u64> =
            (0..self.peers()).map(|peer| start + self.service(peer, start, counts[peer])).collect();
        let mut end = start;
        for _ in 0..transfers {
            let first = (0..ends.len()).min_by_key(|&peer| ends[peer]).unwrap_or(0);
            end = ends[first];
            counts[first] += 1;
            ends[first] += self.service(first, end, counts[first]);
        }
        end
    }

    /// An autoregressive walk with mean 0 and variance 1, in steps of [`DRIFT_STEP`]: each keeps nine tenths of the one
    /// before and adds something new, so it is the sum of the newest, with less of each older one.
    fn drift(&mut self, peer: usize, at: u64) -> f64 {
        let step = at / DRIFT_STEP;
        if self.drifts[peer].0 != step {
            let fresh = |age: u64| random::gaussian(self.seed, stream(peer, DRIFT), DRIFT_MEMORY + step - age);
            let sum = (0..DRIFT_MEMORY).rev().fold(0.0, |sum, age| KEPT * sum + fresh(age));
            self.drifts[peer] = (step, (1.0 - KEPT * KEPT).sqrt() * sum);
        }
        self.drifts[peer].1
    }
}

/// A count of nanoseconds that came out of floating point; all are far below the 285 years that would fit.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such casts saturate")]
pub(super) fn nanos(value: f64) -> u64 {
    value.round() as u64
}

fn stream(peer: usize, kind: u64) -> u64 {
    peer as u64 * 3 + kind
}

/// A transfer of the slowest peer, in nanoseconds: whole quotients for most speeds, and 4 MiB at about 800 MiB/s.
pub(super) const UNIT: u64 = 5_040_000;
const DRIFT_STEP: u64 = 40 * UNIT;
const KEPT: f64 = 0.9;
/// Steps after which less than a thousandth is kept.
const DRIFT_MEMORY: u64 = 66;
const NOISE: u64 = 0;
const DRIFT: u64 = 1;
const STALL: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Stall;

    #[test]
    fn the_ideal_is_the_integer_optimum() {
        #[rustfmt::skip]
        let cases: [(&[f64], u64, u64); 4] = [
            // speeds,     transfers, ideal in units
            (&[1.0, 1.0],  7,         4),
            (&[1.0, 4.0],  100,       20),
            (&[4.0, 1.0],  1,         0),
            (&[1.0, 1.0, 2.0], 8,     2),
        ];
        for (speeds, transfers, want) in cases {
            let mut world = World::new(&Scenario { speeds: speeds.to_vec(), ..Scenario::default() });
            let ideal = world.ideal(&vec![0; speeds.len()], 1000, transfers) - 1000;
            assert_eq!(ideal / UNIT, want, "{speeds:?}, {transfers} transfers take {ideal} ns");
        }
    }

    #[test]
    fn disturbances_keep_the_mean_and_a_flip_exchanges_the_speeds() {
        const COUNT: u64 = 50_000;
        let calm = Scenario::default();
        let mean = |scenario: Scenario, spread: u64| {
            let mut world = World::new(&scenario);
            (0..COUNT).map(|count| world.service(0, count * spread, count)).sum::<u64>() as f64 / (COUNT * UNIT) as f64
        };
        assert_eq!(mean(calm.clone(), UNIT), 1.0);
        let noise = mean(Scenario { noise: 0.5, ..calm.clone() }, UNIT);
        assert!((noise - 1.0).abs() < 0.02, "{noise}");
        let stall = Some(Stall { permille: 500.0, length: 1.0 });
        let stalled = mean(Scenario { stall, ..calm.clone() }, UNIT);
        assert!((stalled - 1.5).abs() < 0.02, "{stalled}");
        // The mean of 1/rate is exp(sigma^2) when the rate is lognormal with mean 1.
        let drift = mean(Scenario { drift: 0.4, ..calm.clone() }, 40 * UNIT);
        assert!((drift - 0.16f64.exp()).abs() < 0.03, "{drift}");
        let mut wandering = World::new(&calm);
        let kept =
            (0..COUNT).map(|step| wandering.drift(0, step * DRIFT_STEP) * wandering.drift(0, (step + 1) * DRIFT_STEP));
        let kept = kept.sum::<f64>() / COUNT as f64;
        assert!((kept - KEPT).abs() < 0.05, "neighbours have {kept} in common");
        let mut world = World::new(&calm);
        world.flip(10);
        assert_eq!((world.service(0, 9, 0), world.service(0, 10, 0)), (UNIT, UNIT / 4));
    }
}
