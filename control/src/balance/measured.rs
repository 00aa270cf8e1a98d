//! Shares that follow what was measured.
//!
//! `rho` is the share of the lower peer of what a pair completes. A peer that looks at the others, to ask or once at half
//! of its part, compares what it has done since the last look with what they have done; half of the difference is taken
//! over each time, all of it the first time. Who has idled is not compared: then the counts show the division and not
//! the speeds. The record of the pair goes with the offer, and the asker gets what brings both to the end at the same
//! time. With `own` and `remaining` as they will be when the answer arrives, a round trip after the offer was sent and
//! half of one after it was heard:
//!
//! ```text
//!   portion = share of the asker x (own + remaining) - own
//! ```

use super::pair::{ONE, Pair, RHO_MAX, RHO_MIN, Side};
use super::rate::Rate;
use crate::units::Nanos;

/// What the two have to do, as the victim knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holding {
    /// The victim's, not completed.
    pub(super) remaining: u64,
    /// The asker's, not completed when it sent the offer.
    pub(super) own: u64,
    /// The most that can move.
    pub(super) movable: u64,
    /// From the asker's offer to the answer.
    pub(super) round_trip: Nanos,
}

/// Compares what both sides (lower, higher) have completed of a set so far.
pub(super) fn learn(pair: &mut Pair, sequence: u32, done: [u64; 2]) {
    let since = pair.of_set(sequence).counted;
    let [low, high] = [0, 1].map(|side: usize| done[side].saturating_sub(since[side]));
    if low == 0 || high == 0 || low.saturating_add(high) < EVIDENCE_MIN {
        return;
    }
    let total = u128::from(low) + u128::from(high);
    let measured = u32::try_from(u128::from(ONE) * u128::from(low) / total).unwrap_or(ONE);
    let rho = match pair.rho {
        None => measured,
        Some(rho) => u32::midpoint(rho.min(ONE), measured),
    };
    pair.rho = Some(rho.clamp(RHO_MIN, RHO_MAX));
    pair.set.counted = done;
    pair.version += 1;
}

/// What a victim of this rate gives to the asker.
pub(super) fn portion(pair: &Pair, asker: Side, holding: Holding, victim_rate: &Rate) -> u64 {
    let (asker_share, victim_share) = (u128::from(pair.share(asker)), u128::from(pair.share(asker.other()).max(1)));
    let one = u128::from(ONE);
    let victim_does = victim_rate.millionths_in(Nanos(holding.round_trip.0 / 2));
    let asker_does = 2 * victim_does * asker_share / victim_share;
    let remaining = (u128::from(holding.remaining) * one).saturating_sub(victim_does);
    let own = (u128::from(holding.own) * one).saturating_sub(asker_does);
    let wanted = asker_share * (own + remaining) / one + one / 2;
    u64::try_from(wanted.saturating_sub(own) / one).unwrap_or(u64::MAX).min(holding.movable)
}

/// Fewer completions than this say nothing.
const EVIDENCE_MIN: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_the_counts() {
        #[rustfmt::skip]
        let cases = [
            // why,                         rho,           counted,    done,       rho after,     counted after
            ("the first time at once",      None,          [0, 0],     [80, 20],   Some(800_000), [80, 20]),
            ("then by half",                Some(500_000), [0, 0],     [80, 20],   Some(650_000), [80, 20]),
            ("since the last time",         Some(800_000), [80, 20],   [84, 24],   Some(650_000), [84, 24]),
            ("too little is no evidence",   Some(500_000), [0, 0],     [6, 1],     Some(500_000), [0, 0]),
            ("one of them did nothing",     Some(500_000), [0, 0],     [100, 0],   Some(500_000), [0, 0]),
            ("never out of bounds",         None,          [0, 0],     [1000, 1],  Some(980_000), [1000, 1]),
            ("counts that go back",         Some(500_000), [50, 50],   [40, 60],   Some(500_000), [50, 50]),
        ];
        for (why, rho, counted, done, want, marks) in cases {
            let mut pair = Pair { rho, ..Pair::default() };
            pair.of_set(1).counted = counted;
            learn(&mut pair, 1, done);
            assert_eq!((pair.rho, pair.set.counted), (want, marks), "{why}");
            assert_eq!(pair.version, u64::from(marks == done), "{why}");
        }
    }

    #[test]
    fn both_end_together() {
        // The victim does one transfer in 100 ns, the asker four.
        let mut rate = Rate::default();
        rate.started(Nanos(0), 10);
        rate.completed(Nanos(1_000), 10);
        let pair = Pair { rho: Some(800_000), ..Pair::default() };
        #[rustfmt::skip]
        let cases = [
            // why,                                   remaining, own, movable, round trip, portion
            ("four fifths for the faster",            100,       0,   99,      0,          80),
            ("rounded to the nearest",                3,         0,   2,       0,          2),
            ("what the victim does meanwhile",        110,       0,   109,     2_000,      80),
            ("with what the asker still has",         480,       256, 479,     0,          333),
            ("and will have done when it gets it",    100,       8,   99,      200,        79),
            ("the asker has enough",                  10,        100, 9,       0,          0),
            ("no more than can move",                 100,       0,   20,      0,          20),
            ("it is done before the answer comes",    5,         0,   4,       5_000,      0),
        ];
        for (why, remaining, own, movable, round_trip, want) in cases {
            let holding = Holding { remaining, own, movable, round_trip: Nanos(round_trip) };
            assert_eq!(portion(&pair, Side::Low, holding, &rate), want, "{why}");
        }
        let holding = Holding { remaining: 100, own: 0, movable: 99, round_trip: Nanos::ZERO };
        assert_eq!(portion(&pair, Side::High, holding, &rate), 20, "the slower takes its share");
    }
}
