//! The end game: what is in flight at a slow peer is repeated by a fast one that has nothing else to do.
//!
//! Both hold the data, so nobody has to wait for the slow one's ring. The helper goes from the back, because the victim
//! ends those last. A repeat costs bandwidth that the victim may need, so one is worth it only if the helper is at least
//! twice as fast and ends its k-th repeat in about half the time in which the victim would come to it.

use super::Work;
use super::extents::{EXTENTS_MAX, Extents};
use super::pair::ONE;
use crate::units::Extent;

/// What one peer shall repeat, newest at the victim first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repeats {
    sequence: u32,
    list: [Extent; EXTENTS_MAX],
    left: u64,
}

impl Repeats {
    /// Plans the repeats of what is in flight at a victim; `share` is the helper's of what both complete, in millionths.
    pub(super) fn plan(sequence: u32, in_flight: &Extents, share: u32) -> Repeats {
        let mut list = [Extent::default(); EXTENTS_MAX];
        list[..in_flight.as_slice().len()].copy_from_slice(in_flight.as_slice());
        Repeats { sequence, list, left: worth(in_flight.transfers(), share) }
    }

    /// A set has ended, or what was in flight will be dealt out anew.
    pub(super) fn forget(&mut self, sequence: u32) {
        if self.sequence == sequence {
            self.left = 0;
        }
    }

    /// The next one to start.
    pub(super) fn next(&mut self) -> Option<Work> {
        self.left = self.left.checked_sub(1)?;
        let last = self.list.iter_mut().rev().find(|extent| !extent.is_empty())?;
        Some(Work { sequence: self.sequence, extent: last.take_back(1), repeat: true })
    }
}

/// How many of so many in flight are worth a repeat: the most k for which k at the helper's speed take at most half of
/// the time of the victim for all those up to the k-th from the back.
fn worth(in_flight: u64, share: u32) -> u64 {
    let (helper, victim) = (u128::from(share.min(ONE)), u128::from(ONE - share.min(ONE)));
    if helper < 2 * victim {
        return 0;
    }
    // 2 k / helper <= (n - k + 1) / victim, solved for k.
    let most = helper * (u128::from(in_flight) + 1) / (2 * victim + helper);
    u64::try_from(most).unwrap_or(u64::MAX).min(in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worth_it_is_repeated() {
        #[rustfmt::skip]
        let cases = [
            // why,                              in flight, share,     repeated
            ("equal peers repeat nothing",       32,        500_000,   0),
            ("nor does one not twice as fast",   32,        660_000,   0),
            ("the only one, at four to one",     1,         800_000,   1),
            ("two thirds, at four to one",       32,        800_000,   22),
            ("most of it, at 49 to one",         32,        980_000,   31),
            ("nothing is in flight",             0,         800_000,   0),
            ("figures without sense",            3,         u32::MAX,  3),
        ];
        for (why, in_flight, share, want) in cases {
            assert_eq!(worth(in_flight, share), want, "{why}");
        }
    }

    #[test]
    fn repeats_go_singly_from_the_back() {
        let mut in_flight = Extents::new();
        for (start, count) in [(4, 2), (9, 2)] {
            in_flight.push(Extent::new(start, count)).expect("room for it");
        }
        let mut repeats = Repeats::plan(7, &in_flight, 900_000);
        let order: Vec<_> = std::iter::from_fn(|| repeats.next()).map(|work| (work.sequence, work.extent)).collect();
        assert_eq!(order, [10, 9, 5, 4].map(|transfer| (7, Extent::new(transfer, 1))));
        let mut repeats = Repeats::plan(7, &in_flight, 900_000);
        repeats.forget(6);
        assert!(repeats.next().is_some());
        repeats.forget(7);
        assert!(repeats.next().is_none());
    }
}
