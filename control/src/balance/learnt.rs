//! What is kept across sets and runs: the record of each pair of peers, and the first division that follows from it.
//!
//! The shares of pairs become one weight per peer by the fit of Bradley and Terry: with `w` for the weights, a peer's
//! new weight is the sum of its shares over the sum of `1 / (w of it + w of the other)`, again and again. It is exact if
//! the pairs agree with each other, a mean if they do not, and one for a peer of which nothing is known.

use serde::{Deserialize, Serialize};

use super::pair::{ONE, Pair, Side};
use super::{Strategy, fixed};
use crate::units::{Extent, PeerId};

/// What is kept across sets and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    strategy: Strategy,
    peers: u16,
    pairs: Vec<Known>,
}

/// The record of one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    low: PeerId,
    high: PeerId,
    pair: Pair,
}

impl Learnt {
    /// Nothing is known yet.
    pub fn new(strategy: Strategy, peers: u16) -> Learnt {
        Learnt { strategy, peers, pairs: Vec::new() }
    }

    /// Whether it was learnt by this strategy and by so many peers.
    pub fn fits(&self, strategy: Strategy, peers: u16) -> bool {
        (self.strategy, self.peers) == (strategy, peers)
    }

    /// Remembers the record of a pair.
    pub fn note(&mut self, low: PeerId, high: PeerId, pair: Pair) {
        let pair = pair.renewed();
        match self.pairs.iter_mut().find(|known| (known.low, known.high) == (low, high)) {
            Some(known) => known.pair = pair,
            None if low < high && high.0 < self.peers => self.pairs.push(Known { low, high, pair }),
            None => {}
        }
    }

    /// The first division of a set: a part per peer, perhaps empty, that together cover the set once. A peer that does
    /// not live gets nothing; under `pull` nobody does.
    pub fn division(&self, strategy: Strategy, transfers: u64, living: &[bool]) -> Vec<Extent> {
        match strategy {
            Strategy::Pull => vec![Extent::default(); living.len()],
            Strategy::Measured if !self.pairs.is_empty() => self.weighted(transfers, living),
            _ => fixed::parts(transfers, living),
        }
    }

    /// The record of two peers as it is when a run begins.
    pub(super) fn pair(&self, one: PeerId, other: PeerId) -> Pair {
        let (low, high) = (one.min(other), one.max(other));
        let known = self.pairs.iter().find(|known| (known.low, known.high) == (low, high));
        known.map_or_else(Pair::default, |known| known.pair.renewed())
    }

    fn weighted(&self, transfers: u64, living: &[bool]) -> Vec<Extent> {
        let weights: Vec<u128> =
            self.weights(living.len()).into_iter().zip(living).map(|(w, &lives)| if lives { w } else { 0 }).collect();
        let total: u128 = weights.iter().sum();
        let (mut sum, mut start) = (0, 0);
        let part = |weight: u128| {
            sum += weight;
            let end = (u128::from(transfers) * sum + total / 2).checked_div(total).unwrap_or(0);
            let end = u64::try_from(end).unwrap_or(transfers);
            let part = Extent::new(start, end - start);
            start = end;
            part
        };
        weights.into_iter().map(part).collect()
    }

    /// A weight per peer, [`WEIGHT`] on the average.
    fn weights(&self, peers: usize) -> Vec<u128> {
        let mut weights = vec![WEIGHT; peers];
        let pairs: Vec<_> = (self.pairs.iter())
            .filter(|known| known.low < known.high && known.high.index() < peers)
            .filter_map(|known| known.pair.rho.map(|_| (known.low.index(), known.high.index(), known.pair.renewed())))
            .collect();
        for _ in 0..ROUNDS {
            // Per peer the sum of its shares, and the sum of the inverses.
            let mut sums = vec![(0, 0); peers];
            for &(low, high, pair) in &pairs {
                let inverse = WEIGHT * WEIGHT / (weights[low] + weights[high]);
                for (peer, side) in [(low, Side::Low), (high, Side::High)] {
                    sums[peer].0 += u128::from(pair.share(side)) * WEIGHT / u128::from(ONE);
                    sums[peer].1 += inverse;
                }
            }
            for (weight, (shares, inverses)) in weights.iter_mut().zip(sums) {
                *weight = (shares * WEIGHT).checked_div(inverses).unwrap_or(*weight).max(1);
            }
        }
        weights
    }
}

/// The weight of a peer of which nothing is known. Its cube fits into 128 bits.
const WEIGHT: u128 = 1 << 32;
/// The fit is within a millionth after fewer, for any pairs whose shares are within their bounds.
const ROUNDS: u32 = 64;

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::Error;

    use super::*;
    use crate::units::Permille;

    fn learnt(peers: u16, pairs: &[(u16, u16, u32)]) -> Learnt {
        let mut learnt = Learnt::new(Strategy::Measured, peers);
        for &(low, high, rho) in pairs {
            learnt.note(PeerId(low), PeerId(high), Pair { rho: Some(rho), ..Pair::default() });
        }
        learnt
    }

    fn counts(learnt: &Learnt, transfers: u64, living: &[bool]) -> Vec<u64> {
        let parts = learnt.division(Strategy::Measured, transfers, living);
        assert_eq!(parts.len(), living.len());
        let end = parts.iter().fold(0, |end, part| {
            assert_eq!(part.start, end, "parts follow each other");
            part.end()
        });
        assert_eq!(end, if living.contains(&true) { transfers } else { 0 }, "parts cover the set");
        parts.into_iter().map(|part| part.count).collect()
    }

    #[test]
    fn the_division_follows_what_was_learnt() {
        let agree = [(0, 1, 333_333), (0, 2, 200_000), (1, 2, 333_333)];
        #[rustfmt::skip]
        let cases = [
            // why,                               peers, pairs,                                  living,                     transfers, want
            ("nothing is known",                  2,     &[][..],                                &[true, true][..],          1024,      vec![512, 512]),
            ("one to four",                       2,     &[(0, 1, 200_000)],                     &[true, true],              1024,      vec![205, 819]),
            ("one, two, four",                    3,     &agree,                                 &[true, true, true],        700,       vec![100, 200, 400]),
            ("the fastest is dead",               3,     &agree,                                 &[true, true, false],       300,       vec![100, 200, 0]),
            ("one pair of it is not known",       3,     &agree[..2],                            &[true, true, true],        700,       vec![100, 200, 400]),
            ("nothing is known of the third",     3,     &[(0, 1, 250_000)],                     &[true, true, true],        600,       vec![100, 300, 200]),
            ("nobody lives",                      2,     &[(0, 1, 250_000)],                     &[false, false],            10,        vec![0, 0]),
            ("an empty set",                      2,     &[(0, 1, 250_000)],                     &[true, true],              0,         vec![0, 0]),
            ("the largest set",                   2,     &[(0, 1, 500_000)],                     &[true, true],              u64::MAX,  vec![1 << 63, u64::MAX >> 1]),
        ];
        for (why, peers, pairs, living, transfers, want) in cases {
            assert_eq!(counts(&learnt(peers, pairs), transfers, living), want, "{why}");
        }
    }

    #[test]
    fn only_measured_divides_unequally() {
        let learnt = learnt(2, &[(0, 1, 900_000)]);
        for strategy in [Strategy::Fixed, Strategy::StealHalf, Strategy::Ratio] {
            assert_eq!(learnt.division(strategy, 3, &[true; 2]), [Extent::new(0, 2), Extent::new(2, 1)]);
        }
        assert!(learnt.division(Strategy::Pull, 3, &[true; 2]).iter().all(|part| part.is_empty()));
        assert!(learnt.fits(Strategy::Measured, 2) && !learnt.fits(Strategy::Measured, 3));
        assert!(!learnt.fits(Strategy::Ratio, 2));
    }

    #[test]
    fn what_was_read_back_may_be_anything() {
        let ratio = |figure: u16| {
            let read: Result<Permille, Error> = Permille::deserialize(figure.into_deserializer());
            read.expect("any figure is read")
        };
        let nonsense =
            |rho, ratios: [u16; 2]| Pair { version: u64::MAX, ratios: ratios.map(ratio), rho, ..Pair::default() };
        let known = |low, high, pair| Known { low: PeerId(low), high: PeerId(high), pair };
        let pairs = vec![
            known(0, 1, nonsense(Some(u32::MAX), [u16::MAX, 0])),
            known(1, 0, nonsense(Some(0), [0, 0])),
            known(1, 1, nonsense(Some(7), [0, 0])),
            known(1, 2, nonsense(Some(0), [0, 0])),
            known(2, u16::MAX, nonsense(None, [0, 0])),
        ];
        let learnt = Learnt { strategy: Strategy::Measured, peers: u16::MAX, pairs };
        for living in [&[][..], &[true], &[true, true], &[true, true, true, true], &[false, true, false]] {
            counts(&learnt, 1000, living);
            counts(&learnt, u64::MAX, living);
        }
        let pair = learnt.pair(PeerId(1), PeerId(0));
        let want = Pair { rho: Some(980_000), ratios: [ratio(950), ratio(50)], ..Pair::default() };
        assert_eq!(pair, want);
    }
}
